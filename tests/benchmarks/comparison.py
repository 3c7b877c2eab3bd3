"""Two labelmaps of one volume in SPINEPS' labels, held against each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VERTEBRAE = (*range(1, 26), 28)  # 26 is the sacrum
DISCS = range(100, 129)  # 100 plus the vertebra above; above the first ours is 100 alone
STRUCTURE_NAMES: Mapping[int, str] = {
    41: "arch",
    42: "spinous process",
    43: "costal process, left",
    44: "costal process, right",
    45: "superior articular process, left",
    46: "superior articular process, right",
    47: "inferior articular process, left",
    48: "inferior articular process, right",
    49: "vertebral body",
    60: "spinal cord",
    61: "spinal canal",
    62: "end-plate",
    100: "disc",
    26: "sacrum",
}
# The original's answer tells an end-plate's upper and lower half apart, ours does not: structure 62 holds both.
HALVES = (52, 53)
ENDPLATE = 62
# The original numbers every piece that its fusion leaves over, ours gives none below this share of the median vertebra:
# pieces are counted apart, and those of discs not at all.
FRAGMENT = 0.15


@dataclass(frozen=True)
class Agreement:
    """How far two runs agree.

    vertebra_counts, fragments: ours, the original's; a fragment is no vertebra, and has no Dice.
    structures: SPINEPS' label → Dice, for every structure that either has.
    vertebrae, discs: Dice of each pair, from the head downwards; one that has no partner counts 0.
    """

    vertebra_counts: tuple[int, int]
    structures: Mapping[int, float]
    vertebrae: tuple[float, ...]
    discs: tuple[float, ...]
    fragments: tuple[int, int] = (0, 0)


def compare(ours: Mapping[str, NDArray[np.uint16]], original: Mapping[str, NDArray[np.uint16]]) -> Agreement:
    """Compare two pairs of `subregions` and `vertebrae` (slices, rows, columns).

    Raises: ValueError when they lie on different grids.
    """
    for name in ("subregions", "vertebrae"):
        if ours[name].shape != original[name].shape:
            raise ValueError(f"{name}: {ours[name].shape} against {original[name].shape}: not on one grid")
    instances = [_without_fragments(run["vertebrae"]) for run in (ours, original)]
    counts = [len(_present(whole, VERTEBRAE)) for whole in instances]
    fragments = [
        len(_present(run["vertebrae"], VERTEBRAE)) - count for run, count in zip((ours, original), counts, strict=True)
    ]
    mine, theirs = (_whole_endplates(run["subregions"]) for run in (ours, original))
    structures = {
        label: dice(mine == label, theirs == label)
        for label in STRUCTURE_NAMES
        if (mine == label).any() or (theirs == label).any()
    }
    return Agreement(
        (counts[0], counts[1]),
        structures,
        paired_dice(instances[0], instances[1], VERTEBRAE),
        paired_dice(instances[0], instances[1], DISCS),
        (fragments[0], fragments[1]),
    )


def _whole_endplates(subregions: NDArray[np.uint16]) -> NDArray[np.uint16]:
    return np.where(np.isin(subregions, HALVES), np.uint16(ENDPLATE), subregions)


def _without_fragments(labelmap: NDArray[np.uint16]) -> NDArray[np.uint16]:
    volumes, fragments = np.bincount(labelmap.ravel()), list[int]()
    for labels in (VERTEBRAE, DISCS):
        known = _present(labelmap, labels)
        least = FRAGMENT * float(np.median(volumes[known])) if known else 0.0
        fragments += [label for label in known if volumes[label] < least]
    return np.where(np.isin(labelmap, fragments), np.uint16(0), labelmap)


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Twice the overlap over the sum; 1 where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


def paired_dice(first: NDArray[np.uint16], second: NDArray[np.uint16], labels: Sequence[int]) -> tuple[float, ...]:
    """Dice of the instances of both, each with the partner it overlaps most, whatever the labels are called.

    Numbering is another question: the original counts from the top where it has no labelling network.
    """
    mine, theirs = _present(first, labels), _present(second, labels)
    overlaps = np.zeros((len(mine), len(theirs)))
    for row, label in enumerate(mine):
        inside = second[first == label]
        overlaps[row] = [2 * (inside == other).sum() for other in theirs]
    sizes = [int((first == label).sum()) for label in mine], [int((second == label).sum()) for label in theirs]
    values = overlaps / np.add.outer(*sizes) if mine and theirs else overlaps
    return _best_pairs(values)


def _best_pairs(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Pair rows and columns greedily by the greatest value; those left over count 0."""
    rows, columns = values.shape
    left, found = values.copy(), []
    for _ in range(min(rows, columns)):
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        if left[row, column] <= 0:
            break
        found.append((int(row), float(values[row, column])))
        left[row], left[:, column] = -1, -1
    unpaired = max(rows, columns) - len(found)
    return (*(value for _, value in sorted(found)), *([0.0] * unpaired))


def _present(labelmap: NDArray[np.uint16], labels: Sequence[int]) -> list[int]:
    return [int(label) for label in np.unique(labelmap) if label in labels]
