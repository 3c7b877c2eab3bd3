"""`spondyl segment`: MR volumes outside DICOM, as research data sets have them, into label maps that `evaluate` reads.

A volume file gets a folder of its name below OUTPUT: `vertebrae.nii.gz` and `subregions.nii.gz` in SPINEPS' numbering,
each with a table that names its values, `picture.png` and `report.json`. It is there whole or not at all, and a volume
whose folder is there by the same version, weights and contrast is not segmented again: a run that was stopped goes on
where it was.
"""

import json
import shutil
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

from app.cells import cell
from app.console import COLOURS, MOST_ROWS
from app.report import (
    EXIT_FAILED,
    EXIT_NOTHING_ROUTED,
    EXIT_SUCCEEDED,
    REPORT_NAME,
    Json,
    label_range,
    volume_measurements,
    volume_structures,
)
from app.settings import Settings
from app.version import software_version
from models.contracts import MrContrast, SpineVolume, VolumeResult
from models.errors import EngineRefusal, SpondylError
from models.packs import ModelPack, discover_packs
from models.spineps.morphometry import measure_volume
from operators.dicom.identity import AlgorithmIdentity
from operators.dicom.label_images import (
    VOLUME_ENDINGS,
    LabelImageError,
    ending_of,
    holds_labels,
    read_image_file,
    stem_of,
    write_volume_file,
)
from operators.dicom.mr_acquisition import plane_of
from operators.dicom.mr_contrast import mr_contrast
from operators.dicom.routing import fitting_pack, no_pack
from operators.dicom.secondary_capture import default_caption
from operators.dicom.volume_picture import render_volume
from operators.engines import ENGINES
from operators.files import write_whole
from operators.outcome import Status
from operators.writers import NUMBERING_NOTES

THICK = 1.5
"""Times the smallest spacing: above it a volume has slices, and they have to be sagittal."""


class Unsuitable(SpondylError):
    """A volume is none that SPINEPS takes; the message is the sentence after `skipped: `."""


@dataclass(frozen=True)
class VolumeEntry:
    """What became of a volume file.

    name: its path below the input, without its ending. reason: which weights took it, or why there is no result.
    found: which vertebrae.
    """

    name: str
    status: Status
    reason: str
    found: str = ""


@dataclass(frozen=True)
class SegmentPlan:
    """What holds for every volume. packs: those for SPINEPS. contrast: of all volumes, or None to read their names."""

    packs: Sequence[ModelPack]
    preferred_packs: Sequence[str]
    device: str
    contrast: MrContrast | None


def segment_command(source: Path, out: Path, settings: Settings, *, contrast: MrContrast | None = None) -> int:
    """Segment a volume file, or all below a folder; show how far it is and what came of each.

    Returns:
        0: every volume has its label maps; 3: there was none to segment; 4: at least one has no result.
    """
    packs = [pack for pack in discover_packs(settings.packs) if pack.engine == "spineps"]
    plan = SegmentPlan(packs, settings.default_pack, settings.device, contrast)
    root = source if source.is_dir() else source.parent
    paths = _volume_files(root, without=out) if source.is_dir() else [source]
    names = _names(root, paths)
    entries = [
        segment_file(path, out / names[path], plan, name=names[path])
        for path in track(paths, "segmenting", console=Console(stderr=True), transient=True)
    ]
    content = {"software_version": software_version(), "volumes": [vars(entry) for entry in entries]}
    write_whole(out / REPORT_NAME, json.dumps(content, indent=1).encode())
    _show(entries, Console())
    statuses = {entry.status for entry in entries}
    if statuses & {"failed", "refused"}:
        return EXIT_FAILED
    return EXIT_SUCCEEDED if "succeeded" in statuses else EXIT_NOTHING_ROUTED


def _volume_files(root: Path, *, without: Path) -> list[Path]:
    """Every volume below a folder; results of an earlier run in it are none."""
    own = without.resolve()
    paths = (path for path in sorted(root.rglob("*")) if ending_of(path) in VOLUME_ENDINGS and path.is_file())
    return [path for path in paths if own not in path.resolve().parents]


def _names(root: Path, paths: Sequence[Path]) -> Mapping[Path, str]:
    """Paths below a folder without their endings, but where two would be the same."""
    names = {path: path.relative_to(root).with_name(stem_of(path)).as_posix() for path in paths}
    often = Counter(names.values())
    return {path: path.relative_to(root).as_posix() if often[name] > 1 else name for path, name in names.items()}


def segment_file(path: Path, target: Path, plan: SegmentPlan, *, name: str) -> VolumeEntry:
    """Segment one volume into its folder; whatever goes wrong is the entry, and the others go on."""
    try:
        volume = read_volume_image(path, plan.contrast)
        pack = fitting_pack(plan.packs, {"modality": "MR", "contrast": volume.contrast}, preferred=plan.preferred_packs)
        if pack is None:
            raise Unsuitable(f"MR, {volume.contrast}; {no_pack(plan.packs)}; --contrast says what the name does not")
        kept = _kept(target / REPORT_NAME, _made_by(pack, volume))
        if kept is not None:
            return VolumeEntry(name, "succeeded", f"{pack.name}, was there already", kept)
        result = ENGINES.engine_for(pack, plan.device).segment(volume)
        found = _write(target, volume, result, pack)
        return VolumeEntry(name, "succeeded", f"{pack.name}, numbering: {result.numbering}", found)
    except Unsuitable as error:
        return VolumeEntry(name, "skipped", f"skipped: {error}")
    except EngineRefusal as refusal:
        return VolumeEntry(name, "refused", f"refused: {refusal}")
    except (SpondylError, OSError) as error:
        return VolumeEntry(name, "failed", f"failed: {error}")
    except Exception as error:  # whatever it is, the other volumes must go on
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return VolumeEntry(
            name, "failed", f"failed: {type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
        )


def read_volume_image(path: Path, contrast: MrContrast | None) -> SpineVolume:
    """Read a volume file as SPINEPS wants it; the contrast is the one given, or what the file's name says.

    Raises:
        LabelImageError: no volume of numbers.
        Unsuitable: a label map, or slices that are not sagittal.
    """
    voxels, affine = read_image_file(path)
    if not np.isfinite(voxels).all():
        raise LabelImageError(f"{path} holds values that are no numbers")
    if holds_labels(voxels):
        raise Unsuitable("a label map, not an image")
    _check_plane(affine)
    described = Dataset()
    described.SeriesDescription = stem_of(path).replace("_", " ")
    return SpineVolume(voxels, affine, contrast or mr_contrast(described))


def _check_plane(affine: NDArray[np.float64]) -> None:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    thick = int(spacing.argmax())
    plane = plane_of(affine[:3, thick])
    if spacing[thick] > THICK * spacing.min() and plane != "sagittal":
        raise Unsuitable(f"MR, {plane}, {spacing[thick]:.1f} mm slices; SPINEPS needs a sagittal plane")


def _made_by(pack: ModelPack, volume: SpineVolume) -> Json:
    """What decides a result, beside the file."""
    return {
        "software_version": software_version(),
        "pack": pack.name,
        "digest": pack.digest,
        "contrast": volume.contrast,
    }


def _kept(report: Path, made_by: Json) -> str | None:
    """What an earlier run found in the same way; None without one."""
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
        return str(content["found"]) if made_by.items() <= content.items() else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def _write(target: Path, volume: SpineVolume, result: VolumeResult, pack: ModelPack) -> str:
    """Write a volume's folder and return which vertebrae it holds."""
    part = target.with_name(f".{target.name}.partial")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, labelmap, structures in (
        ("vertebrae", result.vertebra_labelmap, result.vertebrae),
        ("subregions", result.subregion_labelmap, result.substructures),
    ):
        table = np.zeros(len(structures) + 1, np.uint16)
        table[[one.segment_number for one in structures]] = [one.spineps_label for one in structures]
        names = {one.spineps_label: one.label for one in structures}
        write_volume_file(part / f"{name}.nii.gz", table[labelmap], volume.affine, names)
    identity = AlgorithmIdentity(pack.name, pack.version, pack.digest, software_version())
    caption = replace(default_caption(identity), note=NUMBERING_NOTES[result.numbering])
    picture = render_volume(volume, result, caption)
    Image.fromarray(picture).save(part / "picture.png")
    content = _report(volume, result, pack)
    (part / REPORT_NAME).write_text(json.dumps(content, indent=1), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    return str(content["found"])


def _report(volume: SpineVolume, result: VolumeResult, pack: ModelPack) -> Json:
    measured = measure_volume(result, volume.affine)
    return {
        **_made_by(pack, volume),
        "numbering": result.numbering,
        "found": label_range([one.label for one in result.vertebrae if one.kind == "vertebra"]),
        "warnings": [*result.warnings, *measured.warnings],
        "measurements": volume_measurements(measured),
        "structures": list(volume_structures(result, measured)),
        "timings_s": dict(result.timings_s),
    }


def _show(entries: Sequence[VolumeEntry], console: Console) -> None:
    table = Table(Column("volume", overflow="fold"), "status", "found", "why", box=None, header_style="bold")
    for entry in entries[:MOST_ROWS]:
        colour = COLOURS[entry.status]
        table.add_row(cell(entry.name), f"[{colour}]{entry.status}[/]", cell(entry.found), cell(entry.reason))
    console.print(table)
    if len(entries) > MOST_ROWS:
        console.print(f"… and {len(entries) - MOST_ROWS} more volumes; all are in the report")
    if not any(entry.status == "succeeded" for entry in entries):
        console.print(f"Nothing was segmented: {', '.join(VOLUME_ENDINGS)} of sagittal MR were expected.")
