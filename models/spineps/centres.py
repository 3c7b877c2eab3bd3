"""Centres of the vertebral bodies, from which the instance phase looks.

A body is a component of the body's label, eroded so that neighbours part. Bodies that still hang together betray
themselves: where body and disc do not take turns, and one body has one and a half times the volume of its neighbours,
it is cut in two. So is, beyond the original, a body that has a disc between its halves.

But for that the centres are those of the original at the resolution of the published networks. On a coarser grid less
is eroded, since there the original's two voxels eat cervical bodies whole; a body that they eat on any grid is worn by
one; a body that cannot be worn into two is halved by height, where the original leaves it; and the dens, which the
original puts before the lowest body, comes last.

Source: Möller et al., "SPINEPS" (European Radiology 2024), second phase.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.spineps.clean import ALL, FACES, REFERENCE_MM, VOXEL_MM3, voxels_of
from models.spineps.frame import Spacing

BODY, CORE, DENS, ENDPLATE, DISC = 49, 50, 51, 62, 100
EDGES = ndimage.generate_binary_structure(3, 2)
COARSE_MM = 4 / 3 * REFERENCE_MM[0]  # above this one voxel is nearer than two to what the reference grid loses
SPECK_MM3 = 100 * VOXEL_MM3  # of what is left of a body
SMALL_BODY_MM3 = 2 * SPECK_MM3  # of what a layer leaves of one that two layers eat whole
SAME_HEIGHT_MM = 7.5
MERGED_RATIO = 1.5
DISC_SHARE = 0.25  # of a row between the halves of a body; two that hang together have more, a whole one none
NEIGHBOURS = 5  # on either side, whose volumes a body is compared with
FEWEST_TO_COMPARE = 4
Mask = NDArray[np.bool_]
Centre = tuple[float, float, float]


@dataclass(frozen=True)
class Part:
    """A body or a disc between two others: its height along I in voxels, its volume in voxels, which it is."""

    height: float
    volume: int
    body: int | None


def find_centres(subregions: NDArray[np.uint8], spacing: Spacing) -> tuple[Centre, ...]:
    """Find the centres of mass of the bodies.

    subregions: (P, I, R) in SPINEPS' labels.

    Returns:
        (P, I, R) voxel positions from the feet upwards; empty where there is no body.
    """
    bodies = subregions == CORE
    if not bodies.any():
        bodies = _worn(subregions == BODY, spacing)
    components = _parted(ndimage.label(bodies, ALL)[0], subregions, spacing)
    numbers = [int(number) for number in np.unique(components) if number]
    centres = sorted(ndimage.center_of_mass(components > 0, components, numbers), key=lambda c: -float(c[1]))
    dens, dens_count = ndimage.label(subregions == DENS, ALL)
    centres += ndimage.center_of_mass(dens > 0, dens, range(1, dens_count + 1)) if dens_count else []
    return tuple((float(p), float(i), float(r)) for p, i, r in centres)


def _worn(bodies: Mask, spacing: Spacing) -> Mask:
    """Bodies without their rims, and without the specks that this leaves.

    A body too small for all layers, as in the neck of a small person, keeps what one layer fewer leaves.
    """
    box = next(iter(ndimage.find_objects(bodies.astype(np.uint8))), None)
    worn = np.zeros_like(bodies)
    if box is None:
        return worn
    most = 1 if spacing[0] + spacing[1] > 2 * COARSE_MM else 2
    part = worn[box]
    for layers in range(most, 0, -1):
        components, _ = ndimage.label(ndimage.binary_erosion(bodies[box], EDGES, layers), FACES)
        least = SPECK_MM3 if layers == most else SMALL_BODY_MM3
        wanted = np.bincount(components.ravel()) >= voxels_of(least, spacing)
        wanted[np.unique(components[part])] = False
        wanted[0] = False
        part |= wanted[components]
    return worn


def _parted(components: NDArray[np.int32], subregions: NDArray[np.uint8], spacing: Spacing) -> NDArray[np.int32]:
    """Cut bodies that grew together: about a disc within, and where the order of bodies and discs says so."""
    _cut_about_discs(components, subregions)
    column = _column(components, subregions)
    if not any(part.body is None for part in column):
        return components
    index = 0
    while index + 1 < len(column):
        part, below = column[index], column[index + 1]
        if (part.body is None) != (below.body is None):
            index += 1
        elif (below.height - part.height) * spacing[1] < SAME_HEIGHT_MM:
            del column[index]  # two pieces of one thing
        else:
            _cut_the_largest(components, column, index)
            index += 1
    return components


def _cut_about_discs(components: NDArray[np.int32], subregions: NDArray[np.uint8]) -> None:
    """Cut each body that has a disc between its halves.

    Two small bodies of a neck that hang together behind their disc are no larger than one further down.
    """
    for number in np.unique(components[components > 0]):
        body = components == number
        upper, lower = _halves(body)
        if _disc_share(subregions, body, float(upper[1]), float(lower[1])) > DISC_SHARE:
            components[_lower_half(body, upper, lower)] = components.max() + 1


def _disc_share(subregions: NDArray[np.uint8], body: Mask, first: float, last: float) -> float:
    """How much of a body's bounding box is disc or end-plate in the row, of those between two, that has most."""
    p, _, r = ndimage.find_objects(body.astype(np.uint8))[0]
    rows = slice(round(first), round(last) + 1)
    return float(np.isin(subregions[p, rows, r], (DISC, ENDPLATE)).mean((0, 2)).max())


def _cut_the_largest(components: NDArray[np.int32], column: Sequence[Part], index: int) -> None:
    """Cut the largest body near a place in the column in two, if it is too large for one."""
    near = [*column[max(0, index - NEIGHBOURS) : index], *column[index + 1 : index + NEIGHBOURS + 1]]
    bodies = [part for part in near if part.body is not None]
    if len(bodies) < FEWEST_TO_COMPARE:
        return
    largest = max(bodies, key=lambda part: part.volume)
    others = [part.volume for part in bodies if part is not largest]
    body = components == largest.body
    if np.count_nonzero(body) > MERGED_RATIO * sum(others) / len(others):  # what is left, where it was cut before
        components[_lower_half(body, *_halves(body))] = components.max() + 1


def _column(components: NDArray[np.int32], subregions: NDArray[np.uint8]) -> list[Part]:
    """Bodies and discs, a disc with its end-plates, from the head downwards."""
    discs, count = ndimage.label((subregions == DISC) | (subregions == ENDPLATE), ALL)
    parts = []
    for labels, numbers, is_body in (
        (discs, range(1, count + 1), False),
        (components, [int(n) for n in np.unique(components) if n], True),
    ):
        volumes = np.bincount(labels.ravel())
        for number, centre in zip(numbers, ndimage.center_of_mass(labels > 0, labels, numbers), strict=True):
            parts.append(Part(float(centre[1]), int(volumes[number]), number if is_body else None))
    return sorted(parts, key=lambda part: part.height)


def _halves(body: Mask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the upper and the lower of the two parts lie into which a body falls when it is worn away, in voxels."""
    box = ndimage.find_objects(body.astype(np.uint8))[0]
    worn, previous = body[box], body[box]
    count = 1
    while count == 1:
        previous, worn = worn, ndimage.binary_erosion(worn, ALL)
        parts, count = ndimage.label(worn, ALL)
    if count >= 2:
        two = np.argsort(np.bincount(parts.ravel())[1:])[-2:] + 1
        first, second = (np.array(ndimage.center_of_mass(parts == number)) for number in two)
    else:  # it vanished in one piece: halve it where it is
        middle = np.argwhere(previous).mean(0)
        first, second = middle - (0, 1, 0), middle + (0, 1, 0)
    upper, lower = sorted((first, second), key=lambda centre: float(centre[1]))
    start = [along.start for along in box]
    return upper + start, lower + start


def _lower_half(body: Mask, upper: NDArray[np.float64], lower: NDArray[np.float64]) -> Mask:
    """What lies on the lower side of the plane midway between two points."""
    below = np.zeros_like(body)
    voxels = np.argwhere(body)
    voxels = voxels[(voxels - (lower + upper) / 2) @ (lower - upper) > 0]
    below[tuple(voxels.T)] = True
    return below
