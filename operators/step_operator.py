"""What the operators of a branch share: one step of the DAG, from a SeriesOutcome to the next."""

from abc import abstractmethod
from typing import Any, ClassVar

from holoscan.core import Fragment, Operator, OperatorSpec

from operators.outcome import SeriesOutcome, carry
from operators.steps import RunPlan

RECEIVED, DONE = "received", "done"


class StepOperator(Operator):  # type: ignore[misc]  # Holoscan ships no types
    """Takes one step and times it; a fault travels on as the outcome.

    Input:
        received: SeriesOutcome.

    Output:
        done: SeriesOutcome.

    doing: the step in words, for timings and faults.
    """

    doing: ClassVar[str]

    def __init__(self, fragment: Fragment, *args: Any, plan: RunPlan, **kwargs: Any) -> None:
        self._plan = plan
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input(RECEIVED)
        spec.output(DONE)

    def compute(self, op_input: Any, op_output: Any, _context: Any) -> None:
        """Take the step."""
        received = op_input.receive(RECEIVED)
        outcome = carry(self.doing, lambda outcome: self.step(outcome, self._plan), received)
        op_output.emit(outcome, DONE)

    @abstractmethod
    def step(self, outcome: SeriesOutcome, plan: RunPlan) -> SeriesOutcome:
        """Return what has become of the Series after this step."""
