"""The last look before a result is sent: read it back from its bytes and hold it against what the engine gave."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import SecondaryCaptureImageStorage

from models.contracts import FoundStructure
from operators.dicom.errors import ResultError

# Engines may round a centre of mass; an exchanged axis, a flip or an offset of one pixel is more than this.
_CENTROID_TOLERANCE_PX = 0.5
# PS3.5 7.1.1: an explicit length has 32 bits. A radiograph's results stay far below; more means something ran away.
MOST_BYTES = 512 * 1024 * 1024


def encode(dataset: Dataset) -> bytes:
    """Return a result as a DICOM file (PS3.10), as it is stored and sent."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def verify_segmentation(
    encoded: bytes, labelmap: NDArray[np.uint16], source: Sequence[Dataset], structures: Sequence[FoundStructure]
) -> None:
    """Read a Segmentation back and hold it against the labelmap and structures it was made from.

    Args:
        encoded: the file as it would be sent.
        labelmap: (rows, columns) on the source grid, 0 = background, else Segment Number.
        source: the instance that was segmented.
        structures: what was found, in the engine's own words.

    Raises:
        ResultError: pixels, centroids, labels or references are not those of the engine and the source.
    """
    dataset = read_back(encoded, source)
    uid = dataset.SOPInstanceUID
    decoded = decoded_labelmap(dataset)
    if not decoded.any():
        raise ResultError(f"Segmentation {uid} is empty; it is not sent")
    if decoded.shape != labelmap.shape or not np.array_equal(decoded, labelmap):
        raise ResultError(f"Segmentation {uid} does not decode to the labelmap it was made from; it is not sent")
    labels = {int(item.SegmentNumber): item.SegmentLabel for item in dataset.SegmentSequence}
    for structure in structures:
        rows, columns = np.nonzero(decoded == structure.segment_number)
        distance = np.hypot(columns.mean() - structure.centroid_px[0], rows.mean() - structure.centroid_px[1])
        if distance > _CENTROID_TOLERANCE_PX:
            raise ResultError(
                f"Segmentation {uid}: the centroid of {structure.label} lies {distance:.1f} pixels from the engine's"
            )
        if labels.get(structure.segment_number) != structure.label:
            raise ResultError(
                f"Segmentation {uid}: Segment {structure.segment_number} is not labelled {structure.label}"
            )
    require_references(dataset, source)


def decoded_labelmap(dataset: Dataset) -> NDArray[np.uint16]:
    """Return the labelmap (rows, columns) that a Segmentation of a single image holds, BINARY or label map."""
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    if dataset.SegmentationType == "LABELMAP":
        return np.asarray(frames[0], dtype=np.uint16)
    labelmap = np.zeros(frames.shape[1:], np.uint16)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for frame, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        labelmap[frame > 0] = macro(groups, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber
    return labelmap


def macro(groups: Dataset, shared: Dataset, keyword: str) -> Dataset:
    """Return a functional group of a frame: its own, or the one that all frames share (PS3.3 C.7.6.16.1)."""
    item: Dataset = (groups.get(keyword) or shared.get(keyword))[0]
    return item


def verify_report(encoded: bytes, source: Sequence[Dataset], segmentation: Dataset) -> None:
    """Read a report back: a group per Segment with its Tracking UID, its places, and the evidence it claims.

    Raises:
        ResultError: a Segment has no group and no sentence that says why, a group has no place in the source or one
            outside of it, or a reference leads elsewhere.
    """
    dataset = read_back(encoded, source)
    items = _items(dataset)
    reported = {str(item.UID) for item in items if _concept(item) == "112040"}
    sentences = [str(item.TextValue) for item in items if item.ValueType == "TEXT"]
    missing = [
        item.SegmentLabel
        for item in segmentation.SegmentSequence
        if "TrackingUID" in item
        and str(item.TrackingUID) not in reported
        and not any(sentence.startswith(f"{item.SegmentLabel} is left out") for sentence in sentences)
    ]
    if missing:
        raise ResultError(f"report {dataset.SOPInstanceUID} says nothing of {len(missing)} Segments; it is not sent")
    _require_places(dataset, source)
    known = {str(segmentation.SOPInstanceUID), *(str(instance.SOPInstanceUID) for instance in source)}
    foreign = set(_referenced_instances(dataset)) - known
    if foreign:
        raise ResultError(
            f"report {dataset.SOPInstanceUID} refers to instances that are not its own: {sorted(foreign)}"
        )
    require_references(dataset, [*source, segmentation])


def _require_places(dataset: Dataset, source: Sequence[Dataset]) -> None:
    """Raise ResultError where a group points at no place in the source (OHIF 3.13 opens no such report)."""
    sizes = {str(each.SOPInstanceUID): (int(each.Columns), int(each.Rows)) for each in source}
    for group in (item for item in _items(dataset) if _concept(item) == "125007"):
        places = [item for item in _items(group) if item.ValueType == "SCOORD"]
        if not places:
            raise ResultError(f"report {dataset.SOPInstanceUID} has a group without a place; it is not sent")
        for place in places:
            image = str(place.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            points = np.array(place.GraphicData, float).reshape(-1, 2)
            if (points < 0).any() or (points > sizes.get(image, (-1, -1))).any():
                raise ResultError(f"report {dataset.SOPInstanceUID} points at a place outside of instance {image}")


def verify_overlay(encoded: bytes, pixels: NDArray[np.uint8], source: Sequence[Dataset]) -> None:
    """Read a Secondary Capture back and hold it against the picture (rows, columns, 3).

    Raises:
        ResultError: the picture or its references are not what was meant.
    """
    dataset = read_back(encoded, source)
    if dataset.SOPClassUID != SecondaryCaptureImageStorage or not np.array_equal(dataset.pixel_array, pixels):
        raise ResultError(f"Secondary Capture {dataset.SOPInstanceUID} does not hold the picture; it is not sent")
    require_references(dataset, source)


def read_back(encoded: bytes, source: Sequence[Dataset]) -> Dataset:
    """Read a result from its bytes and hold its identity against the source's.

    Raises:
        ResultError: too large, no DICOM, or of another study.
    """
    if len(encoded) > MOST_BYTES:
        raise ResultError(f"a result of {len(encoded):,} bytes is larger than {MOST_BYTES:,}; it is not sent")
    try:
        dataset = dcmread(BytesIO(encoded))
    except InvalidDicomError as error:
        raise ResultError("a result cannot be read back as DICOM; it is not sent") from error
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not dataset.get(keyword):
            raise ResultError(f"a result has no {keyword}; it is not sent")
    if dataset.StudyInstanceUID != source[0].StudyInstanceUID:
        raise ResultError(f"result {dataset.SOPInstanceUID} is not of the study {source[0].StudyInstanceUID}")
    if dataset.SeriesInstanceUID == source[0].SeriesInstanceUID:
        raise ResultError(f"result {dataset.SOPInstanceUID} lies in the series of its source")
    return dataset


def require_references(dataset: Dataset, instances: Sequence[Dataset]) -> None:
    """Raise ResultError where a result does not refer to one of the instances."""
    referenced = set(_referenced_instances(dataset))
    for instance in instances:
        if str(instance.SOPInstanceUID) not in referenced:
            raise ResultError(f"result {dataset.SOPInstanceUID} does not refer to instance {instance.SOPInstanceUID}")


def _referenced_instances(dataset: Dataset) -> list[str]:
    return [str(element.value) for element in dataset.iterall() if element.keyword == "ReferencedSOPInstanceUID"]


def _items(dataset: Dataset) -> list[Dataset]:
    children = list(dataset.get("ContentSequence") or [])
    return children + [item for child in children for item in _items(child)]


def _concept(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeValue) if names else ""
