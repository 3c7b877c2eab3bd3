"""What the instances of a job said, also after retention has removed them: `jobs/<job id>/contents.json`.

A series that comes again long after its instances were removed, in another transfer syntax say, must be known as a
repeat. So whoever removes instances leaves their digests.
"""

import json
from contextlib import suppress
from pathlib import Path

from pydicom import dcmread

from app.jobs.layout import StorageLayout, replace_durably
from operators.dicom.content import Content, content_of

CONTENTS_RECORD = "contents.json"


def read_content(file: Path) -> Content | None:
    """Return the content of a DICOM file; None where it is not there or cannot be read."""
    try:
        dataset = dcmread(file)
        return content_of(dataset, dataset.file_meta.TransferSyntaxUID)
    except Exception:  # whatever a malformed data set makes a decoder raise
        return None


def record_contents(layout: StorageLayout, job_id: str) -> None:
    """Leave the digests of a job's instances, before they are removed."""
    files = sorted(layout.job_input(job_id).glob("*.dcm"))
    contents = {file.stem: content.to_json() for file in files if (content := read_content(file)) is not None}
    if contents:
        known = {uid: content.to_json() for uid, content in recorded_contents(layout, job_id).items()}
        record = json.dumps({**known, **contents}).encode("ascii")
        with suppress(OSError):  # the folder has gone, or the disk is full: removing makes room, and matters more
            replace_durably(layout.job_folder(job_id) / CONTENTS_RECORD, record)


def recorded_contents(layout: StorageLayout, job_id: str) -> dict[str, Content]:
    """Return SOP Instance UID → content of the instances that were removed from a job."""
    try:
        record = json.loads((layout.job_folder(job_id) / CONTENTS_RECORD).read_text("ascii"))
        return {uid: Content(*digests) for uid, digests in record.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # none, or damaged: then it cannot be compared
        return {}
