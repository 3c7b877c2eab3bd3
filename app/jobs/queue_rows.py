"""What the rows of the queue say, read so that no row, whoever wrote it, can do more than be told of as unreadable."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dbos import WorkflowStatus

from app.jobs.job import JOB_ID, STATE_SENTENCES, JobOutcome, JobState, MalformedJob, SeriesJob
from app.jobs.json_only import LONGEST_TEXT, bounded, name_of_fault

LONGEST_SENTENCE = 8 * LONGEST_TEXT  # a result that was refused has its own part
UNREADABLE = (
    "The queue's row of this job was not read: it does not hold the plain values that Spondyl writes. If the study has "
    "no result, route it again; find out who else writes to the queue's database."
)
NO_JOB_ID = "0" * 32  # stands for an id that is none

_WAITING = frozenset({"ENQUEUED", "DELAYED"})


def job_of(record: WorkflowStatus) -> SeriesJob:
    """Return the job of a `process_series` row; where its input is not readable, one that has no more than its id."""
    try:
        job = SeriesJob.from_mapping(record.input["args"][0])  # type: ignore[index]  # told by the error
    except (MalformedJob, TypeError, KeyError, IndexError):
        return _unknown(record.workflow_id)
    return job if job.job_id == record.workflow_id else _unknown(record.workflow_id)


def is_readable(record: WorkflowStatus) -> bool:
    """Say whether a `process_series` row holds a job, under the id of this job."""
    return bool(job_of(record).study_instance_uid)


def outcome_of(processing: WorkflowStatus, delivering: WorkflowStatus | None) -> JobOutcome:
    """Return where a job stands by the rows of its two workflows."""
    record = delivering or processing
    match record.status:
        case "SUCCESS":
            return _returned(record.output)
        case "CANCELLED":
            return _plain(JobState.CANCELLED)
        case "ERROR":
            if not is_readable(processing):
                return JobOutcome(JobState.FAILED, UNREADABLE)
            return JobOutcome(JobState.FAILED, f"The workflow broke: {name_of_fault(record.error)}; see the log.")
        case "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
            return JobOutcome(
                JobState.FAILED, "The worker died each time it processed this series; retry with more memory."
            )
        case _ if delivering is not None:
            return _plain(JobState.DELIVERING)
        case waiting if waiting in _WAITING:
            return _plain(JobState.QUEUED)
        case _:
            return _plain(JobState.PROCESSING)


def proof_of(record: WorkflowStatus) -> str:
    """Return what a workflow that has ended says of the proof of a delivery; empty where it says nothing."""
    if record.status != "SUCCESS" or not isinstance(record.output, Mapping):
        return ""
    return bounded(record.output.get("proof", ""))


def moment_of(epoch_ms: Any) -> datetime | None:
    """Return a moment of DBOS (milliseconds since 1970) in UTC; None where it is none."""
    try:
        return datetime.fromtimestamp(epoch_ms / 1000, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _returned(output: Any) -> JobOutcome:
    """Return what a workflow that came to its end has returned."""
    try:
        state = JobState(output.get("state", JobState.FAILED))
        return JobOutcome(state, bounded(output.get("sentence", STATE_SENTENCES[state]), LONGEST_SENTENCE))
    except (AttributeError, ValueError):
        return JobOutcome(JobState.FAILED, UNREADABLE)


def _unknown(workflow_id: str) -> SeriesJob:
    job_id = workflow_id if JOB_ID.fullmatch(workflow_id) else NO_JOB_ID
    return SeriesJob(job_id, "", "", modality="", calling_ae_title="", instance_count=0)


def _plain(state: JobState) -> JobOutcome:
    return JobOutcome(state, STATE_SENTENCES[state])
