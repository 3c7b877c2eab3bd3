"""dciodvfy (dicom3tools) finds no error in a result that it does not find in the source."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from models.contracts import FoundStructure
from models.spinefm.morphometry import measure_spine
from operators.dicom.identity import Profile
from operators.dicom.pixels import radiograph_image
from operators.dicom.secondary_capture import build_overlay
from operators.dicom.segmentation import build_segmentation
from operators.dicom.structured_report import build_report
from operators.dicom.verify import encode, verify_overlay, verify_report, verify_segmentation
from tests.made_dicom import made_dx
from tests.made_results import ALGORITHM, made_labelmap, made_source, made_structures

Truth = tuple[NDArray[np.uint16], tuple[FoundStructure, ...]]

REAL = Path(__file__).parents[3] / "shared" / "data" / "xray"
REAL_RADIOGRAPHS = ("cervical_0047040", "cervical_0125124", "cervical_0241128", "cervical_0335133")
ANONYMISED = ("PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyTime")

MADE: dict[str, Callable[[], Dataset]] = {
    "DX": made_source,
    "DX with calibrated spacing": lambda: made_source(spacing=(0.15, 0.15)),
    "CR": lambda: made_source(modality="CR", photometric="MONOCHROME1"),
    "CR without orientation": lambda: made_source(modality="CR", patient_orientation=None),
    "DX anonymised": lambda: made_source(without=ANONYMISED),
    "DX in Latin letters": lambda: _with_patient(made_source(), "ISO_IR 100", "Müller^Zoë"),
}


def _with_patient(source: Dataset, character_set: str, name: str) -> Dataset:
    source.SpecificCharacterSet = character_set
    source.PatientName = name
    return source


def results(source: Dataset, truth: Truth, profile: Profile = "standard") -> dict[str, bytes]:
    """Build, encode and verify all three results of a source with pixels."""
    labelmap, structures = truth
    image = radiograph_image(source)
    measured = measure_spine(labelmap, structures, spacing_mm=image.spacing_mm, pixels=image.pixels)
    segmentation = build_segmentation(
        labelmap, [source], structures, algorithm=ALGORITHM, profile=profile, spacing_mm=image.spacing_mm
    )
    report = build_report(
        measured,
        [source],
        structures,
        labelmap=labelmap,
        segmentation=segmentation,
        algorithm=ALGORITHM,
        numbering="assumed",
        spacing_mm=image.spacing_mm,
        warnings=["numbering assumed: no landmark in view"],
        profile=profile,
    )
    overlay = build_overlay(image.pixels, labelmap, structures, [source], algorithm=ALGORITHM)
    encoded = {"SEG": encode(segmentation), "SR": encode(report), "SC": encode(overlay)}
    verify_segmentation(encoded["SEG"], labelmap, [source], structures)
    verify_report(encoded["SR"], [source], segmentation)
    verify_overlay(encoded["SC"], overlay.pixel_array, [source])
    return encoded


def real(name: str) -> tuple[Dataset, Truth]:
    """Return a real radiograph and its reference; skipped where they are not at hand."""
    folder = REAL / name
    if not folder.is_dir():
        pytest.skip(f"real radiographs are not at hand: {name} belongs beside the checkout in shared/data/xray")
    reference = np.asarray(Image.open(folder / "reference_labelmap.png"))
    labelmap = np.zeros(reference.shape, np.uint16)
    structures = []
    for number, value in enumerate(np.unique(reference[reference > 0]).tolist(), start=1):
        labelmap[reference == value] = number
        rows, columns = np.nonzero(reference == value)
        structures.append(
            FoundStructure(number, f"C{value}", f"C{value}", 0.9, (float(columns.mean()), float(rows.mean())))
        )
    return dcmread(folder / "1.dcm"), (labelmap, tuple(structures))


@pytest.mark.peers("dciodvfy")
@pytest.mark.parametrize("kind", [*MADE])
def test_the_results_of_a_made_radiograph_have_no_errors_of_their_own(
    kind: str, errors_in: Callable[[bytes], set[str]]
) -> None:
    """SEG (standard profile), report and picture; what the anonymiser took from the source may be missing."""
    source = MADE[kind]()

    found = {
        name: errors_in(encoded) for name, encoded in results(source, (made_labelmap(), made_structures())).items()
    }

    known = errors_in(encode(source))
    assert {name: errors - known for name, errors in found.items()} == {"SEG": set(), "SR": set(), "SC": set()}


@pytest.mark.peers("dciodvfy")
@pytest.mark.parametrize("name", REAL_RADIOGRAPHS)
def test_the_results_of_a_real_radiograph_have_no_errors_of_their_own(
    name: str, errors_in: Callable[[bytes], set[str]]
) -> None:
    """The reference masks of the four real images, as if an engine had found them."""
    source, truth = real(name)

    found = {kind: errors_in(encoded) for kind, encoded in results(source, truth).items()}

    known = errors_in(encode(source))
    assert {kind: errors - known for kind, errors in found.items()} == {"SEG": set(), "SR": set(), "SC": set()}


@pytest.mark.parametrize("name", REAL_RADIOGRAPHS)
def test_the_front_of_a_real_patient_is_found_in_the_image(name: str) -> None:
    """Patient Orientation is kept from the measurement and must agree with what the image says."""
    source, (labelmap, structures) = real(name)

    spine = measure_spine(labelmap, structures, pixels=radiograph_image(source).pixels)

    assert spine.facing == ("right" if source.PatientOrientation[0] == "A" else "left")


@pytest.mark.peers("dciodvfy")
def test_the_check_sees_a_planted_error(errors_in: Callable[[bytes], set[str]]) -> None:
    """A Segmentation without Segments is found out: the gate can be red."""
    broken = dcmread(BytesIO(results(made_source(), (made_labelmap(), made_structures()))["SEG"]))
    del broken.SegmentSequence

    assert any("SegmentSequence" in error for error in errors_in(encode(broken)))


def test_the_label_map_of_the_ohif_profile_is_read_by_highdicom_and_pydicom() -> None:
    """Debian's dciodvfy of 2022 does not know the label map SOP class: two other readers stand in."""
    source = made_source()
    encoded = results(source, (made_labelmap(), made_structures()), "ohif")["SEG"]

    dataset = dcmread(BytesIO(encoded))
    segmentation = hd.seg.Segmentation.from_dataset(dataset)

    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"
    np.testing.assert_array_equal(dataset.pixel_array, made_labelmap())
    assert segmentation.segment_numbers == [1, 2, 3, 4]


@pytest.mark.peers("dciodvfy")
@pytest.mark.parametrize("modality", ["DX", "CR"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_the_made_radiograph_itself_is_valid(
    modality: str, photometric: str, errors_in: Callable[[bytes], set[str]]
) -> None:
    """Errors of the source are excused above, so that the made one must have none."""
    source = made_dx(np.zeros((32, 24), np.float32), modality=modality, photometric=photometric)

    assert errors_in(encode(source)) == set()
