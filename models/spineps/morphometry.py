"""Measurements on the structures of an MR volume, in millimetres and degrees.

Every body is measured in its own mid-sagittal section (`morphometry_body`), so that neither scoliosis nor an oblique
stack lengthens anything. Bodies count with their end-plates. Definitions and a drawing: docs/measurements.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.contracts import SpineStructure, VolumeResult
from models.quantity import Lordosis, Quantity
from models.spineps.canal import Canal
from models.spineps.frame import Orientation, Spacing
from models.spineps.morphometry_body import LOWER, UPPER, BodySection, Grid, Mask, Points, cut_section, find_middle
from models.spineps.morphometry_sacrum import cut_sacrum

BODY, CORE, DENS, ENDPLATE, DISC, SACRUM = 49, 50, 51, 62, 100, 26
BODIES = (BODY, CORE, DENS)
ENDPLATE_REACH_MM = 4.0  # an end-plate further than this from every body belongs to none
LEAST_OVERLAP = 0.9  # of a body with its four curved sides
AXIS_MM = 9.0  # of the axis above its lower end-plate: below the dens it is a body like others
WITHOUT_HEIGHTS = frozenset({"C1", "C2"})  # no body with two end-plates
# (level, end-plate) above and below, as is customary: C2–C7, T4–T12, L1–S1.
LORDOSES = ((("C2", LOWER), ("C7", LOWER)), (("T4", UPPER), ("T12", LOWER)), (("L1", UPPER), ("S1", UPPER)))


@dataclass(frozen=True)
class VertebraMeasures:
    """Of one vertebra; None where it cannot be told.

    wedge_angle: positive where the body is lower in front. listhesis: offset of its lower posterior corner against the
    upper one of the vertebra below, along that one's end-plate, positive forwards; and as a share of that end-plate.
    """

    segment_number: int
    label: str
    volume: Quantity
    anterior_height: Quantity | None = None
    middle_height: Quantity | None = None
    posterior_height: Quantity | None = None
    wedge_angle: Quantity | None = None
    listhesis_offset: Quantity | None = None
    listhesis_percent: Quantity | None = None


@dataclass(frozen=True)
class DiscMeasures:
    """Of one disc: height is the mean of front and back; the index is height by the mean depth of both end-plates."""

    segment_number: int
    label: str
    volume: Quantity
    height: Quantity | None = None
    height_index: Quantity | None = None


@dataclass(frozen=True)
class CanalMeasures:
    """Of the vertebral canal behind the middle of a body."""

    label: str
    ap_diameter: Quantity
    area: Quantity


@dataclass(frozen=True)
class VolumeMorphometry:
    """What was measured on a volume; warnings: what was left out and why, a sentence each."""

    vertebrae: tuple[VertebraMeasures, ...]
    discs: tuple[DiscMeasures, ...]
    canal: tuple[CanalMeasures, ...]
    lordoses: tuple[Lordosis, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Column:
    """What can be measured: structures from the head down, sections by Segment Number, and that of S1's upper part."""

    structures: tuple[SpineStructure, ...]
    sections: Mapping[int, BodySection]
    sacral: BodySection | None

    def below(self, structure: SpineStructure) -> BodySection | None:
        """The section of what follows a vertebra downwards, the sacrum after the last."""
        place = self.structures.index(structure)
        if place + 1 == len(self.structures):
            return self.sacral
        return self.sections.get(self.structures[place + 1].segment_number)

    def at(self, level: str) -> BodySection | None:
        """The section of a level."""
        if level == "S1":
            return self.sacral
        return next((self.sections.get(s.segment_number) for s in self.structures if s.level == level), None)


def measure_volume(result: VolumeResult, affine: NDArray[np.float64]) -> VolumeMorphometry:
    """Measure vertebrae, discs, canal and curves.

    Args:
        result: from the engine.
        affine: (4, 4) voxel index (slice, row, column, 1) → LPS mm of its grid.
    """
    orientation, grid = Orientation.of(affine), Grid.of(affine)
    vertebrae = orientation.apply(result.vertebra_labelmap)
    labels = np.zeros(len(result.substructures) + 1, np.uint8)
    for structure in result.substructures:
        labels[structure.segment_number] = structure.spineps_label
    subregions = labels[orientation.apply(result.subregion_labelmap)]
    structures = tuple(s for s in result.vertebrae if s.kind == "vertebra" and s.spineps_label != SACRUM)
    bodies = _bodies_with_end_plates(vertebrae, subregions, structures, grid.spacing)
    sections, warnings = _sections(bodies, structures, grid)
    last = sections.get(structures[-1].segment_number) if structures else None
    sacral = None if last is None else cut_sacrum(subregions, last, grid)
    column = _Column(structures, sections, sacral)
    return VolumeMorphometry(
        vertebrae=tuple(_vertebra(structure, column) for structure in structures),
        discs=tuple(_disc(disc, column) for disc in result.vertebrae if disc.kind == "disc"),
        canal=_canal(subregions, column, grid),
        lordoses=_lordoses(column),
        warnings=tuple(warnings),
    )


def _bodies_with_end_plates(
    vertebrae: NDArray[np.uint16], subregions: NDArray[np.uint8], column: Sequence[SpineStructure], spacing: Spacing
) -> NDArray[np.uint16]:
    """Bodies by Segment Number, each with the end-plates that lie nearest to it; the sacrum keeps its own."""
    bodies = np.where(np.isin(subregions, BODIES), vertebrae, 0).astype(np.uint16)
    known = np.zeros(int(vertebrae.max()) + 2, np.uint16)
    for structure in column:
        known[structure.segment_number] = structure.segment_number
    bodies = known[bodies]
    plates = subregions == ENDPLATE
    if not plates.any() or not bodies.any():
        return bodies
    box = ndimage.find_objects(((bodies > 0) | plates).astype(np.uint8))[0]
    near = np.where(subregions[box] == SACRUM, len(known), bodies[box])
    distance, nearest = ndimage.distance_transform_edt(near == 0, sampling=spacing, return_indices=True)
    owner = near[tuple(nearest)]
    mine = plates[box] & (distance <= ENDPLATE_REACH_MM) & (owner < len(known))
    bodies[box] = np.where(mine, owner, bodies[box])
    return bodies


def _sections(
    bodies: NDArray[np.uint16], structures: Sequence[SpineStructure], grid: Grid
) -> tuple[dict[int, BodySection], list[str]]:
    """Cut each body; those that the field of view cuts or that have no four sides are left out with a sentence."""
    boxes = ndimage.find_objects(bodies, max_label=max((s.segment_number for s in structures), default=1))
    seen = [s for s in structures if s.level != "C1" and boxes[s.segment_number - 1] is not None]
    centres = [_flat_centre(bodies, boxes[s.segment_number - 1], s.segment_number, grid.spacing) for s in seen]
    sections: dict[int, BodySection] = {}
    warnings: list[str] = []
    for index, structure in enumerate(seen):
        down = centres[min(index + 1, len(seen) - 1)] - centres[max(index - 1, 0)]
        down = down / np.linalg.norm(down) if np.any(down) else np.array([0.0, 1.0])
        p, i, _ = boxes[structure.segment_number - 1]
        if min(p.start, i.start) == 0 or p.stop == bodies.shape[0] or i.stop == bodies.shape[1]:
            warnings.append(f"{structure.label} is cut by the field of view: its heights were not measured")
            continue
        mask = _largest(bodies[p, i] == structure.segment_number)
        if structure.level == "C2":
            mask = _below_the_dens(mask, down, grid.spacing)
        section = _cut(mask, down, grid.part(p.start, i.start))
        if section is None or section.overlap < LEAST_OVERLAP:
            warnings.append(f"{structure.label} has no four-sided outline: its heights were not measured")
            continue
        sections[structure.segment_number] = section
    return sections, warnings


def _flat_centre(bodies: NDArray[np.uint16], box: tuple[slice, ...], number: int, spacing: Spacing) -> Points:
    """(P, I) mm of a body's centre."""
    places = np.argwhere(bodies[box] == number)[:, :2].mean(0) + [box[0].start, box[1].start]
    return np.asarray(places * spacing[:2])


def _largest(mask: Mask) -> Mask:
    parts, count = ndimage.label(mask)
    return mask if count < 2 else parts == int(np.argmax(np.bincount(parts.ravel())[1:])) + 1


def _below_the_dens(mask: Mask, down: Points, spacing: Spacing) -> Mask:
    """The lowest part of the axis."""
    p, i, _ = (np.arange(n) * step for n, step in zip(mask.shape, spacing, strict=True))
    deep = p[:, None] * down[0] + i[None, :] * down[1]
    lowest = np.percentile(np.broadcast_to(deep[:, :, None], mask.shape)[mask], 98)
    return np.asarray(mask & (deep > lowest - AXIS_MM)[:, :, None])


def _cut(mask: Mask, down: Points, grid: Grid) -> BodySection | None:
    middle = find_middle(mask, grid)
    return None if middle is None else cut_section(mask, down, grid, middle)


def _vertebra(structure: SpineStructure, column: _Column) -> VertebraMeasures:
    volume = Quantity(structure.volume_mm3, "mm3")
    section = column.sections.get(structure.segment_number)
    if section is None:
        return VertebraMeasures(structure.segment_number, structure.label, volume)
    below = column.below(structure)
    offset, share = (None, None) if below is None else _listhesis(section, below)
    anterior, middle, posterior, wedge = (
        (None,) * 4 if structure.level in WITHOUT_HEIGHTS else _heights_and_wedge(section)
    )
    return VertebraMeasures(
        structure.segment_number,
        structure.label,
        volume,
        anterior_height=anterior,
        middle_height=middle,
        posterior_height=posterior,
        wedge_angle=wedge,
        listhesis_offset=offset,
        listhesis_percent=share,
    )


def _heights_and_wedge(section: BodySection) -> tuple[Quantity, Quantity, Quantity, Quantity]:
    upper, lower = section.plate(UPPER), section.plate(LOWER)
    anterior, posterior = np.linalg.norm(lower - upper, axis=1)
    middle = np.linalg.norm(section.middles[1] - section.middles[0])
    first, second = upper[1] - upper[0], lower[1] - lower[0]
    # The lateral axis points to the right: seen along it, front to back and up to down turn clockwise.
    turn = np.degrees(np.arctan2(np.cross(first, second) @ section.lateral, first @ second))
    return (
        Quantity(float(anterior), "mm"),
        Quantity(float(middle), "mm"),
        Quantity(float(posterior), "mm"),
        Quantity(float(turn), "deg"),
    )


def _listhesis(section: BodySection, below: BodySection) -> tuple[Quantity, Quantity]:
    front, back = below.plate(UPPER)
    depth = float(np.linalg.norm(front - back))
    offset = float((section.plate(LOWER)[1] - back) @ (front - back)) / depth
    return Quantity(offset, "mm"), Quantity(100 * offset / depth, "percent")


def _disc(disc: SpineStructure, column: _Column) -> DiscMeasures:
    volume = Quantity(disc.volume_mm3, "mm3")
    above = next((s for s in column.structures if s.spineps_label == disc.spineps_label - DISC), None)
    upper = None if above is None else column.sections.get(above.segment_number)
    lower = None if above is None else column.below(above)
    if upper is None or lower is None:
        return DiscMeasures(disc.segment_number, disc.label, volume)
    lateral = upper.lateral + lower.lateral
    height, depth = disc_height_and_depth(upper.plate(LOWER), lower.plate(UPPER), lateral / np.linalg.norm(lateral))
    return DiscMeasures(
        disc.segment_number, disc.label, volume, Quantity(height, "mm"), Quantity(height / depth, "ratio")
    )


def disc_height_and_depth(above: Points, below: Points, lateral: Points) -> tuple[float, float]:
    """Height and depth of the gap between two end-plates in mm.

    Height is the mean of front and back (Dabbs), taken at right angles to the plane midway between both end-plates, so
    that a slipped vertebra does not lengthen it (Frobin et al. 1997).

    Args:
        above: (2, 3) mm, from front to back.
        below: (2, 3) mm, from front to back.
        lateral: (3,) unit vector at right angles to the sagittal section.
    """
    gaps, along = below - above, (above[1] - above[0]) + (below[1] - below[0])
    across = np.cross(along, lateral)
    across = across / np.linalg.norm(across)
    depths = np.linalg.norm([above[1] - above[0], below[1] - below[0]], axis=1)
    return abs(float((gaps @ across).mean())), float(depths.mean())


def _canal(subregions: NDArray[np.uint8], column: _Column, grid: Grid) -> tuple[CanalMeasures, ...]:
    canal = Canal.of(subregions, grid.spacing)
    measured = []
    for structure in column.structures:
        section = column.sections.get(structure.segment_number)
        if section is None:
            continue
        backwards = (section.corners[[1, 2]] - section.corners[[0, 3]]).sum(0)
        found = canal.measure_behind(section.centre, backwards / np.linalg.norm(backwards))
        if found is not None:
            diameter, area = found
            measured.append(CanalMeasures(structure.label, Quantity(diameter, "mm"), Quantity(area, "mm2")))
    return tuple(measured)


def _lordoses(column: _Column) -> tuple[Lordosis, ...]:
    found = []
    for (upper, upper_plate), (lower, lower_plate) in LORDOSES:
        above, below = column.at(upper), column.at(lower)
        if above is not None and below is not None:
            angle = _inclination(above.flat_plate(upper_plate)) - _inclination(below.flat_plate(lower_plate))
            found.append(Lordosis(upper, lower, Quantity((angle + 180) % 360 - 180, "deg")))
    return tuple(found)


def _inclination(plate: Points) -> float:
    """By how many degrees the front of an end-plate, (2, 2) (P, I) mm, points towards the head."""
    front, back = plate
    return float(np.degrees(np.arctan2(back[1] - front[1], back[0] - front[0])))
