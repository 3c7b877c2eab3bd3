"""One SOP Instance UID, several contents: every 0x0000 leads to a job, a superseding version or a conflict."""

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import pytest

from app.jobs.job import JobState
from app.jobs.queries import find_jobs, list_jobs
from tests.fault_site import FaultSite, fault_site
from tests.node import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultSite]:
    """Run a node and its archive."""
    with fault_site(tmp_path_factory.mktemp("same-uids")) as site:
        yield site


def test_an_instance_that_comes_in_another_study_too_is_delivered_in_both(site: FaultSite) -> None:
    """An archive has split a study and kept the UIDs of its instances; a vendor's UIDs are not unique."""
    dataset = site.radiograph()
    other = deepcopy(dataset)
    other.StudyInstanceUID = f"{dataset.StudyInstanceUID}.1"

    site.route([dataset])
    site.route([other])

    assert [site.outcome([each]) for each in (dataset, other)] == ["delivered once", "delivered once"]


def test_a_corrected_header_gives_results_that_supersede(site: FaultSite) -> None:
    """The corrected name must reach the results, under UIDs of their own."""
    dataset = site.radiograph()
    site.route([dataset])
    site.ended(dataset)
    corrected = deepcopy(dataset)
    corrected.PatientName = "Corrected^Name"

    site.route([corrected])
    wait_for(lambda: len(site.jobs(dataset)) == 2, "a second version")
    jobs = site.ended(dataset)

    assert [(status.job.version, status.state) for status in jobs] == [(1, JobState.DELIVERED), (2, JobState.DELIVERED)]
    assert "version 2" in jobs[1].sentence
    sent = site.archive.folder / str(dataset.StudyInstanceUID)
    assert len(list(sent.glob("*.dcm"))) == 2
    assert all(len(site.archive.contents[file.stem]) == 1 for file in sent.glob("*.dcm"))


def test_a_conflict_is_told_by_list_and_story(site: FaultSite) -> None:
    """The first image counts; the other is kept, and the job says what to do."""
    dataset = site.radiograph()
    site.route([dataset])
    site.ended(dataset)
    other = deepcopy(dataset)
    other.PixelData = np.frombuffer(dataset.PixelData, np.uint8)[::-1].tobytes()

    site.route([other])
    settings = site.node.settings

    def told() -> str:
        study = str(dataset.StudyInstanceUID)
        return next(each.sentence for each in list_jobs(settings) if each.job.study_instance_uid == study)

    wait_for(lambda: "Conflict: another image came" in told(), "the conflict is told")
    (detail,) = find_jobs(settings, str(dataset.SOPInstanceUID))
    assert any(event.word == "conflict" for event in detail.history)
    assert site.outcome([dataset]) == "delivered once"
