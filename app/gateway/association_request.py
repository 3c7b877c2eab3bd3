"""An association request, as peers send it, made into one that pynetdicom decodes.

PS3.8 section 9.3.1 wants unrecognised items ignored, and of the protocol version only bit 0 tested. pynetdicom ends
the association for either, and for a title or a version name with characters or a length that it does not expect. So
the request is rewritten before it is decoded: what this node does not negotiate is left out, text is cut to what the
standard allows, and what a peer could repeat without end is taken once. Lengths that do not add up are refused.

Item types are those of PS3.8 section 9.3.2 and PS3.7 annex D.3.3.
"""

import struct
from collections.abc import Iterator

from pynetdicom import ALL_TRANSFER_SYNTAXES

_PDU = struct.Struct(">BBI")  # type, reserved, length
_FIXED = struct.Struct(">HH16s16s32s")  # PS3.8 Table 9-11: version, reserved, called, calling, reserved
_ITEM = struct.Struct(">BBH")  # type, reserved, length
_SHORT = struct.Struct(">H")

_APPLICATION_CONTEXT, _CONTEXT, _USER_INFORMATION = 0x10, 0x20, 0x50
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x30, 0x40
_MAXIMUM_LENGTH, _IMPLEMENTATION_CLASS, _ROLE, _IMPLEMENTATION_VERSION = 0x51, 0x52, 0x54, 0x55

_REQUEST = 0x01
_SUPPORTED_VERSION = 0x0001  # bit 0; the others are not tested
_CONTEXT_HEAD = 4  # presentation context ID and three reserved bytes
_LONGEST_UID = 64
_LONGEST_TEXT = 16  # of an AE title and of an implementation version name
_UID_CHARACTERS = frozenset(b"0123456789.")
_KNOWN_SYNTAXES = frozenset(str(uid).encode() for uid in ALL_TRANSFER_SYNTAXES)


class RequestInvalid(ValueError):
    """An association request cannot be understood; the message says what is wrong with it."""


def version_is_supported(body: memoryview) -> bool:
    """Say whether a request, without its six bytes of head, names version 1 of the protocol among others."""
    return len(body) >= _SHORT.size and bool(_SHORT.unpack_from(body)[0] & _SUPPORTED_VERSION)


def plain_request(body: memoryview) -> bytes:
    """Return an A-ASSOCIATE-RQ PDU that holds what this node negotiates, and nothing else.

    Args:
        body: the PDU as received, without its six bytes of head.

    Raises:
        RequestInvalid: it is too short, a length does not add up, or an item lacks what it must have.
    """
    if len(body) < _FIXED.size:
        raise RequestInvalid(f"an association request of {len(body)} bytes; the least is {_FIXED.size}")
    version, _, called, calling, _ = _FIXED.unpack_from(body)
    titles = [_title(called, "called"), _title(calling, "calling")]
    if version & _SUPPORTED_VERSION:
        version = _SUPPORTED_VERSION
    content = _FIXED.pack(version, 0, *titles, bytes(32)) + _variable_items(body[_FIXED.size :])
    return _PDU.pack(_REQUEST, 0, len(content)) + content


def _variable_items(encoded: memoryview) -> bytes:
    application = user = None
    contexts: dict[int, bytes] = {}
    classes: set[bytes] = set()
    for kind, content in _items(encoded):
        if kind == _APPLICATION_CONTEXT and application is None:
            application = _uid(content)
        elif kind == _CONTEXT:
            number, sop_class, context = _presentation_context(content)
            if number in contexts:
                raise RequestInvalid(f"presentation context {number} is proposed twice")
            contexts[number] = context
            classes.add(sop_class)
        elif kind == _USER_INFORMATION and user is None:
            user = content
    if not application or not contexts:
        raise RequestInvalid("no application context, or no presentation context")
    known = b"" if user is None else _user_information(user, classes)
    return _item(_APPLICATION_CONTEXT, application) + b"".join(contexts.values()) + _item(_USER_INFORMATION, known)


def _presentation_context(content: memoryview) -> tuple[int, bytes, bytes]:
    """Return the number, the abstract syntax, and the whole item again."""
    if len(content) < _CONTEXT_HEAD or not content[0] % 2:
        raise RequestInvalid("a presentation context without an odd number")
    abstract = None
    syntaxes: dict[bytes, None] = {}
    for kind, value in _items(content[_CONTEXT_HEAD:]):
        if kind == _ABSTRACT_SYNTAX and abstract is None:
            abstract = _uid(value)
        elif kind == _TRANSFER_SYNTAX and (syntax := _uid(value)) and (syntax in _KNOWN_SYNTAXES or not syntaxes):
            syntaxes[syntax] = None  # of unknown ones the first is enough, for the answer to name it
    if not abstract or not syntaxes:
        raise RequestInvalid(f"presentation context {content[0]} lacks its abstract syntax or a transfer syntax")
    inner = _item(_ABSTRACT_SYNTAX, abstract) + b"".join(_item(_TRANSFER_SYNTAX, each) for each in syntaxes)
    return content[0], abstract, _item(_CONTEXT, bytes((content[0], 0, 0, 0)) + inner)


def _user_information(content: memoryview, classes: set[bytes]) -> bytes:
    """Return the sub-items that this node negotiates: the others need no answer (PS3.7 annex D.3.3)."""
    single: dict[int, bytes] = {}
    roles: dict[bytes, bytes] = {}
    for kind, value in _items(content):
        if kind == _ROLE:
            sop_class, wanted = _role(value)
            if sop_class in classes and wanted is not None:
                roles.setdefault(sop_class, _item(kind, _SHORT.pack(len(sop_class)) + sop_class + wanted))
        elif kind in single:
            continue
        elif kind == _MAXIMUM_LENGTH:
            if len(value) != 4:
                raise RequestInvalid(f"a maximum length of {len(value)} bytes instead of 4")
            single[kind] = _item(kind, bytes(value))
        elif kind == _IMPLEMENTATION_CLASS and (uid := _uid(value)):
            single[kind] = _item(kind, uid)
        elif kind == _IMPLEMENTATION_VERSION and (name := _text(bytes(value))):
            single[kind] = _item(kind, name)
    return b"".join((*single.values(), *roles.values()))


def _role(content: memoryview) -> tuple[bytes, bytes | None]:
    """Return the SOP Class and the two bytes of SCU and SCP role; None where they are not 0 and 1, or both 0."""
    length = _SHORT.unpack_from(content)[0] if len(content) >= _SHORT.size else 0
    if len(content) != _SHORT.size + length + 2:
        raise RequestInvalid("the lengths of a role selection do not add up")
    wanted = bytes(content[-2:])
    return _uid(content[_SHORT.size : -2]), wanted if wanted in (b"\1\0", b"\0\1", b"\1\1") else None


def _items(encoded: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield type and content of each item or sub-item."""
    start = 0
    while start < len(encoded):
        if start + _ITEM.size > len(encoded):
            raise RequestInvalid("a request ends within the head of an item")
        kind, _, length = _ITEM.unpack_from(encoded, start)
        start += _ITEM.size
        if start + length > len(encoded):
            raise RequestInvalid(f"item {kind:02X}H is longer than what holds it")
        yield kind, encoded[start : start + length]
        start += length


def _item(kind: int, content: bytes) -> bytes:
    return _ITEM.pack(kind, 0, len(content)) + content


def _title(field: bytes, which: str) -> bytes:
    title = _text(field)
    if not title:
        raise RequestInvalid(f"the {which} AE title is empty")
    return title.ljust(_LONGEST_TEXT)


def _text(value: bytes) -> bytes:
    """Return text as far as the first NUL, without spaces around it; what AE titles may not hold becomes `?`."""
    text = value.partition(b"\0")[0].strip(b" ")[:_LONGEST_TEXT].strip(b" ")
    return bytes(each if 0x20 <= each < 0x7F and each != ord("\\") else ord("?") for each in text)


def _uid(value: memoryview) -> bytes:
    """Return a UID without padding; what no UID may hold becomes `?`, so that it is the UID of nothing known."""
    uid = bytes(value[: _LONGEST_UID * 2]).strip(b"\0 ")[:_LONGEST_UID]
    return bytes(each if each in _UID_CHARACTERS else ord("?") for each in uid)
