"""The measurements on an MR volume as a report: TID 1500 in a Comprehensive 3D SR (PS3.16 TID 1500, PS3.3 A.35.13).

One volumetric group (TID 1411) per vertebra and disc points at its Segment; a group for the whole (TID 1501) holds the
canal by level, the curves, how the vertebrae were numbered, and what is doubted, as comments.
"""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from models.contracts import Numbering, SpineStructure, VolumeResult
from models.quantity import Quantity
from models.spineps.morphometry import DiscMeasures, VertebraMeasures, VolumeMorphometry
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
from operators.dicom.structure_codes import concept_of
from operators.dicom.volume import SliceStack
from operators.dicom.volume_segmentation import tracking_uid

Measured = VertebraMeasures | DiscMeasures
Group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations | sr.MeasurementsAndQualitativeEvaluations
# What is said of a Segment: (attribute of its measures, concept, modifier of the finding site).
CONCEPTS: tuple[tuple[str, Code, Code | None], ...] = (
    ("volume", codes.VOLUME, None),
    ("anterior_height", codes.ANTERIOR_HEIGHT, codes.ANTERIOR),
    ("middle_height", codes.MIDDLE_HEIGHT, None),
    ("posterior_height", codes.POSTERIOR_HEIGHT, codes.POSTERIOR),
    ("wedge_angle", codes.WEDGE_ANGLE, None),
    ("listhesis_offset", codes.LISTHESIS_OFFSET, None),
    ("listhesis_percent", codes.LISTHESIS_SHARE, None),
    ("height", codes.DISC_HEIGHT, None),
    ("height_index", codes.DISC_HEIGHT_INDEX, None),
)


def build_volume_report(
    measured: VolumeMorphometry,
    result: VolumeResult,
    stack: SliceStack,
    *,
    segmentation: Dataset,
    algorithm: AlgorithmIdentity,
    warnings: Sequence[str] = (),
    profile: Profile = "standard",
) -> Dataset:
    """Return the report on a volume.

    Args:
        measured: from `measure_volume` of the result.
        result: from the engine.
        stack: the frames that were segmented.
        segmentation: the Segmentation of vertebrae and discs of the same profile, which the groups point at.
        algorithm: what segmented and measured.
        warnings: doubts besides those of the result and of the measurements.
        profile: that of the Segmentation.

    Raises:
        ResultError: measurements or Segmentation are not of these structures.
    """
    by_number = _matched(measured, result, segmentation)
    source = stack.datasets
    headers = completed_headers(source)
    groups: list[Group] = [
        _segment_group(structure, by_number.get(structure.segment_number), headers, segmentation, algorithm)
        for structure in result.vertebrae
    ]
    groups.append(_spine_group(measured, headers, result, algorithm))
    report = sr.MeasurementReport(
        observation_context=observation_context(algorithm),
        procedure_reported=procedure(source[0], codes.MAGNETIC_RESONANCE),
        imaging_measurements=groups,
        title=hd.sr.CodedConcept("126000", "DCM", "Imaging Measurement Report"),
    )
    add_comments(report, comments(algorithm, (*result.warnings, *warnings, *measured.warnings)))
    built = sr.Comprehensive3DSR(
        evidence=[*headers, evidence(segmentation)],
        content=report[0],
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=series_description("Spine measurements", algorithm),
        coding_schemes=[private_scheme()],
        **result_keywords(source, algorithm, kind="report", profile=profile),
    )
    add_provenance(built, source, algorithm)
    return built


def _matched(measured: VolumeMorphometry, result: VolumeResult, segmentation: Dataset) -> dict[int, Measured]:
    """Return measures by Segment Number; raise where measures, structures and Segments are not of each other."""
    described = [int(item.SegmentNumber) for item in segmentation.SegmentSequence if item.SegmentNumber > 0]
    labels = {structure.segment_number: structure.label for structure in result.vertebrae}
    if described != [*labels]:
        uid = segmentation.SOPInstanceUID
        raise ResultError(f"Segmentation {uid} has the Segments {described}, the structures are {[*labels]}")
    measures: list[Measured] = [*measured.vertebrae, *measured.discs]
    foreign = [one.label for one in measures if labels.get(one.segment_number) != one.label]
    foreign += [canal.label for canal in measured.canal if canal.label not in labels.values()]
    if foreign:
        raise ResultError(f"measurements of {', '.join(foreign)}, which are no Segments of their number and label")
    return {one.segment_number: one for one in measures}


def _segment_group(
    structure: SpineStructure,
    measures: Measured | None,
    source: Sequence[Dataset],
    segmentation: Dataset,
    algorithm: AlgorithmIdentity,
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    site = concept_of(structure).code
    found: dict[str, Quantity | None] = {name: getattr(measures, name, None) for name, _, _ in CONCEPTS}
    found["volume"] = Quantity(structure.volume_mm3, "mm3")
    items = [
        measurement(concept, quantity, sr.FindingSite(site, topographical_modifier=place) if place else None)
        for name, concept, place in CONCEPTS
        if (quantity := found[name]) is not None
    ]
    items.append(measurement(codes.CERTAINTY_OF_FINDING, Quantity(100 * structure.confidence, "percent")))
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=tracking_uid(source, algorithm, structure), identifier=plain_text(structure.label)
        ),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=structure.segment_number,
            source_series=sr.SourceSeriesForSegmentation(source[0].SeriesInstanceUID),
        ),
        finding_category=codes.ANATOMICAL_STRUCTURE,
        finding_type=codes.DISC if structure.kind == "disc" else codes.VERTEBRA,
        finding_sites=[sr.FindingSite(site)],
        algorithm_id=algorithm_id(algorithm),
        measurements=items,
    )


def _spine_group(
    measured: VolumeMorphometry, source: Sequence[Dataset], result: VolumeResult, algorithm: AlgorithmIdentity
) -> sr.MeasurementsAndQualitativeEvaluations:
    places = {structure.label: structure for structure in result.vertebrae}
    levels = [structure.level for structure in result.vertebrae if structure.kind == "vertebra"]
    items = []
    for canal in measured.canal:
        site = sr.FindingSite(concept_of(places[canal.label]).code)
        items.append(measurement(codes.CANAL_DIAMETER, canal.ap_diameter, site))
        items.append(measurement(codes.CANAL_AREA, canal.area, site))
    for lordosis in measured.lordoses:
        name = codes.LORDOSIS[lordosis.upper_level, lordosis.lower_level]
        region = sr.FindingSite(codes.REGIONS[lordosis.upper_level[0]])
        items.append(measurement(name, lordosis.angle, region, method=codes.COBB_ANGLE))
    numbering: Numbering = result.numbering
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=str(result_uid(source, algorithm, kind="tracking spine")), identifier="Spine"
        ),
        finding_sites=[sr.FindingSite(codes.region_of_levels(levels))],
        algorithm_id=algorithm_id(algorithm),
        source_images=[sr.SourceImageForMeasurementGroup(source[0].SOPClassUID, source[0].SOPInstanceUID)],
        measurements=items or None,
        qualitative_evaluations=[sr.QualitativeEvaluation(codes.NUMBERING, codes.NUMBERING_VALUES[numbering])],
    )
