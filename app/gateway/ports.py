"""Whether a port can be had."""

import socket


def port_fault(host: str, port: int) -> str | None:
    """Return why this node cannot listen at an address, or None where it can.

    Args:
        host: the address to bind.
        port: the port to bind; 0 is always free.
    """
    try:
        with socket.create_server((host, port)):
            return None
    except OSError as fault:
        return f"{host}:{port}: {fault.strerror or fault}"
