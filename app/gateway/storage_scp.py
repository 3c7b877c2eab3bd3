"""The Storage SCP: one handler decides on each instance; its answer is a row of a table."""

import itertools
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pynetdicom import ALL_TRANSFER_SYNTAXES, AE, AllStoragePresentationContexts, _config, evt
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
    checked_uid,
)
from app.logs import get_logger

SUCCESS = 0x0000
_PREAMBLE = bytes(128) + b"DICM"  # PS3.10 section 7.1

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
        entity.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
    server = entity.start_server((host, port), block=False, evt_handlers=_Reception(inbox).handlers())
    bound_host, bound_port = server.server_address[:2]
    return StorageScp((str(bound_host), int(bound_port)), server)


class _Reception:
    """The handlers of one SCP."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._numbers = itertools.count()

    def handlers(self) -> list[Any]:
        return [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_RELEASED, self._ended, [True]),
            (evt.EVT_ABORTED, self._ended, [False]),
            (evt.EVT_CONN_CLOSE, self._ended, [False]),
        ]

    def _opened(self, event: Event) -> None:
        event.assoc.spondyl_number = next(self._numbers)
        transport = event.assoc.dul.socket
        if transport is not None and transport.socket is not None:
            # Else the answer to an instance waits for the acknowledgement of the last one: some 40 ms each.
            transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _store(self, event: Event) -> int:
        request = event.request
        sop_instance_uid = str(request.AffectedSOPInstanceUID)
        try:
            checked_uid(sop_instance_uid, "Affected SOP Instance UID")
            kept = self._inbox.accept(_received(event), _number(event))
        except InboxRefusal as refusal:
            status = STATUS_FOR[type(refusal)]
            log.warning("instance_refused", status=f"0x{status:04X}", reason=str(refusal))
            return status
        log.debug("instance_kept" if kept else "instance_ignored", sop_instance_uid=sop_instance_uid)
        return SUCCESS

    def _ended(self, event: Event, in_order: bool) -> None:  # noqa: FBT001  pynetdicom passes it by position
        self._inbox.association_ended(_number(event), in_order=in_order)


def _received(event: Event) -> ReceivedInstance:
    meta = event.file_meta
    sender = event.assoc.requestor.ae_title
    meta.SourceApplicationEntityTitle = sender
    return ReceivedInstance(
        sop_class_uid=str(event.request.AffectedSOPClassUID),
        sop_instance_uid=str(event.request.AffectedSOPInstanceUID),
        transfer_syntax=event.context.transfer_syntax,
        calling_ae_title=sender,
        meta=_PREAMBLE + encode_file_meta(meta),
        data_set=event.encoded_dataset(include_meta=False),
    )


def _number(event: Event) -> int:
    return int(getattr(event.assoc, "spondyl_number", -1))
