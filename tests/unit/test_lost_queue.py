"""Job folders against the queue, the page while the queue is away, and queues that have grown large."""

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app import check
from app.dashboard import queue_sight
from app.dashboard.page import build_page
from app.jobs.comparison import begin, compare, mend, odd_words, unready_words
from app.jobs.delivery_journal import DeliveryJournal
from app.jobs.ending import Ending, forget_ending, read_ending, write_ending
from app.jobs.history import note
from app.jobs.job import JobState, SeriesJob
from app.jobs.keeping import ROWS_KEPT_DAYS, forget_rows
from app.jobs.layout import StorageLayout
from app.jobs.process import Heartbeat
from app.jobs.queries import show_job
from app.jobs.queue import JobQueue, UnknownJob
from app.jobs.sent_instances import SentInstance, write_sent
from app.settings import Settings
from tests.made_queue import MadeQueue, made_job
from tests.node import wait_for

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DELIVERED = Ending(JobState.DELIVERED, "fine", "trusted", NOW.isoformat())


@dataclass
class Stored:
    """A storage folder with a queue that no worker serves."""

    layout: StorageLayout
    made: MadeQueue

    @property
    def queue(self) -> JobQueue:
        """The queue as the node sees it."""
        return self.made.queue

    def folder(self, job: SeriesJob, *, kept: bool = True) -> SeriesJob:
        """Make the folder of a job as a gateway does."""
        folder = self.layout.job_folder(job.job_id)
        (folder / "input").mkdir(parents=True) if kept else folder.mkdir(parents=True)
        (folder / "job.json").write_text(job.to_json())
        return job

    @property
    def page(self) -> TestClient:
        """The page of the node."""
        return TestClient(build_page(Settings(storage=self.layout.root)), base_url="http://localhost")


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Stored]:
    """Return a storage folder with a queue."""
    layout = StorageLayout(tmp_path / "storage")
    layout.create()
    made = MadeQueue(layout)
    yield Stored(layout, made)
    made.close()


@pytest.fixture
def alive(stored: Stored) -> Iterator[None]:
    """Let the storage folder have the signs of a node that runs."""
    beats = [Heartbeat(stored.layout, name) for name in ("gateway", "worker-1")]
    for beat in beats:
        beat.start()
    yield
    for beat in beats:
        beat.stop()


def test_what_the_queue_does_not_know_is_queued_again(stored: Stored) -> None:
    """Each instance of it was acknowledged. What has ended and was emptied needs nobody; what is known stays."""
    lost, failed, known = (stored.folder(made_job(number)) for number in (1, 2, 3))
    emptied, removed = (stored.folder(made_job(number), kept=False) for number in (4, 5))
    write_ending(stored.layout, failed.job_id, Ending(JobState.FAILED, "why", "", NOW.isoformat()))
    write_ending(stored.layout, emptied.job_id, DELIVERED)
    note(stored.layout, removed.job_id, "retention")  # by an earlier version, which wrote no ending
    stored.made.ended(known, "skipped", "no engine")

    begin(stored.layout)
    before = unready_words(stored.layout)
    found = mend(stored.layout, stored.queue, threading.Event())

    assert "not compared yet" in before
    assert unready_words(stored.layout) == ""
    assert {job.job_id for job in found.missing} == {lost.job_id, failed.job_id}
    assert found.odd == {}
    assert stored.queue.job_ids() == {lost.job_id, failed.job_id, known.job_id}
    assert compare(stored.layout, stored.queue).missing == ()
    ending = read_ending(stored.layout, known.job_id)
    assert ending is not None
    assert (ending.state, ending.sentence) == (JobState.SKIPPED, "no engine")


@pytest.mark.usefixtures("alive")
def test_what_neither_side_explains_is_told(stored: Stored) -> None:
    """By the log, by `spondyl check` and by `/readyz`, which goes on to say that the node is ready."""
    rowless, unreadable, vanished, undelivered = (made_job(number) for number in (1, 2, 3, 4))
    stored.queue.submit(rowless)
    stored.folder(unreadable)
    (stored.layout.job_folder(unreadable.job_id) / "job.json").write_text("{")
    stored.folder(vanished, kept=False)
    stored.folder(undelivered)
    write_sent(stored.layout, undelivered.job_id, [SentInstance("1", "1.2.9", "1.2.8", "SEG")])
    stored.made.ended(undelivered, "delivered", "pacs: 1 of 1 instances stored", proof="trusted")
    settings = Settings(storage=stored.layout.root)

    odd = mend(stored.layout, stored.queue, threading.Event()).odd
    findings = list(check._queue(settings, stored.layout))
    ready = stored.page.get("/readyz")

    words = {job_id: words for job_id, words in odd.items()}
    assert set(words) == {job.job_id for job in (rowless, unreadable, vanished, undelivered)}
    for job, reason in (
        (rowless, "row of the queue without a folder"),
        (unreadable, "job.json is missing or cannot be read"),
        (vanished, "route the study again"),
        (undelivered, "knows of no delivery"),
    ):
        assert reason in words[job.job_id]
        assert any(reason in finding.words and not finding.sound for finding in findings)
        assert reason in ready.text
    assert ready.status_code == 200
    assert len(odd_words(stored.layout)) == 4
    assert read_ending(stored.layout, undelivered.job_id) is None

    DeliveryJournal(stored.layout, undelivered.job_id).note("pacs", "1.2.9")
    assert undelivered.job_id not in mend(stored.layout, stored.queue, threading.Event()).odd


@pytest.mark.usefixtures("alive")
def test_a_node_is_not_ready_while_folders_and_queue_are_not_compared(stored: Stored) -> None:
    """A load balancer waits so long; `spondyl check` counts what is missing."""
    stored.folder(made_job())
    begin(stored.layout)

    answer = stored.page.get("/readyz")
    (finding,) = check._queue(Settings(storage=stored.layout.root), stored.layout)

    assert (answer.status_code, answer.text) == (503, "the job folders and the queue are not compared yet\n")
    assert not finding.sound
    assert "1 jobs have folders and are not in the queue" in finding.words


def test_only_a_retry_makes_an_ended_job_begin_again(stored: Stored) -> None:
    """It forgets how the job ended, and what was delivered; a stop is an ending that survives the queue."""
    job, stopped = stored.folder(made_job(1)), stored.folder(made_job(2))
    stored.made.ended(job, "failed", "why")
    stored.queue.submit(stopped)
    queue = JobQueue(stored.made.url, stored.layout)
    write_ending(stored.layout, job.job_id, Ending(JobState.FAILED, "why", "", NOW.isoformat()))
    DeliveryJournal(stored.layout, job.job_id).note("pacs", "1.2.9")

    queue.retry(job.job_id)
    queue.cancel(stopped.job_id)
    queue.close()

    ending = read_ending(stored.layout, stopped.job_id)
    assert read_ending(stored.layout, job.job_id) is None
    assert not DeliveryJournal(stored.layout, job.job_id).is_begun()
    assert ending is not None
    assert ending.state is JobState.CANCELLED


def test_an_ending_that_cannot_be_read_is_none(stored: Stored) -> None:
    """The work is then done again, which is harmless; a crash of the worker is not."""
    job = stored.folder(made_job())
    file = stored.layout.job_folder(job.job_id) / "ended.json"
    write_ending(stored.layout, job.job_id, DELIVERED)
    whole = file.read_text()

    assert read_ending(stored.layout, job.job_id) == DELIVERED
    for content in (whole[:20], "[]", whole.replace("delivered", "queued"), whole.replace("2026", "x")):
        file.write_text(content)
        assert read_ending(stored.layout, job.job_id) is None
    forget_ending(stored.layout, job.job_id)
    assert not file.exists()


@pytest.mark.usefixtures("alive")
def test_while_the_queue_is_away_the_page_says_since_when(stored: Stored) -> None:
    """Not known is never zero: it counts nothing, and is not ready; it is back as soon as the database is."""
    stored.queue.submit(made_job())
    mend(stored.layout, stored.queue, threading.Event())
    page, file = stored.page, stored.layout.queue_file
    before = (page.get("/readyz").status_code, page.get("/metrics").text)
    file.rename(file.with_name("away"))

    ready, metrics, html = (page.get(path) for path in ("/readyz", "/metrics", "/"))
    since = ready.text.partition("since ")[2].partition(" UTC")[0]
    again = page.get("/readyz").text
    file.with_name("away").rename(file)
    after = (page.get("/readyz").status_code, page.get("/metrics").text)

    assert before[0] == after[0] == 200
    for _, text in (before, after):
        assert 'spondyl_jobs{state="queued"} 1.0' in text
        assert "spondyl_queue_up 1.0" in text
    assert ready.status_code == 503
    assert datetime.fromisoformat(since)
    assert since in again
    assert since in html.text
    assert "No study has come yet" not in html.text
    assert "spondyl_queue_up 0.0" in metrics.text
    assert "spondyl_jobs{" not in metrics.text
    assert "spondyl_oldest_queued_job_seconds" not in metrics.text


def test_the_database_counts_as_the_list_does(stored: Stored) -> None:
    """Of every state, with and without a delivery, and with rows that cannot be read."""
    for number, state in enumerate(("delivered", "skipped", "refused", "superseded", "failed", "delivered"), 1):
        stored.made.ended(made_job(number), state, "sentence", proof="proven" if number > 4 else "")
    for number in range(7, 16):
        stored.queue.submit(made_job(number))
    for number, status in ((7, "PENDING"), (8, "CANCELLED"), (9, "ERROR"), (10, "MAX_RECOVERY_ATTEMPTS_EXCEEDED")):
        stored.made.change("workflow_status", made_job(number).job_id, status=status)
    stored.made.change("workflow_status", made_job(11).job_id, status="SUCCESS", output="[]")
    sent = made_job(12)
    stored.made.ended(sent, "delivering", "sentence", proof="x")
    stored.made.change("workflow_status", f"{sent.job_id}-delivery", status="PENDING", output=None)

    waiting, ended = stored.queue.open_counts(), stored.queue.ended_counts()
    jobs = stored.queue.recent(limit=100)

    assert {**waiting.by_state, **ended} == dict(Counter(status.state for status in jobs))
    assert not waiting.by_state.keys() & ended.keys()
    oldest = min(status.created_at for status in jobs if status.state is JobState.QUEUED)
    assert waiting.oldest_queued == pytest.approx(oldest.timestamp(), abs=0.002)


def test_a_scrape_does_not_wait_for_the_ended_jobs_to_be_counted(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting 40,000 takes the database a while: a monitor gets the last counts, and the next ones later."""
    monkeypatch.setattr(queue_sight, "SHORTEST_AGE_S", 0.0)
    monkeypatch.setattr(queue_sight, "SHARE", 0)
    stored.made.ended(made_job(1), "skipped", "no engine")
    counting, go_on = threading.Event(), threading.Event()

    class Slow(JobQueue):
        def ended_counts(self) -> Mapping[JobState, int]:
            counting.set()
            go_on.wait()
            return super().ended_counts()

    go_on.set()
    queue = Slow(stored.made.url)
    sight = queue_sight.EndedCounts(queue)
    first = sight.latest()
    stored.made.ended(made_job(2), "skipped", "no engine")
    go_on.clear()
    counting.clear()
    second, third = sight.latest(), sight.latest()
    assert counting.wait(5)
    go_on.set()
    wait_for(lambda: sight.latest()[JobState.SKIPPED] == 2, "it is counted again")
    wait_for(sight.is_idle, "nobody counts any more")
    queue.close()

    assert [counts[JobState.SKIPPED] for counts in (first, second, third)] == [1, 1, 1]


def test_rows_go_long_after_the_files_and_the_folder_still_tells(stored: Stored) -> None:
    """What keeps files, has not ended or ended lately keeps its rows."""
    old, kept, young, queued = (made_job(number) for number in (1, 2, 3, 4))
    for job in (old, young, queued):
        stored.folder(job, kept=False)
    stored.folder(kept)
    for job in (old, kept, young):
        stored.made.ended(job, "delivered", "fine", proof="trusted")
        write_ending(stored.layout, job.job_id, DELIVERED)
    stored.queue.submit(queued)
    now = datetime.now(UTC)
    long_ago = int((now - timedelta(days=ROWS_KEPT_DAYS + 1)).timestamp() * 1000)
    for job in (old, kept, queued):
        for row in (job.job_id, f"{job.job_id}-delivery"):
            stored.made.change("workflow_status", row, updated_at=long_ago)

    gone = forget_rows(stored.layout, stored.queue, now=now.timestamp())
    shown = show_job(Settings(storage=stored.layout.root), old.job_id[:-2] + "01").status

    assert gone == 1
    assert stored.queue.job_ids() == {job.job_id for job in (kept, young, queued)}
    with pytest.raises(UnknownJob):
        stored.queue.get(old.job_id)
    assert (shown.job, shown.state, shown.proof) == (old, JobState.DELIVERED, "trusted")
    assert compare(stored.layout, stored.queue).missing == ()
    assert not stored.queue.retry_if_failed(old.job_id)
    assert json.loads((stored.layout.job_folder(old.job_id) / "job.json").read_text())["job_id"] == old.job_id
