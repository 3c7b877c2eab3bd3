"""What an administrator asks about jobs, answered from the settings alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.jobs.layout import StorageLayout
from app.jobs.queue import JobQueue, JobStatus, JobStep
from app.settings import Settings


@dataclass(frozen=True)
class JobDetail:
    """A job with what has been done for it, in order."""

    status: JobStatus
    steps: tuple[JobStep, ...]


def list_jobs(settings: Settings, *, limit: int = 100) -> tuple[JobStatus, ...]:
    """Return the youngest jobs, youngest first.

    Raises:
        QueueUnavailable: the node has never run on this storage folder.
    """
    with _queue(settings) as queue:
        return queue.recent(limit=limit)


def show_job(settings: Settings, job_id: str) -> JobDetail:
    """Return one job, named by its id or the beginning of it, with its steps.

    Raises:
        QueueUnavailable: the node has never run on this storage folder.
        UnknownJob: no job, or more than one, begins so.
    """
    with _queue(settings) as queue:
        status = queue.get(job_id)
        return JobDetail(status, queue.steps(status.job.job_id))


def retry_job(settings: Settings, job_id: str) -> JobStatus:
    """Put a job that has ended back into the queue, at the phase in which it ended.

    Raises:
        QueueUnavailable: the node has never run on this storage folder.
        UnknownJob: no job, or more than one, begins so.
        JobNotReady: the job has not ended.
    """
    with _queue(settings) as queue:
        return queue.retry(job_id)


def cancel_job(settings: Settings, job_id: str) -> JobStatus:
    """Stop a job before its next step.

    Raises:
        QueueUnavailable: the node has never run on this storage folder.
        UnknownJob: no job, or more than one, begins so.
        JobNotReady: the job has ended.
    """
    with _queue(settings) as queue:
        return queue.cancel(job_id)


@contextmanager
def _queue(settings: Settings) -> Iterator[JobQueue]:
    queue = JobQueue(StorageLayout(settings.storage.resolve()).queue_url)
    try:
        yield queue
    finally:
        queue.close()
