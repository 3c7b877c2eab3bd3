"""`spondyl evaluate` for volumes: the measures of SPINEPS' paper by kind of structure, and Wilcoxon's test."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

from app.cells import cell
from models.evaluation import (
    END_PLATE,
    SACRUM,
    VERTEBRA,
    KindScore,
    KindSummary,
    LabelledVolume,
    Naming,
    PairedDifference,
    PanopticCounts,
    VolumeScore,
    VolumesSummary,
    count_namings,
    judge_naming,
    naming_sentence,
    paired_difference,
    parts_of,
    score_kind,
    split_kinds,
    summarise_volumes,
    take_kind,
)
from operators.dicom.label_images import (
    LabelFile,
    LabelImage,
    LabelImageError,
    on_grid_of,
    read_label_maps,
)

WHOLE_HEADINGS = ("volumes", "Dice ± sd", "ASSD mm")
INSTANCE_HEADINGS = ("n", "found", "level right", "Dice, all", "Dice, found", "ASSD mm", "SQ", "RQ", "PQ")
"""Of the columns after the first; `whole_cells` and `instance_cells` fill them."""

MEANING = (
    "whole: the kind as one mask, mean over volumes; found: Dice ≥ 0.5 with its partner; all: those not found count "
    "as 0; SQ, RQ, PQ: segmentation, recognition and panoptic quality of all instances together, matched above an "
    "intersection over union of 0.5"
)
PUBLISHED = (
    "published, SPINEPS (Möller et al. 2024), other images, for comparison only: SPIDER, Dice per vertebra 0.929; "
    "German National Cohort, whole: vertebrae 0.920, discs 0.967, canal 0.958"
)
IN_BOTH_MAPS = frozenset({SACRUM, END_PLATE})
"""Kinds that both of SPINEPS' maps have; the first is taken."""
_NAMELESS = re.compile(r"structure \d+")


@dataclass(frozen=True)
class Comparison:
    """Two sets of predictions of the same volumes by one measure."""

    kind: str
    measure: str
    difference: PairedDifference


@dataclass(frozen=True)
class VolumesEvaluation:
    """What came out: a score per volume, all of them summed up, remarks, and the comparison with another set."""

    volumes: tuple[VolumeScore, ...]
    summary: VolumesSummary
    notes: tuple[str, ...]
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class _Compared:
    """A volume, and which kinds each side has."""

    score: VolumeScore
    predicted: frozenset[str]
    spare: frozenset[str]


def is_volume(file: LabelFile) -> bool:
    """Whether a label file holds volumes."""
    return all(image.labelmap.ndim == 3 for image in read_label_maps(file.path))


def evaluate_volumes(
    references: Sequence[LabelFile], predictions: Sequence[LabelFile], *, reference_is_file: bool
) -> VolumesEvaluation:
    """Score predictions against references; several predictions may be about one volume, each with other kinds.

    A kind that no prediction has anywhere is not compared. Where some have it, its absence is a failure.

    reference_is_file: one reference was given, so that every prediction is about it.

    Raises:
        LabelImageError: a file cannot be read, grids differ, two predictions hold the same kind, or nothing remains.
    """
    pairs = [(truth, tuple(predictions) if reference_is_file else _about(truth, predictions)) for truth in references]
    if not any(found for _, found in pairs):
        raise LabelImageError("no prediction is about a volume of the references: neither UIDs nor names agree")
    progress = track(pairs, "comparing", console=Console(stderr=True), transient=True, disable=len(pairs) == 1)
    compared = [_compare(truth, found) for truth, found in progress]
    known = frozenset[str]().union(*(one.predicted for one in compared))
    volumes = tuple(
        replace(one.score, kinds=tuple(kind for kind in one.score.kinds if kind.kind in known)) for one in compared
    )
    notes = (*_notes(pairs, predictions), *_kind_notes(compared, known))
    try:
        return VolumesEvaluation(volumes, summarise_volumes(volumes), notes)
    except ValueError as error:
        raise LabelImageError("the predictions and the references have no kind of structure in common") from error


def compare(first: VolumesEvaluation, second: VolumesEvaluation) -> tuple[Comparison, ...]:
    """Test by kind and measure whether two sets of predictions differ, on the volumes that have the measure in both."""
    others = {volume.volume: volume for volume in second.volumes}
    values: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for volume in first.volumes:
        for kind in volume.kinds:
            other = others[volume.volume].kind(kind.kind) if volume.volume in others else None
            for measure, value in _measures(kind).items():
                versus = _measures(other).get(measure) if other else None
                if value is not None and versus is not None:
                    values.setdefault((kind.kind, measure), []).append((value, versus))
    return tuple(
        Comparison(kind, measure, paired_difference(*zip(*pairs, strict=True)))
        for (kind, measure), pairs in values.items()
    )


def evaluation_as_json(evaluation: VolumesEvaluation) -> dict[str, Any]:
    """Every number of an evaluation as plain lists, objects, numbers and text; rates are 0–1."""
    summary = evaluation.summary
    return {
        "summary": asdict(summary)
        | {
            "kinds": [asdict(row) | {"panoptic": _qualities(row.counts)} for row in summary.kinds],
            "levels_right_rate": summary.levels_right_rate,
            "naming": count_namings(map(_naming, evaluation.volumes)),
        },
        "volumes": [asdict(volume) | {"naming": _naming(volume)} for volume in evaluation.volumes],
        "comparisons": [asdict(comparison) for comparison in evaluation.comparisons],
        "notes": list(evaluation.notes),
    }


def print_evaluation(evaluation: VolumesEvaluation, console: Console) -> None:
    """Print the table, what its words mean, the comparison and the remarks."""
    summary = evaluation.summary
    with_instances = [row for row in summary.kinds if row.counts is not None]
    for title, headings, cells, rows in (
        (f"{summary.volumes} volumes, structures as a whole", WHOLE_HEADINGS, whole_cells, summary.kinds),
        ("instances", INSTANCE_HEADINGS, instance_cells, with_instances),
    ):
        if rows:
            console.print(_table(title, headings, [(row.kind, *cells(row)) for row in rows]))
    if summary.levels_right_rate is not None:
        console.print(
            f"levels right in {summary.landmark_volumes_right} of {summary.landmark_volumes} volumes with a landmark "
            f"(C2, sacrum) annotated: {summary.levels_right_rate:.1%}",
            highlight=False,
        )
    counts = count_namings(map(_naming, evaluation.volumes))
    if counts:
        console.print(naming_sentence(counts), highlight=False)
    for sentence in (MEANING, PUBLISHED):
        console.print(sentence, style="dim", highlight=False)
    if evaluation.comparisons:
        console.print(_comparison_table(evaluation.comparisons))
    for note in evaluation.notes:
        console.print(cell(f"note: {note}"), soft_wrap=True)


def _naming(volume: VolumeScore) -> Naming | None:
    """How the vertebrae of a volume are named."""
    vertebrae = volume.kind(VERTEBRA)
    return judge_naming(vertebrae.instances.structures) if vertebrae else None


def whole_cells(row: KindSummary) -> tuple[str, ...]:
    """The cells of a kind as a whole after its name, as text."""
    return (
        str(row.volumes),
        f"{row.dice_mean:.3f} ± {row.dice_sd:.3f}",
        _number(row.average_distance_mean, 2),
    )


def instance_cells(row: KindSummary) -> tuple[str, ...]:
    """The cells of a kind's instances after its name, as text; dashes where none is annotated."""
    instances, named = row.instances, any(level.level[1:].isdigit() for level in row.levels)
    if instances is None:
        return ("–",) * len(INSTANCE_HEADINGS)
    return (
        str(instances.annotated),
        f"{instances.identified_rate:.1%}",
        f"{instances.level_right_rate:.1%}" if named else "–",
        f"{instances.dice_mean:.3f}",
        _number(instances.dice_identified_mean, 3),
        _number(instances.average_distance_mean, 2),
        *(_number(quality, 3) for quality in _qualities(row.counts).values()),
    )


def _qualities(counts: PanopticCounts | None) -> Mapping[str, float | None]:
    if counts is None:
        return {}
    return {"sq": counts.segmentation_quality, "rq": counts.recognition_quality, "pq": counts.panoptic_quality}


def _measures(score: KindScore) -> Mapping[str, float | None]:
    """The measures of a kind in one volume that two sets of predictions are compared by."""
    whole = {"Dice, whole": score.dice, "ASSD mm, whole": score.average_distance}
    structures = score.instances.structures
    if score.counts is None or not structures:
        return whole
    mean = sum(one.dice for one in structures) / len(structures)
    return {**whole, "Dice, all instances": mean, "PQ": score.counts.panoptic_quality}


def _about(truth: LabelFile, predictions: Sequence[LabelFile]) -> tuple[LabelFile, ...]:
    """The predictions about the volume of a reference: by SOP Instance UIDs, else by name, else by their folder."""
    about = [found for found in predictions if found.sop_instance_uids & truth.sop_instance_uids]
    for name in truth.names:
        about = about or [found for found in predictions if name in found.names]
        about = about or [found for found in predictions if found.path.parent.name == name]
    return tuple(about)


def _compare(truth_file: LabelFile, found_files: Sequence[LabelFile]) -> _Compared:
    """Score one volume; everything of it is forgotten but the numbers."""
    found: dict[str, tuple[LabelledVolume, Path]] = {}
    truths = read_label_maps(truth_file.path)
    for file in found_files:
        for image in read_label_maps(file.path):
            labelmap = on_grid_of(truths[0], image, names=(truth_file.path, file.path))
            for kind, volume in split_kinds(LabelledVolume(labelmap, image.levels)).items():
                if kind in found and kind not in IN_BOTH_MAPS:
                    raise LabelImageError(
                        f"{found[kind][1]} and {file.path} both hold {kind} of the volume of {truth_file.path}"
                    )
                found.setdefault(kind, (volume, file.path))
    predicted = {kind: volume for kind, (volume, _) in found.items()}
    reference: dict[str, tuple[LabelledVolume, LabelImage]] = {}
    for image in truths:
        for kind, volume in split_kinds(LabelledVolume(image.labelmap, image.levels)).items():
            reference.setdefault(kind, (volume, image))
    if all(_NAMELESS.fullmatch(kind) for kind in reference):
        raise LabelImageError(
            f"{truth_file.path} does not say what its structures are: name them in a JSON table beside it, as "
            f'{{"1": "L1", "2": "disc 1", "3": "body 1", "4": "spinal canal"}}'
        )
    taken = {kind: take_kind(predicted, kind) for kind in reference}
    scores = tuple(_score(kind, taken[kind], *reference[kind], path=truth_file.path) for kind in reference)
    shown = {*reference} & {SACRUM} or any("C2" in image.levels.values() for image in truths)
    used = {part for kind in reference for part in parts_of(kind)}
    return _Compared(
        VolumeScore(truth_file.name, scores, landmark_in_view=bool(shown)),
        predicted=frozenset(kind for kind, volume in taken.items() if volume is not None),
        spare=frozenset(predicted) - used,
    )


def _score(
    kind: str, predicted: LabelledVolume | None, reference: LabelledVolume, image: LabelImage, *, path: Path
) -> KindScore:
    if image.spacing_mm is None:
        raise LabelImageError(f"{path} does not say how large its voxels are: put the DICOM Series beside it")
    return score_kind(kind, predicted, reference, spacing_mm=image.spacing_mm, ignored=image.partial)


def _notes(pairs: Sequence[tuple[LabelFile, Sequence[LabelFile]]], predictions: Sequence[LabelFile]) -> Iterable[str]:
    unfound = [truth.name for truth, found in pairs if not found]
    if unfound:
        yield f"{len(unfound)} references have no prediction and count as not found, the first is {unfound[0]}"
    used = {file.path for _, found in pairs for file in found}
    spare = sum(file.path not in used for file in predictions)
    if spare:
        yield f"{spare} predictions are about none of these references"


def _kind_notes(compared: Sequence[_Compared], known: frozenset[str]) -> Iterable[str]:
    """Which kinds are left out, and why."""
    annotated = {kind.kind for one in compared for kind in one.score.kinds}
    if annotated - known:
        yield f"not compared, for no prediction has it: {', '.join(sorted(annotated - known))}"
    spare = frozenset[str]().union(*(one.spare for one in compared)) - annotated
    if spare:
        yield f"not compared, for no reference has it: {', '.join(sorted(spare))}"


def _comparison_table(comparisons: Sequence[Comparison]) -> Table:
    headings = ("pairs", "first", "second", "median difference", "p")
    rows = [
        (
            f"{row.kind}: {row.measure}",
            str(row.difference.pairs),
            f"{row.difference.first_mean:.3f}",
            f"{row.difference.second_mean:.3f}",
            f"{row.difference.median_difference:+.3f}",
            "equal" if row.difference.p_value is None else f"{row.difference.p_value:.2g}",
        )
        for row in comparisons
    ]
    return _table("two sets of predictions, Wilcoxon signed-rank test, two-sided", headings, rows)


def _table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A row per kind of structure, its name first, numbers to the right."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left")
    table.add_column("structures", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*map(cell, row))
    return table


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
