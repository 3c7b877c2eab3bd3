"""Measuring many images in processes of their own, and keeping what was measured for as long as it holds."""

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Generic, TypeVar

from models.packs import DESCRIPTION, load_pack

MODELS = Path(__file__).parents[2] / "models"
_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


class Keeper(Generic[_Job, _Result]):
    """Where results are kept, and how: a text file per job in one folder."""

    def __init__(
        self,
        folder: Path,
        *,
        name: Callable[[_Job], str],
        dumps: Callable[[_Result], str],
        loads: Callable[[str], _Result],
    ) -> None:
        self._folder, self._name, self._dumps, self._loads = folder, name, dumps, loads
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, job: _Job) -> _Result | None:
        """What was measured, or None where nothing was."""
        file = self._file(job)
        return self._loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def write(self, job: _Job, result: _Result) -> None:
        """Keep what was measured."""
        self._file(job).write_text(self._dumps(result), encoding="utf-8")

    def _file(self, job: _Job) -> Path:
        return self._folder / f"{self._name(job)}.json"


def measure_all(
    jobs: Sequence[_Job], measure: Callable[[_Job], _Result], *, keeper: Keeper[_Job, _Result], processes: int
) -> Iterator[tuple[_Job, _Result]]:
    """Measure in processes of their own, what was kept first and the rest in the order in which it ends.

    measure: can be pickled: a function of a module, or a partial of one.
    """
    waiting = []
    for job in jobs:
        kept = keeper.read(job)
        if kept is None:
            waiting.append(job)
        else:
            yield job, kept
    if not waiting:
        return
    threads = max(1, (os.cpu_count() or 1) // processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # inherited: two engines must not fight for the cores
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(measure, job): job for job in waiting}
        for done in as_completed(running):
            result = done.result()
            keeper.write(running[done], result)
            yield running[done], result


def code_and_weights(pack: Path, *, without: Collection[str] = ()) -> str:
    """A name for the state of a pack and of the code under `models`, the first 16 digits of a SHA-256.

    So an interrupted run goes on where it stopped, and no number outlives the code it came from. The pack's
    description counts whole: it names every weights file by hash, and says how to walk.

    without: patterns of paths below `models` that have no say in the numbers.
    """
    digest = hashlib.sha256((pack_of(pack).folder / DESCRIPTION).read_bytes())
    for source in sorted(MODELS.rglob("*.py")):
        if not any(source.relative_to(MODELS).match(pattern) for pattern in without):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


pack_of = cache(load_pack)
"""The pack in a folder, verified once."""
