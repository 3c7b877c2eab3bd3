"""Associations that this node asks for: its peer, the limits of its patience, and why one did not come about."""

import queue
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import

from app.delivery.tls import client_context, tls_fault
from app.peer_settings import ClientTls

CONNECTION_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0


class AnswersKept(queue.Queue[Any]):
    """Messages of an association; an answer is left to the one who asked, and waits for it.

    pynetdicom has a thread that takes requests of the peer from this queue without waiting. It pauses while an answer
    is expected, but not at once: a peer that answers within a millisecond had its answer taken by that thread and
    dropped, and the instance was given up after the time limit.
    """

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next message, as `queue.Queue` does; an answer only to one who waits.

        Raises:
            queue.Empty: none came, or the next is an answer.
        """
        message = super().get(block, timeout)
        _, primitive = message
        if not block and getattr(primitive, "MessageIDBeingRespondedTo", None) is not None:
            with self.not_empty:
                self.queue.appendleft(message)
                self.not_empty.notify()
            raise queue.Empty
        return message


@dataclass(frozen=True)
class Peer:
    """An Application Entity to talk to; `tls` is None where it speaks the plain protocol."""

    ae_title: str
    host: str
    port: int
    tls: ClientTls | None = None


def associate(
    peer: Peer,
    contexts: Sequence[PresentationContext],
    *,
    calling_ae_title: str,
    handlers: Sequence[Any] = (),
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Association:
    """Ask a peer for an association; whether it came about is in `is_established`.

    Args:
        peer: whom to ask.
        contexts: presentation contexts to propose.
        calling_ae_title: the title of this node.
        handlers: of pynetdicom's events.
        roles: SCP/SCU roles to propose (PS3.7 D.3.3.4).

    Raises:
        TlsUnusable: a certificate or key of this node cannot be used.
    """
    entity = AE(ae_title=calling_ae_title)
    entity.connection_timeout = CONNECTION_TIMEOUT_S
    entity.acse_timeout = ANSWER_TIMEOUT_S
    entity.dimse_timeout = ANSWER_TIMEOUT_S
    entity.network_timeout = ANSWER_TIMEOUT_S
    entity.maximum_pdu_size = 0
    entity.requested_contexts = list(contexts)
    return entity.associate(
        peer.host,
        peer.port,
        ae_title=peer.ae_title,
        evt_handlers=[(evt.EVT_CONN_OPEN, _prepare), *handlers],
        ext_neg=list(roles),
        tls_args=(client_context(peer.tls), peer.host) if peer.tls is not None else None,
    )


def why_not(association: Association, peer: Peer) -> str:
    """Return why an association was not established, in a sentence."""
    where = f"{peer.ae_title} at {peer.host}:{peer.port}"
    if association.is_rejected:
        return f"{where} rejected the association: is this node's AE title known there?"
    if peer.tls is not None:
        fault = tls_fault(peer.host, peer.port, peer.tls, timeout_s=CONNECTION_TIMEOUT_S)
        if fault is not None:
            return f"{where}: {fault}"
    return f"{where} cannot be reached: is it running, and is the port right?"


def echo(peer: Peer, *, calling_ae_title: str) -> str | None:
    """Ask a peer by C-ECHO whether it is there; return None where it is, else a sentence.

    Raises:
        TlsUnusable: a certificate or key of this node cannot be used.
    """
    association = associate(peer, [build_context(Verification)], calling_ae_title=calling_ae_title)
    if not association.is_established:
        return why_not(association, peer)
    try:
        status = association.send_c_echo()
        return None if status and status.Status == 0 else f"{peer.ae_title} did not answer the C-ECHO"
    finally:
        association.release()


def _prepare(event: Event) -> None:
    """Keep answers for those who asked, before any message comes, and send small pieces at once."""
    event.assoc.dimse.msg_queue = AnswersKept()
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
