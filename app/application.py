"""SpineApplication: the Holoscan DAG that takes one Series from its files to its results.

MONAI Deploy's Application and Operator are Holoscan's own classes under another name; importing them from there
would load torch and all of MONAI before the first Series is looked at.
"""

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
from operators.steps import RunPlan


class SpineApplication(Application):  # type: ignore[misc]  # Holoscan ships no types
    """loader → router → SpineFM → SEG writer → report writer → picture writer → store.

    One run takes one Series (a radiograph: one instance of it), so that memory stays flat whatever the folder holds.
    The report refers to the Segmentation and the picture to neither, so the writers stand in a row: what one cannot
    write, the next need not try.

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
        spinefm = SpineFMOperator(self, plan=self._plan, name="spinefm")
        seg_writer = SegWriterOperator(self, plan=self._plan, name="seg_writer")
        report_writer = ReportWriterOperator(self, plan=self._plan, name="report_writer")
        picture_writer = PictureWriterOperator(self, plan=self._plan, name="picture_writer")
        segmented = OutcomeOperator(self, plan=self._plan, collect=self.outcomes.append, name="segmented")
        skipped = OutcomeOperator(self, plan=self._plan, collect=self.outcomes.append, name="skipped")

        self.add_flow(loader, router, {("series", "series")})
        self.add_flow(router, skipped, {(SKIPPED, "outcome")})
        self.add_flow(router, spinefm, {("spinefm", "routed")})
        self.add_flow(spinefm, seg_writer, {("segmented", "segmented")})
        self.add_flow(seg_writer, report_writer, {("written", "segmented")})
        self.add_flow(report_writer, picture_writer, {("written", "segmented")})
        self.add_flow(picture_writer, segmented, {("written", "outcome")})
