"""Full and overloaded: a real gateway process on a small disk, among port scanners, and at its limits."""

import contextlib
import gc
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import numpy as np
import pytest
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from app.delivery.association import Peer, echo
from app.delivery.receiver import Receiver
from app.jobs.job import JobState
from app.jobs.queries import show_job
from app.jobs.story import tell
from app.peer_settings import Limits
from app.serve import Node
from tests.made_dicom import made_dx
from tests.node import destination, gateway_port, jobs_of, node_settings, running_node, wait_for

pytestmark = pytest.mark.slow

PROBES = 10_000
GROWTH_MIB = 20
DX = DigitalXRayImageStorageForPresentation


def limited(root: Path, limits: Limits) -> contextlib.AbstractContextManager[Node]:
    """Return a gateway process with limits, to be entered as a context."""
    settings = node_settings(root)
    node = settings.node.model_copy(update={"limits": limits})
    return running_node(settings.model_copy(update={"node": node}), role="gateway")


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Keep no log record, which would keep a socket alive, and let no other test be blamed for this one's."""
    caplog.set_level("CRITICAL", "pynetdicom")
    yield
    gc.collect()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Run a gateway with small limits."""
    limits = Limits(associations=2, connections=8, request_s=3, idle_s=4, instance_mib=4, minimum_free_mib=0)
    with limited(tmp_path_factory.mktemp("limited") / "storage", limits) as node:
        yield node


def process_of(node: Node) -> int:
    """Return the number of the gateway's process."""
    sign = node.sign("gateway")
    assert sign is not None
    return sign.process_id


def resident_mib(process_id: int) -> float:
    """Return the resident memory of a process."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process_id}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def associate(node: Node) -> Association:
    """Ask the gateway for an association."""
    entity = AE(ae_title="PACS")
    entity.add_requested_context(DX, ExplicitVRLittleEndian)
    return entity.associate("127.0.0.1", gateway_port(node), ae_title="SPONDYL")


def store(node: Node, number: int, side: int) -> int:
    """Send one radiograph and return the status of the answer, or -1 where there was none."""
    dataset = made_dx(np.zeros((side, side)), study=f"full {number}")
    association = associate(node)
    try:
        return int(association.send_c_store(dataset).get("Status", -1))
    finally:
        association.release()


def answers(node: Node) -> bool:
    """Say whether the gateway answers a C-ECHO."""
    return echo(Peer("SPONDYL", "127.0.0.1", gateway_port(node)), calling_ae_title="PACS") is None


def page(node: Node, path: str) -> tuple[int, str]:
    """Return status and text of a page of the dashboard."""
    sign = node.sign("dashboard")
    assert sign is not None
    try:
        with urllib.request.urlopen(f"http://{sign.host}:{sign.port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as answer:
        return answer.code, answer.read().decode()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount 64 MiB of memory as a disk, or skip where this user may not."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount here")
def test_below_the_mark_instances_are_declined_and_above_it_they_are_taken(small_disk: Path) -> None:
    """PS3.4 Table B.2-1: 0xA700, out of resources; /healthz says so, /readyz turns, and room made is room used."""
    filler = small_disk / "filler"
    with limited(small_disk / "storage", Limits(minimum_free_mib=24)) as node:
        before = store(node, 1, 64), page(node, "/healthz")
        filler.write_bytes(bytes(48 << 20))
        full = store(node, 2, 64), page(node, "/healthz"), page(node, "/readyz")
        filler.unlink()
        after = store(node, 3, 64), page(node, "/healthz")

    assert before == (0x0000, (200, "alive\n"))
    assert full[0] == 0xA700
    assert full[1][0] == 200 and "below the mark of 24 MiB" in full[1][1]
    assert full[2][0] == 503
    assert after == before


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount here")
def test_a_disk_that_fills_up_in_the_middle_of_an_instance_leaves_nothing_half(small_disk: Path) -> None:
    """Without a mark the write itself fails: 0xA700, what was kept stays whole, and it goes on once there is room."""
    filler = small_disk / "filler"
    with limited(small_disk / "storage", Limits(minimum_free_mib=0)) as node:
        kept = store(node, 1, 64)
        free = shutil.disk_usage(small_disk).free
        filler.write_bytes(bytes(free - (256 << 10)))
        declined = store(node, 2, 1024)
        filler.unlink()
        after = store(node, 2, 1024)
        wait_for(lambda: len(list(node.layout.jobs.glob("*/input/*.dcm"))) == 2, "both series as jobs")  # at rest there
        files = sorted(file.stat().st_size for file in node.layout.root.rglob("*.dcm"))

    assert (kept, declined, after) == (0x0000, 0xA700, 0x0000)
    assert len(files) == 2
    assert files[1] > 2 << 20


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount here")
def test_a_job_whose_results_find_no_room_goes_on_once_there_is_some(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's write fails: the job waits and says so, nothing half is delivered, and nobody has to retry it."""
    gate = tmp_path / "gate"
    gate.mkdir()
    (gate / "hold").touch()
    monkeypatch.setenv("CAPTURE_GATE", str(gate))
    filler = small_disk / "filler"
    with Receiver(tmp_path / "received", "PACS") as receiver:
        settings = node_settings(small_disk / "storage", destination(receiver.port))
        node = settings.node.model_copy(update={"limits": Limits(minimum_free_mib=0)})
        with running_node(settings.model_copy(update={"node": node})) as running:
            assert store(running, 1, 1024) == 0x0000
            wait_for(lambda: any(gate.glob("begun-*")), "the engine begins")
            filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - (1 << 20)))
            (gate / "hold").unlink()
            wait_for(lambda: any("the disk is full" in line for line in _story(running)), "the job waits for room")
            states = [status.state for status in jobs_of(running)]
            early = list((tmp_path / "received").rglob("*.dcm"))
            filler.unlink()
            wait_for(lambda: [each.state for each in jobs_of(running)] == [JobState.DELIVERED], "delivered by itself")

    assert states == [JobState.PROCESSING]
    assert early == []
    assert len(list((tmp_path / "received").rglob("*.dcm"))) == 1


def _story(node: Node) -> list[str]:
    return [line for status in jobs_of(node) for line in tell(show_job(node.settings, status.job.job_id))]


def test_ten_thousand_probes_leave_no_memory_behind(gateway: Node) -> None:
    """Port scanners: connections that close at once, that say something else, and that stay half open for a while."""
    port, process = gateway_port(gateway), process_of(gateway)
    assert answers(gateway)
    before = resident_mib(process)
    half_open: list[socket.socket] = []
    for number in range(PROBES):
        with contextlib.suppress(OSError):  # beyond the limit the gateway hangs up
            probe = socket.create_connection(("127.0.0.1", port), timeout=10)
            if number % 3 == 1:
                probe.sendall(b"GET / HTTP/1.1\r\n\r\n")
            if number % 100 == 99:
                half_open.append(probe)
            else:
                probe.close()
    during = resident_mib(process)
    for probe in half_open:
        probe.close()
    wait_for(lambda: answers(gateway), "an answer after the probes", patience_s=20)

    assert max(during, resident_mib(process)) - before < GROWTH_MIB


def test_silent_connections_hold_up_an_association_no_longer_than_the_limit(gateway: Node) -> None:
    """Beyond `connections` nobody gets in; after `request_s` the silent ones are closed and everybody does."""
    address = ("127.0.0.1", gateway_port(gateway))
    wait_for(lambda: answers(gateway), "a quiet gateway")
    with contextlib.ExitStack() as stack:
        silent: list[socket.socket] = []

        def is_full() -> bool:
            silent.append(stack.enter_context(socket.create_connection(address)))
            return not answers(gateway)

        wait_for(is_full, "the limit", patience_s=20)
        silent[0].sendall(b"\x01")  # as an association request begins
        start = time.monotonic()
        wait_for(lambda: answers(gateway), "room after the time limit", patience_s=20)
        waited = time.monotonic() - start
        ends = [connection.recv(1) for connection in silent]

    assert len(silent) >= 8
    assert waited < 15
    assert ends == [b""] * len(silent)


def test_more_associations_than_the_limit_are_rejected_for_now(gateway: Node) -> None:
    """PS3.8 Table 9-21: rejected-transient, local limit exceeded; the sender tries again later."""
    wait_for(lambda: answers(gateway), "a quiet gateway")
    first, second = associate(gateway), associate(gateway)
    third = associate(gateway)
    primitive = third.acceptor.primitive
    for association in (first, second):
        association.release()

    assert third.is_rejected
    assert primitive is not None
    assert (primitive.result, primitive.result_source, primitive.diagnostic) == (2, 3, 2)
    wait_for(lambda: answers(gateway), "room again", patience_s=20)


def test_a_silent_association_is_aborted(gateway: Node) -> None:
    """After `idle_s`: a sender that died without a word does not hold its place for ever."""
    wait_for(lambda: answers(gateway), "a quiet gateway")
    association = associate(gateway)
    established = association.is_established

    wait_for(lambda: not association.is_established, "the abort", patience_s=30)

    assert established
    assert association.is_aborted


def test_an_instance_beyond_the_limit_ends_its_association_and_costs_no_memory(gateway: Node) -> None:
    """`instance_mib`: a definite end instead of memory; what was sent before is kept, and the next is taken."""
    wait_for(lambda: answers(gateway), "a quiet gateway")
    before = resident_mib(process_of(gateway))

    assert store(gateway, 10, 2048) == -1
    assert store(gateway, 11, 64) == 0x0000
    assert resident_mib(process_of(gateway)) - before < GROWTH_MIB


def test_an_announced_pdu_of_four_gigabytes_is_not_waited_for(gateway: Node) -> None:
    """PS3.8 9.3.1: the length is the sender's claim; nothing is set aside for it."""
    wait_for(lambda: answers(gateway), "a quiet gateway")
    before = resident_mib(process_of(gateway))
    with socket.create_connection(("127.0.0.1", gateway_port(gateway)), timeout=20) as liar:
        liar.sendall(b"\x01\x00\xff\xff\xff\xff" + bytes(1024))
        end = _end_of(liar)

    assert end == b""
    assert resident_mib(process_of(gateway)) - before < GROWTH_MIB


def _end_of(connection: socket.socket) -> bytes:
    """Return what comes before the other side hangs up, an A-ABORT left out."""
    content = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(64):
            content += piece
    return content.removeprefix(content[:10]) if content[:1] == b"\x07" else content
