"""A runner that writes Secondary Captures instead of running networks; it imports little, so that it starts fast.

The environment variable `CAPTURE_GATE` may name a folder: there the runner leaves a file each time it begins and,
while a file `hold` exists, waits, so that a test can act meanwhile.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import UID, SecondaryCaptureImageStorage

from app.jobs.results import RunAnswer
from models.errors import PackError
from operators.dicom.content import content_digest
from tests.made_dicom import made_uid


def run_capture(source: Path, targets: Mapping[str, Path]) -> RunAnswer:
    """Write a capture per instance; a CHEST is skipped, a HAND refused, and a PELVIS is a fault."""
    instances = [dcmread(file) for file in sorted(source.glob("*.dcm"))]
    _pass_gate(instances[0])
    match instances[0].get("BodyPartExamined"):
        case "CHEST":
            return RunAnswer("skipped", "skipped: no engine is meant for a chest")
        case "HAND":
            return RunAnswer("refused", "refused: no spine is in view")
        case "PELVIS":
            raise PackError("the pack for pelves is missing: install it")
        case "KNEE":
            raise ValueError("Phantom^Spine")  # as a library would quote the header
    for profile, folder in targets.items():
        for instance in instances:
            capture_of(instance, profile).save_as(folder / f"{instance.SOPInstanceUID}.dcm", enforce_file_format=True)
    return RunAnswer("segmented", f"{len(instances)} captured")


def capture_of(instance: FileDataset, profile: str) -> FileDataset:
    """Return a Secondary Capture of an instance: same pixels, same UIDs whenever the same content is captured."""
    uid = UID(made_uid(content_digest(instance), profile))
    instance.file_meta.MediaStorageSOPClassUID = instance.SOPClassUID = SecondaryCaptureImageStorage
    instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID = uid
    instance.SeriesInstanceUID = made_uid(uid, "series")
    instance.Modality = "OT"
    instance.Manufacturer = "Spondyl"
    return instance


def _pass_gate(instance: FileDataset) -> None:
    gate = os.environ.get("CAPTURE_GATE")
    if not gate:
        return
    (Path(gate) / f"begun-{time.monotonic_ns()}-{instance.SOPInstanceUID}").touch()
    while (Path(gate) / "hold").exists():
        time.sleep(0.01)
