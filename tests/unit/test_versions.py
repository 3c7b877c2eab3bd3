"""Results of a later version of a series: what they say, and what is not sent twice."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ComprehensiveSRStorage

from app.jobs.accession import accession_key
from app.jobs.history import note, read_history
from app.jobs.layout import StorageLayout
from app.jobs.lineage import Lineage, read_lineage, write_lineage
from app.jobs.sent_instances import SentInstance, read_sent, write_sent
from app.jobs.versions import LONGEST_DESCRIPTION, mark_version
from tests.made_dicom import made_dx

EARLIER = SentInstance(str(ComprehensiveSRStorage), "1.2.3.1", "1.2.3", "SR")


@pytest.fixture
def layout(tmp_path: Path) -> StorageLayout:
    """Return the folders of a fresh node."""
    layout = StorageLayout(tmp_path / "storage")
    layout.create()
    return layout


def result(folder: Path, modality: str, number: int = 1, description: str = "Spine report") -> Path:
    """Write something that stands for a result."""
    dataset = made_dx(np.zeros((4, 4)), instance_number=number)
    dataset.Modality, dataset.SeriesDescription = modality, description
    folder.mkdir(exist_ok=True)
    file = folder / f"{modality}{number}.dcm"
    dataset.save_as(file, enforce_file_format=True)
    return file


def test_a_superseding_report_names_the_version_and_its_predecessor(tmp_path: Path) -> None:
    """PS3.3 C.17.2.3: Predecessor Documents Sequence; the description is what a list of series shows."""
    report, segmentation = result(tmp_path, "SR", 1), result(tmp_path, "SEG", 2)

    mark_version([tmp_path], 2, [EARLIER])

    later = dcmread(report)
    (study,) = later.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    assert study.StudyInstanceUID == later.StudyInstanceUID
    assert (series.SeriesInstanceUID, series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) == ("1.2.3", "1.2.3.1")
    assert later.SeriesDescription == "Spine report (version 2)"
    assert dcmread(segmentation).SeriesDescription == "Spine report (version 2)"
    assert "PredecessorDocumentsSequence" not in dcmread(segmentation)


def test_marking_twice_is_marking_once(tmp_path: Path) -> None:
    """The step may be done again after a crash."""
    report = result(tmp_path, "SR", description="x" * LONGEST_DESCRIPTION)
    mark_version([tmp_path], 2, [EARLIER])
    once = report.read_bytes()

    mark_version([tmp_path], 2, [EARLIER])

    assert report.read_bytes() == once
    assert len(dcmread(report).SeriesDescription) == LONGEST_DESCRIPTION


def test_the_results_of_a_first_version_stay_as_they_are(tmp_path: Path) -> None:
    """The same input gives the same bytes."""
    report = result(tmp_path, "SR")
    before = report.read_bytes()

    (sent,) = mark_version([tmp_path], 1, [])

    assert report.read_bytes() == before
    assert sent.sop_instance_uid == dcmread(report).SOPInstanceUID


def test_a_radiograph_more_adds_its_results_and_leaves_the_others_alone(tmp_path: Path) -> None:
    """Each radiograph has results of its own: those of the first were sent, and are not sent again under their UIDs."""
    old, new = result(tmp_path, "SEG", 1), result(tmp_path, "SEG", 2)
    header, before = dcmread(old), new.read_bytes()
    earlier = SentInstance(str(header.SOPClassUID), str(header.SOPInstanceUID), str(header.SeriesInstanceUID), "SEG")

    (sent,) = mark_version([tmp_path], 2, [earlier])

    assert not old.exists()
    assert new.read_bytes() == before
    assert sent.sop_instance_uid == dcmread(new).SOPInstanceUID


def test_the_other_encoding_of_a_result_does_not_make_it_superseded(tmp_path: Path) -> None:
    """Two destinations with two encodings got two instances; both are still made."""
    files = [result(tmp_path / name, "SEG", number) for number, name in enumerate(("standard", "ohif"), 1)]
    headers = [dcmread(file) for file in files]
    earlier = [SentInstance("1.2", str(each.SOPInstanceUID), "1.2.3", "SEG") for each in headers]

    assert mark_version([tmp_path / "standard", tmp_path / "ohif"], 2, earlier) == ()


def test_what_was_sent_is_on_record(layout: StorageLayout) -> None:
    """Before it leaves: a later version has to know of it."""
    layout.job_folder("ab").mkdir()
    write_sent(layout, "ab", [EARLIER])

    assert read_sent(layout, "ab") == (EARLIER,)
    assert read_sent(layout, "cd") == ()


def test_a_lineage_tells_what_came_before_and_what_is_superseded(layout: StorageLayout) -> None:
    """Youngest first, for the youngest that was sent is the predecessor."""
    write_lineage(layout, "1.2.3", Lineage(("a", "b", "c"), {"1.2.3.4": "00"}))
    lineage = read_lineage(layout, "1.2.3")

    assert lineage.before("c") == ("b", "a")
    assert lineage.is_superseded("b") and not lineage.is_superseded("c")
    assert not read_lineage(layout, "9.9").is_superseded("a")


def test_a_history_is_told_in_order_and_survives_a_torn_line(layout: StorageLayout) -> None:
    """Power may go in the middle of a line."""
    layout.job_folder("ab").mkdir()
    note(layout, "ab", "series_complete", instances=3)
    with (layout.job_folder("ab") / "history.jsonl").open("a") as file:
        file.write('{"time": "2026-')
    note(layout, "nobody", "retention")

    (event,) = read_history(layout, "ab")
    assert (event.word, event.details) == ("series_complete", {"instances": 3})


def test_an_accession_number_is_found_by_a_key_that_does_not_tell_it(layout: StorageLayout, tmp_path: Path) -> None:
    """Padding is no part of it (VR SH); another folder has another key, so that a stolen queue tells nothing."""
    elsewhere = StorageLayout(tmp_path / "elsewhere")
    elsewhere.create()

    key = accession_key(layout, "A4711")

    assert key == accession_key(layout, " A4711 ") != accession_key(elsewhere, "A4711")
    assert accession_key(layout, "  ") == ""
    assert (layout.root / "accession.key").stat().st_mode & 0o777 == 0o600
