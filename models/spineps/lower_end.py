"""The lower end of the column: a disc inside what was painted as sacrum parts a vertebra from it.

A wedged or slipped L5 looks like a piece of the sacrum, and is painted so; its disc is not. Where a disc lies more than
one vertebra below the last body, with sacrum above and below it, the part above is a vertebra. A short remnant of a
disc between S1 and S2 is normal, and no reason for one: it is told from a disc by its size beside the disc above it.
What lies between leaves the count open.

Frame: (P, I, R) voxels, lengths in mm.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.spineps.frame import Spacing

BODY, DISC, SACRUM = 49, 100, 26
CANAL = (60, 61)
Kind = Literal["whole", "split", "doubtful"]
NEAR_MM = 4.0  # of the sacrum: an end-plate may lie between it and a disc
NEXT, AFTER_NEXT = 1.0, 2.3  # steps between the last two bodies, below the last: where the disc of a hidden one lies
# Volume of the second disc as a share of the first. Remnants of S1/S2 are short and flat (O'Driscoll et al. 1996, types
# 2 and 3). With the shipped weights the true L5/S1 below an L5 that was painted as sacrum has 0.30 to 0.39.
REMNANT, FULL_DISC = 0.2, 0.45
SEEN_DISC = 0.3  # what is enough where the instance phase saw a vertebra above it
BODY_SHARE = (0.3, 1.7)  # volume of what lies above the second disc, as a share of the last body's
LEAST_BELOW = 0.15  # of a body's volume: so much of the sacrum must be left below
Voxels = NDArray[np.bool_]
Points = NDArray[np.float64]


@dataclass(frozen=True)
class LowerEnd:
    """What the sacrum turned out to be.

    kind: `whole`, `split` (a vertebra was taken out of it) or `doubtful` (a disc lies in it, and no clean cut).
    share: volume of the disc in it, as a share of that above it; 0 without one.
    """

    kind: Kind = "whole"
    share: float = 0.0


@dataclass(frozen=True)
class _Discs:
    """The disc below the last body and one farther below, and the step between the last two bodies in mm."""

    first: Voxels
    second: Voxels
    step: float


def split_sacrum(
    vertebrae: NDArray[np.uint16], subregions: NDArray[np.uint8], spacing: Spacing, *, was_seen: bool
) -> LowerEnd:
    """Take a vertebra out of the sacrum, in place, where a disc lies in it: number n + 1, structure 49.

    vertebrae: 1…n from the head down. was_seen: as an instance, before it was given to the sacrum. Posterior elements
    stay with the sacrum.
    """
    sacrum = subregions == SACRUM
    discs = _discs_at(vertebrae, subregions, sacrum, spacing)
    if discs is None:
        return LowerEnd()
    share = float(np.count_nonzero(discs.second) / np.count_nonzero(discs.first))
    if share < REMNANT:
        return LowerEnd("whole", share)
    last = int(vertebrae.max())
    above, below = _parts(sacrum, discs, _in_front(subregions, discs), spacing)
    usual = np.count_nonzero((vertebrae == last) & (subregions == BODY))
    low, high = (limit * usual for limit in BODY_SHARE)
    clean = low <= np.count_nonzero(above) <= high and np.count_nonzero(below) >= LEAST_BELOW * usual
    if share < (SEEN_DISC if was_seen else FULL_DISC) or not clean:
        return LowerEnd("doubtful", share)
    vertebrae[above], subregions[above] = last + 1, BODY
    return LowerEnd("split", share)


def _discs_at(
    vertebrae: NDArray[np.uint16], subregions: NDArray[np.uint8], sacrum: Voxels, spacing: Spacing
) -> _Discs | None:
    """The discs at the sacrum, told apart by how far below the last body they lie; None unless there are two."""
    last = int(vertebrae.max())
    if last < 2 or not sacrum.any():
        return None
    before, at = (_middle((vertebrae == n) & (subregions == BODY), spacing) for n in (last - 1, last))
    if before is None or at is None:
        return None
    step = float(np.linalg.norm(at - before))
    near = ndimage.distance_transform_edt(~sacrum, sampling=spacing) <= NEAR_MM
    parts, count = ndimage.label(subregions == DISC, np.ones((3, 3, 3)))
    groups: tuple[list[int], list[int]] = ([], [])
    for number in range(1, count + 1):
        part = parts == number
        middle = _middle(part, spacing)
        if middle is None or middle[1] < at[1] or not (part & near).any():
            continue
        away = float(np.linalg.norm((middle - at)[:2])) / step
        if away < AFTER_NEXT:
            groups[away >= NEXT].append(number)
    if not all(groups):
        return None
    return _Discs(np.isin(parts, groups[0]), np.isin(parts, groups[1]), step)


def _in_front(subregions: NDArray[np.uint8], discs: _Discs) -> Voxels:
    """In front of the canal, row by row, and no wider than the discs: bodies lie there, arches and wings do not."""
    both = discs.first | discs.second
    _, _, across = ndimage.find_objects(both.astype(np.uint8))[0]
    canal = np.asarray(np.isin(subregions, CANAL).any(2), bool)
    rows = np.flatnonzero(canal.any(0))
    front = np.full(canal.shape[1], canal.shape[0])
    if len(rows):
        front[: rows[-1] + 1] = np.interp(np.arange(rows[-1] + 1), rows, canal[:, rows].argmax(0))
    inside = np.zeros(subregions.shape, bool)
    inside[:, :, across] = (np.arange(canal.shape[0])[:, None] < front)[:, :, None]
    return inside


def _parts(sacrum: Voxels, discs: _Discs, allowed: Voxels, spacing: Spacing) -> tuple[Voxels, Voxels]:
    """The sacrum above the second disc's plane, one piece of it in front of the canal, and the sacrum below it."""
    points = np.argwhere(discs.second) * spacing
    middle = points.mean(0)
    _, axes = np.linalg.eigh(np.cov((points - middle)[:, :2].T))
    down = axes[:, 0]  # the thin way through the disc in the slice
    if down @ (middle - (np.argwhere(discs.first) * spacing).mean(0))[:2] < 0:
        down = -down
    p, i = np.meshgrid(*(np.arange(n) * mm for n, mm in zip(sacrum.shape[:2], spacing[:2], strict=True)), indexing="ij")
    under = np.zeros(sacrum.shape, bool)
    under[(p - middle[0]) * down[0] + (i - middle[1]) * down[1] > 0] = True
    pieces, count = ndimage.label(sacrum & ~under & allowed)
    sizes = np.bincount(pieces.ravel())
    largest = int(sizes[1:].argmax()) + 1 if count else -1
    return pieces == largest, sacrum & under


def _middle(mask: Voxels, spacing: Spacing) -> Points | None:
    """Centre of mass in mm."""
    points = np.argwhere(mask)
    return points.mean(0) * np.array(spacing) if len(points) else None
