"""Names for the vertebrae: what is measured of the column, and what `models.numbering` decides on it.

The evidences and their weights are a table in `models.spineps.evidence`. Where a pack has a labelling network, the
likeliest path through what it says, held by the same landmarks, is one of them.

The axis is known by its dens: taller than the next bodies by half, and narrow on top or larger. Where it and the sacrum
cannot both be right, the sacrum counts: it is a structure of its own, the axis but a shape. A step between
neighbours that is far longer than those beside it hides a vertebra that was not found; it is counted all the same.
Label numbers are those of SPINEPS: 1–7 C1–C7, 8–19 T1–T12, 28 T13, 20–25 L1–L6, 26 the sacrum.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.contracts import BodyRegion, Numbering
from models.numbering import Decision, decide
from models.spineps.evidence import Landmarks, Seen, evidences_of
from models.spineps.frame import Spacing
from models.spineps.label_path import LabelPath, Scores, find_path

BODY, SACRUM, CORD, CANAL = 49, 26, 60, 61
CHAIN = (*(f"C{n}" for n in range(1, 8)), *(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6)))
LABEL_OF = {**{level: number for number, level in enumerate(CHAIN, start=1)}, "L6": 25, "T13": 28}
AXIS, LAST = CHAIN.index("C2"), CHAIN.index("L5")
DENS_TALL, DENS_NARROW = 1.4, 0.8  # the axis against those below, and its upper third against its lower
BELOW = 3  # vertebrae below that the axis is held against: one of them may be torn too
# Where a torn mask hides how narrow it is: its area in the slice against theirs, together with its height (unless the
# field cuts it) and alone. Those below are not deep.
DENS_LARGE, DENS_LARGER, CERVICAL_DEPTH_MM = 1.25, 1.7, 22.0
DENS_NOT_SMALLER, DENS_DEEP = 1.1, 0.62  # a wisp of false bone is tall too: area and depth against theirs, at least
MIDDLE_MM = 5.0  # on either side of a body's centre: slices that may show the dens
EXTENT = (1, 99)  # percentiles between which a body's height lies
SACRUM_MM3 = 1500.0
HIDDEN_STEP = 1.6  # of the steps beside it: a step this long has a vertebra in it that was not found
MOST_HIDDEN = 2  # more than these cannot be counted
UNUSUAL = 1  # vertebrae more or less than usual between C2 and the sacrum that anatomy or one mistake explains
SURE_OF_A_GAP = 0.8  # that as many vertebrae as were counted were missed, for each of them; our estimate
SURE_OF_ONE_LANDMARK = 0.9  # where another contradicts it; our estimate
SURE_OF_UNUSUAL = 0.9  # where a network finds a column that few have; our estimate
FEWEST_FOR_CORD, CORD_FILLS = 3, 0.8  # vertebrae beside its end; rows that it fills between its ends
NO_LANDMARK = "numbering {}: no landmark (dens, sacrum) in view"


@dataclass(frozen=True)
class BodyShape:
    """Of a vertebral body.

    centre: (P, I, R) in mm. height, depth: in mm, along the spine and the mean across it, in a slice near the middle.
    narrowing: the depth of its upper third as a share of that of its lower. has_body: else the whole vertebra was
    measured instead. cut: it reaches the upper edge of the field.
    """

    centre: tuple[float, float, float]
    height: float
    narrowing: float
    depth: float = 20.0
    has_body: bool = True
    cut: bool = False


@dataclass(frozen=True)
class Levels:
    """names: from the head down, None where unknown; factor: the probability of the whole numbering, 1 where it is
    unknown; warnings: a sentence each.
    """

    names: tuple[str | None, ...]
    numbering: Numbering
    factor: float
    warnings: tuple[str, ...] = ()


def shapes_of(vertebrae: NDArray[np.uint16], subregions: NDArray[np.uint8], spacing: Spacing) -> tuple[BodyShape, ...]:
    """Measure the bodies of vertebrae 1…n, (P, I, R), along the spine's course; one without a body counts with all
    it has.
    """
    masks = [
        _body(vertebrae[box] == number, subregions[box], [along.start for along in box], spacing)
        for number, box in enumerate(ndimage.find_objects(vertebrae), start=1)
        if box is not None
    ]
    centres = np.array([mask.points.mean(0) for mask in masks]).reshape(-1, 3)
    shapes = []
    for index, mask in enumerate(masks):
        upper = index if index + 1 < len(masks) else max(index - 1, 0)
        course = centres[min(upper + 1, len(masks) - 1), :2] - centres[upper, :2]
        length = float(np.linalg.norm(course))
        down = course / length if length else np.array([0.0, 1.0])
        shapes.append(_shape(mask, centres[index], down, spacing))
    return tuple(shapes)


@dataclass(frozen=True)
class _Body:
    """The voxels of a body, or of a whole vertebra where none of it is seen: (n, 3) (P, I, R) mm."""

    points: NDArray[np.float64]
    has_body: bool


def _body(whole: NDArray[np.bool_], subregions: NDArray[np.uint8], first: list[int], spacing: Spacing) -> _Body:
    body = whole & (subregions == BODY)
    return _Body((np.argwhere(body if body.any() else whole) + first) * np.array(spacing), bool(body.any()))


def _shape(body: _Body, centre: NDArray[np.float64], down: NDArray[np.float64], spacing: Spacing) -> BodyShape:
    """Measure the tallest of the slices around the middle: the dens may lie in one of them only."""
    off = np.abs(body.points[:, 2] - float(centre[2]))
    slices = np.unique(body.points[off <= max(MIDDLE_MM, float(np.min(off))), 2])
    cut = bool(body.points[:, 1].min() < spacing[1] / 2)
    shapes = []
    for place in slices:
        along = body.points[body.points[:, 2] == place, :2] @ down
        top, bottom = (float(end) for end in np.percentile(along, EXTENT))
        height = bottom - top + spacing[1]
        third, pixel = height / 3, spacing[0] * spacing[1]
        ends = np.count_nonzero(along < top + third), np.count_nonzero(along > bottom - third)
        middle = (float(centre[0]), float(centre[1]), float(centre[2]))
        narrowing = float(ends[0]) / max(float(ends[1]), 1.0)
        shapes.append(BodyShape(middle, height, narrowing, len(along) * pixel / height, body.has_body, cut))
    return max(shapes, key=lambda shape: shape.height)


def sees_sacrum(subregions: NDArray[np.uint8], shapes: Sequence[BodyShape], spacing: Spacing) -> bool:
    """Whether there is a sacrum, below the last vertebra."""
    sacrum = subregions == SACRUM
    if np.count_nonzero(sacrum) * float(np.prod(spacing)) < SACRUM_MM3 or not shapes:
        return False
    rows = np.repeat(np.arange(sacrum.shape[1]), sacrum.sum((0, 2)))
    return float(np.median(rows)) * spacing[1] > shapes[-1].centre[1]


def find_axis(shapes: Sequence[BodyShape]) -> int | None:
    """Which vertebra is C2: the first, or the second where an atlas lies on it; None where no dens is seen.

    >>> c3, c2 = BodyShape((0, 60, 0), 12, 1.0), BodyShape((0, 35, 0), 32, 0.6)
    >>> find_axis([c2, c3]), find_axis([c3, c3])
    (0, None)
    """
    for index in range(min(2, len(shapes) - 1)):
        shape, below = shapes[index], shapes[index + 1 : index + 1 + BELOW]
        heights, depths = (np.array([getattr(other, side) for other in below]) for side in ("height", "depth"))
        taller, deeper = shape.height / float(np.median(heights)), shape.depth / float(np.median(depths))
        larger = shape.height * shape.depth / float(np.median(heights * depths))
        if larger < DENS_NOT_SMALLER or deeper < DENS_DEEP:
            continue
        narrow = taller > DENS_TALL and shape.narrowing < DENS_NARROW
        large = larger > DENS_LARGER or (larger > DENS_LARGE and taller > DENS_TALL and not shape.cut)
        if narrow or (large and float(np.median(depths)) < CERVICAL_DEPTH_MM):
            return index
    return None


def name_levels(
    shapes: Sequence[BodyShape],
    *,
    sacrum: bool,
    body_region: BodyRegion | None,
    said: Mapping[str, Scores] | None = None,
) -> Levels:
    """Name vertebrae by no more than a sacrum, the region and a network; see `decide_levels`."""
    return decide_levels(shapes, Landmarks(sacrum, body_region, said=said))


def decide_levels(shapes: Sequence[BodyShape], landmarks: Landmarks) -> Levels:
    """Name vertebrae that stand in order from the head down."""
    if not shapes:
        return Levels((), "unknown", 1.0, (NO_LANDMARK.format("unknown"),))
    axis, places, warnings = _count(shapes, sacrum=landmarks.sacrum)
    path = _network_path(landmarks, places, axis)
    decision = decide(places, evidences_of(Seen(_steps(shapes, places), axis, landmarks, path)))
    certainty = SURE_OF_A_GAP ** (places[-1] + 1 - len(places))
    certainty *= SURE_OF_ONE_LANDMARK if any("counted from the sacrum" in warning for warning in warnings) else 1.0
    certainty *= SURE_OF_UNUSUAL if path is not None and decision.best.unusual else 1.0
    decision = replace(decision, probability=decision.probability * certainty)
    seen = axis is not None or landmarks.sacrum
    numbering = decision.numbering(landmark=seen and landmarks.lower_end.kind != "doubtful")
    warnings = (*warnings, *_doubts(decision, landmarks, numbering, seen=seen, count=places[-1] + 1, path=path))
    if numbering == "unknown":
        return Levels((None,) * len(shapes), "unknown", 1.0, warnings)
    return Levels(decision.best.names, numbering, decision.probability, warnings)


def _steps(shapes: Sequence[BodyShape], places: Sequence[int]) -> list[float | None]:
    """Steps from one to the next in mm; None where one was missed between, or one has no body."""
    return [
        math.dist(one.centre, other.centre) if below == above + 1 and one.has_body and other.has_body else None
        for one, other, above, below in zip(shapes, shapes[1:], places, places[1:], strict=False)
    ]


def _doubts(
    decision: Decision, landmarks: Landmarks, numbering: Numbering, *, seen: bool, count: int, path: LabelPath | None
) -> list[str]:
    """What is to be said of a numbering."""
    doubts = []
    if landmarks.lower_end.kind == "doubtful":
        doubts.append("numbering doubtful: a disc lies in the sacrum, which may hold the lowest vertebra")
    if landmarks.lower_end.kind == "split":
        doubts.append("the lowest vertebra was drawn as sacrum; it was parted from it at the disc below it")
    if path is not None and numbering != "unknown" and decision.best.unusual:
        names = ", ".join(decision.best.unusual)
        doubts.append(f"unusual count of vertebrae: {names}, as the labelling network has it")
    if numbering == "unknown":
        doubts.append(NO_LANDMARK.format("unknown") if not seen else f"numbering unknown{decision.sentence[18:]}")
    elif not seen:
        why = f"{LAST - AXIS + 1} vertebrae are C2 to L5" if count == LAST - AXIS + 1 else ""
        why = why or ("the lowest vertebra is taken for L5" if decision.best.above_s1 == 0 else "by sizes and the cord")
        head = NO_LANDMARK.format("assumed")
        doubts.append(f"{head}: by the labelling network" if path is not None else f"{head}, {why}")
    elif decision.sentence and landmarks.lower_end.kind != "doubtful":
        doubts.append(decision.sentence)
    return doubts


def cord_end(subregions: NDArray[np.uint8], shapes: Sequence[BodyShape], spacing: Spacing) -> float | None:
    """Where the cord ends among the bodies' centres, in places; None unless cord is seen above and canal below."""
    cord, canal = ((subregions == label).any((0, 2)) for label in (CORD, CANAL))
    heights = np.array([shape.centre[1] for shape in shapes])
    if len(shapes) < FEWEST_FOR_CORD or not cord.any() or not canal.any():
        return None
    rows = np.flatnonzero(cord)
    end, step = rows[-1] * spacing[1], float(np.median(np.diff(heights)))
    seen_above = (rows[-1] - rows[0]) * spacing[1] > step and np.count_nonzero(cord) > CORD_FILLS * np.ptp(rows)
    free_below = np.flatnonzero(canal)[-1] * spacing[1] > end + 2 * step
    if not seen_above or not free_below or not heights[0] <= end <= heights[-1]:
        return None
    places, _ = column_places(shapes, None)
    return float(np.interp(end, heights, places))


def _count(shapes: Sequence[BodyShape], *, sacrum: bool) -> tuple[int | None, list[int], tuple[str, ...]]:
    """Which vertebra is C2, the place of each in the column, and what is doubtful about that."""
    axis = find_axis(shapes)
    places, warnings = column_places(shapes, axis)
    if axis is None or not sacrum:
        return axis, places, warnings
    found, expected = places[-1] - places[axis] + 1, LAST - AXIS + 1
    if found == expected:
        return axis, places, warnings
    if abs(found - expected) <= UNUSUAL:
        sentence = f"numbering doubtful: {found} vertebrae from C2 to the sacrum, {expected} expected"
        return axis, places, (*warnings, sentence)
    places, warnings = column_places(shapes, None)
    sentence = f"numbering doubtful: what looks like C2 is {found} vertebrae above the sacrum, {expected} expected"
    return None, places, (*warnings, f"{sentence}; counted from the sacrum")


def _network_path(landmarks: Landmarks, places: Sequence[int], axis: int | None) -> LabelPath | None:
    """The labelling network's likeliest path at the places found. Of a vertebra that was missed nothing is said."""
    if not landmarks.said:
        return None
    heads = {}
    for head, rows in landmarks.said.items():
        heads[head] = np.full((places[-1] + 1, rows.shape[1]), 1 / rows.shape[1])
        heads[head][list(places)] = rows
    certain = landmarks.sacrum and landmarks.lower_end.kind != "doubtful"
    path = find_path(heads, axis=None if axis is None else places[axis], sacrum=certain)
    return None if path is None else LabelPath(tuple(path.names[place] for place in places), path.certainty)


def column_places(shapes: Sequence[BodyShape], axis: int | None) -> tuple[list[int], tuple[str, ...]]:
    """Place of each vertebra in the column, counting those that were missed between two.

    The axis' centre lies high, in the root of its dens: the step from it to C3 tells nothing. Nor does a step to what
    has no body in view: a spinous process at the border lies far behind.
    """
    centres = np.array([shape.centre for shape in shapes]).reshape(-1, 3)
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    first = 0 if axis is None else axis + 1
    places, warnings = [0] if len(shapes) else [], []
    for index, step in enumerate(steps):
        beside = [steps[i] for i in (index - 1, index + 1) if first <= i < len(steps)]
        usual = float(np.mean(beside)) if beside else float(step)
        comparable = index >= first and shapes[index].has_body and shapes[index + 1].has_body
        long = comparable and step > HIDDEN_STEP * usual
        missed = min(MOST_HIDDEN, round(step / usual) - 1) if long else 0
        if missed:
            warnings.append(
                f"{missed} vertebra(e) between the {index + 1}. and the {index + 2}. from the top not found"
            )
        places.append(places[-1] + 1 + missed)
    return places, tuple(warnings)
