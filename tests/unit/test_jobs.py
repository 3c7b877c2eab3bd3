"""Jobs: records, states, the look at results, and what a run means for its job."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import app.jobs.process
from app.jobs.job import FINAL_STATES, STATE_SENTENCES, JobState, SeriesJob
from app.jobs.keeping import is_over
from app.jobs.layout import StorageLayout
from app.jobs.process import DEAD_AFTER_S, Heartbeat, PulseWatch, process_name, read_sign, read_signs
from app.jobs.queue import JobQueue, JobStatus, QueueUnavailable
from app.jobs.results import ResultFault, check_results
from app.jobs.runner import answer_of
from app.report import RunReport, SeriesReport
from app.settings import Retention, Settings
from tests.made_dicom import made_dx
from tests.node import wait_for

JOB = SeriesJob(
    job_id="ab" * 16,
    study_instance_uid="1.2",
    series_instance_uid="1.2.3",
    modality="DX",
    calling_ae_title="PACS",
    instance_count=1,
)


def view(status: str, reason: str = "because", labels: tuple[str, ...] = ()) -> SeriesReport:
    """Return the report of one radiograph."""
    return SeriesReport(
        study_instance_uid="1.2",
        series_instance_uid="1.2.3",
        sop_instance_uids=("1.2.3.4",),
        decision="spinefm",
        status=status,  # type: ignore[arg-type]
        reason=reason,
        numbering="landmark",
        structures=tuple({"label": label, "kind": "vertebra"} for label in labels),
    )


def report(*views: SeriesReport, faults: tuple[str, ...] = ()) -> RunReport:
    """Return the report of a run."""
    return RunReport("0", views, faults=tuple((Path("file"), fault) for fault in faults))


def test_every_state_has_a_sentence() -> None:
    """A state that nobody can read in words is none."""
    assert set(STATE_SENTENCES) == set(JobState)
    assert all(sentence.endswith(".") for sentence in STATE_SENTENCES.values())


def test_a_job_that_has_ended_is_in_a_final_state() -> None:
    """What waits or runs can be stopped; what has ended can be tried again."""
    assert set(JobState) - FINAL_STATES == {JobState.QUEUED, JobState.PROCESSING, JobState.DELIVERING}


def test_a_segmented_series_says_what_was_found() -> None:
    """The first thing that a radiologist asks."""
    answer = answer_of(report(view("succeeded", labels=("C3", "C4", "C5"))))

    assert (answer.decision, answer.sentence) == ("segmented", "3 vertebrae: C3 to C5 (numbering: landmark)")


def test_a_segmented_volume_counts_its_vertebrae_alone() -> None:
    """Not its discs and substructures."""
    others = ({"label": "L1/L2", "kind": "disc"}, {"label": "spinal canal", "kind": "substructure"})
    volume = view("succeeded", labels=("L1", "L2"))

    answer = answer_of(report(replace(volume, structures=(*volume.structures, *others))))

    assert answer.sentence == "2 vertebrae: L1 to L2 (numbering: landmark)"


def test_a_series_of_two_views_is_delivered_if_one_of_them_was_segmented() -> None:
    """A lateral and an AP view in one series: the sentence tells of both."""
    answer = answer_of(report(view("succeeded", labels=("L1", "L2")), view("refused", "refused: an AP view")))

    assert answer.decision == "segmented"
    assert "refused: an AP view" in answer.sentence


def test_a_refusal_outweighs_a_skipped_view() -> None:
    """An engine looked: that is worth more to know."""
    assert answer_of(report(view("skipped"), view("refused"))).decision == "refused"
    assert answer_of(report(view("skipped"))).decision == "skipped"


@pytest.mark.parametrize(
    "run",
    [report(view("failed", "failed while reading")), report(faults=("failed while reading",))],
    ids=["a view", "a file"],
)
def test_a_fault_without_any_result_fails_the_job(run: RunReport) -> None:
    """It must not look like a series that nobody wanted."""
    with pytest.raises(ResultFault, match="failed while reading"):
        answer_of(run)


def test_a_run_that_saw_nothing_fails_the_job() -> None:
    """The job has instances, so something is wrong."""
    with pytest.raises(ResultFault, match="no instance of the series can be read"):
        answer_of(report())


def write_result(folder: Path, name: str = "a", **options: object) -> str:
    """Write a data set as if it were a result, and return its study."""
    dataset = made_dx(np.zeros((4, 4)), **options)  # type: ignore[arg-type]
    folder.mkdir(exist_ok=True)
    dataset.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    return str(dataset.StudyInstanceUID)


def test_results_of_the_sources_study_may_leave(tmp_path: Path) -> None:
    """The last look counts them."""
    study = write_result(tmp_path / "out")

    assert check_results(tmp_path / "out", study) == 1


def test_a_result_of_another_study_stays_here(tmp_path: Path) -> None:
    """A report in the wrong patient's study is the worst that can happen."""
    write_result(tmp_path / "out")

    with pytest.raises(ResultFault, match="does not belong to the study"):
        check_results(tmp_path / "out", "1.2.3")


def test_two_results_under_one_uid_stay_here(tmp_path: Path) -> None:
    """The receiver would keep either."""
    study = write_result(tmp_path / "out", "a")
    write_result(tmp_path / "out", "b")

    with pytest.raises(ResultFault, match="twice"):
        check_results(tmp_path / "out", study)


def test_success_without_a_result_is_a_fault(tmp_path: Path) -> None:
    """The job must not end as delivered with nothing sent."""
    with pytest.raises(ResultFault, match="wrote no result"):
        check_results(tmp_path, "1.2")


def test_a_job_survives_its_json() -> None:
    """The record in job.json is the job."""
    assert SeriesJob.from_mapping(json.loads(JOB.to_json())) == JOB


def test_a_queue_that_nobody_has_made_yet_is_said_to_be_so(tmp_path: Path) -> None:
    """`spondyl jobs list` before the first `spondyl serve` makes no empty database."""
    layout = StorageLayout(tmp_path)

    with pytest.raises(QueueUnavailable, match="start the node"):
        JobQueue(layout.queue_url).submit(replace(JOB, job_id="cd" * 16))
    assert not layout.queue_file.exists()


def test_a_process_is_alive_while_its_sign_is_fresh(tmp_path: Path) -> None:
    """The dashboard and `check` read it; a killed process leaves an old one."""
    layout = StorageLayout(tmp_path)
    layout.create()
    heartbeat = Heartbeat(layout, "gateway", host="127.0.0.1", port=104)

    heartbeat.start()
    written_at = (layout.heartbeats / "gateway").stat().st_mtime
    fresh = read_sign(layout, "gateway", now=written_at + 1)
    stale = read_sign(layout, "gateway", now=written_at + DEAD_AFTER_S)
    heartbeat.stop()

    assert fresh is not None
    assert (fresh.host, fresh.port) == ("127.0.0.1", 104)
    assert stale is None
    assert read_sign(layout, "gateway") is None


@pytest.mark.parametrize("damage", ["folder away", "file removed", "file emptied"])
def test_a_heartbeat_that_failed_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    """Others would take over what it works on, for good, although the disk was away for a moment only."""
    monkeypatch.setattr(app.jobs.process, "BEAT_EVERY_S", 0.01)
    layout = StorageLayout(tmp_path)
    layout.create()
    heartbeat = Heartbeat(layout, "worker-1")
    heartbeat.start()
    file = layout.heartbeats / "worker-1"

    match damage:
        case "folder away":
            layout.heartbeats.rename(tmp_path / "away")
            wait_for(lambda: heartbeat.is_failing, "a beat has failed")
            (tmp_path / "away").rename(layout.heartbeats)
            os.utime(file, (0, 0))
        case "file removed":
            file.unlink()
        case "file emptied":
            file.write_text("")

    wait_for(lambda: read_sign(layout, "worker-1") is not None, "it gives signs again", patience_s=5)
    heartbeat.stop()


def test_a_heartbeat_leaves_the_sign_of_another_process_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor has started another one under the name: that one's number counts."""
    monkeypatch.setattr(app.jobs.process, "BEAT_EVERY_S", 0.01)
    layout = StorageLayout(tmp_path)
    layout.create()
    heartbeat = Heartbeat(layout, "worker-1")
    heartbeat.start()
    other = '{"process_id": 1, "host": null, "port": null}'

    (layout.heartbeats / "worker-1").write_text(other)
    os.utime(layout.heartbeats / "worker-1", (0, 0))
    beats = heartbeat.beats
    wait_for(lambda: heartbeat.beats > beats + 2, "it beats on")

    assert (layout.heartbeats / "worker-1").read_text() == other
    assert (layout.heartbeats / "worker-1").stat().st_mtime == 0
    heartbeat.stop()


def test_a_process_whose_heartbeat_stands_still_is_dead_by_the_clock_of_the_observer(tmp_path: Path) -> None:
    """The clocks of two machines differ, so a time of the file itself says nothing."""
    layout, now = StorageLayout(tmp_path), [1000.0]
    layout.create()
    file = layout.heartbeats / "north.worker-1"
    file.touch()
    watch = PulseWatch(layout, clock=lambda: now[0])

    assert not watch.is_dead("north.worker-1")
    now[0] += DEAD_AFTER_S - 1
    os.utime(file, (0, 0))
    assert not watch.is_dead("north.worker-1")
    now[0] += DEAD_AFTER_S
    assert watch.is_dead("north.worker-1")
    os.utime(file, (1, 1))
    assert not watch.is_dead("north.worker-1")


def test_a_process_without_a_heartbeat_is_given_time_to_make_one(tmp_path: Path) -> None:
    """It may just be starting."""
    layout, now = StorageLayout(tmp_path), [1000.0]
    layout.create()
    watch = PulseWatch(layout, clock=lambda: now[0])

    assert not watch.is_dead("south.worker-1")
    now[0] += DEAD_AFTER_S
    assert watch.is_dead("south.worker-1")


def test_processes_of_several_nodes_are_told_apart_by_the_nodes_name(tmp_path: Path) -> None:
    """They share a folder; a node that is alone needs no name."""
    layout = StorageLayout(tmp_path)
    layout.create()
    names = [process_name(Settings(node_name=node), "worker-1") for node in ("", "north")]
    beats = [Heartbeat(layout, name) for name in names]

    for beat in beats:
        beat.start()
    alive = read_signs(layout)
    for beat in beats:
        beat.stop()

    assert names == ["worker-1", "north.worker-1"]
    assert sorted(alive) == sorted(names)


@pytest.mark.parametrize(
    ("state", "proof", "goes"),
    [
        (JobState.DELIVERED, "proven", True),
        (JobState.DELIVERED, "trusted", True),
        (JobState.DELIVERED, "waiting", False),
        (JobState.DELIVERED, "", False),
        (JobState.SKIPPED, "", True),
        (JobState.REFUSED, "", True),
        (JobState.SUPERSEDED, "", True),
        (JobState.FAILED, "", False),
        (JobState.CANCELLED, "", False),
        (JobState.PROCESSING, "", False),
    ],
)
def test_only_what_nobody_needs_any_more_goes_by_itself(state: JobState, proof: str, goes: bool) -> None:
    """What failed, was stopped or is not proven at its destination waits for a person, unless the settings say else."""
    ended = datetime(2026, 1, 1, tzinfo=UTC)
    status = JobStatus(JOB, state, "", ended, ended, proof)
    year_later = (ended + timedelta(days=365)).timestamp()

    assert is_over(status, Retention(), year_later) is goes
    assert not is_over(status, Retention(), ended.timestamp() + 3600)
    assert not is_over(status, Retention(), year_later, in_conflict=True)
    assert is_over(status, Retention(failed_hours=1), year_later) is (state is not JobState.PROCESSING)
