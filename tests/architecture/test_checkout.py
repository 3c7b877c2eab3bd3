"""The checkout passes each gate; that each gate can be red is shown in the other files of this folder."""

from tests.architecture.gates import LINT_IMPORTS, MYPY, RUFF_CHECK, RUFF_FORMAT, run_gate


def test_the_checkout_passes_the_linter() -> None:
    """Every rule that is not wanted is switched off in pyproject.toml with its reason."""
    outcome = run_gate(*RUFF_CHECK, ".")

    assert outcome.returncode == 0, outcome.stdout


def test_the_checkout_is_formatted() -> None:
    """One form for all: `ruff format` writes it."""
    outcome = run_gate(*RUFF_FORMAT, ".")

    assert outcome.returncode == 0, outcome.stdout


def test_the_checkout_is_typed() -> None:
    """Strict typing, in the code and in the tests."""
    outcome = run_gate(*MYPY)

    assert outcome.returncode == 0, outcome.stdout


def test_the_rooms_know_only_whom_they_may_know() -> None:
    """The contracts of pyproject.toml hold."""
    outcome = run_gate(*LINT_IMPORTS)

    assert outcome.returncode == 0, outcome.stdout
