"""Operator of the DAG that asks SpineFM."""

from typing import Any

from holoscan.core import Fragment, Operator, OperatorSpec

from operators.outcome import carry
from operators.steps import RunPlan, segment_radiograph


class SpineFMOperator(Operator):  # type: ignore[misc]  # Holoscan ships no types
    """Segments a radiograph with a warm engine (`operators/engines.py`).

    Input:
        routed: SeriesOutcome.

    Output:
        segmented: SeriesOutcome.
    """

    def __init__(self, fragment: Fragment, *args: Any, plan: RunPlan, **kwargs: Any) -> None:
        self._plan = plan
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("routed")
        spec.output("segmented")

    def compute(self, op_input: Any, op_output: Any, _context: Any) -> None:
        """Segmenting; a fault travels on as the outcome."""
        received = op_input.receive("routed")
        outcome = carry("segmenting", lambda outcome: segment_radiograph(outcome, self._plan), received)
        op_output.emit(outcome, "segmented")
