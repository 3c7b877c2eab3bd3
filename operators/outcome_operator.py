"""Last operator of each branch: hands the outcome to whoever started the DAG."""

from collections.abc import Callable
from typing import Any

from holoscan.core import Fragment, Operator, OperatorSpec

from operators.outcome import SeriesOutcome


class OutcomeOperator(Operator):  # type: ignore[misc]  # Holoscan ships no types
    """Hands each SeriesOutcome to `collect`. One per branch: a port that both branches feed would never fire.

    Input:
        outcome: SeriesOutcome.
    """

    def __init__(self, fragment: Fragment, *args: Any, collect: Callable[[SeriesOutcome], None], **kwargs: Any) -> None:
        self._collect = collect
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the port."""
        spec.input("outcome")

    def compute(self, op_input: Any, _op_output: Any, _context: Any) -> None:
        """Hand the outcome over."""
        self._collect(op_input.receive("outcome"))
