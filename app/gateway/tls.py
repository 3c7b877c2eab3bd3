"""TLS of the Storage SCP: 1.2 or later, clients with a certificate only (PS3.15 annex B)."""

import ssl

from app.peer_settings import ServerTls
from models.errors import SpondylError


class TlsUnusable(SpondylError):
    """The certificate, key or authority of the settings cannot be used: the message names the files."""


def server_context(tls: ServerTls) -> ssl.SSLContext:
    """Return the context of the Storage SCP.

    Raises:
        TlsUnusable: a file cannot be read, or the key does not belong to the certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(tls.certificate_file, tls.key_file)
        context.load_verify_locations(tls.client_ca_file)
    except OSError as fault:  # ssl.SSLError is one
        reason = getattr(fault, "reason", None) or fault.strerror or type(fault).__name__
        files = f"{tls.certificate_file}, {tls.key_file}, {tls.client_ca_file}"
        raise TlsUnusable(f"TLS cannot be set up from {files}: {reason}; mend the files or app.yaml") from fault
    return context
