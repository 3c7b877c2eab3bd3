"""A result that is not what the engine gave is not sent."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pack_bits

from models.contracts import FoundStructure
from models.spinefm.morphometry import measure_spine
from operators.dicom.errors import ResultError
from operators.dicom.identity import Profile
from operators.dicom.segmentation import build_segmentation
from operators.dicom.structured_report import build_report
from operators.dicom.verify import encode, verify_overlay, verify_report, verify_segmentation
from tests.made_results import ALGORITHM, made_labelmap, made_source, made_structures


def segmentation(profile: Profile = "standard") -> Dataset:
    """Return a sound Segmentation, read from its bytes."""
    built = build_segmentation(
        made_labelmap(), [made_source()], made_structures(), algorithm=ALGORITHM, profile=profile
    )
    return dcmread(BytesIO(encode(built)))


def verify(dataset: Dataset) -> None:
    """Verify a Segmentation against what the engine gave."""
    verify_segmentation(encode(dataset), made_labelmap(), [made_source()], made_structures())


@pytest.mark.parametrize("profile", ["standard", "ohif"])
def test_a_sound_segmentation_passes(profile: Profile) -> None:
    """The straight path."""
    verify(segmentation(profile))


@pytest.mark.parametrize("profile", ["standard", "ohif"])
def test_a_single_segment_passes_though_all_frames_share_its_number(profile: Profile) -> None:
    """The functional group of its number is then among the shared ones."""
    source, structures = [made_source()], made_structures()[:1]
    labelmap = np.where(made_labelmap() == 1, 1, 0).astype(np.uint16)
    built = build_segmentation(labelmap, source, structures, algorithm=ALGORITHM, profile=profile)

    verify_segmentation(encode(built), labelmap, source, structures)


@pytest.mark.parametrize("flip", [0, 1])
def test_a_flipped_mask_is_found_out(flip: int) -> None:
    """Up and down, left and right."""
    dataset = segmentation("ohif")
    data = np.ascontiguousarray(np.flip(dataset.pixel_array, axis=flip)).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)

    with pytest.raises(ResultError, match="does not decode to the labelmap"):
        verify(dataset)


def test_exchanged_segments_are_found_out() -> None:
    """Two frames that point at each other's Segment."""
    dataset = segmentation()
    first, second = dataset.PerFrameFunctionalGroupsSequence[:2]
    first.SegmentIdentificationSequence, second.SegmentIdentificationSequence = (
        second.SegmentIdentificationSequence,
        first.SegmentIdentificationSequence,
    )

    with pytest.raises(ResultError, match="does not decode to the labelmap"):
        verify(dataset)


def test_an_empty_segmentation_is_found_out() -> None:
    """An empty SEG is never sent."""
    dataset = segmentation()
    dataset.PixelData = pack_bits(np.zeros(dataset.pixel_array.shape, np.uint8))

    with pytest.raises(ResultError, match="is empty"):
        verify(dataset)


def test_a_wrong_label_is_found_out() -> None:
    """C4 labelled C3 is the worst mistake of all."""
    dataset = segmentation()
    dataset.SegmentSequence[1].SegmentLabel = "C3"

    with pytest.raises(ResultError, match="Segment 2 is not labelled C4"):
        verify(dataset)


def test_a_centroid_elsewhere_is_found_out() -> None:
    """Centroids of the engine are on the source grid: (column, row), not (row, column)."""
    structures = [
        FoundStructure(item.segment_number, item.label, item.level, item.confidence, item.centroid_px[::-1])
        for item in made_structures()
    ]

    with pytest.raises(ResultError, match="the centroid of C3 lies .* pixels from the engine's"):
        verify_segmentation(encode(segmentation()), made_labelmap(), [made_source()], structures)


def test_a_result_of_another_study_is_found_out() -> None:
    """The wrong patient's study is never written into."""
    with pytest.raises(ResultError, match="is not of the study"):
        verify_segmentation(encode(segmentation()), made_labelmap(), [made_source(study="another")], made_structures())


def test_a_result_that_does_not_point_at_its_source_is_found_out() -> None:
    """Same study, another instance."""
    with pytest.raises(ResultError, match="does not refer to instance"):
        verify_segmentation(
            encode(segmentation()), made_labelmap(), [made_source(instance_number=2)], made_structures()
        )


def test_bytes_that_are_no_dicom_are_found_out() -> None:
    """A file cut off at the start."""
    with pytest.raises(ResultError, match="cannot be read back as DICOM"):
        verify_segmentation(b"\0" * 300, made_labelmap(), [made_source()], made_structures())


def test_a_report_that_forgets_a_vertebra_is_found_out() -> None:
    """Every Segment has its group, every group its place in the image."""
    source, structures = made_source(), made_structures()
    whole = segmentation()
    report = build_report(
        measure_spine(made_labelmap(), structures, facing="right"),
        [source],
        structures,
        labelmap=made_labelmap(),
        segmentation=whole,
        algorithm=ALGORITHM,
        numbering="assumed",
    )
    verify_report(encode(report), [source], whole)
    groups = report.ContentSequence[-1].ContentSequence
    away = groups[1]
    del groups[1]

    with pytest.raises(ResultError, match="says nothing of 1 Segments"):
        verify_report(encode(report), [source], whole)
    groups.insert(1, away)
    places = [item for item in groups[2].ContentSequence if item.ValueType == "NUM"]
    coordinates = next(item for item in places[0].ContentSequence if item.ValueType == "SCOORD")
    coordinates.GraphicData = [*coordinates.GraphicData[:-1], 9999.0]
    with pytest.raises(ResultError, match="points at a place outside of instance"):
        verify_report(encode(report), [source], whole)
    for place in places:
        del place.ContentSequence
    with pytest.raises(ResultError, match="has a group without a place"):
        verify_report(encode(report), [source], whole)


def test_a_picture_that_is_not_the_one_drawn_is_found_out() -> None:
    """A Segmentation is no Secondary Capture."""
    with pytest.raises(ResultError, match="does not hold the picture"):
        verify_overlay(encode(segmentation()), np.zeros((4, 4, 3), np.uint8), [made_source()])
