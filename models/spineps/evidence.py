"""What speaks for and against a numbering of an MR volume's column: a table of evidences with their weights.

A weight is a difference of log-likelihoods: what a hypothesis loses that does not go with what was seen. A landmark that
is wrong once in 100 times leaves that much to some thirty other places together: log 100 + log 30 ≈ 8.

| evidence | loses | where the weight comes from |
| --- | --- | --- |
| sacrum | `SACRUM` unless S1 is next below the last | phantoms: with a landmark in view 37 of 38 were named right (docs/accuracy.md) |
| disc in the sacrum | as the disc's size says | between `REMNANT` and `FULL_DISC` of `models.spineps.lower_end`, linear: our estimate |
| dens | `DENS` unless that vertebra is C2 | less than the sacrum: that is a structure of its own, the axis but a shape; by how much is our estimate |
| cord's end | (place − mean)² / 2σ², at most `CORD_MOST` | Saifuddin et al. (Spine 1998): lower third of L1, T12 to L3, normal; σ with the error of a segmentation |
| steps | as their sizes are unusual, at most `STEPS_MOST` | mean and deviation of phantoms' steps (models.phantom.anatomy) |
| region | `OUTSIDE` × share of the names outside the header's region; `LOWEST` | field of view of common protocols: our estimate |
| atlas, S1 | `ATLAS`, `S1_AS_BODY` where C1 or S1 would be among the vertebrae | SPINEPS' labels name no C1, S1 is sacrum: our estimate |
| network | `NETWORK` × certainty² unless the names are its path | a sure network may find T13, whose prior is 0.017; its own prices are in `models.spineps.label_path` |
"""  # noqa: E501 - a table

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.contracts import BodyRegion
from models.numbering import Evidence, Hypothesis
from models.spineps.label_path import LabelPath, Scores
from models.spineps.lower_end import FULL_DISC, REMNANT, LowerEnd

SACRUM, DENS = 8.0, 6.5
CORD_MEAN, CORD_SIGMA, CORD_MOST = 0.33, 0.65, 4.0  # in vertebrae below the centre of L1
STEPS_MOST, STEP_SIGMA = 1.5, 0.2  # of the logarithm of a step: 0.13 among persons, and its measure's error
# From the centre of a vertebra to that of the next, in mm.
STEP_MM = {"C3": 18.0, "C6": 19.0, "T1": 20.7, "T6": 24.8, "T12": 32.7, "L1": 35.0, "L3": 37.3, "L5": 37.6}
OUTSIDE = 3.0
REGIONS: Mapping[BodyRegion, tuple[str, str]] = {
    "cervical": ("C1", "T6"),
    "thoracic": ("C6", "L3"),
    "lumbar": ("T8", "S1"),
}
LOWEST = (0.64, 0.16, 0.08, 0.05)  # in a lumbar view without a sacrum: 0, 1, … vertebrae between the last and S1
LOWEST_ELSE = 0.02
ATLAS, S1_AS_BODY, NO_NAME = 4.0, 3.0, 4.0
NETWORK = 9.0
LEVELS = (*(f"C{n}" for n in range(1, 8)), *(f"T{n}" for n in range(1, 14)), *(f"L{n}" for n in range(1, 7)), "S1")


@dataclass(frozen=True)
class Landmarks:
    """What helps to name a column besides its vertebrae.

    sacrum: whether one is seen below the last. lower_end: what it turned out to be. cord_end: where the cord ends, in
    places of the column from the uppermost vertebra's centre, None where that is not seen. body_region: what the header
    says. said: the labelling network's probabilities (vertebrae, classes) by head, where the pack has one.
    """

    sacrum: bool
    body_region: BodyRegion | None = None
    lower_end: LowerEnd = LowerEnd()
    cord_end: float | None = None
    said: Mapping[str, Scores] | None = None


@dataclass(frozen=True)
class Seen:
    """What was measured of a column.

    steps_mm: from each vertebra to the next, None where one is missing between or has no body. axis: which is C2.
    path: of the labelling network, at the vertebrae found.
    """

    steps_mm: Sequence[float | None]
    axis: int | None
    landmarks: Landmarks
    path: LabelPath | None


def evidences_of(seen: Seen) -> list[Evidence]:
    """The rows of the table above that there is something to say of."""
    landmarks, axis, path, cord = seen.landmarks, seen.axis, seen.path, seen.landmarks.cord_end
    rows = [
        Evidence("atlas", lambda h: -ATLAS if h.names[0] == "C1" and axis != 1 else 0.0),
        Evidence("S1", lambda h: -S1_AS_BODY if h.above_s1 < 0 else 0.0),
        Evidence("outside", lambda h: -NO_NAME * h.names.count(None)),
        Evidence("steps", lambda h: _weigh_steps(seen.steps_mm, h)),
    ]
    if landmarks.sacrum:
        rows.append(Evidence("sacrum", lambda h: _weigh_sacrum(landmarks.lower_end, h)))
    elif landmarks.body_region == "lumbar":
        rows.append(Evidence("region", _weigh_lowest))
    if landmarks.body_region is not None:
        first, last = (LEVELS.index(level) for level in REGIONS[landmarks.body_region])
        within = frozenset(LEVELS[first : last + 1])
        rows.append(Evidence("region", lambda h: -OUTSIDE * sum(n not in within for n in h.names) / len(h.names)))
    if axis is not None:
        rows.append(Evidence("dens", lambda h: 0.0 if h.names[axis] == "C2" else -DENS))
    if cord is not None:
        rows.append(Evidence("cord's end", lambda h: _weigh_cord(cord, h)))
    if path is not None:
        rows.append(Evidence("network", lambda h: 0.0 if h.names == path.names else -NETWORK * path.certainty**2))
    return rows


def _weigh_sacrum(lower_end: LowerEnd, hypothesis: Hypothesis) -> float:
    if lower_end.kind != "doubtful":
        return 0.0 if hypothesis.above_s1 == 0 else -SACRUM
    hidden = float(np.clip((lower_end.share - REMNANT) / (FULL_DISC - REMNANT), 0.1, 0.9))
    return math.log({0: 1 - hidden, 1: hidden}.get(hypothesis.above_s1, math.exp(-SACRUM)))


def _weigh_lowest(hypothesis: Hypothesis) -> float:
    above = hypothesis.above_s1
    return math.log(LOWEST[above] if 0 <= above < len(LOWEST) else LOWEST_ELSE)


def _weigh_cord(cord_end: float, hypothesis: Hypothesis) -> float:
    off = (cord_end - hypothesis.l1 - CORD_MEAN) / CORD_SIGMA
    return -min(off**2 / 2, CORD_MOST)


def _weigh_steps(steps_mm: Sequence[float | None], hypothesis: Hypothesis) -> float:
    """Compare the steps' mean size with that of the levels; a person is larger or smaller as a whole."""
    known, at = list(STEP_MM.values()), [LEVELS.index(level) for level in STEP_MM]
    offs = [
        math.log(step / float(np.interp(LEVELS.index(level), at, known)))
        for step, level in zip(steps_mm, hypothesis.names, strict=False)
        if step is not None and level is not None and level != "C2"
    ]
    return -min((float(np.mean(offs)) / STEP_SIGMA) ** 2 / 2, STEPS_MOST) if offs else 0.0
