"""The Storage SCP: what its answers say, over real associations on this machine."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import

from app.delivery.association import Peer, echo
from app.gateway.inbox import Inbox
from app.gateway.instance import InboxRefusal
from app.gateway.ports import port_fault
from app.gateway.storage_scp import STATUS_FOR, StorageScp, start_storage_scp
from app.jobs.commitments import CommitmentRecords
from app.jobs.layout import StorageLayout
from app.peer_settings import Limits
from app.settings import Node
from tests.made_dicom import made_dx

JPEGXLLossless = UID("1.2.840.10008.1.2.4.110")


class Running:
    """A Storage SCP with its inbox."""

    def __init__(self, root: Path, node: Node | None = None, *, minimum_free_bytes: int = 0) -> None:
        self.layout = StorageLayout(root)
        self.layout.create()
        self.inbox = Inbox(self.layout, quiet_s=60, minimum_free_bytes=minimum_free_bytes)
        self.commitments = CommitmentRecords(self.layout)
        self.scp: StorageScp = start_storage_scp(self.inbox, node or Node(port=0), commitments=self.commitments)

    def associate(self, sop_class: UID | str, syntax: UID = ExplicitVRLittleEndian) -> Association:
        """Return an association that asks for one presentation context."""
        entity = AE(ae_title="PACS")
        entity.add_requested_context(sop_class, syntax)
        return entity.associate(*self.scp.address, ae_title="SPONDYL")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Return an SCP that listens."""
    running = Running(tmp_path / "storage")
    yield running
    running.scp.stop()


def radiograph() -> FileDataset:
    """Return a small radiograph."""
    return made_dx(np.zeros((4, 4)))


def status_of(running: Running, dataset: FileDataset, sop_class: UID | str | None = None) -> int:
    """Send one data set and return the status that comes back."""
    association = running.associate(sop_class or dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    try:
        return int(association.send_c_store(dataset).Status)
    finally:
        association.release()


def test_an_instance_that_is_kept_is_answered_with_success(running: Running) -> None:
    """PS3.4 Table B.2-1: 0x0000, and only once the inbox has it."""
    assert status_of(running, radiograph()) == 0x0000
    assert len(list(running.layout.arriving.rglob("*.dcm"))) == 1


def test_a_released_association_completes_a_radiograph(running: Running) -> None:
    """The end of the association reaches the inbox, not only the instances."""
    status_of(running, radiograph())

    assert running.inbox.changed.wait(5)
    limit = 200
    while not (taken := running.inbox.take_complete()) and limit:
        running.inbox.changed.wait(0.05)
        limit -= 1
    assert [each.job.calling_ae_title for each in taken] == ["PACS"]


def test_a_full_disk_is_answered_with_out_of_resources(tmp_path: Path) -> None:
    """PS3.4 Table B.2-1: 0xA700; the sender keeps its copy and tries again."""
    running = Running(tmp_path / "storage", minimum_free_bytes=1 << 60)
    try:
        assert status_of(running, radiograph()) == 0xA700
    finally:
        running.scp.stop()


def test_a_data_set_without_identifiers_is_answered_with_cannot_understand(running: Running) -> None:
    """PS3.4 Table B.2-1: 0xC000."""
    assert status_of(running, made_dx(np.zeros((4, 4)), without=["StudyInstanceUID"])) == 0xC000


def test_every_refusal_of_the_inbox_has_a_failure_status() -> None:
    """A new kind of refusal needs a row in the table."""
    kinds = set(InboxRefusal.__subclasses__())

    assert set(STATUS_FOR) == kinds
    assert all(status not in (0x0000, 0xB000) for status in STATUS_FOR.values())


@pytest.mark.parametrize(
    "sop_class",
    [
        "1.2.840.10008.5.1.4.1.1.1",
        "1.2.840.10008.5.1.4.1.1.1.1",
        "1.2.840.10008.5.1.4.1.1.1.1.1",
        "1.2.840.10008.5.1.4.1.1.4",
        "1.2.840.10008.5.1.4.1.1.4.1",
        "1.2.840.10008.5.1.4.1.1.7",
        "1.2.840.10008.5.1.4.1.1.66.4",
        "1.2.840.10008.5.1.4.1.1.88.34",
        CTImageStorage,
    ],
    ids=["CR", "DX", "DX for processing", "MR", "enhanced MR", "SC", "SEG", "SR", "CT"],
)
def test_every_class_of_a_spine_study_is_accepted_compressed_too(running: Running, sop_class: str) -> None:
    """What a PACS routes with a study must not make the association fail."""
    association = running.associate(sop_class, JPEG2000Lossless)
    established = association.is_established
    association.abort()

    assert established


@pytest.mark.parametrize(
    ("proposed", "taken"),
    [
        ([JPEGXLLossless], None),
        ([JPEGXLLossless, ImplicitVRLittleEndian], ImplicitVRLittleEndian),
        ([ImplicitVRLittleEndian, ExplicitVRLittleEndian], ExplicitVRLittleEndian),
        ([ImplicitVRLittleEndian, JPEG2000Lossless], JPEG2000Lossless),
    ],
    ids=["nothing decodes it", "beside another", "explicit VR", "compressed"],
)
def test_a_context_gets_the_syntax_that_keeps_most(running: Running, proposed: list[UID], taken: UID | None) -> None:
    """PS3.8 section 9.3.3.2: the acceptor chooses, and says 4 where it takes none of them."""
    entity = AE(ae_title="PACS")
    entity.add_requested_context(CTImageStorage, proposed)
    entity.add_requested_context(Verification)
    association = entity.associate(*running.scp.address, ae_title="SPONDYL")
    accepted = {each.abstract_syntax: each.transfer_syntax for each in association.accepted_contexts}
    results = [each.result for each in association.rejected_contexts]
    association.release()

    assert accepted.get(CTImageStorage) == (None if taken is None else [taken])
    assert results == ([] if taken else [4])


def test_a_c_echo_is_answered(running: Running) -> None:
    """PS3.4 A.4: the Verification service, with which an administrator tries the connection."""
    host, port = running.scp.address

    assert echo(Peer("SPONDYL", host, port), calling_ae_title="PACS") is None


def test_a_taken_port_is_named(running: Running) -> None:
    """`spondyl check` says which address is not to be had."""
    host, port = running.scp.address

    assert f"{host}:{port}" in (port_fault(host, port) or "")
    assert port_fault(host, 0) is None


def test_as_many_associations_are_let_in_as_the_settings_say(tmp_path: Path) -> None:
    """`node.limits.associations`, and not what the library allows by itself."""
    running = Running(tmp_path / "storage", Node(port=0, limits=Limits(associations=14)))
    try:
        associations = [running.associate(CTImageStorage) for _ in range(15)]
        established = [association.is_established for association in associations]
        for association in associations:
            association.abort()
    finally:
        running.scp.stop()

    assert established == [True] * 14 + [False]
