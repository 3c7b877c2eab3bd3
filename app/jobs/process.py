"""What the processes of a node have in common: how they say that they live, and how they are told to end."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.jobs.layout import StorageLayout, sync_folder, write_durably
from app.logs import get_logger
from app.settings import Settings

BEAT_EVERY_S = 2.0
DEAD_AFTER_S = 15.0

# A process given this argument ends when its standard input does: so none outlives its supervisor.
LIFELINE = "--lifeline"


log = get_logger()


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
        process: the name of the process, see `process_name`.
        host, port: where the process listens, if it does.

    `beats` counts the beats that came through; `is_failing` says whether the last one did not.
    """

    def __init__(
        self, layout: StorageLayout, process: str, *, host: str | None = None, port: int | None = None
    ) -> None:
        self._file = _file(layout, process)
        self._sign = Sign(os.getpid(), host, port)
        self.beats = 0
        self.is_failing = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Say that the process is ready; from here on `read_sign` finds it."""
        self._write()
        self._thread.start()

    def _write(self) -> None:
        content = {"process_id": self._sign.process_id, "host": self._sign.host, "port": self._sign.port}
        part = self._file.with_name(f".{self._file.name}.part")
        write_durably(part, json.dumps(content).encode("ascii"))
        part.rename(self._file)
        sync_folder(self._file.parent)

    def stop(self) -> None:
        """Say that the process is gone."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError):  # where it cannot be removed it grows old
            self._file.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_EVERY_S):
            try:
                self._renew()
            except OSError as fault:  # a full or absent disk: the others see it stand still; it must come back
                if not self.is_failing:
                    log.error("heartbeat_failed", reason=fault.strerror)
                self.is_failing = True
                continue
            if self.is_failing:
                log.warning("heartbeat_back")
            self.is_failing = False
            self.beats += 1

    def _renew(self) -> None:
        """Touch the file; write it anew where it was removed or damaged. Another process's is left alone."""
        try:
            owner = json.loads(self._file.read_text("ascii"))["process_id"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            self._write()
            return
        if owner == self._sign.process_id:
            os.utime(self._file)


def read_sign(layout: StorageLayout, process: str, *, now: float | None = None) -> Sign | None:
    """Return what a process has written down if it is alive, else None.

    Args:
        layout: where the node keeps what.
        process: the name of the process, see `process_name`.
        now: seconds since the epoch; the clock's where None.
    """
    try:
        age = (time.time() if now is None else now) - _file(layout, process).stat().st_mtime
        sign = Sign(**json.loads(_file(layout, process).read_text("ascii")))
    except (OSError, ValueError, TypeError):  # not there, or damaged: the process writes it anew when it starts
        return None
    return sign if age < DEAD_AFTER_S else None


def read_signs(layout: StorageLayout) -> dict[str, Sign]:
    """Return the sign of every living process of the nodes that share the folder, by name."""
    names = sorted(file.name for file in layout.heartbeats.iterdir() if not file.name.startswith("."))
    return {name: sign for name in names if (sign := read_sign(layout, name)) is not None}


def process_name(settings: Settings, name: str) -> str:
    """Return the name of a process among all nodes that share the folder: `north.worker-1`, or `worker-1` alone."""
    return f"{settings.node_name}.{name}" if settings.node_name else name


def name_of_this_process(default: str) -> str:
    """Return the name that the supervisor has given this process (`worker-2`), or the default."""
    return next((argument for argument in sys.argv[1:] if not argument.startswith("-")), default)


class PulseWatch:
    """Tells which processes have died, by their heartbeats as seen from here: clocks of machines differ.

    Args:
        layout: where the heartbeats are.
        clock: seconds that never go back.
    """

    def __init__(self, layout: StorageLayout, clock: Callable[[], float] = time.monotonic) -> None:
        self._layout = layout
        self._clock = clock
        self._seen: dict[str, tuple[int, float]] = {}

    def is_dead(self, process: str) -> bool:
        """Say whether a process has given no sign for `DEAD_AFTER_S` seconds in which this one was asked."""
        try:
            beat = _file(self._layout, process).stat().st_mtime_ns
        except FileNotFoundError:
            beat = 0
        now = self._clock()
        last, since = self._seen.get(process, (None, now))
        if beat != last:
            since = now
        self._seen[process] = (beat, since)
        return now - since >= DEAD_AFTER_S


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
