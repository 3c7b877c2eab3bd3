"""What can be done with a destination, whichever protocol it speaks: store, ask for proof, see whether it is there."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from pydicom.uid import generate_uid

from app.delivery.association import Peer, echo
from app.delivery.commitment import (
    CommitmentDeclined,
    Offer,
    PeerAway,
    ask_commitment,
    find_instances,
    offers_of,
)
from app.delivery.destinations import Fate
from app.delivery.instances import InstanceOutcome, InstanceToSend
from app.delivery.storage_scu import store
from app.delivery.stow import JSON, query_over_web, store_over_web
from app.delivery.tls import TlsUnusable
from app.delivery.web import DENIED_WORDS, WebFault, ask
from app.jobs.commitments import CommitmentRecords
from app.peer_settings import Destination, WebDestination
from models.errors import SpondylError

ASK_AGAIN_AFTER_S = 6 * 3600.0  # a destination that has not answered a request for commitment is asked once more


@dataclass(frozen=True)
class Proof:
    """What is known about whether a destination keeps what it has stored.

    state: `proven`; `trusted` (the settings believe its statuses); `waiting` (it may still come); `missing` (it has
        not kept everything); `unavailable` (it offers no way to tell).
    sentence: the same in words.
    missing: SOP Instance UIDs that it does not have.
    transaction_uid, asked_at: of the request for Storage Commitment that waits, seconds since the epoch.
    """

    state: Literal["proven", "trusted", "waiting", "missing", "unavailable"]
    sentence: str
    missing: tuple[str, ...] = ()
    transaction_uid: str = ""
    asked_at: float = 0.0


def store_at(
    destination: Destination | WebDestination,
    instances: Sequence[InstanceToSend],
    *,
    calling_ae_title: str,
    on_outcome: Callable[[InstanceOutcome], None] = lambda _outcome: None,
) -> tuple[InstanceOutcome, ...]:
    """Send instances to a destination and return what became of each, in order."""
    try:
        if isinstance(destination, WebDestination):
            return store_over_web(instances, destination, on_outcome=on_outcome)
        return store(instances, peer_of(destination), calling_ae_title=calling_ae_title, on_outcome=on_outcome)
    except TlsUnusable as fault:  # an administrator will mend the file: until then nothing is lost
        return tuple(InstanceOutcome(each.sop_instance_uid, Fate.POSTPONED, str(fault)) for each in instances)


def prove_at(
    destination: Destination | WebDestination,
    instances: Sequence[InstanceToSend],
    earlier: Proof | None,
    *,
    calling_ae_title: str,
    records: CommitmentRecords,
) -> Proof:
    """Ask a destination whether it keeps what it has stored.

    Args:
        destination: whom to ask.
        instances: what it has stored.
        earlier: what was found the last time, if that was `waiting`.
        calling_ae_title: the title of this node.
        records: where answers to requests for Storage Commitment arrive.
    """
    if destination.proof == "none":
        return Proof("trusted", "its statuses are believed")
    try:
        if isinstance(destination, WebDestination):
            return _read_back(instances, query_over_web(instances, destination), "QIDO-RS")
        return _prove_at_peer(destination, instances, earlier, calling_ae_title, records)
    except (PeerAway, WebFault, TlsUnusable) as fault:
        if earlier is not None and earlier.transaction_uid:
            return Proof("waiting", str(fault), (), earlier.transaction_uid, earlier.asked_at)
        return Proof("waiting", str(fault))


def reach(destination: Destination | WebDestination, *, calling_ae_title: str) -> str | None:
    """Return why a destination cannot be used, or None where it answers (C-ECHO, or a query for one study)."""
    try:
        if isinstance(destination, Destination):
            return echo(peer_of(destination), calling_ae_title=calling_ae_title)
        answer = ask(destination, "GET", "/studies?limit=1", headers={"Accept": JSON})
    except SpondylError as fault:
        return str(fault)
    if answer.status in (200, 204):
        return None
    return f"{destination.url} {DENIED_WORDS.get(answer.status, 'answered')} (a query, {answer.status})"


def proof_fault(destination: Destination | WebDestination, *, calling_ae_title: str) -> str | None:
    """Return why nothing that this destination stores could be proven, or None where it could."""
    if destination.proof in ("none", "qido-rs") or isinstance(destination, WebDestination):
        return None
    try:
        offers = offers_of(peer_of(destination), calling_ae_title=calling_ae_title)
    except SpondylError as fault:
        return str(fault)
    return None if _chosen(destination, offers) else _unavailable(destination)


def peer_of(destination: Destination) -> Peer:
    """Return the Application Entity of a destination."""
    return Peer(destination.ae_title, destination.host, destination.port, destination.tls)


def _prove_at_peer(
    destination: Destination,
    instances: Sequence[InstanceToSend],
    earlier: Proof | None,
    calling_ae_title: str,
    records: CommitmentRecords,
) -> Proof:
    peer = peer_of(destination)
    if earlier is not None and earlier.transaction_uid:
        known = _answered(instances, earlier, records, _patience_s(destination))
        if known is not None:
            return known
        records.forget([earlier.transaction_uid])
        if destination.proof == "auto":
            minutes = f"{destination.commitment_minutes:g} min"
            silence = f"{peer.ae_title} has not reported on Storage Commitment in {minutes}"
            return _without_commitment(destination, instances, silence, calling_ae_title)
    offer = _chosen(destination, offers_of(peer, calling_ae_title=calling_ae_title))
    if offer is None:
        return Proof("unavailable", _unavailable(destination))
    if offer is Offer.FIND:
        return _read_back(instances, find_instances(instances, peer, calling_ae_title=calling_ae_title), "C-FIND")
    now = time.time()
    sentence = f"asked {peer.ae_title} for Storage Commitment at {datetime.fromtimestamp(now, UTC):%H:%M} UTC"
    asked = Proof("waiting", sentence, (), str(generate_uid(prefix=None)), now)
    records.expect(asked.transaction_uid)
    try:
        ask_commitment(
            instances,
            peer,
            calling_ae_title=calling_ae_title,
            transaction_uid=asked.transaction_uid,
            listener=records.record,
        )
    except CommitmentDeclined as fault:
        records.forget([asked.transaction_uid])
        if destination.proof != "auto":
            raise
        return _without_commitment(destination, instances, str(fault), calling_ae_title)
    return _answered(instances, asked, records, _patience_s(destination)) or asked


def _patience_s(destination: Destination) -> float:
    """Return how long a report is waited for before something else is done: another proof, or the same question."""
    return destination.commitment_minutes * 60 if destination.proof == "auto" else ASK_AGAIN_AFTER_S


def _without_commitment(
    destination: Destination, instances: Sequence[InstanceToSend], why: str, calling_ae_title: str
) -> Proof:
    """Prove by C-FIND where it is offered, else say that nothing can be proven."""
    peer = peer_of(destination)
    if Offer.FIND not in offers_of(peer, calling_ae_title=calling_ae_title):
        return Proof("unavailable", f"{why}, and offers no C-FIND; `proof: none` would believe its statuses")
    found = _read_back(instances, find_instances(instances, peer, calling_ae_title=calling_ae_title), "C-FIND")
    return replace(found, sentence=f"{found.sentence} ({why})")


def _answered(
    instances: Sequence[InstanceToSend], asked: Proof, records: CommitmentRecords, patience_s: float
) -> Proof | None:
    """Return what an answer says, the request itself while there is time, or None where it has come to nothing."""
    answer = records.answer(asked.transaction_uid)
    if answer is None:
        waited = time.time() - asked.asked_at
        if waited < 0:  # the clock was set back: the patience begins anew, else it would last until that time comes
            return replace(asked, asked_at=time.time())
        return asked if waited < patience_s else None
    records.forget([asked.transaction_uid])
    return _read_back(instances, frozenset(answer.kept), "Storage Commitment")


def _read_back(instances: Sequence[InstanceToSend], kept: frozenset[str], means: str) -> Proof:
    missing = tuple(each.sop_instance_uid for each in instances if each.sop_instance_uid not in kept)
    if missing:
        return Proof("missing", f"{means}: {len(missing)} of {len(instances)} are not kept", missing)
    return Proof("proven", f"kept, by {means}")


def _chosen(destination: Destination, offers: Sequence[Offer]) -> Offer | None:
    return next((offer for offer in offers if destination.proof in ("auto", offer.value)), None)


def _unavailable(destination: Destination) -> str:
    wanted = "Storage Commitment nor C-FIND" if destination.proof == "auto" else destination.proof
    neither = "neither" if destination.proof == "auto" else "no"
    return f"{destination.ae_title} offers {neither} {wanted}; `proof: none` would believe its statuses"
