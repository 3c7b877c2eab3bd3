"""What a detector sees of a radiograph in parts: a field, and the logits over it on a grid of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.spinefm.detection import Detection

MARGIN = 3.0  # body sizes around what is looked at closer


@dataclass(frozen=True)
class Field:
    """A part of a radiograph, in its pixels."""

    top: int
    left: int
    rows: int
    columns: int

    def holds(self, point: tuple[float, float]) -> bool:
        """Whether (x, y) lies in it."""
        x, y = point[0] - self.left, point[1] - self.top
        return 0 <= x < self.columns and 0 <= y < self.rows


@dataclass(frozen=True)
class View:
    """What the detector makes of a field: logits (channels, rows, columns), spread evenly over it."""

    field: Field
    logits: Tensor

    @property
    def unit(self) -> tuple[float, float]:
        """A pixel of the logits in pixels of the radiograph, (x, y)."""
        return self.field.columns / self.logits.shape[2], self.field.rows / self.logits.shape[1]

    def centres(self) -> tuple[Tensor, Tensor]:
        """Where the middles of its columns and rows lie, from the upper left corner of the radiograph."""
        columns, rows = (
            (torch.arange(self.logits.shape[axis], device=self.logits.device) + 0.5) * unit + first
            for axis, unit, first in zip((2, 1), self.unit, (self.field.left, self.field.top), strict=True)
        )
        return columns, rows

    def on(self, other: "View") -> Tensor:
        """The logits at the pixels of another view, whose field lies within this one's."""
        x, y = other.centres()
        x = 2 * (x - self.field.left) / self.field.columns - 1
        y = 2 * (y - self.field.top) / self.field.rows - 1
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        grid = torch.stack([columns, rows], -1)[None].to(self.logits.dtype)
        return functional.grid_sample(self.logits[None], grid, padding_mode="border", align_corners=False)[0]


def around(detections: Sequence[Detection], shape: tuple[int, ...]) -> Field:
    """The part of an image of (rows, columns) that holds detections, and as much around them as there is."""
    margin = MARGIN * float(np.median([detection.size_px for detection in detections]))
    centroids = np.array([detection.centroid_px for detection in detections])
    left, top = np.maximum(0, centroids.min(0) - margin).astype(int).tolist()
    right, bottom = np.minimum(shape[::-1], centroids.max(0) + margin).astype(int).tolist()
    return Field(top, left, bottom - top, right - left)
