"""Operator of the DAG that writes Segmentations."""

from operators.outcome import SeriesOutcome
from operators.step_operator import StepOperator
from operators.steps import RunPlan
from operators.writers import write_segmentations


class SegWriterOperator(StepOperator):
    """Writes verified Segmentations for each result profile."""

    doing = "writing segmentations"

    def step(self, outcome: SeriesOutcome, plan: RunPlan) -> SeriesOutcome:
        """See `writers.write_segmentations`."""
        return write_segmentations(outcome, plan)
