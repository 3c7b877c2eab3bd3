"""With a real PACS: a study stored there and routed from there gets its results into the same study."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from app.delivery.send import send_folder
from app.phantom import write_xray_study
from app.serve import MODULES, Node
from tests.node import destination, jobs_of, node_settings, running_node, wait_for
from tests.peers import Pacs, free_port, running_pacs

pytestmark = [pytest.mark.slow, pytest.mark.peers("Orthanc")]

LABEL_MAP_SEGMENTATION_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")  # Sup 243; pydicom has no name for it yet
SEED = 9_000_001
SEGMENTATION_OF = {"standard": SegmentationStorage, "ohif": LABEL_MAP_SEGMENTATION_STORAGE}


@dataclass(frozen=True)
class Hospital:
    """A PACS and a node beside it, and the profile that the PACS is delivered in."""

    pacs: Pacs
    node: Node
    profile: str


@pytest.fixture(scope="module", params=["ohif", "standard"])
def hospital(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Hospital]:
    """Run a PACS and the node with its real worker."""
    root = tmp_path_factory.mktemp("hospital")
    port = free_port()
    with running_pacs(root / "pacs", node_port=port) as pacs:
        settings = node_settings(root / "storage", destination(pacs.dicom_port, profile=request.param), port=port)
        if not (settings.packs / settings.default_pack / "pack.json").is_file():
            pytest.skip(f"the pack {settings.default_pack} is not in {settings.packs.name}: train or install it")
        with running_node(settings, MODULES) as node:
            yield Hospital(pacs, node, request.param)


def test_a_routed_radiograph_gets_its_results_once(hospital: Hospital, tmp_path: Path) -> None:
    """SEG, SR and SC appear in the same study; routing it again, results and all, changes nothing."""
    pacs, node = hospital.pacs, hospital.node
    radiograph, *_ = write_xray_study(tmp_path, SEED, region="cervical")
    send_folder(radiograph, "127.0.0.1", pacs.dicom_port, calling="MODALITY", called="PACS")
    (study,) = pacs.get("/studies")
    wanted = sorted(
        [
            DigitalXRayImageStorageForPresentation,
            SEGMENTATION_OF[hospital.profile],
            Comprehensive3DSRStorage,
            SecondaryCaptureImageStorage,
        ]
    )

    pacs.post("/modalities/SPONDYL/store", study)
    wait_for(lambda: pacs.sop_classes(study) == wanted, f"SEG, SR and SC in the study; jobs: {jobs_of(node)}")
    before = pacs.receptions(study)
    pacs.post("/modalities/SPONDYL/store", study)
    log = node.layout.root / "node.log"
    wait_for(lambda: "series_repeated" in log.read_text(), "the node sees the repeat")

    assert pacs.get("/studies") == [study]
    assert pacs.receptions(study) == before
    assert len(jobs_of(node)) == 1
