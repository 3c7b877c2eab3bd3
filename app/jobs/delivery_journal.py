"""What has been stored where, noted instance by instance: a worker that dies between two sends none of them again."""

import os
from collections.abc import Iterable
from pathlib import Path

from app.jobs.layout import PRIVATE_FILE, PRIVATE_FOLDER, StorageLayout, sync_folder, write_durably


class DeliveryJournal:
    """The journal of one job, a file per destination, a SOP Instance UID per line.

    Args:
        layout: where the node keeps what.
        job_id: of the job.
    """

    def __init__(self, layout: StorageLayout, job_id: str) -> None:
        self._folder = layout.job_folder(job_id) / "delivery"

    def note(self, destination: str, sop_instance_uid: str) -> None:
        """Note durably that a destination has stored an instance."""
        file = self._file(destination)
        is_new = not file.exists()
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
        write_durably(part, "".join(f"{uid}\n" for uid in kept).encode("ascii"))
        part.rename(self._file(destination))

    def clear(self) -> None:
        """Forget everything: the job is delivered from the start."""
        for file in self._folder.glob("*") if self._folder.is_dir() else ():
            file.unlink()

    def _file(self, destination: str) -> Path:
        return self._folder / f"{destination}.stored"
