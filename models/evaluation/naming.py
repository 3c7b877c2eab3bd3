"""Whether the names of a case can be trusted: right, doubted, or wrong without a word of doubt.

A prediction that names a level is held to it, also where its report calls the numbering assumed: a label map or a
Segment does not carry that word. One that leaves its vertebrae without a level (`vertebra 1` …) doubts.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from models.evaluation.summary import StructureScore

Naming = Literal["right", "doubted", "confidently wrong", "nothing found"]
NAMINGS: tuple[Naming, ...] = ("right", "doubted", "confidently wrong", "nothing found")
_LEVEL = re.compile(r"[CTLS][0-9]+")


def judge_naming(structures: Sequence[StructureScore]) -> Naming | None:
    """Judge the names of a case by its identified vertebrae; None where the reference names no level.

    >>> judge_naming([StructureScore("L4", "L4", 0.9), StructureScore("L5", "vertebra 5", 0.9)])
    'right'
    >>> judge_naming([StructureScore("L4", "L5", 0.9)])
    'confidently wrong'
    """
    named = [score for score in structures if _LEVEL.fullmatch(score.level)]
    if not named:
        return None
    given = [score for score in named if score.identified]
    if not given:
        return "nothing found"
    told = [score for score in given if score.partner and _LEVEL.fullmatch(score.partner)]
    if not told:
        return "doubted"
    return "right" if all(score.level_right for score in told) else "confidently wrong"


def count_namings(cases: Iterable[Naming | None]) -> Mapping[str, int]:
    """Count cases by how they are named, in the order of `NAMINGS`; empty where no reference names a level."""
    counts = Counter(case for case in cases if case is not None)
    return {naming: counts[naming] for naming in NAMINGS} if counts else {}


def naming_sentence(counts: Mapping[str, int]) -> str:
    """One line for a table's foot."""
    return "names by case: " + ", ".join(f"{naming} {count}" for naming, count in counts.items())
