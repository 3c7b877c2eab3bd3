"""The Storage SCU: sends files by C-STORE and says for each instance what became of it.

An instance that the receiver has no presentation context for is refused by name; the others are stored.
"""

from collections.abc import Callable, Iterator, Sequence

from pydicom import Dataset, dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from app.delivery.association import ANSWER_TIMEOUT_S, Peer, associate, why_not
from app.delivery.destinations import Fate, fate_of_status
from app.delivery.instances import ENCODING_FAULTS, InstanceOutcome, InstanceToSend, decompressed

MAXIMUM_CONTEXTS = 128  # PS3.8 section 9.3.2.2: identifiers are the odd numbers from 1 to 255
_UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


def store(
    instances: Sequence[InstanceToSend],
    peer: Peer,
    *,
    calling_ae_title: str,
    on_outcome: Callable[[InstanceOutcome], None] = lambda _outcome: None,
) -> tuple[InstanceOutcome, ...]:
    """Send instances by C-STORE.

    Args:
        instances: what to send, from `read_instances`.
        peer: the receiver.
        calling_ae_title: the title of this node.
        on_outcome: told of each instance as soon as its fate is known.

    Returns:
        An outcome per instance, in order of `instances`.

    Raises:
        TlsUnusable: a certificate or key of this node cannot be used.
    """
    outcomes: list[InstanceOutcome] = []
    for batch in _batches(instances):
        for outcome in _store_batch(batch, peer, calling_ae_title):
            outcomes.append(outcome)
            on_outcome(outcome)
    by_uid = {outcome.sop_instance_uid: outcome for outcome in outcomes}
    return tuple(by_uid[instance.sop_instance_uid] for instance in instances)


def _batches(instances: Sequence[InstanceToSend]) -> Iterator[list[InstanceToSend]]:
    """Cut the instances where an association would need more contexts than there are."""
    batch: list[InstanceToSend] = []
    contexts: set[tuple[str, UID]] = set()
    for instance in instances:
        needed = contexts | {(instance.sop_class_uid, instance.transfer_syntax)}
        # each pair may ask for an uncompressed context of its SOP class too
        if len(needed) + len({sop_class for sop_class, _ in needed}) > MAXIMUM_CONTEXTS:
            yield batch
            batch, needed = [], {(instance.sop_class_uid, instance.transfer_syntax)}
        batch.append(instance)
        contexts = needed
    if batch:
        yield batch


def _contexts(instances: Sequence[InstanceToSend]) -> list[PresentationContext]:
    """Propose each encoding in a context of its own, and the uncompressed ones for every SOP class."""
    pairs = {(i.sop_class_uid, i.transfer_syntax): None for i in instances if i.transfer_syntax not in _UNCOMPRESSED}
    classes = dict.fromkeys(i.sop_class_uid for i in instances)
    return [build_context(sop_class, syntax) for sop_class, syntax in pairs] + [
        build_context(sop_class, list(_UNCOMPRESSED)) for sop_class in classes
    ]


def _store_batch(instances: Sequence[InstanceToSend], peer: Peer, calling_ae_title: str) -> Iterator[InstanceOutcome]:
    association = associate(peer, _contexts(instances), calling_ae_title=calling_ae_title)
    if not association.is_established:
        sentence = why_not(association, peer)
        yield from (InstanceOutcome(i.sop_instance_uid, Fate.POSTPONED, sentence) for i in instances)
        return
    try:
        for message_id, instance in enumerate(instances, start=1):
            yield _store_one(association, instance, peer, message_id % 0xFFFF)
    finally:
        if association.is_established:
            association.release()


def _store_one(association: Association, instance: InstanceToSend, peer: Peer, message_id: int) -> InstanceOutcome:
    uid = instance.sop_instance_uid
    accepted = {
        context.transfer_syntax[0]
        for context in association.accepted_contexts
        if context.abstract_syntax == instance.sop_class_uid
    }
    if not association.is_established:
        return InstanceOutcome(uid, Fate.POSTPONED, f"{peer.ae_title} ended the association")
    if not accepted:
        name = UID(instance.sop_class_uid).name
        return InstanceOutcome(uid, Fate.REFUSED, f"{peer.ae_title} accepts no presentation context for {name}")
    try:
        data_set = _encoded_for(instance, accepted)
    except ENCODING_FAULTS as fault:
        reason = f"cannot be encoded in a transfer syntax that {peer.ae_title} accepts ({type(fault).__name__})"
        return InstanceOutcome(uid, Fate.REFUSED, reason)
    try:
        answer = association.send_c_store(data_set, msg_id=message_id)
    except ValueError as fault:
        return InstanceOutcome(uid, Fate.REFUSED, f"cannot be sent to {peer.ae_title} ({type(fault).__name__})")
    except RuntimeError:  # the peer has gone since the check above
        return InstanceOutcome(uid, Fate.POSTPONED, f"{peer.ae_title} ended the association")
    if "Status" not in answer:
        return InstanceOutcome(uid, Fate.POSTPONED, f"{peer.ae_title} did not answer within {ANSWER_TIMEOUT_S:.0f} s")
    fate, sentence = fate_of_status(answer.Status)
    return InstanceOutcome(uid, fate, f"{peer.ae_title}: {sentence}")


def _encoded_for(instance: InstanceToSend, accepted: set[UID]) -> Dataset:
    if instance.transfer_syntax.is_compressed and instance.transfer_syntax not in accepted:
        return decompressed(instance)
    return dcmread(instance.path)
