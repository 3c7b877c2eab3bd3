"""The durable queue: where gateway, worker, dashboard and administrator meet.

A job is one or two workflows of DBOS under names derived from the job id: `process_series` (one at a
time per worker) and, once there are results, `deliver_results` (many at a time, so that a destination
that is down holds up nobody else). DBOS takes the same workflow id once only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from dbos import DBOSClient, EnqueueOptions, WorkflowSerializationFormat, WorkflowStatus
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection

from app.jobs.ending import Ending, forget_ending, write_ending
from app.jobs.job import FINAL_STATES, STATE_SENTENCES, JobState, SeriesJob
from app.jobs.json_only import bounded, name_of_fault, queue_client
from app.jobs.layout import StorageLayout
from app.jobs.queue_counts import OpenCounts, count_ended, count_open, ids_of, in_parts
from app.jobs.queue_rows import job_of, moment_of, outcome_of, proof_of
from app.settings import Settings
from models.errors import SpondylError

PROCESSING_QUEUE = "processing"
PROCESSING_WORKFLOW = "process_series"
DELIVERY_QUEUE = "delivery"
DELIVERY_WORKFLOW = "deliver_results"
DELIVERY_SUFFIX = "-delivery"
EMBEDDED = "sqlite:///"

# Workers of another version leave a workflow alone: raise this when the steps of a workflow change.
WORKFLOW_VERSION = "2"

# JSON, not pickle: whoever may write the database must not be able to run code here.
PORTABLE = WorkflowSerializationFormat.PORTABLE

Answer = TypeVar("Answer")


class QueueUnavailable(SpondylError):
    """The queue's database is not there yet or cannot be read: start the node once with `spondyl serve`."""


class UnknownJob(SpondylError):
    """No job has this id: `spondyl jobs list` shows those there are."""


class JobNotReady(SpondylError):
    """The job is in a state in which this cannot be done."""


@dataclass(frozen=True)
class JobStatus:
    """A job and where it stands.

    sentence: what happened or happens, in words.
    created_at, updated_at: in UTC.
    proof: once delivered: `proven`, `trusted` (a destination's statuses are believed), or why it is neither.
    """

    job: SeriesJob
    state: JobState
    sentence: str
    created_at: datetime
    updated_at: datetime
    proof: str = ""


@dataclass(frozen=True)
class JobStep:
    """One step of a job: its name, when it began and ended (UTC), and its fault if it had one."""

    name: str
    started_at: datetime | None
    completed_at: datetime | None
    fault: str | None


def enqueue_options(job: SeriesJob, *, delivery: bool) -> EnqueueOptions:
    """Return DBOS's options for one of the two workflows of a job."""
    return {
        "queue_name": DELIVERY_QUEUE if delivery else PROCESSING_QUEUE,
        "workflow_name": DELIVERY_WORKFLOW if delivery else PROCESSING_WORKFLOW,
        "workflow_id": delivery_id(job.job_id) if delivery else job.job_id,
        "app_version": WORKFLOW_VERSION,
        "serialization_type": PORTABLE,
    }


def queue_url(settings: Settings) -> str:
    """Return the SQLAlchemy URL of the durable queue: the shared PostgreSQL, or the embedded one."""
    return settings.queue_url or StorageLayout(settings.storage.resolve()).queue_url


def queue_of(settings: Settings) -> "JobQueue":
    """Return the queue of a node."""
    return JobQueue(queue_url(settings), StorageLayout(settings.storage.resolve()))


def delivery_id(job_id: str) -> str:
    """Return the workflow id of a job's delivery."""
    return f"{job_id}{DELIVERY_SUFFIX}"


class JobQueue:
    """The queue as everybody but the worker sees it.

    Args:
        url: SQLAlchemy URL of the database, see `queue_url`.
        layout: where the folders of the jobs are; None where there are none.
    """

    def __init__(self, url: str, layout: StorageLayout | None = None) -> None:
        self._url = url
        self._layout = layout
        self._client: DBOSClient | None = None
        self._file_number = 0

    def close(self) -> None:
        """Let go of the database."""
        if self._client is not None:
            self._client.destroy()
            self._client = None

    def submit(self, job: SeriesJob) -> None:
        """Enqueue a job; a job that is there already stays as it is.

        Raises:
            QueueUnavailable: the database is not there yet.
        """
        self._ask(lambda client: client.enqueue(enqueue_options(job, delivery=False), asdict(job)))

    def recent(self, *, limit: int = 100) -> tuple[JobStatus, ...]:
        """Return the youngest jobs, youngest first.

        Raises:
            QueueUnavailable: the database is not there yet.
        """
        processing = self._ask(
            lambda client: client.list_workflows(name=PROCESSING_WORKFLOW, limit=limit, sort_desc=True)
        )
        return self._statuses(processing)

    def get(self, job_id: str) -> JobStatus:
        """Return one job by its id or the unambiguous beginning of it.

        Raises:
            QueueUnavailable: the database is not there yet.
            UnknownJob: no job, or more than one, begins so.
        """
        found = self._ask(
            lambda client: client.list_workflows(name=PROCESSING_WORKFLOW, workflow_id_prefix=job_id, limit=2)
        )
        if len(found) != 1 or not job_id:
            reason = "more than one job begins with" if found else "no job begins with"
            raise UnknownJob(f"{reason} {job_id!r}; `spondyl jobs list` shows those there are")
        return self._statuses(found)[0]

    def steps(self, job_id: str) -> tuple[JobStep, ...]:
        """Return what has been done for a job, in order."""
        records = self._ask(
            lambda client: [*client.list_workflow_steps(job_id), *client.list_workflow_steps(delivery_id(job_id))]
        )
        return tuple(_step(record) for record in records if not str(record["function_name"]).startswith("DBOS."))

    def retry(self, job_id: str) -> JobStatus:
        """Put a job back into the queue at the phase in which it ended, and return its new status.

        Raises:
            QueueUnavailable: the database is not there yet.
            UnknownJob: there is no such job.
            JobNotReady: the job has not ended.
        """
        status = self.get(job_id)
        if status.state not in FINAL_STATES:
            raise JobNotReady(f"job {status.job.job_id} is {status.state}; it can be retried once it has ended")
        full_id = status.job.job_id
        if self._layout is not None:
            forget_ending(self._layout, full_id)
        delivering = self._ask(lambda client: client.list_workflows(workflow_ids=[delivery_id(full_id)]))
        workflow_id, queue_name = (delivery_id(full_id), DELIVERY_QUEUE) if delivering else (full_id, PROCESSING_QUEUE)
        self._ask(
            lambda client: client.rewind_workflow(
                workflow_id, application_version=WORKFLOW_VERSION, queue_name=queue_name
            )
        )
        return self.get(full_id)

    def retry_if_failed(self, job_id: str) -> bool:
        """Put a job back into the queue if it has failed, and say whether that was so.

        Raises:
            QueueUnavailable: the database is not there yet.
        """
        try:
            failed = self.get(job_id).state is JobState.FAILED
        except UnknownJob:  # retention has removed its row, or the comparison with the folders queues it again
            return False
        if failed:
            self.retry(job_id)
        return failed

    def cancel(self, job_id: str) -> JobStatus:
        """Stop a job before its next step, and return its new status.

        Raises:
            QueueUnavailable: the database is not there yet.
            UnknownJob: there is no such job.
            JobNotReady: the job has ended.
        """
        status = self.get(job_id)
        if status.state in FINAL_STATES:
            raise JobNotReady(f"job {status.job.job_id} is {status.state}; there is nothing left to stop")
        full_id = status.job.job_id
        self._ask(lambda client: client.cancel_workflows([full_id, delivery_id(full_id)]))
        cancelled = self.get(full_id)
        if self._layout is not None and cancelled.state is JobState.CANCELLED:
            at = cancelled.updated_at.isoformat()
            write_ending(self._layout, full_id, Ending(cancelled.state, STATE_SENTENCES[cancelled.state], "", at))
        return cancelled

    def open_counts(self) -> OpenCounts:
        """Count the jobs that have not ended; what has ended costs nothing.

        Raises:
            QueueUnavailable: the database is away.
        """
        return self._ask(lambda client: count_open(client, PROCESSING_WORKFLOW, DELIVERY_WORKFLOW))

    def ended_counts(self) -> Mapping[JobState, int]:
        """Count the jobs that have ended; the database reads all of them.

        Raises:
            QueueUnavailable: the database is away.
        """
        return self._ask(lambda client: count_ended(client, PROCESSING_WORKFLOW, DELIVERY_WORKFLOW))

    def job_ids(self) -> set[str]:
        """Return the ids of all jobs that the queue knows.

        Raises:
            QueueUnavailable: the database is away.
        """
        return self._ask(lambda client: ids_of(client, PROCESSING_WORKFLOW))

    def some(self, job_ids: Sequence[str]) -> tuple[JobStatus, ...]:
        """Return those of some jobs that the queue knows.

        Raises:
            QueueUnavailable: the database is away.
        """
        return self._statuses(self._rows(job_ids))

    def forget(self, *, untouched_since: float, may_go: Callable[[str], bool], limit: int = 1000) -> int:
        """Remove the rows of jobs that ended long ago, and return of how many.

        Args:
            untouched_since: seconds since 1970; a job that was changed later keeps its rows.
            may_go: says of the id of a job whether nobody needs its rows.
            limit: how many jobs are looked at.

        Raises:
            QueueUnavailable: the database is away.
        """
        old = self._ask(
            lambda client: ids_of(client, PROCESSING_WORKFLOW, untouched_since=untouched_since, limit=limit)
        )
        going = sorted(status.job.job_id for status in self.some(sorted(old)) if status.state in FINAL_STATES)
        going = [job_id for job_id in going if job_id in old and may_go(job_id)]
        rows = [row for job_id in going for row in (job_id, delivery_id(job_id))]
        for part in in_parts(rows):
            self._ask(lambda client, part=part: client.delete_workflows(part))  # type: ignore[misc]
        return len(going)

    @property
    def place(self) -> str:
        """Where the queue is, without the password."""
        return make_url(self._url).render_as_string(hide_password=True)

    def _statuses(self, processing: Sequence[WorkflowStatus]) -> tuple[JobStatus, ...]:
        rows = self._rows([delivery_id(record.workflow_id) for record in processing])
        delivering = {record.workflow_id: record for record in rows}
        return tuple(_status(record, delivering.get(delivery_id(record.workflow_id))) for record in processing)

    def _rows(self, workflow_ids: Sequence[str]) -> list[WorkflowStatus]:
        """Return rows by their ids, in several questions: SQLite takes so many parameters and no more."""
        rows: list[WorkflowStatus] = []
        for part in in_parts(workflow_ids):
            rows += self._ask(lambda client, part=part: client.list_workflows(workflow_ids=part))  # type: ignore[misc]
        return rows

    def _ask(self, question: Callable[[DBOSClient], Answer]) -> Answer:
        try:
            self._look_at_file()
            if self._client is None:
                self._client = queue_client(self._url)
            return question(self._client)
        except (DBAPIError, NoConnection) as fault:  # not there, or no worker has made its tables yet
            raise QueueUnavailable(f"the queue {self.place} cannot be read; is the node running?") from fault

    def _look_at_file(self) -> None:
        """Let go of an embedded database that was removed or replaced: its old file would go on to answer."""
        if not self._url.startswith(EMBEDDED):
            return
        file = Path(self._url.removeprefix(EMBEDDED))
        try:
            number = file.stat().st_ino
        except FileNotFoundError:
            self.close()
            # SQLite would create an empty one and so hide that no worker has been here yet.
            raise QueueUnavailable(f"there is no queue at {file} yet; start the node with `spondyl serve`") from None
        if number != self._file_number:
            self.close()
            self._file_number = number


def _status(processing: WorkflowStatus, delivering: WorkflowStatus | None) -> JobStatus:
    latest = delivering or processing
    outcome = outcome_of(processing, delivering)
    return JobStatus(
        job=job_of(processing),
        state=outcome.state,
        sentence=outcome.sentence,
        created_at=moment_of(processing.created_at) or datetime.fromtimestamp(0, UTC),
        updated_at=moment_of(latest.updated_at) or datetime.fromtimestamp(0, UTC),
        proof=proof_of(latest),
    )


def _step(record: Any) -> JobStep:
    fault = record["error"]
    return JobStep(
        name=bounded(record["function_name"]),
        started_at=moment_of(record["started_at_epoch_ms"]),
        completed_at=moment_of(record["completed_at_epoch_ms"]),
        fault=name_of_fault(fault) if fault is not None else None,
    )
