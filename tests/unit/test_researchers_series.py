"""DICOM series that researchers' tools make from NIfTI, and vendors' header forms: what is planned for each.

The forms of headers are those that nifti_to_dicom, nifti2dicom, fw-gear-nifti-to-dicom, TPTBox and SimpleITK write.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from operators.dicom.routing import load_rules
from operators.dicom.series import index_folder
from operators.engines import EngineCache
from operators.outcome import SeriesOutcome
from operators.steps import RunPlan, decide
from tests.made_mr import SAGITTAL, made_mr
from tests.unit.test_mr_routing import T2Pack

SHAPE = (11, 12, 13)
VOXELS = np.zeros(SHAPE, np.uint16)
AXIAL = np.array([[0, 0, 1.0, 0], [0, 1.0, 0, 0], [1.0, 0, 0, 0], [0, 0, 0, 1]])
SECONDARY = ["DERIVED", "SECONDARY"]
NO_TIMES: Mapping[str, Any] = {
    "EchoTime": None,
    "RepetitionTime": None,
    "ScanningSequence": None,
    "SequenceVariant": None,
}
NO_SPACE: Mapping[str, Any] = {"FrameOfReferenceUID": None, "PositionReferenceIndicator": None}
TAKES = {"modality": ["MR"], "plane": ["sagittal"], "contrast": ["T2w", "T1w", "STIR"]}
PLAN = RunPlan(load_rules(), (T2Pack(accepts=TAKES),), (), "cpu", EngineCache(), (), "1")


def planned(datasets: list[FileDataset], folder: Path) -> list[SeriesOutcome]:
    """Put instances into a folder and decide on each series that is found there."""
    for number, dataset in enumerate(datasets):
        dataset.save_as(folder / f"{number:03d}", enforce_file_format=True)
    outcomes = []
    for files in index_folder(folder).series:
        (series,) = files.load().series
        outcomes.append(decide(series, PLAN, view_number=files.view_number))
    return outcomes


def a_study_each(**attributes: Any) -> list[FileDataset]:
    """The usual recipe for SimpleITK sets no Study Instance UID: each slice gets one of its own."""
    datasets = made_mr(VOXELS, ImageType=SECONDARY, SpacingBetweenSlices="1", **NO_SPACE, **attributes)
    for number, dataset in enumerate(datasets):
        dataset.StudyInstanceUID = UID(f"2.25.77{number}")
    return datasets


Form = tuple[Callable[[], list[FileDataset]], str, str]
T2 = "sagittal T2w MR of the lumbar spine"
FORMS: dict[str, Form] = {
    "nifti_to_dicom, defaults": (
        lambda: made_mr(
            VOXELS, **{**NO_TIMES, "EchoTime": "-1.0"}, ImageType=[*SECONDARY, "OTHER"], BodyPartExamined="BRAIN"
        ),
        "skipped",
        "skipped: MR of the brain; SPINEPS needs the spine",
    ),
    "nifti_to_dicom, sagittal LSPINE, described": (
        lambda: made_mr(
            VOXELS, **{**NO_TIMES, "EchoTime": "-1.0"}, ImageType=[*SECONDARY, "OTHER"], SeriesDescription="T2 sag"
        ),
        "succeeded",
        T2,
    ),
    "nifti_to_dicom, sagittal LSPINE, nothing told": (
        lambda: made_mr(VOXELS, **{**NO_TIMES, "EchoTime": "-1.0"}, ImageType=[*SECONDARY, "OTHER"]),
        "skipped",
        "skipped: sagittal unknown-contrast MR of the lumbar spine; put T1, T2 or STIR into its Series Description; "
        "no installed pack takes it",
    ),
    "nifti_to_dicom, with a reference": (lambda: made_mr(VOXELS, ImageType=[*SECONDARY, "ND"]), "succeeded", T2),
    "nifti2dicom": (
        lambda: made_mr(
            VOXELS, AXIAL, **NO_TIMES, ImageType=[*SECONDARY, "OTHER"], SeriesDescription="NIfTI conversion"
        ),
        "skipped",
        "skipped: MR, axial, 1.0 mm slices; SPINEPS needs a sagittal plane",
    ),
    "fw-gear, with a DICOM": (lambda: made_mr(VOXELS, ImageType=SECONDARY, SpacingBetweenSlices="1"), "succeeded", T2),
    "fw-gear, sidecar only": (
        lambda: made_mr(VOXELS, **NO_TIMES, **NO_SPACE, ImageType=SECONDARY, SeriesDescription="T2w_TSE"),
        "succeeded",
        T2,
    ),
    "TPTBox": (
        lambda: made_mr(
            VOXELS, **NO_SPACE, ImageType=["ORIGINAL", "PRIMARY", "OTHER"], EchoTime="0.1212", RepetitionTime="2.61"
        ),
        "succeeded",
        T2,
    ),
    "TPTBox, secondary": (
        lambda: made_mr(VOXELS, **NO_SPACE, ImageType=SECONDARY, EchoTime="0.1212", RepetitionTime="2.61"),
        "succeeded",
        T2,
    ),
    "SimpleITK": (
        a_study_each,
        "skipped",
        f"skipped: {T2}; one Series Instance UID in 11 studies, which together make one volume of 11 slices; "
        "give all instances one Study Instance UID (0020,000D) and run again",
    ),
    "SimpleITK as CT": (
        lambda: a_study_each(Modality="CT"),
        "skipped",
        "skipped: CT; no engine takes it; one Series Instance UID in 11 studies, which together make one volume "
        "of 11 slices; "
        "give all instances one Study Instance UID (0020,000D) and run again",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_a_tool_makes_of_a_nifti_file_gets_one_result_or_one_sentence(form: str, tmp_path: Path) -> None:
    """Never eleven equal lines, never a fault after the engine."""
    make, status, reason = FORMS[form]

    (outcome,) = planned(make(), tmp_path)

    assert (outcome.status, outcome.reason.split(" (")[0]) == (status, reason.split(" (")[0])


def test_a_series_uid_that_was_copied_to_whole_series_costs_none_of_them(tmp_path: Path) -> None:
    """Each study has a whole stack: two results."""
    first, second = made_mr(VOXELS), made_mr(VOXELS)
    for number, dataset in enumerate(second):
        dataset.StudyInstanceUID = UID("2.25.78")
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.79{number}")

    assert [outcome.status for outcome in planned([*first, *second], tmp_path)] == ["succeeded", "succeeded"]


def test_slices_of_several_studies_that_make_no_volume_are_named_once(tmp_path: Path) -> None:
    """Nothing is promised of them."""
    (outcome,) = planned(a_study_each()[:4], tmp_path)

    assert outcome.reason.endswith(
        "; one Series Instance UID in 4 studies; give all instances one Study Instance UID (0020,000D) and run again "
        "if they belong together"
    )


def stations(*, count: int, apart_mm: float = 250.0, tilt: float = 0.0) -> list[FileDataset]:
    """Stacks of one Series below each other, each turned by so many radians against the one above."""
    datasets: list[FileDataset] = []
    for station in range(count):
        affine = SAGITTAL.copy()
        turn = np.eye(3)
        angle = tilt * station
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        affine[:3, :3] = turn @ affine[:3, :3]
        affine[2, 3] -= apart_mm * station
        for dataset in made_mr(VOXELS, affine):
            dataset.InstanceNumber = len(datasets) + 1
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.8{len(datasets)}")
            datasets.append(dataset)
    return datasets


@pytest.mark.parametrize(("count", "tilt"), [(2, 0.0), (3, 0.0), (2, 0.1)])
def test_stations_of_one_series_are_volumes_of_their_own(count: int, tilt: float, tmp_path: Path) -> None:
    """The same places along the normal, 250 mm apart within the plane: all are segmented, and no position repeats."""
    outcomes = planned(stations(count=count, tilt=tilt), tmp_path)

    assert [outcome.status for outcome in outcomes] == ["succeeded"] * count
    assert [outcome.view_number for outcome in outcomes] == list(range(1, count + 1))
    assert [len(outcome.series.instances) for outcome in outcomes] == [11] * count
    assert outcomes[0].series.notes == (
        f"station 1 of {count}: the series holds {count} stations, 250 mm apart within their plane; "
        "each is a volume of its own",
    )


def test_a_lone_slice_at_another_place_is_no_station_and_is_not_lost(tmp_path: Path) -> None:
    """It is told of where it lies: with the first."""
    datasets = stations(count=2)
    (outcome,) = planned(datasets[:12], tmp_path)

    assert (outcome.status, len(outcome.series.instances)) == ("succeeded", 12)


TAKEN = {
    "PROPELLER": ["DERIVED", "PRIMARY", "PROPELLER"],
    "other": ["DERIVED", "PRIMARY", "OTHER"],
    "Philips": ["DERIVED", "PRIMARY", "M_SE", "M", "SE"],
    "deep reconstruction": ["DERIVED", "PRIMARY", "M", "DRG"],
    "AIR": ["DERIVED", "PRIMARY", "AIR RECON DL"],
    "water": ["DERIVED", "PRIMARY", "DIXON", "WATER"],
    "in phase": ["DERIVED", "PRIMARY", "DIXON", "IN_PHASE"],
    "composed": ["DERIVED", "PRIMARY", "COMPOSED"],
    "NORM": ["ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D", "COMP_SP"],
    "two values": ["DERIVED", "SECONDARY"],
}


@pytest.mark.parametrize("form", TAKEN)
def test_derived_alone_decides_nothing(form: str, tmp_path: Path) -> None:
    """PS3.3 C.7.6.1.1.2: pixel values that were derived are still those of the patient."""
    (outcome,) = planned(made_mr(VOXELS, ImageType=TAKEN[form]), tmp_path)

    assert outcome.status == "succeeded"


@pytest.mark.parametrize(
    "word",
    [
        "MPR",
        "CSA MPR",
        "MIP",
        "MINIP",
        "PROJECTION IMAGE",
        "ADC",
        "SUBTRACTION",
        "SUB",
        "P",
        "PHASE MAP",
        "T2 MAP",
        "T2_MAP",
        "FA",
        "TRACEW",
    ]
    + ["REFORMATTED", "B0 MAP", "FAT_FRACTION", "SCREENSAVE", "VELOCITY", "T1 MAP", "PERFUSION"],
)
@pytest.mark.parametrize("origin", ["ORIGINAL", "DERIVED"])
def test_what_the_later_values_name_does(word: str, origin: str, tmp_path: Path) -> None:
    """Wherever it stands behind the second."""
    (outcome,) = planned(made_mr(VOXELS, ImageType=[origin, "SECONDARY", "M", word]), tmp_path)

    assert (
        outcome.reason
        == f"skipped: MR {origin}\\SECONDARY\\M\\{word}, derived from other images; SPINEPS takes the originals"
    )
