"""Identifiers are found wherever they lie before the pixels."""

from io import BytesIO

import pytest
from pydicom.dataelem import DataElement
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_data_element
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from app.gateway.instance import DataSetUnreadable, read_identity

IDENTIFIERS = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
    "SOPInstanceUID": "1.2.3.1",
    "Modality": "CR",
    "StudyInstanceUID": "1.2.3.2",
    "SeriesInstanceUID": "1.2.3.3",
}
EARLY = {
    "a description of the request": DataElement(0x00321060, "LO", "LATERAL"),
    "private": DataElement(0x00991010, "LO", "vendor"),
    "a sequence": DataElement(0x00400275, "SQ", []),
}


def encoded(syntax: UID, *elements: DataElement) -> bytes:
    """Encode elements in the order given."""
    content = BytesIO()
    file = DicomIO(content)
    file.is_implicit_VR, file.is_little_endian = syntax.is_implicit_VR, syntax.is_little_endian
    for element in elements:
        write_data_element(file, element)
    return content.getvalue()


def identifiers() -> list[DataElement]:
    """Return the identifiers in order."""
    return [
        DataElement(keyword, "CS" if keyword == "Modality" else "UI", value) for keyword, value in IDENTIFIERS.items()
    ]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("early", EARLY)
def test_a_high_group_before_the_identifiers_hides_none(early: str, syntax: UID) -> None:
    """PS3.5 7.1 wants ascending tags; senders exist that put another group first."""
    identity = read_identity(encoded(syntax, EARLY[early], *identifiers()), syntax)

    assert (identity.study_instance_uid, identity.modality) == ("1.2.3.2", "CR")


def test_what_is_missing_before_the_pixels_is_named() -> None:
    """A Series Instance UID behind Pixel Data is none that anyone reads."""
    *others, series = identifiers()
    pixels = DataElement(0x7FE00010, "OW", b"\0\0")

    with pytest.raises(DataSetUnreadable, match="no SeriesInstanceUID before its pixels"):
        read_identity(encoded(ExplicitVRLittleEndian, *others, pixels, series), ExplicitVRLittleEndian)
