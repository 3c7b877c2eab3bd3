"""How a job ended, kept in its folder (`ended.json`): the queue's database may be lost or restored from an older copy.

A workflow writes it before the queue learns of its end. Whoever finds it does the work no second time: a job that comes
back into the queue with an ending ends with it at once. Only a retry forgets it.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from app.jobs.delivery_journal import DeliveryJournal
from app.jobs.job import FINAL_STATES, JobState, MalformedJob, SeriesJob
from app.jobs.layout import StorageLayout, replace_durably

ENDING_FILE = "ended.json"


@dataclass(frozen=True)
class Ending:
    """How a job ended.

    at: when, ISO 8601 in UTC. proof: see `JobStatus`.
    """

    state: JobState
    sentence: str
    proof: str
    at: str

    @property
    def moment(self) -> datetime:
        """When the job ended."""
        return datetime.fromisoformat(self.at)


def read_ending(layout: StorageLayout, job_id: str) -> Ending | None:
    """Return how a job ended; None where it has not, or its record cannot be read (the work is then done again)."""
    try:
        content = json.loads((layout.job_folder(job_id) / ENDING_FILE).read_text("ascii"))
        ending = Ending(JobState(content["state"]), str(content["sentence"]), str(content["proof"]), content["at"])
        ending.moment.timestamp()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return ending if ending.state in FINAL_STATES else None


def write_ending(layout: StorageLayout, job_id: str, ending: Ending) -> None:
    """Put on the disk how a job ended; a job without a folder has nowhere to keep it."""
    folder = layout.job_folder(job_id)
    if folder.is_dir():
        replace_durably(folder / ENDING_FILE, json.dumps(asdict(ending)).encode("ascii"))


def forget_ending(layout: StorageLayout, job_id: str) -> None:
    """Let a job be done and delivered from the start; the caller puts it back into the queue after it."""
    DeliveryJournal(layout, job_id).clear()
    (layout.job_folder(job_id) / ENDING_FILE).unlink(missing_ok=True)


def read_job(layout: StorageLayout, job_id: str) -> SeriesJob:
    """Return the job of a folder.

    Raises:
        MalformedJob: its `job.json` is missing or cannot be read.
    """
    try:
        job = SeriesJob.from_mapping(json.loads((layout.job_folder(job_id) / "job.json").read_text("ascii")))
    except MalformedJob:
        raise
    except (OSError, ValueError, TypeError) as fault:
        raise MalformedJob("a job.json is missing or cannot be read") from fault
    if job.job_id != job_id:
        raise MalformedJob("a job.json names another job than its folder")
    return job
