"""The likeliest names of a column of vertebrae: a path through the levels, from what a network says of each vertebra.

Names follow one another. Twelve thoracic and five lumbar vertebrae are usual; eleven or thirteen, and four or six, are
found and cost a path its price, so that one blurred vertebra does not add a rib to the patient. The dens and the
sacrum, where they are seen, hold the path at their end.

The published search has no prices and no landmarks, and settles a step before it knows what the ends of the regions say
of it; without prices and landmarks this one finds the same path or a likelier one.

Source: the labelling released with SPINEPS v1.4.0 (VERIDAH), its weights for the heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SLOTS = (*(f"C{n}" for n in range(1, 8)), *(f"T{n}" for n in range(1, 14)), *(f"L{n}" for n in range(1, 7)))
AXIS, C7, T1, T11, T12, T13, L1, L4, L5, L6 = map(
    SLOTS.index, ("C2", "C7", "T1", "T11", "T12", "T13", "L1", "L4", "L5", "L6")
)
PLAIN = (*range(T13), *range(L1, L6))  # the classes of VERT: SLOTS without T13 and L6
EXACT_HEADS = ("VERTEX", "VERTEXACT")  # the heads over all SLOTS
GROUPS = (2, 3, 2, 2, 2, 3, 2, 2, 1, 2, 2, 1)  # how many levels of PLAIN each class of VERTGRP has
SEEN_WHOLE, IS_T13 = 1, 1  # the classes of FULLYVISIBLE and VERTT13 that say so
LAST_CERVICAL, FIRST_THORACIC, LAST_THORACIC, FIRST_LUMBAR = 1, 2, 3, 4  # classes of VERTREL
W_VERTEBRA, W_GROUP, W_REGION, W_ENDS, W_T13, W_PART = 0.9, 0.8, 1.1, 0.6, 0.4, 0.5
SIGMA, REACH = 0.8, 2  # a class shares in what is said of those beside it
SIGMA_ENDS, REACH_ENDS = 0.6, 1
TINY = 1e-8
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Prices:
    """What a path pays for an unusual column; a vertebra that is surely known by name is worth about 1.

    Chosen on simulated answers, with one column in sixteen unusual: fewest wrong paths over all degrees of certainty.
    """

    eleven_thoracic: float = 0.15
    thirteen_thoracic: float = 0.15
    four_lumbar: float = 0.15  # where the sacrum is seen
    six_lumbar: float = 0.1


@dataclass(frozen=True)
class LabelPath:
    """names: from the head down; certainty: 0–1, how much of what is said best of each vertebra goes to its name."""

    names: tuple[str, ...]
    certainty: float


def find_path(
    heads: Mapping[str, Scores], *, axis: int | None = None, sacrum: bool = False, prices: Prices | None = None
) -> LabelPath | None:
    """Find the likeliest names; None where there is no path: more vertebrae than names, or landmarks that contradict.

    heads: by name (vertebrae, classes), probabilities, vertebrae from the head down. axis: which vertebra has the dens;
    without it no path starts with C1. sacrum: whether the last vertebra lies on it.
    """
    scores, prices = score_levels(heads), prices or Prices()
    ends = _ends(heads, len(scores))
    gains = scores.copy()
    gains[:, T1] += ends[:, FIRST_THORACIC]
    gains[:, L1] += ends[:, FIRST_LUMBAR]
    if not _is_exact(heads):
        gains[:, T13] += _thirteenth(heads, len(scores))
        gains[0, [T13, L6]] = -np.inf  # told from T12 and L5 only by coming after them
    if axis is None:
        gains[0, :AXIS] = -np.inf
    else:
        gains[axis, np.arange(len(SLOTS)) != AXIS] = -np.inf
    if sacrum:
        gains[-1, :L4] = -np.inf
        gains[-1, L4] -= prices.four_lumbar
    path = _best_path(gains, ends, prices)
    if path is None:
        return None
    shares = [scores[row, slot] / max(scores[row].max(), TINY) for row, slot in enumerate(path)]
    return LabelPath(tuple(SLOTS[slot] for slot in path), float(np.mean(shares)))


def score_levels(heads: Mapping[str, Scores]) -> Scores:
    """Add up what the heads say of each vertebra: (vertebrae, SLOTS), a row at most 1, less where seen in part."""
    said: list[tuple[float, Scores]] = []
    if _is_exact(heads):
        starts = (0, T1, L1, len(SLOTS))
        said += [(W_VERTEBRA, _smoothed(heads[name], starts)) for name in EXACT_HEADS if name in heads][:1]
    else:
        starts = (0, T1, T13, len(PLAIN))
        said += [(W_VERTEBRA, _smoothed(heads["VERT"], starts))] if "VERT" in heads else []
        said += [(W_VERTEBRA, _smoothed(_folded(heads["VERTEX"]), starts))] if "VERTEX" in heads else []
        grouped = np.repeat(heads["VERTGRP"], GROUPS, axis=1) if "VERTGRP" in heads else None
        said += [(W_GROUP, _smoothed(grouped, starts))] if grouped is not None else []
    if "REGION" in heads:
        said.append((W_REGION, _shared(np.repeat(heads["REGION"], np.diff(starts), axis=1))))
    scores = _shared(np.sum([weight * values for weight, values in said], axis=0)) * _seen(heads)[:, None]
    return scores if _is_exact(heads) else scores[:, np.searchsorted(PLAIN, range(len(SLOTS)), side="right") - 1]


def _is_exact(heads: Mapping[str, Scores]) -> bool:
    return "VERT" not in heads and any(name in heads for name in EXACT_HEADS)


def _folded(exact: Scores) -> Scores:
    """SLOTS → PLAIN: T13 counts for T12, L6 for L5."""
    folded = exact.astype(float).copy()
    folded[:, T12] += folded[:, T13]
    folded[:, L5] += folded[:, L6]
    return folded[:, list(PLAIN)]


def _smoothed(values: Scores, starts: tuple[int, ...]) -> Scores:
    """Share within each region among neighbouring classes; starts: of the regions, and the end."""
    smooth = values.astype(float).copy()
    for start, stop in zip(starts, starts[1:], strict=False):
        region = values[:, start:stop].astype(float)
        smooth[:, start:stop] = ndimage.gaussian_filter1d(region, SIGMA, axis=1, mode="nearest", radius=REACH)
    return _shared(smooth)


def _shared(values: Scores) -> Scores:
    return np.asarray(values / (values.sum(1, keepdims=True) + TINY), np.float64)


def _seen(heads: Mapping[str, Scores]) -> Scores:
    """How much a vertebra's say counts, by how wholly it and those beside it are seen."""
    count = len(next(iter(heads.values())))
    whole = heads["FULLYVISIBLE"][:, SEEN_WHOLE].astype(float) if "FULLYVISIBLE" in heads else np.ones(count)
    whole = ndimage.gaussian_filter1d(whole, SIGMA, mode="constant", radius=REACH)
    return np.asarray(np.clip(1 - W_PART * (1 - np.round(whole, 3)), 0, 1), np.float64)


def _ends(heads: Mapping[str, Scores], count: int) -> Scores:
    """What VERTREL adds to a vertebra that begins or ends a region: (vertebrae, its classes)."""
    if "VERTREL" not in heads:
        return np.zeros((count, FIRST_LUMBAR + 2))
    ends = heads["VERTREL"].astype(float).copy()
    ends[:, 1:] = ndimage.gaussian_filter1d(ends[:, 1:], SIGMA_ENDS, axis=0, mode="nearest", radius=REACH_ENDS)
    sums = ends.sum(0) + TINY
    return np.asarray(W_ENDS * ends / np.where(sums > 1, sums, 1 + sums))


def _thirteenth(heads: Mapping[str, Scores], count: int) -> Scores:
    """What VERTT13 adds to a vertebra that is called T13."""
    if "VERTT13" not in heads:
        return np.zeros(count)
    is_t13 = heads["VERTT13"][:, IS_T13].astype(float)
    return np.asarray(W_T13 * is_t13 / (is_t13.sum() + TINY))


def _best_path(gains: Scores, ends: Scores, prices: Prices) -> list[int] | None:
    """Slots of the path with the greatest sum, from the head down; None where every path is forbidden."""
    steps = [(slot, slot + 1, 0.0) for slot in range(L6)]
    steps += [(T12, L1, 0.0), (T11, L1, -prices.eleven_thoracic)]
    prior = {(T12, T13): -prices.thirteen_thoracic, (L5, L6): -prices.six_lumbar}
    best, came_from = gains[0], list[NDArray[np.intp]]()
    for row in range(1, len(gains)):
        reached, origin = np.full(len(SLOTS), -np.inf), np.zeros(len(SLOTS), np.intp)
        for before, after, gain in steps:
            leaving = LAST_CERVICAL if before == C7 else LAST_THORACIC if after == L1 else None
            total = best[before] + gain + prior.get((before, after), 0.0)
            total += ends[row - 1, leaving] if leaving is not None else 0.0
            if total > reached[after]:
                reached[after], origin[after] = total, before
        best = reached + gains[row]
        came_from.append(origin)
    if not np.isfinite(best).any():
        return None
    path = [int(best.argmax())]
    for origin in reversed(came_from):
        path.insert(0, int(origin[path[0]]))
    return path
