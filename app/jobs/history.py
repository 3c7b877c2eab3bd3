"""What happened to a job besides its steps: how it came, what came again, what became of its files.

One JSON object a line, `time` (UTC) and `event` first; identifiers and numbers only, no patient data.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.jobs.layout import PRIVATE_FILE, StorageLayout


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    word: what, as in the log. details: identifiers and numbers.
    """

    time: datetime
    word: str
    details: dict[str, Any]


def note(layout: StorageLayout, job_id: str, word: str, **details: object) -> None:
    """Add an event to the history of a job; where it cannot be written, the job goes on without."""
    line = json.dumps({"time": datetime.now(UTC).isoformat(), "event": word, **details}) + "\n"
    file = layout.job_folder(job_id) / "history.jsonl"
    with suppress(OSError):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
        try:
            os.write(descriptor, line.encode("ascii"))  # one write: lines of several processes do not mix
        finally:
            os.close(descriptor)


def read_history(layout: StorageLayout, job_id: str) -> tuple[Event, ...]:
    """Return what happened to a job, oldest first; a line that was torn by a crash is left out."""
    events = []
    try:
        lines = (layout.job_folder(job_id) / "history.jsonl").read_text("ascii").splitlines()
    except FileNotFoundError:
        return ()
    for line in lines:
        try:
            content = json.loads(line)
            events.append(Event(datetime.fromisoformat(content.pop("time")), content.pop("event"), content))
        except (json.JSONDecodeError, KeyError):
            continue
    return tuple(events)
