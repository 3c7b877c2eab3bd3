"""TLS towards destinations: 1.2 or later, their certificate and host name always checked."""

import socket
import ssl
from urllib.parse import urlsplit

from app.peer_settings import ClientTls
from models.errors import SpondylError


class TlsUnusable(SpondylError):
    """A certificate or key of the settings cannot be used: the message names the file."""


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """Return the context of a connection to a destination.

    Raises:
        TlsUnusable: a file cannot be read, or a key does not belong to its certificate.
    """
    try:
        context = ssl.create_default_context(cafile=str(tls.ca_file) if tls.ca_file else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.certificate_file is not None and tls.key_file is not None:
            context.load_cert_chain(tls.certificate_file, tls.key_file)
    except (OSError, ssl.SSLError) as fault:
        files = ", ".join(str(file) for file in (tls.ca_file, tls.certificate_file, tls.key_file) if file)
        raise TlsUnusable(f"TLS cannot be set up from {files}: {_words(fault)}; mend the files or app.yaml") from fault
    return context


def tls_fault(host: str, port: int, tls: ClientTls, *, timeout_s: float) -> str | None:
    """Return why TLS with an address does not come about, or None where it does (or nobody listens)."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as plain:
            try:
                with client_context(tls).wrap_socket(plain, server_hostname=host) as secured:
                    secured.settimeout(timeout_s)
                    # TLS 1.3: a server that wants another certificate says so behind its handshake
                    secured.recv(1)
            except TimeoutError:
                return None
            except (TlsUnusable, ssl.SSLError, OSError) as fault:
                return _words(fault)
    except OSError:
        return None
    return None


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of a URL.

    >>> address_of("https://example.org/dicom-web")
    ('example.org', 443)
    """
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _words(fault: Exception) -> str:
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({fault.verify_message})"
    if isinstance(fault, ssl.SSLError):
        return f"TLS failed ({fault.reason or 'no reason given'})"
    return str(fault) if isinstance(fault, TlsUnusable) else f"{getattr(fault, 'strerror', None) or fault}"
