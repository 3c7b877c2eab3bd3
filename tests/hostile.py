"""Hostile instances: valid ones, broken in a thousand ways that depend on a number alone.

Nothing here is valid on purpose, so data sets are made as bytes; `Hostile.part10` puts a file around them.
"""

import random
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
)

from tests.made_dicom import made_dx, made_uid

BOMB_BYTES = 512 << 20  # what a deflated data set of half a megabyte becomes
_LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF")


@dataclass(frozen=True)
class Hostile:
    """An instance as it would arrive: what the request says, and an encoded data set that may say anything."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: UID
    data_set: bytes

    def part10(self) -> bytes:
        """Return a file of PS3.10 around the data set; its meta information repeats what the request says."""
        elements = b"".join(
            struct.pack("<HH2sH", 2, element, b"UI", len(value)) + value
            for element, value in (
                (0x0002, _even(self.sop_class_uid)),
                (0x0003, _even(self.sop_instance_uid)),
                (0x0010, _even(str(self.transfer_syntax))),
            )
        )
        length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(elements))
        return bytes(128) + b"DICM" + length + elements + self.data_set


def hostile(number: int) -> Hostile:
    """Return the hostile instance of a number."""
    chance = random.Random(number)
    kind = sorted(_KINDS)[number % len(_KINDS)]
    return replace(_KINDS[kind](chance, number), kind=kind)


def _even(value: str) -> bytes:
    encoded = value.encode("latin-1", "replace")[:65534]
    return encoded + b"\0" * (len(encoded) % 2)


def _base(number: int) -> Dataset:
    dataset = made_dx(np.eye(144), study=f"hostile {number}")
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = MRImageStorage, made_uid("reference")
    dataset.ReferencedImageSequence = [item]
    return dataset


def _encoded(dataset: Dataset, syntax: UID) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax.is_implicit_VR, True
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def _instance(number: int, *, syntax: UID = ExplicitVRLittleEndian, **values: object) -> Hostile:
    dataset = _base(number)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return _sent(number, syntax, _encoded(dataset, syntax))


def _sent(number: int, syntax: UID, data_set: bytes) -> Hostile:
    base = _base(number)
    return Hostile("", str(base.SOPClassUID), str(base.SOPInstanceUID), syntax, data_set)


def _raw(number: int) -> bytes:
    return _instance(number).data_set


def _truncated(chance: random.Random, number: int) -> Hostile:
    raw = _raw(number)
    return _sent(number, ExplicitVRLittleEndian, raw[: chance.randrange(len(raw))])


def _flipped(chance: random.Random, number: int) -> Hostile:
    raw = bytearray(_raw(number))
    for _ in range(chance.choice((1, 4, 64))):
        raw[chance.randrange(min(len(raw), 900))] = chance.randrange(256)
    return _sent(number, ExplicitVRLittleEndian, bytes(raw))


def _wrong_length(chance: random.Random, number: int) -> Hostile:
    raw = bytearray(_raw(number))
    place = chance.choice(_headers(bytes(raw)))
    raw[place + 6 : place + 8] = struct.pack("<H", chance.choice((0, 1, 3, 0x7FFF, 0xFFFF)))
    return _sent(number, ExplicitVRLittleEndian, bytes(raw))


def _wrong_vr(chance: random.Random, number: int) -> Hostile:
    raw = bytearray(_raw(number))
    for place in chance.sample(_headers(bytes(raw)), 3):
        raw[place + 4 : place + 6] = chance.choice((b"SQ", b"OB", b"US", b"DS", b"FD", b"\0\0", b"??", b"UN", b"AT"))
    return _sent(number, ExplicitVRLittleEndian, bytes(raw))


def _headers(raw: bytes) -> list[int]:
    """Return where the elements with a short length begin, before the pixels."""
    places, position = [], 0
    while position + 8 < len(raw) and struct.unpack_from("<H", raw, position)[0] < 0x7FE0:
        vr = raw[position + 4 : position + 6]
        if vr in _LONG:
            position += 12 + struct.unpack_from("<L", raw, position + 8)[0]
            continue
        places.append(position)
        position += 8 + struct.unpack_from("<H", raw, position + 6)[0]
    return places[:30]


def _absurd_size(chance: random.Random, number: int) -> Hostile:
    frames = chance.choice(("1", "2147483647", "-1", "0"))
    values: dict[str, Any] = {"Rows": 65535, "Columns": 65535, "NumberOfFrames": frames}
    values |= chance.choice(({}, {"BitsAllocated": 32}, {"BitsAllocated": 0}, {"BitsStored": 99}, {"Rows": 0}))
    return _instance(number, **values)


def _pixel_bomb(chance: random.Random, number: int) -> Hostile:
    """A frame of 65535 × 65535 that claims to be compressed into a few bytes."""
    frame = struct.pack("<16L", chance.choice((2, 1, 15, 0)), 64, 66, *([0] * 13)) + b"\x81\x00\x81\x00" * 4
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    fragment = struct.pack("<HHL", 0xFFFE, 0xE000, len(frame)) + frame
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + item + fragment
    head = _base(number)
    del head.PixelData
    head.Rows = head.Columns = chance.choice((65535, 40000, 16))
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    return _sent(number, RLELossless, _encoded(head, ExplicitVRLittleEndian) + pixels + end)


@cache
def _deflated_zeros() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    pieces = [packer.compress(bytes(1 << 20)) for _ in range(BOMB_BYTES >> 20)]
    return b"".join([*pieces, packer.flush()])


def _deflate_bomb(chance: random.Random, number: int) -> Hostile:
    """A deflated data set: whole, broken, or one that swells a thousandfold before or behind its identifiers."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    raw = _raw(number)
    whole = packer.compress(raw) + packer.flush()
    swelling = struct.pack("<HH2sHL", 0x0009, 0x1001, b"UN", 0, BOMB_BYTES)
    choice = chance.randrange(12)
    if choice == 0:  # the identifiers, then an element of a gigabyte
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        begun = packer.compress(raw + struct.pack("<HH2sHL", 0x7FE1, 0x1001, b"OB", 0, BOMB_BYTES))
        data_set = begun + packer.flush(zlib.Z_FULL_FLUSH) + _deflated_zeros()
    elif choice == 1:  # the gigabyte first
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        data_set = packer.compress(swelling) + packer.flush(zlib.Z_FULL_FLUSH) + _deflated_zeros()
    else:
        data_set = chance.choice((whole, whole[: len(whole) // 2], whole[::-1], b"\xff" * 64, raw))
    return _sent(number, DeflatedExplicitVRLittleEndian, data_set)


def _hostile_uid(chance: random.Random, number: int) -> Hostile:
    bad = chance.choice(_BAD_UIDS)
    keyword = chance.choice(("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "SOPClassUID"))
    raw = _raw(number)
    old = _even(str(_base(number)[keyword].value))
    new = _even(bad)
    wanted = struct.pack("<H", len(old)) + old
    sent = _sent(number, ExplicitVRLittleEndian, raw.replace(wanted, struct.pack("<H", len(new)) + new, 1))
    return replace(sent, sop_instance_uid=bad) if keyword == "SOPInstanceUID" and chance.random() < 0.5 else sent


_BAD_UIDS = (
    "../../../../tmp/spondyl-was-here",
    "/etc/passwd",
    "..",
    ".",
    "",
    "1.2.3/../../x",
    "1.2.3\x00.4",
    "1." * 40,
    "1.2.840.10008." + "9" * 300,
    "con",
    "1.2.3\n4",
    "１.２.３",
    "1..2",
    "-1",
    "~root",
    "$(reboot)",
)


def _deep(chance: random.Random, number: int) -> Hostile:
    """Sequences within sequences, to a depth that nobody needs."""
    depth = chance.choice((50, 2_000, 20_000))
    opening = struct.pack("<HH2sHL", 0x0008, 0x1111, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    closing = struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    raw = _raw(number)
    place = raw.index(struct.pack("<HH", 0x0008, 0x1140))
    nested = raw[:place] + opening * depth + closing * depth + raw[place:]
    return _sent(number, ExplicitVRLittleEndian, nested)


def _wrong_syntax(chance: random.Random, number: int) -> Hostile:
    """Encoded in one way, announced in another."""
    encoded = _instance(number, syntax=chance.choice((ImplicitVRLittleEndian, ExplicitVRLittleEndian)))
    announced = chance.choice((ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless))
    return replace(encoded, transfer_syntax=announced)


def _odd_values(chance: random.Random, number: int) -> Hostile:
    """Values that no VR allows, in elements that are read."""
    raw = bytearray(_raw(number))
    for place in chance.sample(_headers(bytes(raw)), 5):
        length = struct.unpack_from("<H", raw, place + 6)[0]
        raw[place + 8 : place + 8 + length] = bytes(
            chance.choice((0x00, 0x1B, 0x5C, 0xFF, 0x39)) for _ in range(length)
        )
    return _sent(number, ExplicitVRLittleEndian, bytes(raw))


def _noise(chance: random.Random, number: int) -> Hostile:
    noise = chance.randbytes(chance.choice((1, 7, 8, 100, 5_000)))
    return _sent(number, chance.choice((ImplicitVRLittleEndian, ExplicitVRLittleEndian)), noise)


_KINDS: Mapping[str, Callable[[random.Random, int], Hostile]] = MappingProxyType(
    {
        "truncated": _truncated,
        "flipped": _flipped,
        "wrong length": _wrong_length,
        "wrong VR": _wrong_vr,
        "absurd size": _absurd_size,
        "pixel bomb": _pixel_bomb,
        "deflate bomb": _deflate_bomb,
        "hostile UID": _hostile_uid,
        "deep": _deep,
        "wrong syntax": _wrong_syntax,
        "odd values": _odd_values,
        "noise": _noise,
    }
)
