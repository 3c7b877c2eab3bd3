"""Operator of the DAG that asks SpineFM."""

from operators.outcome import SeriesOutcome
from operators.step_operator import StepOperator
from operators.steps import RunPlan, segment_radiograph


class SpineFMOperator(StepOperator):
    """Segments a radiograph with a warm engine (`operators/engines.py`)."""

    doing = "segmenting"

    def step(self, outcome: SeriesOutcome, plan: RunPlan) -> SeriesOutcome:
        """See `steps.segment_radiograph`."""
        return segment_radiograph(outcome, plan)
