"""An association on one thread: what comes in is read, kept and answered without being handed over.

pynetdicom gives an association two threads that ask each other, and the connection, a thousand times a second whether
there is something to do; an instance waits for both, and on a busy machine for the processor besides. Here the thread
of the association moves the upper layer on itself, sleeps until the next byte is there, and puts the pixels straight
to the data set they belong to. The states and actions (PS3.8 section 9.2) remain pynetdicom's.
"""

import select
import ssl
import threading
import time
from io import BytesIO
from typing import Any, cast

from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.transport import AssociationSocket

from app.logs import get_logger

LARGEST_PDU = 1 << 20  # this node asks for less; an association request with 128 contexts stays below it
QUIET_WAIT_S = 0.05
FULL_WAIT_S = 0.001
_HEADER_LENGTH = 6  # PS3.8 section 9.3.1: type, a reserved byte, length
_PDU_TYPES = range(0x01, 0x08)
_DATA = 0x04
_READY_FOR_DATA = "Sta6"
_IDLE = "Sta1"
_CLOSED = "Evt17"
_INVALID_PDU = "Evt19"
_ITEM_LENGTH = 4  # PS3.8 Table 9-23: the length, then what it counts: context, control header (Annex E.2), fragment
_FRAGMENT_AT = 6

log = get_logger()


class GuardedSocket(AssociationSocket):
    """The transport of one association, with bounds on what its peer can make it hold in memory.

    largest_message: most bytes that may arrive between two messages that were dealt with.
    """

    largest_message: int = 1 << 62
    _unhandled = 0

    @property
    def ready(self) -> bool:
        """Whether there is something to read, and room for it; waits a moment for it.

        A peer that does not wait for answers is made to.
        """
        if self.socket is None or self.assoc.dimse.msg_queue.qsize():
            time.sleep(FULL_WAIT_S)
            return False
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True
        poll = select.poll()  # unlike select, at home with any number of connections
        try:
            poll.register(self.socket, select.POLLIN)
        except (OSError, ValueError):  # closed by the listener
            self.event_queue.put(_CLOSED)
            return False
        return bool(poll.poll(QUIET_WAIT_S * 1000))

    def recv(self, nr_bytes: int) -> bytearray:
        """Read exactly so many bytes, or fewer where the connection ends.

        Raises:
            OSError: the peer announces a PDU, or has sent a message, beyond the limits.
        """
        self._unhandled += nr_bytes
        if nr_bytes > LARGEST_PDU or self._unhandled > self.largest_message:
            log.warning("message_too_large", calling_ae_title=str(self.assoc.requestor.ae_title), bytes=self._unhandled)
            raise OSError("a PDU or message beyond the limits of this node")
        received = bytearray(nr_bytes)
        view = memoryview(received)
        count = 0
        while count < nr_bytes and self.socket is not None:
            step = self.socket.recv_into(view[count:])
            if not step:
                break
            count += step
        view.release()
        del received[count:]
        return received

    def handled(self) -> None:
        """Note that the last message is dealt with."""
        self._unhandled = 0


class InlineProvider(DULServiceProvider):
    """The upper layer of an association, moved on step by step by the thread of that association."""

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
                self.state_machine.do_action(self.event_queue.get(block=False))
        except Exception as fault:  # what no state foresees: the peer sees the connection closed
            log.warning("association_broken", fault=type(fault).__name__, state=self.state_machine.current_state)
            self.kill_dul()
            cast(GuardedSocket, self.socket).close()
            evt.trigger(self.assoc, evt.EVT_ABORTED, {})

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
            header = transport.recv(_HEADER_LENGTH)
            length = int.from_bytes(header[2:], "big")
            if len(header) == _HEADER_LENGTH and header[0] not in _PDU_TYPES:
                self.event_queue.put(_INVALID_PDU)
                return
            body = transport.recv(length)
        except OSError:
            self.event_queue.put(_CLOSED)
            return
        if len(header) < _HEADER_LENGTH or len(body) < length:
            self.event_queue.put(_CLOSED)
        elif header[0] != _DATA or not self._add_to_data_set(body):
            self._hand_on(header + body)

    def _hand_on(self, encoded: bytearray) -> None:
        """Decode a PDU for the state machine."""
        try:
            pdu, event = self._decode_pdu(encoded)
        except Exception:  # whatever a malformed PDU makes a decoder raise
            self.event_queue.put(_INVALID_PDU)
            return
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)

    def _add_to_data_set(self, items: bytearray) -> bool:
        """Add a PDU to the data set that is coming in, if it holds nothing but fragments of its middle.

        That is what most bytes are; pynetdicom would copy each of them eight times.
        """
        message = self.assoc.dimse.message
        if message is None or message.context_id is None or self.state_machine.current_state != _READY_FOR_DATA:
            return False
        fragments = []
        start = 0
        view = memoryview(items)
        while start < len(items):
            end = start + _ITEM_LENGTH + int.from_bytes(view[start : start + _ITEM_LENGTH], "big")
            # the last fragment, a command, or nonsense
            if not start + _FRAGMENT_AT <= end <= len(items) or view[start + _FRAGMENT_AT - 1] & 3:
                return False
            fragments.append(view[start + _FRAGMENT_AT : end])
            start = end
        for fragment in fragments:
            cast(BytesIO, message.data_set).write(fragment)
        return True


class OneThreadAssociation(Association):
    """An association as acceptor that its own thread serves from the first byte to the last."""

    def __init__(self, entity: ApplicationEntity) -> None:
        super().__init__(entity, "acceptor")
        self.dul: InlineProvider = InlineProvider(self)
        self.acse_timeout = entity.acse_timeout  # the new provider's timers learn them by this
        self.network_timeout = entity.network_timeout

    def _run_reactor(self) -> None:
        while not self._kill:
            context, message = self.dimse.msg_queue.get() if self.dimse.msg_queue.qsize() else (None, None)
            if message is not None and context is not None:
                self._serve_request(message, context)
            elif self.acse.is_release_requested():
                self.acse.send_release(is_response=True)
                self.is_released = True
                self._finish(evt.EVT_RELEASED)
            elif self.acse.is_aborted():
                self.dul.receive_pdu()
                self.is_aborted = True
                self._finish(evt.EVT_ABORTED)
            elif not self.dul.is_alive():
                self.kill()
            elif self.dul.idle_timer_expired():
                self.abort()
            else:
                self.dul.step()
        self.kill()

    def _finish(self, event: evt.NotificationEvent) -> None:
        self.is_established = False
        evt.trigger(self, event, {})
        self.kill()
