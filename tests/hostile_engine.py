"""An engine that does to itself what the Body Part Examined of a series says: `python -m tests.hostile_engine`.

CRASH leaves at once, SIGNAL is ended by one, HANG sleeps, EATER takes memory without end, CLOSER closes its pipe;
anything else is captured as by `tests.captures`. Where the environment variable `HOSTILE_LOG` names a folder,
each beginning leaves a file there, and a file `mend` heals every series.
"""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from pydicom import dcmread

from app.jobs.engine import serve_engine
from app.jobs.results import RunAnswer
from tests.captures import run_capture


def run_hostile(source: Path, targets: Mapping[str, Path]) -> RunAnswer:
    """Do what the series says."""
    first = dcmread(next(iter(sorted(source.glob("*.dcm")))), stop_before_pixels=True)
    folder = Path(os.environ.get("HOSTILE_LOG") or source.parent)
    (folder / f"begun-{time.monotonic_ns()}-{os.getpid()}-{first.SOPInstanceUID}").touch()
    match "HEALED" if (folder / "mend").exists() else first.get("BodyPartExamined"):
        case "CRASH":
            os._exit(3)
        case "SIGNAL":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "HANG":
            time.sleep(3600)
        case "EATER":
            _eat()
    return run_capture(source, targets)


def _eat() -> None:
    kept = []
    while True:
        kept.append(bytearray(16 << 20))
        time.sleep(0.01)


if __name__ == "__main__":
    serve_engine(lambda: run_hostile)
