"""The steps of the DAG after the engine's answer: Segmentation, report and picture, verified, then on disk.

The writers encode and verify; `store_results` puts all files of a Series on disk once the last one is made, so that
a result is whole or not there.
"""

from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from PIL import Image
from pydicom.dataset import Dataset

from models.contracts import Numbering
from models.errors import SpondylError
from operators.answers import Answer, RadiographAnswer, VolumeAnswer
from operators.dicom.identity import Profile
from operators.dicom.picture import RGB, render_overlay
from operators.dicom.secondary_capture import default_caption, picture_as_secondary_capture
from operators.dicom.segmentation import build_segmentation
from operators.dicom.structured_report import build_report
from operators.dicom.verify import encode, verify_overlay, verify_report, verify_segmentation
from operators.dicom.volume_picture import render_volume
from operators.dicom.volume_report import build_volume_report
from operators.dicom.volume_segmentation import build_volume_segmentations
from operators.dicom.volume_verify import verify_volume_segmentation
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


def write_segmentations(outcome: SeriesOutcome, plan: RunPlan) -> SeriesOutcome:
    """Encode the Segmentations of each profile: one of a radiograph, two of a volume.

    Raises:
        ResultError: what was encoded is not what the engine answered; it is not written.
    """
    answer = _answer(outcome)
    segmentations: dict[Profile, Dataset] = {}
    outputs: list[EncodedOutput] = []
    for target in plan.targets:
        if isinstance(answer, VolumeAnswer):
            segmentations[target.profile], encoded = _volume_segmentations(answer, target.profile)
        else:
            segmentations[target.profile], encoded = _radiograph_segmentation(answer, target.profile)
        outputs += encoded
    return replace(outcome, segmentations=segmentations, encoded=(*outcome.encoded, *outputs))


def _radiograph_segmentation(answer: RadiographAnswer, profile: Profile) -> tuple[Dataset, list[EncodedOutput]]:
    result = answer.result
    segmentation = build_segmentation(
        result.labelmap,
        answer.source,
        result.structures,
        algorithm=answer.algorithm,
        profile=profile,
        spacing_mm=answer.spacing_mm,
    )
    encoded = encode(segmentation)
    verify_segmentation(encoded, result.labelmap, answer.source, result.structures)
    return segmentation, [_dicom(segmentation, encoded, profile)]


def _volume_segmentations(answer: VolumeAnswer, profile: Profile) -> tuple[Dataset, list[EncodedOutput]]:
    result, stack = answer.result, answer.stack
    built = build_volume_segmentations(result, stack, algorithm=answer.algorithm, profile=profile)
    outputs = []
    for segmentation, labelmap, structures in (
        (built.vertebrae, result.vertebra_labelmap, result.vertebrae),
        (built.substructures, result.subregion_labelmap, result.substructures),
    ):
        encoded = encode(segmentation)
        verify_volume_segmentation(encoded, labelmap, stack, structures)
        outputs.append(_dicom(segmentation, encoded, profile))
    return built.vertebrae, outputs


def write_reports(outcome: SeriesOutcome, plan: RunPlan) -> SeriesOutcome:
    """Encode a report per profile: it points at the Segmentation of that profile.

    Raises:
        ResultError: the report does not say what it should; it is not written.
    """
    answer = _answer(outcome)
    outputs = []
    for target in plan.targets:
        segmentation = outcome.segmentations[target.profile]
        report = _report(answer, segmentation, target.profile)
        encoded = encode(report)
        verify_report(encoded, _source(answer), segmentation)
        outputs.append(_dicom(report, encoded, target.profile))
    return replace(outcome, encoded=(*outcome.encoded, *outputs))


def _report(answer: Answer, segmentation: Dataset, profile: Profile) -> Dataset:
    if isinstance(answer, VolumeAnswer):
        return build_volume_report(
            answer.morphometry,
            answer.result,
            answer.stack,
            segmentation=segmentation,
            algorithm=answer.algorithm,
            warnings=answer.notes,
            profile=profile,
        )
    return build_report(
        answer.morphometry,
        answer.source,
        answer.result.structures,
        labelmap=answer.result.labelmap,
        segmentation=segmentation,
        algorithm=answer.algorithm,
        numbering=answer.result.numbering,
        spacing_mm=answer.spacing_mm,
        warnings=(*answer.notes, *answer.result.warnings, f"lengths: {answer.spacing_source}"),
        profile=profile,
    )


def write_pictures(outcome: SeriesOutcome, plan: RunPlan) -> SeriesOutcome:
    """Draw the overlay once and encode it per profile, as a Secondary Capture and as PNG.

    Raises:
        ResultError: the Secondary Capture does not hold the picture; it is not written.
    """
    answer = _answer(outcome)
    picture, of = _picture(answer)
    png = BytesIO()
    Image.fromarray(picture).save(png, format="PNG")
    number = "" if outcome.view_number == 1 else f"-{outcome.view_number}"
    place = Path(outcome.series.study_instance_uid) / f"{outcome.series.series_instance_uid}{number}.png"
    outputs = []
    for target in plan.targets:
        orientation = answer.view.picture_orientation if isinstance(answer, RadiographAnswer) else ()
        overlay = picture_as_secondary_capture(
            picture, _source(answer), answer.algorithm, of=of, patient_orientation=orientation
        )
        encoded = encode(overlay)
        verify_overlay(encoded, picture, _source(answer))
        outputs.append(_dicom(overlay, encoded, target.profile))
        outputs.append(EncodedOutput(WrittenOutput(target.profile, place, None, None), png.getvalue()))
    return replace(outcome, encoded=(*outcome.encoded, *outputs))


def _picture(answer: Answer) -> tuple[RGB, str]:
    """Return the picture and what it is drawn on; doubt about the numbering must not stay in the report alone."""
    caption = replace(default_caption(answer.algorithm), note=NUMBERING_NOTES[answer.result.numbering])
    if isinstance(answer, VolumeAnswer):
        return render_volume(answer.volume, answer.result, caption), "MR series"
    caption = replace(caption, facing=answer.morphometry.facing)
    picture = render_overlay(answer.image.pixels, answer.view_labelmap, answer.result.structures, caption)
    return picture, "radiograph"


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


def _dicom(dataset: Dataset, encoded: bytes, profile: Profile) -> EncodedOutput:
    place = Path(dataset.StudyInstanceUID) / dataset.SeriesInstanceUID / f"{dataset.SOPInstanceUID}.dcm"
    return EncodedOutput(WrittenOutput(profile, place, str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)), encoded)


def _answer(outcome: SeriesOutcome) -> Answer:
    if outcome.answer is None:
        raise NothingToWrite(f"series {outcome.series.series_instance_uid} has no result to write")
    return outcome.answer


def _source(answer: Answer) -> tuple[Dataset, ...]:
    """Return the instances that the result is of."""
    return answer.stack.datasets if isinstance(answer, VolumeAnswer) else answer.source
