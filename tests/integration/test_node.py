"""The node as a PACS sees it: real processes, a real queue, real associations; only the networks are not run."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset

from app.delivery.receiver import Receiver
from app.delivery.send import send_folder
from app.jobs.job import JobState
from app.jobs.queries import cancel_job, retry_job, show_job
from app.jobs.queue import JobNotReady, JobStatus, UnknownJob
from app.jobs.story import tell
from app.serve import Node
from tests.made_dicom import made_dx
from tests.node import destination, ended_jobs, gateway_port, jobs_of, node_settings, running_node, wait_for

pytestmark = pytest.mark.slow

LATENCY_S = 2.0


@dataclass
class Site:
    """A node, the PACS it delivers to, and the gate that holds its worker."""

    node: Node
    pacs: Receiver
    gate: Path
    studies: Path
    number: int = 0

    def study(self, body_part: str = "CSPINE") -> FileDataset:
        """Return a radiograph that no other test has sent."""
        self.number += 1
        return made_dx(np.eye(64), study=f"study {self.number}", body_part=body_part, view="LL")

    def route(self, *datasets: FileDataset) -> None:
        """Send data sets to the node on one association."""
        folder = self.studies / f"{time.monotonic_ns()}"
        folder.mkdir()
        for dataset in datasets:
            dataset.save_as(folder / str(dataset.SOPInstanceUID), enforce_file_format=True)
        called = self.node.settings.node.ae_title
        outcomes = send_folder(folder, "127.0.0.1", gateway_port(self.node), calling="PACS", called=called)
        assert [outcome.fate for outcome in outcomes] == ["stored"] * len(datasets)

    def ended(self, dataset: FileDataset) -> JobStatus:
        """Wait until the job of a study has ended, and return it."""
        wait_for(lambda: self._job(dataset) is not None, "a job of the study that has ended")
        status = self._job(dataset)
        assert status is not None
        return status

    def _job(self, dataset: FileDataset) -> JobStatus | None:
        ended = ended_jobs(self.node, 0)
        return next((each for each in ended if each.job.study_instance_uid == dataset.StudyInstanceUID), None)

    def results(self, dataset: FileDataset) -> list[FileDataset]:
        """Return what the PACS has received for a study."""
        return [dcmread(file) for file in (self.pacs.folder / str(dataset.StudyInstanceUID)).glob("*.dcm")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run a node and its PACS for the tests of this module."""
    root = tmp_path_factory.mktemp("site")
    for name in ("gate", "studies"):
        (root / name).mkdir()
    with pytest.MonkeyPatch.context() as environment, Receiver(root / "pacs", "PACS") as pacs:
        environment.setenv("CAPTURE_GATE", str(root / "gate"))
        with running_node(node_settings(root / "storage", destination(pacs.port))) as node:
            yield Site(node, pacs, root / "gate", root / "studies")


@pytest.mark.peers("storescu")
def test_a_radiograph_sent_by_another_makers_scu_comes_back_as_a_result(site: Site, tmp_path: Path) -> None:
    """The main job: a study in by C-STORE, its result out by C-STORE, in the same study."""
    dataset = site.study()
    dataset.save_as(tmp_path / "radiograph", enforce_file_format=True)

    port = str(gateway_port(site.node))
    subprocess.run(["storescu", "-aec", "SPONDYL", "127.0.0.1", port, str(tmp_path / "radiograph")], check=True)

    status = site.ended(dataset)
    assert (status.state, status.job.calling_ae_title) == (JobState.DELIVERED, "STORESCU")
    assert re.fullmatch(r"1 captured\. pacs: 1 of 1 stored \d\d:\d\d \(UTC\)\.", status.sentence)
    assert [result.StudyInstanceUID for result in site.results(dataset)] == [dataset.StudyInstanceUID]


def test_routing_a_study_again_changes_nothing(site: Site) -> None:
    """No second job, no second copy, not even a second transfer."""
    dataset, sentinel = site.study(), site.study()
    site.route(dataset)
    site.ended(dataset)
    before = dict(site.pacs.counts)

    site.route(dataset)
    site.route(sentinel)
    site.ended(sentinel)

    own = [status for status in jobs_of(site.node) if status.job.study_instance_uid == dataset.StudyInstanceUID]
    assert len(own) == 1
    assert {uid: count for uid, count in site.pacs.counts.items() if uid in before} == before


def test_results_that_a_pacs_routes_back_are_never_processed(site: Site) -> None:
    """Else node and PACS would feed each other for ever."""
    dataset, sentinel = site.study(), site.study()
    site.route(dataset)
    site.ended(dataset)

    site.route(*site.results(dataset))
    site.route(sentinel)
    site.ended(sentinel)

    own = [status for status in jobs_of(site.node) if status.job.study_instance_uid == dataset.StudyInstanceUID]
    assert len(own) == 1


def test_a_result_is_in_the_pacs_two_seconds_after_the_association_was_released(site: Site) -> None:
    """Without the engine's own time; the best of three, since other programs run here too."""
    waits = [_wait_for_result(site, site.study()) for _ in range(3)]

    assert min(waits) < LATENCY_S


@pytest.mark.parametrize(
    ("body_part", "state", "sentence"),
    [
        ("CHEST", JobState.SKIPPED, "no engine is meant for a chest"),
        ("HAND", JobState.REFUSED, "no spine is in view"),
        ("PELVIS", JobState.FAILED, "the pack for pelves is missing: install it"),
        ("KNEE", JobState.FAILED, "ValueError in captures.py"),
    ],
)
def test_a_series_without_a_result_ends_with_a_sentence_and_sends_nothing(
    site: Site, body_part: str, state: JobState, sentence: str
) -> None:
    """Where there is no result the job says why; an empty SEG is never sent."""
    dataset = site.study(body_part)
    site.route(dataset)

    status = site.ended(dataset)

    assert status.state is state
    assert sentence in status.sentence
    assert site.results(dataset) == []


def test_no_log_line_names_a_patient(site: Site) -> None:
    """Also not when a library quotes the header in the words of its exception."""
    dataset = site.study("KNEE")
    site.route(dataset)
    site.ended(dataset)

    log = (site.node.layout.root / "node.log").read_text()
    assert "engine_fault" in log
    assert "Phantom" not in log


def test_a_worker_killed_in_the_middle_costs_nothing_but_time(site: Site) -> None:
    """SIGKILL while the engine runs: the supervisor starts another, the queue gives it the job, one result arrives."""
    dataset = site.study()
    worker = site.node.sign("worker-1")
    assert worker is not None
    (site.gate / "hold").touch()
    site.route(dataset)
    wait_for(lambda: len(_beginnings(site, dataset)) == 1, "the engine begins")

    os.kill(worker.process_id, signal.SIGKILL)
    (site.gate / "hold").unlink()

    assert site.ended(dataset).state is JobState.DELIVERED
    assert len(_beginnings(site, dataset)) == 2
    assert [site.pacs.counts[str(result.SOPInstanceUID)] for result in site.results(dataset)] == [1]


def test_a_gateway_killed_between_two_series_loses_none(site: Site) -> None:
    """What was answered with success is on the disk: the next gateway takes it up."""
    dataset = site.study()
    dataset.Modality = "MR"  # not complete before the quiet time
    gateway = site.node.sign("gateway")
    assert gateway is not None
    site.route(dataset)

    os.kill(gateway.process_id, signal.SIGKILL)

    assert site.ended(dataset).state is JobState.DELIVERED


def test_a_job_can_be_stopped_and_taken_up_again(site: Site) -> None:
    """`spondyl jobs cancel` and `retry`; a job is named by the beginning of its id."""
    dataset, blocker = site.study(), site.study()
    (site.gate / "hold").touch()
    site.route(blocker)
    wait_for(lambda: len(_beginnings(site, blocker)) == 1, "the worker is busy")
    site.route(dataset)
    wait_for(lambda: any(_is_of(status, dataset) for status in jobs_of(site.node)), "the second job waits")
    job_id = next(status.job.job_id for status in jobs_of(site.node) if _is_of(status, dataset))
    settings = site.node.settings

    with pytest.raises(JobNotReady, match="queued"):
        retry_job(settings, job_id)
    assert cancel_job(settings, job_id[:12]).state is JobState.CANCELLED
    with pytest.raises(JobNotReady, match="cancelled"):
        cancel_job(settings, job_id)
    (site.gate / "hold").unlink()
    site.ended(blocker)
    assert site.results(dataset) == []
    retry_job(settings, job_id)

    wait_for(lambda: show_job(settings, job_id).status.state is JobState.DELIVERED, "the job is delivered")
    assert re.search(r"  pacs: 1 of 1 stored", "\n".join(tell(show_job(settings, job_id))))
    with pytest.raises(UnknownJob, match="no job begins with 'xyz'"):
        show_job(settings, "xyz")


def _wait_for_result(site: Site, dataset: FileDataset) -> float:
    """Route a study and return the seconds from the release of its association to its first result."""
    site.route(dataset)
    released = time.monotonic()
    wait_for(lambda: len(site.results(dataset)) == 1, "a result")
    return time.monotonic() - released


def _is_of(status: JobStatus, dataset: FileDataset) -> bool:
    return status.job.study_instance_uid == str(dataset.StudyInstanceUID)


def _beginnings(site: Site, dataset: FileDataset) -> list[Path]:
    return list(site.gate.glob(f"begun-*-{dataset.SOPInstanceUID}"))
