"""`spondyl jobs`: one command explains to an administrator what happened to a study."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from app.cli import app
from app.jobs.job import JobState
from app.jobs.keeping import apply_retention
from app.jobs.queries import JobDetail, discard_job, find_jobs, retry_job
from app.jobs.queue import JobNotReady, UnknownJob, queue_of
from app.settings import Retention
from app.work_settings import Workers
from tests.fault_site import FaultSite, fault_site
from tests.node import wait_for

pytestmark = pytest.mark.slow
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultSite]:
    """Run a node and its archive."""
    with fault_site(tmp_path_factory.mktemp("story"), workers=Workers(attempts=2)) as site:
        yield site


def only(details: tuple[JobDetail, ...]) -> JobDetail:
    """Return the one job there is."""
    (detail,) = details
    return detail


def test_a_study_is_found_by_every_name_that_an_administrator_may_have(site: FaultSite) -> None:
    """Accession number, study, series, an instance, a result, the beginning of the job's id."""
    dataset = site.radiograph()
    dataset.AccessionNumber = "ACC-4711"
    site.route([dataset])
    (status,) = site.ended(dataset)
    (result,) = (site.archive.folder / str(dataset.StudyInstanceUID)).glob("*.dcm")
    settings = site.node.settings

    names = (
        "ACC-4711",
        str(dataset.StudyInstanceUID),
        str(dataset.SeriesInstanceUID),
        str(dataset.SOPInstanceUID),
        str(dcmread(result).SOPInstanceUID),
        status.job.job_id[:10],
    )
    assert {only(find_jobs(settings, name)).status.job.job_id for name in names} == {status.job.job_id}
    with pytest.raises(UnknownJob, match="no accession number that is on record"):
        find_jobs(settings, "ACC-4712")


def test_no_file_of_the_node_but_the_instances_holds_the_accession_number(site: FaultSite) -> None:
    """It leads to a patient: the queue, the records and the log have a keyed digest at most."""
    dataset = site.radiograph()
    dataset.AccessionNumber = "SECRET-99"
    site.route([dataset])
    site.ended(dataset)

    files = [file for file in site.node.layout.root.rglob("*") if file.is_file()]
    holders = [file for file in files if b"SECRET-99" in file.read_bytes()]
    assert {file.suffix for file in holders} == {".dcm"}
    assert find_jobs(site.node.settings, "SECRET-99")


def test_the_story_tells_of_late_slices_repeats_and_versions(site: FaultSite, tmp_path: Path) -> None:
    """In the order in which it happened, in words."""
    slices = site.volume(9)
    site.route(slices[:6])
    site.ended(slices[0])
    site.route(slices[6:])
    wait_for(lambda: len(site.jobs(slices[0])) == 2, "a second version")
    site.ended(slices[0])
    site.route(slices)
    study = str(slices[0].StudyInstanceUID)
    settings = site.node.settings

    def came_again() -> bool:
        return any(event.word == "came_again" for event in find_jobs(settings, study)[1].history)

    wait_for(came_again, "the repeat is noted")
    file = tmp_path / "app.yaml"
    file.write_text(f"storage: {settings.storage}\n")
    told = CliRunner().invoke(app, ["jobs", "show", study, "--config", str(file)]).output

    first, second = told.split("\n\n")[:2]
    assert "version    1; superseded by" in first
    assert "version    2; supersedes" in second
    assert "complete: 6 instances from PACS, taken by gateway because its association was released" in first
    for words in ("the engine began, at worker-1", "results looked at", "came again from PACS (9 instances)"):
        assert words in second
    assert site.outcome(slices) == "delivered once"


def test_what_failed_stays_until_somebody_decides(site: FaultSite) -> None:
    """What was delivered goes when its time is over; a failed series can be healed and tried again, or discarded."""
    good, bad, hopeless = site.radiograph(), site.radiograph("CRASH"), site.radiograph("CRASH")
    for dataset in (good, bad, hopeless):
        site.route([dataset])
    jobs = {str(dataset.StudyInstanceUID): site.ended(dataset)[0] for dataset in (good, bad, hopeless)}
    settings, layout = site.node.settings, site.node.layout
    queue = queue_of(settings)
    later = jobs[str(hopeless.StudyInstanceUID)].updated_at.timestamp() + DAY_S * 365

    apply_retention(layout, Retention(), queue, now=later)
    queue.close()

    details = {uid: only(find_jobs(settings, uid)) for uid in jobs}
    assert details[str(good.StudyInstanceUID)].kept == ()
    assert details[str(good.StudyInstanceUID)].history[-1].word == "retention"
    assert details[str(bad.StudyInstanceUID)].kept == ("input", "output")

    gate = site.folder.parent / "gate"
    (gate / "mend").touch()
    job_id = jobs[str(bad.StudyInstanceUID)].job.job_id
    retry_job(settings, job_id)
    wait_for(lambda: find_jobs(settings, job_id)[0].status.state is JobState.DELIVERED, "the retried job is delivered")
    (gate / "mend").unlink()
    discard_job(settings, jobs[str(hopeless.StudyInstanceUID)].job.job_id)
    assert only(find_jobs(settings, str(hopeless.StudyInstanceUID))).kept == ()


def test_a_job_that_has_not_ended_is_not_discarded(site: FaultSite) -> None:
    """Its files are in use."""
    dataset = site.radiograph()
    (site.folder.parent / "gate" / "hold").touch()
    site.route([dataset])
    wait_for(lambda: bool(site.jobs(dataset)), "a job")

    with pytest.raises(JobNotReady, match="cancel it, or let it end"):
        discard_job(site.node.settings, site.jobs(dataset)[0].job.job_id)
    (site.folder.parent / "gate" / "hold").unlink()
    site.ended(dataset)
