"""Square patches out of a radiograph, and the masks that come back from them.

A patch of edge e around a centre (x, y) covers columns x − e//2 … x − e//2 + e − 1 and rows likewise; what lies outside
the image is zero. A mask is kept as the patch's logits and one number for everything outside, so that no step works on
pixels outside the patch; centroid and overlap count the outside analytically and equal those of the whole image.

Source: Simons & Papież, "SpineFM" (2024): segmentation around a point.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Upsampling = Literal["nearest", "bilinear"]
Outside = Literal["smallest_logit", "background"]
MASK_LOGIT = 0.5  # a pixel belongs to a mask, as the walk compares them, above this logit
Point = tuple[float, float]


@dataclass(frozen=True)
class Window:
    """Where a patch lies: `left`, `top` of its first pixel (may be negative) and its `edge`, in image pixels."""

    left: int
    top: int
    edge: int

    @classmethod
    def around(cls, point: Point, edge: int) -> "Window":
        """Place a window so that its centre is the rounded (x, y) `point`."""
        return cls(left=round(point[0]) - edge // 2, top=round(point[1]) - edge // 2, edge=edge)


def cut_patch(pixels: Tensor, window: Window) -> Tensor:
    """Cut (channels, edge, edge) out of (channels, rows, columns), zero where the window leaves the image."""
    channels, rows, columns = pixels.shape
    top, left = max(window.top, 0), max(window.left, 0)
    bottom, right = min(window.top + window.edge, rows), min(window.left + window.edge, columns)
    patch = pixels.new_zeros(channels, window.edge, window.edge)
    if top < bottom and left < right:
        inside = pixels[:, top:bottom, left:right]
        patch[:, top - window.top : bottom - window.top, left - window.left : right - window.left] = inside
    return patch


def cut_patches(pixels: Tensor, points: Sequence[Point], *, edge: int, size: int) -> Tensor:
    """Cut a patch around every point and bring them to the network's input: bilinear with antialiasing.

    pixels: (1 or 3, rows, columns), float32 in 0–1 or uint8. With uint8 every step rounds to 8 bits as Pillow does,
        which is what the published weights have seen.
    points: (x, y) each.
    Returns (points, 3, size, size) float32 in 0–1.
    """
    patches = torch.stack([cut_patch(pixels, Window.around(point, edge)) for point in points])
    if edge != size:
        patches = F.interpolate(patches, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    if not patches.is_floating_point():
        patches = patches.float() / 255
    return patches.expand(-1, 3, -1, -1)


@dataclass(frozen=True)
class PlacedMask:
    """The mask of one vertebra on an image, of which only the part under the patch is stored.

    logits: (rows, columns) float32 of the patch's part within the image.
    left, top: the image position of its first pixel.
    outside: the logit of every other pixel of the image.
    image_size: (rows, columns).
    """

    logits: NDArray[np.float32]
    left: int
    top: int
    outside: float
    image_size: tuple[int, int]

    @cached_property
    def probability(self) -> NDArray[np.float64]:
        """Sigmoid of the stored logits."""
        return sigmoid(self.logits)

    @cached_property
    def area_px(self) -> int:
        """How many pixels of the whole image belong to the mask."""
        inside = int(np.count_nonzero(self.logits > MASK_LOGIT))
        rest = self.image_size[0] * self.image_size[1] - self.logits.size
        return inside + (rest if self.outside > MASK_LOGIT else 0)

    def weighted_centroid(self) -> tuple[int, int]:
        """Mean (x, y) of the whole image's pixels, weighted by probability and truncated to whole pixels.

        A mask without any weight has its centroid at the middle of its patch.
        """
        rows, columns = self.logits.shape
        weight = self.probability
        x, y = np.arange(self.left, self.left + columns), np.arange(self.top, self.top + rows)
        everywhere = float(sigmoid(self.outside))
        image_rows, image_columns = self.image_size
        total = weight.sum() + everywhere * (image_rows * image_columns - weight.size)
        if total <= 0:
            return self.left + columns // 2, self.top + rows // 2
        all_x = image_rows * image_columns * (image_columns - 1) / 2 - rows * x.sum()
        all_y = image_columns * image_rows * (image_rows - 1) / 2 - columns * y.sum()
        mean_x = (weight.sum(axis=0) @ x + everywhere * all_x) / total
        mean_y = (weight.sum(axis=1) @ y + everywhere * all_y) / total
        return int(mean_x), int(mean_y)

    def iou(self, other: "PlacedMask") -> float:
        """Overlap with another mask of the same image: intersection over union, 0 where both are empty."""
        mine, theirs = self.logits > MASK_LOGIT, other.logits > MASK_LOGIT
        shared_mine, shared_theirs = mine[self._under(other)], theirs[other._under(self)]
        both = int(np.count_nonzero(shared_mine & shared_theirs))
        if other.outside > MASK_LOGIT:
            both += int(np.count_nonzero(mine)) - int(np.count_nonzero(shared_mine))
        if self.outside > MASK_LOGIT:
            both += int(np.count_nonzero(theirs)) - int(np.count_nonzero(shared_theirs))
        if min(self.outside, other.outside) > MASK_LOGIT:
            both += self.image_size[0] * self.image_size[1] - mine.size - theirs.size + shared_mine.size
        either = self.area_px + other.area_px - both
        return both / either if either else 0.0

    def _under(self, other: "PlacedMask") -> tuple[slice, slice]:
        """Which stored rows and columns lie under the other mask's stored ones."""
        rows, columns = self.logits.shape
        other_rows, other_columns = other.logits.shape
        top, bottom = other.top - self.top, other.top + other_rows - self.top
        left, right = other.left - self.left, other.left + other_columns - self.left
        return (
            slice(min(max(top, 0), rows), min(max(bottom, 0), rows)),
            slice(min(max(left, 0), columns), min(max(right, 0), columns)),
        )

    def whole(self) -> NDArray[np.float32]:
        """Spread the mask over the whole image: (rows, columns) logits."""
        image = np.full(self.image_size, self.outside, dtype=np.float32)
        rows, columns = self.logits.shape
        image[self.top : self.top + rows, self.left : self.left + columns] = self.logits
        return image


def place(
    logits: Tensor,
    window: Window,
    image_size: tuple[int, int],
    *,
    upsampling: Upsampling = "nearest",
    outside: Outside = "smallest_logit",
) -> PlacedMask:
    """Bring a network's logits (h, w) back to where its patch was cut.

    outside: `smallest_logit` gives the rest of the image the integer part, towards zero, of the smallest logit, as
        published; `background` gives it no weight at all.
    """
    edge = (window.edge, window.edge)
    batch = logits.float()[None, None]
    if upsampling == "nearest":
        patch = F.interpolate(batch, size=edge, mode="nearest")
    else:
        patch = F.interpolate(batch, size=edge, mode="bilinear", align_corners=False, antialias=True)
    rows, columns = image_size
    top, left = min(max(window.top, 0), rows), min(max(window.left, 0), columns)
    bottom, right = max(min(window.top + window.edge, rows), top), max(min(window.left + window.edge, columns), left)
    inside = patch[0, 0, top - window.top : bottom - window.top, left - window.left : right - window.left]
    rest = float(int(logits.min())) if outside == "smallest_logit" else -np.inf
    return PlacedMask(inside.cpu().numpy().astype(np.float32), left, top, float(rest), image_size)


def sigmoid(logits: NDArray[np.float32] | float) -> NDArray[np.float64]:
    """Turn logits into probabilities without overflow."""
    half = 0.5 * np.tanh(0.5 * np.asarray(logits, dtype=np.float64))
    return np.asarray(half + 0.5)
