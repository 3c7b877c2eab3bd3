"""The engine in a process of its own: it may die, hang or grow, and the worker goes on."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.jobs.admission import TRIES, admitted_device
from app.jobs.engine_process import EngineLimits, EngineProcess
from app.jobs.results import EngineLost, ResultFault
from app.jobs.shares import Machine, Share, share_of, worker_count
from app.settings import Settings
from app.work_settings import Workers
from tests.made_dicom import made_dx


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    """Return an engine that stays warm for the tests of this module."""
    process = EngineProcess("tests.hostile_engine", EngineLimits(time_limit_s=60.0, memory_mib=400))
    yield process
    process.stop()


def series(folder: Path, body_part: str) -> Path:
    """Write a series of one radiograph and return its folder."""
    source = folder / "job" / "input"
    source.mkdir(parents=True)
    made_dx(np.eye(8), body_part=body_part).save_as(source / "1.dcm", enforce_file_format=True)
    return source


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body_part", "reason"),
    [
        ("CRASH", "it ended with status 3"),
        ("SIGNAL", "it was ended by SIGSEGV"),
        ("HANG", r"it took longer than 2 s \(workers.time_limit_s\)"),
        ("EATER", r"it took more than 400 MiB of memory \(workers.memory_mib\)"),
    ],
)
def test_a_series_that_takes_the_engine_with_it_is_told_how(
    engine: EngineProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body_part: str, reason: str
) -> None:
    """The administrator has to know whether to give it more time, more memory, or to look at the series."""
    if body_part == "HANG":
        monkeypatch.setattr(engine, "limits", EngineLimits(time_limit_s=2.0, memory_mib=400))

    with pytest.raises(EngineLost, match=f"the engine was lost: {reason}"):
        engine(series(tmp_path, body_part), {"standard": tmp_path})

    healthy = series(tmp_path / "next", "CSPINE")
    assert engine(healthy, {"standard": tmp_path}).decision == "segmented"


READY = """
from app.jobs.engine_process import EngineLimits, EngineProcess
engine = EngineProcess("app.jobs.engine", EngineLimits(60.0, 8192), ("test",))
engine.start()
engine.stop()
"""


@pytest.mark.slow
def test_the_engine_starts_where_the_system_allows_less_stack_than_holoscan_asks_for() -> None:
    """A hard limit of 8 MB cannot be raised: what there is has to do."""
    limited = 'ulimit -s 8192 && exec "$0" -c "$1"'

    done = subprocess.run(
        ["bash", "-c", limited, sys.executable, READY],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_fault_of_the_engine_is_an_answer_and_keeps_it_warm(engine: EngineProcess, tmp_path: Path) -> None:
    """Only a process that is lost is replaced; and no exception carries a patient's name over the pipe."""
    engine(series(tmp_path / "a", "CSPINE"), {"standard": tmp_path})
    with pytest.raises(ResultFault, match="ValueError in captures.py"):
        engine(series(tmp_path / "b", "KNEE"), {"standard": tmp_path})
    engine(series(tmp_path / "c", "CSPINE"), {"standard": tmp_path})

    assert len({begun.name.split("-")[2] for begun in tmp_path.glob("*/job/begun-*")}) == 1


@pytest.mark.slow
def test_an_engine_that_does_not_start_is_told(tmp_path: Path) -> None:
    """A broken installation must not look like a broken series."""
    engine = EngineProcess("tests.no_such_engine", EngineLimits(time_limit_s=2.0, memory_mib=400))

    with pytest.raises(EngineLost, match="it ended with status 1"):
        engine(series(tmp_path, "CSPINE"), {"standard": tmp_path})


def shares(settings: Settings, machine: Machine) -> list[Share]:
    """Return what each worker gets."""
    return [share_of(settings, machine, number + 1) for number in range(worker_count(settings, machine))]


def test_a_node_without_a_gpu_has_one_worker_with_every_core() -> None:
    """`workers.count: auto`."""
    assert shares(Settings(), Machine(8, 10_000, ())) == [Share(8, 8000, None)]


def test_a_node_has_a_worker_per_gpu_and_each_sees_its_own() -> None:
    """No worker can take memory from the GPU of another."""
    found = shares(Settings(), Machine(8, 10_000, ("0", "1")))

    assert found == [Share(4, 4000, "0"), Share(4, 4000, "1")]
    assert found[1].environment["CUDA_VISIBLE_DEVICES"] == "1"


def test_workers_take_gpus_by_turns_and_share_cores_and_memory() -> None:
    """Three workers, two GPUs, five cores."""
    settings = Settings(workers=Workers(count=3))

    assert [share.gpu for share in shares(settings, Machine(5, 9_000, ("0", "1")))] == ["0", "1", "0"]
    assert shares(settings, Machine(2, 9_000, ()))[2] == Share(1, 2400, None)


def test_the_settings_outweigh_the_sharing() -> None:
    """Who knows the machine better may say so; a named device is taken as it stands."""
    settings = Settings(device="cuda:1", workers=Workers(count=2, threads=6, memory_mib=4096))

    assert shares(settings, Machine(8, 10_000, ("0", "1"))) == [Share(6, 4096, None)] * 2


def test_an_engine_works_on_its_gpu_once_it_has_the_memory() -> None:
    """Another engine may just be ending: it is waited for."""
    answers, waits = iter([False, False, True]), list[float]()

    device = admitted_device("cuda:0", 4096, reserve=lambda _device, _need: next(answers), wait=waits.append)

    assert (device, len(waits)) == ("cuda:0", 2)


def test_an_engine_without_memory_on_the_gpu_works_on_the_processor() -> None:
    """Slower, and sure; a study must not fail in the middle."""
    waits = list[float]()

    device = admitted_device("auto", 4096, reserve=lambda _device, _need: False, wait=waits.append)

    assert (device, len(waits)) == ("cpu", TRIES)


def test_a_need_of_nothing_asks_nobody() -> None:
    """Who has measured that it fits may say so."""
    assert admitted_device("cuda", 0, reserve=lambda _device, _need: False, wait=lambda _seconds: None) == "cuda"
