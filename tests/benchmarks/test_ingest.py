"""How fast instances come in, against two Storage SCPs of other makers, in one run; and whether memory stays flat."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import UID

from app.serve import Node
from tests.made_dicom import made_dx, made_uid
from tests.node import gateway_port, node_settings, running_node, wait_for
from tests.peers import running_pacs, running_storescp

INSTANCES = 192
ROUNDS = 3
SIDE = 512  # 16 bits a pixel: 0.5 MB an instance
# How many times as fast as the faster of the two others, by the number of associations at once.
WANTED_RATIO = {1: 5.0, 4: 1.0, 16: 1.0}
MANY = 20_000
GROWTH_MIB = 20

pytestmark = [pytest.mark.benchmark, pytest.mark.peers("storescu", "storescp", "Orthanc")]


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 16 folders, each with instances of a series of its own."""
    root = tmp_path_factory.mktemp("instances")
    dataset = made_dx(np.random.default_rng(1).random((SIDE, SIDE)))
    for number in range(INSTANCES):
        folder = root / str(number % 16)
        folder.mkdir(exist_ok=True)
        uid = UID(made_uid("ingest", number))
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        dataset.SeriesInstanceUID = made_uid("ingest series", number % 16)
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return root


def seconds_to_send(root: Path, port: int, called: str, associations: int) -> float:
    """Send all folders by storescu, so many associations at once, and return how long it took."""
    folders = sorted(root.iterdir())
    shares = [folders[start::associations] for start in range(associations)]

    def send(share: list[Path]) -> None:
        # under invented UIDs, so that no round repeats an instance
        command = ["storescu", "-aec", called, "+II", "+IR", "12", "+sd", "127.0.0.1", str(port), *map(str, share)]
        subprocess.run(command, check=True, capture_output=True)

    start = time.perf_counter()
    with ThreadPoolExecutor(associations) as pool:
        list(pool.map(send, shares))
    return time.perf_counter() - start


@pytest.mark.parametrize("associations", WANTED_RATIO)
def test_instances_come_in_faster_than_at_other_receivers(
    studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], associations: int
) -> None:
    """With every instance synced to the disk before its sender is told so; the best of three each, in turns."""
    with (
        running_node(node_settings(tmp_path / "storage"), role="gateway") as node,
        running_storescp(tmp_path / "storescp", "--fork") as storescp,
        running_pacs(tmp_path / "pacs", node_port=104) as pacs,
    ):
        ports = {"SPONDYL": gateway_port(node), "STORESCP": storescp, "PACS": pacs.dicom_port}
        rounds = [
            {called: seconds_to_send(studies, port, called, associations) for called, port in ports.items()}
            for _ in range(ROUNDS)
        ]
        kept = _instances(node)
    best = {called: min(each[called] for each in rounds) for called in ports}
    ratio = min(best["STORESCP"], best["PACS"]) / best["SPONDYL"]

    with capsys.disabled():
        print(f"\n| {associations} | {' | '.join(f'{seconds:.2f}' for seconds in best.values())} | {ratio:.1f} |")
    assert kept == INSTANCES * ROUNDS
    assert ratio >= WANTED_RATIO[associations]


def test_memory_stays_flat_over_twenty_thousand_instances(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Measured in the gateway's process, after a first thousand has filled what is filled once."""
    file = tmp_path / "instance.dcm"
    made_dx(np.zeros((32, 32))).save_as(file, enforce_file_format=True)
    with running_node(node_settings(tmp_path / "storage"), role="gateway") as node:
        sizes = []
        for _ in range(MANY // 1_000):
            _send_invented(file, gateway_port(node), 1_000)
            sizes.append(_resident_mib(node))
        kept = _instances(node)

    with capsys.disabled():
        print(f"\nresident MiB after each thousand: {', '.join(f'{size:.0f}' for size in sizes)}; {kept} kept")
    assert kept == MANY
    assert max(sizes[1:]) - sizes[0] < GROWTH_MIB


def _send_invented(file: Path, port: int, count: int) -> None:
    """Send copies of a file under invented UIDs, on four associations at once."""
    command = ["storescu", "-aec", "SPONDYL", "+II", "+IR", "100", "--repeat", str(count // 4)]
    processes = [subprocess.Popen([*command, "127.0.0.1", str(port), str(file)]) for _ in range(4)]
    assert [process.wait(600) for process in processes] == [0] * 4


def _instances(node: Node) -> int:
    """Return how many instances are in jobs, once every series has become one: on its way it cannot be counted."""
    arriving, taking = node.layout.arriving, node.layout.taking  # asked in the order in which a series goes
    wait_for(lambda: not (any(arriving.iterdir()) or any(taking.glob("*/*"))), "all series to be jobs")
    return len(list(node.layout.jobs.glob("*/input/*.dcm")))


def _resident_mib(node: Node) -> float:
    sign = node.sign("gateway")
    assert sign is not None
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{sign.process_id}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024
