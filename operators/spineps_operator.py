"""Operator of the DAG that asks SPINEPS."""

from operators.outcome import SeriesOutcome
from operators.step_operator import StepOperator
from operators.steps import RunPlan, segment_volume


class SPINEPSOperator(StepOperator):
    """Segments an MR Series with a warm engine (`operators/engines.py`)."""

    doing = "segmenting"

    def step(self, outcome: SeriesOutcome, plan: RunPlan) -> SeriesOutcome:
        """See `steps.segment_volume`."""
        return segment_volume(outcome, plan)
