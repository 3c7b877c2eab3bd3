"""With a real PACS: a study stored there and routed from there gets its results into the same study."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    DigitalXRayImageStorageForPresentation,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from app.check import check_node
from app.delivery.send import send_folder
from app.jobs.job import JobState
from app.phantom import write_xray_study
from app.phantom_mr import write_mr_study
from app.serve import MODULES, Node
from models.packs import discover_packs
from tests.node import destination, jobs_of, node_settings, running_node, wait_for
from tests.peers import Pacs, free_port, running_pacs

pytestmark = [pytest.mark.slow, pytest.mark.peers("Orthanc")]

LABEL_MAP_SEGMENTATION_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")  # Sup 243; pydicom has no name for it yet
SEED = 9_000_001
SEGMENTATION_OF = {"standard": SegmentationStorage, "ohif": LABEL_MAP_SEGMENTATION_STORAGE}
PATIENCE_S = 600.0  # an MR volume on a busy machine


@dataclass(frozen=True)
class Case:
    """A study that a PACS may route.

    engine: what segments it. write: folder → its files, the truth beside the instances.
    sop_class_uid: of its instances. segmentations: how many come back.
    """

    engine: str
    write: Callable[[Path], Sequence[Path]]
    sop_class_uid: UID
    segmentations: int


CASES = {
    "radiograph": Case(
        "spinefm",
        lambda folder: write_xray_study(folder, SEED, region="cervical"),
        DigitalXRayImageStorageForPresentation,
        1,
    ),
    "MR": Case(
        "spineps",
        lambda folder: write_mr_study(folder, SEED, region="lumbar", contrast="T2w"),
        MRImageStorage,
        2,
    ),
}


@dataclass(frozen=True)
class Hospital:
    """A PACS and a node beside it, and the profile that the PACS is delivered in."""

    pacs: Pacs
    node: Node
    profile: str

    def study(self, study_instance_uid: str) -> str:
        """Return the PACS' identifier of a study."""
        known = {each: self.pacs.get(f"/studies/{each}") for each in self.pacs.get("/studies")}
        (found,) = (each for each, what in known.items() if _uid(what) == study_instance_uid)
        return str(found)


@pytest.fixture(scope="module", params=["ohif", "standard"])
def hospital(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Hospital]:
    """Run a PACS and the node with its real worker."""
    root = tmp_path_factory.mktemp("hospital")
    port = free_port()
    with running_pacs(root / "pacs", node_port=port) as pacs:
        settings = node_settings(root / "storage", destination(pacs.dicom_port, profile=request.param), port=port)
        with running_node(settings, MODULES) as node:
            yield Hospital(pacs, node, request.param)


@pytest.mark.parametrize("name", CASES)
def test_a_routed_study_gets_its_results_once(hospital: Hospital, name: str, tmp_path: Path) -> None:
    """Every SEG, SR and SC appears in the same study; routing it again, results and all, changes nothing."""
    pacs, node, case = hospital.pacs, hospital.node, CASES[name]
    if case.engine not in {pack.engine for pack in discover_packs(node.settings.packs)}:
        pytest.skip(f"no pack for {case.engine} is in {node.settings.packs.name}: train or install one")
    first, *_ = case.write(tmp_path)
    uid = str(dcmread(first, stop_before_pixels=True).StudyInstanceUID)
    count = len(send_folder(tmp_path, "127.0.0.1", pacs.dicom_port, calling="MODALITY", called="PACS"))
    study = hospital.study(uid)
    results = [SEGMENTATION_OF[hospital.profile]] * case.segmentations
    wanted = sorted([case.sop_class_uid] * count + results + [Comprehensive3DSRStorage, SecondaryCaptureImageStorage])

    pacs.post("/modalities/SPONDYL/store", study)
    wait_for(
        lambda: pacs.sop_classes(study) == wanted,
        f"every SEG, SR and SC in the study; jobs: {jobs_of(node)}",
        patience_s=PATIENCE_S,
    )
    before, repeats = pacs.receptions(study), _repeats(node)
    pacs.post("/modalities/SPONDYL/store", study)
    wait_for(lambda: _repeats(node) > repeats, "the node sees the repeat")

    assert hospital.study(uid) == study
    assert pacs.receptions(study) == before
    assert len([status for status in jobs_of(node) if status.job.study_instance_uid == uid]) == 1


def test_orthanc_as_installed_gets_the_binary_form(tmp_path: Path) -> None:
    """It refuses label maps: `check` names the class, and the job is delivered and says so."""
    port = free_port()
    as_installed = {"UnknownSopClassAccepted": False}
    with running_pacs(tmp_path / "pacs", node_port=port, options=as_installed) as pacs:
        settings = node_settings(tmp_path / "storage", destination(pacs.dicom_port, profile="ohif"), port=port)
        found = {finding.subject: finding for finding in check_node(settings)}["results for pacs"]
        with running_node(settings, MODULES) as node:
            first, *_ = CASES["radiograph"].write(tmp_path / "study")
            send_folder(first, "127.0.0.1", port, calling="MODALITY", called="SPONDYL")
            wait_for(lambda: any(each.state is JobState.DELIVERED for each in jobs_of(node)), "it is delivered")
            (status,) = jobs_of(node)
        (study,) = pacs.get("/studies")
        stored = pacs.sop_classes(str(study))

    assert found.sound
    assert found.words == "PACS refuses Label Map Segmentation Storage: the BINARY form goes instead"
    assert found.words in status.sentence
    assert stored == sorted([SegmentationStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage])


def _uid(study: dict[str, dict[str, str]]) -> str:
    return study["MainDicomTags"]["StudyInstanceUID"]


def _repeats(node: Node) -> int:
    return (node.layout.root / "node.log").read_text().count("series_repeated")
