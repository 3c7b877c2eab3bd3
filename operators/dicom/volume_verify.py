"""The last look at the Segmentations of a volume: read back from their bytes, in their own geometry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from models.contracts import SpineStructure
from operators.dicom.errors import ResultError
from operators.dicom.mr_frames import SourceFrame
from operators.dicom.verify import macro, read_back
from operators.dicom.volume import SliceStack

TOLERANCE_MM = 0.5  # between a centroid from the Segmentation's own geometry and the engine's
VOLUME_TOLERANCE = 0.01  # of what the engine says a structure measures


def verify_volume_segmentation(
    encoded: bytes, labelmap: NDArray[np.uint16], stack: SliceStack, structures: Sequence[SpineStructure]
) -> None:
    """Read a Segmentation back and hold it against the labelmap and structures it was made from.

    Args:
        encoded: the file as it would be sent.
        labelmap: (slices, rows, columns) on the grid of the stack, 0 = background, else Segment Number.
        stack: the frames that were segmented.
        structures: what was found, in the engine's own words.

    Raises:
        ResultError: voxels, places, sizes, labels or references are not those of the engine and the source.
    """
    dataset = read_back(encoded, stack.datasets)
    uid = dataset.SOPInstanceUID
    labels = {int(item.SegmentNumber): item.SegmentLabel for item in dataset.SegmentSequence}
    counts, centroids = centroids_lps(dataset)
    unevenness = _unevenness_mm(stack)
    voxel_mm3 = abs(float(np.linalg.det(stack.affine[:3, :3])))
    expected = np.bincount(labelmap.ravel(), minlength=len(structures) + 1)
    for structure in structures:
        number, label = structure.segment_number, structure.label
        if counts.get(number, 0) != expected[number]:
            raise ResultError(f"Segmentation {uid}: {label} has {counts.get(number, 0)} voxels, not {expected[number]}")
        off = float(np.linalg.norm(centroids[number] - np.array(structure.centroid_lps_mm)))
        if off > TOLERANCE_MM + unevenness:
            raise ResultError(f"Segmentation {uid}: {label} lies {off:.1f} mm from where the engine found it")
        volume = counts[number] * voxel_mm3
        if abs(volume - structure.volume_mm3) > VOLUME_TOLERANCE * volume:
            raise ResultError(f"Segmentation {uid}: {label} has {volume:.0f} mm3, not {structure.volume_mm3:.0f}")
        if labels.get(number) != label:
            raise ResultError(f"Segmentation {uid}: Segment {number} is not labelled {label}")
    _verify_frames(dataset, labelmap, stack)


def _verify_frames(dataset: Dataset, labelmap: NDArray[np.uint16], stack: SliceStack) -> None:
    """Hold each frame, voxel by voxel, against the slice it points at, which must lie where the frame lies."""
    uid, shared = dataset.SOPInstanceUID, dataset.SharedFunctionalGroupsSequence[0]
    slices = {(frame.instance.sop_instance_uid, frame.frame_number): index for index, frame in enumerate(stack.frames)}
    series = dataset.ReferencedSeriesSequence[0]
    if series.SeriesInstanceUID != stack.datasets[0].SeriesInstanceUID:
        raise ResultError(f"Segmentation {uid} refers to series {series.SeriesInstanceUID}, which was not segmented")
    listed = {str(item.ReferencedSOPInstanceUID) for item in series.ReferencedInstanceSequence}
    for number, frame, groups in _frames(dataset):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        referenced = str(source.ReferencedSOPInstanceUID), source.get("ReferencedFrameNumber")
        index = slices.get(referenced)
        if index is None or referenced[0] not in listed:
            raise ResultError(f"Segmentation {uid} points at {referenced[0]}, which was not segmented or is not listed")
        corners = (_plane(groups, shared) - _plane_of(stack.frames[index])) @ np.diag([*labelmap.shape[1:], 1])
        if (off := float(np.abs(corners).max())) > TOLERANCE_MM:
            raise ResultError(f"Segmentation {uid}: a frame lies {off:.1f} mm from the slice it points at")
        expected = labelmap[index] if number is None else labelmap[index] == number
        if not np.array_equal(frame, expected):
            raise ResultError(f"Segmentation {uid} does not decode to the labelmap it was made from; it is not sent")


def _frames(dataset: Dataset) -> Iterator[tuple[int | None, NDArray[np.integer], Dataset]]:
    """Yield Segment Number (of BINARY, else None), pixels and functional groups of each frame, one at a time."""
    if dataset.SegmentationType != "BINARY":
        for pixels, groups in zip(iter_pixels(dataset), dataset.PerFrameFunctionalGroupsSequence, strict=True):
            yield None, pixels, groups
        return
    packed = np.frombuffer(dataset.PixelData, np.uint8)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    size = dataset.Rows * dataset.Columns
    for index, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        # PS3.5 8.1.1: bits run on from frame to frame, which pydicom cannot read one at a time.
        byte, bit = divmod(index * size, 8)
        bits = np.unpackbits(packed[byte : byte + size // 8 + 2], bitorder="little")[bit : bit + size]
        number = int(macro(groups, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        yield number, bits.reshape(dataset.Rows, dataset.Columns), groups


def centroids_lps(dataset: Dataset) -> tuple[dict[int, int], dict[int, NDArray[np.float64]]]:
    """Count the voxels of each Segment and take their mean position in LPS mm, from the frames' own planes."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    counts: dict[int, int] = {}
    sums: dict[int, NDArray[np.float64]] = {}
    for segment, frame, groups in _frames(dataset):
        plane = _plane(groups, shared)
        for number in np.unique(frame[frame > 0]).tolist() if segment is None else [segment]:
            mask = frame > 0 if segment is not None else frame == number
            in_rows, in_columns = mask.sum(1), mask.sum(0)
            count = int(in_rows.sum())
            places = np.array([in_rows @ np.arange(len(in_rows)), in_columns @ np.arange(len(in_columns)), count])
            counts[number] = counts.get(number, 0) + count
            sums[number] = sums.get(number, np.zeros(3)) + plane @ places
    return counts, {number: total / max(counts[number], 1) for number, total in sums.items()}


def _plane(groups: Dataset, shared: Dataset) -> NDArray[np.float64]:
    """(3, 3): (row, column, 1) of a frame → LPS mm."""
    orientation = np.array(macro(groups, shared, "PlaneOrientationSequence").ImageOrientationPatient, float)
    spacing = macro(groups, shared, "PixelMeasuresSequence").PixelSpacing
    row_mm, column_mm = (float(value) for value in spacing)
    position = np.array(macro(groups, shared, "PlanePositionSequence").ImagePositionPatient, float)
    return np.stack([orientation[3:] * row_mm, orientation[:3] * column_mm, position], axis=1)


def _plane_of(frame: SourceFrame) -> NDArray[np.float64]:
    """The same of a source frame."""
    row_mm, column_mm = frame.spacing
    return np.stack([np.array(frame.column) * row_mm, np.array(frame.row) * column_mm, frame.position], axis=1)


def _unevenness_mm(stack: SliceStack) -> float:
    """How far slices lie from the even grid that the engine was told, at most."""
    positions = np.array([frame.position for frame in stack.frames])
    even = stack.affine[:3, 3] + np.arange(len(positions))[:, None] * stack.affine[:3, 0]
    return float(np.linalg.norm(positions - even, axis=1).max())
