"""When slices make a volume: the one table of numbers that gateway and engine both go by, and what follows from them.

Places are mm along the normal of the slices; offsets are mm within their plane.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST_SLICES = 5  # below it a stack is a localizer, or the beginning of one
EVEN = 0.05  # steps between slices may differ by this share of the usual one
EVEN_MM = 0.02  # and by what rounded positions make of even ones
SAME_PLACE_MM = 0.1  # along the normal; no MR of the spine has slices as close
SAME_COSINE = 1e-3  # between unit vectors of one stack: half a millimetre across 500
STATION_MM = 20.0  # stacks offset by more within their plane are stations of one examination


def is_even(steps: ArrayLike) -> bool:
    """Tell whether steps between neighbouring slices, mm, are those of a volume."""
    widths = np.asarray(steps, np.float64)
    return bool(np.ptp(widths) <= EVEN * float(np.median(widths)) + EVEN_MM)


def is_whole_stack(places: Sequence[float]) -> bool:
    """Tell whether slices, in any order, make a volume: enough of them, evenly spaced, none twice, none missing."""
    if len(places) < FEWEST_SLICES:
        return False
    steps = np.diff(np.sort(np.asarray(places, np.float64)))
    return bool(steps.min() > SAME_PLACE_MM) and is_even(steps)


def stations(positions: ArrayLike, normal: ArrayLike) -> NDArray[np.int64]:
    """Return for each slice of one direction the station it belongs to, counted from 0 in the order they come.

    An examination of the whole spine may move the table between stacks: the same places along the normal, offset within
    the plane. A slice belongs to the station of any slice that lies nearer than `STATION_MM` within the plane.

    Args:
        positions: (slices, 3) LPS mm.
        normal: (3,) unit vector.
    """
    points = np.asarray(positions, np.float64).reshape(-1, 3)
    direction = np.asarray(normal, np.float64)
    offsets = (points - np.outer(points @ direction, direction)).round(1)
    places, which = np.unique(offsets, axis=0, return_inverse=True)  # few, however many slices there are
    label = np.full(len(places), -1)
    count = 0
    for start in dict.fromkeys(which.ravel().tolist()):
        if label[start] >= 0:
            continue
        label[start], front = count, [start]
        while front:
            near = np.linalg.norm(places - places[front.pop()], axis=1) <= STATION_MM
            new = np.flatnonzero(near & (label < 0))
            label[new] = count
            front += new.tolist()
        count += 1
    return label[which.ravel()]
