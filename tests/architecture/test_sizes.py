"""No module and no function is too long to be read at once."""

from tests.architecture.gates import ROOMS, ROOT, tracked_files
from tests.architecture.sizes import FUNCTION_LINES, MODULE_LINES, oversize


def test_modules_and_functions_are_short() -> None:
    """Limits for the rooms; tests and their tables may be longer."""
    modules = [path for path in tracked_files() if path.suffix == ".py" and path.parts[0] in ROOMS]

    faults = [fault for path in modules for fault in oversize(str(path), (ROOT / path).read_text())]

    assert not faults, "\n".join(faults)


def test_a_long_function_is_named() -> None:
    """One line over the limit is refused; a docstring and comments are free."""
    body = "    x = 1\n"
    head = 'def f():\n    """One.\n\n    Two.\n    """\n    # why\n\n'

    assert list(oversize("m.py", head + body * (FUNCTION_LINES - 1))) == []
    assert list(oversize("m.py", head + body * FUNCTION_LINES)) == ["m.py:1: f has 41 lines of code, at most 40"]


def test_a_long_module_is_named() -> None:
    """One line over the limit is refused."""
    assert list(oversize("m.py", "x = 1\n" * MODULE_LINES)) == []
    assert list(oversize("m.py", "x = 1\n" * (MODULE_LINES + 1))) == ["m.py: 501 lines, at most 500: split it"]
