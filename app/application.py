"""SpineApplication: the Holoscan DAG that takes one Series from its files to its results.

MONAI Deploy's Application and Operator are Holoscan's own classes under another name; importing them from there
would load torch and all of MONAI before the first Series is looked at.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from holoscan.conditions import CountCondition
from holoscan.core import Application

from operators.dicom.series import SeriesFiles
from operators.dicom_loader_operator import DicomLoaderOperator
from operators.modality_router_operator import SKIPPED, ModalityRouterOperator
from operators.outcome import SeriesOutcome
from operators.outcome_operator import OutcomeOperator
from operators.picture_writer_operator import PictureWriterOperator
from operators.report_writer_operator import ReportWriterOperator
from operators.seg_writer_operator import SegWriterOperator
from operators.spinefm_operator import SpineFMOperator
from operators.spineps_operator import SPINEPSOperator
from operators.step_operator import DONE, RECEIVED, StepOperator
from operators.steps import RunPlan

# Port of the router → the operator that asks the engine of that name.
ENGINE_OPERATORS: Mapping[str, type[StepOperator]] = {"spinefm": SpineFMOperator, "spineps": SPINEPSOperator}
WRITERS: Sequence[tuple[str, type[StepOperator]]] = (
    ("seg_writer", SegWriterOperator),
    ("report_writer", ReportWriterOperator),
    ("picture_writer", PictureWriterOperator),
)


class SpineApplication(Application):  # type: ignore[misc]  # Holoscan ships no types
    """loader → router → SpineFM or SPINEPS → SEG writer → report writer → picture writer → store.

    One run takes one Series (a radiograph: one instance of it), so that memory stays flat whatever the folder holds.
    Each engine has a row of writers of its own. They stand in a row because the report refers to the Segmentation: what
    one cannot write, the next need not try.

    outcomes: what became of the Series, once `run` has returned.
    """

    def __init__(self, *args: Any, files: SeriesFiles, plan: RunPlan, **kwargs: Any) -> None:
        self._files = files
        self._plan = plan
        self.outcomes: list[SeriesOutcome] = []
        super().__init__(*args, **kwargs)

    def compose(self) -> None:
        """Wire the operators."""
        once = CountCondition(self, count=1)  # a source without it would tick for ever
        loader = DicomLoaderOperator(self, once, files=self._files, name="dicom_loader")
        router = ModalityRouterOperator(
            self, plan=self._plan, view_number=self._files.view_number, name="modality_router"
        )
        self.add_flow(loader, router, {("series", "series")})
        self.add_flow(router, self._end("skipped"), {(SKIPPED, "outcome")})
        for port, engine in ENGINE_OPERATORS.items():
            last, last_port = router, port
            for name, operator in ((port, engine), *((f"{port}_{name}", writer) for name, writer in WRITERS)):
                step = operator(self, plan=self._plan, name=name)
                self.add_flow(last, step, {(last_port, RECEIVED)})
                last, last_port = step, DONE
            self.add_flow(last, self._end(f"{port}_stored"), {(last_port, "outcome")})

    def _end(self, name: str) -> OutcomeOperator:
        """One per branch: a port that several branches feed would never fire."""
        return OutcomeOperator(self, plan=self._plan, collect=self.outcomes.append, name=name)
