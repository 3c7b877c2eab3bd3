"""What the processes of a node have in common: how they say that they live, and how they are told to end."""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from app.jobs.layout import StorageLayout, sync_folder, write_durably

BEAT_EVERY_S = 2.0
DEAD_AFTER_S = 15.0

# A process given this argument ends when its standard input does: so none outlives its supervisor.
LIFELINE = "--lifeline"


@dataclass(frozen=True)
class Sign:
    """What a living process has written down: its number and, where it listens, its address."""

    process_id: int
    host: str | None
    port: int | None


class Heartbeat:
    """Touches a file while this process is alive and ready.

    Args:
        layout: where the node keeps what.
        process: gateway, worker or dashboard.
        host, port: where the process listens, if it does.
    """

    def __init__(
        self, layout: StorageLayout, process: str, *, host: str | None = None, port: int | None = None
    ) -> None:
        self._file = _file(layout, process)
        self._sign = Sign(os.getpid(), host, port)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Say that the process is ready; from here on `read_sign` finds it."""
        content = {"process_id": self._sign.process_id, "host": self._sign.host, "port": self._sign.port}
        part = self._file.with_suffix(".part")
        write_durably(part, json.dumps(content).encode("ascii"))
        part.rename(self._file)
        sync_folder(self._file.parent)
        self._thread.start()

    def stop(self) -> None:
        """Say that the process is gone."""
        self._ended.set()
        self._thread.join()
        self._file.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_EVERY_S):
            self._file.touch()


def read_sign(layout: StorageLayout, process: str, *, now: float | None = None) -> Sign | None:
    """Return what a process has written down if it is alive, else None.

    Args:
        layout: where the node keeps what.
        process: gateway, worker or dashboard.
        now: seconds since the epoch; the clock's where None.
    """
    try:
        age = (time.time() if now is None else now) - _file(layout, process).stat().st_mtime
        content = json.loads(_file(layout, process).read_text("ascii"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return Sign(**content) if age < DEAD_AFTER_S else None


def stop_event() -> threading.Event:
    """Return an event that is set by SIGTERM, SIGINT or, with `LIFELINE`, the end of the supervisor."""
    event = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: event.set())
    if LIFELINE in sys.argv:
        threading.Thread(target=_wait_for_end_of_input, args=(event,), name="lifeline", daemon=True).start()
    return event


def _wait_for_end_of_input(event: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    event.set()


def _file(layout: StorageLayout, process: str) -> Path:
    return layout.heartbeats / process
