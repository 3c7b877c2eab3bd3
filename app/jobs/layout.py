"""Where a node keeps what: the folders and files under `storage`.

storage/
  inbox/arriving/<series key>/input/<SOP Instance UID>.dcm
  inbox/arriving/<series key>/aside/            copies with other content under the UID of an instance
  inbox/partial/<gateway>/                      files that are being written or will be
  inbox/taking/<gateway>/                       series on their way from `arriving` to `jobs`
  inbox/unsent/<job id>                         jobs that the queue may not know yet
  series/<series key>.json                      which jobs a series has become
  names/<UID or accession key>                  which jobs a name leads to
  discarded/<Series Instance UID>.json          what was acknowledged and not kept
  jobs/<job id>/job.json                        the job, written before the folder gets this name
  jobs/<job id>/history.jsonl                   what happened to it besides its steps
  jobs/<job id>/sent.json                       the results that were handed to the delivery
  jobs/<job id>/delivery/                       per destination: what it has stored, and how far it is
  jobs/<job id>/contents.json                   digests of instances that retention has removed
  jobs/<job id>/ended.json                      how it ended, should the queue forget it
  jobs/<job id>/delivery/<destination>.stored   the results that a destination has stored
  jobs/<job id>/input/  aside/  output/<profile>/
  jobs/<job id>/making/<worker>/<profile>/      results that an engine is writing
  heartbeats/<process>                          touched while a process is alive
  accession.key                                 the key of digests that stand for accession numbers and patients
  settings.json, <node>.settings.json           the settings in force, for the processes of the node
  node.log                                      the processes' log, where nobody reads their standard error
  commitments/<transaction>                     requests for Storage Commitment that wait for their answer
  damaged/<name>                                what was torn or does not belong where it was found
  comparison.json                               how the folders and the queue were last found to differ
  queue.sqlite                                  the durable queue, unless it is a PostgreSQL

Several nodes may share one such folder: what is one gateway's own lies in a folder of its name.
"""

import os
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
SENT_RECORD = "sent.json"  # in the folder of a job: the results that were handed to the delivery
# Files in a job's folder `aside`: an earlier copy whose header was corrected, and another image under the same UID.
REPLACED_SUFFIX = ".replaced.dcm"
CONFLICT_SUFFIX = ".conflict.dcm"


@dataclass(frozen=True)
class StorageLayout:
    """The folders of one node below `root`."""

    root: Path

    @property
    def partial(self) -> Path:
        """Folder of files that are being written or will be, a folder per gateway."""
        return self.root / "inbox" / "partial"

    @property
    def taking(self) -> Path:
        """Folder of series on their way from `arriving` to `jobs`, a folder per gateway."""
        return self.root / "inbox" / "taking"

    @property
    def unsent(self) -> Path:
        """Folder with an empty file per job that the queue may not know yet."""
        return self.root / "inbox" / "unsent"

    @property
    def arriving(self) -> Path:
        """Folder of the series that are not complete yet."""
        return self.root / "inbox" / "arriving"

    @property
    def jobs(self) -> Path:
        """Folder of the jobs."""
        return self.root / "jobs"

    @property
    def series(self) -> Path:
        """Folder of the records that tell which jobs a series has become."""
        return self.root / "series"

    @property
    def names(self) -> Path:
        """Folder of the files that lead from a name to its jobs."""
        return self.root / "names"

    @property
    def discarded(self) -> Path:
        """Folder of the records of what was acknowledged and not kept."""
        return self.root / "discarded"

    @property
    def heartbeats(self) -> Path:
        """Folder of the files that living processes touch."""
        return self.root / "heartbeats"

    @property
    def commitments(self) -> Path:
        """Folder of the requests for Storage Commitment that wait for their answer."""
        return self.root / "commitments"

    @property
    def damaged(self) -> Path:
        """Folder of what was torn or does not belong where it was found; see `app.jobs.set_aside`."""
        return self.root / "damaged"

    @property
    def queue_file(self) -> Path:
        """The database of the durable queue."""
        return self.root / "queue.sqlite"

    @property
    def queue_url(self) -> str:
        """The SQLAlchemy URL of the durable queue."""
        return f"sqlite:///{self.queue_file}"

    def job_folder(self, job_id: str) -> Path:
        """Folder of one job."""
        return self.jobs / job_id

    def job_input(self, job_id: str) -> Path:
        """Folder of a job's instances as they arrived."""
        return self.job_folder(job_id) / "input"

    def job_aside(self, job_id: str) -> Path:
        """Folder of copies with other content under the UID of an instance; they do not count."""
        return self.job_folder(job_id) / "aside"

    def job_conflicts(self, job_id: str) -> int:
        """Return how many copies in conflict with an instance of a job are kept; see `app.gateway.copies`."""
        return len(list(self.job_aside(job_id).glob(f"*{CONFLICT_SUFFIX}")))

    def job_output(self, job_id: str, profile: str) -> Path:
        """Folder of a job's results in the encoding of one profile."""
        return self.job_folder(job_id) / "output" / profile

    def job_making(self, job_id: str) -> Path:
        """Folder of the results that engines are writing, a folder per worker; they are moved to `output` whole."""
        return self.job_folder(job_id) / "making"

    def create(self) -> None:
        """Create the folders, readable by this user only; a file in the place of one is moved to `damaged`."""
        inbox = (self.root / "inbox", self.partial, self.taking, self.unsent, self.arriving)
        records = (self.jobs, self.series, self.names, self.discarded, self.heartbeats, self.commitments)
        for folder in (self.root, self.damaged, *inbox, *records):
            if folder.is_file():
                aside = self.root if folder == self.damaged else self.damaged
                folder.rename(aside / f"{folder.name}-{uuid.uuid4().hex[:12]}")
            folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            folder.chmod(PRIVATE_FOLDER)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; a renamed file is safe only after this."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(path: Path, content: bytes) -> None:
    """Write a private file whole or not at all; it and its name are on the disk on return."""
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    write_durably(part, content)
    part.rename(path)
    sync_folder(path.parent)


def write_durably(path: Path, *chunks: bytes) -> None:
    """Write a private file and wait until it is on the disk (its name too, once its folder is synced)."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    try:
        rest = [memoryview(chunk) for chunk in chunks]
        while rest:
            written = os.writev(descriptor, rest)
            while rest and written >= len(rest[0]):
                written -= len(rest.pop(0))
            if rest:
                rest[0] = rest[0][written:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
