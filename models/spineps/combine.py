"""Both phases are brought together: every voxel of a vertebra's structures gets its vertebra, discs their place.

Where a voxel is as near to one vertebra as to another, the original lets the order decide in which instances were
found; here it is the lower vertebra. A vertebra without a body is placed by all it has, in the original at the top.

Source: Möller et al., "SPINEPS" (European Radiology 2024), combination of the two phases.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.spineps.clean import ALL, FACES, VOXEL_MM3
from models.spineps.frame import Spacing
from models.spineps.lower_end import LowerEnd, split_sacrum

BODY, DISC, ENDPLATE, SACRUM = 49, 100, 62, 26
VERTEBRAL = (41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51)
ARTICULAR = (45, 46, 47, 48)
POSTERIOR = (41, 42)  # arch and spinous process
LARGEST = 3  # components of a vertebra that are looked at
DOMINANCE = 0.5  # an articular process is one vertebra's when the next has less than this share of it
DILATIONS = 2
MERGED_RATIO = 0.5  # an uppermost instance smaller than this share of the next, grown to it, is a part of it
CONTACT_MM2 = 20 * VOXEL_MM3 ** (2 / 3)
FRAGMENT = 0.15  # of the median vertebra: a smaller instance within the field is none
WHOLE = 0.5  # of the median vertebra: beside the sacrum, less than this is a piece of something else
SACRAL_CONTACT = 0.3  # of a body's cross-section: one that touches the sacrum by more, with no disc between, is S1
ONLY_STEP_MM = 30.0  # from the only body to where the next would be
SACRAL_FRAGMENT = 0.1  # of the largest part of the sacrum: a smaller one is none

EDGES = ndimage.generate_binary_structure(3, 2)
Numbers = NDArray[np.uint16]


@dataclass(frozen=True)
class Combined:
    """Both labelmaps on one grid (P, I, R).

    vertebrae: uint16, 1…n from the head down; discs: uint16, the number of the vertebra above the disc, n + 1 for a
    disc above the first; subregions: uint8, without what belongs to no vertebra; kept: the instance each vertebra
    was, 1-based, in order, 0 for one that was taken out of the sacrum; lower_end: what the sacrum turned out to be.
    """

    vertebrae: Numbers
    discs: Numbers
    subregions: NDArray[np.uint8]
    kept: tuple[int, ...]
    lower_end: LowerEnd = LowerEnd()


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
    _return_arches(vertebrae, part)
    _drop_fragments(vertebrae, part)
    _drop_what_lies_beside_the_sacrum(vertebrae, part)
    given = _give_the_sacrum_its_own(vertebrae, part)
    vertebrae, kept = _from_the_head(vertebrae)
    lower_end, parted = _part_from_the_sacrum(vertebrae, part, given, spacing)
    discs = _discs(vertebrae, part, spacing)
    whole_vertebrae, whole_discs = np.zeros_like(instances), np.zeros_like(instances)
    whole = np.zeros_like(subregions)
    whole_vertebrae[box], whole_discs[box], whole[box] = vertebrae, discs, part
    return Combined(whole_vertebrae, whole_discs, whole, (*kept, *parted), lower_end)


def _settle_articular(vertebrae: Numbers, subregions: NDArray[np.uint8]) -> None:
    """Give an articular process as a whole to the vertebra that has most of it, when the next has little."""
    for structure in ARTICULAR:
        components, _ = ndimage.label(subregions == structure, ALL)
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
    for _ in range(DILATIONS):
        grown = ndimage.grey_dilation(vertebrae, footprint=FACES)
        vertebrae = np.where((vertebrae == 0) & bony, grown, vertebrae)
    components, _ = ndimage.label(bony & (vertebrae == 0), EDGES)
    for number, box in enumerate(ndimage.find_objects(components), start=1):
        wide = _wider(box)
        inside = components[wide] == number
        around = vertebrae[wide][ndimage.binary_dilation(inside, EDGES)]
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
    discs, count = ndimage.label(parting, ALL)
    heights = [c[1] for c in ndimage.center_of_mass(parting, discs, range(1, count + 1))]
    if any(height < below for height in heights):
        return
    volumes = np.bincount(vertebrae.ravel())
    contact = _shared_faces(vertebrae == first, vertebrae == second) * float(np.prod(spacing)) ** (2 / 3)
    if volumes[first] < MERGED_RATIO * volumes[second] and contact > CONTACT_MM2 and top < below:
        vertebrae[vertebrae == first] = second


def _shared_faces(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> int:
    """How many voxel faces have one region on this side and the other on that."""
    faces = 0
    for axis in range(one.ndim):
        a, b = np.moveaxis(one, axis, 0), np.moveaxis(other, axis, 0)
        faces += int(np.count_nonzero(a[1:] & b[:-1]) + np.count_nonzero(a[:-1] & b[1:]))
    return faces


def _return_arches(vertebrae: Numbers, subregions: NDArray[np.uint8]) -> None:
    """Give a piece of arch that hangs apart from its vertebra to the only other one it lies at."""
    found = vertebrae.copy()
    for number, box in enumerate(ndimage.find_objects(found), start=1):
        if box is None:
            continue
        wide = _wider(box)
        near, settled = found[wide], vertebrae[wide]
        components, _ = ndimage.label(near == number, ALL)
        largest = np.argsort(-np.bincount(components.ravel())[1:], kind="stable")[:LARGEST] + 1
        pieces = ndimage.find_objects(components)
        for piece in largest[1:]:
            at = _wider(pieces[piece - 1])
            inside = components[at] == piece
            neighbours = set(np.unique(near[at][~inside]).tolist()) - {0}
            posterior = np.isin(subregions[wide][at][inside], POSTERIOR).all()
            if posterior and len(neighbours) == 1 and number not in neighbours:
                settled[at][inside] = neighbours.pop()


def _wider(box: Sequence[slice]) -> tuple[slice, ...]:
    """A box and one voxel around it."""
    return tuple(slice(max(0, along.start - 1), along.stop + 1) for along in box)


def _drop_fragments(vertebrae: Numbers, subregions: NDArray[np.uint8]) -> None:
    """Drop instances that are far too small for a vertebra, but for the ends of the column, which the field may cut.

    The same for parts of the sacrum. Not in the published method, whose numbering they would shift.
    """
    volumes = np.bincount(vertebrae.ravel())
    numbers = np.flatnonzero(volumes[1:]) + 1
    if len(numbers):
        heights = _heights(vertebrae)
        first = min(heights, key=heights.__getitem__)
        small = [n for n in numbers if volumes[n] < FRAGMENT * np.median(volumes[numbers]) and n != first]
        for number in small:
            rows = np.flatnonzero((vertebrae == number).any((0, 2)))
            if rows[-1] < vertebrae.shape[1] - 1 or (subregions == SACRUM).any():
                vertebrae[vertebrae == number] = 0
    parts, count = ndimage.label(subregions == SACRUM, ALL)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    if count > 1:
        subregions[np.isin(parts, np.flatnonzero(sizes < SACRAL_FRAGMENT * sizes.max()) + 1)] = 0


def _drop_what_lies_beside_the_sacrum(vertebrae: Numbers, subregions: NDArray[np.uint8]) -> None:
    """Drop a piece that lies lower than the sacrum's middle: an iliac bone or an ala that was taken for a vertebra.

    A whole vertebra is kept wherever it lies: then the sacrum is the mistake. Not in the published method, which would
    end the column there.
    """
    rows = np.count_nonzero(subregions == SACRUM, (0, 2))
    heights, volumes = _heights(vertebrae), np.bincount(vertebrae.ravel())
    if not rows.any() or not heights:
        return
    middle = float(np.average(np.arange(len(rows)), weights=rows))
    whole = WHOLE * float(np.median(volumes[list(heights)]))
    for number, height in heights.items():
        if height > middle and volumes[number] < whole:
            subregions[vertebrae == number] = 0
            vertebrae[vertebrae == number] = 0


@dataclass(frozen=True)
class _Given:
    """A vertebra that was given to the sacrum: its instance, its voxels, and what each of them was."""

    instance: int
    voxels: NDArray[np.bool_]
    structures: NDArray[np.uint8]


def _give_the_sacrum_its_own(vertebrae: Numbers, subregions: NDArray[np.uint8]) -> _Given | None:
    """Count a lowest vertebra that grows into the sacrum without a disc as its upper part, S1.

    Not in the published method, whose numbering it would shift by one.
    """
    heights, sacrum = _heights(vertebrae), subregions == SACRUM
    if len(heights) < 2 or not sacrum.any():
        return None
    last = max(heights, key=heights.__getitem__)
    body = (vertebrae == last) & (subregions == BODY)
    rows = np.count_nonzero(body.any((0, 2)))
    if not rows:
        return None
    touching = np.count_nonzero((body & ndimage.binary_dilation(sacrum, FACES)).any(1))
    if touching <= SACRAL_CONTACT * np.count_nonzero(body) / rows:
        return None
    voxels = vertebrae == last
    given = _Given(last, voxels, subregions[voxels])
    subregions[voxels], vertebrae[voxels] = SACRUM, 0
    return given


def _part_from_the_sacrum(
    vertebrae: Numbers, subregions: NDArray[np.uint8], given: _Given | None, spacing: Spacing
) -> tuple[LowerEnd, tuple[int, ...]]:
    """Take out of the sacrum what a disc parts from it; the instance that it was, 0 for none, if one was taken out.

    One that was given to the sacrum before comes back with all its structures.
    """
    lower_end = split_sacrum(vertebrae, subregions, spacing, was_seen=given is not None)
    if lower_end.kind != "split":
        return lower_end, ()
    if given is None:
        return lower_end, (0,)
    vertebrae[given.voxels] = vertebrae.max()
    subregions[given.voxels] = given.structures
    return lower_end, (given.instance,)


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


def _discs(vertebrae: Numbers, subregions: NDArray[np.uint8], spacing: Spacing) -> Numbers:
    """Number each disc by the body above it: of the pairs of bodies that it may lie between, the nearest.

    Above the first body and below the last the column goes on by one more step; what lies beyond, as a remnant within
    the sacrum does, is no disc of a vertebra.
    """
    centres = np.array([_centre(vertebrae == n, subregions) for n in range(1, int(vertebrae.max()) + 1)])
    discs = np.zeros_like(vertebrae)
    components, count = ndimage.label(subregions == DISC, ALL)
    if not count or not len(centres):
        return discs
    course = (centres * spacing)[:, :2]
    if len(course) == 1:
        course = np.concatenate([course, course + [0.0, ONLY_STEP_MM]])
    course = np.concatenate([[2 * course[0] - course[1]], course, [2 * course[-1] - course[-2]]])
    places = np.array(ndimage.center_of_mass(components > 0, components, range(1, count + 1))) * spacing
    table = np.zeros(count + 1, np.uint16)
    for number, place in enumerate(places[:, :2], start=1):
        between = _nearest_pair(place, course)
        table[number] = 0 if between is None else (len(centres) + 1 if between == 0 else between)
    return np.asarray(table[components], np.uint16)


def _centre(vertebra: NDArray[np.bool_], subregions: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Centre of a body in voxels, or of the whole vertebra where none of it is seen."""
    body = vertebra & (subregions == BODY)
    return np.asarray(np.argwhere(body if body.any() else vertebra).mean(0), np.float64)


def _nearest_pair(place: NDArray[np.float64], course: NDArray[np.float64]) -> int | None:
    """Index of the segment of a course (n, 2) that a point lies nearest to; None where it lies below its end."""
    starts, steps = course[:-1], np.diff(course, axis=0)
    along = ((place - starts) * steps).sum(1) / np.maximum((steps**2).sum(1), 1e-9)
    away = np.linalg.norm(starts + np.clip(along, 0, 1)[:, None] * steps - place, axis=1)
    nearest = int(away.argmin())
    return None if nearest == len(steps) - 1 and along[nearest] > 1 else nearest
