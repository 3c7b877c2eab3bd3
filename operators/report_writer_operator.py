"""Operator of the DAG that writes structured reports."""

from operators.outcome import SeriesOutcome
from operators.step_operator import StepOperator
from operators.steps import RunPlan
from operators.writers import write_reports


class ReportWriterOperator(StepOperator):
    """Writes a report for each Segmentation of vertebrae."""

    doing = "writing reports"

    def step(self, outcome: SeriesOutcome, plan: RunPlan) -> SeriesOutcome:
        """See `writers.write_reports`."""
        return write_reports(outcome, plan)
