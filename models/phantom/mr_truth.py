"""What is true of a person of an MR phantom: the measurements of the anatomy itself, without a single voxel.

Bodies are the outlines in the midline that the parameters give (`anatomy`, `solids`). A side's line runs
through its rims (docs/measurements.md), found by plain least squares on the outline itself; an end-plate reaches half
its thickness further. The canal is cut along lines through the outlines that the painter is
given, so that what lies over the canal narrows it.

Frame: the phantom's (x, u, v) in mm, to the left, backwards, to the feet.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from skimage.measure import points_in_poly

from models.phantom.anatomy import Vertebra, draw_whole_spine
from models.phantom.mr import REGIONS, MrRegion, VolumeGrid, draw_grid
from models.phantom.mr_column import CANAL, CORD, Column
from models.phantom.mr_plane import Plane, PlaneGrid
from models.phantom.mr_surroundings import Surroundings
from models.phantom.mr_tissues import Tissue
from models.phantom.mr_vertebra import Look
from models.phantom.solids import AXIS_LOWER, Outline, axis_outline, body_outline, ellipse, moved_aside

Points = NDArray[np.float64]
# Points of a body's outline where one side ends and the next begins: upper, posterior, lower, anterior.
SIDES = (0, 10, 16, 26, 32)
AXIS_MM = 9.0  # of its walls above its lower end-plate
OUTLINE_STEP_MM = 0.1
ENDS, RIM, MIDDLE = 0.08, 0.1, 0.1  # shares of a side: rounded ends that do not count; its rims; around its middle
FIRST_CANAL_SAMPLE, SAMPLES_PER_VERTEBRA = 3 * 8, 8  # the canal begins three vertebrae above C2
LINES_MM = (-3.0, -1.5, 0.0, 1.5, 3.0)  # lines across the canal, along its course; their mean counts
LINE_STEP_MM, SECTION_STEP_MM = 0.05, 1.0
# (level, 0 for the upper and 1 for the lower end-plate) above and below
CURVES = ((("C2", 1), ("C7", 1)), (("T4", 0), ("T12", 1)), (("L1", 0), ("S1", 0)))


@dataclass(frozen=True)
class BodyTruth:
    """A body with its end-plates in the plane through its centre at right angles to its lateral axis.

    corners: (4, 3) mm: upper front, upper back, lower back, lower front. middles: (2, 3) of the end-plates.
    lateral: (3,) unit vector towards the left. inclinations: by how many degrees the fronts of upper and lower
    end-plate point towards the head, in the sagittal plane.
    """

    corners: Points
    middles: Points
    lateral: Points
    inclinations: tuple[float, float]

    @property
    def heights(self) -> tuple[float, float, float]:
        """Anterior, middle and posterior height in mm."""
        front, back = self.corners[3] - self.corners[0], self.corners[2] - self.corners[1]
        middle = self.middles[1] - self.middles[0]
        return float(np.linalg.norm(front)), float(np.linalg.norm(middle)), float(np.linalg.norm(back))

    @property
    def wedge_angle(self) -> float:
        """Degrees, positive where the body is lower in front."""
        upper, lower = self.corners[1] - self.corners[0], self.corners[2] - self.corners[3]
        return float(np.degrees(np.arctan2(np.cross(upper, lower) @ self.lateral, upper @ lower)))


@dataclass(frozen=True)
class PersonTruth:
    """What is true of a person; keys are levels, for discs that of the vertebra above.

    A body that a lesion of its marrow bursts has no outline of its own: it is left out, with what hangs on it.
    listheses: offset in mm and percent. discs: height in mm and index. canal: diameter in mm and area in mm².
    lordoses: degrees, by upper and lower level.
    """

    bodies: Mapping[str, BodyTruth]
    listheses: Mapping[str, tuple[float, float]]
    discs: Mapping[str, tuple[float, float]]
    canal: Mapping[str, tuple[float, float]]
    lordoses: Mapping[tuple[str, str], float]


def drawn_person(
    seed: int, *, region: MrRegion | None = None, isotropic: bool = False
) -> tuple[VolumeGrid, Column, tuple[str, ...]]:
    """Draw the field of view, the column and the findings of `mr_phantom` of the same arguments, and paint nothing."""
    rng = np.random.default_rng([seed, 21])
    drawn_region = REGIONS[int(rng.choice(4, p=[0.22, 0.18, 0.5, 0.1]))]
    if rng.random() >= 0.7:
        rng.random()
    spine = draw_whole_spine(rng)
    grid = draw_grid(rng, spine, region or drawn_region, isotropic=isotropic)
    return grid, Column.draw(rng, spine, Surroundings.draw(rng, spine, grid.plane)), spine.findings


def true_measures(column: Column, levels: Collection[str], *, pixel_mm: float = 0.0) -> PersonTruth:
    """Measure a person's anatomy at some levels, each with what follows it downwards.

    Args:
        column: of the person.
        levels: to be measured.
        pixel_mm: of the grid that the person is painted on, where no end-plate is thinner than a pixel.
    """
    # The sacrum's parts are one: of S1 only the upper end-plate means anything.
    chain = [item for item in column.spine.vertebrae if item.level[0] != "S" or item.level == "S1"]
    looks = dict(zip((item.level for item in column.spine.vertebrae), column.looks, strict=True))
    bodies = {
        item.level: _body(item, max(pixel_mm, column.person.end_plate_mm(item)))
        for item in chain
        if not _bursts(item, looks[item.level])
    }
    pairs = [(a.level, b.level) for a, b in zip(chain, chain[1:], strict=False) if {a.level, b.level} <= bodies.keys()]
    followed = [(above, bodies[above], bodies[below]) for above, below in pairs]
    places = [place for place, item in enumerate(chain) if item.level in levels and item.level != "S1"]
    return PersonTruth(
        bodies={level: body for level, body in bodies.items() if level in levels},
        listheses={level: _listhesis(upper, lower) for level, upper, lower in followed if level in levels},
        discs={level: _disc(upper, lower) for level, upper, lower in followed if level in levels},
        canal={chain[place].level: size for place, size in zip(places, _canal(column, places), strict=True)},
        lordoses={
            (upper, lower): bodies[upper].inclinations[above] - bodies[lower].inclinations[below]
            for (upper, above), (lower, below) in CURVES
            if {upper, lower} <= bodies.keys() & set(levels)
        },
    )


def _body(vertebra: Vertebra, end_plate: float) -> BodyTruth:
    if vertebra.level == "C2":
        sides = _axis_sides(vertebra)
    else:
        outline = body_outline(vertebra.size, vertebra.shape)
        outline = np.concatenate([outline, outline[:1]])
        sides = [outline[start : stop + 1] for start, stop in zip(SIDES, SIDES[1:], strict=False)]
    upper, posterior, lower, anterior = (_dense(side) for side in sides)
    corners, middles = _four_sides(
        [moved_aside(upper, end_plate / 2), posterior, moved_aside(lower, end_plate / 2), anterior]
    )
    x, placed = vertebra.to_phantom(0.0, np.concatenate([corners, middles]))
    points = np.column_stack([np.full(len(placed), x), placed])
    further, beside = vertebra.to_phantom(1.0, np.zeros((1, 2)))
    lateral = np.array([further, *beside[0]]) - vertebra.centre
    lateral /= np.linalg.norm(lateral)
    inclinations = tuple(
        float(np.degrees(np.arctan2(placed[back, 1] - placed[front, 1], placed[back, 0] - placed[front, 0])))
        for front, back in ((0, 1), (3, 2))
    )
    flat = points - ((points - vertebra.centre) @ lateral)[:, None] * lateral
    return BodyTruth(flat[:4], flat[4:], lateral, (inclinations[0], inclinations[1]))


def _bursts(vertebra: Vertebra, look: Look) -> bool:
    """Whether a lesion of the marrow reaches beyond the body's outline."""
    if look.marrow_lesion is None or vertebra.level == "C2":
        return False
    u, v, _, radius = look.marrow_lesion
    edge = ellipse((float(u), float(v)), radius, radius)
    return not points_in_poly(edge, body_outline(vertebra.size, vertebra.shape)).all()


def _axis_sides(vertebra: Vertebra) -> list[Outline]:
    """The lowest part of the axis, below its dens, closed by a straight upper side."""
    outline = axis_outline(vertebra)
    lower, rest = outline[:AXIS_LOWER], outline[AXIS_LOWER:]
    top = lower[:, 1].max() - AXIS_MM
    walls = [rest[(rest[:, 1] > top) & (np.sign(rest[:, 0]) == side)] for side in (1, -1)]
    posterior, anterior = walls[0][::-1], walls[1][::-1]
    posterior, anterior = np.concatenate([posterior, lower[-1:]]), np.concatenate([lower[:1], anterior])
    upper = np.array([[anterior[-1, 0], top], [posterior[0, 0], top]])
    return [upper, posterior, lower[::-1], anterior]


def _dense(side: Outline) -> Outline:
    """Points along a line in equal steps."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(side, axis=0), axis=1))])
    steps = np.arange(0, along[-1], OUTLINE_STEP_MM)
    return np.stack([np.interp(steps, along, side[:, axis]) for axis in (0, 1)], 1)


def _four_sides(sides: Sequence[Outline]) -> tuple[Outline, Outline]:
    """Corners (4, 2), where the sides' lines meet, and the middles (2, 2) of the upper and the lower side."""
    corners = np.array([side[0] for side in sides])
    for _ in range(20):
        lines = [_line_of(side, corners[k], corners[(k + 1) % 4]) for k, side in enumerate(sides)]
        corners = np.array([_meeting(lines[k - 1], lines[k]) for k in range(4)])
    return corners, np.array([_middle_of(sides[k], corners[k], corners[k + 1]) for k in (0, 2)])


def _across(side: Outline, start: Points, end: Points) -> tuple[Points, Points, Points]:
    """Share of the way along a side, and distance off it, of points; and the direction of that distance."""
    edge = end - start
    normal = np.array([edge[1], -edge[0]]) / np.linalg.norm(edge)
    return (side - start) @ edge / (edge @ edge), (side - start) @ normal, normal


def _line_of(side: Outline, start: Points, end: Points) -> tuple[Points, Points]:
    """The line through both rims of a side, where it meets the ends of the side before and after."""
    t, off, normal = _across(side, start, end)
    inside = (t > ENDS) & (t < 1 - ENDS)
    rims = np.polyval(np.polyfit(t[inside], off[inside], 2), [RIM, 1 - RIM])
    slope = (rims[1] - rims[0]) / (1 - 2 * RIM)
    first = rims[0] - RIM * slope
    return start + first * normal, end + (first + slope) * normal


def _meeting(first: tuple[Points, Points], second: tuple[Points, Points]) -> Points:
    """Where two lines cross, each given by two points."""
    d, e = first[1] - first[0], second[1] - second[0]
    along = np.linalg.solve(np.stack([d, -e], 1), second[0] - first[0])
    return np.asarray(first[0] + along[0] * d)


def _middle_of(side: Outline, start: Points, end: Points) -> Points:
    t, off, normal = _across(side, start, end)
    return np.asarray((start + end) / 2 + off[np.abs(t - 0.5) < MIDDLE].mean() * normal)


def _listhesis(upper: BodyTruth, lower: BodyTruth) -> tuple[float, float]:
    front, back = lower.corners[0], lower.corners[1]
    depth = float(np.linalg.norm(front - back))
    offset = float((upper.corners[2] - back) @ (front - back)) / depth
    return offset, 100 * offset / depth


def _disc(upper: BodyTruth, lower: BodyTruth) -> tuple[float, float]:
    above, below = upper.corners[[3, 2]], lower.corners[[0, 1]]
    middle = np.cross(above[1] - above[0] + below[1] - below[0], upper.lateral + lower.lateral)
    height = abs(float((below - above).mean(0) @ middle)) / float(np.linalg.norm(middle))
    depth = float(np.mean(np.linalg.norm([above[1] - above[0], below[1] - below[0]], axis=1)))
    return height, height / depth


@dataclass
class _Outlines(Plane):
    """A plane that keeps what it is given instead of painting it."""

    kept: list[tuple[Outline, int]] = field(default_factory=list)
    boxes: list[tuple[float, ...]] = field(default_factory=list)  # of the kept: least u and v, greatest u and v

    def fill(self, uv: Outline, tissue: Tissue, structure: int = 0, vertebra: int = 0) -> None:  # noqa: ARG002
        """Keep a closed outline."""
        outline = np.asarray(uv)
        self.kept.append((outline, structure))
        self.boxes.append((*outline.min(0), *outline.max(0)))

    def stroke(self, uv: Outline, width_mm: float, tissue: Tissue, structure: int = 0, vertebra: int = 0) -> None:
        """End-plates and clefts do not reach the canal behind the middle of a body."""

    def void(self, uv: Outline) -> None:
        """Metal takes the signal, not what is true."""

    def structure_at(self, points: Points) -> NDArray[np.intp]:
        """The structure at points (n, 2) in mm: of the outline that was given last."""
        found = np.zeros(len(points), np.intp)
        boxes = np.array(self.boxes).reshape(-1, 4)
        near = (boxes[:, :2] <= points.max(0)).all(1) & (boxes[:, 2:] >= points.min(0)).all(1)
        for index in np.flatnonzero(near):
            outline, structure = self.kept[index]
            found[points_in_poly(points, outline)] = structure
        return found


def _canal(column: Column, places: Sequence[int]) -> list[tuple[float, float]]:
    """Diameter in the canal's middle and area of its cross-section, behind the middles of bodies."""
    course = column.canal
    ats = [FIRST_CANAL_SAMPLE + place * SAMPLES_PER_VERTEBRA for place in places]
    low = min((course.x[at] - course.half_width[at] for at in ats), default=0.0)
    high = max((course.x[at] + course.half_width[at] for at in ats), default=0.0)
    xs = np.arange(low, high + SECTION_STEP_MM, SECTION_STEP_MM)
    chords = np.array([_chords(column, ats, float(x)) for x in xs])
    sizes = []
    for at, own in zip(ats, chords.T, strict=True):
        step = np.array([course.x[at + 1] - course.x[at - 1], *(course.uv[at + 1] - course.uv[at - 1])])
        upright = float(np.linalg.norm(step[1:]) / np.linalg.norm(step))
        middle = float(np.interp(course.x[at], xs, own))
        sizes.append((middle, float(own.sum()) * SECTION_STEP_MM * upright))
    return sizes


def _chords(column: Column, ats: Sequence[int], x: float) -> list[float]:
    """Mean lengths of lines across the canal inside it, in the plane at x mm."""
    course = column.canal
    plane = _Outlines(PlaneGrid((1, 1), (1.0, 1.0), (0.0, 0.0)), x, np.zeros((1, 1), np.uint8))
    column.paint(plane)
    lengths = []
    for at in ats:
        across = course.backwards[at]
        line = course.uv[at] + np.arange(-4, float(course.depth[at]) + 4, LINE_STEP_MM)[:, None] * across
        lines = [line + shift * np.array([-across[1], across[0]]) for shift in LINES_MM]
        inside = [np.isin(plane.structure_at(points), (CORD, CANAL)).sum() for points in lines]
        lengths.append(float(np.mean(inside)) * LINE_STEP_MM)
    return lengths
