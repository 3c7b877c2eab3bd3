"""`spondyl evaluate`: hold predictions against references, print the table of the paper, write JSON.

Volumes are scored by `app.evaluate_volumes`; all the rest here is about pictures.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from app import evaluate_volumes
from app.cells import cell
from app.shown_text import shown
from models.errors import SpondylError
from models.evaluation import (
    ImageScore,
    LevelSummary,
    Summary,
    count_namings,
    judge_naming,
    naming_sentence,
    score_image,
    summarise,
)
from operators.dicom.label_images import (
    LabelFile,
    LabelImage,
    LabelImageError,
    canonical_level,
    find_label_files,
    read_label_image,
)

LANDMARKS = frozenset({"C2", "S1"})
"""Levels that fix the numbering of those beside them, where a reference annotates them."""

UNUSABLE_INPUT = 2
"""Exit status when predictions or references cannot be read or compared."""

_ID_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".json", ".npz", ".txt", ".mrk"})


@dataclass(frozen=True)
class Published:
    """A row of SpineFM's published results (Simons and Papież 2024), for comparison only.

    identified_rate: share of annotated vertebrae identified, 0–1. dice_mean: as published.
    """

    data_set: str
    identified_rate: float
    dice_mean: float


PUBLISHED = (
    Published("NHANES II", 0.978, 0.942),
    Published("CSXA", 0.996, 0.921),
)


@dataclass(frozen=True)
class Evaluation:
    """What came out: a score per image, all of them summed up, and remarks on what was compared."""

    images: tuple[ImageScore, ...]
    summary: Summary
    notes: tuple[str, ...]


def evaluate_command(
    pred: Path, reference: Path, *, json_out: Path | None = None, split: Path | None = None, versus: Path | None = None
) -> int:
    """Compare two files, or two folders image by image, and print the table.

    pred, reference: a label image in any form that `operators.dicom.label_images` reads, or a folder of them.
    json_out: where to write every number; nothing is written without it.
    split: a text file with an image id per line: only these references count.
    versus: a second set of predictions of the same volumes, to be tested against the first.

    Returns:
        0, or 2 where something cannot be read or compared; the reason is on standard error.
    """
    try:
        if evaluate_volumes.is_volume(find_label_files(reference)[0]):
            volumes = _evaluate_volumes(pred, reference, split=split, versus=versus)
            evaluate_volumes.print_evaluation(volumes, Console())
            content = evaluate_volumes.evaluation_as_json(volumes)
        elif versus is not None:
            raise LabelImageError(
                f"{reference} holds no volumes: two sets of predictions are compared for volumes only"
            )
        else:
            evaluation = evaluate(pred, reference, split=split)
            print_evaluation(evaluation, Console())
            content = evaluation_as_json(evaluation)
    except SpondylError as error:
        Console(stderr=True).print(Text.assemble(("spondyl evaluate:", "red"), f" {shown(error)}"), soft_wrap=True)
        return UNUSABLE_INPUT
    if json_out is not None:
        json_out.parent.mkdir(parents=True, exist_ok=True)
        json_out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


def _evaluate_volumes(
    pred: Path, reference: Path, *, split: Path | None, versus: Path | None
) -> evaluate_volumes.VolumesEvaluation:
    references = find_label_files(reference)
    if split is not None:
        references = _chosen(references, read_split(split), split)
    first, *others = (
        evaluate_volumes.evaluate_volumes(references, find_label_files(path), reference_is_file=reference.is_file())
        for path in (pred, versus)
        if path is not None
    )
    return replace(first, comparisons=evaluate_volumes.compare(first, others[0])) if others else first


def evaluate(pred: Path, reference: Path, *, split: Path | None = None) -> Evaluation:
    """Score predictions against references.

    A reference without a prediction counts: none of its structures was found. A prediction without a reference
    does not; it is remarked.

    Raises:
        LabelImageError: a file cannot be read, two predictions claim one reference, grids differ, or the
            split names an image that is not there.
    """
    references = find_label_files(reference)
    predictions = find_label_files(pred)
    if split is not None:
        references = _chosen(references, read_split(split), split)
    if pred.is_file() and reference.is_file():
        pairs: list[tuple[LabelFile, LabelFile | None]] = [(references[0], predictions[0])]
    else:
        pairs = [(truth, match(truth, predictions)) for truth in references]
        if all(found is None for _, found in pairs):
            raise LabelImageError(f"no file of {pred} is about an image of {reference}: neither UIDs nor names agree")
    images, overlapping = _score(pairs, in_mm=True)
    notes = list(_notes(pairs, predictions, images)) + overlapping
    if len({image.unit for image in images}) > 1:
        images, _ = _score(pairs, in_mm=False)
        notes.append("not every image has a spacing: surface distances are in pixels for all")
    try:
        return Evaluation(tuple(images), summarise(images), tuple(notes))
    except ValueError as error:
        raise LabelImageError(f"{reference}: {error}") from error


def read_split(path: Path) -> tuple[str, ...]:
    """Read image ids, one per line; `#` starts a comment, folders and the endings of image files are dropped.

    Raises:
        LabelImageError: the file cannot be read or names no image.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LabelImageError(f"{path}: a text file with an image id per line was expected") from error
    names = [Path(text).name for text in (line.partition("#")[0].strip() for line in lines) if text]
    if not names:
        raise LabelImageError(f"{path} names no image; an image id per line was expected")
    return tuple(dict.fromkeys(_without_suffix(name) for name in names))


def match(truth: LabelFile, predictions: Sequence[LabelFile]) -> LabelFile | None:
    """Find the prediction about the image of a reference: by SOP Instance UID, else by name.

    Raises:
        LabelImageError: more than one prediction is about that image.
    """
    about = [found for found in predictions if found.sop_instance_uids & truth.sop_instance_uids]
    for name in truth.names:
        about = about or [found for found in predictions if name in found.names]
    if len(about) > 1:
        raise LabelImageError(f"{about[0].path} and {about[1].path} are both about the image of {truth.path}")
    return about[0] if about else None


def evaluation_as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Every number of an evaluation as plain lists, objects, numbers and text; rates are 0–1."""
    summary = evaluation.summary
    return {
        "summary": {
            "images": summary.images,
            "unit": summary.unit,
            "levels": [_row_as_json(row) for row in summary.levels],
            "total": _row_as_json(summary.total),
            "landmark_images": summary.landmark_images,
            "landmark_images_right": summary.landmark_images_right,
            "levels_right_rate": summary.levels_right_rate,
            "naming": count_namings(judge_naming(image.structures) for image in evaluation.images),
        },
        "published": [asdict(row) for row in PUBLISHED],
        "images": [image_as_json(image) for image in evaluation.images],
        "notes": list(evaluation.notes),
    }


def image_as_json(image: ImageScore) -> dict[str, Any]:
    """The scores of one image, with what follows from them."""
    structures = [
        asdict(score) | {"identified": score.identified, "level_right": score.level_right} for score in image.structures
    ]
    naming = judge_naming(image.structures)
    return asdict(image) | {"structures": structures, "levels_right": image.levels_right, "naming": naming}


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print the table, what its words mean, and the remarks."""
    summary = evaluation.summary
    console.print(_table(summary))
    if summary.levels_right_rate is not None:
        console.print(
            f"levels right in {summary.landmark_images_right} of {summary.landmark_images} images with a landmark "
            f"(C2, S1) annotated: {summary.levels_right_rate:.1%}",
            highlight=False,
        )
    counts = count_namings(judge_naming(image.structures) for image in evaluation.images)
    if counts:
        console.print(naming_sentence(counts), highlight=False)
    console.print(
        "n: annotated; identified: Dice ≥ 0.5 with its partner; all: those not found count as 0; "
        "published: SpineFM's paper, other images, only for comparison",
        style="dim",
        highlight=False,
    )
    for note in evaluation.notes:
        console.print(cell(f"note: {note}"), soft_wrap=True)


def _table(summary: Summary) -> Table:
    """A row per level, the total, and the published numbers apart."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=f"{summary.images} images", title_justify="left")
    table.add_column("level", no_wrap=True)
    unit = summary.unit
    for heading in (
        "n",
        "identi-\nfied",
        "level\nright",
        "Dice ± sd\nall",
        "Dice\nident.",
        f"ASSD\n{unit}",
        f"HD95\n{unit}",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in summary.levels:
        table.add_row(cell(row.level), *row_cells(row))
    table.add_section()
    table.add_row("all", *row_cells(summary.total), style="bold")
    table.add_section()
    for published in PUBLISHED:
        cells = "", f"{published.identified_rate:.1%}", "", f"{published.dice_mean:.3f}"
        table.add_row(f"published,\n{published.data_set}", *cells, style="dim")
    return table


def row_cells(row: LevelSummary) -> tuple[str, ...]:
    """The cells of a level's row after its name, as text."""
    return (
        str(row.annotated),
        f"{row.identified_rate:.1%}",
        f"{row.level_right_rate:.1%}",
        f"{row.dice_mean:.3f} ± {row.dice_sd:.3f}",
        _number(row.dice_identified_mean, 3),
        _number(row.average_distance_mean, 2),
        _number(row.hausdorff_95_mean, 2),
    )


def _chosen(references: Sequence[LabelFile], ids: Sequence[str], split: Path) -> tuple[LabelFile, ...]:
    by_name = {name: file for file in references for name in file.names}
    missing = [name for name in ids if name not in by_name]
    if missing:
        raise LabelImageError(
            f"{split}: {len(missing)} of its {len(ids)} images have no reference, the first is {missing[0]}"
        )
    return tuple(by_name[name] for name in ids)


def _score(pairs: Sequence[tuple[LabelFile, LabelFile | None]], *, in_mm: bool) -> tuple[list[ImageScore], list[str]]:
    """Score pair by pair, so that a large data set never lies in memory as a whole."""
    images, notes = [], []
    progress = track(
        pairs, description="comparing", console=Console(file=sys.stderr), transient=True, disable=len(pairs) == 1
    )
    for truth_file, found_file in progress:
        truth = read_label_image(truth_file.path)
        found = (
            LabelImage(np.zeros_like(truth.labelmap), {}) if found_file is None else read_label_image(found_file.path)
        )
        if found_file is not None and found.labelmap.shape != truth.labelmap.shape:
            raise LabelImageError(
                f"{found_file.path} has a grid of {found.labelmap.shape}, its reference {truth_file.path} of "
                f"{truth.labelmap.shape}: bring one to the grid of the other"
            )
        notes += [
            f"{file.path}: {image.overlapping} voxels belong to more than one structure; the first has them"
            for file, image in ((truth_file, truth), (found_file, found))
            if file is not None and image.overlapping
        ]
        images.append(
            score_image(
                (found.labelmap, found.levels),
                (truth.labelmap, truth.levels),
                image=truth_file.name,
                spacing_mm=(truth.spacing_mm or found.spacing_mm) if in_mm else None,
                landmark_in_view=not LANDMARKS.isdisjoint(truth.levels.values()),
            )
        )
    return images, notes


def _notes(
    pairs: Sequence[tuple[LabelFile, LabelFile | None]], predictions: Sequence[LabelFile], images: Iterable[ImageScore]
) -> Iterable[str]:
    unfound = [truth.name for truth, found in pairs if found is None]
    if unfound:
        yield f"{len(unfound)} references have no prediction and count as not found, the first is {unfound[0]}"
    spare = len(predictions) - sum(found is not None for _, found in pairs)
    if spare:
        yield f"{spare} predictions are about none of these references"
    levels = {score.level for image in images for score in image.structures}
    if levels and not any(canonical_level(level)[0] in "CTLS" and level[1:].isdigit() for level in levels):
        yield "the references name no anatomical levels, so whether a level is right cannot be told"


def _row_as_json(row: LevelSummary) -> dict[str, Any]:
    return asdict(row) | {"identified_rate": row.identified_rate, "level_right_rate": row.level_right_rate}


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _without_suffix(name: str) -> str:
    path = Path(name)
    return path.stem if path.suffix.lower() in _ID_SUFFIXES else name
