"""Which results a job has handed to its delivery, kept in its folder: later versions and the comparison ask for it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from app.jobs.layout import SENT_RECORD, StorageLayout, replace_durably


@dataclass(frozen=True)
class SentInstance:
    """A result that was handed to the delivery."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    modality: str


def read_sent(layout: StorageLayout, job_id: str) -> tuple[SentInstance, ...]:
    """Return the results that a job has handed to its delivery; none where it has not come so far."""
    try:
        content = json.loads((layout.job_folder(job_id) / SENT_RECORD).read_text("ascii"))
    except FileNotFoundError:
        return ()
    return tuple(SentInstance(**entry) for entry in content)


def write_sent(layout: StorageLayout, job_id: str, sent: Sequence[SentInstance]) -> None:
    """Put on the disk which results a job is about to send."""
    content = json.dumps([asdict(each) for each in sent])
    replace_durably(layout.job_folder(job_id) / SENT_RECORD, content.encode("ascii"))
