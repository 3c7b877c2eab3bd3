"""How far each destination of a delivery is: when it is tried next, and in words."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.jobs.courses import DENIED_PAUSE_S, PAUSES_S, begun, remaining_pause, verdict, words_of
from app.jobs.delivery_journal import DeliveryJournal
from app.jobs.job import JobState, SeriesJob
from app.jobs.layout import StorageLayout
from app.jobs.queue import JobStatus
from app.jobs.telling import as_told

DAY_S = 86_400.0
NOW = datetime(2026, 12, 1, 3, 32, tzinfo=UTC).timestamp()
AWAY = "ARCHIVE at 127.0.0.1:104 cannot be reached: is it running, and is the port right?"
PROVEN = {"state": "proven", "sentence": "kept, by Storage Commitment"}


def course(*fates: str, words: str = "stored", **changes: Any) -> dict[str, Any]:
    """Return the course of a destination whose instances have some fates."""
    return {**begun(), "instances": {f"1.2.{n}": [fate, words] for n, fate in enumerate(fates)}, **changes}


def done() -> dict[str, Any]:
    """Return the course of a destination that has stored and proven everything."""
    return course(*["stored"] * 3, proof=PROVEN, proofs=1, at=NOW + 60, stored_at=NOW, proven_at=NOW + 60)


def away(tries: int = 5, fate: str = "postponed") -> dict[str, Any]:
    """Return the course of a destination that was tried in vain."""
    return course(*[fate] * 3, words=AWAY, deliveries=tries, at=NOW + 60)


@pytest.mark.parametrize("clock_s", [-DAY_S, -1.0, 0.0, 1.0, DAY_S])
@pytest.mark.parametrize("tries", [1, 6])
def test_no_clock_puts_a_try_off_for_longer_than_its_pause(clock_s: float, tries: int) -> None:
    """Set back a day, the next try would be a day away; set forward, it is due at once."""
    waiting = remaining_pause(away(tries), now=NOW + 60 + clock_s)

    assert waiting is not None and 0 <= waiting <= PAUSES_S[tries - 1]


def test_who_is_denied_is_asked_slowly() -> None:
    """An administrator has to act first, and many failed log-ins may lock the account."""
    assert remaining_pause(away(1, "denied"), now=NOW + 60) == DENIED_PAUSE_S
    assert remaining_pause(away(80, "denied"), now=NOW + 60) == 3600
    assert remaining_pause(away(81, "denied"), now=NOW + 60) is None


def test_every_destination_is_told_by_itself() -> None:
    """What is stored and proven when, what is waited for, when it is tried next and until when."""
    told = words_of({"pacs": done(), "archive2": away(), "late": begun()}, now=NOW + 100)

    assert told == (
        "Partly delivered: 1 of 3 destinations; pacs: 3 of 3 stored 03:32, proven 03:33 by Storage Commitment; "
        f"archive2: 0 of 3 stored, {AWAY}, 5th try, next 03:38, gives up on 4 Dec; late: not tried yet (UTC)."
    )


def test_a_try_that_is_under_way_and_another_day_are_told_as_such() -> None:
    """A destination that hangs has no next time yet, and yesterday's 03:32 is not today's."""
    assert "5th try, the next is under way" in words_of({"archive2": away()}, now=NOW + 400)
    assert "stored 1 Dec 03:32" in words_of({"pacs": done()}, now=NOW + DAY_S)


def test_what_is_delivered_in_part_fails_and_is_told_as_such() -> None:
    """It must look neither like a success nor as if nothing had arrived; what is refused is named."""
    refused = course("stored", "refused", words="PACS accepts no presentation context", stored_at=NOW, proof=PROVEN)
    outcome = verdict("3 vertebrae", {"pacs": done(), "archive2": away(81)}, now=NOW + 100)

    assert outcome["state"] == JobState.FAILED
    assert "Partly delivered: 1 of 2 destinations" in outcome["sentence"]
    assert "given up after the 81st try" in outcome["sentence"]
    assert "1 of 2 stored, 1.2.1: PACS accepts no presentation context" in words_of({"pacs": refused}, now=NOW)


def test_a_job_that_is_being_delivered_says_what_it_waits_for(tmp_path: Path) -> None:
    """In `jobs list`, `jobs show` and on the page; a record that is torn takes nothing else with it."""
    layout = StorageLayout(tmp_path)
    moment = datetime.fromtimestamp(NOW, UTC)
    job = SeriesJob("ab" * 16, "1.2", "1.2.3", "DX", "PACS", 1)
    journal = DeliveryJournal(layout, job.job_id)
    journal.keep_course("pacs", done())
    journal.keep_course("archive2", away())
    (layout.job_folder(job.job_id) / "delivery" / "torn.course.json").write_text("{")

    delivering, failed = (
        JobStatus(job, state, "As it stands.", moment, moment) for state in (JobState.DELIVERING, JobState.FAILED)
    )

    told, ended = as_told(layout, [delivering, failed])
    assert told.sentence.startswith("As it stands. Partly delivered: 1 of 2 destinations; archive2: 0 of 3 stored, ")
    assert ended.sentence == "As it stands."


def test_a_full_disk_stops_no_delivery(tmp_path: Path) -> None:
    """What cannot be noted may be sent twice after a crash; what was noted before stays whole."""
    layout = StorageLayout(tmp_path)
    journal = DeliveryJournal(layout, "ab" * 16)
    journal.note("pacs", "1.2.3")
    journal.keep_course("pacs", away(1))
    run = journal.begin_run()
    folder = layout.job_folder("ab" * 16) / "delivery"
    folder.rename(tmp_path / "was here")
    folder.symlink_to("/dev/full")  # whatever is written below it fails

    journal.note("pacs", "1.2.4")
    journal.keep_course("pacs", away(2))
    taken = journal.is_taken_over(run)
    folder.unlink()
    (tmp_path / "was here").rename(folder)

    assert not taken
    assert journal.stored("pacs") == {"1.2.3"}
    assert journal.courses()["pacs"]["deliveries"] == 1
    assert not journal.is_taken_over(run)
    journal.begin_run()
    assert journal.is_taken_over(run)
