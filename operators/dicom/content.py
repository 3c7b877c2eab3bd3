"""What a data set says, whatever its encoding: tells a repeat of an instance from a correction and from a conflict.

A SOP Instance UID should name one content for ever (PS3.5 section 9). In practice archives correct the header of a
stored instance and send it under the same UID, and some vendors give one UID to several images. Senders also choose the
transfer syntax anew for each association, so that the bytes alone say nothing.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from enum import Enum

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

_PIXEL_GROUP = 0x7FE0
_TRAILING_PADDING = 0xFFFC
# What tells how an instance is encoded or where it lies, not what it says.
_OF_TRANSPORT = frozenset(
    Tag(keyword)
    for keyword in (
        "SpecificCharacterSet",
        "RetrieveAETitle",
        "RetrieveURL",
        "InstanceAvailability",
        "StorageMediaFileSetID",
        "StorageMediaFileSetUID",
    )
)
_PLACE = ("InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "Rows", "Columns", "NumberOfFrames")


class Copy(Enum):
    """What a copy of an instance is to an earlier one of the same SOP Instance UID.

    SAME: the same content, be it in another transfer syntax.
    CORRECTED: the same image with a corrected header.
    CONFLICTING: another image, or other pixels under the same header: the sender uses one UID for two things.
    """

    SAME = "same"
    CORRECTED = "corrected"
    CONFLICTING = "conflicting"


@dataclass(frozen=True)
class Content:
    """Digests (SHA-256, hex) of what an instance says; equal for all its encodings.

    header: of all public attributes but Pixel Data.
    pixels: of Pixel Data; empty where it is compressed.
    place: of Instance Number, position, orientation and size: what no correction of a header changes.
    """

    header: str
    pixels: str
    place: str

    def to_json(self) -> list[str]:
        """Return the record as a JSON list."""
        return list(astuple(self))


def content_of(dataset: Dataset, transfer_syntax: UID) -> Content:
    """Return the digests of an instance that was read with its Pixel Data."""
    place = Dataset()
    for keyword in _PLACE:
        if keyword in dataset:
            place[Tag(keyword)] = dataset.get_item(keyword)
    pixels = b"" if transfer_syntax.is_encapsulated else dataset.get("PixelData") or b""
    return Content(content_digest(dataset), hashlib.sha256(pixels).hexdigest() if pixels else "", content_digest(place))


def compare(copy: Content, earlier: Content) -> Copy:
    """Say what a copy is to an earlier one; where one of the two is compressed, their pixels count as the same."""
    if copy.header != earlier.header:
        return Copy.CORRECTED if copy.place == earlier.place else Copy.CONFLICTING
    comparable = copy.pixels and earlier.pixels
    return Copy.CONFLICTING if comparable and copy.pixels != earlier.pixels else Copy.SAME


def content_digest(dataset: Dataset) -> str:
    """Return the SHA-256 (hex) of the public attributes of a data set, without Pixel Data.

    Values are taken as they are decoded, so that Implicit and Explicit VR, byte order, padding and the character set
    make no difference; a value that breaks its VR is taken as its bytes.
    """
    digest = hashlib.sha256()
    for part in _parts(dataset):
        digest.update(part)
        digest.update(b"\x1f")
    return digest.hexdigest()


def _parts(dataset: Dataset) -> Iterator[bytes]:
    for tag in sorted(dataset.keys()):
        if tag.is_private or tag.element == 0 or tag.group in (_PIXEL_GROUP, _TRAILING_PADDING) or tag in _OF_TRANSPORT:
            continue
        yield b"%08x" % tag
        yield from _value(dataset, tag)


def _value(dataset: Dataset, tag: BaseTag) -> Iterator[bytes]:
    raw = dataset.get_item(tag)
    try:
        element = dataset[tag]
        if element.VR == "SQ":
            for item in element.value:
                yield b"item"
                yield from _parts(item)
        else:
            yield _decoded(element)
    except Exception:  # whatever a malformed value makes a decoder raise
        yield raw.value if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes) else b"unreadable"


def _decoded(element: DataElement) -> bytes:
    value = element.value
    values = [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else list(value)
    if isinstance(value, bytes) or _has_ambiguous_vr(element.tag):
        # Implicit VR leaves the choice, say between US and SS, to attributes elsewhere: the bytes are the same for all.
        return b"".join(_bytes(each) for each in values).rstrip(b"\0")
    return "\\".join("" if each is None else str(each).strip() for each in values).encode()


def _has_ambiguous_vr(tag: BaseTag) -> bool:
    return dictionary_has_tag(tag) and " or " in dictionary_VR(tag)


def _bytes(value: object) -> bytes:
    if isinstance(value, int):
        return (value & 0xFFFF).to_bytes(2, "little")
    return value if isinstance(value, bytes) else str(value).encode()
