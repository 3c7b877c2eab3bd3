"""Bytes that no peer should send: association, DIMSE and data set, drawn at random around what is right.

A minute in the suite; `SPONDYL_FUZZ_S=3600 ./run test tests/integration/faults/test_fuzzing.py` for an hour.
"""

import errno
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from app.gateway.association_request import RequestInvalid, plain_request
from app.gateway.instance import InboxRefusal, read_identity
from app.gateway.store_message import fragments_of, read_store_request
from app.peer_settings import Limits
from app.serve import Node
from tests.node import gateway_port, node_settings, running_node
from tests.unit.test_upper_layer import COMMAND, CONTEXT, DATA_SET, LAST, RawPeer, _associate_request, instance

pytestmark = pytest.mark.slow

FUZZ_S = float(os.environ.get("SPONDYL_FUZZ_S", "45"))
GROWTH_MIB = 64
ANSWER_S = 20.0
_ENDED_BY_THE_GATEWAY = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)
_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Run a gateway that loses patience soon."""
    made = node_settings(tmp_path_factory.mktemp("fuzz") / "storage")
    limits = Limits(minimum_free_mib=0, request_s=2, idle_s=5, instance_mib=8)
    with running_node(
        made.model_copy(update={"node": made.node.model_copy(update={"limits": limits})}), role="gateway"
    ) as node:
        yield node


def spoilt(content: bytes, draw: random.Random) -> bytes:
    """Return bytes with some of them changed, left out, repeated, or with a number at its limit."""
    spoilt = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(spoilt) + 1)
        match draw.randrange(5):
            case 0:
                spoilt[place : place + 1] = draw.randbytes(1)
            case 1:
                del spoilt[place : place + draw.randint(1, 40)]
            case 2:
                spoilt[place:place] = spoilt[place : place + draw.randint(1, 60)] * draw.randint(1, 50)
            case 3:
                number = draw.choice([0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
                spoilt[place : place + 4] = struct.pack(draw.choice("<>") + "I", number)
            case _:
                spoilt[place:place] = draw.randbytes(draw.randint(1, 30))
    return bytes(spoilt)


def framed(kind: int, body: bytes) -> bytes:
    """Return a PDU whose length is right, so that its content is looked at."""
    return struct.pack(">BBI", kind, 0, len(body)) + body


def spoilt_request(draw: random.Random) -> bytes:
    """Return an association request, its length right or not."""
    request = _associate_request(16384)
    return framed(1, spoilt(request[6:], draw)) if draw.random() < 0.8 else spoilt(request, draw)


def spoilt_message(draw: random.Random) -> bytes:
    """Return a request, and what follows it, of which one place is wrong."""
    command, data_set = instance()
    which = draw.randrange(3)
    command = spoilt(command, draw) if which == 0 else command
    data_set = spoilt(data_set, draw) if which == 1 else data_set
    pdus = b"".join(
        framed(4, struct.pack(">IBB", len(data) + 2, CONTEXT, kind | LAST) + data)
        for kind, data in ((COMMAND, command), (DATA_SET, data_set))
    )
    return spoilt(pdus, draw) if which == 2 else pdus


def attack(port: int, draw: random.Random) -> None:
    """Send one spoilt conversation, and read what comes until the connection ends or falls silent."""
    is_request = draw.random() < 0.4
    first = spoilt_request(draw) if is_request else _associate_request(draw.choice([100, 16384]))
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as connection:
        try:
            connection.sendall(first)
            if not is_request:
                connection.sendall(spoilt_message(draw))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):  # TimeoutError where the gateway hangs
                pass
        except OSError as ended:
            if ended.errno not in _ENDED_BY_THE_GATEWAY:
                raise


def test_no_bytes_stop_or_swell_a_gateway(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """Each connection ends in time, the process stays the same, its memory flat, and an instance still comes in."""
    port = gateway_port(node)
    process = _process(node)
    for seed in range(50):
        attack(port, random.Random(seed))
    before = _resident_mib(process)
    seed, end = 1000, time.monotonic() + FUZZ_S
    while time.monotonic() < end:
        attack(port, random.Random(seed))
        seed += 1
    peer = RawPeer(port, maximum_pdu=16384)
    command, data_set = instance(7)
    peer.send((CONTEXT, COMMAND | LAST, command), (CONTEXT, DATA_SET | LAST, data_set))
    statuses = peer.statuses(1)
    peer.close()

    with capsys.disabled():
        print(f"\n{seed - 1000} conversations, {_resident_mib(process) - before:+.1f} MiB")
    assert statuses == [0x0000]
    assert _process(node) == process
    assert _resident_mib(process) - before < GROWTH_MIB
    assert '"association_broken"' not in (node.layout.root / "node.log").read_text()


def _fuzzed_body(seed: int) -> bytes:
    return spoilt(_associate_request(16384)[6:], random.Random(seed))


FUZZED = settings(deadline=2000, max_examples=400, suppress_health_check=[HealthCheck.too_slow])


@FUZZED
@given(st.one_of(st.binary(max_size=400), st.integers(0, 2**32).map(_fuzzed_body)))
def test_a_request_is_rewritten_or_refused(body: bytes) -> None:
    """Nothing else is raised, and what is handed on is no larger than what came."""
    try:
        assert len(plain_request(memoryview(body))) <= len(body) + 100
    except RequestInvalid:
        return


@FUZZED
@given(st.integers(0, 2**32))
def test_a_data_set_is_read_or_refused(seed: int) -> None:
    """So that its sender has a definite answer."""
    draw = random.Random(seed)
    command, data_set = instance()
    read_store_request(memoryview(spoilt(command, draw)))
    try:
        read_identity(spoilt(data_set, draw), _SYNTAXES[seed % len(_SYNTAXES)])
    except InboxRefusal:
        return


@FUZZED
@given(st.binary(max_size=200))
def test_items_are_cut_or_refused(items: bytes) -> None:
    """Lengths that do not add up are a ValueError, and every fragment lies within."""
    try:
        assert sum(len(each.data) for each in fragments_of(memoryview(items))) <= len(items)
    except ValueError:
        return


def _process(node: Node) -> int:
    sign = node.sign("gateway")
    assert sign is not None
    return sign.process_id


def _resident_mib(process: int) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024
