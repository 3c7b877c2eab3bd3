"""Which vertebra is which: counting from a landmark, or saying that it is an assumption.

C2 counts downwards, S1 upwards, through the whole column. Without a landmark in view the body region allows a guess:
the uppermost of a cervical radiograph is C3, the lowest of a lumbar one is L5.

Source: Simons & Papież, "SpineFM" (2024): level identification.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.contracts import BodyRegion, Numbering

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


@dataclass(frozen=True)
class Numbered:
    """The levels of a chain.

    members: which of the chain, from the top, belong to the spine between the landmarks.
    levels: one for each of `members`, None where the numbering is unknown.
    """

    members: range
    levels: tuple[str | None, ...]
    numbering: Numbering
    warnings: tuple[str, ...] = ()


def number_chain(
    evidence: Sequence[Mapping[str, float]],
    *,
    threshold: float,
    region: BodyRegion | None,
    cut_above: bool = False,
    cut_below: bool = False,
) -> Numbered:
    """Give the vertebrae of a chain their levels.

    evidence: for each from the top, how much speaks for `C2` and for `S1`, 0–1.
    threshold: evidence from which a landmark counts as seen.
    region: of the body in view, where known.
    cut_above, cut_below: whether the outermost is cut by the image's edge, so that the spine runs on beyond it.
    """
    top = _landmark(evidence, TOP, threshold)
    bottom = _landmark(evidence, BOTTOM, threshold)
    warnings: list[str] = []
    if top is not None and bottom is not None and bottom - top != len(LEVELS) - 1:
        warnings.append(f"C2 and S1 were both seen, {bottom - top} vertebrae apart: the likelier one is taken")
        if evidence[top][TOP] >= evidence[bottom][BOTTOM]:
            bottom = None
        else:
            top = None
    if top is not None:
        return _from_top(top, len(evidence), warnings)
    if bottom is not None:
        return _from_bottom(bottom, len(evidence), warnings)
    return _without_landmark(len(evidence), region, cut_above=cut_above, cut_below=cut_below)


def _landmark(evidence: Sequence[Mapping[str, float]], level: str, threshold: float) -> int | None:
    """Where the landmark is; only at its own end of the chain, since the walk hardly goes beyond it."""
    count = len(evidence)
    places = range(min(count, 1 + MOST_BEYOND)) if level == TOP else range(max(0, count - 1 - MOST_BEYOND), count)
    best = max(places, key=lambda index: evidence[index].get(level, 0.0), default=None)
    return best if best is not None and evidence[best].get(level, 0.0) >= threshold else None


def _from_top(top: int, count: int, warnings: list[str]) -> Numbered:
    members = range(top, min(count, top + len(LEVELS)))
    if top:
        warnings.append(f"{top} found above C2 left out")
    if count > members.stop:
        warnings.append(f"{count - members.stop} found below S1 left out")
    return Numbered(members, LEVELS[: len(members)], "landmark", tuple(warnings))


def _from_bottom(bottom: int, count: int, warnings: list[str]) -> Numbered:
    members = range(max(0, bottom + 1 - len(LEVELS)), bottom + 1)
    if bottom < count - 1:
        warnings.append(f"{count - 1 - bottom} found below S1 left out")
    if members.start:
        warnings.append(f"{members.start} found above C2 left out")
    return Numbered(members, LEVELS[-len(members) :], "landmark", tuple(warnings))


def _without_landmark(count: int, region: BodyRegion | None, *, cut_above: bool, cut_below: bool) -> Numbered:
    everything = range(count)
    unseen = "neither C2 nor S1 was seen"
    if region == "cervical" and not cut_above and count <= MOST_IN_VIEW["cervical"]:
        assumption = f"numbering assumed: {unseen}; the uppermost vertebra is taken for C3"
        return Numbered(everything, LEVELS[1 : count + 1], "assumed", (assumption,))
    if region == "lumbar" and not cut_below and count <= MOST_IN_VIEW["lumbar"]:
        assumption = f"numbering assumed: {unseen}; the lowest vertebra is taken for L5"
        return Numbered(everything, LEVELS[-count - 1 : -1], "assumed", (assumption,))
    why = f"and nothing tells where in a {region} view to begin" if region else "and the body region is not known"
    return Numbered(everything, (None,) * count, "unknown", (f"numbering unknown: {unseen} {why}",))
