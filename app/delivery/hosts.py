"""Whether the network knows the name of a machine."""

import socket

# Answers that mean "there is no such name", and not "nobody could be asked": with those a node waits and tries again.
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})


def is_unknown(host: str) -> bool:
    """Tell whether a name is none: the name service was asked, and knows no address of it."""
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror as fault:
        return fault.errno in _NO_SUCH_NAME
    except UnicodeError:  # a label is empty or has more than 63 characters
        return True
    return False
