"""The pack and its engine over phantoms that no training has seen, and over real radiographs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pydicom import dcmread

from app.accuracy.keeping import Keeper, code_and_weights, measure_all, pack_of
from models.contracts import BodyRegion, RadiographImage, RadiographResult
from models.errors import EngineRefusal
from models.evaluation import ImageScore, StructureScore, score_image
from models.phantom.radiograph import RadiographPhantom, radiograph_phantom
from operators.dicom.label_images import LabelImage, read_label_image
from operators.dicom.pixels import radiograph_image
from operators.engines import ENGINES

FIRST_HELD_BACK_SEED = 1_000_000
"""Training draws its seeds below this one."""

ANNOTATED: Mapping[BodyRegion, frozenset[str]] = {
    "cervical": frozenset(f"C{number}" for number in range(2, 8)),
    "lumbar": frozenset({*(f"L{number}" for number in range(1, 7)), "S1"}),
}
"""The levels that count, as in the published data sets; others in view are found too, and not counted."""

NO_SAY = ("spineps/*", "training/*", "phantom/mr*", "evaluation/volumes.py", "evaluation/panoptic.py")
"""What below `models` cannot change a number of a radiograph."""


@dataclass(frozen=True)
class Held:
    """A held-back phantom."""

    seed: int
    region: BodyRegion


@dataclass(frozen=True)
class Measured:
    """What the engine made of one image.

    score: against the truth. numbering: as the engine reports it, or `refused`.
    remark: the refusal, or nothing.
    """

    score: ImageScore
    numbering: str
    remark: str = ""


def held_back(count: int, *, first: int = FIRST_HELD_BACK_SEED) -> tuple[Held, ...]:
    """Return `count` phantoms, the first half cervical and the rest lumbar, each with a seed of its own."""
    half = count // 2
    return tuple(Held(first + index, "cervical" if index < half else "lumbar") for index in range(count))


def phantom_image(phantom: RadiographPhantom, *, calibrated: bool) -> RadiographImage:
    """Give the engine what a header would: the pixels, the region, and the spacing if it is calibrated."""
    values = phantom.pixels.astype(np.float32) / np.float32(2**phantom.bits_stored - 1)
    if phantom.photometric_interpretation == "MONOCHROME1":
        values = 1 - values
    return RadiographImage(values, phantom.spacing_mm if calibrated else None, phantom.body_region)


def measure_phantom(held: Held, *, pack: Path, device: str, calibrated: bool) -> Measured:
    """Draw a phantom, segment it, score it; surface distances are in mm, which a phantom always knows."""
    phantom = radiograph_phantom(held.seed, region=held.region)
    result, remark = segment(phantom_image(phantom, calibrated=calibrated), pack=pack, device=device)
    score = score_image(
        _labelled(result, phantom.labelmap.shape),
        (phantom.labelmap, phantom.levels),
        image=f"{held.region} {held.seed}",
        annotated=ANNOTATED[held.region],
        spacing_mm=phantom.spacing_mm,
        landmark_in_view=bool(phantom.landmarks_in_view),
    )
    return Measured(score, result.numbering if result else "refused", remark)


def measure_radiograph(folder: Path, *, pack: Path, device: str) -> Measured:
    """Segment the DICOM image of a folder and score it against the reference beside it, in pixels."""
    image, reference = read_radiograph(folder)
    result, remark = segment(image, pack=pack, device=device)
    score = score_image(
        _labelled(result, reference.labelmap.shape), (reference.labelmap, reference.levels), image=folder.name
    )
    return Measured(score, result.numbering if result else "refused", remark)


def read_radiograph(folder: Path) -> tuple[RadiographImage, LabelImage]:
    """Read the one DICOM image of a folder and its `reference_labelmap.png`."""
    (path,) = folder.glob("*.dcm")
    return radiograph_image(dcmread(path)), read_label_image(folder / "reference_labelmap.png")


def radiograph_folders(root: Path) -> tuple[Path, ...]:
    """The folders of real radiographs with a reference; none where the root is not there."""
    return tuple(path.parent for path in sorted(root.glob("*/reference_labelmap.png")))


def segment(image: RadiographImage, *, pack: Path, device: str) -> tuple[RadiographResult | None, str]:
    """Run the warm engine; a refusal is an answer too: nothing found, and the reason."""
    try:
        return ENGINES.engine_for(pack_of(pack), device).segment(image), ""
    except EngineRefusal as refusal:
        return None, str(refusal)


def measure_phantoms(
    phantoms: Sequence[Held], *, pack: Path, device: str, calibrated: bool, processes: int, cache_dir: Path
) -> Iterator[tuple[Held, Measured]]:
    """Measure phantoms in processes of their own, in the order in which they end.

    What was measured is kept in a folder that is named after the pack's weights and the source of what has a say.
    """
    scale = "calibrated" if calibrated else "estimated"
    keeper = Keeper[Held, Measured](
        cache_dir / f"{code_and_weights(pack, without=NO_SAY)}-{scale}",
        name=lambda held: f"{held.region}-{held.seed}",
        dumps=measured_as_json,
        loads=measured_from_json,
    )
    measure = partial(measure_phantom, pack=pack, device=device, calibrated=calibrated)
    yield from measure_all(phantoms, measure, keeper=keeper, processes=processes)


def measured_as_json(measured: Measured) -> str:
    """Write what was measured as text that `measured_from_json` reads."""
    return json.dumps(asdict(measured))


def measured_from_json(text: str) -> Measured:
    """Read what `measured_as_json` wrote."""
    content = json.loads(text)
    score = content.pop("score")
    structures = tuple(StructureScore(**structure) for structure in score.pop("structures"))
    unpaired = tuple(score.pop("unpaired"))
    return Measured(ImageScore(**score, structures=structures, unpaired=unpaired), **content)


def _labelled(
    result: RadiographResult | None, shape: tuple[int, ...]
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint16]], Mapping[int, str]]:
    if result is None:
        return np.zeros(shape, np.uint16), {}
    return result.labelmap, {structure.segment_number: structure.label for structure in result.structures}
