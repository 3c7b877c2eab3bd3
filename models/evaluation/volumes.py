"""Scores of a volume, kind of structure by kind: vertebrae, discs, the canal, and so on.

A *kind* is compared as a whole (global Dice, surface distance in mm). The kinds that have instances, vertebrae and
discs, are compared instance by instance as well, with panoptic quality. Kinds that one side does not know are not
compared; which those are, the caller decides over the whole data set, for a volume without discs may be a failure.

Source of the measures: Möller et al., "SPINEPS" (European Radiology 2024), evaluation.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.pairing import dice
from models.evaluation.panoptic import PanopticCounts, count_matches, total_counts
from models.evaluation.summary import ImageScore, LevelSummary, score_image, summarise
from models.evaluation.surfaces import surface_distance

LabelArray = NDArray[np.integer]

VERTEBRA, DISC, SACRUM = "vertebra", "disc", "sacrum"
BODY, ALL_BODIES = "body", "vertebral body"
END_PLATE = "vertebral end-plate"
CANAL, CORD, CANAL_WITH_CORD = "spinal canal", "spinal cord", "spinal canal with cord"
INSTANCE_KINDS = frozenset({VERTEBRA, DISC, BODY})
UNIONS: Mapping[str, tuple[str, ...]] = {CANAL_WITH_CORD: (CANAL, CORD), "intervertebral disc": (DISC,)}
"""Kinds that a side may have in parts: a reference with the cord in the canal, discs without instances."""

_VERTEBRA = re.compile(r"[CTL]\d+|vertebra \d+")
_DISC = re.compile(r"(?P<above>[CTL]\d+)/\S+|disc below (?P<named>[CTL]\d+)|disc .+")
_BODY = re.compile(r"body (?P<of>[CTL]\d+)|body .+")


@dataclass(frozen=True)
class LabelledVolume:
    """Structures on the grid of a volume.

    labelmap: (slices, rows, columns), 0 = background. names: the level or label of every value.
    """

    labelmap: LabelArray
    names: Mapping[int, str]


@dataclass(frozen=True)
class KindScore:
    """One kind of structure in one volume.

    dice: of the whole kind, instances and those that do not count included; 0 where nothing was predicted.
    average_distance: symmetric surface distance of the whole kind in mm; None where nothing was predicted.
    instances: a score per annotated instance; a kind without instances is one.
    counts: matches of instances; None for a kind without them.
    """

    kind: str
    dice: float
    average_distance: float | None
    instances: ImageScore
    counts: PanopticCounts | None

    @property
    def complete(self) -> bool:
        """Whether every annotated instance is identified."""
        return all(score.identified for score in self.instances.structures)


@dataclass(frozen=True)
class VolumeScore:
    """One volume: a score per kind, vertebrae first."""

    volume: str
    kinds: tuple[KindScore, ...]
    landmark_in_view: bool | None = None

    def kind(self, name: str) -> KindScore | None:
        """The score of a kind, or None where it was not compared."""
        return next((score for score in self.kinds if score.kind == name), None)


@dataclass(frozen=True)
class KindSummary:
    """One kind over a data set.

    dice_mean, dice_sd: of the whole kind over volumes; the deviation is the population's.
    average_distance_mean: in mm over the volumes where something was predicted; None where nowhere.
    instances: the annotated instances of all volumes in one row; None where none is annotated.
    levels: the same by level. counts: of all volumes together; None for a kind without instances.
    complete: volumes in which every annotated instance is identified.
    """

    kind: str
    volumes: int
    dice_mean: float
    dice_sd: float
    average_distance_mean: float | None
    instances: LevelSummary | None
    levels: tuple[LevelSummary, ...]
    counts: PanopticCounts | None
    complete: int


@dataclass(frozen=True)
class VolumesSummary:
    """A data set of volumes.

    landmark_volumes, landmark_volumes_right: volumes known to show a landmark, and those of them in which every
    identified vertebra carries its own level.
    """

    volumes: int
    kinds: tuple[KindSummary, ...]
    landmark_volumes: int
    landmark_volumes_right: int

    def kind(self, name: str) -> KindSummary | None:
        """The summary of a kind, or None where it was not compared."""
        return next((row for row in self.kinds if row.kind == name), None)

    @property
    def levels_right_rate(self) -> float | None:
        """Share of the volumes with a landmark in view whose levels are all right; None without such volumes."""
        return self.landmark_volumes_right / self.landmark_volumes if self.landmark_volumes else None


def kind_of(name: str) -> str:
    """Tell the kind of a structure by its label; a label of no known form is a kind of its own.

    >>> [kind_of(name) for name in ("L3", "L3/L4", "S1", "vertebra 2", "vertebral body core", "spinal cord")]
    ['vertebra', 'disc', 'sacrum', 'vertebra', 'vertebral body', 'spinal cord']
    """
    if name in (SACRUM, "S1"):
        return SACRUM
    if name.startswith(ALL_BODIES):  # its border and its core are one to everybody but SPINEPS
        return ALL_BODIES
    forms = ((_VERTEBRA, VERTEBRA), (_DISC, DISC), (_BODY, BODY))
    return next((kind for form, kind in forms if form.fullmatch(name)), name)


def level_of(name: str) -> str:
    """The level that an instance is compared by; for a disc that of the vertebra above it, whatever lies below.

    >>> [level_of(name) for name in ("L3", "L5/S1", "disc below T12", "disc 2", "body L3")]
    ['L3', 'L5', 'T12', 'disc 2', 'L3']
    """
    match = _DISC.fullmatch(name) or _BODY.fullmatch(name)
    return next((level for level in match.groupdict().values() if level), name) if match else name


def split_kinds(volume: LabelledVolume) -> dict[str, LabelledVolume]:
    """Part a volume into a labelmap per kind; a kind without instances becomes one structure.

    Raises:
        ValueError: a value of the labelmap has no name.
    """
    values = [int(value) for value in np.unique(volume.labelmap) if value != 0]
    nameless = [value for value in values if value not in volume.names]
    if nameless:
        raise ValueError(f"a labelmap holds values without a level or label: {nameless}")
    members: dict[str, list[int]] = {}
    for value in values:
        members.setdefault(kind_of(volume.names[value]), []).append(value)
    return {kind: _only(volume, kind, kept) for kind, kept in members.items()}


def take_kind(kinds: Mapping[str, LabelledVolume], kind: str) -> LabelledVolume | None:
    """A kind of one side, put together where that side has it in other parts; None where it has not.

    Bodies by instance are what vertebrae and all bodies have in common.
    """
    if kind in kinds:
        return kinds[kind]
    if kind == BODY and VERTEBRA in kinds and ALL_BODIES in kinds:
        vertebrae = kinds[VERTEBRA]
        return LabelledVolume(np.where(kinds[ALL_BODIES].labelmap != 0, vertebrae.labelmap, 0), vertebrae.names)
    parts = [kinds[part] for part in UNIONS.get(kind, ()) if part in kinds]
    if not parts:
        return None
    inside = np.logical_or.reduce([part.labelmap != 0 for part in parts])
    return LabelledVolume(inside.astype(np.uint8), {1: kind})


def parts_of(kind: str) -> tuple[str, ...]:
    """The kinds from which `take_kind` makes a kind, itself first."""
    return (kind, *UNIONS.get(kind, ()), *((VERTEBRA, ALL_BODIES) if kind == BODY else ()))


def score_kind(
    kind: str,
    predicted: LabelledVolume | None,
    reference: LabelledVolume,
    *,
    spacing_mm: tuple[float, ...],
    ignored: Collection[str] = (),
) -> KindScore:
    """Score one kind of one volume; both sides hold this kind only.

    predicted: None where nothing of this kind was predicted.
    spacing_mm: size of a voxel, in axis order.
    ignored: levels of the reference that do not count as instances, such as a vertebra that the border cuts.

    Raises:
        ValueError: the shapes differ, a value has no name, or the reference is empty.
    """
    found = predicted or LabelledVolume(np.zeros(reference.labelmap.shape, np.uint8), {})
    inside, truth = found.labelmap != 0, reference.labelmap != 0
    annotated = set(reference.names.values()) - set(ignored)
    skipped = [value for value, level in reference.names.items() if level in ignored]
    distance = surface_distance(inside, truth, spacing=spacing_mm).average if inside.any() and truth.any() else None
    return KindScore(
        kind=kind,
        dice=dice(inside, truth),
        average_distance=distance,
        instances=score_image(
            (found.labelmap, found.names),
            (reference.labelmap, reference.names),
            image=kind,
            annotated=annotated,
            spacing_mm=spacing_mm,
        ),
        counts=count_matches(found.labelmap, reference.labelmap, ignored=skipped) if kind in INSTANCE_KINDS else None,
    )


def summarise_volumes(volumes: Sequence[VolumeScore]) -> VolumesSummary:
    """Sum up the scores of a data set.

    Raises:
        ValueError: no kind was compared in any volume.
    """
    names = dict.fromkeys(score.kind for volume in volumes for score in volume.kinds)
    if not names:
        raise ValueError("no volume has a structure to compare")
    rows = [_summarise_kind(name, [score for volume in volumes if (score := volume.kind(name))]) for name in names]
    shown = [volume for volume in volumes if volume.landmark_in_view]
    vertebrae = [score for volume in shown if (score := volume.kind(VERTEBRA))]
    return VolumesSummary(
        volumes=len(volumes),
        kinds=tuple(sorted(rows, key=lambda row: _kind_order(row.kind))),
        landmark_volumes=len(shown),
        landmark_volumes_right=sum(score.instances.levels_right for score in vertebrae),
    )


def sorted_kinds(kinds: Iterable[str]) -> list[str]:
    """Vertebrae, discs and sacrum first, then the rest by name."""
    return sorted(kinds, key=_kind_order)


def _summarise_kind(kind: str, scores: Sequence[KindScore]) -> KindSummary:
    overlaps = np.array([score.dice for score in scores])
    distances = [score.average_distance for score in scores if score.average_distance is not None]
    counts = [score.counts for score in scores if score.counts is not None]
    images = [score.instances for score in scores if score.instances.structures]
    summed = summarise(images) if images else None
    return KindSummary(
        kind=kind,
        volumes=len(scores),
        dice_mean=float(overlaps.mean()),
        dice_sd=float(overlaps.std()),
        average_distance_mean=float(np.mean(distances)) if distances else None,
        instances=summed.total if summed else None,
        levels=summed.levels if summed else (),
        counts=total_counts(counts) if counts else None,
        complete=sum(score.complete for score in scores),
    )


def _only(volume: LabelledVolume, kind: str, values: Sequence[int]) -> LabelledVolume:
    """The structures of one kind, numbered anew from 1; those of one level are one."""
    levels = [level_of(volume.names[value]) if kind in INSTANCE_KINDS else kind for value in values]
    numbers = {level: number for number, level in enumerate(dict.fromkeys(levels), start=1)}
    table = np.zeros(int(volume.labelmap.max()) + 1, np.uint16)
    table[list(values)] = [numbers[level] for level in levels]
    return LabelledVolume(table[volume.labelmap], {number: level for level, number in numbers.items()})


def _kind_order(kind: str) -> tuple[int, str]:
    first = (VERTEBRA, DISC, BODY, SACRUM, ALL_BODIES, CANAL, CANAL_WITH_CORD, CORD)
    return (first.index(kind) if kind in first else len(first), kind)
