"""The steps of the DAG after the engine's answer: Segmentation, report and picture, verified, then on disk.

The writers encode and verify; `store_results` puts all files of a Series on disk once the last one is made, so that
a result is whole or not there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from PIL import Image
from pydicom.dataset import Dataset

from models.contracts import Numbering, RadiographImage, RadiographResult
from models.errors import SpondylError
from models.spinefm.morphometry import SpineMorphometry
from operators.dicom.identity import AlgorithmIdentity, Profile
from operators.dicom.picture import Caption, render_overlay
from operators.dicom.secondary_capture import default_caption, picture_as_secondary_capture
from operators.dicom.segmentation import build_segmentation
from operators.dicom.structured_report import build_report
from operators.dicom.verify import encode, verify_overlay, verify_report, verify_segmentation
from operators.files import write_whole
from operators.outcome import EncodedOutput, SeriesOutcome, WrittenOutput
from operators.steps import RunPlan

NUMBERING_NOTES: Mapping[Numbering, str] = {
    "landmark": "",
    "assumed": "numbering assumed",
    "unknown": "levels not known",
}


class NothingToWrite(SpondylError):
    """A writer was asked before the engine answered: the DAG is wired wrongly."""


@dataclass(frozen=True)
class _Answer:
    """What the engine answered, complete."""

    source: tuple[Dataset, ...]
    image: RadiographImage
    result: RadiographResult
    morphometry: SpineMorphometry
    algorithm: AlgorithmIdentity


def write_segmentations(outcome: SeriesOutcome, plan: RunPlan) -> SeriesOutcome:
    """Encode a Segmentation per profile.

    Raises:
        ResultError: what was encoded is not what the engine answered; it is not written.
    """
    answer = _answer(outcome)
    structures = answer.result.structures
    segmentations: dict[Profile, Dataset] = {}
    outputs = []
    for target in plan.targets:
        segmentation = build_segmentation(
            answer.result.labelmap,
            answer.source,
            structures,
            algorithm=answer.algorithm,
            profile=target.profile,
            spacing_mm=answer.image.spacing_mm,
        )
        encoded = encode(segmentation)
        verify_segmentation(encoded, answer.result.labelmap, answer.source, structures)
        outputs.append(_dicom(segmentation, encoded, target.profile))
        segmentations[target.profile] = segmentation
    return replace(outcome, segmentations=segmentations, encoded=(*outcome.encoded, *outputs))


def write_reports(outcome: SeriesOutcome, plan: RunPlan) -> SeriesOutcome:
    """Encode a report per profile: it points at the Segmentation of that profile.

    Raises:
        ResultError: the report does not say what it should; it is not written.
    """
    answer = _answer(outcome)
    segmentations: Mapping[Profile, Dataset] = outcome.segmentations
    outputs = []
    for target in plan.targets:
        report = build_report(
            answer.morphometry,
            answer.source,
            answer.result.structures,
            segmentation=segmentations[target.profile],
            algorithm=answer.algorithm,
            numbering=answer.result.numbering,
            warnings=(*answer.result.warnings, f"lengths: {outcome.spacing_source}"),
            profile=target.profile,
        )
        encoded = encode(report)
        verify_report(encoded, answer.source, segmentations[target.profile])
        outputs.append(_dicom(report, encoded, target.profile))
    return replace(outcome, encoded=(*outcome.encoded, *outputs))


def write_pictures(outcome: SeriesOutcome, plan: RunPlan) -> SeriesOutcome:
    """Draw the overlay once and encode it per profile, as a Secondary Capture and as PNG.

    Raises:
        ResultError: the Secondary Capture does not hold the picture; it is not written.
    """
    answer = _answer(outcome)
    caption = _caption(answer)
    picture = render_overlay(answer.image.pixels, answer.result.labelmap, answer.result.structures, caption)
    png = BytesIO()
    Image.fromarray(picture).save(png, format="PNG")
    number = "" if outcome.view_number == 1 else f"-{outcome.view_number}"
    place = Path(outcome.series.study_instance_uid) / f"{outcome.series.series_instance_uid}{number}.png"
    outputs = []
    for target in plan.targets:
        overlay = picture_as_secondary_capture(picture, answer.source, answer.algorithm)
        encoded = encode(overlay)
        verify_overlay(encoded, picture, answer.source)
        outputs.append(_dicom(overlay, encoded, target.profile))
        outputs.append(EncodedOutput(WrittenOutput(target.profile, place, None, None), png.getvalue()))
    return replace(outcome, encoded=(*outcome.encoded, *outputs))


def store_results(outcome: SeriesOutcome, plan: RunPlan) -> SeriesOutcome:
    """Put everything that was encoded on disk; where one file cannot be written, none stays."""
    folders = {target.profile: target.folder for target in plan.targets}
    written: list[Path] = []
    try:
        for encoded in outcome.encoded:
            path = folders[encoded.output.profile] / encoded.output.path
            write_whole(path, encoded.content)
            written.append(path)
    except OSError:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return replace(outcome, outputs=tuple(encoded.output for encoded in outcome.encoded), encoded=())


def _caption(answer: _Answer) -> Caption:
    """Return what the picture says beside the names: doubt about the numbering must not stay in the report alone."""
    note = NUMBERING_NOTES[answer.result.numbering]
    return replace(default_caption(answer.algorithm), note=note, facing=answer.morphometry.facing)


def _dicom(dataset: Dataset, encoded: bytes, profile: Profile) -> EncodedOutput:
    place = Path(dataset.StudyInstanceUID) / dataset.SeriesInstanceUID / f"{dataset.SOPInstanceUID}.dcm"
    return EncodedOutput(WrittenOutput(profile, place, str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)), encoded)


def _answer(outcome: SeriesOutcome) -> _Answer:
    image, result = outcome.image, outcome.result
    morphometry, algorithm = outcome.morphometry, outcome.algorithm
    if image is None or result is None or morphometry is None or algorithm is None:
        raise NothingToWrite(f"series {outcome.series.series_instance_uid} has no result to write")
    return _Answer(tuple(outcome.series.datasets), image, result, morphometry, algorithm)
