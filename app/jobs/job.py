"""A job: one series on its way from the inbox to the destinations.

Records are immutable. A job is known by what arrived and by the packs that may answer, not by when: the same
contents make the same job, so that routing a study twice, or from two archives, makes no second job.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from models.errors import SpondylError

# Names of a job become names of files: what a stranger has put into the queue must not lead elsewhere.
JOB_ID = re.compile(r"[0-9a-f]{1,64}")
FILE_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")


class MalformedJob(SpondylError, ValueError):
    """A record is no job of ours: a field is missing, unknown, or holds what it cannot hold."""


class JobState(StrEnum):
    """Where a job stands; `STATE_SENTENCES` says each in words."""

    QUEUED = "queued"
    PROCESSING = "processing"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    SKIPPED = "skipped"
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    CANCELLED = "cancelled"


STATE_SENTENCES: Mapping[JobState, str] = {
    JobState.QUEUED: "The series is complete and waits for a worker.",
    JobState.PROCESSING: "A worker segments the series.",
    JobState.DELIVERING: "Results are on their way to the destinations.",
    JobState.DELIVERED: "Every destination has confirmed every result.",
    JobState.SKIPPED: "No engine is meant for this series; nothing was sent.",
    JobState.REFUSED: "The engine looked and declined to answer; nothing was sent.",
    JobState.SUPERSEDED: "More of the series came before this version was sent; only the later version is.",
    JobState.FAILED: "The job ended with a fault; see its sentence, mend the cause and retry.",
    JobState.CANCELLED: "An administrator stopped the job.",
}

FINAL_STATES = frozenset(JobState) - {JobState.QUEUED, JobState.PROCESSING, JobState.DELIVERING}


@dataclass(frozen=True)
class SeriesJob:
    """What a worker is asked to do.

    job_id: its `job_identity`.
    modality: Modality of the series (0008,0060).
    calling_ae_title: who sent it.
    instance_count: number of instances that belong into the job's input folder.
    version: 1, and one more each time that the series came again with more instances or for other packs.
    accession_key: see `app.jobs.accession`; empty where the series has no accession number.
    series_key: see `app.jobs.lineage.series_key`; empty in jobs of version 0.1.0.
    """

    job_id: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    calling_ae_title: str
    instance_count: int
    version: int = 1
    accession_key: str = ""
    series_key: str = ""

    @property
    def lineage_name(self) -> str:
        """Under what the record of the job's series is kept: see `app.jobs.lineage`."""
        return self.series_key or self.series_instance_uid

    def to_json(self) -> str:
        """Return the record as a JSON object."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_mapping(cls, record: Mapping[str, Any]) -> Self:
        """Return the job of a decoded JSON object.

        Raises:
            MalformedJob: it is none; see there.
        """
        try:
            job = cls(**record)
        except TypeError:
            raise MalformedJob("a record is no job: a field is missing or unknown") from None
        job._check()
        return job

    def _check(self) -> None:
        texts = (self.modality, self.calling_ae_title, self.accession_key, self.series_key)
        counts = (self.instance_count, self.version)
        keys = [key for key in (self.accession_key, self.series_key) if key]
        named = (self.study_instance_uid, self.series_instance_uid, *keys)
        if not all(isinstance(text, str) for text in (self.job_id, *texts, *named)):
            raise MalformedJob("a record is no job: a text is none")
        if not all(isinstance(count, int) for count in counts):
            raise MalformedJob("a record is no job: a number is none")
        if not JOB_ID.fullmatch(self.job_id) or not all(FILE_NAME.fullmatch(name) for name in named):
            raise MalformedJob("a record is no job: its id, a UID or a key is none")


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended, or what it does now.

    sentence: what happened, in words that an administrator can act on.
    proof: see `JobStatus`; empty where nothing was delivered.
    """

    state: JobState
    sentence: str
    proof: str = ""


def job_identity(
    study_instance_uid: str, series_instance_uid: str, contents: Mapping[str, str], packs: Iterable[str] = ()
) -> str:
    """Return the identity of a job: 32 hexadecimal digits.

    SOP Instance UIDs alone do not tell two jobs apart: archives split, merge and correct studies, and some vendors give
    one UID to several images.

    Args:
        study_instance_uid: of the series.
        series_instance_uid: likewise.
        contents: SOP Instance UID → digest of the content that counts, of all instances; the order does not matter.
        packs: what tells the packs that may answer apart, from other packs and from other versions of them.
    """
    instances = [f"{uid} {digest}" for uid, digest in sorted(contents.items())]
    listing = "\n".join([study_instance_uid, series_instance_uid, *instances, "", *sorted(packs)])
    return hashlib.sha256(listing.encode("utf-8")).hexdigest()[:32]
