"""TLS in front of a service that speaks none, as a reverse proxy does (Debian's Orthanc dies of its first HTTPS)."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any


class _Relay(BaseRequestHandler):
    server: "_Front"

    def handle(self) -> None:
        try:
            outside = self.server.tls.wrap_socket(self.request, server_side=True)
        except OSError:  # the client declined the certificate
            return
        with outside, socket.create_connection(("127.0.0.1", self.server.port)) as inside:
            back = threading.Thread(target=_copy, args=(inside, outside))
            back.start()
            _copy(outside, inside)
            back.join()


class _Front(ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext, port: int) -> None:
        self.tls, self.port = tls, port
        super().__init__(("127.0.0.1", 0), _Relay)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no fault of the test."""


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while content := source.recv(65536):
            target.sendall(content)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # the other side has gone
        return


@contextmanager
def tls_front(certificates: Path, port: int) -> Iterator[int]:
    """Run TLS with the certificate of `pacs` in front of a port of this machine, and return its own port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "pacs.pem", certificates / "pacs.key")
    with _Front(context, port) as front:
        thread = threading.Thread(target=front.serve_forever, daemon=True)
        thread.start()
        yield int(front.server_address[1])
        front.shutdown()
        thread.join()
