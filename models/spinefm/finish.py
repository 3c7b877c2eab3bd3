"""From the chain's masks to a labelmap: threshold, smoothing, one region each, no overlaps.

Everything happens within each patch and a margin around it.

Source: Simons & Papież, "SpineFM" (2024): post-processing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.spinefm.config import Smoothing
from models.spinefm.patches import PlacedMask, sigmoid


@dataclass(frozen=True)
class Finished:
    """The finished masks of a chain.

    labelmap: (rows, columns) uint16, 1 … for the masks in their order, 0 = background; a mask may have no pixel left.
    probabilities: for each, the mean probability of its pixels, 0 where it has none.
    """

    labelmap: NDArray[np.uint16]
    probabilities: tuple[float, ...]


def finish(
    masks: Sequence[PlacedMask], image_size: tuple[int, int], *, threshold: float, smoothing: Smoothing | None
) -> Finished:
    """Turn masks into a labelmap; a pixel that two masks claim goes to the higher probability."""
    labelmap = np.zeros(image_size, dtype=np.uint16)
    best = np.zeros(image_size, dtype=np.float32)
    for number, mask in enumerate(masks, start=1):
        rows, columns, probability = _with_margin(mask, smoothing.kernel // 2 if smoothing else 0)
        member = probability > threshold
        if smoothing is not None:
            member = _smooth(member, smoothing)
        wins = _largest_region(member) & ((labelmap[rows, columns] == 0) | (probability > best[rows, columns]))
        labelmap[rows, columns][wins] = number
        best[rows, columns][wins] = probability[wins]
    counts = np.bincount(labelmap.ravel(), minlength=len(masks) + 1)
    sums = np.bincount(labelmap.ravel(), weights=best.ravel(), minlength=len(masks) + 1)
    return Finished(labelmap, tuple(float(s / n) if n else 0.0 for s, n in zip(sums[1:], counts[1:], strict=True)))


def _with_margin(mask: PlacedMask, margin: int) -> tuple[slice, slice, NDArray[np.float64]]:
    """The stored part of a mask and `margin` pixels around it, as far as the image reaches."""
    rows, columns = mask.logits.shape
    top, left = max(mask.top - margin, 0), max(mask.left - margin, 0)
    bottom = min(mask.top + rows + margin, mask.image_size[0])
    right = min(mask.left + columns + margin, mask.image_size[1])
    probability = np.full((bottom - top, right - left), float(sigmoid(mask.outside)))
    probability[mask.top - top :, mask.left - left :][:rows, :columns] = mask.probability
    return slice(top, bottom), slice(left, right), probability


def _smooth(member: NDArray[np.bool_], smoothing: Smoothing) -> NDArray[np.bool_]:
    offset = np.arange(smoothing.kernel) - smoothing.kernel // 2
    weights = np.exp(-(offset**2) / (2 * smoothing.sigma**2))
    weights /= weights.sum()
    blurred = member.astype(np.float64)
    for axis in (0, 1):
        blurred = ndimage.correlate1d(blurred, weights, axis=axis, mode="mirror")
    return np.asarray(blurred > 0.5)


def _largest_region(member: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(member, structure=np.ones((3, 3)))
    if count < 2:
        return member
    return np.asarray(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]))
