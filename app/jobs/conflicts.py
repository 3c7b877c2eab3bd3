"""What an administrator is told of a job for whose instances other images came under the same SOP Instance UID."""

from collections.abc import Iterable
from dataclasses import replace

from app.jobs.layout import StorageLayout
from app.jobs.queue import JobStatus


def with_conflicts(layout: StorageLayout, statuses: Iterable[JobStatus]) -> tuple[JobStatus, ...]:
    """Return jobs whose sentences also tell of the copies that are in conflict with their instances."""
    return tuple(_told(status, layout.job_conflicts(status.job.job_id)) for status in statuses)


def _told(status: JobStatus, count: int) -> JobStatus:
    if not count:
        return status
    if count == 1:
        what = "another image came under the SOP Instance UID of an instance of this series and was not used"
    else:
        what = f"{count} other images came under SOP Instance UIDs of this series and were not used"
    to_do = "the sender has to give each image its own UID and send it again; `spondyl jobs discard` drops the copy"
    return replace(status, sentence=f"{status.sentence} Conflict: {what}: {to_do}.")
