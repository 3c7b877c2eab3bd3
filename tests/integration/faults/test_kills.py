"""Processes are killed in every phase of a study, at chosen and at random moments: nothing is lost, nothing doubled."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pynetdicom import AE

from app.work_settings import Workers
from tests.fault_matrix import FaultMatrix, settle, table_in
from tests.fault_site import FaultSite, fault_site
from tests.node import wait_for

pytestmark = pytest.mark.slow

VICTIMS = {
    "gateway killed": ("gateway",),
    "worker killed": ("worker-1",),
    "engine killed": ("engine-1",),
    "all processes killed at once": ("gateway", "worker-1", "engine-1", "dashboard"),
}
RANDOM_KILLS = 100
MATRIX = FaultMatrix()
SET_ASIDE = "set aside after 3 fresh engines; nothing sent; the next study goes on"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultSite]:
    """Run a node and its archive for the chosen moments."""
    with fault_site(tmp_path_factory.mktemp("kills"), workers=Workers(time_limit_s=2.0, memory_mib=400)) as site:
        yield site


def gate(site: FaultSite) -> Path:
    """Return the folder where the engine says that it has begun, and waits while there is a file `hold`."""
    return site.folder.parent / "gate"


def during_reception(site: FaultSite, strike: Callable[[], None]) -> list[FileDataset]:
    """Strike when half of a series is stored; its sender comes again."""
    slices = site.volume()
    entity = AE(ae_title="PACS")
    entity.add_requested_context(slices[0].SOPClassUID, slices[0].file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", site.port() or 0, ae_title="SPONDYL")
    for file in sorted(site.written(slices).iterdir())[:3]:
        assert association.send_c_store(dcmread(file)).Status == 0
    strike()
    association.abort()
    site.route(slices)
    return slices


def during_assembly(site: FaultSite, strike: Callable[[], None]) -> list[FileDataset]:
    """Strike when a series was answered with success and waits for the quiet time, for a slice is missing."""
    slices = site.volume(7)
    del slices[3]
    site.route(slices)
    strike()
    return slices


def during_inference(site: FaultSite, strike: Callable[[], None]) -> list[FileDataset]:
    """Strike when the engine has begun."""
    slices = site.volume()
    (gate(site) / "hold").touch()
    site.route(slices)
    wait_for(lambda: any(_begun(site, each) for each in slices), "the engine begins")
    strike()
    (gate(site) / "hold").unlink()
    return slices


def during_delivery(site: FaultSite, strike: Callable[[], None]) -> list[FileDataset]:
    """Strike when the archive has been asked to store a result and has not answered."""
    slices = site.volume()
    site.archive.asked.clear()
    site.archive.hold.set()
    site.route(slices)
    wait_for(site.archive.asked.is_set, "a result is on its way")
    strike()
    site.archive.hold.clear()
    return slices


PHASES = {
    "reception": during_reception,
    "assembly": during_assembly,
    "inference": during_inference,
    "delivery": during_delivery,
}


def _begun(site: FaultSite, dataset: FileDataset) -> list[Path]:
    return list(gate(site).glob(f"begun-*-{dataset.SOPInstanceUID}"))


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("fault", VICTIMS)
def test_a_process_killed_in_any_phase_costs_nothing_but_time(site: FaultSite, fault: str, phase: str) -> None:
    """SIGKILL: no process can prepare itself for it. What was answered with success is delivered, once."""
    site.wait_alive("gateway", "worker-1", "engine-1", "dashboard")

    def strike() -> None:
        assert site.kill(*VICTIMS[fault]) == len(VICTIMS[fault])

    datasets = PHASES[phase](site, strike)
    outcome = site.outcome(datasets)

    MATRIX.record(fault, phase, outcome)
    assert outcome == "delivered once"


@pytest.mark.parametrize(
    ("fault", "body_part", "reason"),
    [
        ("series crashes the engine", "CRASH", "it ended with status 3"),
        ("series hangs", "HANG", "it took longer than 2 s"),
        ("series exhausts memory", "EATER", "it took more than 400 MiB"),
    ],
)
def test_a_series_that_ruins_the_engine_is_set_aside_and_the_next_goes_on(
    site: FaultSite, fault: str, body_part: str, reason: str
) -> None:
    """Three fresh engines, then a reason that an administrator can act on; nothing is sent for it."""
    bad, good = site.radiograph(body_part), site.radiograph()
    site.route([bad])
    site.route([good])

    assert site.outcome([good]) == "delivered once"
    (status,) = site.ended(bad)
    assert status.state == "failed"
    assert status.sentence.startswith("Set aside after 3 attempts: the engine was lost:")
    assert reason in status.sentence
    assert len({begun.name.split("-")[2] for begun in _begun(site, bad)}) == 3
    assert not (site.archive.folder / str(bad.StudyInstanceUID)).exists()
    MATRIX.record(fault, "inference", SET_ASIDE)


def test_a_file_torn_by_a_power_cut_is_never_an_instance(site: FaultSite) -> None:
    """The sender was not answered yet, so it comes again; what is half on the disk counts for nothing."""
    slices = site.volume()
    layout = site.node.layout
    torn = layout.partial / "gateway" / "torn"
    site.route(slices[:3])
    (whole, *_) = layout.arriving.glob("*/input/*.dcm")
    torn.write_bytes(whole.read_bytes()[:-20])
    site.kill("gateway")
    site.route(slices)

    outcome = site.outcome(slices)
    MATRIX.record("power cut in the middle of a file", "reception", outcome)
    assert outcome == "delivered once"
    assert not torn.exists()


def test_a_hundred_kills_at_random_moments_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    """Over reception, assembly, inference and delivery at once, with two workers, for as long as it takes."""
    chance = random.Random(20261121)
    with fault_site(tmp_path, workers=Workers(count=2, attempts=10)) as site:
        done, sent = threading.Event(), list[list[FileDataset]]()
        sender = threading.Thread(target=_send_until, args=(site, done, sent))
        killers = [
            threading.Thread(target=_kill_until, args=(site, name, random.Random(chance.random()), done))
            for name in ("gateway", "worker-1", "worker-2", "engine-1", "engine-2")
        ]
        _KILLED.clear()
        for thread in (sender, *killers):
            thread.start()
        wait_for(lambda: sum(_KILLED.values()) >= RANDOM_KILLS, "a hundred kills", patience_s=900)
        done.set()
        for thread in (sender, *killers):
            thread.join()
        outcomes = Counter(site.outcome(datasets) for datasets in sent)

    assert outcomes == {"delivered once": len(sent)}
    assert len(sent) > 10


_KILLED: Counter[str] = Counter()


def _send_until(site: FaultSite, done: threading.Event, sent: list[list[FileDataset]]) -> None:
    while not done.is_set():
        datasets = site.volume() if len(sent) % 2 else [site.radiograph()]
        site.route(datasets, patience_s=300)
        sent.append(datasets)


def _kill_until(site: FaultSite, name: str, chance: random.Random, done: threading.Event) -> None:
    """Kill a process a while after it has come to life, again and again."""
    while not done.wait(chance.uniform(0.0, 1.5)):
        _KILLED[name] += site.kill(name)
        limit = time.monotonic() + 60
        while site.process_id(name) is None and not done.is_set() and time.monotonic() < limit:
            time.sleep(0.02)


def test_the_matrix_in_the_document_is_the_one_that_these_tests_filled(repository: Path) -> None:
    """docs/reliability.md shows nothing that was not seen."""
    wanted = len(VICTIMS) * len(PHASES) + 4
    if sum(len(row) for row in MATRIX.cells.values()) < wanted:
        pytest.skip("only some of the faults were run")
    document = repository / "docs" / "reliability.md"

    table = settle(MATRIX, document)

    assert table_in(document) == table
