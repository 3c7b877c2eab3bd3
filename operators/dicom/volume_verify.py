"""The last look at the Segmentations of a volume: read back from their bytes, in their own geometry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.contracts import SpineStructure
from operators.dicom.errors import ResultError
from operators.dicom.verify import read_back, require_references
from operators.dicom.volume import SliceStack

TOLERANCE_MM = 0.5  # between a centroid from the Segmentation's own geometry and the engine's


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
        ResultError: voxels, centroids, labels or references are not those of the engine and the source.
    """
    source = stack.datasets
    dataset = read_back(encoded, source)
    uid = dataset.SOPInstanceUID
    counts, centroids = centroids_lps(dataset)
    labels = {int(item.SegmentNumber): item.SegmentLabel for item in dataset.SegmentSequence}
    expected = np.bincount(labelmap.ravel(), minlength=len(structures) + 1)
    for structure in structures:
        number = structure.segment_number
        if counts.get(number, 0) != expected[number]:
            raise ResultError(
                f"Segmentation {uid}: {structure.label} has {counts.get(number, 0)} voxels, not {expected[number]}"
            )
        off = float(np.linalg.norm(centroids[number] - np.array(structure.centroid_lps_mm)))
        if off > TOLERANCE_MM:
            raise ResultError(f"Segmentation {uid}: {structure.label} lies {off:.1f} mm from where the engine found it")
        if labels.get(number) != structure.label:
            raise ResultError(f"Segmentation {uid}: Segment {number} is not labelled {structure.label}")
    touched = {
        frame.instance.sop_instance_uid for frame, plane in zip(stack.frames, labelmap, strict=True) if plane.any()
    }
    require_references(dataset, [instance for instance in source if str(instance.SOPInstanceUID) in touched])


def centroids_lps(dataset: Dataset) -> tuple[dict[int, int], dict[int, NDArray[np.float64]]]:
    """Count the voxels of each Segment and take their mean position in LPS mm, from the frames' own planes."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    counts: dict[int, int] = {}
    sums: dict[int, NDArray[np.float64]] = {}
    for frame, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        own = {number: frame == number for number in np.unique(frame).tolist() if number}
        if dataset.SegmentationType == "BINARY":
            own = {int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber): frame > 0}
        plane = _plane(groups, shared)
        for number, mask in own.items():
            rows, columns = np.nonzero(mask)
            places = np.stack([rows, columns, np.ones_like(rows)])
            counts[number] = counts.get(number, 0) + len(rows)
            sums[number] = sums.get(number, np.zeros(3)) + (plane @ places).sum(1)
    return counts, {number: total / max(counts[number], 1) for number, total in sums.items()}


def _plane(groups: Dataset, shared: Dataset) -> NDArray[np.float64]:
    """(3, 3): (row, column, 1) of a frame → LPS mm."""

    def macro(name: str) -> Dataset:
        item: Dataset = (groups.get(name) or shared.get(name))[0]
        return item

    orientation = np.array(macro("PlaneOrientationSequence").ImageOrientationPatient, float)
    row_mm, column_mm = (float(value) for value in macro("PixelMeasuresSequence").PixelSpacing)
    position = np.array(macro("PlanePositionSequence").ImagePositionPatient, float)
    return np.stack([orientation[3:] * row_mm, orientation[:3] * column_mm, position], axis=1)
