"""Results that supersede earlier ones are as sound as those that do not."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from pydicom import dcmread

from app.jobs.sent_instances import SentInstance
from app.jobs.versions import mark_version
from models.spinefm.morphometry import measure_spine
from operators.dicom.identity import derived_uid
from operators.dicom.segmentation import build_segmentation
from operators.dicom.structured_report import build_report
from operators.dicom.verify import encode
from tests.made_results import ALGORITHM, made_labelmap, made_source, made_structures


def test_a_superseding_segmentation_and_report_have_no_new_error(
    errors_in: Callable[[bytes], set[str]], tmp_path: Path
) -> None:
    """PS3.3 C.17.2.3 and Table C.17-3: the hierarchical reference to the predecessor is complete."""
    source, structures = made_source(), made_structures()
    segmentation = build_segmentation(made_labelmap(), [source], structures, algorithm=ALGORITHM)
    report = build_report(
        measure_spine(made_labelmap(), structures),
        [source],
        structures,
        labelmap=made_labelmap(),
        segmentation=segmentation,
        algorithm=ALGORITHM,
        numbering="assumed",
    )
    before = {"seg": encode(segmentation), "sr": encode(report)}
    for name, content in before.items():
        (tmp_path / f"{name}.dcm").write_bytes(content)
    earlier = SentInstance(str(report.SOPClassUID), str(derived_uid("a")), str(derived_uid("b")), "SR")

    mark_version([tmp_path], 2, [earlier])

    after = {name: (tmp_path / f"{name}.dcm").read_bytes() for name in before}
    for name, content in after.items():
        assert errors_in(content) <= errors_in(before[name])
        assert dcmread(BytesIO(content)).SeriesDescription.endswith("(version 2)")
