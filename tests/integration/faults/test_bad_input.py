"""Bad input: broken and hostile instances, by C-STORE and by `spondyl run`, get a definite answer and hurt nobody."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import pydicom.data
import pytest
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from app.delivery.association import Peer, echo
from app.serve import Node
from tests.hostile import Hostile, hostile
from tests.node import gateway_port, node_settings, running_node

pytestmark = [
    pytest.mark.slow,
    # pynetdicom leaves the socket of a connection that was cut to the garbage collector
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # pydicom's, about what is sent
]

MUTATIONS = 2_000
GATEWAY_GROWTH_MIB = 150
RUN_PEAK_MIB = 2_000
RUN_PATIENCE_S = 900  # two minutes where nothing else runs
ANSWER_WITHIN_S = 30
CUT = -1  # what stands for a status where the association was ended instead
STATUSES = {0x0000, 0xA700, 0xA900, 0xC000, 0x0117, CUT}
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless)
UID_NAME = re.compile(
    r"[0-9][0-9.]{0,63}(\.[0-9a-f]{12}(\.(conflict|replaced))?)?(\.dcm)?|[0-9a-f]{32}(@[0-9a-f]{32})?|[a-z][a-z0-9._-]*(\.[a-z]+)*"
)
TEST_FILES = Path(pydicom.data.__file__).parent


class Sender:
    """Sends encoded data sets as they are, under any SOP Instance UID."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._association: Association | None = None
        self._key: tuple[str, UID] | None = None

    def send(self, instance: Hostile) -> int:
        """Send one instance and return the status of the answer, or CUT."""
        association = self._associated(instance)
        contexts = {context.transfer_syntax[0]: context for context in association.accepted_contexts}
        if instance.transfer_syntax not in contexts:
            return CUT
        request = C_STORE()
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID = instance.sop_class_uid
        request._affected_sop_instance_uid = UID(instance.sop_instance_uid, validation_mode=0)  # past its own check
        request.DataSet = BytesIO(instance.data_set + b"\0" * (len(instance.data_set) % 2))
        context_id = contexts[instance.transfer_syntax].context_id
        assert context_id is not None
        association._reactor_checkpoint.clear()
        while not association._is_paused:  # else the association's own thread may take the answer
            time.sleep(0.0001)
        try:
            association.dimse.send_msg(request, context_id)
            limit = time.monotonic() + ANSWER_WITHIN_S
            answer = None
            while answer is None and association.dul.is_alive() and not association.acse.is_aborted():
                _, answer = association.dimse.get_msg(block=False)
                assert time.monotonic() < limit, f"no answer to {instance.kind}"
                time.sleep(0.0005)
        finally:
            association._reactor_checkpoint.set()
        return CUT if answer is None or answer.Status is None else int(answer.Status)

    def close(self) -> None:
        """Release what is open."""
        if self._association is not None and self._association.is_established:
            self._association.release()

    def _associated(self, instance: Hostile) -> Association:
        key = (instance.sop_class_uid, instance.transfer_syntax)
        known = self._association is not None and self._association.is_established
        if not known or (key != self._key and key[1] not in SYNTAXES):
            self.close()
            entity = AE(ae_title="HOSTILE")
            entity.dimse_timeout = entity.acse_timeout = entity.network_timeout = 30
            entity.requested_contexts = [
                build_context(instance.sop_class_uid, syntax) for syntax in dict.fromkeys((key[1], *SYNTAXES))
            ]
            self._association = entity.associate("127.0.0.1", self._port, ae_title="SPONDYL")
            self._key = key
        assert self._association is not None
        return self._association


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Run a gateway that takes whatever there is room for."""
    settings = node_settings(tmp_path_factory.mktemp("bad") / "storage")
    limits = settings.node.limits.model_copy(update={"minimum_free_mib": 0})
    node = settings.node.model_copy(update={"limits": limits})
    with running_node(settings.model_copy(update={"node": node}), role="gateway") as running:
        yield running


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep no log record of what was sent."""
    caplog.set_level("CRITICAL", "pynetdicom")


def test_two_thousand_hostile_instances_get_a_status_each(gateway: Node) -> None:
    """PS3.4 Table B.2-1: taken or declined with a status of the table; same process, little memory, no stray file."""
    sign = gateway.sign("gateway")
    assert sign is not None
    before = _memory_mib(sign.process_id, "VmRSS")
    sender = Sender(gateway_port(gateway))
    statuses: dict[str, Counter[int]] = {}
    for number in range(MUTATIONS):
        instance = hostile(number)
        statuses.setdefault(instance.kind, Counter())[sender.send(instance)] += 1
    sender.close()
    after = gateway.sign("gateway")

    told = {
        kind: {f"0x{status & 0xFFFF:04X}": count for status, count in each.items()} for kind, each in statuses.items()
    }
    print(json.dumps(told, indent=1))
    assert {status for each in statuses.values() for status in each} <= STATUSES
    assert statuses["truncated"][0xC000] and statuses["hostile UID"][0x0117] and statuses["noise"][0xC000]
    assert after is not None and after.process_id == sign.process_id
    assert _memory_mib(sign.process_id, "VmRSS") - before < GATEWAY_GROWTH_MIB
    assert echo(Peer("SPONDYL", "127.0.0.1", gateway_port(gateway)), calling_ae_title="PACS") is None
    assert list(gateway.layout.arriving.iterdir())
    _assert_names_are_tame(gateway.layout.root)


def test_every_file_of_pydicoms_test_data_gets_a_status(gateway: Node) -> None:
    """Whatever a reader was once broken by: each SOP Class and encoding in an association of its own."""
    sender = Sender(gateway_port(gateway))
    statuses = Counter(sender.send(instance) for instance in _pydicoms_instances())
    sender.close()

    assert set(statuses) <= STATUSES
    assert statuses[0x0000] > 20
    _assert_names_are_tame(gateway.layout.root)


def test_files_that_pydicom_downloads_are_left_out() -> None:
    """They are not in its package; this says how many."""
    with contextlib.suppress(FileNotFoundError):
        listed = json.loads((TEST_FILES / "urls.json").read_text())
        pytest.skip(f"{len(listed)} of pydicom's test files are downloaded on demand, not installed: left out")


def test_run_says_a_sentence_about_each_of_two_thousand_hostile_files(tmp_path: Path) -> None:
    """A run over all of them ends without a traceback, in bounded memory, and its report says why of each."""
    source = tmp_path / "in"
    source.mkdir()
    for number in range(MUTATIONS):
        instance = hostile(number)
        (source / f"{number:04d} {instance.kind}").write_bytes(instance.part10())

    decisions = _assert_run_is_definite(source, tmp_path / "out", MUTATIONS)

    print(decisions)
    assert decisions["spinefm failed"] > MUTATIONS / 10  # pixels that cannot be read
    assert decisions["spinefm refused"] > MUTATIONS / 10  # seen by the networks
    assert decisions["skipped skipped"] > MUTATIONS / 20


def test_run_says_a_sentence_about_every_file_of_pydicoms_test_data(tmp_path: Path) -> None:
    """The files themselves, those that are no DICOM included."""
    source = tmp_path / "in"
    source.mkdir()
    files = _pydicoms_files()
    for number, file in enumerate(files):
        (source / f"{number} {file.name}").symlink_to(file)

    _assert_run_is_definite(source, tmp_path / "out", len(files))


def _assert_run_is_definite(source: Path, out: Path, count: int) -> Counter[str]:
    """Assert that a run tells of each of the files, and return what it decided on those that it could read."""
    peak_mib, status, errors = _run(source, out)
    report = json.loads((out / "report.json").read_text())
    print(f"{count} files: status {status}, peak {peak_mib:.0f} MiB, keys {sorted(report)}")

    assert status in (0, 3, 4), errors[-2000:]
    assert "Traceback" not in errors
    assert 100 < peak_mib < RUN_PEAK_MIB
    series = [each for study in report["studies"] for each in study["series"]]
    told = sum(len(each["sop_instance_uids"]) for each in series) + len(report["faults"]) + len(report["notes"])
    assert told + report["ignored_count"] == count, "a file of which nothing is said"
    assert all(each["reason"] for each in series)
    assert all(fault["sentence"] for fault in report["faults"])
    _assert_names_are_tame(out)
    return Counter(f"{each['decision']} {each['status']}" for each in series)


def _run(source: Path, out: Path) -> tuple[float, int, str]:
    """Run `spondyl run` and return its peak of resident memory in MiB, its exit status and its standard error."""
    program = "from app.cli import main; main()"
    command = [sys.executable, "-c", program, "run", str(source), str(out)]
    environment = {**os.environ, "HOLOSCAN_LOG_LEVEL": "ERROR", "COLUMNS": "200"}
    with (out.parent / "stderr").open("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
        try:
            peak = _peak_mib(process)
        finally:
            process.kill()
            process.wait()
        errors.seek(0)
        return peak, process.returncode, errors.read()


def _peak_mib(process: subprocess.Popen[bytes]) -> float:
    """Wait for a process and return its peak of resident memory as last seen.

    Not ru_maxrss: that of a child holds what its parent had taken before, here a worker's networks.
    """
    peak, until = 0.0, time.monotonic() + RUN_PATIENCE_S
    while process.poll() is None and time.monotonic() < until:
        peak = max(peak, _memory_mib(process.pid, "VmHWM"))
        time.sleep(0.1)
    return peak


def _pydicoms_files() -> list[Path]:
    return sorted(path for path in TEST_FILES.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))


def _pydicoms_instances() -> Sequence[Hostile]:
    """Return the files that have File Meta Information, as they would be sent."""
    instances = []
    for file in _pydicoms_files():
        try:
            meta = read_file_meta_info(file)
            content = file.read_bytes()
            start = 144 + int.from_bytes(content[140:144], "little")
            sop_class = str(meta.get("MediaStorageSOPClassUID", DigitalXRayImageStorageForPresentation))
            uid = str(meta.get("MediaStorageSOPInstanceUID", "1.2.3"))
            instances.append(Hostile(file.name, sop_class, uid, UID(str(meta.TransferSyntaxUID)), content[start:]))
        except Exception:  # no DICOM file: `run` is given it, an SCU cannot send it
            continue
    assert len(instances) > 40
    return instances


def _assert_names_are_tame(root: Path) -> None:
    """Hold every name below a folder to UIDs, job ids and our own words; the node moves them meanwhile."""
    names = set()
    for _, folders, files in os.walk(root):
        names |= {*folders, *(file for file in files if ".dcm" in file)}

    assert [name for name in names if not UID_NAME.fullmatch(name)] == []
    assert not Path("/tmp/spondyl-was-here").exists()


def _memory_mib(process_id: int, field: str) -> float:
    """A field of /proc/<id>/status in MiB; 0 where the process has ended and nobody has waited for it yet."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process_id}/status").read_text().splitlines())
    return int(fields.get(field, "0 kB").split()[0]) / 1024
