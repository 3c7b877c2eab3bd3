"""What crosses the border of an engine: images in, labelmaps and found structures out.

Frames: a pixel position is (x, y) = (column, row), 0-based, pixel centres at whole numbers.
Images are indexed [row, column], volumes [slice, row, column]; the patient's frame is LPS in mm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

BodyRegion = Literal["cervical", "thoracic", "lumbar"]
Numbering = Literal["landmark", "assumed", "unknown"]
MrContrast = Literal["T2w", "T1w", "STIR", "other"]
StructureKind = Literal["vertebra", "disc", "substructure"]


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
    stretch: which stretch of the spine it belongs to, from the top: two neighbours of one stretch are neighbours in
        the spine; between two stretches vertebrae may not have been found.
    """

    segment_number: int
    label: str
    level: str | None
    confidence: float
    centroid_px: tuple[float, float]
    stretch: int = 1


@dataclass(frozen=True)
class RadiographResult:
    """What an engine answers for a radiograph.

    labelmap: (rows, columns) uint16 on the source grid, 0 = background, else Segment Number.
    structures: from the top of the spine downwards.
    numbering: `landmark` (C2 or S1 was seen, and the names have a probability of 0.8), `assumed` (0.5) or `unknown`; of
        several stretches the least that holds for all of them.
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


@dataclass(frozen=True)
class SpineVolume:
    """A sagittal MR volume as an engine wants it.

    voxels: (slices, rows, columns) float32, rescaled stored values, never windowed.
    affine: (4, 4) float64, voxel index (slice, row, column, 1) → (x, y, z, 1) in LPS mm, at the voxels' centres.
    contrast: as routing has it.
    body_region: what the header says is in view, or None.
    """

    voxels: NDArray[np.float32]
    affine: NDArray[np.float64]
    contrast: MrContrast
    body_region: BodyRegion | None = None

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along slices, rows and columns."""
        slices, rows, columns = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(slices), float(rows), float(columns)


@dataclass(frozen=True)
class SpineStructure:
    """One Segment of one of the two labelmaps of a volume.

    segment_number: its value in its labelmap, 1-based without gaps.
    label: Segment Label: the level (`L3`), for a disc the levels around it (`L3/L4`), for a substructure its name;
        `vertebra 1`, `disc 1` … from the top where the numbering is unknown.
    level: the vertebra's level, for a disc that of the vertebra above it; None where unknown and for substructures.
    spineps_label: its value in SPINEPS' scheme (1–28 vertebrae with 26 the sacrum, 100 + v discs; 41–62, 100, 26).
    confidence: 0–1, of its outline, times the probability of the numbering where that is known.
    centroid_lps_mm: (x, y, z) of its centre of mass.
    volume_mm3: voxels times the voxel's volume.
    """

    segment_number: int
    label: str
    kind: StructureKind
    level: str | None
    spineps_label: int
    confidence: float
    centroid_lps_mm: tuple[float, float, float]
    volume_mm3: float


@dataclass(frozen=True)
class VolumeResult:
    """What an engine answers for a volume.

    vertebra_labelmap: (slices, rows, columns) uint16 on the source grid, 0 = background, else a Segment Number of
        `vertebrae`: vertebrae (the sacrum among them) and discs.
    subregion_labelmap: the same for `substructures`: SPINEPS' structures.
    vertebrae: from the head downwards, each vertebra followed by the disc below it.
    substructures: in the order of SPINEPS' labels.
    numbering: `landmark` (the dens or the sacrum was seen, and the names have a probability of 0.8), `assumed` (0.5) or
        `unknown`.
    warnings: what the engine doubts, a sentence each.
    timings_s: seconds per phase.
    """

    vertebra_labelmap: NDArray[np.uint16]
    subregion_labelmap: NDArray[np.uint16]
    vertebrae: tuple[SpineStructure, ...]
    substructures: tuple[SpineStructure, ...]
    numbering: Numbering
    warnings: tuple[str, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
