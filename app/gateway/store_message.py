"""The messages of C-STORE (PS3.7 section 9.3.1), read and written without detours.

Most of what a Storage SCP does with its processor is to turn a command of five elements into objects and back. The
plain request is read here, and answered; whatever else comes is left to pynetdicom.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

C_STORE_REQUEST = 0x0001  # PS3.7 E.1: Command Field
_C_STORE_RESPONSE = 0x8001
_NO_DATA_SET = 0x0101  # Command Data Set Type
_P_DATA = 0x04  # PS3.8 Table 9-22: the type of the PDU
_LAST_COMMAND_FRAGMENT = 0x03  # PS3.8 Annex E.2: message control header
_UID = re.compile(rb"[0-9][0-9.]{0,63}")

# Elements of group 0000, PS3.7 E.1
_SOP_CLASS, _COMMAND, _MESSAGE_ID, _ANSWERED_ID = 0x0002, 0x0100, 0x0110, 0x0120
_DATA_SET_TYPE, _STATUS, _SOP_INSTANCE = 0x0800, 0x0900, 0x1000

_ELEMENT = struct.Struct("<HHI")  # Implicit VR Little Endian, as all commands are
_SHORT = struct.Struct("<H")
_FRAGMENT = struct.Struct(">IBB")  # PS3.8 Table 9-23: length from here on, context, control header


@dataclass(frozen=True)
class StoreRequest:
    """A request to keep an instance."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Fragment:
    """A piece of a message on its way; `data` is a view into the PDU."""

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


def fragments_of(items: memoryview) -> tuple[Fragment, ...]:
    """Return what a P-DATA-TF PDU carries.

    Args:
        items: all of the PDU behind its length.

    Raises:
        ValueError: the lengths do not add up.
    """
    fragments = []
    start = 0
    while start < len(items):
        if start + _FRAGMENT.size > len(items):
            raise ValueError("a PDU ends within the head of an item")
        length, context_id, control = _FRAGMENT.unpack_from(items, start)
        end = start + 4 + length  # PS3.8 Table 9-23: the length does not count itself
        if not start + _FRAGMENT.size <= end <= len(items):
            raise ValueError("an item of a PDU is longer than the PDU, or has no control header")
        fragments.append(
            Fragment(context_id, bool(control & 1), bool(control & 2), items[start + _FRAGMENT.size : end])
        )
        start = end
    return tuple(fragments)


def read_store_request(command: memoryview) -> StoreRequest | None:
    """Return the C-STORE request that an encoded command is; None where it is another, or not quite one."""
    try:
        values = dict(_elements(command))
        numbers = (_COMMAND, _DATA_SET_TYPE, _MESSAGE_ID)
        field, data_set_type, message_id = (_SHORT.unpack(values[each])[0] for each in numbers)
        uids = [values[each].rstrip(b"\0 ") for each in (_SOP_CLASS, _SOP_INSTANCE)]
    except (KeyError, ValueError, struct.error):  # an element is missing, or not as long as it should be
        return None
    if field != C_STORE_REQUEST or data_set_type == _NO_DATA_SET or not all(map(_UID.fullmatch, uids)):
        return None
    sop_class_uid, sop_instance_uid = (uid.decode("ascii") for uid in uids)
    return StoreRequest(message_id, sop_class_uid, sop_instance_uid)


def store_response(request: StoreRequest, context_id: int, status: int) -> bytes:
    """Return the PDU that answers a request (PS3.7 Table 9.3-2)."""
    elements = b"".join(
        (
            _uid(_SOP_CLASS, request.sop_class_uid),
            _number(_COMMAND, _C_STORE_RESPONSE),
            _number(_ANSWERED_ID, request.message_id),
            _number(_DATA_SET_TYPE, _NO_DATA_SET),
            _number(_STATUS, status),
            _uid(_SOP_INSTANCE, request.sop_instance_uid),
        )
    )
    command = _ELEMENT.pack(0, 0, 4) + len(elements).to_bytes(4, "little") + elements
    item = _FRAGMENT.pack(len(command) + 2, context_id, _LAST_COMMAND_FRAGMENT) + command
    return struct.pack(">BBI", _P_DATA, 0, len(item)) + item


def _elements(command: memoryview) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(command):
        group, number, length = _ELEMENT.unpack_from(command, start)
        start += _ELEMENT.size + length
        if group != 0 or start > len(command):
            raise ValueError("no command")
        yield number, bytes(command[start - length : start])


def _number(number: int, value: int) -> bytes:
    return _ELEMENT.pack(0, number, _SHORT.size) + _SHORT.pack(value)


def _uid(number: int, uid: str) -> bytes:
    value = uid.encode("ascii")
    value += b"\0" * (len(value) % 2)
    return _ELEMENT.pack(0, number, len(value)) + value
