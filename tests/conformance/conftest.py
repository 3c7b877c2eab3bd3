"""What the conformance tests share: dciodvfy as a function."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def errors_in(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], set[str]]:
    """Return what finds dciodvfy's error lines for a file; absent, the test is skipped, but not where CI=true."""
    program = shutil.which("dciodvfy")
    if program is None and os.environ.get("CI") == "true":
        pytest.fail("dciodvfy is not on the PATH: install dicom3tools")
    if program is None:
        pytest.skip("dciodvfy is not on the PATH (Debian: dicom3tools)")
    folder = tmp_path_factory.mktemp("dciodvfy")

    def errors(encoded: bytes) -> set[str]:
        path = folder / "instance.dcm"
        path.write_bytes(encoded)
        answer = subprocess.run([program, str(path)], capture_output=True, text=True, check=False, timeout=60)
        lines = (answer.stdout + answer.stderr).splitlines()
        assert any(not line.startswith(("Error", "Warning")) for line in lines), "dciodvfy names the IOD it checks"
        return {line for line in lines if line.startswith("Error")}

    return errors
