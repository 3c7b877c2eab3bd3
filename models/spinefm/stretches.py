"""Results of parts of a radiograph, brought onto the whole and put together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise

import numpy as np

from models.contracts import FoundStructure, Numbering, RadiographResult
from models.spinefm.levels import LEVELS
from models.spinefm.views import Field

LEAST: Sequence[Numbering] = ("unknown", "assumed", "landmark")
FEWEST_UNNAMED = 5  # a stretch without a landmark and with fewer vertebrae is not trusted


@dataclass(frozen=True)
class Stretch:
    """What was found in one view of a radiograph. field: the view, in the radiograph; result: on the view's grid."""

    field: Field
    result: RadiographResult

    @property
    def weight(self) -> tuple[bool, float]:
        """How much it counts beside others: named by a landmark first, then the sum of confidences."""
        found = self.result
        return found.numbering == "landmark", sum(structure.confidence for structure in found.structures)

    @property
    def top(self) -> float:
        """Row of its uppermost centroid in the radiograph."""
        return self.field.top + min(structure.centroid_px[1] for structure in self.result.structures)

    def covers(self, point: tuple[float, float]) -> bool:
        """Whether a vertebra of it lies at (x, y) of the radiograph."""
        column, row = round(point[0]) - self.field.left, round(point[1]) - self.field.top
        inside = 0 <= row < self.field.rows and 0 <= column < self.field.columns
        return inside and bool(self.result.labelmap[row, column])

    def centroids(self) -> list[tuple[float, float]]:
        """Of its vertebrae, (x, y) in the radiograph."""
        return [_moved(structure, self.field).centroid_px for structure in self.result.structures]


def on_image(result: RadiographResult, field: Field, shape: tuple[int, ...]) -> RadiographResult:
    """Return the result of a field on the grid of the radiograph, (rows, columns), that the field was cut from."""
    labelmap = np.zeros(shape, np.uint16)
    labelmap[field.top : field.top + field.rows, field.left : field.left + field.columns] = result.labelmap
    structures = tuple(_moved(structure, field) for structure in result.structures)
    return replace(result, labelmap=labelmap, structures=structures)


def chosen(candidates: Sequence[Stretch]) -> list[Stretch]:
    """Choose stretches that share no vertebra, those that count most first; returns them from the top."""
    kept: list[Stretch] = []
    for one in sorted(candidates, key=lambda candidate: candidate.weight, reverse=True):
        if not one.weight[0] and len(one.result.structures) < FEWEST_UNNAMED:
            continue
        if not any(_share_a_vertebra(one, other) for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda stretch: stretch.top)


def put_together(stretches: Sequence[Stretch], shape: tuple[int, ...]) -> RadiographResult:
    """Make one result of stretches, from the top, that share no vertebra; at least one."""
    stretches, warnings = _consistent(stretches)
    labelmap = np.zeros(shape, np.uint16)
    structures: list[FoundStructure] = []
    for number, stretch in enumerate(stretches, start=1):
        field, before = stretch.field, len(structures)
        part = labelmap[field.top : field.top + field.rows, field.left : field.left + field.columns]
        free = (part == 0) & (stretch.result.labelmap > 0)
        part[free] = stretch.result.labelmap[free] + before
        for found in stretch.result.structures:
            own = found.segment_number + before
            label = found.level or f"vertebra {own}"
            structures.append(replace(_moved(found, field), segment_number=own, label=label, stretch=number))
    results = [stretch.result for stretch in stretches]
    return RadiographResult(
        labelmap=labelmap,
        structures=tuple(structures),
        numbering=min((result.numbering for result in results), key=LEAST.index),
        scale="; ".join(dict.fromkeys(result.scale for result in results)),
        warnings=(_sentence(stretches), *warnings, *dict.fromkeys(chain(*(result.warnings for result in results)))),
        timings_s={phase: sum(r.timings_s[phase] for r in results) for phase in results[0].timings_s},
    )


def _sentence(stretches: Sequence[Stretch]) -> str:
    spans = [
        f"{s[0].level}–{s[-1].level}" if s[0].level else f"{len(s)} vertebrae without a name"
        for s in (stretch.result.structures for stretch in stretches)
    ]
    return f"the image is taller than a single exposure and was searched in windows: found {' and '.join(spans)}"


def _consistent(stretches: Sequence[Stretch]) -> tuple[list[Stretch], list[str]]:
    """Take the names off a stretch whose levels do not follow those of a surer one above or precede those below."""
    kept, warnings = list(stretches), []
    while clash := next((pair for pair in pairwise(_named(kept)) if not _follows(*pair)), None):
        weaker = min(clash, key=lambda stretch: stretch.weight)
        kept[kept.index(weaker)] = _without_names(weaker)
        warnings.append("two stretches of the spine claim levels that cannot both be right: the surer keeps its own")
    return kept, warnings


def _named(stretches: Sequence[Stretch]) -> list[Stretch]:
    return [stretch for stretch in stretches if stretch.result.structures[0].level]


def _follows(above: Stretch, below: Stretch) -> bool:
    last, first = above.result.structures[-1].level, below.result.structures[0].level
    return LEVELS.index(last or "") < LEVELS.index(first or "")


def _without_names(stretch: Stretch) -> Stretch:
    structures = tuple(
        replace(found, level=None, label=f"vertebra {found.segment_number}") for found in stretch.result.structures
    )
    return replace(stretch, result=replace(stretch.result, structures=structures, numbering="unknown"))


def _share_a_vertebra(one: Stretch, other: Stretch) -> bool:
    return any(map(other.covers, one.centroids())) or any(map(one.covers, other.centroids()))


def _moved(structure: FoundStructure, field: Field) -> FoundStructure:
    x, y = structure.centroid_px
    return replace(structure, centroid_px=(x + field.left, y + field.top))
