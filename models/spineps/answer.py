"""What was found in a volume, as the engine answers it: Segments on the source grid, measured in LPS."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.contracts import SpineStructure, SpineVolume, StructureKind, VolumeResult
from models.spineps.combine import Combined
from models.spineps.frame import Orientation
from models.spineps.levels import LABEL_OF, SACRUM, Levels

DISC_LABEL = 100
SUBSTRUCTURES = {
    26: "sacrum",
    41: "vertebral arch",
    42: "spinous process",
    43: "left costal process",
    44: "right costal process",
    45: "left superior articular process",
    46: "right superior articular process",
    47: "left inferior articular process",
    48: "right inferior articular process",
    49: "vertebral body",
    50: "vertebral body core",
    51: "dens",
    60: "spinal cord",
    61: "spinal canal",
    62: "vertebral end-plate",
    100: "intervertebral disc",
}
ABOVE_ALL = 1000  # added to a vertebra's number for the disc below it, in the map that holds both


@dataclass(frozen=True)
class Found:
    """Everything on the source grid, still (P, I, R)."""

    combined: Combined
    levels: Levels
    agreement: tuple[float, ...]


def compose_result(volume: SpineVolume, orientation: Orientation, found: Found, notes: tuple[str, ...]) -> VolumeResult:
    """Number the Segments of both labelmaps, put them on the source grid and measure them.

    notes: what else is to be said, after what the numbering doubts.
    """
    combined, measure = found.combined, _Measure(volume.affine)
    vertebrae, labels = _vertebra_segments(found)
    present = [label for label in SUBSTRUCTURES if (combined.subregions == label).any()]
    certainty = float(np.mean([segment.confidence for segment in vertebrae]))
    substructures = [_Segment(label, "substructure", SUBSTRUCTURES[label], None, label, certainty) for label in present]
    labelmap = _numbered(labels, vertebrae, orientation)
    subregion_labelmap = _numbered(combined.subregions, substructures, orientation)
    return VolumeResult(
        vertebra_labelmap=labelmap,
        subregion_labelmap=subregion_labelmap,
        vertebrae=measure(labelmap, vertebrae),
        substructures=measure(subregion_labelmap, substructures),
        numbering=found.levels.numbering,
        warnings=(*found.levels.warnings, *notes),
    )


def _numbered(labels: NDArray[np.generic], segments: list["_Segment"], orientation: Orientation) -> NDArray[np.uint16]:
    table = np.zeros(int(labels.max()) + 1, np.uint16)
    table[[segment.source for segment in segments]] = range(1, len(segments) + 1)
    return np.ascontiguousarray(orientation.undo(table[labels]))


@dataclass(frozen=True)
class _Segment:
    """A structure before it is measured; source: its label in the map it is drawn from."""

    source: int
    kind: StructureKind
    label: str
    level: str | None
    spineps_label: int
    confidence: float


def _vertebra_segments(found: Found) -> tuple[list[_Segment], NDArray[np.uint16]]:
    """Vertebrae, each followed by its disc, and the map of both: n for a vertebra, ABOVE_ALL + n for its disc."""
    combined, levels = found.combined, found.levels
    labels = combined.vertebrae.copy()
    discs = combined.discs > 0
    labels[discs] = ABOVE_ALL + combined.discs[discs]
    count = len(combined.kept)
    sacrum = combined.subregions == SACRUM
    labels[sacrum] = count + 1
    present = set(np.unique(labels).tolist())
    names = [*levels.names, "S1" if sacrum.any() else None]
    segments = []
    if ABOVE_ALL + count + 1 in present:  # a disc above the first vertebra
        below = levels.names[0]
        segments.append(_disc(ABOVE_ALL + count + 1, None, below, 0, found.agreement[0] * levels.factor))
    for number in range(1, count + 1):
        name, confidence = names[number - 1], (0.5 + 0.5 * found.agreement[number - 1]) * levels.factor
        label = LABEL_OF[name] if name else number
        segments.append(_Segment(number, "vertebra", name or f"vertebra {number}", name, label, confidence))
        if ABOVE_ALL + number in present:
            below = names[number] if number < count else names[count]
            segments.append(_disc(ABOVE_ALL + number, name, below, label, confidence, number=number))
    if sacrum.any():
        segments.append(_Segment(count + 1, "vertebra", "sacrum", "S1", SACRUM, levels.factor))
    return segments, labels


def _disc(
    source: int, above: str | None, below: str | None, label: int, confidence: float, *, number: int = 0
) -> _Segment:
    named = f"{above}/{below}" if above and below else f"disc below {above}" if above else f"disc {number}"
    named = f"disc above {below}" if above is None and below is not None and number == 0 else named
    return _Segment(source, "disc", named, above, DISC_LABEL + label, confidence)


class _Measure:
    """Centroids in LPS and volumes by label."""

    def __init__(self, affine: NDArray[np.float64]) -> None:
        self.affine, self.voxel_mm3 = affine, abs(float(np.linalg.det(affine[:3, :3])))

    def __call__(self, labelmap: NDArray[np.uint16], segments: list[_Segment]) -> tuple[SpineStructure, ...]:
        numbers = list(range(1, len(segments) + 1))
        voxels = np.bincount(labelmap.ravel(), minlength=len(segments) + 1)
        centres = ndimage.center_of_mass(labelmap > 0, labelmap, numbers)
        structures = []
        for number, segment, centre in zip(numbers, segments, centres, strict=True):
            x, y, z = self.affine[:3, :3] @ np.array(centre) + self.affine[:3, 3]
            structures.append(
                SpineStructure(
                    segment_number=number,
                    label=segment.label,
                    kind=segment.kind,
                    level=segment.level,
                    spineps_label=segment.spineps_label,
                    confidence=round(min(1.0, segment.confidence), 4),
                    centroid_lps_mm=(float(x), float(y), float(z)),
                    volume_mm3=float(voxels[number]) * self.voxel_mm3,
                )
            )
        return tuple(structures)
