"""An association on one thread: what comes in is read, kept and answered without being handed over.

pynetdicom gives an association two threads that ask each other, and the connection, a thousand times a second whether
there is something to do; an instance waits for both, and on a busy machine for the processor besides. Here the thread
of the association moves the upper layer on itself, sleeps until the next byte is there, and takes plain C-STORE
requests where they come in. The states and actions (PS3.8 section 9.2) and all other messages remain pynetdicom's.
"""

import os
import select
import socket
import ssl
import threading
import time
from io import BytesIO
from typing import Any, Protocol, cast

from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.transport import AssociationSocket

from app.gateway.association_request import RequestInvalid, plain_request, version_is_supported
from app.gateway.spool import IN_MEMORY_BYTES, Spool
from app.gateway.store_message import Fragment, StoreRequest, fragments_of, read_store_request, store_response
from app.logs import get_logger

LARGEST_PDU = 1 << 20  # this node asks for less; an association request with 128 contexts stays below it
RECEIVED_AT_A_TIME = 1 << 18  # two of the largest PDUs that this node asks for
LARGEST_IN_MEMORY = 16 << 20  # of messages that pynetdicom collects; a report of commitment is some 100 kB
QUIET_WAIT_S = 0.05
FULL_WAIT_S = 0.001
_HEADER_LENGTH = 6  # PS3.8 section 9.3.1: type, a reserved byte, length
_PDU_TYPES = range(0x01, 0x08)
_REQUEST = 0x01
_DATA = 0x04
_READY_FOR_DATA = "Sta6"
_IDLE = "Sta1"
_OVER = (_IDLE, "Sta13")  # nothing is expected any more
_CLOSED = "Evt17"
_INVALID_PDU = "Evt19"
# PS3.8 Table 9-10: what ends an association out of order, and what the log says unless more is known.
_ENDS = {
    "Evt15": "ended by this node",
    "Evt16": "the peer aborted",
    _CLOSED: "the connection ended without a release",
    "Evt18": "no association was asked for within node.limits.request_s",
    _INVALID_PDU: "a PDU or message that cannot be understood",
}
_LARGEST_ANSWER = 512  # of a C-STORE, with two UIDs of 64 characters; a peer may want less at a time

log = get_logger()


class BeyondLimits(OSError):
    """A peer sends more than this node takes; the message says what."""


class GuardedSocket(AssociationSocket):
    """The transport of one association, with bounds on what its peer can make it hold in memory.

    largest_message: most bytes that may arrive between two messages that were dealt with.
    """

    largest_message: int = 1 << 62
    _unhandled = 0
    _buffer = memoryview(bytearray())
    _start = _end = 0  # of what has been received and not been taken

    @property
    def ready(self) -> bool:
        """Whether there is something to read, and room for it; waits a moment for it.

        A peer that does not wait for answers is made to.
        """
        if self.socket is None or self.assoc.dimse.msg_queue.qsize():
            time.sleep(FULL_WAIT_S)
            return False
        if self._end > self._start or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
            return True
        poll = select.poll()  # unlike select, at home with any number of connections
        try:
            poll.register(self.socket, select.POLLIN)
        except (OSError, ValueError):  # closed by the listener
            self.event_queue.put(_CLOSED)
            return False
        return bool(poll.poll(QUIET_WAIT_S * 1000))

    def take(self, count: int) -> memoryview:
        """Return the next bytes, so many, or fewer where the connection ends; valid until more are taken.

        Raises:
            BeyondLimits: the peer announces a PDU, or has sent a message, beyond the limits.
            OSError: the connection is broken.
        """
        self._unhandled += count
        if count > LARGEST_PDU:
            raise BeyondLimits(f"a PDU of {count} bytes; the largest that is taken has {LARGEST_PDU}")
        if self._unhandled > LARGEST_IN_MEMORY and self.assoc.dimse.message is not None:  # pynetdicom collects it
            raise BeyondLimits(f"a message other than a plain C-STORE request, of more than {LARGEST_IN_MEMORY} bytes")
        if self._unhandled > self.largest_message:
            raise BeyondLimits(f"a message of more than {self.largest_message} bytes (node.limits.instance_mib)")
        if self._start + count > len(self._buffer):
            self._make_room(count)
        while self._end - self._start < count and (received := self._receive()):
            self._end += received
        start = self._start
        self._start = min(start + count, self._end)
        return self._buffer[start : self._start]

    def _make_room(self, count: int) -> None:
        rest = self._buffer[self._start : self._end]
        if count > len(self._buffer) or not self._buffer:
            self._buffer = memoryview(bytearray(max(count, RECEIVED_AT_A_TIME)))
        self._buffer[: len(rest)] = rest
        self._start, self._end = 0, len(rest)

    def _receive(self) -> int:
        """Receive what there is, and wait for it if need be: as seldom as can be, other threads may go on meanwhile."""
        if self.socket is None:
            return 0
        space = self._buffer[self._end :]
        if not isinstance(self.socket, ssl.SSLSocket):
            try:
                return os.readv(self.socket.fileno(), [space])
            except BlockingIOError:
                pass
        return self.socket.recv_into(space)

    def handled(self) -> None:
        """Note that the last message is dealt with."""
        self._unhandled = 0


class IncomingInstance:
    """An instance on its way in.

    request: names it.
    transfer_syntax: how its data set is encoded.
    spool: where a large data set is; None as long as it is small.
    refused: the status where it is decided already that it will not be kept.
    """

    spool: Spool | None = None
    refused: int | None = None

    def __init__(
        self, request: StoreRequest, context_id: int, transfer_syntax: UID, data_set: BytesIO | None = None
    ) -> None:
        self.request = request
        self.context_id = context_id
        self.transfer_syntax = transfer_syntax
        self._data_set = BytesIO() if data_set is None else data_set
        self._is_announced = False

    @property
    def data_set(self) -> bytes:
        """The encoded data set, as far as it is held in memory."""
        return self._data_set.getvalue()

    def spill(self, spool: Spool) -> None:
        """Go on in a file."""
        spool.write(self._data_set.getbuffer())
        self._data_set = BytesIO()
        self.spool = spool

    def refuse(self, status: int) -> None:
        """Let go what has come, and what comes."""
        self._data_set = BytesIO()
        self.refused = status

    def takes(self, fragment: Fragment) -> bool:
        """Take the command, once, or the next fragment of the data set; False where it belongs to something else."""
        if fragment.is_command == self._is_announced or fragment.context_id != self.context_id:
            return False
        self._is_announced = True
        if fragment.is_command or self.refused is not None:
            return True
        if self.spool is None:
            self._data_set.write(fragment.data)
        else:
            self.spool.write(fragment.data)
        return True

    @property
    def is_large(self) -> bool:
        """Whether it is held in memory and should not be any longer."""
        return self.spool is None and self._data_set.tell() > IN_MEMORY_BYTES


class Keeper(Protocol):
    """Where the instances go that come in; none of it raises."""

    def keep(self, association: Association, instance: IncomingInstance) -> int:
        """Keep an instance, and return the status."""

    def spill(self, association: Association, instance: IncomingInstance) -> None:
        """Let an instance that is large go on in a file; where there is no room it is refused."""

    def grown(self, association: Association, count: int) -> None:
        """Note that so many bytes of an unfinished instance have come into its file."""

    def dropped(self, association: Association, instance: IncomingInstance) -> None:
        """Forget an instance that will not be finished."""


class InlineProvider(DULServiceProvider):
    """The upper layer of an association, moved on step by step by the thread of that association."""

    _instance: IncomingInstance | None = None
    reason: str | None = None  # why the association is about to end, as far as this node knows

    def start(self) -> None:
        """Be ready; no thread is begun."""
        self._idle_timer.start()
        self.assoc._dul_ready.set()

    def is_alive(self) -> bool:
        """Say whether the transport is still served."""
        return not self._kill_thread

    def step(self) -> None:
        """Send what is to be sent, else read what has come or wait a moment for it, and act on it."""
        try:
            if self.artim_timer.expired:
                self.event_queue.put("Evt18")
            if not self._process_recv_primitive() and self._is_transport_event():
                self._idle_timer.restart()
            if self.event_queue.qsize():
                event = self.event_queue.get(block=False)
                if event in _ENDS and self.state_machine.current_state not in _OVER:
                    self.tell("association_ended", self.reason or _ENDS[event])
                self.state_machine.do_action(event)
        except Exception as fault:  # what no state foresees
            self.break_off(fault)

    def break_off(self, fault: Exception) -> None:
        """Close the connection after a fault that nothing foresees."""
        state = self.state_machine.current_state
        if state not in _OVER:  # else it has been told why
            self.tell("association_broken", f"{type(fault).__name__} in state {state}")
        self.kill_dul()
        cast(GuardedSocket, self.socket).close()
        evt.trigger(self.assoc, evt.EVT_ABORTED, {})

    def tell(self, event: str, reason: str) -> None:
        """Log that an association ends out of order: who, why, and whether an instance was on its way."""
        requestor = self.assoc.requestor
        address = None if requestor.address_info is None else requestor.address_info.address
        unfinished = self._instance is not None or self.assoc.dimse.message is not None
        log.warning(event, address=address, calling=requestor.ae_title, reason=reason, instance_unfinished=unfinished)

    def receive_pdu(self, wait: bool = False, timeout: float | None = None) -> Any:
        """Return the next primitive for the service user, or None; see pynetdicom's."""
        limit = None if timeout is None else time.monotonic() + timeout
        while wait and self.is_alive() and not self.to_user_queue.qsize():
            if limit is not None and time.monotonic() > limit:
                break
            self.step()
        return super().receive_pdu(wait=False)

    def stop_dul(self) -> bool:
        """Bring the upper layer to its end, as far as the calling thread may; say whether it has ended."""
        is_own = threading.current_thread() is self.assoc
        while is_own and self.is_alive() and self.state_machine.current_state != _IDLE:
            self.step()
        return bool(super().stop_dul())

    def _read_pdu_data(self) -> None:
        transport = cast(GuardedSocket, self.socket)
        try:
            header = bytes(transport.take(_HEADER_LENGTH))
            length = int.from_bytes(header[2:], "big")
            if len(header) == _HEADER_LENGTH and header[0] not in _PDU_TYPES:
                self._refuse(f"a PDU of type {header[0]:02X}H, which there is not")
                return
            body = transport.take(length)
        except OSError as fault:
            if isinstance(fault, BeyondLimits):
                self.reason = str(fault)
            self.event_queue.put(_CLOSED)
            return
        if len(header) < _HEADER_LENGTH or len(body) < length:
            self.event_queue.put(_CLOSED)
        elif header[0] == _REQUEST:
            self._hand_on_request(body)
        elif header[0] != _DATA or not self._stored(body):
            self._hand_on(bytearray(header) + body)

    def _hand_on_request(self, body: memoryview) -> None:
        """Decode an association request as far as this node negotiates it."""
        try:
            request = plain_request(body)
        except RequestInvalid as fault:
            self._refuse(str(fault))
            return
        self._hand_on(bytearray(request))
        if not version_is_supported(body):  # the state machine rejects it
            self.tell("association_rejected", "bit 0 of the protocol version is not set")

    def _refuse(self, reason: str) -> None:
        self.reason = reason
        self.event_queue.put(_INVALID_PDU)

    def _hand_on(self, encoded: bytearray) -> None:
        """Decode a PDU for the state machine."""
        try:
            pdu, event = self._decode_pdu(encoded)
        except Exception as fault:  # whatever a malformed PDU makes a decoder raise
            self._refuse(f"a PDU of type {encoded[0]:02X}H that cannot be decoded ({type(fault).__name__})")
            return
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)

    def _stored(self, items: memoryview) -> bool:
        """Take a PDU if it is part of a plain C-STORE request; else it is pynetdicom's."""
        if self.state_machine.current_state != _READY_FOR_DATA or self.assoc.dimse.message is not None:
            return False
        try:
            fragments = fragments_of(items)
        except ValueError as fault:
            self._refuse(str(fault))
            return True
        for index, fragment in enumerate(fragments):
            if self._instance is None and fragment.is_command:
                self._instance = self._begun(fragment)
                if self._instance is None and index == 0:
                    return False
            if self._instance is None or not self._instance.takes(fragment):
                self._refuse("a fragment that belongs to no message")
                break
            if fragment.is_last and not fragment.is_command:
                self._finish(self._instance)
                self._instance = None
            elif self._instance.spool is not None:
                self._keeper.grown(self.assoc, len(fragment.data))
            elif self._instance.is_large:
                self._keeper.spill(self.assoc, self._instance)
        return True

    @property
    def _keeper(self) -> Keeper:
        return cast(OneThreadAssociation, self.assoc).keeper

    def drop_unfinished(self) -> None:
        """Forget an instance that will not be finished."""
        if self._instance is not None:
            self._keeper.dropped(self.assoc, self._instance)
            self._instance = None

    def _begun(self, command: Fragment) -> IncomingInstance | None:
        """Return the instance that a command announces, if it is of the plain kind."""
        request = read_store_request(command.data) if command.is_last else None
        context = self.assoc._accepted_cx.get(command.context_id)
        room = self.assoc.requestor.maximum_length
        if request is None or context is None or request.sop_class_uid != context.abstract_syntax:
            return None
        if room is not None and 0 < room < _LARGEST_ANSWER:
            return None
        return IncomingInstance(request, command.context_id, context.transfer_syntax[0])

    def _finish(self, instance: IncomingInstance) -> None:
        status = self._keeper.keep(self.assoc, instance)
        cast(GuardedSocket, self.socket).send(store_response(instance.request, instance.context_id, status))

    def end(self, reason: str) -> None:
        """End the association from another thread: the connection is shut, and its own thread sees it."""
        self.reason = reason
        hang_up(None if self.socket is None else self.socket.socket)


def hang_up(connection: socket.socket | None) -> None:
    """Shut a connection, so that the thread that reads from it wakes."""
    try:
        if connection is not None:
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # not TLS' own, which another thread may be in
    except OSError:  # it went by itself
        return


class OneThreadAssociation(Association):
    """An association as acceptor that its own thread serves from the first byte to the last.

    Args:
        entity: as which it answers.
        keeper: takes the instances.
    """

    def __init__(self, entity: ApplicationEntity, keeper: Keeper) -> None:
        super().__init__(entity, "acceptor")
        self.keeper = keeper
        self.dul: InlineProvider = InlineProvider(self)
        self.acse_timeout = entity.acse_timeout  # the new provider's timers learn them by this
        self.network_timeout = entity.network_timeout

    def run_reactor(self) -> None:
        """Serve the association; a fault that nothing foresees ends this one alone."""
        try:
            super().run_reactor()
        except Exception as fault:  # the thread would end and leave the connection open
            self.dul.break_off(fault)
        finally:
            self.dul.drop_unfinished()

    def _run_reactor(self) -> None:
        while not self._kill:
            context, message = self.dimse.msg_queue.get() if self.dimse.msg_queue.qsize() else (None, None)
            if message is not None and context is not None:
                self._serve_request(message, context)
                cast(GuardedSocket, self.dul.socket).handled()
            elif self.acse.is_release_requested():
                self.acse.send_release(is_response=True)
                self.is_released = True
                self._end(evt.EVT_RELEASED)
            elif self.acse.is_aborted():
                self.dul.receive_pdu()
                self.is_aborted = True
                self._end(evt.EVT_ABORTED)
            elif not self.dul.is_alive():
                self.kill()
            elif self.dul.idle_timer_expired():
                self.dul.reason = "silent for longer than node.limits.idle_s"
                self.abort()
            else:
                self.dul.step()
        self.kill()

    def _end(self, event: evt.NotificationEvent) -> None:
        self.is_established = False
        evt.trigger(self, event, {})
        self.kill()
