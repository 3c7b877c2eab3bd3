"""What every HTTP answer of the dashboard carries, and under which host names it answers at all.

A page on a foreign site may give its own domain the address of this node (DNS rebinding) and so read what only this
network should see. Such a request names the foreign domain in its Host header: it gets 421 (RFC 9110, 15.5.20). An IP
address cannot be rebound, so addresses are always answered.
"""

import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from ipaddress import ip_address
from types import MappingProxyType
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

MISDIRECTED_REQUEST = 421

SECURITY_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        # nothing but the page's own style sheet: no script, no picture, no frame, no form
        "Content-Security-Policy": (
            "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        # the state of studies must lie in no cache, neither a browser's nor a proxy's
        "Cache-Control": "no-store",
    }
)


def secure(page: FastAPI, *, host_names: Iterable[str]) -> None:
    """Answer under known host names only, and add the security headers to every answer.

    Args:
        page: the application to guard.
        host_names: names under which it is reached besides IP addresses, localhost and this machine's own name.
    """
    known = frozenset(name.lower() for name in (*host_names, "localhost", socket.gethostname(), socket.getfqdn()))

    @page.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if _is_known(request.headers.get("host", ""), known):
            response = await call_next(request)
        else:
            words = (
                "unknown host name in the request: use the address of this node, or add it to dashboard.host_names\n"
            )
            response = PlainTextResponse(words, status_code=MISDIRECTED_REQUEST)
        response.headers.update(SECURITY_HEADERS)
        return response


def _is_known(host: str, known: frozenset[str]) -> bool:
    """Say whether a Host header (name or address, with or without a port) may be answered."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:  # brackets that hold no address
        return False
    return name.rstrip(".") in known or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
