"""Both phases are brought together: every voxel of a vertebra's structures gets its vertebra, discs their place.

Source: Möller et al., "SPINEPS" (European Radiology 2024), combination of the two phases.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.spineps.clean import ALL, FACES, VOXEL_MM3
from models.spineps.frame import Spacing

BODY, SACRUM, CANAL, DISC, ENDPLATE = 49, 26, 61, 100, 62
VERTEBRAL = (41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51)
ARTICULAR = (45, 46, 47, 48)
DOMINANCE = 0.5  # an articular process is one vertebra's when the next has less than this share of it
DILATIONS = 2
MERGED_RATIO = 0.5  # an uppermost instance smaller than this share of the next, grown to it, is a part of it
CONTACT_MM2 = 20 * VOXEL_MM3 ** (2 / 3)

Numbers = NDArray[np.uint16]


@dataclass(frozen=True)
class Combined:
    """Both labelmaps on one grid (P, I, R).

    vertebrae: uint16, 1…n from the head down; discs: uint16, the number of the vertebra above the disc, n + 1 for a
    disc above the first; subregions: uint8, without what belongs to no vertebra; kept: the instance each vertebra
    was, 1-based, in order.
    """

    vertebrae: Numbers
    discs: Numbers
    subregions: NDArray[np.uint8]
    kept: tuple[int, ...]


def combine(subregions: NDArray[np.uint8], instances: Numbers, spacing: Spacing) -> Combined:
    """Bring the structures and the instances of a volume together.

    subregions: (P, I, R) in SPINEPS' labels; instances: the same grid, 1…n from the head down; spacing: mm.
    """
    box = next(iter(ndimage.find_objects((subregions > 0).astype(np.uint8))), None)
    if box is None:
        return Combined(np.zeros_like(instances), np.zeros_like(instances), subregions, ())
    part = subregions[box].copy()
    bony = np.isin(part, VERTEBRAL)
    vertebrae = np.where(bony, instances[box], 0).astype(np.uint16)
    _settle_articular(vertebrae, part)
    vertebrae = claim_the_rest(vertebrae, bony)
    part[bony & (vertebrae == 0)] = 0
    _merge_a_torn_first(vertebrae, part, spacing)
    vertebrae, kept = _from_the_head(vertebrae)
    discs = _discs(vertebrae, part)
    whole_vertebrae, whole_discs = np.zeros_like(instances), np.zeros_like(instances)
    whole = np.zeros_like(subregions)
    whole_vertebrae[box], whole_discs[box], whole[box] = vertebrae, discs, part
    return Combined(whole_vertebrae, whole_discs, whole, kept)


def _settle_articular(vertebrae: Numbers, subregions: NDArray[np.uint8]) -> None:
    """Give an articular process as a whole to the vertebra that has most of it, when the next has little."""
    for structure in ARTICULAR:
        components, _ = ndimage.label(subregions == structure, FACES)
        for number, box in enumerate(ndimage.find_objects(components), start=1):
            inside = components[box] == number
            counts = np.bincount(vertebrae[box][inside])
            if np.count_nonzero(counts) < 2:
                continue
            second, first = np.argsort(counts)[-2:]
            if counts[first] * DOMINANCE > counts[second]:
                vertebrae[box][inside] = first


def claim_the_rest(vertebrae: Numbers, bony: NDArray[np.bool_]) -> Numbers:
    """Give bone that no vertebra claims to the vertebra it lies at; what lies at none stays 0."""
    faces = ndimage.generate_binary_structure(3, 1)
    for _ in range(DILATIONS):
        grown = ndimage.grey_dilation(vertebrae, footprint=faces)
        vertebrae = np.where((vertebrae == 0) & bony, grown, vertebrae)
    components, _ = ndimage.label(bony & (vertebrae == 0), ndimage.generate_binary_structure(3, 2))
    for number, box in enumerate(ndimage.find_objects(components), start=1):
        wide = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)
        inside = components[wide] == number
        around = vertebrae[wide][ndimage.binary_dilation(inside, ALL)]
        around = around[around > 0]
        if len(around):
            vertebrae[wide][inside] = np.bincount(around).argmax()
    return vertebrae


def _merge_a_torn_first(vertebrae: Numbers, subregions: NDArray[np.uint8], spacing: Spacing) -> None:
    """Join the two uppermost instances where no disc parts them and the first is but a piece grown to the second."""
    arched = vertebrae * np.isin(subregions, (41, BODY, 50))
    centres = _heights(arched)
    parting = (subregions == DISC) | (subregions == ENDPLATE)
    if len(centres) < 2 or not parting.any():
        return
    (first, top), (second, below) = sorted(centres.items(), key=lambda item: item[1])[:2]
    discs, count = ndimage.label(parting, FACES)
    heights = [c[1] for c in ndimage.center_of_mass(parting, discs, range(1, count + 1))]
    if any(height < below for height in heights):
        return
    volumes = np.bincount(vertebrae.ravel())
    touching = ndimage.binary_dilation(vertebrae == first, ALL) & (vertebrae == second)
    contact = np.count_nonzero(touching) * float(np.prod(spacing)) ** (2 / 3)
    if volumes[first] < MERGED_RATIO * volumes[second] and contact > CONTACT_MM2 and top < below:
        vertebrae[vertebrae == first] = second


def _heights(labels: Numbers) -> dict[int, float]:
    """Centre of mass along I by label."""
    numbers = [int(number) for number in np.unique(labels) if number]
    centres = ndimage.center_of_mass(labels > 0, labels, numbers) if numbers else []
    return {number: float(centre[1]) for number, centre in zip(numbers, centres, strict=True)}


def _from_the_head(vertebrae: Numbers) -> tuple[Numbers, tuple[int, ...]]:
    heights = _heights(vertebrae)
    ordered = sorted(heights, key=heights.__getitem__)
    table = np.zeros(int(vertebrae.max()) + 1, np.uint16)
    table[ordered] = np.arange(1, len(ordered) + 1)
    return table[vertebrae], tuple(ordered)


def _discs(vertebrae: Numbers, subregions: NDArray[np.uint8]) -> Numbers:
    """Number each disc by the body above it."""
    bodies = _heights((vertebrae * (subregions == BODY)).astype(np.uint16))
    bodies = {**_heights(vertebrae), **bodies}
    discs = np.zeros_like(vertebrae)
    components, count = ndimage.label(subregions == DISC, FACES)
    if not count or not bodies:
        return discs
    above_all = max(bodies) + 1
    table = np.zeros(count + 1, np.uint16)
    for number, centre in enumerate(ndimage.center_of_mass(components > 0, components, range(1, count + 1)), start=1):
        above = [vertebra for vertebra, height in bodies.items() if height < centre[1]]
        table[number] = max(above, key=bodies.__getitem__) if above else above_all
    return np.asarray(table[components], np.uint16)
