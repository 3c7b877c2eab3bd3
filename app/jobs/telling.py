"""What a job's sentence tells besides its state, on page and in `spondyl jobs`: what is waited for, and conflicts."""

import time
from collections.abc import Iterable
from dataclasses import replace

from app.jobs.conflicts import with_conflicts
from app.jobs.courses import words_of
from app.jobs.delivery_journal import DeliveryJournal
from app.jobs.job import JobState
from app.jobs.layout import StorageLayout
from app.jobs.queue import JobStatus


def as_told(layout: StorageLayout, statuses: Iterable[JobStatus]) -> tuple[JobStatus, ...]:
    """Return jobs whose sentences tell all that the job's folder knows of them."""
    now = time.time()
    return with_conflicts(layout, (_with_deliveries(layout, status, now) for status in statuses))


def _with_deliveries(layout: StorageLayout, status: JobStatus, now: float) -> JobStatus:
    """Return a job that is being delivered with how far each destination is."""
    if status.state is not JobState.DELIVERING:
        return status
    courses = DeliveryJournal(layout, status.job.job_id).courses()
    return replace(status, sentence=f"{status.sentence} {words_of(courses, now=now)}") if courses else status
