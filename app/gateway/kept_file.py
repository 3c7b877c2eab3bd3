"""A file of the inbox: a DICOM file whose preamble holds the SHA-256 of its data set.

PS3.10 section 7.1 leaves the 128 bytes of the preamble to the application that writes the file.
"""

import hashlib
from pathlib import Path

PREAMBLE_LENGTH = 128
_DIGEST_LENGTH = 64
# Group 0002 begins after the preamble with its own length.
_META_LENGTH_AT = 140
_META_STARTS_AT = 144


def preamble(digest: str) -> bytes:
    """Return a preamble with a digest of 64 hexadecimal digits."""
    return digest.encode("ascii").ljust(PREAMBLE_LENGTH, b"\0")


def digest_of(file: Path) -> str:
    """Return the digest that a file says to have."""
    with file.open("rb") as opened:
        return opened.read(_DIGEST_LENGTH).decode("latin-1")


def encoded_data_set(file: Path) -> bytes:
    """Return the data set of a file, unparsed."""
    content = file.read_bytes()
    meta_length = int.from_bytes(content[_META_LENGTH_AT:_META_STARTS_AT], "little")
    return content[_META_STARTS_AT + meta_length :]


def is_torn(file: Path) -> bool:
    """Say whether a file is not what its digest says: power or process went while it was being written."""
    return hashlib.sha256(encoded_data_set(file)).hexdigest() != digest_of(file)
