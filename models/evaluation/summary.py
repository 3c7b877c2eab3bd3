"""Scores per image, per level and over a data set.

Two means of Dice are given, because published tables differ in what they average:
*over all* annotated structures, where one without a partner counts as 0, and *over the identified* alone.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.evaluation.pairing import IDENTIFIED_DICE, Pair, pair_structures
from models.evaluation.surfaces import surface_distance

Unit = Literal["px", "mm"]
LabelArray = NDArray[np.integer]

ALL_LEVELS = "all"
"""The name of the row that sums up every level."""


@dataclass(frozen=True)
class StructureScore:
    """One annotated structure and what the prediction made of it.

    level: its level in the reference.
    partner: what the prediction calls its partner, or None without one.
    dice: overlap with the partner, 0 without one.
    average_distance, hausdorff_95: surface distances to the partner in the image's unit, None unless identified.
    """

    level: str
    partner: str | None
    dice: float
    average_distance: float | None = None
    hausdorff_95: float | None = None

    @property
    def identified(self) -> bool:
        """Whether the partner covers it with a Dice of at least 0.5, whatever it is called."""
        return self.dice >= IDENTIFIED_DICE

    @property
    def level_right(self) -> bool:
        """Whether it is identified and its partner carries the same level."""
        return self.identified and self.partner == self.level


@dataclass(frozen=True)
class ImageScore:
    """One image: a score per annotated structure.

    image: what the image is called in tables.
    unit: of the surface distances.
    landmark_in_view: whether a landmark that fixes the numbering (C2, S1) can be seen; None if nobody said.
    unpaired: what was predicted where nothing is annotated (no fault in itself: few references annotate all).
    """

    image: str
    structures: tuple[StructureScore, ...]
    unit: Unit = "px"
    landmark_in_view: bool | None = None
    unpaired: tuple[str, ...] = ()

    @property
    def levels_right(self) -> bool:
        """Whether something was identified, and every identified structure carries its own level."""
        identified = [score for score in self.structures if score.identified]
        return bool(identified) and all(score.level_right for score in identified)


@dataclass(frozen=True)
class LevelSummary:
    """One row of the table: a level, or all of them.

    dice_mean, dice_sd: over all annotated, those without a partner as 0; the deviation is the population's.
    dice_identified_mean, dice_identified_sd: over the identified; None where there is none.
    average_distance_mean, hausdorff_95_mean: over the identified; None where there is none.
    """

    level: str
    annotated: int
    identified: int
    level_right: int
    dice_mean: float
    dice_sd: float
    dice_identified_mean: float | None
    dice_identified_sd: float | None
    average_distance_mean: float | None
    hausdorff_95_mean: float | None

    @property
    def identified_rate(self) -> float:
        """Share of the annotated that is identified, 0–1."""
        return self.identified / self.annotated

    @property
    def level_right_rate(self) -> float:
        """Share of the annotated that is identified and named right, 0–1."""
        return self.level_right / self.annotated


@dataclass(frozen=True)
class Summary:
    """A data set: a row per level from the top of the spine downwards, and one over all.

    landmark_images, landmark_images_right: images known to show a landmark, and those of them whose levels are right.
    """

    images: int
    unit: Unit
    levels: tuple[LevelSummary, ...]
    total: LevelSummary
    landmark_images: int
    landmark_images_right: int

    @property
    def levels_right_rate(self) -> float | None:
        """Share of the images with a landmark in view whose levels are all right; None without such images."""
        return self.landmark_images_right / self.landmark_images if self.landmark_images else None


@dataclass(frozen=True)
class _Labelled:
    labelmap: LabelArray
    levels: Mapping[int, str]


def score_image(
    predicted: tuple[LabelArray, Mapping[int, str]],
    reference: tuple[LabelArray, Mapping[int, str]],
    *,
    image: str,
    annotated: Collection[str] | None = None,
    spacing_mm: tuple[float, ...] | None = None,
    landmark_in_view: bool | None = None,
) -> ImageScore:
    """Score the prediction of one image.

    predicted, reference: labelmap (any number of dimensions, 0 = background) and the level or label of each value.
    annotated: the levels that count; the reference's others are found partners but not scored. None counts all.
    spacing_mm: in axis order; None measures surface distances in pixels.

    Raises:
        ValueError: the shapes differ, or a value of a labelmap has no name.
    """
    found, truth = _Labelled(*predicted), _Labelled(*reference)
    for side, labelled in (("predicted", found), ("reference", truth)):
        _require_names(labelled, side)
    pairs = pair_structures(found.labelmap, truth.labelmap)
    scores = [
        _structure_score(pair, found, truth, spacing_mm)
        for pair in pairs
        if annotated is None or truth.levels[pair.reference] in annotated
    ]
    taken = {pair.predicted for pair in pairs}
    unpaired = (found.levels[value] for value in _values(found.labelmap) if value not in taken)
    return ImageScore(
        image=image,
        structures=tuple(sorted(scores, key=lambda score: level_order(score.level))),
        unit="px" if spacing_mm is None else "mm",
        landmark_in_view=landmark_in_view,
        unpaired=tuple(sorted(unpaired, key=level_order)),
    )


def summarise(images: Sequence[ImageScore]) -> Summary:
    """Sum up the scores of a data set.

    Raises:
        ValueError: nothing is annotated, or some images are measured in px and others in mm.
    """
    structures = [score for image in images for score in image.structures]
    if not structures:
        raise ValueError("no image has an annotated structure to count")
    units = {image.unit for image in images}
    if len(units) != 1:
        raise ValueError("images measured in px and in mm cannot be averaged together")
    by_level: dict[str, list[StructureScore]] = {}
    for score in structures:
        by_level.setdefault(score.level, []).append(score)
    with_landmark = [image for image in images if image.landmark_in_view]
    return Summary(
        images=len(images),
        unit=units.pop(),
        levels=tuple(_summarise_level(level, by_level[level]) for level in sorted(by_level, key=level_order)),
        total=_summarise_level(ALL_LEVELS, structures),
        landmark_images=len(with_landmark),
        landmark_images_right=sum(image.levels_right for image in with_landmark),
    )


def level_order(level: str) -> tuple[int, int, str]:
    """Sort key: C1 … C7, T1 …, L1 …, S1 …, then other labels, `vertebra 2` before `vertebra 10`.

    >>> sorted(["S1", "L5", "T12", "C7", "vertebra 10", "vertebra 2"], key=level_order)
    ['C7', 'T12', 'L5', 'S1', 'vertebra 2', 'vertebra 10']
    """
    digits = level[len(level.rstrip("0123456789")) :]
    region = "CTLS".find(level[0]) if digits and len(level) == len(digits) + 1 else -1
    return (region if region >= 0 else len("CTLS"), int(digits or 0), level)


def _structure_score(
    pair: Pair, found: _Labelled, truth: _Labelled, spacing_mm: tuple[float, ...] | None
) -> StructureScore:
    level = truth.levels[pair.reference]
    if pair.predicted is None:
        return StructureScore(level, None, 0.0)
    partner = found.levels[pair.predicted]
    if pair.dice < IDENTIFIED_DICE:
        return StructureScore(level, partner, pair.dice)
    distance = surface_distance(found.labelmap == pair.predicted, truth.labelmap == pair.reference, spacing=spacing_mm)
    return StructureScore(level, partner, pair.dice, distance.average, distance.hausdorff_95)


def _summarise_level(level: str, scores: Sequence[StructureScore]) -> LevelSummary:
    identified = [score for score in scores if score.identified]
    dice_all = np.array([score.dice for score in scores])
    dice_identified = np.array([score.dice for score in identified])
    return LevelSummary(
        level=level,
        annotated=len(scores),
        identified=len(identified),
        level_right=sum(score.level_right for score in scores),
        dice_mean=float(dice_all.mean()),
        dice_sd=float(dice_all.std()),
        dice_identified_mean=float(dice_identified.mean()) if identified else None,
        dice_identified_sd=float(dice_identified.std()) if identified else None,
        average_distance_mean=_mean(score.average_distance for score in identified),
        hausdorff_95_mean=_mean(score.hausdorff_95 for score in identified),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _values(labelmap: LabelArray) -> list[int]:
    return [int(value) for value in np.unique(labelmap) if value != 0]


def _require_names(labelled: _Labelled, side: str) -> None:
    nameless = [value for value in _values(labelled.labelmap) if value not in labelled.levels]
    if nameless:
        raise ValueError(f"the {side} labelmap holds values without a level or label: {nameless}")
