"""The mid-sagittal section of a vertebral body: four curved sides fitted to its mask, finer than a voxel.

A section is taken at right angles to the body's own lateral axis, which follows the middles of its slices; so neither
scoliosis nor rotation lengthens it. The slices next to the middle are laid over each other along that axis and give
one contour. Each side is a parabola, fitted by least squares, because end-plates and walls are hollow; its line runs
from rim to rim. What leaves a side's course, an osteophyte, does not count.

Frames: a grid is (P, I, R); section points are (P, I) in mm within the slices; results are in LPS mm (translation
left out where only differences are used).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import polygon2mask
from skimage.measure import find_contours

from models.spineps.frame import Orientation, Spacing

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]

SMOOTHING_PX = 0.7  # takes the staircase out of a contour
LEAST_PIXELS = 64  # of the largest slice of a body
FULL_SLICE = 0.7  # share of the largest slice's area: only such slices tell the lateral axis
LIKE_THE_MIDDLE = 0.85  # share of the largest slice's area of a second slice that is always taken
MIDDLE_SHARE = 0.5  # of half the width: slices that are laid over each other
STEEPEST = 0.7  # tangent of the lateral axis against the slices' normal
# A side as the contour has it: UPPER from front to back, then round the body.
UPPER, POSTERIOR, LOWER, ANTERIOR = range(4)
ENDS = 0.08  # the rounded ends of a side do not count
RIM = 0.1  # where a side's rims are, from its ends; further out a mask's error would be blown up
MIDDLE = 0.1  # share of a side's length on either side of its middle
START_PERCENTILES = (8, 92)
MOST_LEAN_DEG = 45
START_TURNS_DEG = (-24, -12, 0, 12, 24)  # bodies lean: the fit that covers the mask best counts
ROUNDS = 8
BIWEIGHT = 6.0  # residuals, in spreads, that count no more
# What is known of a side before it is seen: its hollow as a share of its length, and how far bodies differ.
HOLLOW, HOLLOW_SPREAD = 0.05, 0.08
CONTOUR_ERROR_PX = 0.5


@dataclass(frozen=True)
class Grid:
    """A (P, I, R) grid in space.

    steps: (3, 3), a column per axis, LPS mm from a voxel to the next. first: (P, I) index of the first voxel of what is
    looked at, so that a part of a volume gives the same millimetres as the whole.
    """

    steps: Points
    first: tuple[int, int] = (0, 0)

    @staticmethod
    def of(affine: NDArray[np.float64]) -> "Grid":
        """The grid of a volume's affine after `Orientation.apply`."""
        orientation = Orientation.of(affine)
        signs = np.where(orientation.flipped, -1.0, 1.0)
        return Grid(np.asarray(affine[:3, list(orientation.order)] * signs, np.float64))

    def part(self, p: int, i: int) -> "Grid":
        """The grid of a part that begins at voxel (p, i)."""
        return Grid(self.steps, (p, i))

    @property
    def spacing(self) -> Spacing:
        """Distance between voxel centres along P, I and R in mm."""
        p, i, r = np.linalg.norm(self.steps, axis=0)
        return float(p), float(i), float(r)

    @property
    def pixel_mm(self) -> float:
        """The mean size of a voxel within a slice."""
        return (self.spacing[0] + self.spacing[1]) / 2

    def place(self, section_mm: Points, slice_index: float) -> Points:
        """(…, 2) (P, I) mm in a slice → (…, 3) LPS mm from the centre of the volume's first voxel."""
        in_plane = section_mm / self.spacing[:2]
        return np.asarray(in_plane @ self.steps[:, :2].T + slice_index * self.steps[:, 2])


@dataclass(frozen=True)
class Middle:
    """Where a body's middle is and how its lateral axis leaves the slices' normal.

    slice_index: fractional; slope: (2,) (P, I) mm per slice; half_width: mm.
    """

    slice_index: float
    slope: Points
    half_width: float

    def slices(self, mask: Mask, grid: Grid) -> list[int]:
        """The slices around the middle that show the body about as the middle does: two at least, if two do."""
        areas = mask.sum((0, 1))
        off = np.abs(np.arange(len(areas)) - self.slice_index)
        nearest = np.argsort(off)[:2]
        taken = (off * grid.spacing[2] <= MIDDLE_SHARE * self.half_width) & (areas > 0)
        taken[nearest[areas[nearest] >= LIKE_THE_MIDDLE * areas.max()]] = True
        return [int(index) for index in np.flatnonzero(taken)] or [int(np.argmax(areas))]


@dataclass(frozen=True)
class BodySection:
    """A body's mid-sagittal section.

    corners: (4, 2) (P, I) mm in the slices' plane: upper front, upper back, lower back, lower front.
    hollows: (4,) mm, how far each side's middle lies inside its line, in the order upper, posterior, lower, anterior.
    outline: (4, 3) the corners in LPS mm, in the plane at right angles to the lateral axis; middles: (2, 3) of the
        upper and lower end-plate with their hollows. lateral: (3,) unit vector towards the right.
    centre: (P, I, R) mm of the section's middle. overlap: the least Dice of the four curved sides with a slice.
    """

    corners: Points
    hollows: Points
    outline: Points
    middles: Points
    lateral: Points
    centre: Points
    half_width: float
    overlap: float

    def plate(self, side: int) -> Points:
        """An end-plate, through its rims from front to back, (2, 3) LPS mm."""
        return np.asarray(self.outline[[0, 1]] if side == UPPER else self.outline[[3, 2]])

    def flat_plate(self, side: int) -> Points:
        """The same within the slices' plane, (2, 2) (P, I) mm."""
        return np.asarray(self.corners[[0, 1]] if side == UPPER else self.corners[[3, 2]])


@dataclass(frozen=True)
class _Contour:
    """Contours of slices laid over each other.

    points: (n, 2) (P, I) mm. course: (n, 2) unit vectors along the contour. depth: (n,) how hollow an end-plate is in
    that slice against the middle: end-plates are bowls. pixel: mm.
    """

    points: Points
    course: Points
    depth: Points
    pixel: float

    def part(self, taken: Mask) -> "_Contour":
        """Some of the points."""
        return _Contour(self.points[taken], self.course[taken], self.depth[taken], self.pixel)


def find_middle(mask: Mask, grid: Grid) -> Middle | None:
    """Find the middle and the lateral axis of a body from the middles of its slices, or None where it is too small."""
    areas = mask.sum((0, 1)).astype(np.float64)
    if areas.max(initial=0) < LEAST_PIXELS:
        return None
    indices = np.arange(len(areas), dtype=np.float64)
    middle = float(np.average(indices, weights=areas))
    half_width = float(np.sqrt(3 * np.average((indices - middle) ** 2, weights=areas))) * grid.spacing[2]
    full = np.flatnonzero(areas >= FULL_SLICE * areas.max())
    slope = np.zeros(2)
    if len(full) >= 3:
        centres = np.array([np.argwhere(mask[:, :, index]).mean(0) for index in full]) * grid.spacing[:2]
        slope = np.polyfit(indices[full], centres, 1, w=areas[full])[0]
    limit = STEEPEST * grid.spacing[2]
    return Middle(middle, np.clip(slope, -limit, limit), half_width)


def cut_section(mask: Mask, down: Points, grid: Grid, middle: Middle) -> BodySection | None:
    """Fit the section of a body.

    Args:
        mask: (P, I, R), the body with its end-plates.
        down: (2,) (P, I) direction of the spine, towards the feet.
        grid: of the mask.
        middle: of the body.

    Returns:
        The section, or None where the mask has no four sides.
    """
    slices = middle.slices(mask, grid)
    shifts = [middle.slope * (index - middle.slice_index) for index in slices]
    found = [_points(mask[:, :, index], grid) - shift for index, shift in zip(slices, shifts, strict=True)]
    if min(len(points) for points in found) == 0:
        return None
    beside = (np.array(slices) - middle.slice_index) * grid.spacing[2] / max(middle.half_width, 1e-9)
    depths = [np.full(len(points), max(1 - share**2, 0.5)) for points, share in zip(found, beside, strict=True)]
    courses = [_course(points) for points in found]
    contour = _Contour(np.concatenate(found), np.concatenate(courses), np.concatenate(depths), grid.pixel_mm)

    def overlap(corners: Points, hollows: Points) -> float:
        outline = curved(corners, hollows)
        covers = (_overlap(mask[:, :, k], outline + shift, grid) for k, shift in zip(slices, shifts, strict=True))
        return min(covers)

    starts = (_fit_sides(contour, turned) for turned in _turned(down / np.linalg.norm(down)))
    fits = [(overlap(*fitted), *fitted) for fitted in starts if fitted is not None and _runs_along(fitted[0], down)]
    if not fits:
        return None
    best, corners, hollows = max(fits, key=lambda fit: fit[0])
    return _in_space(corners, hollows, grid, middle, best)


def _turned(down: Points) -> Points:
    """Directions around that of the spine, (n, 2) unit vectors."""
    angles = np.deg2rad(START_TURNS_DEG)
    across = np.array([-down[1], down[0]])
    return np.asarray(np.cos(angles)[:, None] * down + np.sin(angles)[:, None] * across)


def curved(corners: Points, hollows: Points, points_per_side: int = 24) -> Points:
    """The outline of four hollow sides, (n, 2), round the body from its upper front corner."""
    t = np.linspace(0, 1, points_per_side, endpoint=False)[:, None]
    parts = []
    for side in range(4):
        start, end = corners[side], corners[(side + 1) % 4]
        parts.append(start + t * (end - start) - 4 * t * (1 - t) * hollows[side] * _outward(start, end))
    return np.concatenate(parts)


def _runs_along(corners: Points, down: Points) -> bool:
    """Whether a body's height runs along the spine; else walls were taken for end-plates."""
    own = corners[[3, 2]].sum(0) - corners[[0, 1]].sum(0)
    return bool(own @ down > np.cos(np.deg2rad(MOST_LEAN_DEG)) * float(np.linalg.norm(own) * np.linalg.norm(down)))


def _in_space(corners: Points, hollows: Points, grid: Grid, middle: Middle, overlap: float) -> BodySection:
    lateral = grid.place(middle.slope, 1.0)
    lateral /= np.linalg.norm(lateral)
    centre = corners.mean(0)
    origin = grid.place(centre, middle.slice_index)
    flat_middles = np.array([_side_middle(corners, hollows, side) for side in (UPPER, LOWER)])
    placed = grid.place(np.concatenate([corners, flat_middles]), middle.slice_index)
    placed = placed - ((placed - origin) @ lateral)[:, None] * lateral
    return BodySection(
        corners=corners,
        hollows=hollows,
        outline=placed[:4],
        middles=placed[4:],
        lateral=lateral,
        centre=np.array([*centre, middle.slice_index * grid.spacing[2]]),
        half_width=middle.half_width,
        overlap=overlap,
    )


def _side_middle(corners: Points, hollows: Points, side: int) -> Points:
    start, end = corners[side], corners[side + 1]
    return np.asarray((start + end) / 2 - hollows[side] * _outward(start, end))


def _points(plane: Mask, grid: Grid) -> Points:
    """The outer contour of the largest part of a slice, (n, 2) (P, I) mm; empty where there is hardly any."""
    parts, _ = ndimage.label(plane)
    largest = parts == int(np.argmax(np.append(np.bincount(parts.ravel())[1:], 0))) + 1
    if largest.sum() < LEAST_PIXELS // 2:
        return np.zeros((0, 2))
    box = ndimage.find_objects(largest.astype(np.uint8))[0]
    margin = 4
    part = np.pad(ndimage.binary_fill_holes(largest[box]), margin)
    smooth = ndimage.gaussian_filter(part.astype(np.float64), SMOOTHING_PX)
    contour = max(find_contours(smooth, 0.5), key=len)
    origin = np.array([box[0].start - margin, box[1].start - margin]) + grid.first
    return np.asarray((contour[:-1] + origin) * grid.spacing[:2])


def _course(points: Points) -> Points:
    """Unit vectors along a closed contour."""
    steps = np.roll(points, -1, 0) - np.roll(points, 1, 0)
    return np.asarray(steps / np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-9))


def _fit_sides(contour: _Contour, down: Points) -> tuple[Points, Points] | None:
    """Return corners and hollows, starting from a box along the spine that leaves out what sticks out."""
    points, back = contour.points, np.array([down[1], -down[0]])
    frame = np.stack([back, down])
    (left, top), (right, bottom) = np.percentile(points @ frame.T, START_PERCENTILES, axis=0)
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) @ frame
    hollows = np.zeros(4)
    reach = 0.5 * float(np.hypot(*np.ptp(points, axis=0)))
    for _ in range(ROUNDS):
        owner = _owners(points, corners)
        sides = [_fit_side(contour.part(owner == side), corners, side) for side in range(4)]
        lines = [line for line, _ in sides]
        fitted = [_intersection(lines[side - 1], lines[side]) for side in range(4)]
        moved = np.array([point for point in fitted if point is not None])
        if moved.shape != corners.shape or np.linalg.norm(moved - corners, axis=1).max() > reach:
            return None
        corners, hollows = moved, np.array([hollow for _, hollow in sides])
    return corners, hollows


def _owners(points: Points, corners: Points) -> NDArray[np.intp]:
    """The side that each point lies nearest to."""
    distances = []
    for side in range(4):
        start, edge = corners[side], corners[(side + 1) % 4] - corners[side]
        along = np.clip((points - start) @ edge / max(float(edge @ edge), 1e-9), 0, 1)
        distances.append(np.linalg.norm(points - start - along[:, None] * edge, axis=1))
    nearest: NDArray[np.intp] = np.argmin(distances, axis=0)
    return nearest


def _fit_side(contour: _Contour, corners: Points, side: int) -> tuple[Points, float]:
    """Fit a side → (2, 2) ends of the line through its rims, and how far its middle lies inside that, in mm."""
    start, end = corners[side], corners[(side + 1) % 4]
    length = max(float(np.linalg.norm(end - start)), 1e-9)
    outward = _outward(start, end)
    direction = (end - start) / length
    t = (contour.points - start) @ direction / length
    kept = (t > ENDS) & (t < 1 - ENDS)
    if kept.sum() < 6 or np.ptp(t[kept]) < 0.3:
        return np.array([start, end]), 0.0
    contour, t = contour.part(kept), t[kept]
    off = (contour.points - start) @ outward
    model = np.stack([1 - t, t, -4 * t * (1 - t) * (contour.depth if side in (UPPER, LOWER) else 1.0)], 1)
    # What stands across the side, the flank of a spur, says nothing about where the side lies.
    along = np.abs(contour.course @ direction)
    weights = along
    first = last = hollow = 0.0
    for turn in range(ROUNDS):
        free = turn >= ROUNDS // 2
        stiff = (1.0 if free else len(t)) * CONTOUR_ERROR_PX * contour.pixel / (HOLLOW_SPREAD * length)
        rows = np.concatenate([model * weights[:, None], [[0.0, 0.0, stiff]]])
        aims = np.append(off * weights, stiff * HOLLOW * length)
        first, last, hollow = np.linalg.lstsq(rows, aims, rcond=None)[0]
        residual = off - model @ [first, last, hollow]
        spread = max(CONTOUR_ERROR_PX * contour.pixel, 1.4826 * float(np.median(np.abs(residual))))
        # Least absolute distances of a side as hollow as most at first, which a spur on a third of it does not pull;
        # then Tukey's biweight of a side as hollow as it is.
        near = np.clip(1 - (residual / (BIWEIGHT * spread)) ** 2, 0, None)
        weights = along * (near if free else 1 / np.sqrt(np.maximum(np.abs(residual), spread)))
    middle = (np.abs(t - 0.5) < MIDDLE) & (weights > 0)
    deep = hollow - residual[middle].mean() if middle.any() else hollow
    at_rims = 4 * RIM * (1 - RIM) * hollow
    return np.array([start + (first - at_rims) * outward, end + (last - at_rims) * outward]), float(deep - at_rims)


def _outward(start: Points, end: Points) -> Points:
    """The unit normal of a side that points away from the body, whose corners come in the order of `corners`."""
    along = (end - start) / max(float(np.linalg.norm(end - start)), 1e-9)
    return np.array([along[1], -along[0]])


def _intersection(first: Points, second: Points) -> Points | None:
    d, e = first[1] - first[0], second[1] - second[0]
    cross = d[0] * e[1] - d[1] * e[0]
    if abs(cross) < 0.2 * np.linalg.norm(d) * np.linalg.norm(e):  # sides of a body never meet at less than 12 degrees
        return None
    offset = second[0] - first[0]
    return np.asarray(first[0] + (offset[0] * e[1] - offset[1] * e[0]) / cross * d)


def _overlap(plane: Mask, outline: Points, grid: Grid) -> float:
    """Dice coefficient of an outline in mm with a slice of a mask."""
    margin = 4
    drawn = polygon2mask(
        (plane.shape[0] + 2 * margin, plane.shape[1] + 2 * margin), outline / grid.spacing[:2] - grid.first + margin
    )
    both = float((drawn[margin:-margin, margin:-margin] & plane).sum())
    return 2 * both / max(float(drawn.sum() + plane.sum()), 1.0)
