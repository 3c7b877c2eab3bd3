"""What each worker of a node gets of the machine: threads, memory, a GPU."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.settings import Settings

MEMORY_SHARE = 0.8  # of the machine's, for all engines together
MEBIBYTE = 1 << 20
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Machine:
    """What there is to share.

    gpus: what CUDA_VISIBLE_DEVICES calls them.
    """

    cores: int
    memory_mib: int
    gpus: tuple[str, ...]


@dataclass(frozen=True)
class Share:
    """What one worker gets; `gpu` is None where the networks run on the processor."""

    threads: int
    memory_mib: int
    gpu: str | None

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables that hold an engine to its share."""
        threads = str(self.threads)
        held = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        return held if self.gpu is None else {**held, "CUDA_VISIBLE_DEVICES": self.gpu}


def worker_count(settings: Settings, machine: Machine) -> int:
    """Return how many workers a node has."""
    if settings.workers.count != "auto":
        return settings.workers.count
    return max(1, len(machine.gpus)) if settings.device == "auto" else 1


def share_of(settings: Settings, machine: Machine, number: int) -> Share:
    """Return the share of one worker.

    Args:
        settings: of the node.
        machine: what there is.
        number: of the worker, counted from 1.
    """
    count = worker_count(settings, machine)
    workers = settings.workers
    by_turns = machine.gpus[(number - 1) % len(machine.gpus)] if machine.gpus and settings.device == "auto" else None
    return Share(
        threads=workers.threads or max(1, machine.cores // count),
        memory_mib=workers.memory_mib or int(machine.memory_mib * MEMORY_SHARE / count),
        gpu=by_turns,
    )


def this_machine() -> Machine:
    """Return what this machine (or the container that this process lives in) has."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # no such file, or `max`
        memory = min(memory, int(_CGROUP_LIMIT.read_text("ascii")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    # the driver's device files: asking torch would take seconds
    gpus = [file.name.removeprefix("nvidia") for file in sorted(Path("/dev").glob("nvidia[0-9]*"))]
    if visible is not None:
        gpus = [name for name in visible.split(",") if name.strip() and gpus]
    return Machine(len(os.sched_getaffinity(0)), memory // MEBIBYTE, tuple(gpus))
