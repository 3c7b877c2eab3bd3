"""What happened to a job, line by line, for an administrator who has one study and no time."""

from collections.abc import Iterator
from datetime import datetime

from app.jobs.history import Event
from app.jobs.job import STATE_SENTENCES
from app.jobs.queries import JobDetail
from app.jobs.queue import JobStep

# Event of a history → words; what is in braces is named by the event's details.
EVENT_WORDS = {
    "series_complete": "complete: {instances} instances from {sender}, taken by {gateway} because {because}",
    "came_again": "came again from {sender} ({instances} instances); nothing new was in it",
    "conflict": "{instances} other images came under SOP Instance UIDs of this series; they are in its folder `aside`",
    "engine_began": "the engine began, at {worker}",
    "waits_for_room": "the disk is full; the job goes on by itself once there is room",
    "engine_lost": "at {worker}: {reason}",
    "delivery_tried": "{words}",
    "retried_by_administrator": "put back into the queue by an administrator",
    "cancelled_by_administrator": "stopped by an administrator",
    "discarded_by_administrator": "removed by an administrator: {removed}",
    "retention": "its time was over; removed: {removed}",
}
STEP_WORDS = {"verify": "results looked at", "choose_destinations": "destinations chosen"}


def tell(detail: JobDetail) -> Iterator[str]:
    """Yield the story of a job, a line each."""
    status, job = detail.status, detail.status.job
    yield f"job        {job.job_id}"
    yield f"study      {job.study_instance_uid}"
    yield f"series     {job.series_instance_uid} ({job.modality}, {job.instance_count} instances)"
    yield f"version    {job.version}{_relatives(detail)}"
    yield f"state      {status.state}: {STATE_SENTENCES[status.state]}"
    yield f"           {status.sentence}"
    if status.proof:
        yield f"proof      {status.proof}"
    yield f"kept       {', '.join(detail.kept) or 'nothing: retention or an administrator removed it'}"
    yield "time (UTC)"
    lines = [*map(_event_line, detail.history), *(line for step in detail.steps for line in _step_lines(step))]
    for moment, words in sorted(lines):
        yield f"  {moment:%Y-%m-%d %H:%M:%S}  {words}"


def _relatives(detail: JobDetail) -> str:
    earlier = f"; supersedes {detail.earlier[-1][:12]}" if detail.earlier else ""
    later = f"; superseded by {detail.later[-1][:12]}" if detail.later else ""
    return earlier + later


def _event_line(event: Event) -> tuple[datetime, str]:
    template = EVENT_WORDS.get(event.word)
    if template is None:
        return event.time, f"{event.word} {event.details or ''}".rstrip()
    details = {key: ", ".join(value) if isinstance(value, list) else value for key, value in event.details.items()}
    return event.time, template.format_map(details)


def _step_lines(step: JobStep) -> Iterator[tuple[datetime, str]]:
    ended = step.completed_at or step.started_at
    if ended is not None:
        fault = f" with {step.fault}" if step.fault else ""
        yield ended, f"{STEP_WORDS.get(step.name, step.name)}: ended{fault}"
