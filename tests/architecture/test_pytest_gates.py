"""Warnings, doctests and unknown markers are red on planted faults; peers are required where CI says so."""

import shutil
from pathlib import Path

import pytest

from tests.architecture.gates import PYTEST, ROOT, run_gate

HEAD = '"""Tests."""\n\nimport gc\nimport threading\nimport warnings\n\nimport pytest\n\n\n'
# what is wrong, a module that has it, what the run says
FAULTS = {
    "a warning": (
        f"{HEAD}def test_it() -> None:\n    warnings.warn('planted', stacklevel=1)\n",
        "UserWarning: planted",
    ),
    "a deprecation": (
        f"{HEAD}def test_it() -> None:\n    warnings.warn('planted', DeprecationWarning, stacklevel=1)\n",
        "DeprecationWarning: planted",
    ),
    "a file left open": (
        f"{HEAD}def test_it() -> None:\n    open(__file__)\n    gc.collect()\n",
        "ResourceWarning: unclosed file",
    ),
    "a fault in a thread": (
        f"{HEAD}def test_it() -> None:\n    thread = threading.Thread(target=lambda: 1 / 0)\n"
        "    thread.start()\n    thread.join()\n",
        "ZeroDivisionError",
    ),
    "an unknown marker": (
        f"{HEAD}@pytest.mark.planted\ndef test_it() -> None:\n    pass\n",
        "'planted' not found in `markers`",
    ),
    "a doctest": ('"""A sum.\n\n>>> 1 + 1\n3\n"""\n', "Expected:"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_test_run_is_red(fault: str, tmp_path: Path) -> None:
    """With the options of pyproject.toml the planted fault fails the run."""
    text, complaint = FAULTS[fault]
    (tmp_path / "test_planted.py").write_text(text)

    outcome = run_gate(*PYTEST, "--rootdir", str(tmp_path), "test_planted.py", folder=tmp_path)

    assert outcome.returncode != 0
    assert complaint in outcome.stdout


@pytest.mark.parametrize(("ci", "code", "word"), [("true", 1, "1 error"), ("", 0, "1 skipped")])
def test_a_missing_peer_fails_only_where_peers_are_installed(
    ci: str, code: int, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI=true installs the peers, so that one missing there is a fault; elsewhere the test says why it is skipped."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_planted.py").write_text(
        "import pytest\n\n\n@pytest.mark.peers('no-such-peer')\ndef test_it() -> None:\n    pass\n"
    )
    monkeypatch.setenv("CI", ci)

    outcome = run_gate(*PYTEST, "--rootdir", str(tmp_path), "test_planted.py", folder=tmp_path)

    assert outcome.returncode == code
    assert "not on the PATH: no-such-peer" in outcome.stdout
    assert word in outcome.stdout
