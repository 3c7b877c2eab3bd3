"""The content of an instance: the same in every encoding, and another where anything in it is another."""

from copy import deepcopy
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from operators.dicom.content import Content, Copy, compare, content_digest, content_of
from tests.made_dicom import made_dx
from tests.made_mr import made_mr


def _instance() -> FileDataset:
    """Return a radiograph with values of many kinds."""
    dataset = made_dx(np.arange(256).reshape(16, 16))
    dataset.PatientName = "Ünal^Zoë"
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.WindowCenter, dataset.WindowWidth = ["100.50", "20"], ["200", "40"]
    dataset.add_new(0x00280120, "US", 3)  # Pixel Padding Value: US or SS
    dataset.add_new(0x00189079, "FD", [165.0, 1.5])
    dataset.add_new(0x00091010, "LO", "private")
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99X", "one"
    dataset.ProcedureCodeSequence = [item]
    return dataset


def _encoded(dataset: FileDataset, syntax: UID) -> FileDataset:
    copy = deepcopy(dataset)
    if syntax == RLELossless:
        copy.compress(syntax, generate_instance_uid=False)
    copy.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        copy.PixelData = np.frombuffer(copy.PixelData, "<u2").byteswap().tobytes()
    buffer = BytesIO()
    dcmwrite(buffer, copy, enforce_file_format=True)
    return dcmread(BytesIO(buffer.getvalue()))


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless],
    ids=lambda syntax: syntax.name,
)
def test_an_encoding_changes_no_content(syntax: UID) -> None:
    """Senders choose the transfer syntax anew for each association (PS3.8)."""
    plain = _encoded(_instance(), ExplicitVRLittleEndian)
    other = _encoded(_instance(), syntax)

    assert content_digest(other) == content_digest(plain)


def test_another_character_set_private_attributes_and_places_of_storage_change_no_content() -> None:
    """They say how and where, not what."""
    plain, other = _instance(), _instance()
    other.SpecificCharacterSet = "ISO_IR 192"
    other.RetrieveAETitle, other.InstanceAvailability = "ARCHIVE2", "ONLINE"
    del other[0x00091010]

    assert content_digest(_encoded(other, ExplicitVRLittleEndian)) == content_digest(
        _encoded(plain, ExplicitVRLittleEndian)
    )


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientName", "Ünal^Zoe"),
        ("PatientID", "other"),
        ("StudyDescription", "corrected"),
        ("WindowCenter", ["100.5", "21"]),
        ("PixelPaddingValue", 4),
        ("InversionTimes", [165.0, 1.25]),
    ],
)
def test_every_attribute_counts(keyword: str, value: object) -> None:
    """A correction of any public attribute is another content, and is known as a correction."""
    plain, other = _instance(), _instance()
    setattr(other, keyword, value)
    one, two = (content_of(each, ExplicitVRLittleEndian) for each in (other, plain))

    assert one.header != two.header
    assert compare(one, two) is Copy.CORRECTED


def test_an_item_of_a_sequence_counts() -> None:
    """Sequences are read to their end."""
    plain, other = _instance(), _instance()
    other.ProcedureCodeSequence[0].CodeMeaning = "two"

    assert content_digest(other) != content_digest(plain)


def test_two_slices_under_one_uid_are_a_conflict() -> None:
    """Another place is another image, whatever its UID says."""
    first, second, *_ = made_mr(np.zeros((2, 4, 4), np.uint16))
    second.SOPInstanceUID = first.SOPInstanceUID
    one, two = (content_of(each, ExplicitVRLittleEndian) for each in (first, second))

    assert compare(one, two) is Copy.CONFLICTING


def test_other_pixels_under_the_same_header_are_a_conflict_unless_compressed() -> None:
    """Nothing in the header says which of the two is right; compressed pixels cannot be compared by their bytes."""
    plain, other = _instance(), _instance()
    other.PixelData = bytes(len(plain.PixelData))
    one, two = (content_of(each, ExplicitVRLittleEndian) for each in (other, plain))

    assert compare(one, two) is Copy.CONFLICTING
    assert compare(Content(one.header, "", one.place), two) is Copy.SAME


def test_a_value_that_breaks_its_vr_counts_by_its_bytes() -> None:
    """One unreadable attribute must neither end the reading nor be lost."""
    plain, other = _encoded(_instance(), ExplicitVRLittleEndian), _encoded(_instance(), ExplicitVRLittleEndian)
    for dataset, text in ((plain, b"8192,5"), (other, b"8192,6")):
        tag = Tag("WindowCenter")
        dataset[tag] = RawDataElement(tag, "DS", len(text), text, 0, False, True)

    assert content_digest(plain) != content_digest(other)
