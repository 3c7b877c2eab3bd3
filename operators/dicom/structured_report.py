"""The measurements as a report: TID 1500 in a Comprehensive 3D SR (PS3.16 TID 1500, PS3.3 A.35.13).

Sentences come first: a summary, then what is doubted. One planar group (TID 1410) per vertebra points at its Segment
and at its place in the image; a group for the whole image (TID 1501) holds the lordosis and how the vertebrae were
numbered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from highdicom import sr
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.contracts import FoundStructure, Numbering
from models.quantity import Quantity
from models.spinefm.morphometry import SpineMorphometry, VertebraMorphometry
from operators.dicom import codes
from operators.dicom.errors import ResultError
from operators.dicom.identity import AlgorithmIdentity, Profile
from operators.dicom.image_library import library_of_radiograph
from operators.dicom.outlines import Places, outlines_of
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
from operators.dicom.report_summary import certain_curves, is_reported, left_out, of_radiograph
from operators.dicom.segmentation import tracking_uid

DRAWN = (codes.WEDGE_ANGLE, codes.MIDDLE_HEIGHT)  # beside the outline of a vertebra


def build_report(
    measured: SpineMorphometry,
    source: Sequence[Dataset],
    structures: Sequence[FoundStructure],
    *,
    labelmap: NDArray[np.uint16],
    segmentation: Dataset,
    algorithm: AlgorithmIdentity,
    numbering: Numbering,
    spacing_mm: tuple[float, float] | None = None,
    warnings: Sequence[str] = (),
    profile: Profile = "standard",
) -> Dataset:
    """Return the report on a radiograph.

    Args:
        measured: from `measure_spine`, a vertebra per structure and in the same order.
        source: the one instance that was segmented; its pixel data need not be there.
        structures: what was found, from the top of the spine downwards.
        labelmap: (rows, columns) on the source grid; 0 = background, else Segment Number.
        segmentation: the Segmentation of the same structures and profile, which the groups point at.
        algorithm: what segmented and measured.
        numbering: how the levels were told.
        spacing_mm: the (row, column) spacing that lengths were measured with, or None where they are in pixels.
        warnings: the engine's doubts, a sentence each; those of `measured` are added.
        profile: that of the Segmentation.

    Raises:
        ResultError: measurements or Segmentation are not of these structures.
    """
    _check(measured, structures, segmentation)
    measured = replace(measured, lordoses=certain_curves(measured.lordoses, structures))
    headers = completed_headers(source)
    image = sr.SourceImageForRegion(headers[0].SOPClassUID, headers[0].SOPInstanceUID)
    context = ReportContext(headers, segmentation, algorithm, Places(outlines_of(labelmap[None]), [image]))
    groups: list[sr.PlanarROIMeasurementsAndQualitativeEvaluations | sr.MeasurementsAndQualitativeEvaluations] = [
        _vertebra_group(structure, vertebra, measured, context)
        for structure, vertebra in zip(structures, measured.vertebrae, strict=True)
        if is_reported(structure)
    ]
    groups.append(_image_group(measured, structures, numbering, context))
    doubts = [left_out(structure) for structure in structures if not is_reported(structure)]
    content = ReportContent(
        summary=of_radiograph(measured, structures, numbering),
        comments=comments(algorithm, (*doubts, *warnings, *measured.warnings)),
        library=library_of_radiograph(headers[0], spacing_mm),
        groups=groups,
        usual=codes.PLAIN_RADIOGRAPHY,
    )
    return document(content, source, context, profile)


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
    structure: FoundStructure, vertebra: VertebraMorphometry, measured: SpineMorphometry, context: ReportContext
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    level = codes.level_of(structure).code
    found = (
        (codes.AREA, vertebra.area, None),
        (codes.ANTERIOR_HEIGHT, vertebra.anterior_height, codes.ANTERIOR),
        (codes.MIDDLE_HEIGHT, vertebra.middle_height, None),
        (codes.POSTERIOR_HEIGHT, vertebra.posterior_height, codes.POSTERIOR),
        (codes.WEDGE_ANGLE, vertebra.wedge_angle, None),
        (codes.CERTAINTY_OF_FINDING, Quantity(100 * structure.confidence, "percent"), None),
    )
    drawn = most_drawn(DRAWN, len(measured.vertebrae))
    values = [Value(name, quantity, modifier) for name, quantity, modifier in found if quantity is not None]
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=tracking_uid(context.source, context.algorithm, structure), identifier=plain_text(structure.label)
        ),
        referenced_segment=_segment_reference(structure, context.source[0], context.segmentation),
        finding_category=codes.ANATOMICAL_STRUCTURE,
        finding_type=codes.VERTEBRA,
        finding_sites=[sr.FindingSite(level)],
        algorithm_id=algorithm_id(context.algorithm),
        measurements=measurements(values, level, drawn),
    )
    names = names_of(structure.label, structure.level, measured.lordoses)
    draw(group, names, drawn, lambda: context.places.of_segment(structure.segment_number))
    return group


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
    measured: SpineMorphometry, structures: Sequence[FoundStructure], numbering: Numbering, context: ReportContext
) -> sr.MeasurementsAndQualitativeEvaluations:
    return spine_group(
        spine_values(measured.lordoses, len(structures)),
        codes.region_of(tuple(structures)),
        numbering,
        context,
        numbers=[structure.segment_number for structure in structures],
    )
