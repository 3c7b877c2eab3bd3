"""Operator of the DAG that draws the overlay."""

from operators.outcome import SeriesOutcome
from operators.step_operator import StepOperator
from operators.steps import RunPlan
from operators.writers import write_pictures


class PictureWriterOperator(StepOperator):
    """Writes the overlay as a Secondary Capture and as PNG."""

    doing = "drawing the overlay"

    def step(self, outcome: SeriesOutcome, plan: RunPlan) -> SeriesOutcome:
        """See `writers.write_pictures`."""
        return write_pictures(outcome, plan)
