"""Association requests as peers send them, and what is handed on of them."""

import struct
import time

import pytest
from pynetdicom.pdu import A_ASSOCIATE_RQ

from app.gateway.association_request import RequestInvalid, plain_request, version_is_supported

CR = b"1.2.840.10008.5.1.4.1.1.1"
IMPLICIT, EXPLICIT = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1"
APPLICATION = b"1.2.840.10008.3.1.1.1"


def item(kind: int, content: bytes) -> bytes:
    """Return an item or sub-item (PS3.8 9.3.2)."""
    return struct.pack(">BBH", kind, 0, len(content)) + content


def context(number: int = 1, *, more: bytes = b"", abstract: bytes = CR) -> bytes:
    """Return a presentation context."""
    return item(0x20, bytes((number, 0, 0, 0)) + item(0x30, abstract) + item(0x40, EXPLICIT) + more)


def body(
    *,
    version: int = 1,
    called: bytes = b"SPONDYL",
    calling: bytes = b"PACS",
    contexts: bytes | None = None,
    user: bytes = b"",
    more: bytes = b"",
    application: bytes = APPLICATION,
) -> memoryview:
    """Return a request without its six bytes of head (PS3.8 Table 9-11)."""
    information = item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3.4") + user)
    items = item(0x10, application) + (context() if contexts is None else contexts) + information + more
    titles = called.ljust(16)[:16] + calling.ljust(16)[:16]
    return memoryview(struct.pack(">HH", version, 0) + titles + bytes(32) + items)


def decoded(request: memoryview) -> A_ASSOCIATE_RQ:
    """Return what pynetdicom makes of a request that has been handed on."""
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(plain_request(request))
    pdu.to_primitive()
    return pdu


@pytest.mark.parametrize(
    "request_body",
    [
        body(user=item(0x5A, b"abc")),
        body(user=item(0x59, b"\0\2ab") + item(0x00, b"") + item(0xFF, bytes(300))),
        body(more=item(0x60, b"abcd")),
        body(more=item(0x21, b"\1\0\0\0") + item(0x00, b"")),
        body(contexts=context(more=item(0x41, b"q"))),
        body(user=item(0x53, b"\0\5\0\5") + item(0x56, b"\0\1a") + item(0x57, b"") + item(0x58, b"\x09\1\0\0\0\0")),
        body(user=item(0x51, b"\0\0\x10\0") + item(0x52, b"")),
        body(version=3),
        body(version=0xFFFF),
        body(called=b"SPONDYL\0\0\0", calling=b"PACS\0 \0\0"),
        body(called=b"  SPONDYL", calling=b" PACS\0garbage"),
        body(user=item(0x55, b"A VERSION NAME OF MORE THAN SIXTEEN")),
        body(user=item(0x55, b"")),
        body(user=item(0x55, "Gerät 1".encode("latin-1") + bytes(9))),
        body(application=APPLICATION + b"\0"),
        body(contexts=context(abstract=CR + b"\0", more=item(0x40, IMPLICIT + b"\0"))),
        body(contexts=context(more=item(0x40, b"") + item(0x40, b"1.2." + b"9" * 80))),
        body(user=item(0x54, struct.pack(">H", len(CR)) + CR + b"\7\7")),
    ],
)
def test_what_newer_and_older_peers_send_is_understood(request_body: memoryview) -> None:
    """PS3.8 section 9.3.1: unrecognised items are ignored; Table 9-11: of the version only bit 0 is tested."""
    request = decoded(request_body)
    (proposed,) = request.presentation_context

    assert version_is_supported(request_body)
    assert request.protocol_version == 1
    assert (request.called_ae_title.strip(), request.calling_ae_title.strip()) == ("SPONDYL", "PACS")
    assert proposed.abstract_syntax == CR.decode()
    assert request.application_context_name == APPLICATION.decode()
    assert request.user_information is not None
    assert request.user_information.maximum_length == 16384


def test_a_version_without_its_bit_is_handed_on_to_be_rejected() -> None:
    """PS3.8 Table 9-21: protocol version not supported is an answer of its own."""
    assert not version_is_supported(body(version=2))
    assert decoded(body(version=2)).protocol_version == 2


def test_a_role_that_is_selected_for_a_proposed_class_stays() -> None:
    """PS3.7 D.3.3.4: a destination that reports Storage Commitment asks for the SCP role."""
    wanted = item(0x54, struct.pack(">H", len(CR)) + CR + b"\0\1")

    information = decoded(body(user=wanted)).user_information

    assert information is not None
    (role,) = information.role_selection.values()
    assert (role.scu_role, role.scp_role) == (False, True)


@pytest.mark.parametrize(
    ("request_body", "words"),
    [
        (memoryview(bytes(67)), "67 bytes"),
        (body(called=b""), "called AE title is empty"),
        (body(calling=b"\0PACS"), "calling AE title is empty"),
        (body(more=b"\x60"), "head of an item"),
        (body(more=struct.pack(">BBH", 0x60, 0, 9)), "longer than what holds it"),
        (body(user=struct.pack(">BBH", 0x5A, 0, 9)), "longer than what holds it"),
        (body(contexts=context(more=struct.pack(">BBH", 0x41, 0, 9))), "longer than what holds it"),
        (body(contexts=b""), "no presentation context"),
        (body(contexts=context(2)), "odd number"),
        (body(contexts=item(0x20, b"\1\0")), "odd number"),
        (body(contexts=context() + context()), "proposed twice"),
        (body(contexts=item(0x20, b"\1\0\0\0" + item(0x30, CR))), "lacks"),
        (body(contexts=item(0x20, b"\1\0\0\0" + item(0x40, EXPLICIT))), "lacks"),
        (body(user=item(0x54, b"\xff\xff1\1\1")), "role selection"),
    ],
)
def test_a_request_whose_lengths_or_items_are_wrong_is_refused(request_body: memoryview, words: str) -> None:
    """Each with the reason that the log is to name."""
    with pytest.raises(RequestInvalid, match=words):
        plain_request(request_body)


def test_a_request_full_of_repetitions_stays_small_and_is_read_in_time() -> None:
    """What a peer may send a hundred thousand times is taken once: decoding what is handed on takes no seconds."""
    syntaxes = (item(0x40, IMPLICIT) + item(0x40, b"1.2.3")) * 1900
    contexts = b"".join(context(number, more=syntaxes) for number in range(1, 31, 2))
    roles = b"".join(item(0x54, b"\0\1" + b"1" + b"\0\1") for _ in range(7000))
    began = time.process_time()

    pdu = plain_request(body(contexts=contexts, user=roles, more=item(0x60, b"") * 20000))

    assert len(pdu) < 4000
    assert time.process_time() - began < 2
