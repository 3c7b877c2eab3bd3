"""The Storage SCP: one handler decides on each instance; its answer is a row of a table."""

import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StorageCommitmentPushModel,
    Verification,
)
from pynetdicom.transport import AddressInformation

from app.gateway.access import Access
from app.gateway.inbox import Inbox, ReceivedInstance
from app.gateway.instance import (
    DataSetMismatch,
    DataSetUnreadable,
    InboxFull,
    InboxRefusal,
    UnsafeUID,
)
from app.gateway.kept_file import file_meta
from app.gateway.listener import GuardedHandler, Listener
from app.gateway.spool import IN_MEMORY_BYTES, InFlight
from app.gateway.store_message import C_STORE_REQUEST, StoreRequest
from app.gateway.tls import server_context
from app.gateway.transfer_syntaxes import accepted_for, preferred
from app.gateway.upper_layer import GuardedSocket, IncomingInstance, OneThreadAssociation
from app.jobs.commitments import INVALID_ARGUMENT, NO_SUCH_INSTANCE, SUCCESS, CommitmentRecords, read_report
from app.logs import get_logger
from app.settings import Node

# PS3.4 Table B.2-1 names 0xA7xx, 0xA9xx and 0xCxxx; PS3.7 C.5.7 the invalid object instance.
STATUS_FOR: Mapping[type[InboxRefusal], int] = MappingProxyType(
    {
        InboxFull: 0xA700,  # Refused: Out of Resources
        DataSetMismatch: 0xA900,  # Error: Data Set does not match SOP Class
        DataSetUnreadable: 0xC000,  # Error: Cannot understand
        UnsafeUID: 0x0117,  # Invalid SOP Instance
    }
)

MAXIMUM_PDU = 128 * 1024
PROCESSING_FAILURE = 0x0110  # PS3.7 C.5.10
DIMSE_TIMEOUT_S = 60.0
LONGEST_UID = 64  # PS3.5 section 9.1
CONTEXTS_TOLD = 8
LOCAL_LIMIT = (0x02, 0x03, 0x02)  # PS3.8 Table 9-21: rejected for now, local limit exceeded

log = get_logger()


@dataclass(frozen=True)
class StorageScp:
    """A Storage SCP that listens.

    address: (host, port) where it listens.
    """

    address: tuple[str, int]
    _listener: Listener
    _thread: threading.Thread

    def stop(self) -> None:
        """Stop listening and abort the associations that are open."""
        self._listener.shutdown()
        self._thread.join()


def start_storage_scp(inbox: Inbox, node: Node, *, commitments: CommitmentRecords) -> StorageScp:
    """Listen for studies and keep them in the inbox; hear answers to requests for Storage Commitment.

    Args:
        inbox: where the instances go.
        node: title, address, access and limits; port 0 takes any free port.
        commitments: where the answers go.

    Raises:
        OSError: the port is taken or may not be bound.
        TlsUnusable: a certificate or key of the settings cannot be used.
    """
    _config.LOG_HANDLER_LEVEL = "none"  # its log lines are made even if nobody reads them: a third of the time
    _config.VALIDATORS["UI"] = _fits  # asked seven hundred times for an association
    entity = AE(ae_title=node.ae_title)
    entity.maximum_associations = node.limits.connections  # never reached: the listener counts, and rejects sooner
    entity.maximum_pdu_size = MAXIMUM_PDU
    entity.acse_timeout = node.limits.request_s
    entity.dimse_timeout = DIMSE_TIMEOUT_S
    entity.network_timeout = node.limits.idle_s
    entity.add_supported_context(Verification)
    # the destination that reports is the SCP of this service, on an association that it asks for itself
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    for context in AllStoragePresentationContexts:
        if not node.sop_classes or str(context.abstract_syntax) in node.sop_classes:
            sop_class = str(context.abstract_syntax)
            entity.add_supported_context(sop_class, list(accepted_for(sop_class)))
    access = Access(node)
    limits = node.limits
    in_flight = InFlight(most=limits.in_flight_mib << 20, most_per_address=limits.in_flight_per_address_mib << 20)
    reception = _Reception(inbox, access, commitments, in_flight)
    made = entity.make_server(
        (node.host, node.port),
        evt_handlers=reception.handlers(),
        server_class=Listener,
        request_handler=GuardedHandler,
        access=access,
        keeper=reception,
        limits=node.limits,
        tls=server_context(node.tls) if node.tls is not None else None,
    )
    listener = cast(Listener, made)
    thread = threading.Thread(target=listener.serve_forever, name="listener", daemon=True)
    thread.start()
    bound_host, bound_port = listener.server_address[:2]
    return StorageScp((str(bound_host), int(bound_port)), listener, thread)


class _Reception:
    """The handlers of one SCP."""

    def __init__(self, inbox: Inbox, access: Access, commitments: CommitmentRecords, in_flight: InFlight) -> None:
        self._inbox = inbox
        self._in_flight = in_flight
        self._access = access
        self._commitments = commitments

    def handlers(self) -> list[Any]:
        return [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_DIMSE_RECV, self._heard),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_EVENT_REPORT, self._committed),
            (evt.EVT_RELEASED, self._ended, [True]),
            (evt.EVT_ABORTED, self._ended, [False]),
            (evt.EVT_CONN_CLOSE, self._ended, [False]),
        ]

    @staticmethod
    def _opened(event: Event) -> None:
        transport = event.assoc.dul.socket
        if transport is not None and transport.socket is not None:
            # Else the answer to an instance waits for the acknowledgement of the last one: some 40 ms each.
            transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _requested(self, event: Event) -> None:
        """Reject whom no rule lets in, and whom there is no room for; choose transfer syntaxes for the others."""
        request = cast(A_ASSOCIATE, event.assoc.requestor.primitive)
        listener = cast(Listener, event.assoc._server)
        host = cast(AddressInformation, event.assoc.requestor.address_info).address
        ids = {"called": request.called_ae_title, "calling": request.calling_ae_title, "address": host}
        rejection = self._access.rejection(called=request.called_ae_title, calling=request.calling_ae_title, host=host)
        if rejection is not None:
            reason, answer = rejection.sentence, (0x01, 0x01, rejection.diagnostic)  # rejected for good, by the user
        elif listener.established_count() >= listener.limits.associations:
            reason, answer = "node.limits.associations are open already", LOCAL_LIMIT
        elif listener.established_count(host) >= listener.limits.associations_per_address:
            reason, answer = "node.limits.associations_per_address are open already", LOCAL_LIMIT
        else:
            declined = _choose_syntaxes(event.assoc)
            if declined:
                log.info("contexts_declined", contexts=declined[:CONTEXTS_TOLD], count=len(declined), **ids)
            return
        log.warning("association_rejected", reason=reason, **ids)
        event.assoc.acse.send_reject(*answer)
        event.assoc.kill()

    @staticmethod
    def _accepted(event: Event) -> None:
        cast(Listener, event.assoc._server).established(event.assoc)

    @staticmethod
    def _heard(event: Event) -> None:
        """End the association of a request that names no instance: pynetdicom would leave it without an answer."""
        command = event.message.command_set
        named = command.get("AffectedSOPClassUID") and command.get("AffectedSOPInstanceUID")
        if command.get("CommandField") == C_STORE_REQUEST and not named:
            cast(OneThreadAssociation, event.assoc).dul.reason = "a C-STORE request without the UIDs of an instance"
            event.assoc.abort()

    def keep(self, association: Association, instance: IncomingInstance) -> int:
        """Keep an instance, and return the status."""
        if instance.refused is not None:
            cast(GuardedSocket, association.dul.socket).handled()
            return instance.refused
        received = _received(association, instance)
        try:
            kept = self._inbox.accept(received, id(association))
        except InboxRefusal as refusal:
            return _status(refusal)
        except Exception as fault:  # one instance must not end its association, nor go without an answer
            log.error("instance_failed", sop_instance_uid=received.sop_instance_uid, fault=type(fault).__name__)
            return PROCESSING_FAILURE
        finally:
            self.dropped(association, instance)
            cast(GuardedSocket, association.dul.socket).handled()
        log.debug("instance_kept" if kept else "instance_ignored", sop_instance_uid=received.sop_instance_uid)
        return SUCCESS

    def spill(self, association: Association, instance: IncomingInstance) -> None:
        """Let an instance that is large go on in a file; where there is no room it is refused."""
        try:
            instance.spill(self._inbox.spool(_meta(association, instance)))
        except InboxRefusal as refusal:
            instance.refuse(_status(refusal))
            return
        self.grown(association, IN_MEMORY_BYTES)

    def grown(self, association: Association, count: int) -> None:
        """Hold the budget of what is unfinished."""
        address = cast(AddressInformation, association.requestor.address_info).address
        end = cast(OneThreadAssociation, association).dul.end
        self._in_flight.grow(id(association), count, address=address, end=end)

    def dropped(self, association: Association, instance: IncomingInstance) -> None:
        """Remove the file of an instance that has not become one of the inbox."""
        self._in_flight.release(id(association))
        if instance.spool is not None:
            instance.spool.discard()

    def _store(self, event: Event) -> int:
        """Keep what has come by pynetdicom's way."""
        request = cast(C_STORE, event.request)
        named = StoreRequest(
            cast(int, request.MessageID), str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
        )
        instance = IncomingInstance(named, event.context.context_id, event.context.transfer_syntax, request.DataSet)
        return self.keep(event.assoc, instance)

    def _committed(self, event: Event) -> tuple[int, None]:
        try:
            transaction, answer = read_report(event.event_information)
        except Exception:  # whatever a malformed report makes a decoder raise
            log.warning("commitment_unreadable", calling=event.assoc.requestor.ae_title)
            return INVALID_ARGUMENT, None
        known = self._commitments.record(transaction, answer)
        counts = {"kept": len(answer.kept), "lost": len(answer.lost)}
        log.info("commitment_heard", calling=event.assoc.requestor.ae_title, known=known, **counts)
        return SUCCESS if known else NO_SUCH_INSTANCE, None

    def _ended(self, event: Event, in_order: bool) -> None:
        self._inbox.association_ended(id(event.assoc), in_order=in_order)


def _status(refusal: InboxRefusal) -> int:
    status = STATUS_FOR[type(refusal)]
    log.warning("instance_refused", status=f"0x{status:04X}", reason=str(refusal))
    return status


def _choose_syntaxes(association: Association) -> list[str]:
    """Leave one transfer syntax, ours to choose, in each context that is proposed; return those without any."""
    supported = {
        context.abstract_syntax: context.transfer_syntax for context in association.acceptor.supported_contexts
    }
    declined = []
    for context in cast(A_ASSOCIATE, association.requestor.primitive).presentation_context_definition_list:
        accepted = supported.get(context.abstract_syntax)
        syntax = None if accepted is None else preferred(context.transfer_syntax, accepted)
        if syntax is not None:
            context.transfer_syntax = [syntax]
        elif accepted is None:
            declined.append(f"{context.abstract_syntax}: SOP Class not supported")
        else:
            declined.append(f"{context.abstract_syntax}: {', '.join(context.transfer_syntax)} not supported")
    return declined


def _fits(uid: str) -> tuple[bool, str]:
    """Answer what pynetdicom's own check of a UID does, without making it another UID first."""
    return 0 < len(uid) <= LONGEST_UID, "must have 1 to 64 characters"


def _meta(association: Association, instance: IncomingInstance) -> bytes:
    entity = association.ae
    return file_meta(
        sop_class_uid=instance.request.sop_class_uid,
        sop_instance_uid=instance.request.sop_instance_uid,
        transfer_syntax=instance.transfer_syntax,
        implementation=(str(entity.implementation_class_uid), str(entity.implementation_version_name)),
        sender=association.requestor.ae_title,
    )


def _received(association: Association, instance: IncomingInstance) -> ReceivedInstance:
    return ReceivedInstance(
        sop_class_uid=instance.request.sop_class_uid,
        sop_instance_uid=instance.request.sop_instance_uid,
        transfer_syntax=instance.transfer_syntax,
        calling_ae_title=association.requestor.ae_title,
        meta=_meta(association, instance) if instance.spool is None else b"",
        data_set=instance.data_set,
        spool=instance.spool,
    )
