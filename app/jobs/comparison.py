"""Job folders against the queue: what a lost or restored database no longer knows is queued again.

The folders lead: an instance was acknowledged for each. A job that the queue does not know is submitted, which is as
good as the first time; one whose folder says how it ended is not done again (see `app.jobs.ending`). What neither side
explains is told: in the log, by `spondyl check` and by `/readyz`.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.jobs.delivery_journal import DeliveryJournal
from app.jobs.ending import Ending, read_ending, read_job, write_ending
from app.jobs.history import read_history
from app.jobs.job import FINAL_STATES, JOB_ID, JobState, MalformedJob, SeriesJob
from app.jobs.keeping import SAFE_PROOFS, kept
from app.jobs.layout import StorageLayout, replace_durably
from app.jobs.queue import JobQueue, JobStatus
from app.jobs.sent_instances import read_sent
from app.logs import get_logger

MOST_TOLD = 5  # oddities in a sentence; the log has all
SAID_EVERY = 50  # jobs queued again between two notes of how many are left
STATE_FILE = "comparison.json"

log = get_logger()


@dataclass(frozen=True)
class Comparison:
    """What differs between the job folders and the queue.

    missing: jobs with a folder that the queue does not know and that have to be done, or decided upon.
    odd: id of a job → what is odd about it.
    unwritten: jobs that have ended as the queue says, and whose folders do not say so (of an earlier version).
    """

    missing: tuple[SeriesJob, ...]
    odd: dict[str, str]
    unwritten: tuple[JobStatus, ...] = ()


def compare(layout: StorageLayout, queue: JobQueue) -> Comparison:
    """Compare the job folders with the queue; nothing is changed.

    Raises:
        QueueUnavailable: the database is away.
    """
    folders = {entry.name for entry in layout.jobs.iterdir() if entry.is_dir() and JOB_ID.fullmatch(entry.name)}
    known = queue.job_ids()  # after the folders: a job that comes meanwhile is not missing
    missing, odd = [], {name: "a row of the queue without a folder" for name in known - folders}
    for job_id in sorted(folders):
        try:
            job = read_job(layout, job_id)
        except MalformedJob as fault:
            odd[job_id] = f"its folder cannot be used: {fault}"
            continue
        if job_id in known:
            continue
        if kept(layout, job_id):
            missing.append(job)
        elif not _was_emptied(layout, job_id):
            odd[job_id] = "neither queue nor folder has what came: route the study again"
    silent = [
        job_id
        for job_id in sorted(folders & known - set(odd))
        if kept(layout, job_id) and read_ending(layout, job_id) is None
    ]
    unwritten = []
    for status in queue.some(silent):
        if status.state in FINAL_STATES and _is_undelivered(layout, status):
            odd[status.job.job_id] = "delivered as the queue says, and its folder knows of no delivery"
        elif status.state in FINAL_STATES:
            unwritten.append(status)
    return Comparison(tuple(missing), odd, tuple(unwritten))


def mend(layout: StorageLayout, queue: JobQueue, stop: threading.Event) -> Comparison:
    """Queue again what is missing, put down the endings that only the queue knows, and tell what is odd.

    Raises:
        QueueUnavailable: the database is away; the next round goes on.
    """
    found = compare(layout, queue)
    missing = len(found.missing)
    for job in found.missing:
        if stop.is_set():
            break
        if missing % SAID_EVERY == 0 or missing == len(found.missing):
            _keep_state(layout, missing, found.odd)
        queue.submit(job)
        missing -= 1
        log.warning("job_queued_again", job=job.job_id)
    for status in found.unwritten:
        if queue.some([status.job.job_id]) == (status,):  # nobody has put it back into the queue meanwhile
            at = status.updated_at.isoformat()
            write_ending(layout, status.job.job_id, Ending(status.state, status.sentence, status.proof, at))
    for job_id, words in found.odd.items():
        log.warning("job_odd", job=job_id, reason=words)
    _keep_state(layout, missing, found.odd)
    return found


def begin(layout: StorageLayout) -> None:
    """Say that the folders and the queue are not compared yet."""
    _write_state(layout, {"waiting": True, "missing": 0, "odd": []})


def unready_words(layout: StorageLayout) -> str:
    """Return why a node is not ready as long as the queue may not know what the folders hold; empty where it does."""
    state = _read_state(layout)
    if state.get("waiting"):
        return "the job folders and the queue are not compared yet"
    if state.get("missing"):
        return f"{state['missing']} jobs are missing in the queue and are being queued again"
    return ""


def odd_words(layout: StorageLayout) -> tuple[str, ...]:
    """Return what was odd when the folders and the queue were last compared."""
    return tuple(str(words) for words in _read_state(layout).get("odd", ()))


def told(odd: dict[str, str]) -> Iterator[str]:
    """Yield a sentence for each of the first oddities, and one that counts the rest."""
    for job_id, words in sorted(odd.items())[:MOST_TOLD]:
        yield f"job {job_id[:12]}: {words}"
    if len(odd) > MOST_TOLD:
        yield f"{len(odd) - MOST_TOLD} more; `job_odd` in the log names them"


def _was_emptied(layout: StorageLayout, job_id: str) -> bool:
    """Say whether a job without instances and results is one whose time was over."""
    removals = ("retention", "discarded_by_administrator")
    ended = read_ending(layout, job_id) is not None
    return ended or any(event.word in removals for event in read_history(layout, job_id))


def _is_undelivered(layout: StorageLayout, status: JobStatus) -> bool:
    if status.state is not JobState.DELIVERED or status.proof not in SAFE_PROOFS:
        return False
    job_id = status.job.job_id
    return bool(read_sent(layout, job_id)) and not DeliveryJournal(layout, job_id).is_begun()


def _keep_state(layout: StorageLayout, missing: int, odd: dict[str, str]) -> None:
    _write_state(layout, {"waiting": False, "missing": missing, "odd": list(told(odd))})


def _write_state(layout: StorageLayout, state: Mapping[str, object]) -> None:
    content = {**state, "at": datetime.now(UTC).isoformat()}
    replace_durably(layout.root / STATE_FILE, json.dumps(content).encode("ascii"))


def _read_state(layout: StorageLayout) -> dict[str, Any]:
    try:
        content = json.loads((layout.root / STATE_FILE).read_text("ascii"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
