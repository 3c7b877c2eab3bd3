"""What the reports on radiographs and volumes share: measurements, observer, evidence, comments (PS3.16 TID 1500)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import highdicom as hd
from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.tag import Tag

from models.contracts import Numbering
from models.quantity import Lordosis, Quantity, Unit
from operators.dicom import codes
from operators.dicom.identity import AlgorithmIdentity, Profile, result_uid
from operators.dicom.outlines import Places
from operators.dicom.provenance import (
    NOT_FOR_DIAGNOSIS,
    add_provenance,
    plain_text,
    result_keywords,
    series_description,
)
from operators.dicom.report_summary import curve_sentence
from operators.dicom.usable_header import usable_element

# PS3.3 C.18.1: Numeric Value is a DS of 16 characters; what is cut off is below what a mask can tell.
DECIMALS: Mapping[Unit, int] = {"ratio": 3, "mm3": 0, "count": 0}  # of others: 2
CURVES = tuple(codes.LORDOSIS.values())
MOST_WITH_TWO_VALUES = 9


@dataclass(frozen=True)
class ReportContext:
    """What every group refers to.

    source: completed headers. segmentation: what the groups point at. places: where its Segments lie in the source.
    """

    source: Sequence[Dataset]
    segmentation: Dataset
    algorithm: AlgorithmIdentity
    places: Places


@dataclass(frozen=True)
class Value:
    """What a group says of its structure. modifier: of the group's finding site; method: how it was measured."""

    name: Code
    quantity: Quantity
    modifier: Code | None = None
    method: Code | None = None


def measurements(values: Sequence[Value], site: Code, drawn: Collection[Code]) -> list[sr.Measurement]:
    """Return the measurements of a group, each with its finding site; those of the concepts `drawn` first."""
    first = [value for value in values if value.name in drawn]
    return [_measurement(value, site) for value in (*first, *(value for value in values if value not in first))]


def _measurement(value: Value, site: Code) -> sr.Measurement:
    return sr.Measurement(
        name=value.name,
        value=round(value.quantity.value, DECIMALS.get(value.quantity.unit, 2)),
        unit=codes.UNITS[value.quantity.unit],
        finding_sites=[sr.FindingSite(site, topographical_modifier=value.modifier)],
        method=value.method,
    )


def draw(
    group: Sequence[Dataset],
    names: Sequence[str],
    drawn: Collection[Code],
    place: Callable[[], sr.CoordinatesForMeasurement],
) -> None:
    """Let the first measurements of a group point at its place in the image, and say what it is.

    OHIF 3.13 opens a report only where each group has a measurement that points at an image. It writes beside the
    outline the comments of the group and every measurement without content items or with coordinates among them; those
    with a finding site alone it leaves out. Of all values the texts would lie over each other.

    Args:
        group: the container of one group.
        names: comments that stand beside the outline.
        drawn: concepts of measurements that are drawn; where the group has none of them, its first is.
        place: makes the coordinates. highdicom takes them in no group on a Segment; TID 1419 is extensible.
    """
    content = group[0].ContentSequence
    numbers = [item for item in content if isinstance(item, sr.NumContentItem)]
    for item in [item for item in numbers if item.name in drawn] or numbers[:1]:
        item.ContentSequence.append(place())
    content.extend(_text(codes.COMMENT, name) for name in names)


def names_of(label: str, level: str | None, lordoses: Sequence[Lordosis]) -> list[str]:
    """Return what stands beside the outline of a structure: its name, and the curve that begins there."""
    return [label, *(curve_sentence(lordosis) for lordosis in lordoses if lordosis.upper_level == level)]


def most_drawn(concepts: Sequence[Code], vertebra_count: int) -> Sequence[Code]:
    """Return which values stand beside an outline: of many vertebrae one each, else they cover the next one's."""
    return concepts[:1] if vertebra_count > MOST_WITH_TWO_VALUES else concepts


def spine_values(lordoses: Sequence[Lordosis], vertebra_count: int) -> list[Value]:
    """Return what the group of the whole image says: the curves, and a number that there is always."""
    curves = [
        Value(codes.LORDOSIS[lordosis.upper_level, lordosis.lower_level], lordosis.angle, method=codes.COBB_ANGLE)
        for lordosis in lordoses
    ]
    return [*curves, Value(codes.VERTEBRA_COUNT, Quantity(vertebra_count, "count"))]


def spine_group(
    values: Sequence[Value], region: Code, numbering: Numbering, context: ReportContext, *, numbers: Sequence[int]
) -> sr.MeasurementsAndQualitativeEvaluations:
    """Return the group of the whole image (TID 1501).

    Args:
        values: from `spine_values`.
        region: the part of the spine.
        numbering: how the levels were told.
        context: what it refers to.
        numbers: Segment Numbers of the structures that the course of the spine runs through.
    """
    source, algorithm = context.source, context.algorithm
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=str(result_uid(source, algorithm, kind="tracking spine")), identifier="Spine"
        ),
        finding_sites=[sr.FindingSite(region)],
        algorithm_id=algorithm_id(algorithm),
        source_images=[sr.SourceImageForMeasurementGroup(source[0].SOPClassUID, source[0].SOPInstanceUID)],
        measurements=measurements(values, region, CURVES),
        qualitative_evaluations=[sr.QualitativeEvaluation(codes.NUMBERING, codes.NUMBERING_VALUES[numbering])],
    )
    draw(group, [], CURVES, lambda: context.places.of_centres(numbers))
    return group


def algorithm_id(algorithm: AlgorithmIdentity) -> sr.AlgorithmIdentification:
    """Return who measured (TID 4019)."""
    return sr.AlgorithmIdentification(
        name=plain_text(algorithm.name),
        version=plain_text(algorithm.version),
        family=codes.ARTIFICIAL_INTELLIGENCE,
        manufacturer=plain_text(algorithm.manufacturer),
    )


def observation_context(algorithm: AlgorithmIdentity) -> sr.ObservationContext:
    """Return the device observer (TID 1001)."""
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


def procedure(source: Dataset, usual: Code) -> hd.sr.CodedConcept:
    """Return the imaging procedure that is reported on: as the source codes it, else the usual one."""
    performed = usable_element(source, Tag("ProcedureCodeSequence"))
    for item in performed.value if performed is not None else ():
        try:
            return hd.sr.CodedConcept(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)
        except (AttributeError, TypeError, ValueError):  # a long code, say: highdicom takes what TID 1204 allows
            continue
    return hd.sr.CodedConcept.from_code(usual)


def evidence(segmentation: Dataset) -> Dataset:
    """Return what the evidence sequences need of the Segmentation."""
    header = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(header, keyword, segmentation[keyword].value)
    return header


def comments(algorithm: AlgorithmIdentity, warnings: Sequence[str]) -> list[str]:
    """Return what the comments say, each once: what the result is for, then the doubts."""
    use = [f"Automatic result of {algorithm.name} {algorithm.version}: {NOT_FOR_DIAGNOSIS}."]
    return (use if algorithm.research_only else []) + list(dict.fromkeys(warnings))


def add_texts(report: sr.MeasurementReport, summary: Sequence[str], comments: Sequence[str]) -> None:
    """Add sentences before all that the document contains: TID 1500 is extensible, and viewers keep the order."""
    items = [_text(codes.SUMMARY, sentence) for sentence in summary]
    items += [_text(codes.COMMENT, sentence) for sentence in comments]
    put_first(report, items)


@dataclass(frozen=True)
class ReportContent:
    """What a report holds, in the order that it is told in. usual: the procedure where the source codes none."""

    summary: Sequence[str]
    comments: Sequence[str]
    library: sr.ContainerContentItem
    groups: Sequence[Any]
    usual: Code


def document(content: ReportContent, source: Sequence[Dataset], context: ReportContext, profile: Profile) -> Dataset:
    """Return the report as an instance: unverified, preliminary, with its evidence."""
    algorithm = context.algorithm
    report = sr.MeasurementReport(
        observation_context=observation_context(algorithm),
        procedure_reported=procedure(source[0], content.usual),
        imaging_measurements=content.groups,
        title=hd.sr.CodedConcept("126000", "DCM", "Imaging Measurement Report"),
    )
    put_first(report, [content.library])
    add_texts(report, content.summary, content.comments)
    result = sr.Comprehensive3DSR(
        evidence=[*context.source, evidence(context.segmentation)],
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


def put_first(report: sr.MeasurementReport, items: Sequence[sr.ContentItem]) -> None:
    """Put content items before what the document contains, and after the context that it is to be read in."""
    content = report[0].ContentSequence
    kinds = [item.RelationshipType == sr.RelationshipTypeValues.CONTAINS.value for item in content]
    first = kinds.index(True)
    for offset, item in enumerate(items):
        content.insert(first + offset, item)


def _text(name: Code, sentence: str) -> sr.TextContentItem:
    return sr.TextContentItem(
        name=name, value=plain_text(sentence), relationship_type=sr.RelationshipTypeValues.CONTAINS
    )


def private_scheme() -> CodingSchemeIdentificationItem:
    """Return what our own codes are."""
    return CodingSchemeIdentificationItem(
        codes.PRIVATE_SCHEME, name="Spondyl measurements", responsible_organization="Spondyl"
    )
