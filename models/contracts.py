"""What crosses the border of an engine: images in, labelmaps and found structures out.

Frames: a pixel position is (x, y) = (column, row), 0-based, pixel centres at whole numbers.
Arrays are indexed [row, column].
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

BodyRegion = Literal["cervical", "thoracic", "lumbar"]
Numbering = Literal["landmark", "assumed", "unknown"]


@dataclass(frozen=True)
class RadiographImage:
    """A lateral radiograph as an engine wants it.

    pixels: (rows, columns) float32 in 0–1, dense tissue bright (MONOCHROME2), LUTs applied.
    spacing_mm: (row, column) spacing *in the patient*, only where it is calibrated, else None.
    body_region: what the header says is in view, or None.
    """

    pixels: NDArray[np.float32]
    spacing_mm: tuple[float, float] | None = None
    body_region: BodyRegion | None = None


@dataclass(frozen=True)
class FoundStructure:
    """One segmented structure.

    segment_number: its value in the labelmap, 1-based without gaps.
    label: Segment Label: the level (`C3`), or `vertebra 1` … from the top where the numbering is unknown.
    level: the level (`C3`), or None where the numbering is unknown.
    confidence: 0–1.
    centroid_px: (x, y) of the mask's centre of mass on the source grid.
    """

    segment_number: int
    label: str
    level: str | None
    confidence: float
    centroid_px: tuple[float, float]


@dataclass(frozen=True)
class RadiographResult:
    """What an engine answers for a radiograph.

    labelmap: (rows, columns) uint16 on the source grid, 0 = background, else Segment Number.
    structures: from the top of the spine downwards.
    numbering: `landmark` (C2 or S1 was seen), `assumed` (from the body region only) or `unknown`.
    scale: a sentence that says where the patch size came from.
    warnings: what the engine doubts, a sentence each.
    timings_s: seconds per phase.
    """

    labelmap: NDArray[np.uint16]
    structures: tuple[FoundStructure, ...]
    numbering: Numbering
    scale: str
    warnings: tuple[str, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
