"""Certificates for trying TLS on one machine: `python -m tests.certificates FOLDER`. Nobody else should trust them.

Writes an authority (`ca.pem`), a node (`node.pem`, `node.key`), a PACS (`pacs.pem`, `pacs.key`), and a stranger whom
another authority vouches for (`stranger.pem`, `stranger.key`). All are valid for 127.0.0.1 and localhost.
"""

import subprocess
import sys
from pathlib import Path

DAYS = "30"
NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


def make_certificates(folder: Path) -> Path:
    """Write the certificates into a folder, readable by this user only, and return it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for authority in ("ca", "other-ca"):
        _openssl(folder, "req", "-x509", *_key(f"{authority}.key"), "-days", DAYS,
                 "-subj", f"/CN=Spondyl test {authority}", "-out", f"{authority}.pem")  # fmt: skip
    for name, authority in (("node", "ca"), ("pacs", "ca"), ("stranger", "other-ca")):
        _openssl(folder, "req", "-x509", *_key(f"{name}.key"), "-days", DAYS, "-subj", f"/CN={name}",
                 "-addext", NAMES, "-addext", "basicConstraints=critical,CA:FALSE",
                 "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-out", f"{name}.pem")  # fmt: skip
    for key in folder.glob("*.key"):
        key.chmod(0o600)
    return folder


def _key(file: str) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", file]


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


if __name__ == "__main__":
    print(make_certificates(Path(sys.argv[1])))
