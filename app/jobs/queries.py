"""What an administrator asks about jobs, answered from the settings alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.jobs.discarded import DiscardedSeries, DiscardRecords
from app.jobs.ending import read_ending, read_job
from app.jobs.history import Event, note, read_history
from app.jobs.job import FINAL_STATES, JOB_ID
from app.jobs.keeping import empty_job, kept
from app.jobs.layout import StorageLayout
from app.jobs.lineage import read_lineage
from app.jobs.names import job_ids_of
from app.jobs.queue import JobNotReady, JobQueue, JobStatus, JobStep, UnknownJob, queue_of
from app.jobs.telling import as_told
from app.settings import Settings


@dataclass(frozen=True)
class JobDetail:
    """A job with all that is known of it.

    steps: what has been done for it, in order.
    history: what happened besides, in order.
    earlier, later: the other jobs of its series, by version.
    kept: which of its folders are still there: `input`, `aside`, `output`.
    """

    status: JobStatus
    steps: tuple[JobStep, ...]
    history: tuple[Event, ...]
    earlier: tuple[str, ...]
    later: tuple[str, ...]
    kept: tuple[str, ...]


def list_jobs(settings: Settings, *, limit: int = 100) -> tuple[JobStatus, ...]:
    """Return the youngest jobs, youngest first.

    Raises:
        QueueUnavailable: the node has never run on this storage folder.
    """
    with _queue(settings) as queue:
        return as_told(StorageLayout(settings.storage.resolve()), queue.recent(limit=limit))


def list_discarded(settings: Settings, *, limit: int = 100) -> tuple[DiscardedSeries, ...]:
    """Return the youngest series that the gateway acknowledged and did not keep, youngest first."""
    return DiscardRecords(StorageLayout(settings.storage.resolve())).recent(limit=limit)


def find_jobs(settings: Settings, name: str) -> tuple[JobDetail, ...]:
    """Return every job that a name leads to, oldest first.

    Args:
        settings: of the node.
        name: a job id or the beginning of one; a Study, Series or SOP Instance UID, of a source or of a result; or an
            accession number, which is kept nowhere (see `app.jobs.accession`).

    Raises:
        QueueUnavailable: the node has never run on this storage folder.
        UnknownJob: there is none.
    """
    layout = StorageLayout(settings.storage.resolve())
    with _queue(settings) as queue:
        found = [_known(layout, queue, job_id) for job_id in job_ids_of(layout, name)] or [_by_id(layout, queue, name)]
        return tuple(_detail(layout, queue, status) for status in found)


def show_job(settings: Settings, job_id: str) -> JobDetail:
    """Return one job, named by its id or the beginning of it, with all that is known of it.

    Raises:
        QueueUnavailable: the node has never run on this storage folder.
        UnknownJob: no job, or more than one, begins so.
    """
    layout = StorageLayout(settings.storage.resolve())
    with _queue(settings) as queue:
        return _detail(layout, queue, _known(layout, queue, job_id))


def retry_job(settings: Settings, job_id: str) -> JobStatus:
    """Put a job that has ended back into the queue, at the phase in which it ended.

    Raises:
        QueueUnavailable: the node has never run on this storage folder.
        UnknownJob: no job, or more than one, begins so.
        JobNotReady: the job has not ended.
    """
    with _queue(settings) as queue:
        status = queue.retry(job_id)
        note(StorageLayout(settings.storage.resolve()), status.job.job_id, "retried_by_administrator")
        return status


def cancel_job(settings: Settings, job_id: str) -> JobStatus:
    """Stop a job before its next step.

    Raises:
        QueueUnavailable: the node has never run on this storage folder.
        UnknownJob: no job, or more than one, begins so.
        JobNotReady: the job has ended.
    """
    with _queue(settings) as queue:
        status = queue.cancel(job_id)
        note(StorageLayout(settings.storage.resolve()), status.job.job_id, "cancelled_by_administrator")
        return status


def discard_job(settings: Settings, job_id: str) -> JobStatus:
    """Remove the instances and results of a job that has ended, whatever the retention says; its record stays.

    Raises:
        QueueUnavailable: the node has never run on this storage folder.
        UnknownJob: no job, or more than one, begins so.
        JobNotReady: the job has not ended.
    """
    layout = StorageLayout(settings.storage.resolve())
    with _queue(settings) as queue:
        status = queue.get(job_id)
        if status.state not in FINAL_STATES:
            raise JobNotReady(f"job {status.job.job_id} is {status.state}; cancel it, or let it end")
        empty_job(layout, status.job.job_id, because="discarded_by_administrator")
        return status


def _known(layout: StorageLayout, queue: JobQueue, job_id: str) -> JobStatus:
    """Return a job by the queue or, where retention has removed its rows, by its folder."""
    try:
        return queue.get(job_id)
    except UnknownJob:
        folders = [entry.name for entry in layout.jobs.glob(f"{job_id}*")] if JOB_ID.fullmatch(job_id) else []
        ending = read_ending(layout, folders[0]) if len(folders) == 1 else None
        if ending is None:
            raise
        job = read_job(layout, folders[0])
        return JobStatus(job, ending.state, ending.sentence, ending.moment, ending.moment, ending.proof)


def _by_id(layout: StorageLayout, queue: JobQueue, name: str) -> JobStatus:
    try:
        return _known(layout, queue, name)
    except UnknownJob as fault:
        raise UnknownJob(
            f"{name!r} is no job id, no UID of a study, series or instance and no accession number that is on record; "
            "`spondyl jobs list` shows what is"
        ) from fault


def _detail(layout: StorageLayout, queue: JobQueue, status: JobStatus) -> JobDetail:
    job_id = status.job.job_id
    lineage = read_lineage(layout, status.job.lineage_name)
    earlier = tuple(reversed(lineage.before(job_id)))
    (told,) = as_told(layout, [status])
    return JobDetail(
        status=told,
        steps=queue.steps(job_id),
        history=read_history(layout, job_id),
        earlier=earlier,
        later=lineage.job_ids[len(earlier) + 1 :],
        kept=kept(layout, job_id),
    )


@contextmanager
def _queue(settings: Settings) -> Iterator[JobQueue]:
    queue = queue_of(settings)
    try:
        yield queue
    finally:
        queue.close()
