"""Which vertebra is which: counting from a landmark, or saying that it is an assumption.

C2 counts downwards, S1 upwards, through the whole column. Without a landmark in view the body region allows a guess:
the uppermost of a cervical radiograph is C3, the lowest of a lumbar one is L5. `models.numbering` decides; what it weighs
(differences of log-likelihoods):

| evidence | loses | where the weight comes from |
| --- | --- | --- |
| C2, S1 | `LANDMARK` unless that vertebra is it; nothing where it is poor | phantoms: with one in view 187 of 192 are named right |
| region | `LOWEST`, `UPPERMOST` by what the outermost is | field of view of laterals: our estimate |
| outmost poor | `LOWEST_POOR`: it may be S1, or none | seen on real laterals: an S1 that was taken for L5 at a confidence of 0.29 |

A step that is far longer than a body hides a vertebra that was jumped over: it is counted, and each makes the numbering
less likely.

Source: Simons & Papież, "SpineFM" (2024): level identification.
"""  # noqa: E501 - a table

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from models.contracts import BodyRegion, Numbering
from models.numbering import Decision, Evidence, decide

LEVELS = (
    *(f"C{number}" for number in range(2, 8)),
    *(f"T{number}" for number in range(1, 13)),
    *(f"L{number}" for number in range(1, 6)),
    "S1",
)
TOP, BOTTOM = LEVELS[0], LEVELS[-1]
MOST_BEYOND = 2  # so many structures beyond a landmark are taken for false; more, and the landmark is
# More than this many in one view, and the outermost is not the one that the region suggests.
MOST_IN_VIEW: Mapping[BodyRegion, int] = {"cervical": 7, "lumbar": 10}
LANDMARK = 8.0
POOR = 0.5  # less certain to be a vertebra at all than this, one is no landmark
LOWEST: Mapping[str, float] = {"L5": 0.7, "L4": 0.12, "S1": 0.08, "L3": 0.05}
LOWEST_POOR: Mapping[str, float] = {"L5": 0.38, "S1": 0.38, "L4": 0.12, "L3": 0.05}
UPPERMOST: Mapping[str, float] = {"C3": 0.75, "C2": 0.08, "C4": 0.1}
ELSEWHERE = 0.005
LONG_STEP, LONG_TO_USUAL = 1.75, 1.6  # in body sizes, and of the other steps: a vertebra was jumped over
USUAL_STEP = 1.25  # in body sizes, where every step is long; the median of phantoms and of real laterals
MOST_HIDDEN = 3
SURE_OF_A_GAP = 0.75  # that as many as were counted were jumped over, for each of them; our estimate
SURE_OF_ONE_LANDMARK = 0.9  # where the other contradicts it; our estimate


@dataclass(frozen=True)
class Numbered:
    """The levels of a chain.

    members: which of the chain, from the top, belong to the spine between the landmarks.
    levels: one for each of `members`, None where the numbering is unknown.
    probability: of the whole numbering; 1 where it is unknown.
    """

    members: range
    levels: tuple[str | None, ...]
    numbering: Numbering
    warnings: tuple[str, ...] = ()
    probability: float = field(default=1.0, compare=False)


@dataclass(frozen=True)
class ChainView:
    """What else is known of a chain, from the top.

    certain: of each, that it is a vertebra, 0–1. steps: from each to the next, in body sizes. Both may be empty.
    cut_above, cut_below: whether the outermost is cut by the image's edge, so that the spine runs on beyond it.
    """

    certain: Sequence[float] = ()
    steps: Sequence[float] = ()
    cut_above: bool = False
    cut_below: bool = False


def number_chain(
    evidence: Sequence[Mapping[str, float]],
    *,
    threshold: float,
    region: BodyRegion | None,
    cut_above: bool = False,
    cut_below: bool = False,
    certain: Sequence[float] = (),
    steps: Sequence[float] = (),
) -> Numbered:
    """Give the vertebrae of a chain their levels.

    evidence: for each from the top, how much speaks for `C2` and for `S1`, 0–1.
    threshold: evidence from which a landmark counts as seen.
    region: of the body in view, where known.
    cut_above, cut_below, certain, steps: as in `ChainView`.
    """
    view = ChainView(certain or (1.0,) * len(evidence), steps, cut_above, cut_below)
    top = _landmark(evidence, TOP, threshold, view.certain)
    bottom = _landmark(evidence, BOTTOM, threshold, view.certain)
    places, hidden = column_places(len(evidence), steps, top)
    sure, warnings = SURE_OF_A_GAP ** sum(hidden), _jumps(hidden)
    if top is not None and bottom is not None and places[bottom] - places[top] != len(LEVELS) - 1:
        warnings.append(f"C2 and S1 were both seen, {bottom - top} vertebrae apart: the likelier one is taken")
        sure *= SURE_OF_ONE_LANDMARK
        c2_likelier = evidence[top][TOP] >= evidence[bottom][BOTTOM]
        top, bottom = (top, None) if c2_likelier else (None, bottom)
    members = _members(places, top, bottom, warnings)
    if not members:
        return Numbered(range(0), (), "unknown", tuple(warnings))
    seen = {level: index - members.start for level, index in ((TOP, top), (BOTTOM, bottom)) if index is not None}
    rows = [_at(level, place) for level, place in seen.items()] or _guesses(region, members, view)
    decision = decide([places[index] - places[members.start] for index in members], rows, uppermost=TOP)
    decision = replace(decision, probability=decision.probability * sure)
    numbering = decision.numbering(landmark=bool(seen))
    warnings += _sentences(numbering, region, decision, seen=bool(seen))
    if numbering == "unknown":
        return Numbered(members, (None,) * len(members), "unknown", tuple(warnings))
    return Numbered(members, decision.best.names, numbering, tuple(warnings), decision.probability)


def _at(level: str, place: int) -> Evidence:
    """A landmark, seen at one of the chain's members."""
    return Evidence(level, lambda h: 0.0 if h.names[place] == level else -LANDMARK)


def _jumps(hidden: Sequence[int]) -> list[str]:
    return [
        f"{missed} vertebra(e) between the {index}. and the {index + 1}. from the top not found"
        for index, missed in enumerate(hidden, start=1)
        if missed
    ]


def column_places(count: int, steps: Sequence[float], top: int | None) -> tuple[list[int], list[int]]:
    """Place of each vertebra in the column, and how many were jumped over before each but the first.

    steps: in body sizes, or none; the one from C2 (at `top`) is long by its dens and tells nothing.
    """
    told = [step for index, step in enumerate(steps) if index != top]
    even = [step for step in told if step <= LONG_STEP]
    usual = median(even) if even else USUAL_STEP
    hidden = []
    for index in range(count - 1):
        step = steps[index] if index < len(steps) and index != top else usual
        long = step > max(LONG_STEP, LONG_TO_USUAL * usual) or (step > LONG_STEP and not even)
        hidden.append(min(MOST_HIDDEN, max(1, round(step / usual) - 1)) if long else 0)
    places = [0] if count else []
    for missed in hidden:
        places.append(places[-1] + 1 + missed)
    return places, hidden


def _landmark(
    evidence: Sequence[Mapping[str, float]], level: str, threshold: float, certain: Sequence[float]
) -> int | None:
    """Where the landmark is; only at its own end of the chain, since the walk hardly goes beyond it.

    One that is hardly a vertebra is none.
    """
    count = len(evidence)
    places = range(min(count, 1 + MOST_BEYOND)) if level == TOP else range(max(0, count - 1 - MOST_BEYOND), count)
    best = max(places, key=lambda index: evidence[index].get(level, 0.0), default=None)
    seen = best is not None and evidence[best].get(level, 0.0) >= threshold and certain[best] >= POOR
    return best if seen else None


def _members(places: Sequence[int], top: int | None, bottom: int | None, warnings: list[str]) -> range:
    """What lies between the landmarks and is no more than a column."""
    start, stop = top or 0, len(places) if bottom is None else bottom + 1
    if top is not None:
        stop = next((i for i in range(start, stop) if places[i] - places[top] >= len(LEVELS)), stop)
    elif bottom is not None:
        start = next(i for i in range(stop) if places[bottom] - places[i] < len(LEVELS))
    if start:
        warnings.append(f"{start} found above C2 left out")
    if stop < len(places):
        warnings.append(f"{len(places) - stop} found below S1 left out")
    return range(start, stop)


def _guesses(region: BodyRegion | None, members: range, view: ChainView) -> list[Evidence]:
    """What the region makes of the outermost vertebra, where the spine does not run on beyond it."""
    if region is None or len(members) > MOST_IN_VIEW.get(region, 0):
        return []
    if region == "cervical" and not view.cut_above:
        return [Evidence("region", lambda h: math.log(UPPERMOST.get(h.names[0] or "", ELSEWHERE)))]
    if region == "lumbar" and not view.cut_below:
        table = LOWEST if view.certain[members[-1]] >= POOR else LOWEST_POOR
        return [Evidence("region", lambda h: math.log(table.get(h.names[-1] or "", ELSEWHERE)))]
    return []


def _sentences(numbering: Numbering, region: BodyRegion | None, decision: Decision, *, seen: bool) -> list[str]:
    unseen = "neither C2 nor S1 was seen"
    if seen:
        span = f"{decision.best.names[0]} to {decision.best.names[-1]}"
        doubt = f"numbering {numbering}: {span} has a probability of {decision.probability:.2f} only"
        return [] if numbering == "landmark" else [doubt]
    if numbering == "assumed":
        end, level = ("uppermost", "C3") if region == "cervical" else ("lowest", "L5")
        return [f"numbering assumed: {unseen}; the {end} vertebra is taken for {level}"]
    why = f"and nothing tells where in a {region} view to begin" if region else "and the body region is not known"
    return [f"numbering unknown: {unseen} {why}"]
