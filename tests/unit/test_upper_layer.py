"""The upper layer of the Storage SCP, spoken to byte by byte."""

import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from structlog.testing import capture_logs

from app.gateway.inbox import Inbox
from app.gateway.kept_file import encoded_data_set
from app.gateway.storage_scp import start_storage_scp
from app.jobs.commitments import CommitmentRecords
from app.jobs.layout import StorageLayout
from app.settings import Node
from tests.made_dicom import made_dx, made_uid

DX = DigitalXRayImageStorageForPresentation
CONTEXT = 1
ACCEPTED, REJECTED, DATA, RELEASED, ABORTED = 0x02, 0x03, 0x04, 0x06, 0x07  # PS3.8 section 9.3: types of PDUs
DATA_SET, COMMAND, LAST = 0x00, 0x01, 0x02  # PS3.8 Annex E.2: message control header
RELEASE_REQUEST = bytes((0x05, 0, 0, 0, 0, 4, 0, 0, 0, 0))

Item = tuple[int, int, bytes]  # context, control header, fragment


class RawPeer:
    """A sender that puts its own bytes on the wire."""

    def __init__(self, port: int, *, maximum_pdu: int, **variant: Any) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._socket.sendall(_associate_request(maximum_pdu, **variant))
        self._maximum_pdu = maximum_pdu
        self.first_answer = self.read()[0]

    def send(self, *items: Item) -> None:
        """Send one P-DATA-TF PDU."""
        body = b"".join(struct.pack(">IBB", len(data) + 2, context, control) + data for context, control, data in items)
        self._socket.sendall(struct.pack(">BBI", DATA, 0, len(body)) + body)

    def send_bytes(self, content: bytes) -> None:
        """Send what need not be a PDU."""
        self._socket.sendall(content)

    def read(self) -> tuple[int, bytes]:
        """Return type and body of the next PDU; type 0 where the connection has ended."""
        header = self._exactly(6)
        if len(header) < 6:
            return 0, b""
        kind, _, length = struct.unpack(">BBI", header)
        return kind, self._exactly(length)

    def statuses(self, count: int) -> list[int]:
        """Return the status (0000,0900) of so many answers; pynetdicom may send one in several PDUs."""
        found: list[int] = []
        content = b""
        while len(found) < count:
            kind, body = self.read()
            assert kind == DATA
            assert len(body) <= self._maximum_pdu
            content += body[6:]
            if body[5] & LAST:
                at = content.index(b"\0\0\0\x09\x02\0\0\0") + 8
                found.append(int.from_bytes(content[at : at + 2], "little"))
                content = b""
        return found

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _exactly(self, count: int) -> bytes:
        content = b""
        while len(content) < count and (more := self._socket.recv(count - len(content))):
            content += more
        return content


@pytest.fixture
def layout(tmp_path: Path) -> StorageLayout:
    """Return the folders of a node."""
    layout = StorageLayout(tmp_path / "storage")
    layout.create()
    return layout


@pytest.fixture
def port(layout: StorageLayout) -> Iterator[int]:
    """Run a Storage SCP and return its port."""
    inbox = Inbox(layout, quiet_s=60, minimum_free_bytes=0)
    scp = start_storage_scp(inbox, Node(port=0), commitments=CommitmentRecords(layout))
    yield scp.address[1]
    scp.stop()


@pytest.fixture
def peer(port: int) -> Iterator[RawPeer]:
    """Return a sender with an association."""
    peer = RawPeer(port, maximum_pdu=16384)
    assert peer.first_answer == ACCEPTED
    yield peer
    peer.close()


def instance(number: int = 1) -> tuple[bytes, bytes]:
    """Return command and data set of a C-STORE request, encoded."""
    dataset = made_dx(np.full((16, 16), number))
    dataset.SOPInstanceUID = made_uid("raw", number)
    encoded = encode(dataset, is_implicit_vr=False, is_little_endian=True)
    assert encoded is not None
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = number, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = DX, dataset.SOPInstanceUID
    primitive.DataSet = BytesIO(encoded)
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    command, *_ = message.encode_msg(CONTEXT, 16384)
    return bytes(command.presentation_data_value_list[0][1][1:]), encoded


def cut(content: bytes, size: int, kind: int) -> list[Item]:
    """Return a command or data set in fragments of a size."""
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return [(CONTEXT, kind | (LAST if piece is pieces[-1] else 0), piece) for piece in pieces]


def kept(layout: StorageLayout) -> list[bytes]:
    """Return the data sets in the inbox, in the order of their names."""
    return [encoded_data_set(file) for file in sorted(layout.arriving.rglob("*.dcm"))]


def _whole(command: bytes, data_set: bytes) -> list[list[Item]]:
    return [[*cut(command, 9999, COMMAND), *cut(data_set, 9999, DATA_SET)]]


def _by_twos(command: bytes, data_set: bytes) -> list[list[Item]]:
    pieces = [*cut(command, 9999, COMMAND), *cut(data_set, 100, DATA_SET)]
    return [pieces[start : start + 2] for start in range(0, len(pieces), 2)]


def _one_by_one(command: bytes, data_set: bytes) -> list[list[Item]]:
    return [[piece] for piece in (*cut(command, 9999, COMMAND), *cut(data_set, 64, DATA_SET))]


def _command_in_pieces(command: bytes, data_set: bytes) -> list[list[Item]]:
    return [[piece] for piece in (*cut(command, 20, COMMAND), *cut(data_set, 300, DATA_SET))]


def _command_with_an_empty_end(command: bytes, data_set: bytes) -> list[list[Item]]:
    return [[(CONTEXT, COMMAND, command)], [(CONTEXT, COMMAND | LAST, b"")], cut(data_set, 9999, DATA_SET)]


@pytest.mark.parametrize(
    "division",
    [_whole, _by_twos, _one_by_one, _command_in_pieces, _command_with_an_empty_end],
    ids=lambda d: d.__name__,
)
def test_an_instance_is_kept_however_its_message_is_cut(
    peer: RawPeer, layout: StorageLayout, division: Callable[[bytes, bytes], list[list[Item]]]
) -> None:
    """PS3.8 Annex E: fragments of any size, one or several in a PDU."""
    command, data_set = instance()
    for items in division(command, data_set):
        peer.send(*items)

    assert peer.statuses(1) == [0]
    assert kept(layout) == [data_set]


def test_a_sender_that_does_not_wait_gets_an_answer_to_each_request(peer: RawPeer, layout: StorageLayout) -> None:
    """Its requests wait in the connection, and share PDUs as it likes."""
    messages = [instance(number) for number in range(1, 6)]
    stream = [item for message in messages for items in _one_by_one(*message) for item in items]
    for start in range(0, len(stream), 7):
        peer.send(*stream[start : start + 7])

    assert peer.statuses(5) == [0] * 5
    assert sorted(kept(layout)) == sorted(data_set for _, data_set in messages)


def test_a_peer_that_takes_only_small_pdus_is_answered_in_such(port: int, layout: StorageLayout) -> None:
    """PS3.8 D.1: the maximum length that the association's requestor says."""
    peer = RawPeer(port, maximum_pdu=64)
    for items in _whole(*instance()):
        peer.send(*items)
    statuses = peer.statuses(1)
    peer.close()

    assert statuses == [0]
    assert len(kept(layout)) == 1


def test_an_association_is_released_after_its_last_answer(peer: RawPeer) -> None:
    """Instance, answer, A-RELEASE, answer; the release may come before the answer is read."""
    for items in _whole(*instance()):
        peer.send(*items)
    peer.send_bytes(RELEASE_REQUEST)

    assert peer.statuses(1) == [0]
    assert peer.read()[0] == RELEASED


COMMAND_BYTES, DATA_BYTES = instance()
BEGUN: list[Item] = [(CONTEXT, COMMAND | LAST, COMMAND_BYTES), (CONTEXT, DATA_SET, DATA_BYTES[:50])]


@pytest.mark.parametrize(
    "items",
    [
        [*BEGUN, (CONTEXT, COMMAND | LAST, COMMAND_BYTES)],
        [*BEGUN, (CONTEXT + 2, DATA_SET | LAST, DATA_BYTES[50:])],
        [BEGUN[0], (CONTEXT, DATA_SET | LAST, DATA_BYTES), (CONTEXT, DATA_SET | LAST, DATA_BYTES)],
    ],
    ids=["a command within a data set", "another context", "a data set too many"],
)
def test_a_fragment_that_belongs_nowhere_ends_the_association(
    peer: RawPeer, port: int, layout: StorageLayout, items: Sequence[Item]
) -> None:
    """PS3.8 Table 9-10, AA-8: an unexpected PDU is answered by A-ABORT; the next sender is none the worse."""
    peer.send(*items)
    kinds = [peer.read()[0]]
    if kinds == [DATA]:
        kinds.append(peer.read()[0])

    assert kinds[-1] == ABORTED
    assert all(content == DATA_BYTES for content in kept(layout))
    other = RawPeer(port, maximum_pdu=16384)
    assert other.first_answer == ACCEPTED
    other.close()


@pytest.mark.parametrize(
    "content",
    [
        struct.pack(">BBI", DATA, 0, 8) + b"\xff\xff\xff\xff\x01\x03\0\0",
        struct.pack(">BBI", 0x09, 0, 4) + bytes(4),
    ],
    ids=["an item longer than its PDU", "a type that there is not"],
)
def test_what_is_no_pdu_ends_the_association(peer: RawPeer, content: bytes) -> None:
    """PS3.8 Table 9-10, AA-8."""
    peer.send_bytes(content)

    assert peer.read()[0] == ABORTED


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


@pytest.mark.parametrize(
    "variant",
    [
        {"user": _item(0x5A, b"abc")},
        {"last": _item(0x60, b"abcd")},
        {"context": _item(0x41, b"q")},
        {"version": 3},
        {"names": b"SPONDYL".ljust(16, b"\0") + b"RAW".ljust(16, b"\0")},
        {"user": _item(0x55, b"OF_MORE_THAN_SIXTEEN_CHARACTERS")},
    ],
    ids=["sub-item of the user", "item", "sub-item of a context", "version", "titles with NUL", "version name"],
)
def test_a_request_of_newer_or_odder_peers_is_accepted_and_stores(
    port: int, layout: StorageLayout, variant: dict[str, Any]
) -> None:
    """PS3.8 section 9.3.1: what is not recognised is ignored."""
    peer = RawPeer(port, maximum_pdu=16384, **variant)
    command, data_set = instance()
    assert peer.first_answer == ACCEPTED
    for items in _whole(command, data_set):
        peer.send(*items)

    assert peer.statuses(1) == [0x0000]
    assert kept(layout) == [data_set]
    peer.close()


@pytest.mark.parametrize(
    ("variant", "answer", "words"),
    [
        ({"version": 2}, REJECTED, "protocol version"),
        ({"last": struct.pack(">BBH", 0x60, 0, 99)}, ABORTED, "item 60H is longer"),
        ({"names": bytes(32)}, ABORTED, "called AE title is empty"),
        ({"user": _item(0x51, b"1")}, ACCEPTED, ""),
    ],
    ids=["version", "length", "titles", "a repetition"],
)
def test_a_request_that_is_turned_down_is_told_with_address_and_reason(
    port: int, variant: dict[str, Any], answer: int, words: str
) -> None:
    """An administrator sees why a peer gets nowhere."""
    with capture_logs() as lines:
        peer = RawPeer(port, maximum_pdu=16384, **variant)
        got = peer.first_answer
        peer.close()

    told = [line for line in lines if words and words in line.get("reason", "")]
    assert got == answer
    assert [line["address"] for line in told] == ["127.0.0.1"] * bool(words)


def test_a_fragment_out_of_place_is_told_with_address_and_reason(peer: RawPeer) -> None:
    """The same for what goes wrong later."""
    with capture_logs() as lines:
        peer.send((CONTEXT, DATA_SET | LAST, b"none asked for"))
        assert peer.read()[0] == ABORTED

    assert [(line["event"], line["address"]) for line in lines] == [("association_ended", "127.0.0.1")]
    assert lines[0]["reason"]


@pytest.mark.parametrize(
    ("first", "reason"),
    [(b"GET / HTTP/1.1", "does not begin like"), (b"", "closed before it asked")],
    ids=["a browser", "a port scanner"],
)
def test_a_connection_that_asks_for_nothing_is_told_with_address_and_reason(
    layout: StorageLayout, first: bytes, reason: str
) -> None:
    """Counted for each address and reason, so that many of them make few lines."""
    with capture_logs() as lines:
        inbox = Inbox(layout, quiet_s=60, minimum_free_bytes=0)
        scp = start_storage_scp(inbox, Node(port=0), commitments=CommitmentRecords(layout))
        for _ in range(3):
            with socket.create_connection(scp.address, timeout=20) as connection:
                connection.sendall(first)
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(1) == b""
        scp.stop()

    told = [line for line in lines if line["event"] == "connections_declined"]
    assert {line["address"] for line in told} == {"127.0.0.1"}
    assert sum(line["count"] for line in told if reason in line["reason"]) == 3


def _associate_request(
    maximum_pdu: int,
    *,
    version: int = 1,
    names: bytes = b"SPONDYL".ljust(16) + b"RAW".ljust(16),
    context: bytes = b"",
    user: bytes = b"",
    last: bytes = b"",
) -> bytes:
    """Return an A-ASSOCIATE-RQ that asks for one context (PS3.8 Table 9-11); context, user, last: more items."""
    syntaxes = _item(0x30, DX.encode()) + _item(0x40, ExplicitVRLittleEndian.encode()) + context
    contexts = _item(0x20, bytes((CONTEXT, 0, 0, 0)) + syntaxes)
    known = _item(0x50, _item(0x51, struct.pack(">I", maximum_pdu)) + _item(0x52, b"1.2.3") + user)
    items = _item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + known + last
    body = struct.pack(">HH", version, 0) + names + bytes(32) + items
    return struct.pack(">BBI", 0x01, 0, len(body)) + body
