"""Routing in, as docs/deployment.md says: by the script and the settings that are shipped, and by the REST call."""

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from app.delivery.send import send_folder
from app.serve import Node
from tests.conftest import ROOT
from tests.made_dicom import made_dx
from tests.node import destination, jobs_of, node_settings, running_node, wait_for
from tests.peers import Pacs, free_port, running_pacs

pytestmark = [pytest.mark.slow, pytest.mark.peers("Orthanc")]

SCRIPT = ROOT / "manifests" / "orthanc" / "route-to-spondyl.lua"
DEMONSTRATION = json.loads((ROOT / "manifests" / "compose" / "orthanc.json").read_text())
# Of the demonstration's settings those that do not depend on the machines of a compose network.
KEPT = ("DicomAet", "DicomAlwaysAllowStore", "UnknownSopClassAccepted", "RemoteAccessAllowed", "AuthenticationEnabled")


@dataclass(frozen=True)
class Hospital:
    """An Orthanc with the shipped script, and a node whose worker captures instead of segmenting."""

    pacs: Pacs
    node: Node

    def store(self, folder: Path, *datasets: FileDataset) -> None:
        """Store instances at the PACS, as a modality does."""
        folder.mkdir()
        for dataset in datasets:
            dataset.save_as(folder / str(dataset.SOPInstanceUID), enforce_file_format=True)
        outcomes = send_folder(folder, "127.0.0.1", self.pacs.dicom_port, calling="MODALITY", called="PACS")
        assert [outcome.fate for outcome in outcomes] == ["stored"] * len(datasets)

    def modalities(self, dataset: FileDataset) -> list[str]:
        """Return the Modality of each series that the PACS holds of a study, sorted."""
        studies = [self.pacs.get(f"/studies/{each}") for each in self.pacs.get("/studies")]
        own = [each for each in studies if each["MainDicomTags"]["StudyInstanceUID"] == dataset.StudyInstanceUID]
        series = [self.pacs.get(f"/series/{each}") for study in own for each in study["Series"]]
        return sorted(each["MainDicomTags"]["Modality"] for each in series)

    def routed(self) -> set[str]:
        """Return the studies that the node has jobs of."""
        return {status.job.study_instance_uid for status in jobs_of(self.node)}


@pytest.fixture(scope="module", params=["script", "by hand"])
def hospital(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Hospital]:
    """Run both, on free ports of this machine."""
    root, port = tmp_path_factory.mktemp("hospital"), free_port()
    script = {"LuaScripts": [str(SCRIPT)], "StableAge": 1} if request.param == "script" else {"DicomModalities": {}}
    options = {key: DEMONSTRATION[key] for key in KEPT} | script
    with running_pacs(root / "pacs", node_port=port, options=options) as pacs:
        settings = node_settings(root / "storage", destination(pacs.dicom_port), port=port)
        with running_node(settings) as node:
            yield Hospital(pacs, node)


@pytest.mark.parametrize("hospital", ["script"], indirect=True)
def test_the_script_routes_what_may_hold_a_spine(hospital: Hospital, tmp_path: Path) -> None:
    """A radiograph goes to the node and its result comes back; a photograph and the result stay where they are."""
    first, photograph, last = (made_dx(np.eye(64), study=f"{tmp_path.name} {each}", view="LL") for each in range(3))
    photograph.Modality = "XC"

    hospital.store(tmp_path / "1", first, photograph)
    wait_for(lambda: hospital.modalities(first) == ["DX", "OT"], "the result in the study")
    hospital.store(tmp_path / "2", last)  # by the time it is back, Orthanc has called the script for all before it
    wait_for(lambda: hospital.modalities(last) == ["DX", "OT"], "the result in the other study")

    assert hospital.routed() == {first.StudyInstanceUID, last.StudyInstanceUID}
    assert hospital.modalities(photograph) == ["XC"]
    assert hospital.modalities(first) == ["DX", "OT"]


@pytest.mark.parametrize("hospital", ["by hand"], indirect=True)
def test_one_study_is_sent_by_the_rest_call(hospital: Hospital, tmp_path: Path) -> None:
    """The node is named to a running Orthanc by PUT, asked by C-ECHO, and a study sent to it by POST."""
    dataset = made_dx(np.eye(64), study=tmp_path.name, view="LL")
    hospital.store(tmp_path / "1", dataset)
    (study,) = hospital.pacs.get("/studies")
    peer = json.dumps({"AET": "SPONDYL", "Host": "127.0.0.1", "Port": hospital.node.settings.node.port})
    url = f"http://127.0.0.1:{hospital.pacs.http_port}/modalities/SPONDYL"
    with urllib.request.urlopen(urllib.request.Request(url, peer.encode(), method="PUT"), timeout=60):
        pass

    assert hospital.pacs.post("/modalities/SPONDYL/echo", "{}") == {}
    hospital.pacs.post("/modalities/SPONDYL/store", study)

    wait_for(lambda: hospital.modalities(dataset) == ["DX", "OT"], "the result in the study")
    assert hospital.routed() == {dataset.StudyInstanceUID}
