"""What of a job is still in its folder, for how long, and how it is removed."""

import shutil

from app.jobs.ending import read_ending
from app.jobs.history import note
from app.jobs.instance_contents import record_contents
from app.jobs.job import FINAL_STATES, JobState
from app.jobs.layout import StorageLayout
from app.jobs.queue import JobQueue, JobStatus, QueueUnavailable, UnknownJob
from app.logs import get_logger
from app.settings import Retention

KINDS = ("input", "aside", "output")
# A delivery is safe to forget where the destination has proven that it keeps it, or is believed to.
SAFE_PROOFS = frozenset({"proven", "trusted"})

# After it the queue forgets a job of which nothing else is kept. A hospital group's 1,500 a day are 45,000 jobs.
ROWS_KEPT_DAYS = 30

log = get_logger()


def kept(layout: StorageLayout, job_id: str) -> tuple[str, ...]:
    """Return which folders of a job are still there."""
    return tuple(kind for kind in KINDS if (layout.job_folder(job_id) / kind).is_dir())


def empty_job(layout: StorageLayout, job_id: str, *, because: str) -> bool:
    """Remove what a job keeps, and say whether there was anything.

    Args:
        layout: where the node keeps what.
        job_id: of the job.
        because: an event word for the history.
    """
    folders = kept(layout, job_id)
    record_contents(layout, job_id)
    shutil.rmtree(layout.job_making(job_id), ignore_errors=True)
    for kind in folders:
        shutil.rmtree(layout.job_folder(job_id) / kind, ignore_errors=True)  # another worker may be at it too
    if folders:
        note(layout, job_id, because, removed=list(folders))
    return bool(folders)


def apply_retention(layout: StorageLayout, retention: Retention, queue: JobQueue, *, now: float) -> int:
    """Remove the instances and results of jobs that ended long enough ago; their records stay.

    Args:
        layout: where the node keeps what.
        retention: how long each kind is kept.
        queue: what knows how the jobs ended.
        now: seconds since the epoch.

    Returns:
        How many jobs were emptied.
    """
    emptied = 0
    for folder in layout.jobs.iterdir():
        try:
            in_conflict = layout.job_conflicts(folder.name) > 0
            if kept(layout, folder.name) and is_over(queue.get(folder.name), retention, now, in_conflict=in_conflict):
                emptied += empty_job(layout, folder.name, because="retention")
        except UnknownJob:  # not queued yet; the next round sees it
            log.debug("retention_postponed", job=folder.name)
        except QueueUnavailable:
            break
    return emptied


def forget_rows(layout: StorageLayout, queue: JobQueue, *, now: float) -> int:
    """Remove the queue's rows of jobs that ended long ago and of which nothing is kept; their folders tell of them.

    Args:
        layout: where the node keeps what.
        queue: whose rows go.
        now: seconds since the epoch.

    Returns:
        Of how many jobs.
    """

    def may_go(job_id: str) -> bool:
        return read_ending(layout, job_id) is not None and not kept(layout, job_id)

    try:
        return queue.forget(untouched_since=now - ROWS_KEPT_DAYS * 86_400, may_go=may_go)
    except QueueUnavailable:
        return 0


def is_over(status: JobStatus, retention: Retention, now: float, *, in_conflict: bool = False) -> bool:
    """Say whether nobody needs the instances and results of a job any more.

    A job that failed, was stopped, is in conflict, or whose delivery is not proven counts as failed: somebody has to
    decide.
    """
    if status.state not in FINAL_STATES:
        return False
    unproven = status.state is JobState.DELIVERED and status.proof not in SAFE_PROOFS
    failed = unproven or in_conflict or status.state in (JobState.FAILED, JobState.CANCELLED)
    hours = retention.failed_hours if failed else retention.delivered_hours
    return hours is not None and now - status.updated_at.timestamp() > hours * 3600
