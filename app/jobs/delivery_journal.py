"""What has been stored where, noted instance by instance: a worker that dies between two sends none of them again.

Beside it lies how far each destination is (see `app.jobs.courses`), and which run of the delivery has the job.
Nothing here stops a delivery: where the disk is full, it goes on, and a crash may cost a second transfer.
"""

import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.jobs.courses import Course, begun
from app.jobs.layout import PRIVATE_FILE, PRIVATE_FOLDER, StorageLayout, replace_durably, sync_folder, write_durably
from app.logs import get_logger

COURSE_SUFFIX = ".course.json"
_RUN = ".run"  # no destination has this name: it would begin with a letter or a digit

log = get_logger()


class DeliveryJournal:
    """The journal of one job: of each destination a file with a SOP Instance UID per line, and its course.

    Args:
        layout: where the node keeps what.
        job_id: of the job.
    """

    def __init__(self, layout: StorageLayout, job_id: str) -> None:
        self._folder = layout.job_folder(job_id) / "delivery"
        self._job_id = job_id

    def note(self, destination: str, sop_instance_uid: str) -> None:
        """Note durably that a destination has stored an instance."""
        file = self._file(destination)
        is_new = not file.exists()
        with self._as_far_as_possible():
            self._folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
            try:
                os.write(descriptor, f"{sop_instance_uid}\n".encode("ascii"))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if is_new:
                sync_folder(self._folder)

    def stored(self, destination: str) -> frozenset[str]:
        """Return the instances that a destination has stored; a line that was cut off by a crash counts for nothing."""
        try:
            content = self._file(destination).read_text("ascii")
        except FileNotFoundError:
            return frozenset()
        return frozenset(line.rstrip("\n") for line in content.splitlines(keepends=True) if line.endswith("\n"))

    def is_begun(self) -> bool:
        """Say whether any destination has stored anything."""
        return any(file.stat().st_size > 0 for file in self._folder.glob("*.stored"))

    def strike(self, destination: str, sop_instance_uids: Iterable[str]) -> None:
        """Take back instances that a destination turned out not to keep."""
        kept = sorted(self.stored(destination) - set(sop_instance_uids))
        part = self._folder / f"{destination}.part"
        with self._as_far_as_possible():
            write_durably(part, "".join(f"{uid}\n" for uid in kept).encode("ascii"))
            part.rename(self._file(destination))

    def keep_course(self, destination: str, course: Course) -> None:
        """Keep durably how far a destination is."""
        with self._as_far_as_possible():
            self._folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            replace_durably(self._folder / f"{destination}{COURSE_SUFFIX}", json.dumps(course).encode("ascii"))

    def courses(self) -> dict[str, Course]:
        """Return how far each destination is, by name; a file that is torn counts for nothing."""
        found: dict[str, Course] = {}
        for file in sorted(self._folder.glob(f"[!.]*{COURSE_SUFFIX}")):
            try:
                course = {**begun(), **json.loads(file.read_text("ascii"))}
            except (OSError, ValueError, TypeError):
                continue
            found[file.name.removesuffix(COURSE_SUFFIX)] = course
        return found

    def begin_run(self) -> str:
        """Take the job for one run of its delivery, and return the name of that run."""
        run = uuid.uuid4().hex
        with self._as_far_as_possible():
            self._folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            (self._folder / _RUN).unlink(missing_ok=True)  # else a full disk would leave the job with the run before
            replace_durably(self._folder / _RUN, run.encode("ascii"))
        return run

    def is_taken_over(self, run: str) -> bool:
        """Say whether a later run has taken the job, of this worker or another."""
        try:
            return (self._folder / _RUN).read_text("ascii") != run
        except OSError:
            return False

    def clear(self) -> None:
        """Forget everything: the job is delivered from the start."""
        for file in self._folder.iterdir() if self._folder.is_dir() else ():
            file.unlink()

    @contextmanager
    def _as_far_as_possible(self) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            log.warning("delivery_not_noted", job=self._job_id, reason=fault.strerror or type(fault).__name__)

    def _file(self, destination: str) -> Path:
        return self._folder / f"{destination}.stored"
