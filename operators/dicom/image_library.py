"""The Image Library of a report: which images were measured, and with which spacing (PS3.16 TID 1600 to 1604).

highdicom's own wants attributes that computed radiographs and anonymised images lack, and takes the spacing at the
detector for the one that lengths were measured with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dictionary
from pydicom.sr.coding import Code
from pydicom.tag import Tag

from operators.dicom.mr_acquisition import readable, values_in
from operators.dicom.mr_frames import SourceFrame
from operators.dicom.usable_header import usable_element
from operators.dicom.volume import SliceStack

Item = sr.ContentItem
_CONTEXT = sr.RelationshipTypeValues.HAS_ACQ_CONTEXT
_CONTAINS = sr.RelationshipTypeValues.CONTAINS
MODALITIES = {
    "CR": dictionary.DCM.ComputedRadiography,
    "DX": dictionary.DCM.DigitalRadiography,
    "MR": dictionary.DCM.MagneticResonance,
}
_PIXELS = Code("{pixels}", "UCUM", "pixels")
_COSINE = Code("{-1:1}", "UCUM", "{-1:1}")
_MM = dictionary.UCUM.Millimeter


def library_of_radiograph(source: Dataset, spacing_mm: tuple[float, float] | None) -> sr.ContainerContentItem:
    """Return the Image Library of a radiograph.

    Args:
        source: its header.
        spacing_mm: the (row, column) spacing that lengths were measured with, or None where they are in pixels.
    """
    common = [*_of_all(source), *_spacing(spacing_mm)]
    orientation = [str(value) for value in values_in(readable(source, "PatientOrientation")) if value]
    for name, value in zip(
        (dictionary.DCM.PatientOrientationRow, dictionary.DCM.PatientOrientationColumn), orientation, strict=False
    ):
        common.append(sr.TextContentItem(name=name, value=value, relationship_type=_CONTEXT))
    return _library(common, [_image(source, ())])


def library_of_volume(stack: SliceStack) -> sr.ContainerContentItem:
    """Return the Image Library of the frames that were segmented: what all share, then their places."""
    first = stack.frames[0]
    common = [*_of_all(stack.datasets[0]), *_spacing(first.spacing), *_orientation(first)]
    if first.frame_number is not None:
        return _library(common, [_image(dataset, ()) for dataset in stack.datasets])
    return _library(common, [_image(frame.instance.dataset, _position(frame)) for frame in stack.frames])


def _library(common: Sequence[Item], images: Sequence[Item]) -> sr.ContainerContentItem:
    group = sr.ContainerContentItem(dictionary.DCM.ImageLibraryGroup, relationship_type=_CONTAINS)
    group.ContentSequence = sr.ContentSequence([*common, *images])
    library = sr.ContainerContentItem(dictionary.DCM.ImageLibrary, relationship_type=_CONTAINS)
    library.ContentSequence = sr.ContentSequence([group])
    return library


def _image(source: Dataset, place: Sequence[Item]) -> Item:
    image = sr.ImageContentItem(
        name=Code("260753009", "SCT", "Source"),
        referenced_sop_class_uid=source.SOPClassUID,
        referenced_sop_instance_uid=source.SOPInstanceUID,
        relationship_type=_CONTAINS,
    )
    if place:
        image.ContentSequence = sr.ContentSequence(place)
    return image


def _of_all(source: Dataset) -> Iterator[Item]:
    """Yield what TID 1602 says of every image."""
    modality = MODALITIES.get(str(readable(source, "Modality")))
    if modality is not None:
        yield sr.CodeContentItem(dictionary.DCM.Modality, modality, relationship_type=_CONTEXT)
    space = usable_element(source, Tag("FrameOfReferenceUID"))
    if space is not None and space.value:
        yield sr.UIDRefContentItem(dictionary.DCM.FrameOfReferenceUID, space.value, relationship_type=_CONTEXT)
    yield _number(dictionary.DCM.PixelDataRows, int(source.Rows), _PIXELS)
    yield _number(dictionary.DCM.PixelDataColumns, int(source.Columns), _PIXELS)


def _spacing(spacing_mm: tuple[float, float] | None) -> Iterator[Item]:
    if spacing_mm is not None:
        row, column = spacing_mm  # between rows is vertical
        yield _number(dictionary.DCM.HorizontalPixelSpacing, column, _MM)
        yield _number(dictionary.DCM.VerticalPixelSpacing, row, _MM)


def _orientation(frame: SourceFrame) -> Iterator[Item]:
    names = dictionary.DCM
    for cosines, places in (
        (frame.row, (names.ImageOrientationPatientRowX, names.ImageOrientationPatientRowY,
                     names.ImageOrientationPatientRowZ)),
        (frame.column, (names.ImageOrientationPatientColumnX, names.ImageOrientationPatientColumnY,
                        names.ImageOrientationPatientColumnZ)),
    ):  # fmt: skip
        for name, value in zip(places, cosines, strict=True):
            yield _number(name, round(value, 8), _COSINE)


def _position(frame: SourceFrame) -> list[Item]:
    names = dictionary.DCM
    places = (names.ImagePositionPatientX, names.ImagePositionPatientY, names.ImagePositionPatientZ)
    return [_number(name, round(value, 6), _MM) for name, value in zip(places, frame.position, strict=True)]


def _number(name: Code, value: float, unit: Code) -> Item:
    return sr.NumContentItem(name=name, value=value, unit=unit, relationship_type=_CONTEXT)
