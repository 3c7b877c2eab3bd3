"""Predictions of the same vertebra from up to three centres become one instance, by how well they agree.

Every mask is kept in its own box; the volume exists once.
Source: Möller et al., "SPINEPS" (European Radiology 2024), second phase.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.spineps.clean import Box
from models.spineps.cutouts import Prediction

REACH = 2  # centres on either side among which partners are looked for
PARTNERS = 2
PARTNER_DICE = 0.3
TAKEN_SHARE = 0.6  # a couple that lies in what is taken by more than this is left out


@dataclass(frozen=True)
class Couple:
    """Predictions of one vertebra, and the mean Dice between its members."""

    members: tuple[Prediction, ...]
    agreement: float

    @property
    def rank(self) -> float:
        """Which couple may take its voxels first."""
        return (len(self.members) + 1) * self.agreement


@dataclass(frozen=True)
class Instances:
    """labelmap: (P, I, R) uint16, 1…n in the order in which they were taken; agreement: by number, 0–1."""

    labelmap: NDArray[np.uint16]
    agreement: dict[int, float]


def dice(a: Prediction, b: Prediction) -> float:
    """Overlap of two predictions, 0–1."""
    shared = _intersection(a.box, b.box)
    if shared is None:
        return 0.0
    both = np.count_nonzero(a.mask[_within(shared, a.box)] & b.mask[_within(shared, b.box)])
    return 2 * both / (a.voxels + b.voxels)


def couples_of(predictions: Sequence[Prediction]) -> list[Couple]:
    """Every prediction with its best partners, each set of members once, the best-ranked first."""
    agreements: dict[frozenset[int], list[float]] = {}
    for index, anchor in enumerate(predictions):
        scores = {
            other: dice(anchor, candidate)
            for other, candidate in enumerate(predictions)
            if candidate.centre != anchor.centre and abs(candidate.centre - anchor.centre) <= REACH
        }
        best = sorted(scores, key=lambda other: -scores[other])[:PARTNERS]
        best = [other for other in best if scores[other] > PARTNER_DICE]
        if len(best) == PARTNERS and dice(predictions[best[0]], predictions[best[1]]) < PARTNER_DICE:
            best = best[:1]  # both agree with the anchor, not with each other
        agreement = float(np.mean([scores[other] for other in best])) if best else 0.0
        agreements.setdefault(frozenset((index, *best)), []).append(agreement)
    couples = [
        Couple(tuple(predictions[index] for index in sorted(members)), float(np.mean(values)))
        for members, values in agreements.items()
    ]
    return sorted(couples, key=lambda couple: -couple.rank)


def fuse(predictions: Sequence[Prediction], shape: tuple[int, ...]) -> Instances:
    """Let couples take their voxels in the order of their rank.

    A voxel belongs to a couple where two members have it; one member is enough in couples of two and in those that
    agree badly.
    """
    labelmap = np.zeros(shape, np.uint16)
    agreement: dict[int, float] = {}
    for couple in couples_of(predictions):
        box = _union([member.box for member in couple.members])
        votes = np.zeros([s.stop - s.start for s in box], np.uint8)
        for member in couple.members:
            votes[_within(member.box, box)] += member.mask
        alone = len(couple.members) <= PARTNERS or couple.agreement < 0.3 + 0.15 * (4 - len(couple.members))
        wanted = votes >= (1 if alone else 2)
        target = labelmap[box]
        free = wanted & (target == 0)
        if np.count_nonzero(free) < (1 - TAKEN_SHARE) * np.count_nonzero(wanted):
            continue
        number = len(agreement) + 1
        target[free] = number
        agreement[number] = couple.agreement
    return Instances(labelmap, agreement)


def _intersection(a: Box, b: Box) -> Box | None:
    p, i, r = (slice(max(x.start, y.start), min(x.stop, y.stop)) for x, y in zip(a, b, strict=True))
    return (p, i, r) if all(s.start < s.stop for s in (p, i, r)) else None


def _union(boxes: Sequence[Box]) -> Box:
    p, i, r = (slice(min(s.start for s in along), max(s.stop for s in along)) for along in zip(*boxes, strict=True))
    return p, i, r


def _within(inner: Box, outer: Box) -> Box:
    """`inner` in the indices of `outer`."""
    p, i, r = (slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, outer, strict=True))
    return p, i, r
