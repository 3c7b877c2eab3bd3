"""What an installation contains, and that it asks for what the code imports."""

import ast
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.gates import CONFIGURATION, ROOMS, ROOT, run_gate, tracked_files

PROJECT = tomllib.loads(CONFIGURATION.read_text())["project"]
DECLARED = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
# Needed though no module of ours imports them, and what for.
NEVER_IMPORTED = {
    "jinja2": "the templates of fastapi",
    "monai-deploy-app-sdk": "names its Holoscan, whose Application and Operator are the ones it uses",
    "pylibjpeg": "finds the decoders for pydicom",
    "pylibjpeg-openjpeg": "JPEG 2000 for pydicom",
    "pylibjpeg-rle": "RLE for pydicom",
    "pyjpegls": "JPEG-LS for pydicom",
}


def imported_names() -> set[str]:
    """Return the top-level packages that the rooms import, the standard library's and their own left out."""
    names = set()
    for path in tracked_files():
        if path.suffix != ".py" or path.parts[0] not in ROOMS:
            continue
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - set(ROOMS)


def test_every_import_is_a_declared_dependency() -> None:
    """What is imported must not depend on somebody else's requirement."""
    distributions = packages_distributions()

    undeclared = {
        name
        for name in imported_names()
        if not DECLARED & {canonicalize_name(distribution) for distribution in distributions.get(name, [])}
    }

    assert undeclared == set()


def test_every_declared_dependency_is_imported() -> None:
    """A dependency has a reason, or goes."""
    distributions = packages_distributions()

    imported = {
        canonicalize_name(distribution) for name in imported_names() for distribution in distributions.get(name, [])
    }

    assert DECLARED - imported - set(NEVER_IMPORTED) == set()


def test_a_wheel_holds_the_code_the_manifests_and_the_packs(tmp_path: Path) -> None:
    """What lies beside the code in a checkout lies beside it in an installation."""
    pytest.importorskip("hatchling", reason="the build backend is not installed: ./run setup brings it")
    outcome = run_gate(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    assert outcome.returncode == 0, outcome.stdout
    wanted = {
        str(path)
        for path in tracked_files()
        if path.parts[0] in {*ROOMS, "manifests"} and path.name not in {".gitignore", ".gitkeep"}
    }

    wheel = zipfile.ZipFile(next(tmp_path.glob("spondyl-*.whl")))
    with wheel:
        names = set(wheel.namelist())

    assert wanted - names == set()
    assert not {name for name in names if name.startswith(("tests/", "docs/"))}
