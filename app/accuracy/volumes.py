"""The pack and its engine over MR phantoms that no training has seen, and over real MR volumes."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.accuracy.keeping import Keeper, code_and_weights, measure_all, pack_of
from models.contracts import SpineVolume, VolumeResult
from models.errors import EngineRefusal
from models.evaluation import (
    BODY,
    CANAL_WITH_CORD,
    DISC,
    VERTEBRA,
    ImageScore,
    KindScore,
    LabelledVolume,
    PanopticCounts,
    StructureScore,
    VolumeScore,
    score_kind,
    split_kinds,
    take_kind,
)
from models.phantom.mr import MrPhantom, mr_phantom
from operators.dicom.body_region import body_region
from operators.dicom.label_images import (
    SPINEPS_STRUCTURES,
    SPINEPS_VERTEBRAE,
    VOLUME_ENDINGS,
    LabelImage,
    ending_of,
    is_label_volume,
    on_grid_of,
    read_image_file,
    read_label_image,
)
from operators.dicom.label_images.volume_files import spacing_of
from operators.dicom.mr_contrast import mr_contrast
from operators.dicom.series import load_series
from operators.dicom.volume import plan_volumes, read_volume
from operators.engines import ENGINES

FIRST_HELD_BACK_SEED = 1_000_000
"""Training draws its seeds below this one."""
WITH_CUT = "vertebra, cut ones too"
"""The kind under which the vertebrae are scored once more, with those that the border cuts."""
BODY_STRUCTURES = (49, 50)
NO_SAY = ("spinefm/*", "training/*", "phantom/radiograph.py", "phantom/projection.py", "phantom/decoys.py")
"""What below `models` cannot change a number of a volume."""

LabelArray = NDArray[np.integer]


@dataclass(frozen=True)
class MeasuredVolume:
    """What the engine made of one volume.

    score: against the truth; without kinds where there is no reference. numbering: as the engine reports it, or
    `refused`. remark: the refusal, or nothing. about: what the volume is. vertebrae: how many were found.
    seconds: of the engine, its pack already loaded.
    """

    score: VolumeScore
    numbering: str
    remark: str
    about: str
    vertebrae: int
    seconds: float


@dataclass(frozen=True)
class RealVolume:
    """A real volume with what is known of it.

    references: kinds by name, on the volume's grid; empty where there is no reference. spacing_mm: in its axis order.
    """

    name: str
    volume: SpineVolume
    references: Mapping[str, LabelledVolume]

    @property
    def outline(self) -> LabelArray | None:
        """What a picture shows of the references: instances, where there are some."""
        return next(
            (self.references[kind].labelmap for kind in (BODY, VERTEBRA, DISC) if kind in self.references), None
        )


def held_back_seeds(count: int) -> tuple[int, ...]:
    """Seeds of MR phantoms; region, contrast and everything else is drawn from them."""
    return tuple(range(FIRST_HELD_BACK_SEED, FIRST_HELD_BACK_SEED + count))


def phantom_volume(phantom: MrPhantom) -> SpineVolume:
    """Give the engine what a header would: the voxels, their place, the contrast and the region."""
    region = None if phantom.region == "whole" else phantom.region
    return SpineVolume(phantom.voxels, phantom.affine, phantom.contrast, region)


def measure_phantom_volume(seed: int, *, pack: Path, device: str) -> MeasuredVolume:
    """Draw a phantom, segment it, score every kind of structure."""
    phantom = mr_phantom(seed)
    volume = phantom_volume(phantom)
    result, remark, seconds = segment_volume(volume, pack=pack, device=device)
    score = score_phantom(phantom, result, name=f"{phantom.region} {phantom.contrast} {seed}")
    return _measured(score, result, remark, about=f"{phantom.region}, {phantom.contrast}", seconds=seconds)


def score_phantom(phantom: MrPhantom, result: VolumeResult | None, *, name: str) -> VolumeScore:
    """Score an answer against a phantom's truth; a refusal has found nothing.

    Vertebrae whose body the border cuts, or that have none in view, and discs that the border cuts do not count.
    """
    spacing = spacing_of(phantom.affine)
    predicted, truth = result_kinds(result), truth_kinds(phantom)
    cut = cut_by_border(phantom)
    scores = [
        score_kind(kind, take_kind(predicted, kind), volume, spacing_mm=spacing, ignored=cut.get(kind, frozenset()))
        for kind, volume in truth.items()
    ]
    if VERTEBRA in truth:
        every = score_kind(VERTEBRA, predicted.get(VERTEBRA), truth[VERTEBRA], spacing_mm=spacing)
        scores.append(replace(every, kind=WITH_CUT))
    whole_c2 = "C2" in phantom.landmarks_in_view and "C2" not in cut[VERTEBRA]
    return VolumeScore(name, tuple(scores), landmark_in_view="S1" in phantom.landmarks_in_view or whole_c2)


def truth_kinds(phantom: MrPhantom) -> dict[str, LabelledVolume]:
    """The truth of a phantom by kind; what both maps have is taken from that of the vertebrae.

    The canal is there without its cord, as SPINEPS has it, and with it, as SPIDER and radiologists do.
    """
    structures = split_kinds(LabelledVolume(phantom.subregions, SPINEPS_STRUCTURES.names))
    names = {**SPINEPS_VERTEBRAE.names, **phantom.levels}
    whole_canal = take_kind(structures, CANAL_WITH_CORD)
    return (
        structures
        | ({CANAL_WITH_CORD: whole_canal} if whole_canal else {})
        | split_kinds(LabelledVolume(phantom.vertebrae, names))
    )


def result_kinds(result: VolumeResult | None) -> dict[str, LabelledVolume]:
    """What an engine answered, by kind."""
    if result is None:
        return {}
    structures = split_kinds(
        LabelledVolume(result.subregion_labelmap, {one.segment_number: one.label for one in result.substructures})
    )
    return structures | split_kinds(
        LabelledVolume(result.vertebra_labelmap, {one.segment_number: one.label for one in result.vertebrae})
    )


def cut_by_border(phantom: MrPhantom) -> dict[str, frozenset[str]]:
    """Levels of vertebrae and discs that are not wholly in the planes of the slices.

    A vertebra counts as whole when its body is in view and touches no edge of a slice. The first and the last slice
    cut nearly every vertebra; that is how sagittal series are, and no reason to leave one out.
    """
    bodies = np.where(np.isin(phantom.subregions, BODY_STRUCTURES), phantom.vertebrae, 0)
    present, whole = _values(phantom.vertebrae), _values(bodies) - _on_edge(bodies)
    discs = {value for value in present if 101 <= value < 200}
    names = {**SPINEPS_VERTEBRAE.names, **phantom.levels}
    return {
        VERTEBRA: frozenset(names[value] for value in present - whole if value < 100),
        DISC: frozenset(names[value - 100] for value in discs & _on_edge(phantom.vertebrae)),
    }


def measure_real_volume(real: RealVolume, *, pack: Path, device: str) -> tuple[MeasuredVolume, VolumeResult | None]:
    """Segment a real volume and score it against its references, like with like; also the answer, to be drawn."""
    result, remark, seconds = segment_volume(real.volume, pack=pack, device=device)
    predicted = result_kinds(result)
    scores = tuple(
        score_kind(kind, take_kind(predicted, kind), reference, spacing_mm=real.volume.spacing_mm)
        for kind, reference in real.references.items()
    )
    spacing = " × ".join(f"{size:.1f}" for size in real.volume.spacing_mm)
    about = f"{' × '.join(map(str, real.volume.voxels.shape))} at {spacing} mm"
    return _measured(VolumeScore(real.name, scores), result, remark, about=about, seconds=seconds), result


def real_volume_folders(root: Path) -> tuple[Path, ...]:
    """The folders of real sagittal volumes; none where the root is not there."""
    if not root.is_dir():
        return ()
    return tuple(folder for folder in sorted(root.iterdir()) if folder.is_dir() and _is_sagittal(folder))


def read_real_volume(folder: Path) -> RealVolume:
    """Read a DICOM Series with `reference_labelmap.npz`, or a NIfTI image with label maps beside it.

    What the numbers of the NPZ file count is said by `reference_labels.json`: bodies or discs, from the top.
    """
    image = _nifti_image(folder)
    if image is not None:
        voxels, affine = read_image_file(image)
        volume = SpineVolume(voxels, affine, "T2w")
        return RealVolume(folder.name, volume, _nifti_references(folder, image, volume))
    stack = plan_volumes(load_series(folder).series[0]).chosen
    region = body_region(stack.header)
    volume = read_volume(stack, contrast=mr_contrast(stack.header), body_region=region)
    reference = folder / "reference_labelmap.npz"
    if not reference.is_file():
        return RealVolume(folder.name, volume, {})
    labels = read_label_image(reference)
    said = json.loads((folder / "reference_labels.json").read_text(encoding="utf-8"))["structure"]
    kind = BODY if "bodies" in said else DISC
    names = {value: f"{kind} {value}" for value in labels.levels}
    return RealVolume(folder.name, volume, {kind: LabelledVolume(labels.labelmap, names)})


def segment_volume(volume: SpineVolume, *, pack: Path, device: str) -> tuple[VolumeResult | None, str, float]:
    """Run the warm engine; a refusal is an answer too: nothing found, and the reason. Also how long it took, in s."""
    engine = ENGINES.engine_for(pack_of(pack), device)
    start = time.perf_counter()
    try:
        return engine.segment(volume), "", time.perf_counter() - start
    except EngineRefusal as refusal:
        return None, str(refusal), time.perf_counter() - start


def measure_phantom_volumes(
    seeds: Sequence[int], *, pack: Path, device: str, processes: int, cache_dir: Path
) -> Iterator[tuple[int, MeasuredVolume]]:
    """Measure phantoms in processes of their own, in the order in which they end."""
    keeper = Keeper[int, MeasuredVolume](
        cache_dir / f"{code_and_weights(pack, without=NO_SAY)}-volumes",
        name=str,
        dumps=lambda measured: json.dumps(asdict(measured)),
        loads=measured_from_json,
    )
    measure = partial(measure_phantom_volume, pack=pack, device=device)
    yield from measure_all(seeds, measure, keeper=keeper, processes=processes)


def measured_from_json(text: str) -> MeasuredVolume:
    """Read what was kept as the plain form of a MeasuredVolume."""
    content = json.loads(text)
    score = content.pop("score")
    kinds = tuple(_kind_from_json(kind) for kind in score.pop("kinds"))
    return MeasuredVolume(VolumeScore(**score, kinds=kinds), **content)


def _kind_from_json(kind: dict[str, Any]) -> KindScore:
    image, counts = kind.pop("instances"), kind.pop("counts")
    structures = tuple(StructureScore(**structure) for structure in image.pop("structures"))
    unpaired = tuple(image.pop("unpaired"))
    return KindScore(
        **kind,
        instances=ImageScore(**image, structures=structures, unpaired=unpaired),
        counts=None if counts is None else PanopticCounts(**counts),
    )


def _measured(
    score: VolumeScore, result: VolumeResult | None, remark: str, *, about: str, seconds: float
) -> MeasuredVolume:
    found = [one for one in result.vertebrae if one.kind == "vertebra" and one.label != "sacrum"] if result else []
    numbering = result.numbering if result else "refused"
    return MeasuredVolume(score, numbering, remark, about, len(found), round(seconds, 1))


def _values(labelmap: LabelArray) -> set[int]:
    return {int(value) for value in np.unique(labelmap)} - {0}


def _on_edge(labelmap: LabelArray) -> set[int]:
    """Values at the edges of the slices' planes."""
    edges = (labelmap[:, 0], labelmap[:, -1], labelmap[:, :, 0], labelmap[:, :, -1])
    return {int(value) for edge in edges for value in np.unique(edge)} - {0}


def _is_sagittal(folder: Path) -> bool:
    if _nifti_image(folder) is not None:
        return True
    loaded = load_series(folder).series
    return bool(loaded) and loaded[0].modality == "MR" and plan_volumes(loaded[0]).chosen.plane == "sagittal"


def _nifti_image(folder: Path) -> Path | None:
    """The one NIfTI file of a folder that is no label map."""
    volumes = [path for path in sorted(folder.iterdir()) if ending_of(path) in VOLUME_ENDINGS]
    return next((path for path in volumes if not is_label_volume(path)), None)


def _nifti_references(folder: Path, image: Path, volume: SpineVolume) -> dict[str, LabelledVolume]:
    grid = LabelImage(np.zeros(volume.voxels.shape, np.uint16), {}, volume.spacing_mm, affine=volume.affine)
    kinds: dict[str, LabelledVolume] = {}
    for path in sorted(folder.iterdir()):
        if ending_of(path) in VOLUME_ENDINGS and path != image:
            labels = read_label_image(path)
            labelmap = on_grid_of(grid, labels, names=(image, path))
            kinds = split_kinds(LabelledVolume(labelmap, labels.levels)) | kinds
    return kinds
