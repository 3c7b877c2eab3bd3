"""A stitched radiograph of the whole spine: a cervical and a lumbar phantom on one sheet, soft tissue between them.

No phantom of the whole spine exists; the thoracic part is grey here, with a slow gradient and noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.contracts import BodyRegion
from models.phantom.radiograph import radiograph_phantom

FADE = 0.06  # of a phantom's sides, over which it goes over into the tissue around it


@dataclass(frozen=True)
class TallRadiograph:
    """pixels: (rows, columns) float32 in 0–1, dense tissue bright; centroids_px: level → (x, y) of the truth."""

    pixels: NDArray[np.float32]
    spacing_mm: tuple[float, float]
    centroids_px: Mapping[str, tuple[float, float]]


def whole_spine(
    seed: int, *, rows: int, columns: int, pixel_mm: float, neck_at: float = 0.04, loin_ends_at: float = 0.92
) -> TallRadiograph:
    """Compose one; the same arguments give the same image.

    neck_at, loin_ends_at: where, in shares of the rows, the cervical phantom begins and the lumbar one ends.
    """
    pixels = _tissue(np.random.default_rng([seed, 77]), (rows, columns))
    centroids: dict[str, tuple[float, float]] = {}
    regions: tuple[BodyRegion, ...] = ("cervical", "lumbar")
    for region in regions:
        part, truth = _phantom(seed, region, pixel_mm)
        part = part[:, :columns]
        height, width = part.shape
        top = min(round(neck_at * rows) if region == "cervical" else round(loin_ends_at * rows) - height, rows - height)
        left = (columns - width) // 2
        weight = np.minimum(_ramp(height)[:, None], _ramp(width)[None])
        place = pixels[top : top + height, left : left + width]
        place += weight * (part - place)
        levels = (level for level, (x, _) in truth.items() if x < width and level not in centroids)
        centroids |= {level: (truth[level][0] + left, truth[level][1] + top) for level in levels}
    return TallRadiograph(pixels, (pixel_mm, pixel_mm), centroids)


def _phantom(
    seed: int, region: BodyRegion, pixel_mm: float
) -> tuple[NDArray[np.float32], dict[str, tuple[float, float]]]:
    phantom = radiograph_phantom(seed, region=region, columns_limit=1200)
    factor = phantom.spacing_mm[0] / pixel_mm
    values = phantom.pixels.astype(np.float32) / np.float32(2**phantom.bits_stored - 1)
    dense_bright = 1 - values if phantom.photometric_interpretation == "MONOCHROME1" else values
    pixels = ndimage.zoom(dense_bright, factor, order=1, grid_mode=True, mode="nearest")
    return pixels, {level: (x * factor, y * factor) for level, (x, y) in phantom.centroids_px.items()}


def _tissue(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Smooth blobs over a column that is brighter in the middle, and grain."""
    rows, columns = shape
    blobs = ndimage.zoom(
        rng.standard_normal((38, 15)).astype(np.float32), (rows / 38, columns / 15), order=1, grid_mode=True,
        mode="nearest",
    )[:rows, :columns]  # fmt: skip
    across = np.linspace(-0.5, 0.5, columns, dtype=np.float32) / 0.28
    middle = 0.25 + 0.35 * np.exp(-(across**2))[None] + np.linspace(0, 0.1, rows, dtype=np.float32)[:, None]
    grain = rng.standard_normal(shape, dtype=np.float32)
    return np.asarray(np.clip(middle + 0.06 * blobs + 0.02 * grain, 0, 1), np.float32)


def _ramp(count: int) -> NDArray[np.float32]:
    ends = np.minimum(np.arange(1, count + 1), np.arange(count, 0, -1))
    return np.minimum(1, ends / (FADE * count)).astype(np.float32)
