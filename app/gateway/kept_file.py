"""A file of the inbox: a DICOM file whose preamble holds the SHA-256 of its data set.

PS3.10 section 7.1 leaves the 128 bytes of the preamble to the application that writes the file.
"""

import hashlib
import re
import struct
from pathlib import Path

PREAMBLE_LENGTH = 128
_DIGEST_LENGTH = 64
# Group 0002 begins after the preamble with its own length.
_META_LENGTH_AT = 140
_META_STARTS_AT = 144
_PREFIX = b"DICM"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONGEST_VALUE = 64  # PS3.5 Table 6.2-1; an instance with a longer UID is refused
_VERSION = bytes.fromhex("0200 0100 4F42 0000 02000000 0001")  # (0002,0001) OB, two bytes


def preamble(digest: str) -> bytes:
    """Return a preamble with a digest of 64 hexadecimal digits."""
    return digest.encode("ascii").ljust(PREAMBLE_LENGTH, b"\0")


def file_meta(
    *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax: str, implementation: tuple[str, str], sender: str
) -> bytes:
    """Return the prefix and the File Meta Information of a file (PS3.10 Table 7.1-1).

    Written out here because each instance waits for it: by way of a data set it takes ten times as long.

    Args:
        sop_class_uid: of the instance, as its sender names it.
        sop_instance_uid: likewise.
        transfer_syntax: how the data set is encoded.
        implementation: Class UID and Version Name of who writes the file.
        sender: Application Entity title of who sent the instance.
    """
    class_uid, version_name = implementation
    elements = (
        _VERSION,
        _element(0x0002, b"UI", sop_class_uid, b"\0"),
        _element(0x0003, b"UI", sop_instance_uid, b"\0"),
        _element(0x0010, b"UI", transfer_syntax, b"\0"),
        _element(0x0012, b"UI", class_uid, b"\0"),
        _element(0x0013, b"SH", version_name, b" "),
        _element(0x0016, b"AE", sender, b" "),
    )
    group = b"".join(elements)
    length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(group))
    return _PREFIX + length + group


def _element(number: int, representation: bytes, text: str, padding: bytes) -> bytes:
    """Return an element of group 0002; Explicit VR Little Endian, of even length (PS3.5 section 7.1.2)."""
    value = text.encode("ascii", "replace")[:_LONGEST_VALUE]
    value += padding * (len(value) % 2)
    return struct.pack("<HH2sH", 0x0002, number, representation, len(value)) + value


def digest_of(file: Path) -> str:
    """Return the digest that a file says to have."""
    with file.open("rb") as opened:
        return opened.read(_DIGEST_LENGTH).decode("latin-1")


def is_kept_file(file: Path) -> bool:
    """Say whether something looks like a file that this inbox has written, by its name and preamble alone."""
    try:
        return file.suffix == ".dcm" and file.is_file() and bool(_DIGEST.fullmatch(digest_of(file)))
    except OSError:
        return False


def data_set_start(file: Path) -> int:
    """Return how many bytes of a file lie before its data set."""
    with file.open("rb") as opened:
        head = opened.read(_META_STARTS_AT)
    return _META_STARTS_AT + int.from_bytes(head[_META_LENGTH_AT:], "little")


def encoded_data_set(file: Path) -> bytes:
    """Return the data set of a file, unparsed."""
    return file.read_bytes()[data_set_start(file) :]


def is_torn(file: Path) -> bool:
    """Say whether a file is not what its digest says: power or process went while it was being written."""
    with file.open("rb") as opened:
        opened.seek(data_set_start(file))
        return hashlib.file_digest(opened, "sha256").hexdigest() != digest_of(file)
