"""The inbox: durable before success, private, and a job once only."""

import errno
import os
import shutil
import stat
import threading
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.misc import is_dicom
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from app.gateway.inbox import PREAMBLE_LENGTH, Inbox
from app.gateway.instance import DataSetMismatch, DataSetUnreadable, InboxFull, UnsafeUID, checked_uid
from app.gateway.taking import Taken
from app.jobs.discarded import MOST_SERIES, DiscardedSeries, DiscardRecords
from app.jobs.history import read_history
from app.jobs.job import SeriesJob
from app.jobs.keeping import empty_job
from app.jobs.layout import StorageLayout
from app.jobs.lineage import lineage_lock, read_lineage, write_lineage
from operators.dicom.routing import load_rules
from tests.made_dicom import made_dx, made_uid
from tests.made_mr import made_mr
from tests.received import received

QUIET_S = 5.0


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock at 100 s."""
    return Clock()


@pytest.fixture
def layout(tmp_path: Path) -> StorageLayout:
    """Return the folders of a fresh node."""
    layout = StorageLayout(tmp_path / "storage")
    layout.create()
    return layout


@pytest.fixture
def inbox(layout: StorageLayout, clock: Clock) -> Inbox:
    """Return an empty inbox."""
    return new_inbox(layout, clock)


def new_inbox(layout: StorageLayout, clock: Clock) -> Inbox:
    """Return the inbox of a process that has just started."""
    return Inbox(layout, quiet_s=QUIET_S, clock=clock, minimum_free_bytes=0)


def radiograph(**options: object) -> FileDataset:
    """Return a small radiograph."""
    return made_dx(np.zeros((4, 4)), **options)  # type: ignore[arg-type]


def release(inbox: Inbox, *datasets: FileDataset) -> list[SeriesJob]:
    """Send data sets on one association, release it, and return the new jobs."""
    for dataset in datasets:
        inbox.accept(received(dataset), 1)
    inbox.association_ended(1, in_order=True)
    return [taken.job for taken in inbox.take_complete() if not taken.is_repeat]


def test_what_was_accepted_is_in_the_job_byte_for_byte(inbox: Inbox, layout: StorageLayout) -> None:
    """The data set is written unparsed."""
    instance = received(radiograph())

    inbox.accept(instance, 1)
    inbox.association_ended(1, in_order=True)
    (taken,) = inbox.take_complete()

    (file,) = layout.job_input(taken.job.job_id).iterdir()
    assert file.read_bytes()[PREAMBLE_LENGTH:] == instance.meta + instance.data_set
    assert is_dicom(file)


def test_an_instance_and_its_name_are_synced_before_it_counts_as_accepted(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PS3.4 B.2.3: success says that the receiver has it. Its name is on the disk first, then its content."""
    order: list[str] = []
    real_sync, real_rename = os.fsync, Path.rename

    def sync(descriptor: int) -> None:
        real_sync(descriptor)
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    def rename(self: Path, target: Path) -> Path:
        order.append("rename")
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    inbox.accept(received(radiograph()), 1)

    assert order == ["folder", "file", "rename"]


def test_everything_in_the_storage_folder_is_readable_by_its_owner_only(inbox: Inbox, layout: StorageLayout) -> None:
    """The files name patients."""
    release(inbox, radiograph())

    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (layout.root, *layout.root.rglob("*"))}
    assert {modes[path] for path in modes if path.is_dir()} == {0o700}
    assert {modes[path] for path in modes if path.is_file()} == {0o600}


def test_the_same_series_again_makes_no_second_job(inbox: Inbox, layout: StorageLayout) -> None:
    """Routing a study twice changes nothing."""
    (job,) = release(inbox, radiograph())

    assert release(inbox, radiograph()) == []
    assert [folder.name for folder in layout.jobs.iterdir()] == [job.job_id]
    assert list(layout.arriving.iterdir()) == []


def test_a_repeat_brings_back_the_instances_that_retention_removed(inbox: Inbox, layout: StorageLayout) -> None:
    """A failed job can be retried after its study has been routed again."""
    (job,) = release(inbox, radiograph())
    (file,) = layout.job_input(job.job_id).iterdir()
    file.unlink()
    layout.job_input(job.job_id).rmdir()

    release(inbox, radiograph())

    assert [f.name for f in layout.job_input(job.job_id).iterdir()] == [file.name]


def volume(count: int = 6, **options: Any) -> list[FileDataset]:
    """Return the slices of a small MR series."""
    return made_mr(np.zeros((count, 4, 4), np.uint16), **options)


def changed(dataset: FileDataset) -> FileDataset:
    """Return a copy of an instance with another content under the same UIDs."""
    other = deepcopy(dataset)
    other.StudyDescription = "corrected"
    return other


def in_conflict(dataset: FileDataset) -> FileDataset:
    """Return another image under the same UIDs, with the same header."""
    other = deepcopy(dataset)
    other.PixelData = bytes(range(256))[: len(dataset.PixelData)]
    return other


def names(folder: Path) -> list[str]:
    """Return the SOP Instance UIDs of the files in a folder."""
    return sorted(file.name.split(".dcm")[0] for file in folder.iterdir())


def test_a_volume_starts_without_the_quiet_time_when_its_slices_are_whole(inbox: Inbox) -> None:
    """The clock stands still here."""
    (job,) = release(inbox, *volume())

    assert (job.instance_count, job.version) == (6, 1)


def test_a_volume_with_a_gap_waits_for_the_quiet_time(inbox: Inbox, clock: Clock) -> None:
    """The slice may be on its way."""
    slices = volume()

    assert release(inbox, *slices[:2], *slices[3:]) == []
    clock.now += QUIET_S
    (taken,) = inbox.take_complete()
    assert taken.job.instance_count == 5


def test_late_slices_make_one_more_version_of_the_whole_series(
    inbox: Inbox, layout: StorageLayout, clock: Clock
) -> None:
    """Not a fragment of its own: the slices that came before are part of it, linked and not copied."""
    slices = volume(9)
    (first,) = release(inbox, *slices[:6])
    release(inbox, *slices[6:])
    clock.now += QUIET_S
    (taken,) = inbox.take_complete()

    second = taken.job
    assert (second.version, second.instance_count) == (2, 9)
    assert names(layout.job_input(second.job_id)) == sorted(str(each.SOPInstanceUID) for each in slices)
    lineage = read_lineage(layout, first.series_key)
    assert lineage.job_ids == (first.job_id, second.job_id)
    assert lineage.is_superseded(first.job_id) and not lineage.is_superseded(second.job_id)
    one = f"{slices[0].SOPInstanceUID}.dcm"
    assert (layout.job_input(second.job_id) / one).samefile(layout.job_input(first.job_id) / one)


def test_a_part_of_a_series_that_comes_again_is_a_repeat_of_the_whole(inbox: Inbox, clock: Clock) -> None:
    """A second archive that has only some of the slices adds nothing."""
    slices = volume()
    (job,) = release(inbox, *slices)

    inbox.accept(received(slices[3]), 2)
    clock.now += QUIET_S
    (taken,) = inbox.take_complete()

    assert (taken.job, taken.is_repeat) == (job, True)


def test_an_instance_twice_in_one_association_counts_once(inbox: Inbox) -> None:
    """Senders repeat what they are not sure of."""
    slices = volume()

    (job,) = release(inbox, *slices, slices[0], slices[5])

    assert job.instance_count == 6


def test_a_header_that_is_corrected_while_its_series_arrives_counts(inbox: Inbox, layout: StorageLayout) -> None:
    """The archive has the later one. The earlier one was acknowledged too: it is kept beside it."""
    dataset = radiograph()
    (job,) = release(inbox, dataset, changed(dataset))

    (file,) = layout.job_input(job.job_id).iterdir()
    assert dcmread(file).StudyDescription == "corrected"
    (other,) = layout.job_aside(job.job_id).iterdir()
    assert dcmread(other).StudyDescription == dataset.StudyDescription
    assert layout.job_conflicts(job.job_id) == 0


def test_another_image_under_the_same_uid_is_a_conflict(
    inbox: Inbox, layout: StorageLayout, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing tells which of the two is right: the first counts, none is lost, and job and log say so."""
    dataset = made_dx(np.zeros((4, 4)))
    (job,) = release(inbox, dataset, in_conflict(dataset))

    (file,) = layout.job_input(job.job_id).iterdir()
    assert dcmread(file).PixelData == dataset.PixelData
    (other,) = layout.job_aside(job.job_id).iterdir()
    assert dcmread(other).PixelData != dataset.PixelData
    assert layout.job_conflicts(job.job_id) == 1
    assert [event.details for event in read_history(layout, job.job_id) if event.word == "conflict"] == [
        {"instances": 1}
    ]
    assert "series_in_conflict" in "".join(capsys.readouterr())


def test_a_conflict_with_an_earlier_job_is_told_by_that_job(inbox: Inbox, layout: StorageLayout) -> None:
    """It makes no job of its own, and is not lost."""
    dataset = made_dx(np.zeros((4, 4)))
    (job,) = release(inbox, dataset)

    assert release(inbox, in_conflict(dataset)) == []
    assert layout.job_conflicts(job.job_id) == 1


def test_a_corrected_header_makes_a_version_that_supersedes(inbox: Inbox, layout: StorageLayout) -> None:
    """Archives correct a patient's name or a body part and send the instance again under its UID."""
    slices = volume()
    (first,) = release(inbox, *slices)

    (second,) = release(inbox, *slices[:2], changed(slices[2]), *slices[3:])

    assert (second.version, second.instance_count) == (2, 6)
    assert read_lineage(layout, second.series_key).is_superseded(first.job_id)
    descriptions = [dcmread(file).get("StudyDescription") for file in layout.job_input(second.job_id).iterdir()]
    assert descriptions.count("corrected") == 1


def test_two_archives_that_differ_in_a_header_make_two_versions_and_no_more(inbox: Inbox, clock: Clock) -> None:
    """Routed in turn, as nightly jobs do, they must not supersede each other for ever."""
    one = volume()
    other = [changed(dataset) for dataset in one]

    taken: list[Taken] = []
    for study in (one, other, one, other, one[:2], other[:2]):
        for dataset in study:
            inbox.accept(received(dataset), 1)
        clock.now += QUIET_S
        taken += inbox.take_complete()

    assert [(each.job.version, each.is_repeat) for each in taken] == [(1, False), (2, False), *[(2, True)] * 4]


def test_a_known_content_is_known_after_retention_in_another_encoding_too(inbox: Inbox, layout: StorageLayout) -> None:
    """Else a study that is routed again after a day would be done again."""
    dataset = made_dx(np.zeros((16, 16)))
    (job,) = release(inbox, dataset)
    empty_job(layout, job.job_id, because="retention")
    again = deepcopy(dataset)
    again.compress(RLELossless, generate_instance_uid=False)

    assert release(inbox, again) == []
    (corrected,) = release(inbox, changed(dataset))
    assert corrected.version == 2


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "PatientID"])
def test_the_same_instance_in_another_study_series_or_patient_is_another_job(
    inbox: Inbox, layout: StorageLayout, keyword: str
) -> None:
    """Archives split and merge studies; what was acknowledged leads to a job, wherever the UID was seen before."""
    dataset = radiograph()
    (first,) = release(inbox, dataset)
    other = deepcopy(dataset)
    setattr(other, keyword, "1.2.3")

    (second,) = release(inbox, other)

    assert second.job_id != first.job_id and second.version == 1
    (file,) = layout.job_input(second.job_id).iterdir()
    assert dcmread(file)[keyword].value == "1.2.3"


def test_two_patients_under_one_series_uid_are_two_jobs_even_at_once(inbox: Inbox, layout: StorageLayout) -> None:
    """Their slices must never meet in one volume."""
    slices = volume(12)
    for dataset in slices[6:]:
        dataset.PatientID = "somebody else"

    jobs = release(inbox, *slices)

    assert sorted(job.instance_count for job in jobs) == [6, 6]
    for job in jobs:
        patients = {str(dcmread(file).PatientID) for file in layout.job_input(job.job_id).iterdir()}
        assert len(patients) == 1


def test_a_series_of_version_0_1_0_is_continued(inbox: Inbox, layout: StorageLayout) -> None:
    """Its record lies under the Series Instance UID, its job has another identity; the new one is the next version."""
    dataset = radiograph()
    (job,) = release(inbox, dataset)
    old = replace(job, job_id="0" * 32, series_key="")
    layout.job_folder(job.job_id).rename(layout.job_folder(old.job_id))
    (layout.job_folder(old.job_id) / "job.json").write_text(old.to_json())
    lineage = read_lineage(layout, job.series_key)
    (layout.series / f"{job.series_key}.json").unlink()
    write_lineage(layout, job.series_instance_uid, replace(lineage, job_ids=(old.job_id,)))

    (new,) = release(inbox, dataset)

    assert new.version == 2
    assert read_lineage(layout, new.series_key).before(new.job_id) == (old.job_id,)


@pytest.mark.parametrize("again", [ImplicitVRLittleEndian, RLELossless])
def test_the_same_content_in_another_encoding_changes_nothing(inbox: Inbox, layout: StorageLayout, again: UID) -> None:
    """Each association negotiates its transfer syntax anew, and another archive may compress."""
    dataset = made_dx(np.zeros((16, 16)))
    (job,) = release(inbox, dataset)
    other = deepcopy(dataset)
    if again.is_compressed:
        other.compress(again, generate_instance_uid=False)
    else:
        other.file_meta.TransferSyntaxUID = again

    assert release(inbox, other) == []
    assert not layout.job_aside(job.job_id).exists()


def test_a_series_that_cannot_become_a_job_stays_in_the_inbox(
    inbox: Inbox, layout: StorageLayout, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full: the gateway goes on, and tries again after a while."""

    def full(_path: Path, *_chunks: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("app.gateway.taking.write_durably", full)
        assert release(inbox, radiograph()) == []
    assert inbox.take_complete() == ()

    clock.now += QUIET_S
    (taken,) = inbox.take_complete()
    assert layout.job_input(taken.job.job_id).is_dir()


def test_a_series_that_becomes_a_job_holds_up_none_that_arrives(
    inbox: Inbox, layout: StorageLayout, clock: Clock
) -> None:
    """Making a job syncs several files, or waits for another gateway: senders do not wait with it."""
    inbox.accept(received(radiograph(study="first")), 1)
    clock.now += QUIET_S
    taken: list[Taken] = []
    taking = threading.Thread(target=lambda: taken.extend(inbox.take_complete()))
    with lineage_lock(layout):
        taking.start()
        while any(layout.arriving.iterdir()):  # until the first is claimed
            taking.join(0.01)
        accepting = threading.Thread(target=inbox.accept, args=(received(radiograph(study="second")), 2))
        accepting.start()
        accepting.join(10)
        was_held_up = accepting.is_alive()
    taking.join()
    accepting.join()

    assert not was_held_up
    assert [each.job.instance_count for each in taken] == [1]


def test_an_instance_that_comes_while_its_series_becomes_a_job_is_late(
    inbox: Inbox, layout: StorageLayout, clock: Clock
) -> None:
    """It makes one more version, which holds both."""
    first, second = radiograph(), radiograph()
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = UID(made_uid("late"))
    inbox.accept(received(first), 1)
    clock.now += QUIET_S
    taken: list[Taken] = []
    taking = threading.Thread(target=lambda: taken.extend(inbox.take_complete()))
    with lineage_lock(layout):
        taking.start()
        while any(layout.arriving.iterdir()):
            taking.join(0.01)
        accepting = threading.Thread(target=inbox.accept, args=(received(second), 2))
        accepting.start()
        accepting.join(10)
    taking.join()
    accepting.join()
    clock.now += QUIET_S
    taken.extend(inbox.take_complete())

    assert [(each.job.version, each.job.instance_count) for each in taken] == [(1, 1), (2, 2)]


def test_another_pack_is_another_job_of_the_same_series(layout: StorageLayout, clock: Clock) -> None:
    """Routing a study again after an update gives a new result, which supersedes the old one."""
    packs = ["pack 1"]
    inbox = Inbox(layout, quiet_s=QUIET_S, clock=clock, minimum_free_bytes=0, packs=lambda _modality: packs)
    (first,) = release(inbox, radiograph())
    packs[:] = ["pack 2"]

    (second,) = release(inbox, radiograph())

    assert (first.version, second.version) == (1, 2)
    assert first.job_id != second.job_id


def test_a_series_that_comes_by_two_gateways_is_one_job(layout: StorageLayout, clock: Clock) -> None:
    """Behind a load balancer each association of a sender may end at another gateway."""
    north, south = (
        Inbox(layout, quiet_s=QUIET_S, clock=clock, minimum_free_bytes=0, gateway=name) for name in ("north", "south")
    )
    slices = volume(10)
    for dataset in slices[:5]:
        north.accept(received(dataset), 1)
    for dataset in slices[5:]:
        south.accept(received(dataset), 1)
    north.association_ended(1, in_order=True)
    south.association_ended(1, in_order=True)

    assert north.take_complete() == ()  # it sees that there is more than came to it
    clock.now += QUIET_S
    taken = [*north.take_complete(), *south.take_complete()]

    assert [each.job.instance_count for each in taken] == [10]


def test_what_a_dead_gateway_has_left_behind_is_taken_up_by_another(layout: StorageLayout, clock: Clock) -> None:
    """Whole parts, series that it was taking, and series that were arriving."""
    dead = Inbox(layout, quiet_s=QUIET_S, clock=clock, minimum_free_bytes=0, gateway="dead")
    datasets = [radiograph(instance_number=number) for number in (1, 2, 3)]
    for dataset in datasets:
        dead.accept(received(dataset), 1)
    (part, taking, _) = layout.arriving.iterdir()
    (file,) = (part / "input").iterdir()
    file.rename(layout.partial / "dead" / "part")
    shutil.rmtree(part)
    taking.rename(layout.taking / "dead" / "series")

    living = Inbox(layout, quiet_s=QUIET_S, clock=clock, minimum_free_bytes=0, gateway="living")
    assert living.recover() == 1
    assert living.recover(["dead"]) == 3
    clock.now += QUIET_S
    assert len(living.take_complete()) == 3


def test_two_series_on_one_association_are_two_jobs(inbox: Inbox) -> None:
    """A study of two views."""
    jobs = release(inbox, radiograph(instance_number=1), radiograph(instance_number=2))

    assert len({job.series_instance_uid for job in jobs}) == 2


def test_a_process_that_died_finds_what_was_arriving(inbox: Inbox, layout: StorageLayout, clock: Clock) -> None:
    """An accepted instance is processed even if the node crashed before its series was complete."""
    inbox.accept(received(radiograph()), 1)
    (layout.partial / "gateway" / "torn").write_bytes(b"ab" * 64 + b"DICM half an inst")

    restarted = new_inbox(layout, clock)
    assert restarted.recover() == 1
    assert restarted.take_complete() == ()
    clock.now += QUIET_S
    (taken,) = restarted.take_complete()

    assert list((layout.partial / "gateway").iterdir()) == []
    assert layout.job_input(taken.job.job_id).is_dir()


def test_an_instance_whose_rename_was_lost_with_the_power_is_placed_at_the_next_start(
    inbox: Inbox, layout: StorageLayout, clock: Clock
) -> None:
    """Its sender was told that it is safe; the digest in its preamble says that it is whole."""
    inbox.accept(received(radiograph()), 1)
    (series,) = layout.arriving.iterdir()
    (file,) = (series / "input").iterdir()
    file.rename(layout.partial / "gateway" / "whole")
    (series / "input").rmdir()
    series.rmdir()

    restarted = new_inbox(layout, clock)
    assert restarted.recover() == 1
    clock.now += QUIET_S
    (taken,) = restarted.take_complete()

    assert (taken.job.series_instance_uid, taken.job.calling_ae_title) == (str(radiograph().SeriesInstanceUID), "")


def test_a_recovered_series_is_the_same_job_as_an_undisturbed_one(
    inbox: Inbox, layout: StorageLayout, clock: Clock, tmp_path: Path
) -> None:
    """Else a repeat after a crash would be processed twice."""
    inbox.accept(received(radiograph()), 1)
    restarted = new_inbox(layout, clock)
    restarted.recover()
    clock.now += QUIET_S
    (recovered,) = restarted.take_complete()
    elsewhere = StorageLayout(tmp_path / "elsewhere")
    elsewhere.create()

    (undisturbed,) = release(new_inbox(elsewhere, clock), radiograph())
    assert recovered.job.job_id == undisturbed.job_id


@pytest.mark.parametrize("modality", ["SEG", "SR", "PR", "KO"])
def test_objects_without_an_image_are_acknowledged_and_not_kept(inbox: Inbox, modality: str) -> None:
    """A PACS that routes whole studies sends our own results back: they must never be processed."""
    dataset = radiograph()
    dataset.Modality = modality

    assert inbox.accept(received(dataset), 1) is False
    assert inbox.next_completion() is None


def test_what_is_not_kept_is_counted_and_has_the_sentence_of_a_route(inbox: Inbox, layout: StorageLayout) -> None:
    """One small record for a series, whoever asks: it names no patient."""
    dataset = radiograph()
    dataset.Modality = "SR"
    for association in (1, 1, 2):
        inbox.accept(received(dataset), association)
        inbox.association_ended(association, in_order=True)

    (record,) = DiscardRecords(layout).recent()

    assert (record.series_instance_uid, record.modality, record.instances) == (dataset.SeriesInstanceUID, "SR", 3)
    assert record.reason == "skipped: SR holds no image of the patient"
    (file,) = layout.discarded.iterdir()
    assert dataset.PatientID not in file.read_text()


def test_every_modality_that_a_route_calls_no_image_is_not_kept(inbox: Inbox) -> None:
    """There is one list: that of the routes."""
    (rule,) = (rule for rule in load_rules() if rule.name == "no image")
    (condition,) = rule.conditions
    dataset = radiograph()
    for modality in condition.any_of:
        dataset.Modality = modality

        assert inbox.accept(received(dataset), 1) is False


def test_only_the_youngest_records_of_what_is_not_kept_stay(layout: StorageLayout) -> None:
    """A PACS that sends everything must not fill the disk with notes about it."""
    records = DiscardRecords(layout)
    for number in range(MOST_SERIES):
        (layout.discarded / f"1.{number}.json").write_text("{}")
    records.count(DiscardedSeries("2.1", "2.2", "SR", "PACS", instances=1, reason="skipped: no", last_at=0))

    records.flush()

    assert len(list(layout.discarded.iterdir())) == MOST_SERIES
    assert [record.series_instance_uid for record in records.recent()] == ["2.2"]


def test_our_own_overlay_is_acknowledged_and_not_kept(inbox: Inbox) -> None:
    """Its pixels show a spine; only its maker tells it from a source."""
    dataset = radiograph()
    dataset.Manufacturer = "Spondyl"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage

    assert inbox.accept(received(dataset), 1) is False


def test_a_radiograph_made_by_this_project_is_kept(inbox: Inbox) -> None:
    """The phantoms of the demonstration are studies like any other."""
    dataset = radiograph()
    dataset.Manufacturer = "Spondyl"

    assert inbox.accept(received(dataset), 1) is True


def test_a_deflated_data_set_is_kept(inbox: Inbox, layout: StorageLayout) -> None:
    """PS3.5 A.5: the data set as a whole is compressed, its identifiers too."""
    dataset = radiograph()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    (job,) = release(inbox, dataset)

    (file,) = layout.job_input(job.job_id).iterdir()
    assert dcmread(file).SeriesInstanceUID == dataset.SeriesInstanceUID


def test_a_full_disk_is_said_before_anything_is_written(layout: StorageLayout, clock: Clock) -> None:
    """The sender keeps its copy and tries again."""
    inbox = Inbox(layout, quiet_s=QUIET_S, clock=clock, minimum_free_bytes=1 << 60)

    with pytest.raises(InboxFull, match="make room"):
        inbox.accept(received(radiograph()), 1)
    assert list((layout.partial / "gateway").iterdir()) == []


def test_a_data_set_of_another_sop_class_than_the_requests_is_refused(inbox: Inbox) -> None:
    """PS3.4 Table B.2-1: Data Set does not match SOP Class."""
    with pytest.raises(DataSetMismatch, match="SOP Class"):
        inbox.accept(received(radiograph(), sop_class_uid="1.2.840.10008.5.1.4.1.1.4"), 1)


def test_a_data_set_without_a_series_is_refused_by_name(inbox: Inbox) -> None:
    """The sender's administrator has to know what is missing."""
    with pytest.raises(DataSetUnreadable, match="SeriesInstanceUID"):
        inbox.accept(received(radiograph(without=["SeriesInstanceUID"])), 1)


def test_noise_instead_of_a_data_set_is_refused(inbox: Inbox) -> None:
    """One bad upload must not hurt the others."""
    instance = received(radiograph())
    noise = instance.__class__(**{**vars(instance), "data_set": b"\x01" * 1000})

    with pytest.raises(DataSetUnreadable, match="the data set (has no|cannot be decoded)"):
        inbox.accept(noise, 1)


@pytest.mark.parametrize("uid", ["../../etc/passwd", "..", "", "1.2/3", "1.2.3\n", "1" * 65, "1.2.é", "1.2\x00"])
def test_what_is_no_uid_never_becomes_a_file_name(uid: str) -> None:
    """UIDs come from outside and name files here."""
    with pytest.raises(UnsafeUID, match="is not a UID"):
        checked_uid(uid, "SOP Instance UID")


def test_a_study_with_an_unsafe_uid_leaves_no_trace(inbox: Inbox, layout: StorageLayout) -> None:
    """Not even a folder."""
    dataset = radiograph()
    with pytest.warns(UserWarning, match="Invalid value for VR UI"):
        dataset.SeriesInstanceUID = "../../outside"
        instance = received(dataset)

    with pytest.raises(UnsafeUID, match="SeriesInstanceUID"):
        inbox.accept(instance, 1)
    assert list(layout.arriving.iterdir()) == []
