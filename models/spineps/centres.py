"""Centres of the vertebral bodies, from which the instance phase looks.

A body is a component of the body's label, eroded so that neighbours part. Bodies that still hang together betray
themselves: where body and disc do not take turns, and one body has one and a half times the volume of its neighbours,
it is cut in two.

Source: Möller et al., "SPINEPS" (European Radiology 2024), second phase.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.spineps.clean import FACES, VOXEL_MM3, voxels_of
from models.spineps.frame import Spacing

BODY, CORE, DENS, ENDPLATE, DISC = 49, 50, 51, 62, 100
EDGES = ndimage.generate_binary_structure(3, 2)
EROSIONS = 2
SPECK_MM3 = 40 * VOXEL_MM3
SAME_HEIGHT_MM = 7.5
MERGED_RATIO = 1.5
NEIGHBOURS = 5  # on either side, whose volumes a body is compared with
FEWEST_TO_COMPARE = 3
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
    if (subregions == CORE).any():
        bodies, least = subregions == CORE, 0
    else:
        bodies = ndimage.binary_erosion(subregions == BODY, EDGES, EROSIONS, border_value=1)
        least = voxels_of(SPECK_MM3, spacing)
    components, count = ndimage.label(bodies, FACES)
    volumes = np.bincount(components.ravel(), minlength=count + 1)
    small = volumes < least
    small[0] = False
    components[small[components]] = 0
    components = _parted(components, subregions, spacing)
    numbers = [int(number) for number in np.unique(components) if number]
    centres = sorted(ndimage.center_of_mass(components > 0, components, numbers), key=lambda c: -float(c[1]))
    dens, dens_count = ndimage.label(subregions == DENS, FACES)
    centres += ndimage.center_of_mass(dens > 0, dens, range(1, dens_count + 1)) if dens_count else []
    return tuple((float(p), float(i), float(r)) for p, i, r in centres)


def _parted(components: NDArray[np.int32], subregions: NDArray[np.uint8], spacing: Spacing) -> NDArray[np.int32]:
    """Cut bodies that grew together, where the order of bodies and discs says that there are some."""
    column = _column(components, subregions)
    if not any(part.body is None for part in column):
        return components
    for index, (upper, lower) in enumerate(zip(column, column[1:], strict=False)):
        apart = (lower.height - upper.height) * spacing[1]
        if (upper.body is None) != (lower.body is None) or apart < SAME_HEIGHT_MM:
            continue
        near = [p for p in column[max(0, index - NEIGHBOURS) : index + NEIGHBOURS + 1] if p.body is not None]
        if len(near) <= FEWEST_TO_COMPARE:
            continue
        largest = max(near, key=lambda part: part.volume)
        others = [part.volume for part in near if part is not largest]
        if largest.volume > MERGED_RATIO * sum(others) / len(others):
            body = components == largest.body
            if body.any():  # not cut before
                components[_lower_half(body)] = components.max() + 1
    return components


def _column(components: NDArray[np.int32], subregions: NDArray[np.uint8]) -> list[Part]:
    """Bodies and discs, a disc with its end-plates, from the head downwards."""
    discs, count = ndimage.label((subregions == DISC) | (subregions == ENDPLATE), FACES)
    parts = []
    for labels, numbers, is_body in (
        (discs, range(1, count + 1), False),
        (components, [int(n) for n in np.unique(components) if n], True),
    ):
        volumes = np.bincount(labels.ravel())
        for number, centre in zip(numbers, ndimage.center_of_mass(labels > 0, labels, numbers), strict=True):
            parts.append(Part(float(centre[1]), int(volumes[number]), number if is_body else None))
    return sorted(parts, key=lambda part: part.height)


def _lower_half(body: Mask) -> Mask:
    """What lies on the lower side of a plane between the two parts that a body falls into when it is worn away."""
    box = ndimage.find_objects(body.astype(np.uint8))[0]
    worn, previous = body[box], body[box]
    parts, count = ndimage.label(worn, ndimage.generate_binary_structure(3, 3))
    while count == 1:
        previous, worn = worn, ndimage.binary_erosion(worn, EDGES)
        parts, count = ndimage.label(worn, ndimage.generate_binary_structure(3, 3))
    if count >= 2:
        two = np.argsort(np.bincount(parts.ravel())[1:])[-2:] + 1
        first, second = (np.array(ndimage.center_of_mass(parts == number)) for number in two)
    else:  # it vanished in one piece: halve it where it is
        positions = np.argwhere(previous)
        middle = positions.mean(0)
        first, second = (
            positions[positions[:, 1] <= middle[1]].mean(0),
            positions[positions[:, 1] > middle[1]].mean(0),
        )
    upper, lower = sorted((first, second), key=lambda centre: float(centre[1]))
    normal, middle = lower - upper, (lower + upper) / 2
    side = np.tensordot(np.moveaxis(np.indices(body[box].shape), 0, -1) - middle, normal, 1) > 0
    below = np.zeros_like(body)
    below[box] = body[box] & side
    return below
