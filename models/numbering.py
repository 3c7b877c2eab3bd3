"""The numbering of a column as one decision: hypotheses, what speaks for and against each, the likeliest and the next.

A hypothesis is a column (11–13 thoracic, 4–6 lumbar vertebrae) and where in it the uppermost vertebra found stands. An
evidence gives each hypothesis a log-likelihood; their sum with the prior, over all hypotheses, makes probabilities.
Hypotheses that give the same names count together.

Source of the prior: Tins & Balain, "Incidence of numerical variants and transitional lumbosacral vertebrae on
whole-spine MRI" (Insights into Imaging 2016): of 418 patients 18 had one mobile vertebra more, 14 one less.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from models.contracts import Numbering

LIKELY = 0.8  # probability from which a numbering with a landmark in view is one by that landmark
POSSIBLE = 0.5  # from which it is assumed; below, it is unknown
THORACIC, LUMBAR = 12, 5
# (thoracic, lumbar) → probability. Those sums are the source's; that a variant is lumbar rather than thoracic, and that
# two may cancel out, are our estimates.
COLUMNS: Mapping[tuple[int, int], float] = {
    (12, 5): 0.92, (12, 6): 0.026, (13, 5): 0.017, (12, 4): 0.02, (11, 5): 0.013, (11, 6): 0.002, (13, 4): 0.002
}  # fmt: skip


@dataclass(frozen=True)
class Hypothesis:
    """Names of the vertebrae found, from the head down, and where landmarks would stand.

    names: None for a place outside the column (above C1, below S1). above_s1: vertebrae between the last and S1; -1
    where the last is S1. l1: the place of L1, in view or not. unusual: what is unusual in that column, as far as it is
    in view.
    """

    names: tuple[str | None, ...]
    above_s1: int
    l1: int
    prior: float
    unusual: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What was seen, and how well it goes with a hypothesis: a log-likelihood of at most 0, greater where better."""

    name: str
    weigh: Callable[[Hypothesis], float]


@dataclass(frozen=True)
class Decision:
    """The likeliest numbering, its probability, and the next likely one with its own (None where there is none)."""

    best: Hypothesis
    probability: float
    runner_up: Hypothesis | None
    runner_up_probability: float

    def numbering(self, *, landmark: bool) -> Numbering:
        """By the thresholds; landmark: whether one is in view."""
        if self.probability < POSSIBLE or not any(self.best.names):
            return "unknown"
        return "landmark" if landmark and self.probability >= LIKELY else "assumed"

    @property
    def sentence(self) -> str:
        """What the doubt is about, where the numbering is not likely; else empty."""
        if self.probability >= LIKELY or self.runner_up is None:
            return ""
        return (
            f"numbering doubtful: {_span(self.best)} has a probability of {self.probability:.2f}, "
            f"{_span(self.runner_up)} of {self.runner_up_probability:.2f}"
        )


def decide(places: Sequence[int], evidences: Sequence[Evidence], *, uppermost: str = "C1") -> Decision:
    """Weigh every hypothesis.

    places: of the vertebrae found in the column, from 0, increasing, at least one; a missed one leaves a place out.
    uppermost: level above which no name is given.
    """
    scored = [
        (hypothesis, math.log(hypothesis.prior) + sum(evidence.weigh(hypothesis) for evidence in evidences))
        for hypothesis in hypotheses(places, uppermost=uppermost)
    ]
    best = max(score for _, score in scored)
    shares: dict[tuple[str | None, ...], float] = {}
    first: dict[tuple[str | None, ...], tuple[Hypothesis, float]] = {}
    for hypothesis, score in scored:
        names = hypothesis.names
        shares[names] = shares.get(names, 0.0) + math.exp(score - best)
        if names not in first or score > first[names][1]:
            first[names] = hypothesis, score
    total = sum(shares.values())
    ranked = sorted(shares, key=lambda names: -shares[names])
    second = ranked[1] if len(ranked) > 1 else None
    return Decision(
        best=first[ranked[0]][0],
        probability=shares[ranked[0]] / total,
        runner_up=first[second][0] if second is not None else None,
        runner_up_probability=shares[second] / total if second is not None else 0.0,
    )


def hypotheses(places: Sequence[int], *, uppermost: str = "C1") -> list[Hypothesis]:
    """Every column at every place where it holds at least one vertebra; those that stand beyond it have no name."""
    found = []
    for (thoracic, lumbar), prior in COLUMNS.items():
        column = column_of(thoracic, lumbar)
        column = column[column.index(uppermost) :]
        at = [*places, places[-1] + 1]
        for start in range(-places[-1], len(column)):
            levels = [column[start + place] if 0 <= start + place < len(column) else None for place in at]
            above_s1, l1 = len(column) - 2 - (start + places[-1]), column.index("L1") - start
            unusual = _unusual(levels, thoracic, lumbar)
            found.append(Hypothesis(tuple(levels[:-1]), above_s1, l1, prior, unusual))
    return found


def column_of(thoracic: int = THORACIC, lumbar: int = LUMBAR) -> tuple[str, ...]:
    """Levels from C1 to S1.

    >>> column_of(11, 6)[-8:]
    ('T11', 'L1', 'L2', 'L3', 'L4', 'L5', 'L6', 'S1')
    """
    regions = (("C", 7), ("T", thoracic), ("L", lumbar))
    return (*(f"{region}{n}" for region, count in regions for n in range(1, count + 1)), "S1")


def _unusual(levels: Sequence[str | None], thoracic: int, lumbar: int) -> tuple[str, ...]:
    seen = set(levels)
    told = [str(level) for level in ("T13", "L6") if level in seen]
    told += ["no T12"] if thoracic < THORACIC and {"T11", "L1"} <= seen else []
    told += ["no L5"] if lumbar < LUMBAR and {"L4", "S1"} <= seen else []
    return tuple(told)


def _span(hypothesis: Hypothesis) -> str:
    known = [name for name in hypothesis.names if name]
    return f"{known[0]} to {known[-1]}" if known else "no level"
