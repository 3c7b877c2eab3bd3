"""Storage Commitment and C-FIND: does an Application Entity really keep what it has accepted?

Storage Commitment (PS3.4 annex J): N-ACTION asks, N-EVENT-REPORT answers, on the same association or on a later one
that the destination opens to the Storage SCP of this node.
"""

import threading
from collections.abc import Callable, Sequence
from enum import StrEnum

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from app.delivery.association import Peer, associate, why_not
from app.delivery.instances import InstanceToSend
from app.jobs.commitments import INVALID_ARGUMENT, NO_SUCH_INSTANCE, SUCCESS, Commitment, read_report
from models.errors import SpondylError

COMMITMENT_INSTANCE = UID("1.2.840.10008.1.20.1.1")  # PS3.4 J.3.5: the well-known SOP Instance
_REQUEST_COMMITMENT = 1
_PENDING = (0xFF00, 0xFF01)
SAME_ASSOCIATION_WAIT_S = 2.0

# Told of (Transaction UID, answer); returns whether it was asked for.
Listener = Callable[[str, Commitment], bool]


class PeerAway(SpondylError):
    """The destination could not be asked; trying again may help."""


class CommitmentDeclined(PeerAway):
    """The destination declines a request for Storage Commitment, or does not answer it; another proof may do."""


class Offer(StrEnum):
    """What a destination offers by which the keeping of instances can be proven."""

    COMMITMENT = "storage-commitment"
    FIND = "c-find"


def offers_of(peer: Peer, *, calling_ae_title: str) -> tuple[Offer, ...]:
    """Return what a destination offers, the stronger first.

    Raises:
        PeerAway: it cannot be asked.
    """
    # With Verification, which everybody offers: else a peer that offers neither would look like one that is away.
    proposed = (StorageCommitmentPushModel, StudyRootQueryRetrieveInformationModelFind, Verification)
    association = _open(peer, calling_ae_title, proposed)
    accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
    association.release()
    wanted = {
        Offer.COMMITMENT: StorageCommitmentPushModel,
        Offer.FIND: StudyRootQueryRetrieveInformationModelFind,
    }
    return tuple(offer for offer, sop_class in wanted.items() if str(sop_class) in accepted)


def ask_commitment(
    instances: Sequence[InstanceToSend], peer: Peer, *, calling_ae_title: str, transaction_uid: str, listener: Listener
) -> None:
    """Ask a destination to commit itself to keep instances; wait a moment for an answer on the same association.

    Args:
        instances: what it has stored.
        peer: the destination.
        calling_ae_title: the title of this node.
        transaction_uid: of this request.
        listener: told of the answer if it comes at once.

    Raises:
        CommitmentDeclined: it declines the request, or does not answer it.
        PeerAway: it cannot be asked.
    """
    answered = threading.Event()

    def hear(event: Event) -> tuple[int, None]:
        try:
            transaction, answer = read_report(event.event_information)
        except Exception:  # whatever a malformed report makes a decoder raise
            return INVALID_ARGUMENT, None
        known = listener(transaction, answer)
        answered.set()
        return SUCCESS if known else NO_SUCH_INSTANCE, None

    association = _open(peer, calling_ae_title, (StorageCommitmentPushModel,), [(evt.EVT_N_EVENT_REPORT, hear)])
    try:
        status, _ = association.send_n_action(
            _request(instances, transaction_uid), _REQUEST_COMMITMENT, StorageCommitmentPushModel, COMMITMENT_INSTANCE
        )
        if status is None or "Status" not in status or status.Status != 0:
            words = f"0x{status.Status:04X}" if status and "Status" in status else "no answer"
            raise CommitmentDeclined(f"{peer.ae_title} declined the request for Storage Commitment ({words})")
        answered.wait(SAME_ASSOCIATION_WAIT_S)
    finally:
        if association.is_established:
            association.release()


def find_instances(instances: Sequence[InstanceToSend], peer: Peer, *, calling_ae_title: str) -> frozenset[str]:
    """Return which of the instances a destination has, asked by C-FIND series by series (PS3.4 C.4.1).

    Raises:
        PeerAway: it cannot be asked, or did not answer to the end.
    """
    association = _open(peer, calling_ae_title, (StudyRootQueryRetrieveInformationModelFind,))
    kept: set[str] = set()
    try:
        for study, series in sorted({(each.study_instance_uid, each.series_instance_uid) for each in instances}):
            kept |= set(_instances_of(association, study, series, peer))
    finally:
        if association.is_established:
            association.release()
    return frozenset(kept & {each.sop_instance_uid for each in instances})


def _instances_of(association: Association, study: str, series: str, peer: Peer) -> list[str]:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = study
    query.SeriesInstanceUID = series
    query.SOPInstanceUID = ""
    found: list[str] = []
    final = None
    for status, identifier in association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind):
        final = status.get("Status")
        if final in _PENDING and identifier is not None:
            found.append(str(identifier.get("SOPInstanceUID", "")))
    if final != 0x0000:
        raise PeerAway(f"{peer.ae_title} did not answer the C-FIND to the end")
    return found


def _request(instances: Sequence[InstanceToSend], transaction_uid: str) -> Dataset:
    request = Dataset()
    request.TransactionUID = transaction_uid
    request.ReferencedSOPSequence = []
    for instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID = instance.sop_class_uid
        item.ReferencedSOPInstanceUID = instance.sop_instance_uid
        request.ReferencedSOPSequence.append(item)
    return request


def _open(
    peer: Peer, calling_ae_title: str, sop_classes: Sequence[UID], handlers: Sequence[object] = ()
) -> Association:
    contexts = [build_context(sop_class) for sop_class in sop_classes]
    association = associate(peer, contexts, calling_ae_title=calling_ae_title, handlers=handlers)
    if not association.is_established:
        raise PeerAway(why_not(association, peer))
    return association
