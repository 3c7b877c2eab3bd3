"""A worker alone, with a capturing runner, job folders as a gateway makes them, and an archive that counts."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event

from app.jobs.job import FINAL_STATES, SeriesJob, job_identity
from app.jobs.layout import StorageLayout
from app.jobs.queries import show_job
from app.jobs.queue import JobStatus, queue_of
from app.serve import Node
from app.settings import Settings
from tests.fault_site import Archive
from tests.made_dicom import made_dx
from tests.node import CAPTURING, destination, node_settings, running_node, wait_for


@dataclass
class CountingArchive(Archive):
    """An archive that counts how often each instance came."""

    times: Counter[str] = field(default_factory=Counter)

    def _keep(self, event: Event) -> int:
        self.times[str(cast(C_STORE, event.request).AffectedSOPInstanceUID)] += 1
        return super()._keep(event)


@dataclass
class Database:
    """A queue's database whose workers do not run.

    settings: of the node. lose: removes it. copy: keeps a copy. restore: puts the copy in its place.
    """

    settings: Settings
    lose: Callable[[], object]
    copy: Callable[[], object]
    restore: Callable[[], object]


@dataclass
class WorkerSite:
    """What a worker works with. gate: see `tests.captures`."""

    settings: Settings
    archive: CountingArchive
    gate: Path
    database: Database = field(init=False)
    number: int = 0

    @property
    def layout(self) -> StorageLayout:
        """Where the worker keeps what."""
        return StorageLayout(self.settings.storage)

    def worker(self) -> AbstractContextManager[Node]:
        """Run the worker."""
        return running_node(self.settings, CAPTURING, role="worker")

    def accept(self, body_part: str = "CSPINE", *, count: int = 1) -> SeriesJob:
        """Make the job of a study that was never sent, folder first, and queue it."""
        self.number += 1
        study = f"accepted {self.number}"
        datasets = [
            made_dx(np.eye(16), study=study, body_part=body_part, instance_number=index) for index in range(count)
        ]
        first = datasets[0]
        uids = (str(first.StudyInstanceUID), str(first.SeriesInstanceUID))
        job = SeriesJob(job_identity(*uids, {study: ""}), *uids, "DX", "PACS", count)
        self.layout.job_input(job.job_id).mkdir(parents=True)
        for dataset in datasets:
            file = self.layout.job_input(job.job_id) / f"{dataset.SOPInstanceUID}.dcm"
            dataset.save_as(file, enforce_file_format=True)
        (self.layout.job_folder(job.job_id) / "job.json").write_text(job.to_json())
        queue = queue_of(self.settings)
        queue.submit(job)
        queue.close()
        return job

    def status(self, job: SeriesJob) -> JobStatus:
        """Return where a job stands."""
        return show_job(self.settings, job.job_id).status

    def ended(self, job: SeriesJob) -> JobStatus:
        """Wait until a job has ended."""
        wait_for(lambda: self.status(job).state in FINAL_STATES, "a job has ended")
        return self.status(job)

    def hold(self) -> None:
        """Let the engine wait in the next series."""
        (self.gate / "hold").touch()

    def let_go(self) -> None:
        """Let the engine go on."""
        (self.gate / "hold").unlink()

    def begun(self) -> list[Path]:
        """Return a file for each time that the engine began."""
        return list(self.gate.glob("begun-*"))


@contextmanager
def worker_site(root: Path) -> Iterator[WorkerSite]:
    """Return what a worker needs; the caller starts it."""
    gate = root / "gate"
    gate.mkdir()
    with pytest.MonkeyPatch.context() as patch, CountingArchive(root / "pacs", "PACS") as archive:
        patch.setenv("CAPTURE_GATE", str(gate))
        yield WorkerSite(node_settings(root / "storage", destination(archive.port)), archive, gate)
        archive.ended = True
