"""The linter, the formatter and the type checker are red on planted faults."""

from pathlib import Path

import pytest

from tests.architecture.gates import MYPY, RUFF_CHECK, RUFF_FORMAT, run_gate

# rule → a module that breaks it and nothing else
FAULTS = {
    "E501": f'"""A module."""\n\nLINE = "{"x" * 120}"\n',
    "F401": '"""A module."""\n\nimport os\n',
    "N801": '"""A module."""\n\n\nclass lower:\n    """A class."""\n',
    "UP006": '"""A module."""\n\nfrom typing import List\n\nNAMES: List[str] = []\n',
    "B006": '"""A module."""\n\n\ndef f(x: list[int] = []) -> list[int]:\n    """Return x."""\n    return x\n',
    "D103": '"""A module."""\n\n\ndef f() -> None:\n    pass\n',
    "SIM115": '"""A module."""\n\nFILE = open("x")\n',
    "PTH123": '"""A module."""\n\nwith open("x") as file:\n    TEXT = file.read()\n',
    "RET505": '"""A module."""\n\n\ndef f(x: int) -> int:\n    """Return."""\n'
    "    if x:\n        return 1\n    else:\n        return 2\n",
    "ARG001": '"""A module."""\n\n\ndef f(x: int) -> int:\n    """Return."""\n    return 1\n',
    "PLR0917": '"""A module."""\n\n\ndef f(a: int, b: int, c: int, d: int, e: int, g: int) -> int:\n    """Sum."""\n'
    "    return a + b + c + d + e + g\n",
    "PLC0415": '"""A module."""\n\n\ndef f() -> int:\n    """Return."""\n    import os\n\n    return os.getpid()\n',
    "RUF100": '"""A module."""\n\nX = 1  # noqa: E501\n',
    "S101": '"""A module."""\n\n\ndef f(x: int) -> int:\n    """Return."""\n    assert x\n    return x\n',
    "S301": '"""A module."""\n\nimport pickle\n\nX = pickle.loads(b"")\n',
    "TID251": '"""A module."""\n\nimport pickle\n\nX = pickle.dumps(1)\n',
}


@pytest.mark.parametrize("rule", FAULTS)
def test_the_linter_is_red(rule: str, tmp_path: Path) -> None:
    """A module that breaks one rule is refused with that rule's name."""
    (tmp_path / "planted.py").write_text(FAULTS[rule])

    outcome = run_gate(*RUFF_CHECK, "--no-cache", "planted.py", folder=tmp_path)

    assert outcome.returncode == 1
    assert rule in outcome.stdout


def test_the_dag_framework_is_banned_outside_its_door(tmp_path: Path) -> None:
    """import-linter sees only the first word of `monai.deploy`, so ruff bans it by its full name."""
    (tmp_path / "planted.py").write_text('"""A module."""\n\nfrom monai.deploy.core import Fragment\n\nX = Fragment\n')

    outcome = run_gate(*RUFF_CHECK, "--no-cache", "planted.py", folder=tmp_path)

    assert outcome.returncode == 1
    assert "only operators/*_operator.py and app/application.py" in outcome.stdout


def test_the_formatter_is_red(tmp_path: Path) -> None:
    """A module in another form is refused."""
    (tmp_path / "planted.py").write_text("X = {  'a':1 }\n")

    outcome = run_gate(*RUFF_FORMAT, "--no-cache", "planted.py", folder=tmp_path)

    assert outcome.returncode == 1
    assert "1 file would be reformatted" in outcome.stdout


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("def f(x):\n    return x\n", "no-untyped-def"),
        ("def f(x: list) -> None: ...\n", "type-arg"),
        ('X: int = "one"\n', "assignment"),
        ("import nowhere_at_all\n", "import-not-found"),
        ('X: int = "one"  # type: ignore\n', "ignore-without-code"),
    ],
)
def test_the_type_checker_is_red(module: str, code: str, tmp_path: Path) -> None:
    """A module with a fault of type is refused with the fault's code."""
    (tmp_path / "planted.py").write_text(module)

    outcome = run_gate(*MYPY, "planted.py", folder=tmp_path)

    assert outcome.returncode == 1
    assert f"[{code}]" in outcome.stdout
