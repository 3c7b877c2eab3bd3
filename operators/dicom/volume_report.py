"""The measurements on an MR volume as a report: TID 1500 in a Comprehensive 3D SR (PS3.16 TID 1500, PS3.3 A.35.13).

Sentences come first: a summary, then what is doubted. One volumetric group (TID 1411) per vertebra, with the canal
behind it, and per disc points at its Segment and at its place in the middle slice of it; a group for the whole (TID
1501) holds the curves and how the vertebrae were numbered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from models.contracts import SpineStructure, VolumeResult
from models.quantity import Quantity
from models.spineps.morphometry import CanalMeasures, DiscMeasures, VertebraMeasures, VolumeMorphometry
from operators.dicom import codes
from operators.dicom.errors import ResultError
from operators.dicom.identity import AlgorithmIdentity, Profile
from operators.dicom.image_library import library_of_volume
from operators.dicom.mr_frames import SourceFrame
from operators.dicom.outlines import Outline, Places, outlines_of
from operators.dicom.provenance import completed_headers, plain_text
from operators.dicom.report_parts import (
    ReportContent,
    ReportContext,
    Value,
    algorithm_id,
    comments,
    document,
    draw,
    measurements,
    most_drawn,
    names_of,
    spine_group,
    spine_values,
)
from operators.dicom.report_summary import certain_curves, is_reported, left_out, of_volume
from operators.dicom.structure_codes import concept_of
from operators.dicom.volume import SliceStack
from operators.dicom.volume_segmentation import tracking_uid

Measures = VertebraMeasures | DiscMeasures | CanalMeasures
Group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations | sr.MeasurementsAndQualitativeEvaluations
# What is said of a Segment: (attribute of its measures, concept, modifier of the finding site).
CONCEPTS: tuple[tuple[str, Code, Code | None], ...] = (
    ("anterior_height", codes.ANTERIOR_HEIGHT, codes.ANTERIOR),
    ("middle_height", codes.MIDDLE_HEIGHT, None),
    ("posterior_height", codes.POSTERIOR_HEIGHT, codes.POSTERIOR),
    ("wedge_angle", codes.WEDGE_ANGLE, None),
    ("listhesis_offset", codes.LISTHESIS_OFFSET, None),
    ("listhesis_percent", codes.LISTHESIS_SHARE, None),
    ("ap_diameter", codes.CANAL_DIAMETER, None),
    ("area", codes.CANAL_AREA, None),
    ("height", codes.DISC_HEIGHT, None),
    ("height_index", codes.DISC_HEIGHT_INDEX, None),
)

# Beside the outline of a structure.
DRAWN = {"vertebra": (codes.CANAL_DIAMETER, codes.LISTHESIS_OFFSET), "disc": (codes.DISC_HEIGHT,)}
BODIES = (49, 50, 51, 62)  # of SPINEPS' structures: a vertebra is outlined by its body, with end-plates


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
    measured = replace(measured, lordoses=certain_curves(measured.lordoses, result.vertebrae))
    headers = completed_headers(source)
    places = Places(_outlines(result), [_image(frame) for frame in stack.frames])
    context = ReportContext(headers, segmentation, algorithm, places)
    groups: list[Group] = [
        _segment_group(structure, by_number[structure.segment_number], measured, context)
        for structure in result.vertebrae
        if is_reported(structure)
    ]
    groups.append(_spine_group(measured, result, context))
    doubts = [left_out(structure) for structure in result.vertebrae if not is_reported(structure)]
    content = ReportContent(
        summary=of_volume(measured, result.vertebrae, result.numbering, len(stack.frames)),
        comments=comments(algorithm, (*doubts, *result.warnings, *warnings, *measured.warnings)),
        library=library_of_volume(stack),
        groups=groups,
        usual=codes.MAGNETIC_RESONANCE,
    )
    return document(content, source, context, profile)


def _matched(measured: VolumeMorphometry, result: VolumeResult, segmentation: Dataset) -> dict[int, Sequence[Measures]]:
    """Return measures by Segment Number; raise where measures, structures and Segments are not of each other."""
    described = [int(item.SegmentNumber) for item in segmentation.SegmentSequence if item.SegmentNumber > 0]
    labels = {structure.segment_number: structure.label for structure in result.vertebrae}
    if described != [*labels]:
        uid = segmentation.SOPInstanceUID
        raise ResultError(f"Segmentation {uid} has the Segments {described}, the structures are {[*labels]}")
    measures: list[VertebraMeasures | DiscMeasures] = [*measured.vertebrae, *measured.discs]
    canals = {canal.label: canal for canal in measured.canal}
    foreign = [one.label for one in measures if labels.get(one.segment_number) != one.label]
    foreign += [label for label in canals if label not in labels.values()]
    if foreign:
        raise ResultError(f"measurements of {', '.join(foreign)}, which are no Segments of their number and label")
    found: dict[int, list[Measures]] = {number: [] for number in labels}
    for one in measures:
        found[one.segment_number].append(one)
    for number, label in labels.items():
        found[number] += [canals[label]] if label in canals else []
    return dict(found)


def _outlines(result: VolumeResult) -> dict[int, Outline]:
    """Return where each vertebra and disc lies; a vertebra of which a body was segmented, by that."""
    bodies = [structure.segment_number for structure in result.substructures if structure.spineps_label in BODIES]
    vertebrae = [structure.segment_number for structure in result.vertebrae if structure.kind == "vertebra"]
    is_body = np.isin(result.subregion_labelmap, bodies) & np.isin(result.vertebra_labelmap, vertebrae)
    return outlines_of(result.vertebra_labelmap) | outlines_of(np.where(is_body, result.vertebra_labelmap, 0))


def _image(frame: SourceFrame) -> sr.SourceImageForRegion:
    """Return the reference to a slice."""
    source = frame.instance.dataset
    numbers = None if frame.frame_number is None else [frame.frame_number]
    return sr.SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID, numbers)


def _segment_group(
    structure: SpineStructure, measures: Sequence[Measures], measured: VolumeMorphometry, context: ReportContext
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    site, source, segmentation = concept_of(structure).code, context.source, context.segmentation
    drawn = most_drawn(DRAWN[structure.kind], len(measured.vertebrae))
    values = [Value(codes.VOLUME, Quantity(structure.volume_mm3, "mm3"))]
    for attribute, concept, modifier in CONCEPTS:
        for quantity in (getattr(one, attribute, None) for one in measures):
            values += [] if quantity is None else [Value(concept, quantity, modifier)]
    values.append(Value(codes.CERTAINTY_OF_FINDING, Quantity(100 * structure.confidence, "percent")))
    group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=tracking_uid(source, context.algorithm, structure), identifier=plain_text(structure.label)
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
        algorithm_id=algorithm_id(context.algorithm),
        measurements=measurements(values, site, drawn),
    )
    starts = measured.lordoses if structure.kind == "vertebra" else ()
    names = names_of(structure.label, structure.level, starts)
    draw(group, names, drawn, lambda: context.places.of_segment(structure.segment_number))
    return group


def _spine_group(
    measured: VolumeMorphometry, result: VolumeResult, context: ReportContext
) -> sr.MeasurementsAndQualitativeEvaluations:
    vertebrae = [structure for structure in result.vertebrae if structure.kind == "vertebra"]
    return spine_group(
        spine_values(measured.lordoses, len(vertebrae)),
        codes.region_of_levels([structure.level for structure in vertebrae]),
        result.numbering,
        context,
        numbers=[structure.segment_number for structure in vertebrae or result.vertebrae],
    )
