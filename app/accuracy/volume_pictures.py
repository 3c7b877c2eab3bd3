"""Mid-sagittal overlays of MR volumes: what was found in colour, the truth as a white line."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.accuracy.pictures import overlay
from models.contracts import FoundStructure, RadiographImage, RadiographResult, SpineVolume, VolumeResult
from models.spineps.frame import Orientation

WINDOW_PERCENTILES = (0.5, 99.5)
_Scalar = TypeVar("_Scalar", bound=np.generic)


def volume_overlay(
    volume: SpineVolume, result: VolumeResult | None, truth: NDArray[np.integer] | None = None
) -> Image.Image:
    """Draw the sagittal slice in the middle of the spine.

    truth: (slices, rows, columns) labelmap of the same grid, where there is one.

    Returns:
        RGB, head up and the patient facing left: what was found tinted, vertebrae named, the truth's outline white.
    """
    orientation = Orientation.of(volume.affine)
    spacing = orientation.spacing(volume.spacing_mm)
    found = np.zeros(volume.voxels.shape, np.uint16) if result is None else result.vertebra_labelmap
    reference = np.zeros_like(found) if truth is None else truth
    middle = _middle(orientation.apply(found if found.any() else reference))
    grey = _square(orientation.apply(volume.voxels)[:, :, middle].T, spacing[1], spacing[0])
    labels, outline = (
        _square(orientation.apply(array)[:, :, middle].T, spacing[1], spacing[0])
        for array in (found, np.asarray(reference, np.uint16))
    )
    low, high = np.percentile(grey, WINDOW_PERCENTILES)
    pixels = np.clip((grey - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
    shown = RadiographResult(labels, _named(result, labels), "unknown", "")
    return overlay(RadiographImage(pixels), shown, outline)


def _middle(labelmap: NDArray[np.integer]) -> int:
    """The slice (R) that the spine's middle lies in; that of the volume where nothing is marked."""
    slices = np.nonzero(labelmap)[2]
    return int(np.median(slices)) if slices.size else labelmap.shape[2] // 2


def _square(plane: NDArray[_Scalar], row_mm: float, column_mm: float) -> NDArray[_Scalar]:
    """The nearest values on a grid of square pixels."""
    pixel = min(row_mm, column_mm)
    picks = [
        np.minimum(((np.arange(round(count * size / pixel)) + 0.5) * pixel / size).astype(np.intp), count - 1)
        for count, size in zip(plane.shape, (row_mm, column_mm), strict=True)
    ]
    return plane[np.ix_(*picks)]


def _named(result: VolumeResult | None, labels: NDArray[np.uint16]) -> tuple[FoundStructure, ...]:
    """The vertebrae that the slice shows, each where its middle lies."""
    named = []
    for one in result.vertebrae if result else ():
        rows, columns = np.nonzero(labels == one.segment_number)
        if one.kind == "vertebra" and rows.size:
            centre = float(columns.mean()), float(rows.mean())
            named.append(FoundStructure(one.segment_number, one.label, one.level, one.confidence, centre))
    return tuple(named)
