"""How fast instances come in, against two Storage SCPs of other makers, in one run."""

import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import UID

from tests.made_dicom import made_dx, made_uid
from tests.node import gateway_port, node_settings, running_node
from tests.peers import running_pacs, running_storescp

INSTANCES = 200
SIDE = 512  # 16 bits a pixel: 0.5 MB an instance
WANTED_RATIO = 5.0


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of instances of one series."""
    folder = tmp_path_factory.mktemp("instances")
    dataset = made_dx(np.random.default_rng(1).random((SIDE, SIDE)))
    for number in range(INSTANCES):
        uid = UID(made_uid("ingest", number))
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


def seconds_to_send(folder: Path, port: int, called: str) -> float:
    """Send a folder by storescu on one association and return how long it took."""
    start = time.perf_counter()
    command = ["storescu", "-aec", called, "+sd", "127.0.0.1", str(port), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


@pytest.mark.benchmark
@pytest.mark.peers("storescu", "storescp", "Orthanc")
def test_instances_come_in_five_times_as_fast_as_at_other_receivers(
    studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With every instance synced to the disk before its sender is told so."""
    with running_node(node_settings(tmp_path / "storage"), role="gateway") as node:
        own = seconds_to_send(studies, gateway_port(node), "SPONDYL")
        kept = len(list(node.layout.root.rglob("*.dcm")))
    with running_storescp(tmp_path / "storescp") as port:
        dcmtk = seconds_to_send(studies, port, "STORESCP")
    with running_pacs(tmp_path / "pacs", node_port=104) as pacs:
        orthanc = seconds_to_send(studies, pacs.dicom_port, "PACS")

    with capsys.disabled():
        print(f"\n{INSTANCES} × 0.5 MB: Spondyl {own:.2f} s, storescp {dcmtk:.2f} s, Orthanc {orthanc:.2f} s;", end=" ")
        print(f"{dcmtk / own:.1f} and {orthanc / own:.1f} times as fast")
    assert kept == INSTANCES
    assert min(dcmtk, orthanc) / own >= WANTED_RATIO
