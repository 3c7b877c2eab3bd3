"""The Storage SCP: one handler decides on each instance; its answer is a row of a table."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, _config, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import
from pynetdicom.transport import ThreadedAssociationServer

from app.gateway.inbox import Inbox, ReceivedInstance
from app.gateway.instance import (
    DataSetMismatch,
    DataSetUnreadable,
    InboxFull,
    InboxRefusal,
    UnsafeUID,
)
from app.logs import get_logger

SUCCESS = 0x0000
_PREFIX = b"DICM"  # PS3.10 section 7.1

# PS3.4 Table B.2-1 names 0xA7xx, 0xA9xx and 0xCxxx; PS3.7 C.5.7 the invalid object instance.
STATUS_FOR: Mapping[type[InboxRefusal], int] = MappingProxyType(
    {
        InboxFull: 0xA700,  # Refused: Out of Resources
        DataSetMismatch: 0xA900,  # Error: Data Set does not match SOP Class
        DataSetUnreadable: 0xC000,  # Error: Cannot understand
        UnsafeUID: 0x0117,  # Invalid SOP Instance
    }
)

MAXIMUM_ASSOCIATIONS = 32
MAXIMUM_PDU = 128 * 1024
ACSE_TIMEOUT_S = 30.0
DIMSE_TIMEOUT_S = 60.0
IDLE_TIMEOUT_S = 300.0  # a PACS may hold an association between two studies

log = get_logger()


@dataclass(frozen=True)
class StorageScp:
    """A Storage SCP that listens.

    address: (host, port) where it listens.
    """

    address: tuple[str, int]
    _server: ThreadedAssociationServer

    def stop(self) -> None:
        """Stop listening and abort the associations that are open."""
        self._server.shutdown()


def start_storage_scp(inbox: Inbox, *, ae_title: str, host: str, port: int) -> StorageScp:
    """Listen for studies and keep them in the inbox.

    Args:
        inbox: where the instances go.
        ae_title: the title of this node.
        host: the address to bind.
        port: the port to bind; 0 takes any free one.

    Raises:
        OSError: the port is taken or may not be bound.
    """
    _config.LOG_HANDLER_LEVEL = "none"  # its log lines are made even if nobody reads them: a third of the time
    entity = AE(ae_title=ae_title)
    entity.maximum_associations = MAXIMUM_ASSOCIATIONS
    entity.maximum_pdu_size = MAXIMUM_PDU
    entity.acse_timeout = ACSE_TIMEOUT_S
    entity.dimse_timeout = DIMSE_TIMEOUT_S
    entity.network_timeout = IDLE_TIMEOUT_S
    entity.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
    handlers = _Reception(inbox).handlers()
    server = cast(ThreadedAssociationServer, entity.start_server((host, port), block=False, evt_handlers=handlers))
    bound_host, bound_port = server.server_address[:2]
    return StorageScp((str(bound_host), int(bound_port)), server)


class _Reception:
    """The handlers of one SCP."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def handlers(self) -> list[Any]:
        return [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_C_STORE, self._store),
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

    def _store(self, event: Event) -> int:
        try:
            received = _received(event)
            kept = self._inbox.accept(received, id(event.assoc))
        except InboxRefusal as refusal:
            status = STATUS_FOR[type(refusal)]
            log.warning("instance_refused", status=f"0x{status:04X}", reason=str(refusal))
            return status
        log.debug("instance_kept" if kept else "instance_ignored", sop_instance_uid=received.sop_instance_uid)
        return SUCCESS

    def _ended(self, event: Event, in_order: bool) -> None:
        self._inbox.association_ended(id(event.assoc), in_order=in_order)


def _received(event: Event) -> ReceivedInstance:
    request = cast(C_STORE, event.request)
    meta = event.file_meta
    sender = event.assoc.requestor.ae_title
    meta.SourceApplicationEntityTitle = sender
    return ReceivedInstance(
        sop_class_uid=str(request.AffectedSOPClassUID),
        sop_instance_uid=str(request.AffectedSOPInstanceUID),
        transfer_syntax=event.context.transfer_syntax,
        calling_ae_title=sender,
        meta=_PREFIX + encode_file_meta(meta),
        data_set=event.encoded_dataset(include_meta=False),
    )
