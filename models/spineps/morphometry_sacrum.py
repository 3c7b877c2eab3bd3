"""The upper part of the sacrum, S1's body, cut below the lowest disc as if it were a vertebral body.

The sacrum is one structure in SPINEPS' scheme. Its edge along the lowest disc gives a first upper end-plate; what lies
within a body's height below it is then fitted like any body. Only its upper end-plate and the walls near it mean
anything: below, the cut is arbitrary.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.spineps.morphometry_body import BodySection, Grid, Mask, Middle, Points, cut_section, find_middle

ENDPLATE, DISC, SACRUM = 62, 100, 26
REACH_MM = 4.0  # of the sacrum's edge from the lowest disc, to be its end-plate
LEAST_PLATE = 0.5  # of the depth of the end-plate above
KEPT = 0.72  # height that is kept below the end-plate, as a share of the depth of the end-plate above
WIDE = 0.85  # half the depth that is kept, as a share of it
LEAST_OVERLAP = 0.85


def cut_sacrum(subregions: NDArray[np.uint8], last: BodySection, grid: Grid) -> BodySection | None:
    """Cut S1 below the last lumbar vertebra.

    Args:
        subregions: (P, I, R) in SPINEPS' scheme.
        last: the section of the lowest vertebra.
        grid: of the volume.

    Returns:
        The section, or None where no sacrum is in view below the lowest disc.
    """
    middle = round(float(last.centre[2]) / grid.spacing[2])
    plane = subregions[:, :, min(max(middle, 0), subregions.shape[2] - 1)]
    start = _first_plate(plane, last.corners[[3, 2]], np.array(grid.spacing[:2]))
    if start is None:
        return None
    centre, along = start
    down = np.array([-along[1], along[0]])
    depth = float(np.linalg.norm(last.corners[2] - last.corners[3]))
    part = _upper_part(subregions == SACRUM, centre, down, depth, grid)
    beside = np.abs(np.arange(part.shape[2]) - middle) * grid.spacing[2] > last.half_width
    part = part & ~beside
    edges = (part[0].any(), part[-1].any(), part[:, 0].any(), part[:, -1].any())
    found = None if any(edges) else find_middle(part, grid)
    if found is None:
        return None
    section = cut_section(part, down, grid, Middle(found.slice_index, found.slope, last.half_width))
    return section if section is not None and section.overlap >= LEAST_OVERLAP else None


def _first_plate(plane: NDArray[np.uint8], above: Points, spacing: Points) -> tuple[Points, Points] | None:
    """Return middle and direction, from front to back, of the sacrum's edge along the disc below an end-plate."""
    sacrum = plane == SACRUM
    if not sacrum.any():
        return None
    front, back = above
    depth = float(np.linalg.norm(back - front))
    along = (back - front) / depth
    down = np.array([-along[1], along[0]])
    edge = sacrum & ~ndimage.binary_erosion(sacrum, border_value=1)
    distance = ndimage.distance_transform_edt(~np.isin(plane, (DISC, ENDPLATE)), sampling=spacing)
    points = np.argwhere(edge & (distance <= REACH_MM)) * spacing
    points = points[(points - above.mean(0)) @ down > 0] if len(points) else points
    for _ in range(4):
        if len(points) < 4 or np.ptp(points @ along) < LEAST_PLATE * depth:
            return None
        middle = points.mean(0)
        turned = np.linalg.svd(points - middle)[2][0]
        along = turned * np.sign(turned @ along)
        off = (points - middle) @ np.array([-along[1], along[0]])
        points = points[np.abs(off - np.median(off)) < 2.5 * max(spacing)]
    return points.mean(0), along


def _upper_part(sacrum: Mask, centre: Points, down: Points, depth: float, grid: Grid) -> Mask:
    """What of the sacrum lies in a box below its end-plate."""
    p, i = (np.arange(n) * step for n, step in zip(sacrum.shape[:2], grid.spacing[:2], strict=True))
    deep = (p[:, None] - centre[0]) * down[0] + (i[None, :] - centre[1]) * down[1]
    beside = (p[:, None] - centre[0]) * down[1] - (i[None, :] - centre[1]) * down[0]
    box = (deep < KEPT * depth) & (deep > -0.3 * depth) & (np.abs(beside) < WIDE * depth)
    return np.asarray(sacrum & box[:, :, None])
