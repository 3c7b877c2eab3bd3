"""Proof that a destination keeps what it has stored: Storage Commitment, C-FIND, and what is made of the answers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from app.delivery import channels
from app.delivery.channels import Proof, prove_at
from app.delivery.instances import InstanceToSend, read_instances
from app.jobs.commitments import Commitment, CommitmentRecords
from app.jobs.layout import StorageLayout
from app.settings import Destination
from tests.made_dicom import made_dx


@dataclass
class Archive:
    """A peer that keeps some instances and says so in the ways it offers.

    keeps: SOP Instance UIDs. answers: whether it reports on the association of the request.
    transactions: Transaction UIDs it was asked for.
    """

    keeps: Sequence[str]
    answers: bool = True
    transactions: list[str] = field(default_factory=list)
    status: int = 0x0000

    def action(self, event: Event) -> tuple[int, None]:
        """Answer a request for commitment (PS3.4 J.3.2), and report at once where wanted."""
        request = event.action_information
        self.transactions.append(str(request.TransactionUID))
        if self.status != 0x0000:
            return self.status, None
        if self.answers:
            report = Dataset()
            report.TransactionUID = request.TransactionUID
            asked = {str(item.ReferencedSOPInstanceUID): item for item in request.ReferencedSOPSequence}
            report.ReferencedSOPSequence = [item for uid, item in asked.items() if uid in self.keeps]
            lost = [item for uid, item in asked.items() if uid not in self.keeps]
            for item in lost:
                item.FailureReason = 0x0112
            if lost:
                report.FailedSOPSequence = lost
            event.assoc.send_n_event_report(
                report, 2 if lost else 1, StorageCommitmentPushModel, UID("1.2.840.10008.1.20.1.1")
            )
        return 0x0000, None

    def find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        """Answer a query for the instances of a series."""
        assert event.identifier.QueryRetrieveLevel == "IMAGE"
        for uid in self.keeps:
            found = Dataset()
            found.QueryRetrieveLevel = "IMAGE"
            found.SOPInstanceUID = uid
            yield 0xFF00, found


@contextmanager
def running(archive: Archive, *sop_classes: UID, proof: str = "auto") -> Iterator[Destination]:
    """Run the archive with some services."""
    entity = AE(ae_title="ARCHIVE")
    for sop_class in (Verification, *sop_classes):
        entity.add_supported_context(sop_class)
    handlers: list[Any] = [(evt.EVT_N_ACTION, archive.action), (evt.EVT_C_FIND, archive.find)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    port = server.server_address[1]
    try:
        yield Destination(name="archive", ae_title="ARCHIVE", host="127.0.0.1", port=port, proof=proof)  # type: ignore[arg-type]
    finally:
        server.shutdown()


@pytest.fixture
def records(tmp_path: Path) -> CommitmentRecords:
    """Return where answers are kept."""
    return CommitmentRecords(StorageLayout(tmp_path))


@pytest.fixture
def instances(tmp_path: Path) -> tuple[InstanceToSend, ...]:
    """Return two instances."""
    for number in (1, 2):
        file = tmp_path / f"{number}.dcm"
        made_dx(np.eye(8), study="proof", instance_number=number).save_as(file, enforce_file_format=True)
    return read_instances([tmp_path / "1.dcm", tmp_path / "2.dcm"])


def prove(to: Destination, instances: Sequence[InstanceToSend], records: CommitmentRecords, *earlier: Proof) -> Proof:
    """Ask for proof."""
    return prove_at(to, instances, earlier[0] if earlier else None, calling_ae_title="SPONDYL", records=records)


def test_a_commitment_on_the_same_association_is_proof(
    instances: tuple[InstanceToSend, ...], records: CommitmentRecords
) -> None:
    """PS3.4 J.3.3: the report may come before the association is released; nothing of it is left over."""
    archive = Archive([each.sop_instance_uid for each in instances])
    with running(archive, StorageCommitmentPushModel, StudyRootQueryRetrieveInformationModelFind) as destination:
        proof = prove(destination, instances, records)

    assert (proof.state, proof.sentence) == ("proven", "kept, by Storage Commitment")
    assert records.answer(archive.transactions[0]) is None


def test_what_a_destination_does_not_commit_itself_to_is_missing(
    instances: tuple[InstanceToSend, ...], records: CommitmentRecords
) -> None:
    """PS3.4 J.3.3.1: Failed SOP Sequence; those instances are sent again."""
    archive = Archive([instances[0].sop_instance_uid])
    with running(archive, StorageCommitmentPushModel) as destination:
        proof = prove(destination, instances, records)

    assert (proof.state, proof.missing) == ("missing", (instances[1].sop_instance_uid,))


def test_a_commitment_on_a_later_association_is_waited_for(
    instances: tuple[InstanceToSend, ...], records: CommitmentRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway writes it down when it comes; nobody is asked twice meanwhile, unless it is very late."""
    monkeypatch.setattr("app.delivery.commitment.SAME_ASSOCIATION_WAIT_S", 0.01)
    archive = Archive([], answers=False)
    with running(archive, StorageCommitmentPushModel, proof="storage-commitment") as destination:
        asked = prove(destination, instances, records)
        still = prove(destination, instances, records, asked)
        monkeypatch.setattr(channels, "ASK_AGAIN_AFTER_S", -1.0)
        again = prove(destination, instances, records, still)
    records.record(again.transaction_uid, Commitment(tuple(each.sop_instance_uid for each in instances), {}))

    assert still == asked
    assert archive.transactions == [asked.transaction_uid, again.transaction_uid]
    assert prove(destination, instances, records, again).state == "proven"


@pytest.mark.parametrize(("offers_find", "state"), [(True, "proven"), (False, "unavailable")])
def test_a_report_that_does_not_come_in_time_is_replaced_by_a_query(
    instances: tuple[InstanceToSend, ...],
    records: CommitmentRecords,
    monkeypatch: pytest.MonkeyPatch,
    offers_find: bool,
    state: str,
) -> None:
    """Some archives accept the request and never report: with `auto` the job does not wait for ever."""
    monkeypatch.setattr("app.delivery.commitment.SAME_ASSOCIATION_WAIT_S", 0.01)
    archive = Archive([each.sop_instance_uid for each in instances], answers=False)
    services = [StorageCommitmentPushModel, *([StudyRootQueryRetrieveInformationModelFind] if offers_find else [])]
    with running(archive, *services) as destination:
        asked = prove(destination, instances, records)
        still = prove(destination, instances, records, asked)
        late = replace(asked, asked_at=asked.asked_at - 60 * destination.commitment_minutes - 1)
        proof = prove(destination, instances, records, late)

    assert still == asked
    assert asked.sentence.startswith("asked ARCHIVE for Storage Commitment at ")
    assert proof.state == state
    assert "has not reported on Storage Commitment in 20 min" in proof.sentence
    assert records.answer(asked.transaction_uid) is None
    assert len(archive.transactions) == 1


def test_a_clock_that_was_set_back_begins_the_patience_anew(
    instances: tuple[InstanceToSend, ...], records: CommitmentRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a report that never comes would be waited for until the time of the request comes again."""
    monkeypatch.setattr("app.delivery.commitment.SAME_ASSOCIATION_WAIT_S", 0.01)
    with running(Archive([], answers=False), StorageCommitmentPushModel) as destination:
        asked = prove(destination, instances, records)
        ahead = replace(asked, asked_at=asked.asked_at + 86_400)
        still = prove(destination, instances, records, ahead)

    assert still.transaction_uid == asked.transaction_uid
    assert asked.asked_at <= still.asked_at < ahead.asked_at


@pytest.mark.parametrize("status", [0x0110, 0x0112])
def test_a_declined_request_is_replaced_by_a_query(
    instances: tuple[InstanceToSend, ...], records: CommitmentRecords, status: int
) -> None:
    """C-FIND is offered, and proves it; a job must not ask for ever."""
    archive = Archive([each.sop_instance_uid for each in instances], status=status)
    both = (StorageCommitmentPushModel, StudyRootQueryRetrieveInformationModelFind)
    with running(archive, *both) as destination:
        proof = prove(destination, instances, records)

    assert proof.state == "proven"
    assert proof.sentence.startswith("kept, by C-FIND (ARCHIVE declined the request for Storage Commitment")


def test_without_storage_commitment_a_query_is_proof(
    instances: tuple[InstanceToSend, ...], records: CommitmentRecords
) -> None:
    """PS3.4 C.4.1: read back on the level of images; what the query does not find is missing."""
    archive = Archive([instances[0].sop_instance_uid])
    with running(archive, StudyRootQueryRetrieveInformationModelFind) as destination:
        missing = prove(destination, instances, records)
        proof = prove(destination, instances[:1], records)

    assert (missing.state, missing.missing) == ("missing", (instances[1].sop_instance_uid,))
    assert (proof.state, proof.sentence) == ("proven", "kept, by C-FIND")


@pytest.mark.parametrize(
    ("wanted", "state", "sentence"),
    [
        ("auto", "unavailable", "neither Storage Commitment nor C-FIND"),
        ("storage-commitment", "unavailable", "no storage-commitment"),
        ("none", "trusted", "believed"),
    ],
)
def test_a_destination_that_offers_no_proof_is_said_to_do_so(
    instances: tuple[InstanceToSend, ...], records: CommitmentRecords, wanted: str, state: str, sentence: str
) -> None:
    """Nothing is taken for proven silently: believing the statuses is a setting."""
    with running(Archive([]), proof=wanted) as destination:
        proof = prove(destination, instances, records)

    assert proof.state == state
    assert sentence in proof.sentence


def test_an_answer_that_nobody_asked_for_is_not_kept(records: CommitmentRecords) -> None:
    """Neither a stranger's transaction nor a path in the place of a UID leaves a file."""
    records.expect("1.2.3")

    assert not records.record("1.2.4", Commitment((), {}))
    assert not records.record("../../outside", Commitment((), {}))
    assert records.record("1.2.3", Commitment(("1.2.5",), {"1.2.6": 0x0112}))
    assert records.answer("1.2.3") == Commitment(("1.2.5",), {"1.2.6": 0x0112})
