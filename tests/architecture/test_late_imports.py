"""What an engine imports before its pack is known stays small: heavy libraries wait for the network that uses them.

Read from the source, because importing torch to see it would take seconds.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LATE = {"torchvision", "segment_anything", "nnunetv2", "monai", "SimpleITK"}
MODULES = ("models.spinefm.engine", "models.spinefm.compact", "models.spineps.engine")


def imported_at_once(module: str, root: Path = ROOT) -> set[str]:
    """Return the modules that importing a module of ours imports, ours followed, others by their name only."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = root / f"{name.replace('.', '/')}.py"
        if name in found:
            continue
        found.add(name)
        if file.is_file():
            waiting += _at_module_level(ast.parse(file.read_text(encoding="utf-8")).body)
    return found


def _at_module_level(body: list[ast.stmt]) -> list[str]:
    names: list[str] = []
    for statement in body:
        if isinstance(statement, ast.Import):
            names += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            names += [statement.module, *(f"{statement.module}.{alias.name}" for alias in statement.names)]
    return names


def heavy(module: str, root: Path = ROOT) -> set[str]:
    """Return the heavy libraries among what is imported at once."""
    return {name.split(".")[0] for name in imported_at_once(module, root)} & LATE


@pytest.mark.parametrize("module", MODULES)
def test_heavy_libraries_wait_for_the_network_that_needs_them(module: str) -> None:
    """A cold run of a compact pack would pay for them as well."""
    assert len(imported_at_once(module)) > 10
    assert heavy(module) == set()


def test_a_heavy_import_behind_another_module_is_seen(tmp_path: Path) -> None:
    """Directly, or by way of a module of ours; one within a function is none."""
    (tmp_path / "first.py").write_text("import second\n")
    (tmp_path / "second.py").write_text("from torchvision.models import resnet\ndef late():\n    import monai\n")

    assert heavy("first", tmp_path) == {"torchvision"}
