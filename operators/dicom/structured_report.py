"""The measurements as a report: TID 1500 in a Comprehensive 3D SR (PS3.16 TID 1500, PS3.3 A.35.13).

One planar group (TID 1410) per vertebra points at its Segment; a group for the whole image (TID 1501) holds the
lordosis, how the vertebrae were numbered, and what is doubted, as comments.
"""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
from highdicom import sr
from pydicom.dataset import Dataset

from models.contracts import FoundStructure, Numbering
from models.quantity import Quantity
from models.spinefm.morphometry import SpineMorphometry, VertebraMorphometry
from operators.dicom import codes
from operators.dicom.errors import ResultError
from operators.dicom.identity import AlgorithmIdentity, Profile, result_uid
from operators.dicom.provenance import (
    add_provenance,
    completed_headers,
    plain_text,
    result_keywords,
    series_description,
)
from operators.dicom.report_parts import (
    add_comments,
    algorithm_id,
    comments,
    evidence,
    measurement,
    observation_context,
    private_scheme,
    procedure,
)
from operators.dicom.segmentation import tracking_uid

# TID 1603: an Image Library entry of a projection holds both.
_LIBRARY_KEYWORDS = ("PatientOrientation", "ImagerPixelSpacing")


def build_report(
    measured: SpineMorphometry,
    source: Sequence[Dataset],
    structures: Sequence[FoundStructure],
    *,
    segmentation: Dataset,
    algorithm: AlgorithmIdentity,
    numbering: Numbering,
    warnings: Sequence[str] = (),
    profile: Profile = "standard",
) -> Dataset:
    """Return the report on a radiograph.

    Args:
        measured: from `measure_spine`, a vertebra per structure and in the same order.
        source: the one instance that was segmented; its pixel data need not be there.
        structures: what was found, from the top of the spine downwards.
        segmentation: the Segmentation of the same structures and profile, which the groups point at.
        algorithm: what segmented and measured.
        numbering: how the levels were told.
        warnings: the engine's doubts, a sentence each; those of `measured` are added.
        profile: that of the Segmentation.

    Raises:
        ResultError: measurements or Segmentation are not of these structures.
    """
    _check(measured, structures, segmentation)
    headers = completed_headers(source)
    groups: list[sr.PlanarROIMeasurementsAndQualitativeEvaluations | sr.MeasurementsAndQualitativeEvaluations] = [
        _vertebra_group(structure, vertebra, headers, segmentation, algorithm)
        for structure, vertebra in zip(structures, measured.vertebrae, strict=True)
    ]
    groups.append(_image_group(measured, headers, structures, algorithm, numbering))
    report = sr.MeasurementReport(
        observation_context=observation_context(algorithm),
        procedure_reported=procedure(source[0], codes.PLAIN_RADIOGRAPHY),
        imaging_measurements=groups,
        title=hd.sr.CodedConcept("126000", "DCM", "Imaging Measurement Report"),
        referenced_images=headers if all(headers[0].get(keyword) for keyword in _LIBRARY_KEYWORDS) else None,
    )
    add_comments(report, comments(algorithm, (*warnings, *measured.warnings)))
    result = sr.Comprehensive3DSR(
        evidence=[*headers, evidence(segmentation)],
        content=report[0],
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=series_description("Spine measurements", algorithm),
        coding_schemes=[private_scheme()],
        **result_keywords(source, algorithm, kind="report", profile=profile),
    )
    add_provenance(result, source, algorithm)
    return result


def _check(measured: SpineMorphometry, structures: Sequence[FoundStructure], segmentation: Dataset) -> None:
    expected = [structure.segment_number for structure in structures]
    if [vertebra.segment_number for vertebra in measured.vertebrae] != expected:
        raise ResultError(f"the measurements are not of the Segments {expected}")
    described = [int(item.SegmentNumber) for item in segmentation.SegmentSequence if item.SegmentNumber > 0]
    if described != expected:
        raise ResultError(
            f"Segmentation {segmentation.SOPInstanceUID} has the Segments {described}, the structures are {expected}"
        )


def _vertebra_group(
    structure: FoundStructure,
    vertebra: VertebraMorphometry,
    source: Sequence[Dataset],
    segmentation: Dataset,
    algorithm: AlgorithmIdentity,
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    level = codes.level_of(structure).code
    measurements = [measurement(codes.AREA, vertebra.area)]
    for name, quantity, place in (
        (codes.ANTERIOR_HEIGHT, vertebra.anterior_height, codes.ANTERIOR),
        (codes.MIDDLE_HEIGHT, vertebra.middle_height, None),
        (codes.POSTERIOR_HEIGHT, vertebra.posterior_height, codes.POSTERIOR),
    ):
        if quantity is not None:
            measurements.append(measurement(name, quantity, sr.FindingSite(level, topographical_modifier=place)))
    if vertebra.wedge_angle is not None:
        measurements.append(measurement(codes.WEDGE_ANGLE, vertebra.wedge_angle))
    measurements.append(measurement(codes.CERTAINTY_OF_FINDING, Quantity(100 * structure.confidence, "percent")))
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=tracking_uid(source, algorithm, structure), identifier=plain_text(structure.label)
        ),
        referenced_segment=_segment_reference(structure, source[0], segmentation),
        finding_category=codes.ANATOMICAL_STRUCTURE,
        finding_type=codes.VERTEBRA,
        finding_sites=[sr.FindingSite(level)],
        algorithm_id=algorithm_id(algorithm),
        measurements=measurements,
    )


def _segment_reference(
    structure: FoundStructure, source: Dataset, segmentation: Dataset
) -> sr.ReferencedSegmentationFrame:
    """Return the reference to a Segment by its number alone.

    PS3.3 C.18.4: frame or Segment Number, not both, and a frame of a label map holds all Segments. highdicom wants a
    frame, so that it is taken out again.
    """
    reference = sr.ReferencedSegmentationFrame(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        frame_number=1,
        segment_number=structure.segment_number,
        source_image=sr.SourceImageForSegmentation(source.SOPClassUID, source.SOPInstanceUID),
    )
    del reference[0].ReferencedSOPSequence[0].ReferencedFrameNumber
    return reference


def _image_group(
    measured: SpineMorphometry,
    source: Sequence[Dataset],
    structures: Sequence[FoundStructure],
    algorithm: AlgorithmIdentity,
    numbering: Numbering,
) -> sr.MeasurementsAndQualitativeEvaluations:
    measurements = [
        measurement(
            codes.LORDOSIS[lordosis.upper_level, lordosis.lower_level],
            lordosis.angle,
            sr.FindingSite(codes.REGIONS[lordosis.upper_level[0]]),
            method=codes.COBB_ANGLE,
        )
        for lordosis in measured.lordoses
    ]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=str(result_uid(source, algorithm, kind="tracking spine")), identifier="Spine"
        ),
        finding_sites=[sr.FindingSite(codes.region_of(tuple(structures)))],
        algorithm_id=algorithm_id(algorithm),
        source_images=[sr.SourceImageForMeasurementGroup(source[0].SOPClassUID, source[0].SOPInstanceUID)],
        measurements=measurements,
        qualitative_evaluations=[sr.QualitativeEvaluation(codes.NUMBERING, codes.NUMBERING_VALUES[numbering])],
    )
