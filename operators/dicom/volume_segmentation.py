"""Labelmaps of an MR volume as two Segmentations (PS3.3 A.51): vertebrae with discs, and substructures.

Each lies in a Series of its own, since OHIF shows only the last Segmentation of a Series. Frames carry the plane of
their source frame and point at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from models.contracts import SpineStructure, VolumeResult
from operators.dicom.errors import ResultError
from operators.dicom.identity import AlgorithmIdentity, Profile, result_uid
from operators.dicom.mr_origin import frame_of_reference
from operators.dicom.provenance import (
    NOT_FOR_DIAGNOSIS,
    add_provenance,
    completed_headers,
    plain_text,
    result_keywords,
    series_description,
)
from operators.dicom.segments import (
    ENCODING_OF,
    describe_segment,
    fix_dimension_organization,
    put_background_last,
)
from operators.dicom.structure_codes import concept_of
from operators.dicom.volume import SliceStack

Part = Literal["segmentation", "substructures"]
TITLES: dict[Part, tuple[str, str]] = {
    "segmentation": ("VERTEBRAE", "Vertebrae and discs"),
    "substructures": ("SUBSTRUCTURES", "Spinal substructures"),
}


@dataclass(frozen=True)
class VolumeSegmentations:
    """The two Segmentations of one MR Series."""

    vertebrae: Dataset
    substructures: Dataset


def build_volume_segmentations(
    result: VolumeResult, stack: SliceStack, *, algorithm: AlgorithmIdentity, profile: Profile = "standard"
) -> VolumeSegmentations:
    """Return both Segmentations of a volume.

    Args:
        result: from the engine, on the grid of the stack.
        stack: the frames that were segmented, in the order of the labelmaps' slices.
        algorithm: what made the labelmaps.
        profile: `standard` is BINARY, a frame per Segment and slice; `ohif` is a label map of a frame per slice.

    Raises:
        ResultError: labelmaps, structures and source do not fit together, or a Segment would be empty.
    """
    return VolumeSegmentations(
        _build(result.vertebra_labelmap, result.vertebrae, stack, "segmentation", (algorithm, profile)),
        _build(result.subregion_labelmap, result.substructures, stack, "substructures", (algorithm, profile)),
    )


def tracking_uid(source: Sequence[Dataset], algorithm: AlgorithmIdentity, structure: SpineStructure) -> str:
    """Return the Tracking UID of a structure: the same in SEG and report, whatever the profile."""
    return str(result_uid(source, algorithm, kind=f"tracking {structure.kind} {structure.label}"))


def _build(
    labelmap: NDArray[np.uint16],
    structures: Sequence[SpineStructure],
    stack: SliceStack,
    part: Part,
    made_by: tuple[AlgorithmIdentity, Profile],
) -> Dataset:
    algorithm, profile = made_by
    source = stack.datasets
    _check(labelmap, structures, stack)
    label, title = TITLES[part]
    use = NOT_FOR_DIAGNOSIS if algorithm.research_only else "automatic"
    result = hd.seg.Segmentation(
        source_images=_with_exact_plane(completed_headers(_frames_as_instances(stack)), stack),
        pixel_array=labelmap,
        segmentation_type=ENCODING_OF[profile],
        segment_descriptions=[
            describe_segment(
                structure.segment_number,
                structure.label,
                concept_of(structure),
                algorithm=algorithm,
                tracking_uid=tracking_uid(source, algorithm, structure),
            )
            for structure in structures
        ],
        content_label=label,
        content_description=plain_text(f"{title}, {use}", 64),
        content_creator_name="Spondyl^",
        series_description=series_description(title, algorithm),
        omit_empty_frames=True,
        **result_keywords(source, algorithm, kind=part, profile=profile),
    )
    add_provenance(result, source, algorithm)
    _point_at_source_frames(result, stack)
    fix_dimension_organization(result, source, algorithm, profile, part)
    if profile == "ohif":
        put_background_last(result)
    return result


def _frames_as_instances(stack: SliceStack) -> Sequence[Dataset]:
    """Return the instances of the stack; of Enhanced MR one with the segmented frames alone, in the stack's order.

    Its other frames may lie at the same places or in other planes, which highdicom does not take.
    """
    if stack.frames[0].frame_number is None:
        return stack.datasets
    instance = Dataset(dict(stack.datasets[0].items()))
    own = instance.PerFrameFunctionalGroupsSequence
    del instance.PerFrameFunctionalGroupsSequence, instance.NumberOfFrames  # the elements are the source's own
    instance.PerFrameFunctionalGroupsSequence = [own[(frame.frame_number or 1) - 1] for frame in stack.frames]
    instance.NumberOfFrames = len(stack.frames)
    return [instance]


def _with_exact_plane(headers: list[Dataset], stack: SliceStack) -> list[Dataset]:
    """Say space, pixel size and slice spacing where highdicom looks: the first header, or Enhanced MR's shared groups.

    The spacing is the one of the positions: scanners also write the gap there, or leave it out.
    """
    for header in headers:
        header.FrameOfReferenceUID = frame_of_reference(header)
        if "PositionReferenceIndicator" not in header:
            header.PositionReferenceIndicator = None
    spacing = format_number_as_ds(float(np.linalg.norm(stack.affine[:3, 0])))
    measures = headers[0]
    if stack.frames[0].frame_number is not None:
        shared = headers[0].SharedFunctionalGroupsSequence[0]
        own = headers[0].PerFrameFunctionalGroupsSequence[0]
        for macro in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
            if macro not in shared:
                setattr(shared, macro, own[macro].value)
        measures = shared.PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = spacing
    measures.SliceThickness = measures.get("SliceThickness") or spacing  # Type 1 in a SEG (PS3.3 C.7.6.16.2.1)
    return headers


def _point_at_source_frames(result: Dataset, stack: SliceStack) -> None:
    """Replace numbers within the stack by those of Enhanced MR's frames."""
    if stack.frames[0].frame_number is None:
        return
    frames = [groups.DerivationImageSequence[0] for groups in result.PerFrameFunctionalGroupsSequence]
    # Frames of one place share an item, which is to be renumbered once.
    for source in {id(item): item for frame in frames for item in frame.SourceImageSequence}.values():
        source.ReferencedFrameNumber = stack.frames[source.ReferencedFrameNumber - 1].frame_number


def _check(labelmap: NDArray[np.uint16], structures: Sequence[SpineStructure], stack: SliceStack) -> None:
    """Hold labelmap, source and structures against each other."""
    series = stack.datasets[0].get("SeriesInstanceUID", "?")
    if stack.frames[0].frame_number is not None and len(stack.datasets) > 1:
        raise ResultError(f"series {series} spreads one stack over {len(stack.datasets)} multi-frame instances")
    frames_of_reference = {frame_of_reference(dataset) for dataset in stack.datasets}
    if len(frames_of_reference) > 1:
        raise ResultError(f"series {series} has {len(frames_of_reference)} Frames of Reference: the patient has moved")
    if labelmap.shape != stack.shape:
        raise ResultError(f"labelmap of {labelmap.shape} for series {series} of {stack.shape}")
    numbers = [structure.segment_number for structure in structures]
    if not numbers:
        raise ResultError(f"nothing was segmented in series {series}: an empty Segmentation is never sent")
    if numbers != list(range(1, len(numbers) + 1)):
        raise ResultError(f"Segment Numbers for series {series} must run 1 to {len(numbers)}, not {numbers}")
    present = set(np.unique(labelmap).tolist()) - {0}
    if present != set(numbers):
        raise ResultError(f"labelmap for series {series} holds {sorted(present)}, the structures are {numbers}")
