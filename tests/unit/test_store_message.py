"""C-STORE messages against what pynetdicom writes and reads."""

from io import BytesIO
from typing import Any

import pytest
from pydicom.uid import CTImageStorage
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, C_STORE_RSP, DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.pdu import P_DATA_TF

from app.gateway.store_message import StoreRequest, fragments_of, read_store_request, store_response

REQUEST = StoreRequest(message_id=7, sop_class_uid=CTImageStorage, sop_instance_uid="1.2.3.45")
CONTEXT = 3


def encoded_pdus(message: DIMSEMessage, primitive: Any) -> list[bytes]:
    """Return the PDUs of a message as pynetdicom writes them."""
    message.primitive_to_message(primitive)
    return [P_DATA_TF(data).encode() for data in message.encode_msg(CONTEXT, 16384)]


def store(*, answered: bool = False, data_set: bytes | None = b"data") -> C_STORE:
    """Return a request, or a response, as pynetdicom has it."""
    primitive = C_STORE()
    primitive.AffectedSOPClassUID = REQUEST.sop_class_uid
    primitive.AffectedSOPInstanceUID = REQUEST.sop_instance_uid
    if answered:
        primitive.MessageIDBeingRespondedTo = REQUEST.message_id
        primitive.Status = 0xA700
    else:
        primitive.MessageID = REQUEST.message_id
        primitive.Priority = 2
        primitive.DataSet = BytesIO(data_set) if data_set is not None else None
    return primitive


def command_of(message: DIMSEMessage, primitive: Any) -> memoryview:
    """Return the command of a message, encoded."""
    first = encoded_pdus(message, primitive)[0]
    return fragments_of(memoryview(first[6:]))[0].data


def test_an_answer_is_byte_for_byte_what_pynetdicom_writes() -> None:
    """PS3.7 Table 9.3-2, in the PDU of PS3.8 Table 9-22."""
    (expected,) = encoded_pdus(C_STORE_RSP(), store(answered=True))

    assert store_response(REQUEST, CONTEXT, 0xA700) == expected


def test_a_request_is_read_as_pynetdicom_writes_it() -> None:
    """Optional elements, the priority for one, do not matter."""
    assert read_store_request(command_of(C_STORE_RQ(), store())) == REQUEST


def test_a_pdu_falls_into_its_fragments() -> None:
    """Which context, whether command or data set, whether the last: PS3.8 Annex E.2."""
    command, data_set = (fragments_of(memoryview(pdu[6:]))[0] for pdu in encoded_pdus(C_STORE_RQ(), store()))

    assert (command.context_id, command.is_command, command.is_last) == (CONTEXT, True, True)
    assert (data_set.context_id, data_set.is_command, data_set.is_last) == (CONTEXT, False, True)
    assert bytes(data_set.data) == b"data"


def test_what_is_no_plain_request_is_left_to_pynetdicom() -> None:
    """Another command, one without data set, an answer, a name that is no UID."""
    request = bytes(command_of(C_STORE_RQ(), store()))
    echo = C_ECHO()
    echo.MessageID, echo.AffectedSOPClassUID = 1, "1.2.840.10008.1.1"

    assert read_store_request(command_of(C_ECHO_RQ(), echo)) is None
    assert read_store_request(command_of(C_STORE_RQ(), store(data_set=None))) is None
    assert read_store_request(command_of(C_STORE_RSP(), store(answered=True))) is None
    assert read_store_request(memoryview(request.replace(b"1.2.3.45", b"../../45"))) is None


def test_a_command_that_is_cut_off_anywhere_is_no_request() -> None:
    """Elements that are missing or lie beyond the end."""
    command = command_of(C_STORE_RQ(), store())
    uid_ends = len(command) - len(REQUEST.sop_instance_uid)

    assert all(read_store_request(command[:length]) is None for length in range(uid_ends))


@pytest.mark.parametrize(
    "items",
    [b"\0\0", b"\0\0\0\x03\x01\x00", b"\0\0\0\x01\x01\x00", b"\0\0\0\0\x01\x00", b"\xff\xff\xff\xff\x01\x00"],
    ids=["half a length", "longer than the PDU", "no control header", "no context", "four gigabytes"],
)
def test_lengths_that_do_not_add_up_are_named(items: bytes) -> None:
    """PS3.8 Table 9-23; the association ends then."""
    with pytest.raises(ValueError, match="of a PDU|a PDU ends"):
        fragments_of(memoryview(items))
