"""Nothing in the repository depends on the machine where it was written."""

import re

import pytest

from tests.architecture.gates import ROOT, tracked_files
from tests.architecture.tracked_text import foreign_names

# The rules themselves name what they forbid.
RULES = {"tests/architecture/tracked_text.py", "tests/architecture/test_tracked_files.py"}


def test_no_tracked_file_names_a_machine() -> None:
    """No host names and no absolute paths of one machine, in code, documents and locks alike."""
    faults: list[str] = []
    for path in tracked_files():
        data = (ROOT / path).read_bytes()
        if str(path) not in RULES and b"\0" not in data:
            faults += foreign_names(str(path), data.decode())

    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "text",
    [
        "--index-url https://pypi.internal/simple",
        "see http://build-7:8080/log",
        'DATA = "/home/somebody/data"',
        "cp /root/x y",
        "git+ssh://git@forge.internal/x",
    ],
)
def test_a_machine_is_found(text: str) -> None:
    """What would work on one machine only is refused."""
    assert list(foreign_names("file", f"first line\n{text}\n"))[0].startswith("file:2: ")


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8042/system",
        "1.2.840.10008.5.1.4.1.1.66.4",
        "/opt/holoscan/models",
        "packs/10.1.2.zip",
        "out/work/x",
    ],
)
def test_common_names_are_let_pass(text: str) -> None:
    """Loopback addresses, UIDs and paths that the platform prescribes are the same everywhere."""
    assert list(foreign_names("file", text)) == []


def test_the_lock_pins_every_package_with_hashes() -> None:
    """`name==version` and SHA-256 hashes, and nothing else: no index, no path, no option."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    allowed = re.compile(r"#.*|[a-z0-9._-]+(\[[a-z0-9,_-]+\])?==[\w.+!-]+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?")

    assert [line for line in lines if not allowed.fullmatch(line)] == []
