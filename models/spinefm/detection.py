"""One structure that a detector saw on the whole radiograph."""

from dataclasses import dataclass
from typing import Literal

DetectionKind = Literal["vertebra", "C2", "S1"]


@dataclass(frozen=True)
class Detection:
    """A vertebra seen on the whole image, before any patch is cut.

    score: 0–1.
    centroid_px: (x, y) on the source grid.
    size_px: square root of the body's area, in pixels of the source grid.
    kind: which landmark the detector takes it for; `vertebra` where it does not tell them apart.
    """

    score: float
    centroid_px: tuple[float, float]
    size_px: float
    kind: DetectionKind = "vertebra"
