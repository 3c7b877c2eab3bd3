"""The engine process: holds the networks and runs one series after the other for the worker that started it."""

import ctypes
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePath

from app.jobs.results import Runner
from app.logs import configure_logging, get_logger
from app.settings import load_settings
from models.errors import SpondylError

log = get_logger()


def serve_engine(make_runner: Callable[[], Runner]) -> None:
    """Answer the worker until it goes; the first two arguments of this program are the pipes.

    Args:
        make_runner: loads what the runner needs; the worker is told that it is ready after it.
    """
    requests, answers = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor; this process ends with its worker
    with suppress(OSError):  # where memory runs out, the machine should end the engine rather than the gateway
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, lines), name="requests", daemon=True).start()
    runner = make_runner()
    _tell(answers, {})
    while True:
        request = json.loads(lines.get())
        targets = {name: Path(folder) for name, folder in request["targets"].items()}
        _tell(answers, _run(runner, Path(request["source"]), targets))
        give_memory_back()


def give_memory_back() -> None:
    """Return what the allocator kept of a series to the machine; another C library than glibc has no such call."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _run(runner: Runner, source: Path, targets: dict[str, Path]) -> dict[str, str]:
    try:
        answer = runner(source, targets)
    except SpondylError as fault:
        return {"fault": str(fault)}
    except Exception as fault:  # told by its place only: its words may quote the header of the patient
        frames = traceback.extract_tb(fault.__traceback__)
        places = [f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames]
        log.error("engine_fault", job=source.parent.name, fault=type(fault).__name__, places=places)
        return {"fault": f"{type(fault).__name__} in {places[-1]}; the log has the way there."}
    return {"decision": answer.decision, "sentence": answer.sentence}


def _listen(descriptor: int, lines: "queue.SimpleQueue[bytes]") -> None:
    with os.fdopen(descriptor, "rb") as pipe:
        for line in pipe:
            lines.put(line)
    os._exit(0)  # the worker has gone: whatever runs here, nobody waits for it


def _tell(descriptor: int, answer: dict[str, str]) -> None:
    try:
        os.write(descriptor, json.dumps(answer).encode() + b"\n")
    except BrokenPipeError:  # the worker has gone: whoever takes over asks another engine
        os._exit(0)


def main() -> None:
    """Serve the engines of the installed packs."""
    settings = load_settings()
    configure_logging(settings.log_level, process=sys.argv[3])

    def make_runner() -> Runner:
        from app.jobs.runner import engine_runner  # noqa: PLC0415  the pipe is watched while the networks load

        return engine_runner(settings)

    serve_engine(make_runner)


if __name__ == "__main__":
    main()
