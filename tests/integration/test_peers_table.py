"""docs/peers.md: what each archive tried takes of our results, how they are proven there, and that it stores to us."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, Comprehensive3DSRStorage, SecondaryCaptureImageStorage, SegmentationStorage

from app.delivery.association import Peer
from app.delivery.commitment import Offer, offers_of
from app.delivery.destinations import Fate
from app.delivery.instances import read_instances
from app.delivery.result_classes import LABEL_MAP_SEGMENTATION_STORAGE
from app.delivery.storage_scu import store
from operators.dicom.secondary_capture import build_overlay
from operators.dicom.verify import encode
from tests.made_dicom import made_dx
from tests.made_results import ALGORITHM, COLUMNS, ROWS, made_labelmap, made_source, made_structures
from tests.node import gateway_port, jobs_of, node_settings, running_node, wait_for
from tests.peers import free_port, running_dcmqrscp, running_pacs, running_program, running_storescp
from tests.unit.test_structured_report import built

pytestmark = [pytest.mark.slow, pytest.mark.peers("Orthanc", "dcmqrscp", "storescp", "storescu", "dcmsend")]

BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
RESULTS: dict[UID, str] = {
    SegmentationStorage: "Segmentation",
    LABEL_MAP_SEGMENTATION_STORAGE: "Label Map",
    Comprehensive3DSRStorage: "report",
    SecondaryCaptureImageStorage: "picture",
}
OFFERS = {Offer.COMMITMENT: "Storage Commitment", Offer.FIND: "C-FIND"}


@dataclass(frozen=True)
class Row:
    """One line of the table: the peer, whether each result was stored there, what `proof: auto` asks first."""

    peer: str
    takes: tuple[bool, ...]
    proof: str

    def __str__(self) -> str:
        fates = ("stored" if each else "refused" for each in self.takes)
        return f"| {' | '.join((self.peer, *fates, self.proof))} |"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the files of one result of each kind, in the order of the table's columns."""
    folder = tmp_path_factory.mktemp("results")
    source, binary, report = built(source=made_source())
    _, label_map, _ = built(source=source, profile="ohif")
    grey = np.full((ROWS, COLUMNS), 0.4, np.float32)
    overlay = build_overlay(grey, made_labelmap(), made_structures(), [source], algorithm=ALGORITHM)
    files = []
    for name, dataset in zip(RESULTS.values(), (binary, label_map, report, overlay), strict=True):
        files.append(folder / name)
        files[-1].write_bytes(encode(dataset))
    return files


@contextmanager
def _orthanc(folder: Path) -> Iterator[int]:
    options = {"UnknownSopClassAccepted": False}  # as Debian installs it
    with running_pacs(folder, node_port=free_port(), options=options) as pacs:
        yield pacs.dicom_port


@contextmanager
def _orthanc_with_label_maps(folder: Path) -> Iterator[int]:
    with running_pacs(folder, node_port=free_port()) as pacs:
        yield pacs.dicom_port


@contextmanager
def _pynetdicom_qrscp(folder: Path) -> Iterator[int]:
    port = free_port()
    folder.mkdir()
    database = ["--database-location", str(folder / "index.sqlite"), "--instance-location", str(folder / "instances")]
    command = [sys.executable, "-m", "pynetdicom", "qrscp", "--port", str(port), "-aet", "PACS", "-ba", "127.0.0.1"]
    with running_program([*command, *database], port, folder / "qrscp.log"):
        yield port


def _debian(package: str) -> str:
    """Return a package's version without Debian's own part of it."""
    told = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=True)
    return told.stdout.partition("-")[0].partition("+")[0]


ARCHIVES: dict[str, tuple[Callable[[], str], Callable[[Path], AbstractContextManager[int]]]] = {
    "Orthanc {} as installed": (lambda: _debian("orthanc"), _orthanc),
    "Orthanc {} with UnknownSopClassAccepted": (lambda: _debian("orthanc"), _orthanc_with_label_maps),
    "DCMTK dcmqrscp {}": (lambda: _debian("dcmtk"), running_dcmqrscp),
    "DCMTK storescp {}": (lambda: _debian("dcmtk"), running_storescp),
    "pynetdicom qrscp {}": (lambda: version("pynetdicom"), _pynetdicom_qrscp),
}


def _row(name: str, port: int, results: Sequence[Path]) -> Row:
    peer = Peer("PACS", "127.0.0.1", port)
    outcomes = store(read_instances(results), peer, calling_ae_title="SPONDYL")
    assert {outcome.fate for outcome in outcomes} <= {Fate.STORED, Fate.REFUSED}, outcomes
    offered = offers_of(peer, calling_ae_title="SPONDYL")
    return Row(
        name,
        tuple(outcome.fate is Fate.STORED for outcome in outcomes),
        ", then ".join(OFFERS[offer] for offer in offered) or "none offered",
    )


def test_the_table_of_archives_is_what_the_archives_do(repository: Path, results: list[Path], tmp_path: Path) -> None:
    """Each archive is run, asked and sent one result of each kind."""
    rows = []
    for number, (name, (version_of, running)) in enumerate(ARCHIVES.items()):
        with running(tmp_path / f"archive-{number}") as port:
            rows.append(_row(name.format(version_of()), port, results))

    document = (repository / "docs" / "peers.md").read_text()
    told = document.partition(BEGIN)[2].partition(END)[0].strip().splitlines()[2:]
    assert told == [str(row) for row in rows], "\n".join(map(str, rows))


SENDERS: dict[str, Callable[[int], list[str]]] = {
    "DCMTK storescu": lambda port: ["storescu", "-aec", "SPONDYL", "127.0.0.1", str(port)],
    "DCMTK dcmsend": lambda port: ["dcmsend", "-aec", "SPONDYL", "127.0.0.1", str(port)],
    "pynetdicom storescu": lambda port: [
        *(sys.executable, "-m", "pynetdicom", "storescu", "127.0.0.1", str(port), "-aec", "SPONDYL"),
    ],
}


def test_every_sender_of_the_document_stores_to_the_node(repository: Path, tmp_path: Path) -> None:
    """Programs that send on their own, and an archive that routes: a job for each of their studies."""
    document = (repository / "docs" / "peers.md").read_text()
    port = free_port()
    with (
        running_pacs(tmp_path / "pacs", node_port=port) as pacs,
        running_node(node_settings(tmp_path / "storage", port=port)) as node,
    ):
        studies = {name: _study(tmp_path / "studies", name) for name in SENDERS}
        for name, command in SENDERS.items():
            assert name in document
            file = tmp_path / "studies" / name
            subprocess.run([*command(gateway_port(node)), str(file)], check=True, capture_output=True, timeout=60)
        routed = _study(tmp_path / "studies", "Orthanc")
        stored = store(
            read_instances([tmp_path / "studies" / "Orthanc"]),
            Peer("PACS", "127.0.0.1", pacs.dicom_port),
            calling_ae_title="MODALITY",
        )
        assert stored[0].fate is Fate.STORED
        (study,) = pacs.get("/studies")
        pacs.post("/modalities/SPONDYL/store", study)
        wanted = {*studies.values(), routed}
        wait_for(lambda: {each.job.study_instance_uid for each in jobs_of(node)} == wanted, "a job for each study")


def _study(folder: Path, name: str) -> str:
    folder.mkdir(exist_ok=True)
    dataset: Dataset = made_dx(np.eye(16), study=f"sent by {name}")
    dataset.save_as(folder / name, enforce_file_format=True)
    return str(dataset.StudyInstanceUID)
