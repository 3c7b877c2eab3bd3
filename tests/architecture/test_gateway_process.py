"""The gateway's process stays small: what it loads is counted in a fresh interpreter."""

import pkgutil
import sys
from pathlib import Path

import app.gateway
from tests.architecture.gates import run_gate

HEAVY = ("torch", "torchvision", "holoscan", "monai", "scipy", "skimage", "highdicom")
GATEWAY = sorted(module.name for module in pkgutil.walk_packages(app.gateway.__path__, "app.gateway."))


def heavy_modules(*modules: str, folder: Path | None = None) -> set[str]:
    """Return which of the heavy packages are loaded after an import of the modules."""
    program = f"import sys, {', '.join(modules)}; print(*(set(sys.modules) & set({HEAVY})))"
    command = (sys.executable, "-c", program)
    outcome = run_gate(*command) if folder is None else run_gate(*command, folder=folder)
    assert outcome.returncode == 0, outcome.stdout
    return set(outcome.stdout.split())


def test_the_gateway_loads_neither_networks_nor_the_dag() -> None:
    """Also not through another package: import-linter does not look inside those."""
    assert heavy_modules("app.gateway", *GATEWAY) == set()


def test_a_heavy_import_through_another_package_is_seen(tmp_path: Path) -> None:
    """A module that loads scipy by way of another is caught."""
    (tmp_path / "innocent.py").write_text("import planted\n")
    (tmp_path / "planted.py").write_text("import scipy\n")

    assert heavy_modules("innocent", folder=tmp_path) == {"scipy"}
