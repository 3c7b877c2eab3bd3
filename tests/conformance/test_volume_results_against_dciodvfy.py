"""dciodvfy (dicom3tools) finds no error in the results of an MR volume that it does not find in the source."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from models.spineps.morphometry import measure_volume
from operators.dicom.identity import Profile
from operators.dicom.secondary_capture import default_caption, picture_as_secondary_capture
from operators.dicom.verify import encode, verify_overlay, verify_report
from operators.dicom.volume import SliceStack, read_volume
from operators.dicom.volume_picture import render_volume
from operators.dicom.volume_report import build_volume_report
from operators.dicom.volume_segmentation import build_volume_segmentations
from operators.dicom.volume_verify import verify_volume_segmentation
from tests.made_mr import SAGITTAL
from tests.made_volume import ALGORITHM, made_result_on, made_stack

ANONYMISED = ("PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyTime")
OBLIQUE = SAGITTAL.copy()
OBLIQUE[:3, :3] = hd.spatial.create_rotation_matrix([0.96, 0.28, 0.0, 0.0, 0.0, -1.0]) * [4.0, 1.0, 0.7]
MADE: dict[str, Callable[[Path], SliceStack]] = {
    "single frames": made_stack,
    "single frames, oblique": lambda folder: made_stack(folder, OBLIQUE),
    "single frames, anonymised": lambda folder: made_stack(folder, attributes=dict.fromkeys(ANONYMISED)),
    "single frames in Latin letters": lambda folder: made_stack(
        folder, attributes={"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Zoë"}
    ),
    "single frames without a Frame of Reference": lambda folder: made_stack(
        folder, attributes=dict.fromkeys(("FrameOfReferenceUID", "PositionReferenceIndicator"))
    ),
    "single frames, derived, compressed with loss": lambda folder: made_stack(
        folder,
        attributes={
            "ImageType": ["DERIVED", "SECONDARY"],
            "LossyImageCompression": "01",
            "LossyImageCompressionRatio": "12",
            "LossyImageCompressionMethod": "ISO_10918_1",
        },
    ),
    "Enhanced MR": lambda folder: made_stack(folder, enhanced=True),
}
# Debian's dciodvfy of 2022 does not know label maps: it checks none, and takes a reference to one for a mistake.
CHECKED: dict[Profile, tuple[str, ...]] = {
    "standard": ("vertebrae", "substructures", "report", "picture"),
    "ohif": ("report", "picture"),
}
OF_A_LABEL_MAP = "not segmentation - attribute <ReferencedSegmentNumber>"


def results(stack: SliceStack, profile: Profile) -> dict[str, bytes]:
    """Build, encode and verify all results of a stack."""
    result, source = made_result_on(stack), stack.datasets
    built = build_volume_segmentations(result, stack, algorithm=ALGORITHM, profile=profile)
    report = build_volume_report(
        measure_volume(result, stack.affine),
        result,
        stack,
        segmentation=built.vertebrae,
        algorithm=ALGORITHM,
        warnings=["the series holds 2 volumes"],
        profile=profile,
    )
    picture = render_volume(read_volume(stack, contrast="T2w"), result, default_caption(ALGORITHM))
    capture = picture_as_secondary_capture(picture, source, ALGORITHM, of="MR series")
    encoded = {
        "vertebrae": encode(built.vertebrae),
        "substructures": encode(built.substructures),
        "report": encode(report),
        "picture": encode(capture),
    }
    verify_volume_segmentation(encoded["vertebrae"], result.vertebra_labelmap, stack, result.vertebrae)
    verify_volume_segmentation(encoded["substructures"], result.subregion_labelmap, stack, result.substructures)
    verify_report(encoded["report"], source, built.vertebrae)
    verify_overlay(encoded["picture"], picture, source)
    return encoded


@pytest.mark.peers("dciodvfy")
@pytest.mark.parametrize("profile", ["standard", "ohif"])
@pytest.mark.parametrize("kind", [*MADE])
def test_the_results_of_a_made_volume_have_no_errors_of_their_own(
    kind: str, profile: Profile, tmp_path: Path, errors_in: Callable[[bytes], set[str]]
) -> None:
    """Both Segmentations, report and picture."""
    stack = MADE[kind](tmp_path)
    encoded, known = results(stack, profile), errors_in(encode(stack.datasets[0]))

    found = {name: errors_in(encoded[name]) - known for name in CHECKED[profile]}

    own = {name: [error for error in errors if OF_A_LABEL_MAP not in error] for name, errors in found.items()}
    assert own == {name: [] for name in CHECKED[profile]}
    assert profile == "ohif" or not any(OF_A_LABEL_MAP in error for errors in found.values() for error in errors)


@pytest.mark.peers("dciodvfy")
def test_the_made_series_itself_is_valid(tmp_path: Path, errors_in: Callable[[bytes], set[str]]) -> None:
    """Errors of the source are excused above, so that the made one of single frames must have none."""
    assert errors_in(encode(made_stack(tmp_path).datasets[0])) == set()


@pytest.mark.peers("dciodvfy")
def test_the_check_sees_a_planted_error(tmp_path: Path, errors_in: Callable[[bytes], set[str]]) -> None:
    """A Segment that does not say how it was made is found out: the gate can be red."""
    broken = dcmread(BytesIO(results(made_stack(tmp_path), "standard")["vertebrae"]))
    del broken.SegmentSequence[1].SegmentAlgorithmType

    assert any("SegmentAlgorithmType" in error for error in errors_in(encode(broken)))


@pytest.mark.parametrize("enhanced", [False, True])
def test_the_label_maps_are_read_by_highdicom_and_pydicom(tmp_path: Path, enhanced: bool) -> None:
    """Two other readers stand in for the validator: a frame per slice that holds something, Segments as found."""
    stack = made_stack(tmp_path, enhanced=enhanced)
    result, encoded = made_result_on(stack), results(stack, "ohif")

    for name, labelmap in (("vertebrae", result.vertebra_labelmap), ("substructures", result.subregion_labelmap)):
        dataset: Dataset = dcmread(BytesIO(encoded[name]))
        assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"
        np.testing.assert_array_equal(dataset.pixel_array, labelmap[labelmap.any((1, 2))])
        assert hd.seg.Segmentation.from_dataset(dataset).segment_numbers == list(range(1, int(labelmap.max()) + 1))
