"""One request to a DICOMweb server: TLS, credentials from files, an answer of bounded size."""

import base64
import http.client
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

from app.delivery.tls import address_of, client_context
from app.peer_settings import ClientTls, WebDestination
from models.errors import SpondylError

TIMEOUT_S = 60.0
LARGEST_ANSWER = 16 << 20

# What the answers say of this node's log-in, and what to do: RFC 9110 sections 15.5.2 and 15.5.4.
DENIED_WORDS: Mapping[int, str] = MappingProxyType(
    {
        401: "does not accept the credentials of this node: mend token_file, or user and password_file",
        403: "knows this node but does not authorise it: let its administrator permit it to store and to query",
    }
)


class WebFault(SpondylError):
    """The server could not be asked: it is away, or a credential cannot be read; trying again may help."""


@dataclass(frozen=True)
class WebAnswer:
    """Status and body of an answer."""

    status: int
    body: bytes


def ask(
    destination: WebDestination,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str],
    body: Iterable[bytes] | None = None,
) -> WebAnswer:
    """Send one request and return its answer; redirections are not followed.

    Args:
        destination: whom to ask.
        method: GET or POST.
        path: behind the destination's URL, with its query.
        headers: of the request, the Content-Length included where there is a body.
        body: its pieces.

    Raises:
        WebFault: the server is away, broke off, or a credential cannot be read.
    """
    connection = _connection(destination)
    try:
        target = f"{urlsplit(destination.url).path.rstrip('/')}{path}"
        connection.request(method, target, body=body, headers={**headers, **_credentials(destination)})
        answer = connection.getresponse()
        content = answer.read(LARGEST_ANSWER + 1)
    except (OSError, http.client.HTTPException) as fault:
        reason = getattr(fault, "verify_message", None) or getattr(fault, "strerror", None) or type(fault).__name__
        raise WebFault(f"{destination.url} cannot be asked ({reason}): is it running, is the URL right?") from fault
    finally:
        connection.close()
    if len(content) > LARGEST_ANSWER:
        raise WebFault(f"{destination.url} answered with more than {LARGEST_ANSWER >> 20} MiB")
    return WebAnswer(answer.status, content)


def _connection(destination: WebDestination) -> http.client.HTTPConnection:
    host, port = address_of(destination.url)
    if destination.url.startswith("http:"):
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    context = client_context(destination.tls or ClientTls())
    return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)


def _credentials(destination: WebDestination) -> dict[str, str]:
    try:
        if destination.token_file is not None:
            token = destination.token_file.read_text("ascii").strip()
            if not token.isprintable():  # http.client would quote it in its complaint
                raise WebFault(f"the credential {destination.token_file} is no token: it has more than one line")
            return {"Authorization": f"Bearer {token}"}
        if destination.user is not None and destination.password_file is not None:
            password = destination.password_file.read_text("utf-8").rstrip("\r\n")
            encoded = base64.b64encode(f"{destination.user}:{password}".encode()).decode("ascii")
            return {"Authorization": f"Basic {encoded}"}
    except (OSError, UnicodeError) as fault:
        file = destination.token_file or destination.password_file
        raise WebFault(f"the credential {file} cannot be read ({type(fault).__name__})") from fault
    return {}
