"""What the last look at a volume's Segmentations finds out before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from operators.dicom.errors import ResultError
from operators.dicom.identity import Profile
from operators.dicom.verify import encode
from operators.dicom.volume import SliceStack
from operators.dicom.volume_segmentation import build_volume_segmentations
from operators.dicom.volume_verify import verify_volume_segmentation
from tests.made_dicom import made_uid
from tests.made_volume import ALGORITHM, made_result_on, made_stack

Fault = Callable[[Dataset], None]


def looked_at(stack: SliceStack, fault: Fault, profile: Profile = "standard") -> None:
    """Look at the Segmentation of vertebrae after a fault."""
    result = made_result_on(stack)
    built = build_volume_segmentations(result, stack, algorithm=ALGORITHM, profile=profile).vertebrae
    fault(built)
    verify_volume_segmentation(encode(built), result.vertebra_labelmap, stack, result.vertebrae)


@pytest.mark.parametrize("profile", ["standard", "ohif"])
def test_a_single_vertebra_passes_though_all_frames_share_its_number(tmp_path: Path, profile: Profile) -> None:
    """The functional group of its number is then among the shared ones."""
    stack = made_stack(tmp_path)
    whole = made_result_on(stack)
    labelmap = np.where(whole.vertebra_labelmap == 1, 1, 0).astype(np.uint16)
    result = replace(whole, vertebra_labelmap=labelmap, vertebrae=whole.vertebrae[:1])

    built = build_volume_segmentations(result, stack, algorithm=ALGORITHM, profile=profile).vertebrae

    verify_volume_segmentation(encode(built), labelmap, stack, result.vertebrae)


def _shifted(dataset: Dataset) -> None:
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        groups.PlanePositionSequence[0].ImagePositionPatient[2] += 1


def _turned_about_its_middle(dataset: Dataset) -> None:
    """Rows run the other way: what is symmetric keeps its centroid."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    x, y, z, u, v, w = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [-x, -y, -z, u, v, w]
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        for axis, cosine in enumerate((x, y, z)):
            position[axis] += cosine * (dataset.Columns - 1)


def _relabelled(dataset: Dataset) -> None:
    dataset.SegmentSequence[0].SegmentLabel = "L3"


def _emptied(dataset: Dataset) -> None:
    dataset.PixelData = bytes(len(dataset.PixelData))


def _exchanged_in_pairs(dataset: Dataset) -> None:
    """The first mask of L4 lies on the second slice, the last on the last but one: centre and size stay the same."""
    frames = [
        groups
        for groups in dataset.PerFrameFunctionalGroupsSequence
        if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1
    ]
    planes = [(groups.PlanePositionSequence, groups.DerivationImageSequence) for groups in frames]
    for index, other in enumerate((1, 0, 2, 4, 3)):
        frames[index].PlanePositionSequence, frames[index].DerivationImageSequence = planes[other]


def _pointing_at_its_neighbour(dataset: Dataset) -> None:
    groups = dataset.PerFrameFunctionalGroupsSequence
    sources = [item.DerivationImageSequence for item in groups]
    for item, source in zip(groups, [*sources[1:], sources[0]], strict=True):
        item.DerivationImageSequence = source


def _pointing_elsewhere(dataset: Dataset) -> None:
    source = dataset.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    source.ReferencedSOPInstanceUID = made_uid("another instance")


def _of_another_series(dataset: Dataset) -> None:
    dataset.ReferencedSeriesSequence[0].SeriesInstanceUID = made_uid("another series")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (_shifted, r"lies \d.0 mm from where the engine found it"),
        (_turned_about_its_middle, r"mm from"),
        (_relabelled, "Segment 1 is not labelled L4"),
        (_emptied, "has 0 voxels, not"),
        (_exchanged_in_pairs, "does not decode to the labelmap"),
        (_pointing_at_its_neighbour, "a frame lies 4.0 mm from the slice it points at"),
        (_pointing_elsewhere, "was not segmented or is not listed"),
        (_of_another_series, "refers to series"),
    ],
)
def test_a_segmentation_that_says_something_else_is_not_sent(tmp_path: Path, fault: Fault, message: str) -> None:
    """Its voxels, places, names and references are read back from the bytes."""
    with pytest.raises(ResultError, match=message):
        looked_at(made_stack(tmp_path), fault)


@pytest.mark.parametrize(
    ("fault", "message"),
    [(_shifted, r"lies \d.0 mm from"), (_emptied, "has 0 voxels"), (_pointing_at_its_neighbour, "4.0 mm")],
)
@pytest.mark.parametrize("enhanced", [False, True])
def test_a_label_map_is_looked_at_as_closely(tmp_path: Path, fault: Fault, message: str, enhanced: bool) -> None:
    """Profile `ohif`, from single frames and from Enhanced MR."""
    with pytest.raises(ResultError, match=message):
        looked_at(made_stack(tmp_path, enhanced=enhanced), fault, "ohif")


def test_an_engine_that_measures_in_another_unit_is_found_out(tmp_path: Path) -> None:
    """Its volume must be that of the voxels."""
    stack = made_stack(tmp_path)
    result = made_result_on(stack)
    built = build_volume_segmentations(result, stack, algorithm=ALGORITHM).vertebrae
    in_cm3 = [replace(structure, volume_mm3=structure.volume_mm3 / 1000) for structure in result.vertebrae]

    with pytest.raises(ResultError, match="L4 has .* mm3, not"):
        verify_volume_segmentation(encode(built), result.vertebra_labelmap, stack, in_cm3)


def test_a_stack_that_is_a_little_uneven_is_not_blamed_on_the_engine(tmp_path: Path) -> None:
    """The engine is told an even grid; the Segmentation has the positions of the slices themselves."""
    stack = made_stack(tmp_path)
    frames = list(stack.frames)
    for index, off in enumerate((0.0, 0.2, 0.4, 0.6, 0.4, 0.2, 0.0)):
        x, y, z = frames[index].position
        frames[index] = replace(frames[index], position=(x + off, y, z))
        frames[index].instance.dataset.ImagePositionPatient[0] = x + off
    uneven = replace(stack, frames=tuple(frames))

    result = made_result_on(uneven)
    built = build_volume_segmentations(result, uneven, algorithm=ALGORITHM).vertebrae

    verify_volume_segmentation(encode(built), result.vertebra_labelmap, uneven, result.vertebrae)
