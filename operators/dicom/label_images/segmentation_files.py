"""DICOM Segmentations (PS3.3 A.51 and C.8.20) as label images."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SegmentationStorage,
)

from operators.dicom.label_images.contracts import LabelImage, LabelImageError, canonical_level

LABEL_MAP_SEGMENTATION_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")
"""Supplement 243; pydicom 3.0 has no name for it."""
SEGMENTATION_SOP_CLASSES = frozenset({SegmentationStorage, LABEL_MAP_SEGMENTATION_STORAGE})

_PROJECTIONS = frozenset(
    {
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
    }
)

_GRID_TOLERANCE = 0.1
"""Share of the slice spacing by which a frame may lie off the regular grid."""


def read_segmentation(path: Path) -> LabelImage:
    """Read a Segmentation of Segmentation Type BINARY or LABELMAP.

    Frames without a plane position belong to one image (a radiograph) and give (rows, columns). Frames with
    positions give (slices, rows, columns), ascending along the normal, from the first to the last slice that
    the file holds: slices beyond them, which an encoder may leave out as empty, are not there.

    The distance of slices is Spacing Between Slices where given, else the smallest gap between two frames.
    Spacing is given back only where a Frame of Reference says that it is meant in the patient, and not where it is
    the nominal one of a radiograph.

    Raises:
        LabelImageError: no Segmentation, another Segmentation Type, or slices that are on no regular grid.
    """
    dataset = dcmread(path)
    if dataset.get("SOPClassUID") not in SEGMENTATION_SOP_CLASSES:
        raise LabelImageError(f"{path} is DICOM but no Segmentation: give the SEG instance, not the image")
    kind = dataset.get("SegmentationType")
    if kind not in ("BINARY", "LABELMAP"):
        raise LabelImageError(f"{path} is a Segmentation of type {kind}; BINARY and LABELMAP can be compared")
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    slices, slice_spacing = _slice_of_frames(dataset, path)
    if slices is None:
        slices = [0] * len(frames) if kind == "BINARY" else list(range(len(frames)))
    volume = np.zeros((max(slices) + 1, *frames.shape[1:]), np.uint16)
    overlapping = _fill(volume, frames, list(zip(slices, _segment_numbers(dataset, kind), strict=True)))
    return LabelImage(
        labelmap=volume[0] if len(volume) == 1 else volume,
        levels={
            int(segment.SegmentNumber): canonical_level(str(segment.SegmentLabel))
            for segment in dataset.SegmentSequence
            if segment.SegmentNumber != 0
        },
        spacing_mm=_spacing(dataset, slice_spacing, len(volume)),
        overlapping=overlapping,
        affine=_affine(dataset, slice_spacing),
    )


def referenced_sop_instance_uids(dataset: Dataset) -> frozenset[str]:
    """Return the SOP Instance UIDs of the images that a Segmentation is about (PS3.3 C.12.1.1)."""
    return frozenset(
        str(instance.ReferencedSOPInstanceUID)
        for series in dataset.get("ReferencedSeriesSequence", ())
        for instance in series.get("ReferencedInstanceSequence", ())
    )


def _fill(volume: NDArray[np.uint16], frames: NDArray[np.generic], places: Iterable[tuple[int, int | None]]) -> int:
    """Write every frame into its slice, the lowest Segment Number first; return how many voxels were taken."""
    overlapping = 0
    ordered = sorted(zip(places, frames, strict=True), key=lambda item: item[0][1] or 0)
    for (index, number), frame in ordered:
        values = frame if number is None else np.where(frame != 0, number, 0)
        claimed = values != 0
        overlapping += int(np.count_nonzero(claimed & (volume[index] != 0)))
        free = claimed & (volume[index] == 0)
        volume[index][free] = values[free]
    return overlapping


def _segment_numbers(dataset: Dataset, kind: str) -> list[int | None]:
    """The segment that each frame shows; None for a frame of a label map, which shows them all."""
    count = int(dataset.NumberOfFrames)
    if kind == "LABELMAP":
        return [None] * count
    shared = dataset.get("SharedFunctionalGroupsSequence", [Dataset()])[0]
    return [
        int((_group(frame, shared, "SegmentIdentificationSequence") or Dataset()).ReferencedSegmentNumber)
        for frame in dataset.PerFrameFunctionalGroupsSequence
    ]


def _slice_of_frames(dataset: Dataset, path: Path) -> tuple[list[int] | None, float | None]:
    """The slice index of every frame and the distance of slices, or None where frames have no position."""
    shared = dataset.get("SharedFunctionalGroupsSequence", [Dataset()])[0]
    offsets = []
    for frame in dataset.get("PerFrameFunctionalGroupsSequence", ()):
        position = _group(frame, shared, "PlanePositionSequence")
        orientation = _group(frame, shared, "PlaneOrientationSequence")
        if position is None or orientation is None or "ImagePositionPatient" not in position:
            return None, None
        axes = np.array(orientation.ImageOrientationPatient, float)
        offsets.append(float(np.dot(np.cross(axes[:3], axes[3:]), np.array(position.ImagePositionPatient, float))))
    if not offsets:
        return None, None
    gaps = np.diff(np.unique(np.round(offsets, 3)))
    if not gaps.size:
        return [0] * len(offsets), None
    measures = _group(Dataset(), shared, "PixelMeasuresSequence") or Dataset()
    step = float(measures.get("SpacingBetweenSlices") or gaps.min())
    exact = (np.array(offsets) - min(offsets)) / step
    if np.abs(exact - np.round(exact)).max() > _GRID_TOLERANCE:
        raise LabelImageError(f"{path}: its frames lie on no regular grid of slices, so they are no volume")
    return [int(index) for index in np.round(exact)], step


def _spacing(dataset: Dataset, slice_spacing: float | None, slices: int) -> tuple[float, ...] | None:
    if not dataset.get("FrameOfReferenceUID") or "SharedFunctionalGroupsSequence" not in dataset:
        return None
    measures = _group(Dataset(), dataset.SharedFunctionalGroupsSequence[0], "PixelMeasuresSequence")
    if measures is None or "PixelSpacing" not in measures:
        return None
    rows, columns = (float(value) for value in measures.PixelSpacing)
    if slices == 1:
        return None if rows == columns == 1.0 and _is_of_projection(dataset) else (rows, columns)
    return (slice_spacing, rows, columns) if slice_spacing else None


def _is_of_projection(dataset: Dataset) -> bool:
    """Say whether a Segmentation is of a radiograph: one whose spacing nobody knows has the nominal 1 × 1 instead."""
    sources = dataset.get("SourceImageSequence") or ()
    return any(source.get("ReferencedSOPClassUID") in _PROJECTIONS for source in sources)


def _affine(dataset: Dataset, slice_spacing: float | None) -> NDArray[np.float64] | None:
    """Index (slice, row, column) → LPS mm, from the first slice along the normal (PS3.3 C.7.6.2.1.1)."""
    if slice_spacing is None or "SharedFunctionalGroupsSequence" not in dataset:
        return None
    shared = dataset.SharedFunctionalGroupsSequence[0]
    measures = _group(Dataset(), shared, "PixelMeasuresSequence")
    frames = dataset.PerFrameFunctionalGroupsSequence
    orientation = _group(frames[0], shared, "PlaneOrientationSequence")
    planes = [_group(frame, shared, "PlanePositionSequence") for frame in frames]
    if measures is None or orientation is None or "PixelSpacing" not in measures:
        return None
    positions = np.array([plane.ImagePositionPatient for plane in planes if plane is not None], float)
    cosines = np.array(orientation.ImageOrientationPatient, float)
    rows, columns = (float(value) for value in measures.PixelSpacing)
    normal = np.cross(cosines[:3], cosines[3:])
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack((normal * slice_spacing, cosines[3:] * rows, cosines[:3] * columns))
    affine[:3, 3] = positions[np.argmin(positions @ normal)]
    return affine


def _group(frame: Dataset, shared: Dataset, keyword: str) -> Dataset | None:
    """The functional group of a frame: its own, or else the shared one (PS3.3 C.7.6.16)."""
    for groups in (frame, shared):
        if groups.get(keyword):
            return Dataset(groups[keyword].value[0])
    return None
