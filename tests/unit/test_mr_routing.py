"""Which stack of an MR Series decides, what its contrast is, and what becomes of real MR Series."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID

from operators.dicom.body_region import body_region
from operators.dicom.conditions import RoutesError
from operators.dicom.mr_acquisition import plane, plane_of
from operators.dicom.mr_contrast import load_contrasts, mr_contrast
from operators.dicom.routing import load_rules
from operators.dicom.series import SourceSeries, load_series
from operators.engines import EngineCache
from operators.outcome import SeriesOutcome
from operators.steps import RunPlan, decide
from tests.made_mr import SAGITTAL, made_enhanced_mr, made_mr, series_of

REAL = Path(__file__).parents[3] / "shared" / "data" / "mr"
VOXELS = np.zeros((7, 8, 9), np.uint16)
AXIAL = np.array([[0, 0, 1.0, 0], [0, 1.0, 0, 0], [5.0, 0, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True)
class T2Pack:
    """A pack for SPINEPS that takes T2w alone."""

    name: str = "t2"
    version: str = "1"
    engine: str = "spineps"
    digest: str = "0"
    accepts: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {"modality": ["MR"], "plane": ["sagittal"], "contrast": ["T2w"]}
    )


PLAN = RunPlan(load_rules(), (T2Pack(),), (), "cpu", EngineCache(), (), "1")


def decided(datasets: Sequence[FileDataset], folder: Path) -> SeriesOutcome:
    """Decide on the instances of one Series."""
    return decide(series_of(datasets, folder), PLAN)


def renumbered(*stacks: list[FileDataset]) -> list[FileDataset]:
    """Put stacks into one Series, one after the other."""
    datasets = [dataset for stack in stacks for dataset in stack]
    for number, dataset in enumerate(datasets, start=1):
        dataset.InstanceNumber = number
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.{number}")
    return datasets


def test_the_sagittal_stack_decides_whatever_else_the_series_holds(tmp_path: Path) -> None:
    """More axial slices come first; the sagittal ones are taken, and the others are told of."""
    axial = made_mr(np.zeros((12, 8, 9), np.uint16), AXIAL)

    outcome = decided(renumbered(axial, made_mr(VOXELS)), tmp_path)

    assert (outcome.status, outcome.reason) == ("succeeded", "sagittal T2w MR of the lumbar spine")


def test_the_late_echo_decides_in_a_series_of_two(tmp_path: Path) -> None:
    """Proton density and T2w in one Series: the one that is segmented gives the contrast."""
    outcome = decided(renumbered(made_mr(VOXELS, EchoTime="12"), made_mr(VOXELS, EchoTime="102")), tmp_path)

    assert (outcome.status, outcome.decision.contrast) == ("succeeded", "T2w")


def test_three_planes_of_three_slices_are_skipped(tmp_path: Path) -> None:
    """A localizer that does not say so is no volume."""
    stacks = []
    for turns in range(3):
        affine = SAGITTAL.copy()
        affine[:3] = np.roll(SAGITTAL[:3], turns, axis=0)
        stacks.append(made_mr(np.zeros((3, 8, 9), np.uint16), affine))

    outcome = decided(renumbered(*stacks), tmp_path)

    assert outcome.status == "skipped"
    assert "SPINEPS needs a sagittal plane" in outcome.reason or "5 are needed" in outcome.reason


def test_a_few_slices_are_skipped_with_their_number(tmp_path: Path) -> None:
    """Known from the headers, before anything is decoded."""
    outcome = decided(made_mr(VOXELS[:3]), tmp_path)

    assert outcome.reason.startswith("skipped: sagittal T2w MR of the lumbar spine; series ")
    assert outcome.reason.endswith("3 slices in one plane, 5 are needed")


def test_enhanced_mr_is_routed_by_the_frames_that_are_taken(tmp_path: Path) -> None:
    """The region, the echo and the plane stand in functional groups; the data set itself has none of them."""
    dataset = made_enhanced_mr(VOXELS)
    del dataset.BodyPartExamined
    region, anatomy, timing = Dataset(), Dataset(), Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "122494005", "SCT", "Cervical spine"
    anatomy.AnatomicRegionSequence = [region]
    timing.RepetitionTime = 3000.0
    dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]
    dataset.SharedFunctionalGroupsSequence[0].MRTimingAndRelatedParametersSequence = [timing]

    outcome = decided([dataset], tmp_path)

    assert (outcome.status, outcome.reason) == ("succeeded", "sagittal T2w MR of the cervical spine")
    assert len(dataset.PerFrameFunctionalGroupsSequence) == len(VOXELS)  # the source is never changed


def test_phase_images_of_enhanced_mr_are_skipped(tmp_path: Path) -> None:
    """PS3.3 C.8.13.3.1.1: Complex Image Component."""
    dataset = made_enhanced_mr(VOXELS)
    dataset.ComplexImageComponent = "PHASE"

    assert decided([dataset], tmp_path).reason == "skipped: MR of phase values; SPINEPS takes magnitudes"


LOCALIZERS = ("loc_sag", "AAHScout", "3-plane", "3PL loc", "Survey", "Localizer_MST")
NO_LOCALIZERS = ("t2_tse_sag", "T2 local coil", "t2 sag 3 places")


@pytest.mark.parametrize("description", LOCALIZERS)
def test_localizers_are_known_by_what_technicians_call_them(description: str, tmp_path: Path) -> None:
    """Where Image Type does not tell."""
    outcome = decided(made_mr(VOXELS, SeriesDescription=description), tmp_path)

    assert outcome.reason.startswith("skipped: MR, described as a localizer")


@pytest.mark.parametrize("description", NO_LOCALIZERS)
def test_other_words_make_no_localizer(description: str, tmp_path: Path) -> None:
    """A word is more than its beginning."""
    assert decided(made_mr(VOXELS, SeriesDescription=description), tmp_path).status == "succeeded"


def test_the_words_of_technicians_end_at_underscores(tmp_path: Path) -> None:
    """`t2_tse_sag_HWS` names the cervical spine, also where Body Part Examined was left at HEAD."""
    datasets = made_mr(VOXELS, BodyPartExamined="HEAD", SeriesDescription="t2_tse_sag_HWS")

    assert body_region(datasets[0]) == "cervical"
    assert decided(datasets, tmp_path).reason == "sagittal T2w MR of the cervical spine"


CONTRASTS: dict[str, tuple[dict[str, object], str]] = {
    "exponents": ({"EchoTime": "1.02e+2", "RepetitionTime": "3.5E3"}, "T2w"),
    "no number": ({"EchoTime": None, "RepetitionTime": None, "SeriesDescription": "sag"}, "other"),
    "diffusion": ({"ScanningSequence": "EP"}, "other"),
    "myelogram": ({"EchoTime": "740", "RepetitionTime": "8000"}, "other"),
    "Dixon water": ({"ImageType": ["ORIGINAL", "PRIMARY", "DIXON", "WATER"]}, "STIR"),
    "Dixon fat": ({"ImageType": ["ORIGINAL", "PRIMARY", "DIXON", "FAT"]}, "other"),
    "Dixon in phase": ({"ImageType": ["ORIGINAL", "PRIMARY", "DIXON", "IN_PHASE"]}, "T2w"),
    "fat suppressed, as described": ({"SeriesDescription": "t2_tse_fs_sag"}, "STIR"),
    "no fat suppression": ({"SeriesDescription": "t2_tse_sag offset"}, "T2w"),
    "inversion without its time": ({"ScanningSequence": ["SE", "IR"], "SeriesDescription": "sag TIRM"}, "STIR"),
    "not inverted": ({"InversionTime": "0"}, "T2w"),
    "spatial saturation": ({"ScanOptions": ["SAT_GEMS", "FC"]}, "T2w"),
}


@pytest.mark.parametrize("case", CONTRASTS)
def test_the_contrast_is_told_by_what_real_scanners_write(case: str) -> None:
    """From a T2 TSE of TE 100 ms and TR 3500 ms."""
    attributes, contrast = CONTRASTS[case]

    assert mr_contrast(made_mr(VOXELS, **attributes)[0]) == contrast  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ("- {name: a, when: {}, contrast: T3w}", "'T3w' is no contrast; there are T2w, T1w, STIR, other"),
        ("- {name: a, when: {EchoTimes: 3}, contrast: T2w}", "EchoTimes is no DICOM keyword"),
        ("- {name: a, when: {EchoTime: 3}, contrast: T2w}", "the last rule must have no conditions"),
    ],
)
def test_broken_contrast_rules_are_refused_when_they_are_read(rules: str, fault: str, tmp_path: Path) -> None:
    """As those of the routes."""
    file = tmp_path / "contrasts.yaml"
    file.write_text(f"rules:\n  {rules}\n")

    with pytest.raises(RoutesError, match=fault):
        load_contrasts(file)


def test_a_plane_is_told_by_the_nearest_axis() -> None:
    """Scoliotic stacks are turned by up to 35 degrees and are sagittal still; half way is neither."""
    turned = np.deg2rad(35)

    assert plane_of([np.cos(turned), -np.sin(turned), 0]) == "sagittal"
    assert plane_of([0.7, 0, 0.7]) == "oblique"
    assert plane_of([0, 0, -3]) == "axial"
    with pytest.raises(ValueError, match="stands on no plane"):
        plane_of([0, 0, 0])
    assert plane(Dataset()) is None


def real(name: str) -> SourceSeries:
    """Return a real MR Series; skipped where they are not at hand."""
    if not (REAL / name).is_dir():
        pytest.skip(f"real MR is not at hand: {name} belongs beside the checkout in shared/data/mr")
    (series,) = load_series(REAL / name).series
    return series


def test_the_real_axial_series_is_skipped_with_its_sentence() -> None:
    """A cervical T2 with 7.5 mm slices."""
    outcome = decide(real("cervical_axial"), PLAN)

    assert outcome.status == "skipped"
    assert outcome.reason == "skipped: MR, axial, 7.5 mm slices; SPINEPS needs a sagittal plane"


@pytest.mark.parametrize("name", ["lumbar_IVD_11", "lumbar_VB2_02", "lumbar_VB2_09", "lumbar_sct"])
def test_the_real_sagittal_series_go_to_spineps(name: str) -> None:
    """Lumbar T2 TSE of four scanners."""
    outcome = decide(real(name), PLAN)

    assert (outcome.decision.engine, outcome.decision.pack, outcome.decision.contrast) == ("spineps", "t2", "T2w")
    assert outcome.reason == "sagittal T2w MR of the lumbar spine"
