"""Router of the DAG: decides which engine takes a Series."""

from typing import Any

from holoscan.core import Fragment, Operator, OperatorSpec

from operators.steps import RunPlan, decide

SKIPPED = "skipped"


class ModalityRouterOperator(Operator):  # type: ignore[misc]  # Holoscan ships no types
    """Emits a SeriesOutcome on the port of the engine that takes the Series, or on `skipped`.

    Input:
        series: SourceSeries.

    Outputs:
        spinefm: SeriesOutcome of a radiograph for SpineFM.
        spineps: SeriesOutcome of an MR Series for SPINEPS.
        skipped: SeriesOutcome of a Series that no engine takes.
    """

    def __init__(self, fragment: Fragment, *args: Any, plan: RunPlan, view_number: int = 1, **kwargs: Any) -> None:
        self._plan = plan
        self._view_number = view_number
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("series")
        spec.output("spinefm")
        spec.output("spineps")
        spec.output(SKIPPED)

    def compute(self, op_input: Any, op_output: Any, _context: Any) -> None:
        """Decide, and emit on one port: only that branch of the DAG runs."""
        outcome = decide(op_input.receive("series"), self._plan, view_number=self._view_number)
        op_output.emit(outcome, outcome.decision.engine or SKIPPED)
