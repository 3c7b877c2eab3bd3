"""Last operator of each branch: stores the results and hands the outcome to whoever started the DAG."""

from collections.abc import Callable
from typing import Any

from holoscan.core import Fragment, Operator, OperatorSpec

from operators.outcome import SeriesOutcome, carry
from operators.steps import RunPlan
from operators.writers import store_results


class OutcomeOperator(Operator):  # type: ignore[misc]  # Holoscan ships no types
    """Puts the results on disk and hands the SeriesOutcome to `collect`.

    One per branch: a port that both branches feed would never fire.

    Input:
        outcome: SeriesOutcome.
    """

    def __init__(
        self, fragment: Fragment, *args: Any, plan: RunPlan, collect: Callable[[SeriesOutcome], None], **kwargs: Any
    ) -> None:
        self._plan = plan
        self._collect = collect
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the port."""
        spec.input("outcome")

    def compute(self, op_input: Any, _op_output: Any, _context: Any) -> None:
        """Store, then hand over; a fault becomes the outcome."""
        received = op_input.receive("outcome")
        self._collect(carry("storing results", lambda outcome: store_results(outcome, self._plan), received))
