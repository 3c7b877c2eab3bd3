"""The listener of the Storage SCP: what a connection may cost before it has shown that it is an association.

A connection from a foreign address, or beyond the limit, is closed at once. Another gets one thread and a time limit
for TLS and for the first bytes of an association request; what begins otherwise (a port scanner, a browser, silence)
is closed without an association having been made for it.
"""

import socket
import ssl
import threading
import time
from collections import Counter
from socketserver import BaseServer
from typing import Any, cast

from pynetdicom.association import Association
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from app.gateway.access import Access
from app.gateway.upper_layer import GuardedSocket, Keeper, OneThreadAssociation, hang_up
from app.logs import get_logger
from app.peer_settings import Limits

ASSOCIATE_REQUEST = 0x01  # PS3.8 Table 9-11: the type of the first PDU of every association
TELL_EVERY_S = 60.0
SILENT_AT_LEAST_S = 1.0  # a connection that is younger is not ended for another
TOLD_AT_A_TIME = 100  # lines about declined connections; an address may be claimed by anybody within a network
OTHERS = "others"
TOO_LATE = "no association was asked for within node.limits.request_s"

log = get_logger()


class GuardedHandler(RequestHandler):
    """Makes the association of a connection that has begun like one."""

    server: "Listener"

    def _create_association(self) -> Association:
        association = OneThreadAssociation(self.ae, self.server.keeper)
        association._server = self.server
        association.name = f"AcceptorThread@{self.client_address[0]}"  # pynetdicom knows its own by this name
        transport = GuardedSocket(association, client_socket=self.request)
        transport.largest_message = self.server.limits.instance_mib << 20
        association.set_socket(transport)
        own = association.acceptor
        own.maximum_length = self.ae.maximum_pdu_size
        own.ae_title = self.server.ae_title
        own.address_info = self.local
        own.implementation_class_uid = self.ae.implementation_class_uid
        own.implementation_version_name = self.ae.implementation_version_name
        own.supported_contexts = self.server.contexts
        association.requestor.address_info = self.remote
        for event, handlers in self.server._handlers.items():
            if not handlers:
                continue
            pairs: Any = [handlers] if event.is_intervention else handlers
            for handler, arguments in pairs:
                association.bind(event, handler, arguments)
        self.server.joined(association)
        return association


class Listener(ThreadedAssociationServer):
    """Accepts connections within the limits.

    Args:
        *args: of pynetdicom's server.
        access: who may connect.
        limits: how many and how long.
        tls: context of the connections, or None for the plain protocol.
        keeper: takes the instances.
        **kwargs: of pynetdicom's server.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, *args: Any, access: Access, limits: Limits, tls: ssl.SSLContext | None, keeper: Keeper, **kwargs: Any
    ) -> None:
        self.limits = limits
        self.keeper = keeper
        self._access = access
        self._tls = tls
        self._lock = threading.Lock()
        self._waiting: dict[socket.socket, tuple[float, str]] = {}  # without an association → time limit, address
        self._associations: dict[Association, float] = {}  # → time limit of those that are not established
        self._declined: Counter[tuple[str, str]] = Counter()  # address and reason
        self._tell_at = 0.0
        super().__init__(*args, **kwargs)

    def joined(self, association: Association) -> None:
        """Note that a connection has asked for an association."""
        with self._lock:
            self._associations[association] = time.monotonic() + self.limits.request_s

    def established(self, association: Association) -> None:
        """Let an association be as silent as an established one may be."""
        if association.dul.socket is not None and association.dul.socket.socket is not None:
            association.dul.socket.socket.settimeout(self.limits.idle_s)

    def established_count(self, address: str | None = None) -> int:
        """Return how many associations are established, of one address or in all."""
        with self._lock:
            established = [each.requestor.address_info for each in self._associations if each.is_established]
        return sum(address is None or (each is not None and each.address == address) for each in established)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Say whether a connection may stay; asked in the listening thread, before it costs anything."""
        with self._lock:
            self._associations = {each: limit for each, limit in self._associations.items() if not _has_ended(each)}
            reason = self._objection(client_address[0])
            if reason is None:
                self._waiting[request] = (time.monotonic() + self.limits.request_s, client_address[0])
        if reason is not None:
            self._decline(client_address[0], reason)
        return reason is None

    def _objection(self, address: str) -> str | None:
        """Return why another connection from an address may not stay."""
        if not self._access.admits_address(address):
            return "no rule of node.access covers the address"
        held = [each.requestor.address_info for each in self._associations]
        own = sum(each is not None and each.address == address for each in held)
        own += sum(holder == address for _, holder in self._waiting.values())
        if own >= self.limits.connections_per_address and not self._make_room(address):
            return "node.limits.connections_per_address are open already"
        if len(self._waiting) + len(held) >= self.limits.connections and not self._make_room(None):
            return "node.limits.connections are open already"
        return None

    def _make_room(self, address: str | None) -> bool:
        """End the connection, of an address or of any, that has been silent for longest; say whether there was one."""
        silent = {each: limit for each, (limit, holder) in self._waiting.items() if address in (None, holder)}
        oldest = min(silent, key=lambda each: silent[each], default=None)
        if oldest is None or silent[oldest] - self.limits.request_s > time.monotonic() - SILENT_AT_LEAST_S:
            return False
        del self._waiting[oldest]
        hang_up(oldest)
        return True

    def _decline(self, address: str, reason: str) -> None:
        with self._lock:
            key = (address, reason)
            is_known = key in self._declined or len(self._declined) < TOLD_AT_A_TIME
            self._declined[key if is_known else (OTHERS, reason)] += 1

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Bring a connection as far as an association, or close it."""
        connection: socket.socket = request
        reason: str | None = "broken off"
        try:
            connection = self._secured(request)
            reason = self._unlike_an_association(connection)
            if reason is None:
                self.finish_request(connection, client_address)
        except (OSError, ValueError) as fault:
            reason = f"{getattr(fault, 'reason', None) or type(fault).__name__}"
        finally:
            with self._lock:
                own = self._waiting.pop(connection, None) or self._waiting.pop(request, None)
            if reason is not None:
                if own is None:
                    reason = "silent for longest when there was room for no other connection"
                elif own[0] < time.monotonic():
                    reason = TOO_LATE
                self._decline(client_address[0], reason)
                self.shutdown_request(connection)

    def service_actions(self) -> None:
        """Close what has been silent for too long, and tell how many were declined; called twice a second."""
        super().service_actions()
        now = time.monotonic()
        with self._lock:
            late: list[socket.socket | None] = [each for each, (limit, _) in self._waiting.items() if limit < now]
            for association, limit in self._associations.items():
                if limit < now and not association.is_established and association.dul.socket is not None:
                    cast(OneThreadAssociation, association).dul.reason = TOO_LATE
                    late.append(association.dul.socket.socket)
        for connection in late:
            hang_up(connection)  # wakes the thread that reads from it
        if now > self._tell_at and self._tell_declined():
            self._tell_at = now + TELL_EVERY_S

    def _tell_declined(self) -> bool:
        """Log who was declined and why since the last time; say whether anybody was."""
        with self._lock:
            declined, self._declined = self._declined, Counter()
        for (address, reason), count in declined.items():
            log.warning("connections_declined", address=address, reason=reason, count=count)
        return bool(declined)

    def shutdown(self) -> None:
        """Stop listening."""
        BaseServer.shutdown(self)
        self.server_close()
        self._tell_declined()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  the base class names it
        """Note a fault of a connection; it must not disturb the others."""
        self._decline(client_address[0], "broken off")

    def _secured(self, request: socket.socket) -> socket.socket:
        """Return the connection, or TLS over it, once its handshake is done."""
        request.settimeout(self.limits.request_s)
        if self._tls is None:
            return request
        secured = self._tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        with self._lock:  # the plain one is empty from here on
            if request in self._waiting:  # else it has just been ended
                self._waiting[secured] = self._waiting.pop(request)
        secured.do_handshake()
        return secured

    def _unlike_an_association(self, connection: socket.socket) -> str | None:
        """Return what is wrong with how a connection begins."""
        if self._tls is not None:  # it cannot be peeked into; who has shown a certificate is no passer-by
            return None
        first = connection.recv(1, socket.MSG_PEEK)
        if not first:
            return "closed before it asked for an association"
        return None if first[0] == ASSOCIATE_REQUEST else "does not begin like an association request"


def _has_ended(association: Association) -> bool:
    return association.ident is not None and not association.is_alive()
