"""Questions to the queue that its database answers itself: how many, since when, which ids; no row is read for them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from dbos import DBOSClient

from app.jobs.job import FINAL_STATES, JobState

# Our outputs are compact JSON that begins so; the database groups by the beginning and parses nothing.
STATE_PREFIX = '{"state":"'
_PREFIX_LENGTH = len(STATE_PREFIX) + max(map(len, JobState)) + 1
_STATES: Mapping[str, JobState] = {
    "ENQUEUED": JobState.QUEUED,
    "DELAYED": JobState.QUEUED,
    "PENDING": JobState.PROCESSING,
    "CANCELLED": JobState.CANCELLED,
}


OPEN = ("ENQUEUED", "PENDING", "DELAYED")
# As the indexes of DBOS have it, word by word: SQLite concludes nothing.
IN_INDEXES = ("status IN ('ENQUEUED', 'PENDING')", "status = 'DELAYED'")


@dataclass(frozen=True)
class OpenCounts:
    """How many jobs have not ended, by state, and since when the oldest waits (seconds since 1970; None: none does)."""

    by_state: Mapping[JobState, int]
    oldest_queued: float | None


def count_open(client: DBOSClient, processing: str, delivery: str) -> OpenCounts:
    """Count the jobs that have not ended; DBOS has an index of those, so the time does not grow with the others.

    Args:
        client: of the queue.
        processing: name of the first workflow of a job.
        delivery: name of the second.
    """
    table = client._sys_db.tables.workflow_status
    counts: Counter[JobState] = Counter()
    waiting = []
    with client._sys_db.engine.begin() as connection:
        for condition in IN_INDEXES:
            query = (
                sa.select(table.c.name, table.c.status, sa.func.count(), sa.func.min(table.c.created_at))
                .where(sa.text(condition), table.c.name.in_([processing, delivery]))
                .group_by(table.c.name, table.c.status)
            )
            for name, status, number, oldest in connection.execute(query):
                state = JobState.DELIVERING if name == delivery else _STATES[status]
                counts[state] += number
                if state is JobState.QUEUED:
                    waiting.append(oldest / 1000)
    return OpenCounts(counts, min(waiting, default=None))


def count_ended(client: DBOSClient, processing: str, delivery: str) -> Mapping[JobState, int]:
    """Count the jobs that have ended, by state. The database reads all of them: some 0.1 s for 40,000.

    Args:
        client: of the queue.
        processing: name of the first workflow of a job.
        delivery: name of the second.
    """
    table = client._sys_db.tables.workflow_status
    beginning = sa.func.substr(table.c.output, 1, _PREFIX_LENGTH)
    query = (
        sa.select(table.c.name, table.c.status, beginning, sa.func.count())
        .where(table.c.name.in_([processing, delivery]))
        .group_by(table.c.name, table.c.status, beginning)
    )
    with client._sys_db.engine.begin() as connection:
        rows = connection.execute(query).all()
    counts: Counter[JobState] = Counter()
    for name, status, output, number in rows:
        state = _ended_state(name == delivery, status, output)
        if state is not None:
            counts[state] += number
    return counts


def ids_of(
    client: DBOSClient, name: str, *, untouched_since: float | None = None, limit: int | None = None
) -> set[str]:
    """Return the ids of the workflows of a name.

    Args:
        client: of the queue.
        name: of the workflow.
        untouched_since: seconds since 1970; only those that have ended and were not changed since then.
        limit: at most so many.
    """
    table = client._sys_db.tables.workflow_status
    query = sa.select(table.c.workflow_uuid).where(table.c.name == name)
    if untouched_since is not None:
        ended = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
        query = query.where(table.c.status.in_(ended), table.c.updated_at < int(untouched_since * 1000))
    with client._sys_db.engine.begin() as connection:
        return set(connection.execute(query.limit(limit)).scalars())


def in_parts(ids: Iterable[str], size: int = 500) -> list[list[str]]:
    """Return ids in lists that any database takes as parameters of one statement.

    >>> in_parts("abc", 2)
    [['a', 'b'], ['c']]
    """
    whole = list(ids)
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def _ended_state(is_delivery: bool, status: str, output: str | None) -> JobState | None:
    """Return the state for which rows count; None for those that have not ended, or whose delivery counts instead."""
    if status in OPEN:
        return None
    if status != "SUCCESS":
        return _STATES.get(status, JobState.FAILED)
    words = (output or "").removeprefix(STATE_PREFIX).partition('"')[0]
    if words == JobState.DELIVERING and not is_delivery:
        return None
    return next((state for state in FINAL_STATES if state == words), JobState.FAILED)
