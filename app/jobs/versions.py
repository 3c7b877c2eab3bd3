"""How the results of a later version of a series say that they supersede those of an earlier one.

A series that was sent in parts, or routed again after a pack was replaced, is one more job. Its results have UIDs of
their own, for they are made from other instances or by other weights. For whoever sees both in the study, the later
ones keep the Series Numbers, end their Series Description with the version, and the report names the earlier one in
its Predecessor Documents Sequence (PS3.3 C.17.2.3). Results that are the same as before are not sent again.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread, dcmwrite

from app.jobs.results import result_files
from app.jobs.sent_instances import SentInstance
from operators.files import write_whole

LONGEST_DESCRIPTION = 64  # VR LO, PS3.5 section 6.2
REPORT = "SR"


def mark_version(outputs: Sequence[Path], version: int, earlier: Sequence[SentInstance]) -> tuple[SentInstance, ...]:
    """Make the results of a job say that they supersede earlier ones, and return those to be sent.

    Results that were sent before are dropped. Where nothing sent before is replaced (a radiograph more in the
    series), the new ones only join the others and stay as they are. Doing it twice is the same as doing it once.

    Args:
        outputs: folders of the results, one per encoding.
        version: of the job.
        earlier: the results of the versions before.
    """
    files = [file for output in outputs for file in result_files(output)]
    headers = {file: dcmread(file, stop_before_pixels=True) for file in files}
    known = {each.sop_instance_uid for each in earlier}
    made = {str(header.SOPInstanceUID) for header in headers.values()}
    reports = [each for each in earlier if each.modality == REPORT]
    for file, header in headers.items():
        if str(header.SOPInstanceUID) in known:
            file.unlink()
        elif not known <= made:
            _mark(file, version, reports)
    return tuple(_sent(header) for header in headers.values() if str(header.SOPInstanceUID) not in known)


def _mark(file: Path, version: int, reports: Sequence[SentInstance]) -> None:
    dataset = dcmread(file)
    suffix = f" (version {version})"
    description = str(dataset.get("SeriesDescription") or "").removesuffix(suffix)
    dataset.SeriesDescription = description[: LONGEST_DESCRIPTION - len(suffix)] + suffix
    if dataset.Modality == REPORT and reports:
        dataset.PredecessorDocumentsSequence = [_predecessors(str(dataset.StudyInstanceUID), reports)]
    content = BytesIO()
    dcmwrite(content, dataset, enforce_file_format=True)
    write_whole(file, content.getvalue())


def _predecessors(study_instance_uid: str, reports: Sequence[SentInstance]) -> Dataset:
    """Return an item of the Hierarchical SOP Instance Reference Macro: PS3.3 Table C.17-3."""
    study = Dataset()
    study.StudyInstanceUID = study_instance_uid
    study.ReferencedSeriesSequence = []
    for report in reports:
        series, instance = Dataset(), Dataset()
        series.SeriesInstanceUID = report.series_instance_uid
        instance.ReferencedSOPClassUID = report.sop_class_uid
        instance.ReferencedSOPInstanceUID = report.sop_instance_uid
        series.ReferencedSOPSequence = [instance]
        study.ReferencedSeriesSequence.append(series)
    return study


def _sent(header: Dataset) -> SentInstance:
    return SentInstance(
        sop_class_uid=str(header.SOPClassUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        series_instance_uid=str(header.SeriesInstanceUID),
        modality=str(header.get("Modality", "")),
    )
