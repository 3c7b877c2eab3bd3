"""Measurements on the structures of an MR volume, in millimetres and degrees.

Every vertebra is measured in the sagittal slice that its own body's centre lies in, so that a scoliotic spine is not
cut by one plane; lengths along the spine are freed of its tilt to the side. Bodies count with their end-plates.
Definitions and a drawing: docs/measurements.md.

Frame: (P, I) in mm within a slice, towards the back and the feet; the front of a body is on the left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.body_outline import BodyOutline, fit_body_outline
from models.contracts import SpineStructure, VolumeResult
from models.quantity import Lordosis, Quantity
from models.spineps.canal import Canal
from models.spineps.frame import Orientation, Spacing

BODY, CORE, DENS, ENDPLATE, DISC, SACRUM = 49, 50, 51, 62, 100, 26
BODIES = (BODY, CORE, DENS)
ENDPLATE_REACH_MM = 4.0  # an end-plate further than this from every body belongs to none
LEAST_OVERLAP = 0.88  # of a body with its four-sided outline
WITHOUT_HEIGHTS = frozenset({"C1", "C2"})  # no body with two end-plates
# (level, end-plate) above and below, as is customary: C2–C7, T4–T12, L1–S1.
LORDOSES = ((("C2", "lower"), ("C7", "lower")), (("T4", "upper"), ("T12", "lower")), (("L1", "upper"), ("S1", "upper")))
S1_REACH_MM = 3.5  # of the sacrum's edge from the lowest disc, to be its end-plate
LEAST_PLATE_MM = 12.0
Points = NDArray[np.float64]


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
class Section:
    """A body in its own sagittal slice.

    plates: (2, 2, 2) upper and lower end-plate, each from front to back, (P, I) mm; middle_height: mm, upright: by how
    much lengths along the spine shrink when its tilt to the side is taken out; centre: (P, I, R) mm.
    """

    structure: SpineStructure
    plates: Points
    middle_height: float
    upright: float
    centre: Points
    slice_index: int

    def inclination(self, plate: str) -> float:
        """By how many degrees the front of an end-plate points towards the head."""
        front, back = self.plates[0 if plate == "upper" else 1]
        return float(np.degrees(np.arctan2(back[1] - front[1], back[0] - front[0])))


def measure_volume(result: VolumeResult, affine: NDArray[np.float64]) -> VolumeMorphometry:
    """Measure vertebrae, discs, canal and curves.

    Args:
        result: from the engine.
        affine: (4, 4) voxel index (slice, row, column, 1) → LPS mm of its grid.
    """
    orientation = Orientation.of(affine)
    step = np.linalg.norm(affine[:3, :3], axis=0)
    spacing = orientation.spacing((float(step[0]), float(step[1]), float(step[2])))
    vertebrae = orientation.apply(result.vertebra_labelmap)
    labels = np.zeros(len(result.substructures) + 1, np.uint8)
    for structure in result.substructures:
        labels[structure.segment_number] = structure.spineps_label
    subregions = labels[orientation.apply(result.subregion_labelmap)]
    column = [s for s in result.vertebrae if s.kind == "vertebra" and s.spineps_label != SACRUM]
    bodies = _bodies_with_end_plates(vertebrae, subregions, column, spacing)
    sections, warnings = _sections(bodies, column, spacing)
    sacral = _sacral_plate(subregions, sections, spacing)
    return VolumeMorphometry(
        vertebrae=_vertebrae(column, sections, sacral),
        discs=_discs([s for s in result.vertebrae if s.kind == "disc"], sections, sacral),
        canal=_canal(subregions, sections, spacing),
        lordoses=_lordoses(sections, sacral),
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
    bodies: NDArray[np.uint16], column: Sequence[SpineStructure], spacing: Spacing
) -> tuple[dict[int, Section], list[str]]:
    """Cut each body in its own slice; those that the field of view cuts are left out with a sentence."""
    numbers = [structure.segment_number for structure in column]
    centres = {
        number: np.array(centre) * spacing
        for number, centre in zip(numbers, ndimage.center_of_mass(bodies > 0, bodies, numbers), strict=True)
        if np.isfinite(centre).all()
    }
    seen = [structure for structure in column if structure.segment_number in centres]
    sections: dict[int, Section] = {}
    warnings: list[str] = []
    for index, structure in enumerate(seen):
        number = structure.segment_number
        above, below = seen[max(index - 1, 0)], seen[min(index + 1, len(seen) - 1)]
        along = centres[below.segment_number] - centres[above.segment_number]
        along = along if np.any(along) else np.array([0.0, 1.0, 0.0])
        slice_index = int(np.clip(round(centres[number][2] / spacing[2]), 0, bodies.shape[2] - 1))
        mask = (bodies[:, :, slice_index] == number).T
        edges = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
        outline = None if edges else fit_body_outline(mask, along[:2], np.array(spacing[:2]))
        if outline is None or (outline.overlap < LEAST_OVERLAP and structure.level not in WITHOUT_HEIGHTS):
            why = "is cut by the field of view" if edges else "has no four-sided outline"
            warnings.append(f"{structure.label} {why}: its heights were not measured")
            continue
        sections[number] = _section(structure, outline, along, centres[number], slice_index)
    return sections, warnings


def _section(
    structure: SpineStructure, outline: BodyOutline, along: Points, centre: Points, slice_index: int
) -> Section:
    upper_front, upper_back, lower_back, lower_front = outline.corners
    plates = np.array([[upper_front, upper_back], [lower_front, lower_back]])
    upright = float(np.linalg.norm(along[:2]) / np.linalg.norm(along))
    return Section(structure, plates, outline.middle_height, upright, centre, slice_index)


def _sacral_plate(subregions: NDArray[np.uint8], sections: Mapping[int, Section], spacing: Spacing) -> Points | None:
    """Return the upper end-plate of S1 from front to back, (2, 2) (P, I) mm: the sacrum's edge at the lowest disc."""
    if not sections:
        return None
    last = sections[max(sections)]
    plane = subregions[:, :, last.slice_index]
    sacrum = plane == SACRUM
    front, back = last.plates[1]
    if not sacrum.any():
        return None
    edge = sacrum & ~ndimage.binary_erosion(sacrum)
    between = np.isin(plane, (DISC, ENDPLATE))
    distance = ndimage.distance_transform_edt(~between, sampling=spacing[:2])
    points = np.argwhere(edge & (distance <= S1_REACH_MM)) * spacing[:2]
    below = points[(points - (front + back) / 2) @ _downwards(front, back) > 0] if len(points) else points
    if len(below) < 4 or np.ptp(below @ _unit(back - front)) < LEAST_PLATE_MM:
        return None
    centre, direction = _line(below, _unit(back - front), spacing)
    along = (below - centre) @ direction
    # Edge voxels' centres lie half a voxel inside the sacrum.
    centre = centre - _downwards(front, back) * 0.5 * float(np.mean(spacing[:2]))
    return np.array([centre + along.min() * direction, centre + along.max() * direction])


def _line(points: Points, direction: Points, spacing: Spacing) -> tuple[Points, Points]:
    """Fit a line, without the points that leave it by more than a voxel and a half."""
    centre = points.mean(0)
    for _ in range(4):
        normal = np.array([-direction[1], direction[0]])
        off = (points - centre) @ normal
        kept = points[np.abs(off - np.median(off)) < 1.5 * max(spacing[:2])]
        centre = kept.mean(0)
        turned = np.linalg.svd(kept - centre)[2][0]
        direction = turned * np.sign(turned @ direction)
    return centre, direction


def _unit(vector: Points) -> Points:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))


def _downwards(front: Points, back: Points) -> Points:
    """The normal of an end-plate that points to the feet."""
    along = _unit(back - front)
    return np.array([-along[1], along[0]])


def _vertebrae(
    column: Sequence[SpineStructure], sections: Mapping[int, Section], sacral: Points | None
) -> tuple[VertebraMeasures, ...]:
    below_of = {a.segment_number: b.segment_number for a, b in zip(column, column[1:], strict=False)}
    measured = []
    for structure in column:
        number = structure.segment_number
        volume = Quantity(structure.volume_mm3, "mm3")
        section = sections.get(number)
        plain = VertebraMeasures(number, structure.label, volume)
        if section is None:
            measured.append(plain)
            continue
        below = sections.get(below_of.get(number, -1))
        plate = below.plates[0] if below else sacral if number == column[-1].segment_number else None
        offset, share = _listhesis(section, plate) if plate is not None else (None, None)
        if structure.level in WITHOUT_HEIGHTS:
            measured.append(
                VertebraMeasures(number, structure.label, volume, listhesis_offset=offset, listhesis_percent=share)
            )
            continue
        front, back = (float(np.linalg.norm(section.plates[1, side] - section.plates[0, side])) for side in (0, 1))
        wedge = _turn(section.inclination("lower") - section.inclination("upper"))
        measured.append(
            VertebraMeasures(
                number,
                structure.label,
                volume,
                anterior_height=Quantity(front * section.upright, "mm"),
                middle_height=Quantity(section.middle_height * section.upright, "mm"),
                posterior_height=Quantity(back * section.upright, "mm"),
                wedge_angle=Quantity(wedge, "deg"),
                listhesis_offset=offset,
                listhesis_percent=share,
            )
        )
    return tuple(measured)


def _listhesis(section: Section, plate: Points) -> tuple[Quantity, Quantity]:
    front, back = plate
    forwards = _unit(front - back)
    offset = float((section.plates[1, 1] - back) @ forwards)
    depth = float(np.linalg.norm(front - back))
    return Quantity(offset, "mm"), Quantity(100 * offset / depth, "percent")


def _discs(
    discs: Sequence[SpineStructure], sections: Mapping[int, Section], sacral: Points | None
) -> tuple[DiscMeasures, ...]:
    by_label = {section.structure.spineps_label: section for section in sections.values()}
    order = sorted(sections)
    measured = []
    for disc in discs:
        volume = Quantity(disc.volume_mm3, "mm3")
        above = by_label.get(disc.spineps_label - DISC)
        place = order.index(above.structure.segment_number) if above else -1
        below = sections[order[place + 1]] if above and place + 1 < len(order) else None
        facing = below.plates[0] if below else sacral if above and place + 1 == len(order) else None
        if above is None or facing is None:
            measured.append(DiscMeasures(disc.segment_number, disc.label, volume))
            continue
        gaps = np.linalg.norm(facing - above.plates[1], axis=1)
        depth = np.mean([np.linalg.norm(plate[1] - plate[0]) for plate in (above.plates[1], facing)])
        height = float(gaps.mean()) * above.upright
        measured.append(
            DiscMeasures(
                disc.segment_number,
                disc.label,
                volume,
                Quantity(height, "mm"),
                Quantity(height / float(depth), "ratio"),
            )
        )
    return tuple(measured)


def _canal(
    subregions: NDArray[np.uint8], sections: Mapping[int, Section], spacing: Spacing
) -> tuple[CanalMeasures, ...]:
    canal = Canal.of(subregions, spacing)
    measured = []
    for section in sections.values():
        backwards = _unit((section.plates[:, 1] - section.plates[:, 0]).sum(0))
        found = canal.measure_behind(section.centre, backwards)
        if found is not None:
            diameter, area = found
            measured.append(CanalMeasures(section.structure.label, Quantity(diameter, "mm"), Quantity(area, "mm2")))
    return tuple(measured)


def _lordoses(sections: Mapping[int, Section], sacral: Points | None) -> tuple[Lordosis, ...]:
    by_level = {section.structure.level: section for section in sections.values()}
    found = []
    for (upper, upper_plate), (lower, lower_plate) in LORDOSES:
        above, below = by_level.get(upper), by_level.get(lower)
        if above is None or (below is None and (lower != "S1" or sacral is None)):
            continue
        inclination = below.inclination(lower_plate) if below else _inclination(sacral)
        found.append(Lordosis(upper, lower, Quantity(_turn(above.inclination(upper_plate) - inclination), "deg")))
    return tuple(found)


def _inclination(plate: Points | None) -> float:
    if plate is None:
        return 0.0
    front, back = plate
    return float(np.degrees(np.arctan2(back[1] - front[1], back[0] - front[0])))


def _turn(degrees: float) -> float:
    return (degrees + 180) % 360 - 180
