"""The measurements as a report: TID 1500 in a Comprehensive 3D SR (PS3.16 TID 1500, PS3.3 A.35.13).

One planar group (TID 1410) per vertebra points at its Segment; a group for the whole image (TID 1501) holds the
lordosis, how the vertebrae were numbered, and what is doubted, as comments.
"""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from models.contracts import FoundStructure, Numbering
from models.spinefm.morphometry import Quantity, SpineMorphometry, VertebraMorphometry
from operators.dicom import codes
from operators.dicom.errors import ResultError
from operators.dicom.identity import AlgorithmIdentity, Profile, result_uid
from operators.dicom.provenance import (
    NOT_FOR_DIAGNOSIS,
    add_provenance,
    completed_headers,
    plain_text,
    result_keywords,
    series_description,
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
        observation_context=_observation_context(algorithm),
        procedure_reported=_procedure(source[0]),
        imaging_measurements=groups,
        title=hd.sr.CodedConcept("126000", "DCM", "Imaging Measurement Report"),
        referenced_images=headers if all(headers[0].get(keyword) for keyword in _LIBRARY_KEYWORDS) else None,
    )
    _add_comments(report, _comments(algorithm, (*warnings, *measured.warnings)))
    result = sr.Comprehensive3DSR(
        evidence=[*headers, _evidence(segmentation)],
        content=report[0],
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=series_description("Spine measurements", algorithm),
        coding_schemes=[_private_scheme()],
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
    measurements = [_measurement(codes.AREA, vertebra.area)]
    for name, quantity, place in (
        (codes.ANTERIOR_HEIGHT, vertebra.anterior_height, codes.ANTERIOR),
        (codes.MIDDLE_HEIGHT, vertebra.middle_height, None),
        (codes.POSTERIOR_HEIGHT, vertebra.posterior_height, codes.POSTERIOR),
    ):
        if quantity is not None:
            measurements.append(_measurement(name, quantity, sr.FindingSite(level, topographical_modifier=place)))
    if vertebra.wedge_angle is not None:
        measurements.append(_measurement(codes.WEDGE_ANGLE, vertebra.wedge_angle))
    measurements.append(_number(codes.CERTAINTY_OF_FINDING, 100 * structure.confidence, codes.UNITS["%"]))
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=tracking_uid(source, algorithm, structure), identifier=plain_text(structure.label)
        ),
        referenced_segment=_segment_reference(structure, source[0], segmentation),
        finding_category=codes.ANATOMICAL_STRUCTURE,
        finding_type=codes.VERTEBRA,
        finding_sites=[sr.FindingSite(level)],
        algorithm_id=_algorithm_id(algorithm),
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
        _measurement(
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
        algorithm_id=_algorithm_id(algorithm),
        source_images=[sr.SourceImageForMeasurementGroup(source[0].SOPClassUID, source[0].SOPInstanceUID)],
        measurements=measurements,
        qualitative_evaluations=[sr.QualitativeEvaluation(codes.NUMBERING, codes.NUMBERING_VALUES[numbering])],
    )


def _measurement(
    name: Code, quantity: Quantity, site: sr.FindingSite | None = None, *, method: Code | None = None
) -> sr.Measurement:
    return _number(name, quantity.value, codes.UNITS[quantity.unit], site, method=method)


def _number(
    name: Code, value: float, unit: Code, site: sr.FindingSite | None = None, *, method: Code | None = None
) -> sr.Measurement:
    # PS3.3 C.18.1: Numeric Value is a DS of 16 characters; a hundredth of a unit is below what a mask can tell.
    sites = None if site is None else [site]
    return sr.Measurement(name=name, value=round(value, 2), unit=unit, finding_sites=sites, method=method)


def _algorithm_id(algorithm: AlgorithmIdentity) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(
        name=plain_text(algorithm.name),
        version=plain_text(algorithm.version),
        family=codes.ARTIFICIAL_INTELLIGENCE,
        manufacturer=plain_text(algorithm.manufacturer),
    )


def _observation_context(algorithm: AlgorithmIdentity) -> sr.ObservationContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=str(algorithm.device_uid),
        name="Spondyl",
        manufacturer_name=plain_text(algorithm.manufacturer),
        model_name=plain_text(f"{algorithm.name} {algorithm.version}"),
        serial_number=algorithm.digest[:16],
    )
    observer_type = hd.sr.CodedConcept("121007", "DCM", "Device")
    return sr.ObservationContext(
        observer_device_context=sr.ObserverContext(observer_type, observer_identifying_attributes=device)
    )


def _procedure(source: Dataset) -> hd.sr.CodedConcept:
    """Return the imaging procedure that is reported on: as the source codes it, else plain radiography."""
    performed = source.get("ProcedureCodeSequence")
    if performed and performed[0].get("CodeValue") and performed[0].get("CodeMeaning"):
        item = performed[0]
        return hd.sr.CodedConcept(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)
    return hd.sr.CodedConcept.from_code(codes.PLAIN_RADIOGRAPHY)


def _evidence(segmentation: Dataset) -> Dataset:
    """Return what the evidence sequences need of the Segmentation."""
    header = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(header, keyword, segmentation[keyword].value)
    return header


def _comments(algorithm: AlgorithmIdentity, warnings: Sequence[str]) -> list[str]:
    use = [f"Automatic result of {algorithm.name} {algorithm.version}: {NOT_FOR_DIAGNOSIS}."]
    return (use if algorithm.research_only else []) + list(dict.fromkeys(warnings))


def _add_comments(report: sr.MeasurementReport, comments: Sequence[str]) -> None:
    """Add comments to the last group, the image's: TID 1501 is extensible, and highdicom offers coded items only."""
    measurements = report[0].ContentSequence[-1]
    for comment in comments:
        item = sr.TextContentItem(
            name=codes.COMMENT,
            value=plain_text(comment),
            relationship_type=sr.RelationshipTypeValues.CONTAINS,
        )
        measurements.ContentSequence[-1].ContentSequence.append(item)


def _private_scheme() -> CodingSchemeIdentificationItem:
    return CodingSchemeIdentificationItem(
        codes.PRIVATE_SCHEME, name="Spondyl measurements", responsible_organization="Spondyl"
    )
