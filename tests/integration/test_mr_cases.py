"""The shared cases of MR and of routing through the whole DAG with the shipped packs: each gets what is right."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from app.run import run_profiles
from app.settings import Settings
from models.packs import discover_packs
from operators.dicom.routing import load_rules
from operators.dicom.series import index_folder
from operators.engines import EngineCache
from operators.outcome import SeriesOutcome
from operators.steps import RunPlan, decide
from tests.integration.test_run_mr import BoxesEngine, BoxesPack, engine
from tests.made_mr import SAGITTAL, made_mr
from tests.made_volume import made_voxels
from tests.shared_cases import Make, case_maker

__all__ = ["engine"]

SEGMENTED = ("07", "10")
Entry = Mapping[str, Any]


@pytest.fixture(scope="module")
def make(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function that makes the files of a case."""
    return case_maker(shared, tmp_path_factory)


def decisions(folder: Path) -> list[SeriesOutcome]:
    """Decide on every series of a folder, with the shipped rules and packs."""
    packs = tuple(discover_packs(Settings().packs))
    plan = RunPlan(load_rules(), packs, Settings().default_pack, "cpu", EngineCache(), (), "1")
    return [decide(files.load().series[0], plan) for files in index_folder(folder).series]


@pytest.fixture(scope="module")
def outcomes(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Entry]]:
    """Run over the cases whose answer only the engine tells: case → its series in report.json."""
    folder = tmp_path_factory.mktemp("cases")
    for number in SEGMENTED:
        shutil.copytree(make(number), folder / "in" / number)
    _with_signed_padding(folder / "in" / "10", folder / "in" / "10 as SS")
    report = run_profiles(folder / "in", {"standard": folder / "out"}, settings=Settings(device="cpu")).as_json()
    found: dict[str, list[Entry]] = {}
    for study in json.loads(json.dumps(report))["studies"]:
        for entry in study["series"]:
            found.setdefault(_case_of(entry, folder / "in"), []).append(entry)
    return found


def _with_signed_padding(source: Path, target: Path) -> None:
    """Write case 10 as a study of its own whose Pixel Padding Value has the VR that it should have."""
    target.mkdir()
    for file in sorted(source.glob("*.dcm")):
        dataset = dcmread(file)
        del dataset.PixelPaddingValue
        dataset.add_new("PixelPaddingValue", "SS", -2000)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(dataset, keyword, UID(f"{dataset[keyword].value}.1"))
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(target / file.name)


def _case_of(entry: Entry, folder: Path) -> str:
    uids = set(entry["sop_instance_uids"])
    return next(
        file.parent.name
        for file in sorted(folder.rglob("*.dcm"))
        if dcmread(file, specific_tags=["SOPInstanceUID"]).SOPInstanceUID in uids
    )


@pytest.mark.slow
def test_words_of_consoles_for_the_spine_go_to_spinefm(make: Make) -> None:
    """Case 04: six series."""
    assert [outcome.decision.engine for outcome in decisions(make("04"))] == ["spinefm"] * 6


@pytest.mark.slow
def test_a_cervical_cancer_is_no_neck(make: Make) -> None:
    """Case 05."""
    (outcome,) = decisions(make("05"))

    assert outcome.reason == "skipped: MR of the pelvis; SPINEPS needs the spine"


@pytest.mark.slow
@pytest.mark.parametrize(("case", "contrast"), [("06", "T2w"), ("08", "STIR"), ("09", "T2w")])
def test_the_contrast_is_right(make: Make, case: str, contrast: str) -> None:
    """FSE; a list of Inversion Times; an Enhanced MR with a private sequence."""
    (outcome,) = decisions(make(case))

    assert (outcome.decision.engine, outcome.decision.contrast) == ("spineps", contrast)


@pytest.mark.slow
@pytest.mark.parametrize("case", SEGMENTED)
def test_every_slice_is_taken(outcomes: Mapping[str, list[Entry]], case: str) -> None:
    """Cases 07 and 10: one volume each, and no word of several."""
    (entry,) = outcomes[case]

    assert (entry["status"], entry["contrast"]) == ("succeeded", "T2w")
    assert not [sentence for sentence in entry["warnings"] if "volumes" in sentence or "left out" in sentence]
    assert any(structure["label"] == "L5" for structure in entry["structures"])


@pytest.mark.slow
def test_padding_is_padding_whatever_its_vr(outcomes: Mapping[str, list[Entry]]) -> None:
    """Case 10: the same structures with the same confidences as with SS."""
    (unsigned,), (signed,) = outcomes["10"], outcomes["10 as SS"]

    assert unsigned["structures"] == signed["structures"]


FORMS: dict[str, dict[str, Any]] = {
    "derived": {"ImageType": ["DERIVED", "SECONDARY"]},
    "no space": {
        "FrameOfReferenceUID": None,
        "PositionReferenceIndicator": None,
        "ImageType": ["DERIVED", "SECONDARY"],
    },
    "seconds": {"EchoTime": "0.1212", "RepetitionTime": "2.61"},
}


@pytest.mark.parametrize("form", FORMS)
def test_what_researchers_make_is_segmented_and_the_report_says_what_is_odd(
    form: str, engine: BoxesEngine, tmp_path: Path
) -> None:
    """All the way to the written instances, which are read back."""
    entry, _ = _run(made_mr(made_voxels(), **FORMS[form]), tmp_path)[0], engine

    assert (entry["status"], len(entry["outputs"])) == ("succeeded", 4)
    assert any("marked as derived" in sentence for sentence in entry["warnings"]) == ("ImageType" in FORMS[form])
    assert any("no Frame of Reference" in sentence for sentence in entry["warnings"]) == (form == "no space")


def test_both_stations_of_a_series_get_results_of_their_own(engine: BoxesEngine, tmp_path: Path) -> None:
    """Two entries, eight instances, none under the UID of another."""
    lower = SAGITTAL.copy()
    lower[2, 3] -= 250
    low = made_mr(made_voxels(), lower)
    for number, dataset in enumerate(low):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.6{number}")

    entries = _run([*made_mr(made_voxels()), *low], tmp_path)

    assert [entry["status"] for entry in entries] == ["succeeded"] * 2
    assert len({output["path"] for entry in entries for output in entry["outputs"]}) == 8
    assert len(engine.seen) == 2
    assert float(np.abs(engine.seen[0].affine - engine.seen[1].affine).max()) == 250
    assert [entry["warnings"][0].split(":")[0] for entry in entries] == ["station 1 of 2", "station 2 of 2"]


def _run(datasets: list[FileDataset], folder: Path) -> list[Entry]:
    (folder / "in").mkdir()
    for number, dataset in enumerate(datasets):
        dataset.save_as(folder / "in" / f"{number}.dcm", enforce_file_format=True)
    outputs: dict[Any, Path] = {"standard": folder / "out"}
    report = run_profiles(folder / "in", outputs, settings=Settings(device="cpu"), packs=(BoxesPack(),)).as_json()
    entries: list[Entry] = [entry for study in report["studies"] for entry in study["series"]]
    return entries
