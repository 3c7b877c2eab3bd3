"""Judges of other makers: the MAP packager, and the schemas of compose files and of Kubernetes.

Their packages do not go with those of the node, so that `.ci/run` gives them an environment of their own.
"""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".cache" / "oracles"


def ask(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program of that environment (`python`, `check-jsonschema`, …) in the checkout; skip where there is none.

    With CI=true its absence is a failure.
    """
    program, *arguments = map(str, words)
    if not (ENVIRONMENT / "bin" / program).exists():
        reason = f"{program} is not in .cache/oracles: `CI=true bash .ci/run` fills it"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    command = [str(ENVIRONMENT / "bin" / program), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
