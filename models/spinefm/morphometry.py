"""What is measured on the vertebral bodies of a lateral radiograph; docs/measurements.md draws the definitions.

Arrays in, frozen values out. Lengths are in mm where the spacing is calibrated, else in pixels; angles in degrees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.body_outline import BodyOutline, Points, fit_body_outline
from models.contracts import FoundStructure
from models.quantity import Lordosis, Quantity

Facing = Literal["left", "right"]

# Angles between end-plates: (level, end-plate) above and below. The lower end-plates of C2 and C7, the upper ones of
# L1 and S1, as is customary for cervical and lumbar lordosis.
LORDOSES = ((("C2", "lower"), ("C7", "lower")), (("L1", "upper"), ("S1", "upper")))
# Atlas, axis and sacrum have no body with two end-plates: their heights would mean nothing.
WITHOUT_HEIGHTS = frozenset({"C1", "C2", "S1"})
LEAST_OVERLAP = 0.9
# Where the patient faces is read from the strips beside the bodies: from a quarter of a body's width off the wall (past
# the cortex and the mask's own error) to nine tenths of it.
STRIP = (0.25, 0.9)
LEAST_CONTRAST = 0.25


@dataclass(frozen=True)
class VertebraMorphometry:
    """What was measured on one vertebra; None where it cannot be told.

    corners_px: (x, y) of the body's corners: upper left, upper right, lower right, lower left in the image.
    wedge_angle: between the end-plates, positive where the body is lower in front.
    """

    segment_number: int
    label: str
    area: Quantity
    anterior_height: Quantity | None = None
    middle_height: Quantity | None = None
    posterior_height: Quantity | None = None
    wedge_angle: Quantity | None = None
    corners_px: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True)
class SpineMorphometry:
    """What was measured on a radiograph.

    facing: the side of the image that the patient faces, given or assumed, or None where it could not be told.
    warnings: what was assumed or left out, a sentence each.
    """

    vertebrae: tuple[VertebraMorphometry, ...]
    lordoses: tuple[Lordosis, ...]
    facing: Facing | None
    warnings: tuple[str, ...]


def measure_spine(
    labelmap: NDArray[np.uint16],
    structures: Sequence[FoundStructure],
    *,
    spacing_mm: tuple[float, float] | None = None,
    facing: Facing | None = None,
    pixels: NDArray[np.float32] | None = None,
) -> SpineMorphometry:
    """Measure every vertebra and the curves that are in view.

    Args:
        labelmap: (rows, columns), 0 = background, else Segment Number.
        structures: from the top of the spine downwards.
        spacing_mm: calibrated (row, column) spacing in the patient, or None for pixels.
        facing: side of the image that the patient faces, from Patient Orientation; None to look at the image.
        pixels: (rows, columns) with dense tissue bright; only needed where `facing` is None.
    """
    scale = np.array([1.0, 1.0]) if spacing_mm is None else np.array([spacing_mm[1], spacing_mm[0]])
    axes = _axes(structures, scale)
    outlines = {
        structure.segment_number: fit_body_outline(labelmap == structure.segment_number, axis, scale)
        for structure, axis in zip(structures, axes, strict=True)
    }
    warnings = []
    if facing is None:
        facing = None if pixels is None else facing_from_image(pixels, list(outlines.values()), scale)
        warnings.append(_facing_warning(facing))
    ruler = _Ruler(scale, "px" if spacing_mm is None else "mm", facing)
    measured = tuple(
        ruler.measure(structure, outlines[structure.segment_number], int((labelmap == structure.segment_number).sum()))
        for structure in structures
    )
    for structure, vertebra in zip(structures, measured, strict=True):
        if structure.level not in WITHOUT_HEIGHTS and vertebra.middle_height is None:
            warnings.append(f"the outline of {structure.label} is not four-sided: its heights were not measured")
    by_level = {structure.level: outlines[structure.segment_number] for structure in structures if structure.level}
    return SpineMorphometry(measured, _lordoses(by_level, ruler), facing, tuple(warnings))


def facing_from_image(
    pixels: NDArray[np.float32], outlines: Sequence[BodyOutline | None], scale: Points
) -> Facing | None:
    """Return the side that the patient faces, judged by the tissue beside the bodies, or None where it is not clear.

    Behind a body lie pedicles, articular processes and laminae, which are bone; in front of it lie airway, vessels or
    bowel, which are not. So the brighter strip is behind. A side is told where the strips differ by a quarter of their
    spread on average and two thirds of the vertebrae agree.

    Args:
        pixels: (rows, columns) with dense tissue bright.
        outlines: of the bodies; None for those without.
        scale: (2,) column and row spacing of the outlines, or ones.
    """
    contrasts = [_contrast(pixels, outline.corners / scale) for outline in outlines if outline is not None]
    known = np.array([contrast for contrast in contrasts if contrast is not None])
    if known.size == 0 or abs(known.mean()) < LEAST_CONTRAST:
        return None
    if (np.sign(known) == np.sign(known.mean())).mean() < 2 / 3:
        return None
    return "left" if known.mean() > 0 else "right"


def _contrast(pixels: NDArray[np.float32], corners_px: Points) -> float | None:
    """Return how much brighter the strip to the right of a body is than the one to the left, in units of spread."""
    top_left, top_right, bottom_right, bottom_left = corners_px
    strips = []
    for top, bottom, outward in (
        (top_left, bottom_left, top_left - top_right),
        (top_right, bottom_right, top_right - top_left),
    ):
        along, off = np.meshgrid(np.linspace(0, 1, 24), np.linspace(*STRIP, 24))
        points = top + along[..., None] * (bottom - top) + off[..., None] * outward
        columns, rows = np.rint(points.reshape(-1, 2)).astype(int).T
        inside = (rows >= 0) & (rows < pixels.shape[0]) & (columns >= 0) & (columns < pixels.shape[1])
        if inside.mean() < 0.5:
            return None
        strips.append(pixels[rows[inside], columns[inside]])
    left, right = strips
    spread = float(np.concatenate(strips).std())
    return float(right.mean() - left.mean()) / spread if spread > 0 else None


@dataclass(frozen=True)
class _Ruler:
    """Turns outlines into quantities. scale: column and row spacing; unit: of lengths."""

    scale: Points
    unit: Literal["mm", "px"]
    facing: Facing | None

    def measure(self, structure: FoundStructure, outline: BodyOutline | None, pixel_count: int) -> VertebraMorphometry:
        area = Quantity(pixel_count * float(self.scale.prod()), "mm2" if self.unit == "mm" else "px2")
        plain = VertebraMorphometry(structure.segment_number, structure.label, area)
        if outline is None or outline.overlap < LEAST_OVERLAP or structure.level in WITHOUT_HEIGHTS:
            return plain
        corners = outline.corners
        left = self._length(corners[0], corners[3])
        right = self._length(corners[1], corners[2])
        front, back = {"left": (left, right), "right": (right, left), None: (None, None)}[self.facing]
        wedge = None
        if self.facing is not None:
            wedge = Quantity(_turn(self.inclination(outline, "lower") - self.inclination(outline, "upper")), "deg")
        return VertebraMorphometry(
            structure.segment_number,
            structure.label,
            area,
            anterior_height=front,
            middle_height=Quantity(outline.middle_height, self.unit),
            posterior_height=back,
            wedge_angle=wedge,
            corners_px=tuple((float(x), float(y)) for x, y in corners / self.scale),
        )

    def inclination(self, outline: BodyOutline, end_plate: str) -> float:
        """Return by how many degrees the front of an end-plate points upwards."""
        left, right = outline.corners[:2] if end_plate == "upper" else outline.corners[[3, 2]]
        forwards = left - right if self.facing == "left" else right - left
        return float(np.degrees(np.arctan2(-forwards[1], abs(forwards[0]))))

    def _length(self, first: Points, second: Points) -> Quantity:
        return Quantity(float(np.linalg.norm(second - first)), self.unit)


def _lordoses(outlines: Mapping[str, BodyOutline | None], ruler: _Ruler) -> tuple[Lordosis, ...]:
    if ruler.facing is None:
        return ()
    found = []
    for (upper, upper_plate), (lower, lower_plate) in LORDOSES:
        above, below = outlines.get(upper), outlines.get(lower)
        if above is None or below is None or min(above.overlap, below.overlap) < LEAST_OVERLAP:
            continue
        angle = _turn(ruler.inclination(above, upper_plate) - ruler.inclination(below, lower_plate))
        found.append(Lordosis(upper, lower, Quantity(angle, "deg")))
    return tuple(found)


def _axes(structures: Sequence[FoundStructure], scale: Points) -> list[Points]:
    """Return the direction of the spine at each structure, towards the feet, from its neighbours' centroids."""
    axes = []
    for _, stretch in groupby(structures, key=lambda structure: structure.stretch):
        centroids = np.array([structure.centroid_px for structure in stretch], dtype=np.float64) * scale
        last = len(centroids) - 1
        axes += [centroids[min(i + 1, last)] - centroids[max(i - 1, 0)] for i in range(len(centroids))]
    return [axis if np.any(axis) else np.array([0.0, 1.0]) for axis in axes]


def _turn(degrees: float) -> float:
    return (degrees + 180) % 360 - 180


def _facing_warning(facing: Facing | None) -> str:
    if facing is None:
        return "which side is anterior is not known: front and back heights and angles were not measured"
    return f"which side is anterior was assumed from the image (bone lies behind the bodies): facing {facing}"
