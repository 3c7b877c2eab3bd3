"""What the gateway reads of an instance before it keeps it: identifiers only, no pixels.

InboxRefusal            the instance is not kept; the sender gets a failure status and keeps its copy
├── InboxFull           the disk is nearly full: make room, the sender may try again
├── DataSetMismatch     the data set is not the instance that the request names
├── DataSetUnreadable   the data set cannot be decoded, or lacks an identifier
└── UnsafeUID           a UID that is none, and that shall not become a file name
"""

import io
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from app.gateway.kept_file import data_set_start, encoded_data_set
from models.errors import SpondylError
from operators.dicom.bounds import inflate, swells

# PS3.5 section 9.1, as far as a file name is concerned: begins with a digit, so never `.` or `..`.
_UID = re.compile(r"[0-9][0-9.]{0,63}")
LARGEST_DEFLATED = 64 << 20
_LARGEST_PIECE = 1 << 20
_one_inflates = threading.Lock()  # it has to be held in memory
_HEADER_BYTES = 16 << 20  # the identifiers lie within them
_LAST_TAG_READ = 0x0020000E  # Series Instance UID
_LAST_BEFORE_PIXELS = 0x7FE00000
_TAGS_READ = [
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "Manufacturer",
    "PatientID",
    "IssuerOfPatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
]


class InboxRefusal(SpondylError):
    """An instance is not kept; the sender is told so and still has its copy."""


class InboxFull(InboxRefusal):
    """The storage folder has too little free space: make room; senders will try again."""


class DataSetMismatch(InboxRefusal):
    """The data set's identifiers are not those of the request: the sender is at fault."""


class DataSetUnreadable(InboxRefusal):
    """The data set cannot be decoded or lacks an identifier: look at it at the sender."""


class UnsafeUID(InboxRefusal):
    """A UID is not made of digits and dots, or longer than 64 characters: the sender is at fault."""


@dataclass(frozen=True)
class InstanceIdentity:
    """The identifiers of an instance.

    patient: Patient ID and its issuer, to tell patients apart; it goes into keyed digests only.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    manufacturer: str
    patient: str = field(default="", repr=False)


def checked_uid(value: str, name: str) -> str:
    """Return a UID that is safe as a file name.

    Raises:
        UnsafeUID: `value` is not 1 to 64 digits and dots that begin with a digit.
    """
    if not _UID.fullmatch(value):
        raise UnsafeUID(f"{name} is not a UID (digits and dots, at most 64); the sender has to mend it")
    return value


def read_identity(data_set: bytes, transfer_syntax: UID) -> InstanceIdentity:
    """Read the identifiers of an encoded data set; nothing behind them is decoded.

    Args:
        data_set: the data set without preamble and File Meta Information.
        transfer_syntax: how it is encoded.

    Raises:
        DataSetUnreadable: it cannot be decoded, or an identifier is missing.
        UnsafeUID: an identifier is not a UID.
    """
    return _identity(partial(_read_header, data_set, transfer_syntax))


def identity_of_file(file: Path, transfer_syntax: UID) -> InstanceIdentity:
    """Read the identifiers of a file of the inbox, of which only a little is held in memory.

    Raises:
        DataSetUnreadable: it cannot be decoded, or an identifier is missing.
        UnsafeUID: an identifier is not a UID.
    """
    return _identity(partial(_read_file, file, transfer_syntax))


def _identity(read: Callable[[int], Dataset]) -> InstanceIdentity:
    try:
        header = read(_LAST_TAG_READ)
        if any(name not in header for name in _TAGS_READ if name.endswith("UID")):
            # Elements out of order (PS3.5 7.1): a high group before the identifiers ended the first look.
            header = read(_LAST_BEFORE_PIXELS)
        values = {name: _text(header, name) for name in _TAGS_READ}
    except Exception as fault:  # whatever a malformed data set makes a decoder raise
        reason = f"the data set cannot be decoded ({type(fault).__name__}); look at it at the sender"
        raise DataSetUnreadable(reason) from fault
    missing = [name for name in _TAGS_READ if name.endswith("UID") and not values[name]]
    if missing:
        raise DataSetUnreadable(f"the data set has no {', '.join(missing)} before its pixels; the sender has to add it")
    for name in _TAGS_READ:
        if name.endswith("UID"):
            checked_uid(values[name], name)
    return InstanceIdentity(
        sop_class_uid=values["SOPClassUID"],
        sop_instance_uid=values["SOPInstanceUID"],
        study_instance_uid=values["StudyInstanceUID"],
        series_instance_uid=values["SeriesInstanceUID"],
        modality=values["Modality"],
        manufacturer=values["Manufacturer"],
        patient="\x1f".join((values["PatientID"], values["IssuerOfPatientID"])),
    )


def _read_header(data_set: bytes, transfer_syntax: UID, stop_after: int) -> Dataset:
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        if swells(data_set):
            raise ValueError("more than is taken once it is inflated")
        data_set = inflate(data_set, at_most=_HEADER_BYTES)
    return _read(BytesIO(data_set), transfer_syntax, stop_after)


def _read_file(file: Path, transfer_syntax: UID, stop_after: int) -> Dataset:
    start = data_set_start(file)
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        if file.stat().st_size - start > LARGEST_DEFLATED:
            raise ValueError("a deflated data set of more than is taken")
        with _one_inflates:
            return _read_header(encoded_data_set(file), transfer_syntax, stop_after)
    with _Header(io.FileIO(file)) as opened:
        opened.seek(start)
        return _read(opened, transfer_syntax, stop_after)


class _Header(io.BufferedReader):
    """A file of which nobody reads a large piece at once: no identifier is one."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _LARGEST_PIECE:
            raise ValueError("an element before the identifiers is too large to be read")
        return super().read(size)


def _read(source: BinaryIO, transfer_syntax: UID, stop_after: int) -> Dataset:
    return read_dataset(
        source,
        is_implicit_VR=transfer_syntax.is_implicit_VR,
        is_little_endian=transfer_syntax.is_little_endian,
        stop_when=lambda tag, _vr, _length: tag > stop_after,
        specific_tags=[Tag(name) for name in _TAGS_READ],
    )


def _text(header: Dataset, name: str) -> str:
    """Return a value as it was encoded: pydicom's own conversion warns, and quotes, where a value is odd."""
    element = header.get_item(name)
    raw = element.value if isinstance(element, RawDataElement) else None
    # Every identifier is ASCII (PS3.5 6.2); in another name a foreign letter only has to differ.
    return raw.decode("latin-1").strip(" \0") if isinstance(raw, bytes) else ""
