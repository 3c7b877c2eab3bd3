"""The gates of this project as commands, to run on the checkout or on a folder with a planted fault."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("app", "operators", "models")
CONFIGURATION = ROOT / "pyproject.toml"
TOOLS = Path(sys.executable).parent

RUFF_CHECK = (str(TOOLS / "ruff"), "check", "--config", str(CONFIGURATION))
RUFF_FORMAT = (str(TOOLS / "ruff"), "format", "--check", "--config", str(CONFIGURATION))
MYPY = (str(TOOLS / "mypy"), "--config-file", str(CONFIGURATION), "--cache-dir", str(ROOT / ".mypy_cache"))
LINT_IMPORTS = (str(TOOLS / "lint-imports"), "--no-cache", "--config", str(CONFIGURATION))
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "pytest_timeout", "-c", str(CONFIGURATION))


def run_gate(*command: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder that it takes for the checkout; stdout and stderr come back together.

    Args:
        command: program and arguments.
        folder: working directory, first on the import path.
    """
    # Wide, so that no tool breaks a line in the middle of what a test looks for.
    # Without plugins a test run starts in a quarter of the time, and none of ours is about one.
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "COLUMNS": "400",
        "NO_COLOR": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def tracked_files() -> tuple[Path, ...]:
    """Return the files of the checkout that git knows, relative to its root."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(Path(name) for name in listing.split("\0") if name and (ROOT / name).is_file())
