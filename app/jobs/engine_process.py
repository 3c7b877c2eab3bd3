"""The engine in a process of its own, warm, watched from the worker: whatever a series does to it, the worker goes on.

It is asked over two pipes, a JSON object a line. A process that dies, takes longer than it may or takes more memory
than it may is ended, and the next series (or the same one again) gets a fresh one.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.jobs.results import EngineLost, ResultFault, RunAnswer
from app.logs import get_logger

START_PATIENCE_S = 300.0  # networks are loaded, on a busy machine
LOOK_EVERY_S = 0.1
ENDING_PATIENCE_S = 2.0
WARM_EVERY_S = 1.0
LONGEST_WARM_PAUSE_S = 300.0
MEBIBYTE = 1 << 20
# A window's features are freed and asked for again; from fresh pages that costs a quarter of its time. So the engine
# keeps them until the series is done (see `app.jobs.engine`), in one arena: others may not grow so far.
MEMORY_KEPT = ":".join(
    f"glibc.malloc.{name}" for name in ("mmap_threshold=4294967296", "trim_threshold=4294967296", "arena_max=1")
)

log = get_logger()


@dataclass(frozen=True)
class EngineLimits:
    """What an engine may take for one series; memory is what it holds in all."""

    time_limit_s: float
    memory_mib: int


@dataclass
class EngineProcess:
    """A runner (see `app.jobs.results.Runner`) that works in another process.

    module: the program, which calls `app.jobs.engine.serve_engine`.
    arguments: for the program.
    environment: what it gets besides this process's own.
    """

    module: str
    limits: EngineLimits
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    _popen: "subprocess.Popen[bytes] | None" = None
    _requests: int = -1
    _answers: int = -1
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Start the process, if it does not run, and wait until its networks are loaded.

        Raises:
            EngineLost: it ended, or did not become ready in time.
        """
        if self._popen is not None and self._popen.poll() is None:
            return
        self.stop()
        theirs_in, self._requests = os.pipe()
        self._answers, theirs_out = os.pipe()
        command = [sys.executable, "-m", self.module, str(theirs_in), str(theirs_out), *self.arguments]
        environment = {"GLIBC_TUNABLES": MEMORY_KEPT, **os.environ, **self.environment}
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(theirs_in, theirs_out),
            env=environment,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._answer(EngineLimits(START_PATIENCE_S, self.limits.memory_mib))
        log.info("engine_ready", process_id=self._popen.pid)

    def stop(self) -> None:
        """End the process, whatever it does."""
        for descriptor in (self._requests, self._answers):
            if descriptor >= 0:
                os.close(descriptor)
        self._requests = self._answers = -1
        if self._popen is not None:
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(0 if self._popen.poll() is not None else ENDING_PATIENCE_S)
            self._popen.kill()
            self._popen.wait()
            self._popen = None

    def keep_warm(self, stop: threading.Event) -> None:
        """Start the process again whenever it has died between two series, until `stop` is set."""
        pause = WARM_EVERY_S
        while not stop.wait(pause):
            if not self._lock.acquire(blocking=False):  # a series has it
                continue
            try:
                self.start()
                pause = WARM_EVERY_S
            except EngineLost as loss:  # each job will say so; here it is tried more and more slowly
                pause = min(2 * pause, LONGEST_WARM_PAUSE_S)
                log.error("engine_not_started", reason=str(loss))
            finally:
                self._lock.release()

    def __call__(self, source: Path, targets: Mapping[str, Path]) -> RunAnswer:
        """Run the engine on one series.

        Raises:
            EngineLost: it died, hung or took too much memory.
            ResultFault: it says what went wrong.
        """
        with self._lock:
            self.start()
            request = {"source": str(source), "targets": {name: str(folder) for name, folder in targets.items()}}
            try:
                os.write(self._requests, json.dumps(request).encode() + b"\n")
            except BrokenPipeError:
                raise self._lost(None) from None
            answer = self._answer(self.limits)
        if "fault" in answer:
            raise ResultFault(answer["fault"])
        return RunAnswer(answer["decision"], answer["sentence"])

    def _answer(self, limits: EngineLimits) -> dict[str, Any]:
        """Wait for a line of the process and look after it meanwhile."""
        limit, received = time.monotonic() + limits.time_limit_s, b""
        while not received.endswith(b"\n"):
            if select.select([self._answers], [], [], LOOK_EVERY_S)[0]:
                chunk = os.read(self._answers, 1 << 16)
                if not chunk:
                    raise self._lost(None)
                received += chunk
            elif time.monotonic() > limit:
                raise self._lost(f"it took longer than {limits.time_limit_s:g} s (workers.time_limit_s)")
            elif self._memory_mib() > limits.memory_mib:
                raise self._lost(f"it took more than {limits.memory_mib} MiB of memory (workers.memory_mib)")
        answer: dict[str, Any] = json.loads(received)
        return answer

    def _lost(self, reason: str | None) -> EngineLost:
        popen = self._popen
        if reason is None and popen is not None:
            with suppress(subprocess.TimeoutExpired):
                popen.wait(ENDING_PATIENCE_S)
            reason = _words(popen.returncode)
        elif popen is not None:
            popen.kill()
        self.stop()
        return EngineLost(f"the engine was lost: {reason}")

    def _memory_mib(self) -> int:
        if self._popen is None:
            return 0
        try:
            pages = int(Path(f"/proc/{self._popen.pid}/statm").read_text("ascii").split()[1])
        except (FileNotFoundError, ProcessLookupError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE") // MEBIBYTE


def _words(status: int | None) -> str:
    if status is None:
        return "it closed its pipe"
    if status >= 0:
        return f"it ended with status {status}"
    name = signal.Signals(-status).name
    return f"it was ended by {name}" + (" (the machine may have run out of memory)" if name == "SIGKILL" else "")
