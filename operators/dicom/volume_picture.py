"""A volume and its result as a picture for people: the spine unrolled into one sagittal plane, twice.

Left the vertebrae and discs with their names, right the substructures. Each row shows the slice in which the spine's
middle lies at that height, so that a scoliotic spine stays in the picture; head up, the patient faces left.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.contracts import SpineVolume, VolumeResult
from models.spineps.frame import Orientation
from operators.dicom.picture import RGB, Caption, Mark, draw_panels
from operators.dicom.structure_codes import concept_of

WINDOW_PERCENTILES = (0.5, 99.5)
BODIES = (49, 50, 51)  # of SPINEPS' structures: beside them stand the names
COLUMN = (*BODIES, 62, 100, 26)  # with end-plates, discs and sacrum: what the plane runs through
SMOOTHING_ROWS_MM = 12.0  # of the course from slice to slice


def render_volume(volume: SpineVolume, result: VolumeResult, caption: Caption) -> RGB:
    """Return the picture, (rows, columns, 3).

    Args:
        volume: what the engine looked at.
        result: what it answered, on the same grid.
        caption: footer and note; it faces left.
    """
    orientation = Orientation.of(volume.affine)
    spacing = orientation.spacing(volume.spacing_mm)
    numbers = {kind: [s.segment_number for s in result.substructures if s.spineps_label in kind]
               for kind in (BODIES, COLUMN)}  # fmt: skip
    column = np.isin(orientation.apply(result.subregion_labelmap), numbers[COLUMN])
    slices = _course(column, spacing[1])
    grey = _unrolled(orientation.apply(volume.voxels), slices).astype(np.float32)
    low, high = np.percentile(grey, WINDOW_PERCENTILES)
    grey = np.clip((grey - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
    pixel = min(spacing[0], spacing[1])
    shape = round(grey.shape[0] * spacing[1] / pixel), round(grey.shape[1] * spacing[0] / pixel)
    named, parts = (
        _square(_unrolled(orientation.apply(labelmap), slices), shape)
        for labelmap in (result.vertebra_labelmap, result.subregion_labelmap)
    )
    rows = _rows(named, np.isin(parts, numbers[BODIES]), len(result.vertebrae))
    marks = [
        Mark(s.segment_number, s.label if s.kind == "vertebra" else "", concept_of(s).colour, rows[s.segment_number])
        for s in result.vertebrae
        if s.segment_number in rows
    ]
    unnamed = [Mark(s.segment_number, "", concept_of(s).colour, 0.0) for s in result.substructures]
    stretch = [new / old for new, old in zip(shape, grey.shape, strict=True)]
    image = ndimage.zoom(grey, stretch, order=1, mode="nearest", grid_mode=True)
    return draw_panels(image, [(named, marks), (parts, unnamed)], replace(caption, facing="left"))


def _course(column: NDArray[np.bool_], row_mm: float) -> NDArray[np.intp]:
    """Which slice (R) holds the middle of the spine at each row (I) of (P, I, R); the ends go on as they are."""
    inside = column.sum(0)
    weight = inside.sum(1)
    rows = np.flatnonzero(weight)
    if not rows.size:
        return np.full(column.shape[1], column.shape[2] // 2, np.intp)
    middle = (inside @ np.arange(column.shape[2]))[rows] / weight[rows]
    course = np.interp(np.arange(column.shape[1]), rows, middle)
    smooth = ndimage.gaussian_filter1d(course, SMOOTHING_ROWS_MM / row_mm, mode="nearest")
    return np.asarray(np.clip(np.rint(smooth), 0, column.shape[2] - 1), np.intp)


def _unrolled(array: NDArray[np.generic], slices: NDArray[np.intp]) -> NDArray[np.generic]:
    """(P, I, R) → (rows, columns): row i from slice slices[i], columns towards the back."""
    return array[:, np.arange(array.shape[1]), slices].T


def _square(labelmap: NDArray[np.generic], shape: tuple[int, int]) -> NDArray[np.uint16]:
    """The nearest label on a grid of square pixels."""
    picks = [np.minimum(((np.arange(n) + 0.5) * have / n).astype(np.intp), have - 1)
             for n, have in zip(shape, labelmap.shape, strict=True)]  # fmt: skip
    return np.ascontiguousarray(labelmap[np.ix_(*picks)], np.uint16)


def _rows(labelmap: NDArray[np.uint16], bodies: NDArray[np.bool_], count: int) -> dict[int, float]:
    """The row to name each Segment at, for those that the plane shows: the middle of its body, or of all of it."""
    rows: dict[int, float] = {}
    for shown in (labelmap, np.where(bodies, labelmap, 0)):
        boxes = ndimage.find_objects(shown, max_label=count)
        rows |= {number: (box[0].start + box[0].stop - 1) / 2 for number, box in enumerate(boxes, start=1) if box}
    return rows
