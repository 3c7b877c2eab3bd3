"""First operator of the DAG: reads the headers of one Series."""

from typing import Any

from holoscan.core import Fragment, Operator, OperatorSpec

from operators.dicom.series import InstanceError, SeriesFiles


class DicomLoaderOperator(Operator):  # type: ignore[misc]  # Holoscan ships no types
    """Emits the SourceSeries of the files that it is given; why not MONAI's own: `operators/dicom/series.py`.

    Output:
        series: SourceSeries.
    """

    def __init__(self, fragment: Fragment, *args: Any, files: SeriesFiles, **kwargs: Any) -> None:
        self._files = files
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the port."""
        spec.output("series")

    def compute(self, _op_input: Any, op_output: Any, _context: Any) -> None:
        """Read the headers.

        Raises:
            InstanceError: no instance of the Series can be read.
        """
        loaded = self._files.load()
        if not loaded.series:
            raise InstanceError("; ".join(sentence for _, sentence in loaded.faults))
        op_output.emit(loaded.series[0], "series")
