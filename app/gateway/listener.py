"""The listener of the Storage SCP: what a connection may cost before it has shown that it is an association.

A connection from a foreign address, or beyond the limit, is closed at once. Another gets one thread and a time limit
for TLS and for the first bytes of an association request; what begins otherwise (a port scanner, a browser, silence)
is closed without an association having been made for it.
"""

import socket
import ssl
import threading
import time
from socketserver import BaseServer
from typing import Any

from pynetdicom.association import Association
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from app.gateway.access import Access
from app.gateway.upper_layer import GuardedSocket, Keep, OneThreadAssociation
from app.logs import get_logger
from app.peer_settings import Limits

ASSOCIATE_REQUEST = 0x01  # PS3.8 Table 9-11: the type of the first PDU of every association
TELL_EVERY_S = 60.0

log = get_logger()


class GuardedHandler(RequestHandler):
    """Makes the association of a connection that has begun like one."""

    server: "Listener"

    def _create_association(self) -> Association:
        association = OneThreadAssociation(self.ae, self.server.keep)
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
        keep: keeps an instance and returns the status.
        **kwargs: of pynetdicom's server.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, *args: Any, access: Access, limits: Limits, tls: ssl.SSLContext | None, keep: Keep, **kwargs: Any
    ) -> None:
        self.limits = limits
        self.keep = keep
        self._access = access
        self._tls = tls
        self._lock = threading.Lock()
        self._waiting: dict[socket.socket, float] = {}  # connections without an association → their time limit
        self._associations: dict[Association, float] = {}  # → time limit of those that are not established
        self._declined = 0
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

    @property
    def established_count(self) -> int:
        """How many associations are established."""
        with self._lock:
            return sum(association.is_established for association in self._associations)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Say whether a connection may stay; asked in the listening thread, before it costs anything."""
        with self._lock:
            self._associations = {each: limit for each, limit in self._associations.items() if not _has_ended(each)}
            is_room = len(self._waiting) + len(self._associations) < self.limits.connections
            admitted = is_room and self._access.admits_address(client_address[0])
            if admitted:
                self._waiting[request] = time.monotonic() + self.limits.request_s
            else:
                self._declined += 1
        return admitted

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Bring a connection as far as an association, or close it."""
        connection: socket.socket = request
        begun = False
        try:
            connection = self._secured(request)
            begun = self._begins_like_an_association(connection)
            if begun:
                self.finish_request(connection, client_address)
        except (OSError, ValueError) as fault:
            begun = False
            log.debug("connection_broken", address=client_address[0], fault=type(fault).__name__)
        finally:
            with self._lock:
                self._waiting.pop(connection, None)
                self._waiting.pop(request, None)
                self._declined += not begun
            if not begun:
                self.shutdown_request(connection)

    def service_actions(self) -> None:
        """Close what has been silent for too long, and tell how many were declined; called twice a second."""
        super().service_actions()
        now = time.monotonic()
        with self._lock:
            late: list[socket.socket | None] = [each for each, limit in self._waiting.items() if limit < now]
            for association, limit in self._associations.items():
                if limit < now and not association.is_established and association.dul.socket is not None:
                    late.append(association.dul.socket.socket)
            declined = self._declined if now > self._tell_at else 0
            self._declined -= declined
        for connection in late:
            _hang_up(connection)  # wakes the thread that reads from it
        if declined:
            self._tell_at = now + TELL_EVERY_S
            log.warning("connections_declined", count=declined)

    def shutdown(self) -> None:
        """Stop listening."""
        BaseServer.shutdown(self)
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  the base class names it
        """Note a fault of a connection; it must not disturb the others."""
        log.debug("connection_broken", address=client_address[0])

    def _secured(self, request: socket.socket) -> socket.socket:
        """Return the connection, or TLS over it, once its handshake is done."""
        request.settimeout(self.limits.request_s)
        if self._tls is None:
            return request
        secured = self._tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        with self._lock:  # the plain one is empty from here on
            self._waiting[secured] = self._waiting.pop(request)
        secured.do_handshake()
        return secured

    def _begins_like_an_association(self, connection: socket.socket) -> bool:
        # TLS cannot be peeked into; who has shown a certificate is no passer-by
        return self._tls is not None or connection.recv(1, socket.MSG_PEEK) == bytes([ASSOCIATE_REQUEST])


def _has_ended(association: Association) -> bool:
    return association.ident is not None and not association.is_alive()


def _hang_up(connection: socket.socket | None) -> None:
    try:
        if connection is not None:
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # not TLS' own, which another thread may be in
    except OSError:  # it went by itself
        return
