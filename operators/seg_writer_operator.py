"""Operator of the DAG that writes Segmentations."""

from typing import Any

from holoscan.core import Fragment, Operator, OperatorSpec

from operators.outcome import carry
from operators.steps import RunPlan
from operators.writers import write_segmentations


class SegWriterOperator(Operator):  # type: ignore[misc]  # Holoscan ships no types
    """Writes a verified Segmentation for each result profile.

    Input:
        segmented: SeriesOutcome.

    Output:
        written: SeriesOutcome.
    """

    def __init__(self, fragment: Fragment, *args: Any, plan: RunPlan, **kwargs: Any) -> None:
        self._plan = plan
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("segmented")
        spec.output("written")

    def compute(self, op_input: Any, op_output: Any, _context: Any) -> None:
        """Writing segmentations; a fault travels on as the outcome."""
        received = op_input.receive("segmented")
        outcome = carry("writing segmentations", lambda outcome: write_segmentations(outcome, self._plan), received)
        op_output.emit(outcome, "written")
