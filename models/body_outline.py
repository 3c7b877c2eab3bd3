"""The four-sided outline of a vertebral body, fitted to its mask.

Frames: points are (x, y) in pixels of the source grid, pixel centres at whole numbers. Fitting is done in scaled
coordinates (x times column spacing, y times row spacing), so that lengths and angles come out right where pixels are
not square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import polygon2mask
from skimage.measure import find_contours

Points = NDArray[np.float64]

# A blur of one pixel takes the staircase out of the contour; corners are not read from it but from lines.
SMOOTHING_PX = 1.0
LEAST_PIXELS = 64
# Corners of masks are round: the ends of a side do not count.
ENDS = 0.1
# End-plates and walls of a real body are hollow, and a reader puts the corners on the rims: what lies inside the line
# stops counting sooner than what lies outside it (Tukey's biweight; limits in spreads of the side, at least in pixels).
HOLLOW_LIMIT = 1.5
SPUR_LIMIT = 3.0
ROUNDS = 6
CHORD_STEP_PX = 0.1
MIDDLE_OFFSETS = (-0.08, -0.04, 0.0, 0.04, 0.08)


@dataclass(frozen=True)
class BodyOutline:
    """Corners of a body and how well they describe its mask.

    corners: (4, 2) scaled (x, y): upper left, upper right, lower right, lower left as seen in the image, where
        `upper` is towards the head.
    middle_height: distance between the end-plates along the line through their middles, read from the mask itself,
        so that a hollow end-plate lowers it.
    overlap: Dice coefficient of the four-sided outline and the mask.
    """

    corners: Points
    middle_height: float
    overlap: float


def fit_body_outline(mask: NDArray[np.bool_], axis: Points, scale: Points) -> BodyOutline | None:
    """Fit end-plates and walls to the mask of a body.

    Args:
        mask: (rows, columns).
        axis: (2,) direction of the spine at this body in scaled (x, y), towards the feet.
        scale: (2,) column and row spacing, or ones.

    Returns:
        The outline, or None where the mask is too small or has no four sides.
    """
    window, offset = _largest_part(mask)
    if window.sum() < LEAST_PIXELS:
        return None
    smooth = ndimage.gaussian_filter(window.astype(np.float64), SMOOTHING_PX)
    contours = find_contours(smooth, 0.5)
    if not contours:
        return None
    contour = (max(contours, key=len)[:, ::-1] + offset) * scale
    corners = _fit_corners(contour, axis, float(scale.mean()))
    if corners is None:
        return None
    polygon = (corners / scale - offset)[:, ::-1]
    drawn = polygon2mask(window.shape, polygon)
    overlap = 2 * float((drawn & window).sum()) / float(drawn.sum() + window.sum())
    return BodyOutline(corners, _middle_height(smooth, corners, offset, scale), overlap)


def _largest_part(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], Points]:
    """Return the largest connected part, holes filled, cropped with a margin, and the (x, y) of the crop's origin."""
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    if not boxes:
        return mask, np.zeros(2)
    rows, columns = boxes[0]
    parts, _ = ndimage.label(mask[rows, columns])
    largest = int(np.argmax(np.bincount(parts.ravel())[1:])) + 1
    margin = int(np.ceil(4 * SMOOTHING_PX))
    part = np.pad(ndimage.binary_fill_holes(parts == largest), margin)
    return part, np.array([columns.start - margin, rows.start - margin], dtype=np.float64)


def _fit_corners(contour: Points, axis: Points, pixel: float) -> Points | None:
    """Return corners from lines fitted to the four sides, starting from the extremes along the diagonals."""
    down = axis / np.linalg.norm(axis)
    right = np.array([down[1], -down[0]])
    u, v = contour @ right, contour @ down
    u = (u - np.median(u)) / np.ptp(u)
    v = (v - np.median(v)) / np.ptp(v)
    corners = contour[[np.argmax(su * u + sv * v) for su, sv in ((-1, -1), (1, -1), (1, 1), (-1, 1))]]
    for _ in range(ROUNDS):
        lines = [_fit_side(contour, corners, side, pixel) for side in range(4)]
        fitted = [_intersection(lines[side - 1], lines[side]) for side in range(4)]
        moved = np.array([point for point in fitted if point is not None])
        reach = 0.5 * float(np.hypot(*np.ptp(contour, axis=0)))
        if moved.shape != corners.shape or np.linalg.norm(moved - corners, axis=1).max() > reach:
            return None
        corners = moved
    return corners


def _fit_side(contour: Points, corners: Points, side: int, pixel: float) -> tuple[Points, Points]:
    """Return (point, direction) of the line through a side; side 0 is the upper end-plate, then clockwise."""
    start, end = corners[side], corners[(side + 1) % 4]
    middle = corners.mean(axis=0)
    length = max(float(np.linalg.norm(end - start)), 1e-9)
    direction = (end - start) / length
    along = (contour - start) @ direction / length
    mine = _distance(contour, corners, side)
    others = np.min([_distance(contour, corners, other) for other in range(4) if other != side], axis=0)
    points = contour[(mine < others) & (along > ENDS) & (along < 1 - ENDS)]
    if len(points) < 4 or np.ptp(points @ direction) < 0.3 * length:
        return start, direction
    centre = start
    for _ in range(ROUNDS):
        outside = (points - centre) @ _outward(direction, centre - middle)
        spread = max(pixel, 1.4826 * float(np.median(np.abs(outside - np.median(outside)))))
        limit = np.where(outside < 0, HOLLOW_LIMIT, SPUR_LIMIT) * spread
        weights = np.clip(1 - (outside / limit) ** 2, 1e-3, None) ** 2
        centre = np.average(points, axis=0, weights=weights)
        off = points - centre
        direction = np.linalg.eigh((off * weights[:, None]).T @ off)[1][:, -1]
    return centre, direction


def _outward(direction: Points, away: Points) -> Points:
    """Return the unit normal of a side that points away from the body."""
    normal = np.array([-direction[1], direction[0]])
    outward: Points = normal * np.sign(normal @ away)
    return outward


def _distance(contour: Points, corners: Points, side: int) -> Points:
    """Return the distance of each contour point from the segment between two corners."""
    start, edge = corners[side], corners[(side + 1) % 4] - corners[side]
    along = np.clip((contour - start) @ edge / max(float(edge @ edge), 1e-9), 0, 1)
    distance: Points = np.linalg.norm(contour - start - along[:, None] * edge, axis=1)
    return distance


def _intersection(first: tuple[Points, Points], second: tuple[Points, Points]) -> Points | None:
    (p, d), (q, e) = first, second
    cross = d[0] * e[1] - d[1] * e[0]
    if abs(cross) < 0.2:  # sides of a body never meet at less than 12 degrees
        return None
    t = ((q - p)[0] * e[1] - (q - p)[1] * e[0]) / cross
    point: Points = p + t * d
    return point


def _middle_height(smooth: Points, corners: Points, offset: Points, scale: Points) -> float:
    """Return the median length of chords through the middle of the mask, between the middles of the end-plates."""
    top, bottom = (corners[0] + corners[1]) / 2, (corners[3] + corners[2]) / 2
    width = (corners[1] + corners[2] - corners[0] - corners[3]) / 2
    height = float(np.linalg.norm(bottom - top))
    step = CHORD_STEP_PX * float(scale.min()) / max(height, 1e-9)
    reach = np.arange(-0.25, 1.25, step)
    lengths = []
    for shift in MIDDLE_OFFSETS:
        chord = (top + shift * width + reach[:, None] * (bottom - top)) / scale - offset
        values = ndimage.map_coordinates(smooth, chord[:, ::-1].T, order=1)
        lengths.append(float((values > 0.5).sum()) * step * height)
    return float(np.median(lengths))
