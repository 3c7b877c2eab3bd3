"""What no tracked file may hold: names of machines, and paths that exist on one machine only."""

import re
from collections.abc import Iterator

# Hosts that stand for anyone's machine (RFC 2606, RFC 6761) or are the name of a licence, a schema or a standard.
COMMON_HOSTS = frozenset(
    {
        "127.0.0.1",
        "localhost",
        "example.org",
        "example.com",
        "www.apache.org",
        "keepachangelog.com",
        "semver.org",
        "www.w3.org",
        "dicom.nema.org",
    }
)
_HOST = re.compile(r"\b[a-z][a-z0-9+.-]*://([^\s/:\"'`<>()\]{}$]+)", re.IGNORECASE)
_MACHINE_PATH = re.compile(r"(?<![\w./~-])/(?:root|home|work|Users|mnt|media)/[\w.-]+")


def foreign_names(name: str, text: str) -> Iterator[str]:
    """Yield a sentence for each host and machine path in a text.

    Args:
        name: path to name in the sentences.
        text: the file's content.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        for host in _HOST.findall(line):
            if host.lower().rpartition("@")[2] not in COMMON_HOSTS:
                yield f"{name}:{number}: host {host}"
        for path in _MACHINE_PATH.findall(line):
            yield f"{name}:{number}: path {path}"
