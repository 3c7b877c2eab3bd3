"""Large data sets: to the disk as they come, whole or not at all, within a budget."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom import AE
from structlog.testing import capture_logs

from app.gateway import spool as spooling
from app.gateway.inbox import Inbox
from app.gateway.kept_file import encoded_data_set, is_torn
from app.gateway.spool import InFlight
from app.gateway.storage_scp import StorageScp, start_storage_scp
from app.jobs.commitments import CommitmentRecords
from app.jobs.layout import StorageLayout
from app.peer_settings import Limits
from app.settings import Node
from tests.made_dicom import made_dx
from tests.node import gateway_port, node_settings, running_node, wait_for
from tests.unit.test_upper_layer import COMMAND, CONTEXT, DATA_SET, LAST, RawPeer, instance

PIECE = 16000
LARGE = spooling.IN_MEMORY_BYTES + 3 * PIECE
MEMORY_MIB = 2048  # resources.memory of app.yaml, for gateway and worker together
GROWTH_MIB = 64


class Running:
    """A Storage SCP with its inbox."""

    def __init__(self, root: Path, limits: Limits | None = None, *, least_free: int = 0) -> None:
        self.layout = StorageLayout(root)
        self.layout.create()
        inbox = Inbox(self.layout, quiet_s=60, minimum_free_bytes=least_free)
        node = Node(port=0, limits=limits or Limits(minimum_free_mib=0))
        self.scp: StorageScp = start_storage_scp(inbox, node, commitments=CommitmentRecords(self.layout))

    @property
    def parts(self) -> list[Path]:
        """Files that are being written."""
        return [file for file in self.layout.partial.rglob("*") if file.is_file() and file.stat().st_size]

    def unfinished(self, size: int) -> RawPeer:
        """Return a peer that has sent so many bytes of a data set and holds the rest back."""
        peer = RawPeer(self.scp.address[1], maximum_pdu=16384)
        peer.send((CONTEXT, COMMAND | LAST, instance()[0]))
        for _ in range(size // PIECE):
            peer.send((CONTEXT, DATA_SET, bytes(PIECE)))
        return peer


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Return an SCP that listens."""
    running = Running(tmp_path / "storage")
    yield running
    running.scp.stop()


def radiograph(side: int = 1200) -> FileDataset:
    """Return a radiograph that is larger than what is held in memory."""
    return made_dx(np.random.default_rng(1).random((side, side)))


def status_of(running: Running, dataset: FileDataset, syntax: UID = ExplicitVRLittleEndian) -> int:
    """Send a data set and return the status."""
    entity = AE(ae_title="PACS")
    entity.add_requested_context(dataset.SOPClassUID, syntax)
    association = entity.associate(*running.scp.address, ae_title="SPONDYL")
    try:
        return int(association.send_c_store(dataset).Status)
    finally:
        association.release()


def test_a_large_instance_is_kept_byte_for_byte(running: Running) -> None:
    """With the digest in its preamble, and nothing left of its way."""
    image = radiograph()

    assert status_of(running, image) == 0x0000
    (file,) = running.layout.arriving.rglob("*.dcm")
    assert not is_torn(file)
    assert encoded_data_set(file).endswith(image.PixelData)
    assert running.parts == []


def test_a_large_deflated_instance_is_kept(running: Running) -> None:
    """Its identifiers are read from what it inflates to."""
    image = radiograph()
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    assert status_of(running, image, DeflatedExplicitVRLittleEndian) == 0x0000
    assert len(list(running.layout.arriving.rglob("*.dcm"))) == 1


def test_a_large_instance_without_room_is_refused_to_its_end(tmp_path: Path) -> None:
    """PS3.4 Table B.2-1: 0xA700, after all of it has come and been let go."""
    running = Running(tmp_path / "storage", least_free=1 << 60)
    try:
        assert status_of(running, radiograph()) == 0xA700
        assert running.parts == []
    finally:
        running.scp.stop()


def test_a_large_instance_that_is_refused_leaves_nothing(running: Running) -> None:
    """The sender keeps its copy."""
    image = radiograph()
    del image.StudyInstanceUID

    assert status_of(running, image) == 0xC000
    assert running.parts == []


def test_a_peer_that_hangs_up_in_the_middle_leaves_nothing_but_a_line(running: Running) -> None:
    """Address and reason, and that an instance was on its way."""
    with capture_logs() as lines:
        peer = running.unfinished(LARGE)
        wait_for(lambda: bool(running.parts), "a file that is being written")
        peer.close()
        wait_for(lambda: not running.parts and bool(lines), "the file to be gone")

    (line,) = (line for line in lines if line["event"] == "association_ended")
    assert (line["address"], line["instance_unfinished"]) == ("127.0.0.1", True)


def test_beyond_the_budget_the_slowest_is_ended() -> None:
    """Of one address first, then of all."""
    ended: list[str] = []
    account = InFlight(most=1000, most_per_address=600)

    def grow(key: int, count: int, address: str) -> None:
        account.grow(key, count, address=address, end=lambda _: ended.append(f"{address} {key}"))

    grow(1, 100, "a")
    grow(2, 450, "a")
    grow(3, 400, "b")
    assert ended == []
    grow(2, 60, "a")
    assert ended == ["a 1"]
    grow(4, 200, "c")
    assert ended == ["a 1", "c 4"]
    account.release(2)
    grow(3, 150, "b")
    assert ended == ["a 1", "c 4"]


def test_unfinished_data_sets_beyond_the_budget_end_their_association(tmp_path: Path) -> None:
    """Over the wire: the log names the setting."""
    limits = Limits(minimum_free_mib=0, in_flight_mib=8, in_flight_per_address_mib=5)
    running = Running(tmp_path / "storage", limits)
    try:
        with capture_logs() as lines:
            peers = [running.unfinished(LARGE) for _ in range(2)]
            with pytest.raises(OSError, match="[Bb]roken|[Rr]eset"):
                end = time.monotonic() + 60  # what the sockets buffer is sent before the end is seen
                while time.monotonic() < end:
                    for peer in peers:
                        peer.send((CONTEXT, DATA_SET, bytes(PIECE)))
            wait_for(lambda: any("in_flight" in str(line.get("reason")) for line in lines), "the line of the log")
        for peer in peers:
            peer.close()
    finally:
        running.scp.stop()


def test_silent_connections_do_not_lock_anybody_out(tmp_path: Path) -> None:
    """The one that has been silent for longest makes room for the next."""
    limits = Limits(minimum_free_mib=0, connections=4, connections_per_address=3)
    running = Running(tmp_path / "storage", limits)
    silent = [socket.create_connection(running.scp.address) for _ in range(3)]
    try:
        wait_for(lambda: _echo(running), "an association among silent connections")
    finally:
        for connection in silent:
            connection.close()
        running.scp.stop()


def test_one_address_gets_no_more_associations_than_its_share(tmp_path: Path) -> None:
    """`node.limits.associations_per_address`; from another address there is room."""
    running = Running(tmp_path / "storage", Limits(minimum_free_mib=0, associations=4, associations_per_address=2))
    try:
        peers = [RawPeer(running.scp.address[1], maximum_pdu=16384) for _ in range(3)]
        answers = [peer.first_answer for peer in peers]
        other = _echo(running, bind="127.0.0.2")
        for peer in peers:
            peer.close()
    finally:
        running.scp.stop()

    assert answers == [2, 2, 3]
    assert other


def _echo(running: Running, bind: str = "127.0.0.1") -> bool:
    entity = AE(ae_title="PACS")
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate(*running.scp.address, ae_title="SPONDYL", bind_address=(bind, 0))
    established = association.is_established
    association.release()
    return established


@pytest.mark.slow
def test_unfinished_data_sets_leave_the_memory_of_a_gateway_small(tmp_path: Path) -> None:
    """Four of 300 MB, held back at their last byte: the peak of the process, as the kernel has it (VmHWM)."""
    with running_node(node_settings(tmp_path / "storage"), role="gateway") as node:
        before = _peak_mib(node)
        peers = [RawPeer(gateway_port(node), maximum_pdu=131072) for _ in range(4)]
        for peer in peers:
            peer.send((CONTEXT, COMMAND | LAST, instance()[0]))
        for _ in range(2400):
            for peer in peers:
                peer.send((CONTEXT, DATA_SET, bytes(125_000)))
        wait_for(lambda: _written(node.layout) >= 4 * 290_000_000, "the data to be on the disk")
        after = _peak_mib(node)
        for peer in peers:
            peer.close()

    assert after - before < GROWTH_MIB
    assert after < MEMORY_MIB / 4


def _written(layout: StorageLayout) -> int:
    return sum(file.stat().st_size for file in layout.partial.rglob("*") if file.is_file())


def _peak_mib(node: object) -> float:
    sign = node.sign("gateway")  # type: ignore[attr-defined]
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{sign.process_id}/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1024
