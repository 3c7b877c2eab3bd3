"""A hospital in small for faults: a sender that does not give up, a node of real processes, and an archive.

The node is `app.serve` with its gateway, workers, engines and page; only the networks are replaced (see
`tests.hostile_engine`). A test kills processes of it by name.
"""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from pydicom.dataset import FileDataset
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event

import app.serve
from app.delivery.receiver import Receiver
from app.delivery.send import send_folder
from app.jobs.job import FINAL_STATES, JobState
from app.jobs.process import read_sign
from app.jobs.queue import JobStatus
from app.serve import MODULES, Node
from app.settings import Assembly, Settings
from app.work_settings import Workers
from tests.captures import capture_of
from tests.made_dicom import made_dx
from tests.made_mr import made_mr
from tests.node import destination, jobs_of, node_settings, running_node, wait_for

FAULTY: Mapping[str, str] = {**MODULES, "worker": "tests.engine_worker"}
QUIET_S = 3.0


@dataclass
class Archive(Receiver):
    """A PACS that holds its answers while `hold` is set, and remembers what it was sent under each UID."""

    hold: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    contents: dict[str, set[str]] = field(default_factory=dict)
    ended: bool = False

    def _keep(self, event: Event) -> int:
        self.asked.set()
        while self.hold.is_set() and not self.ended:
            time.sleep(0.01)
        status = super()._keep(event)
        uid = str(cast(C_STORE, event.request).AffectedSOPInstanceUID)
        content = hashlib.sha256(event.encoded_dataset(include_meta=False)).hexdigest()
        self.contents.setdefault(uid, set()).add(content)
        return status


@dataclass
class FaultSite:
    """The node, its archive, and what was sent."""

    node: Node
    archive: Archive
    folder: Path
    number: int = 0

    def volume(self, count: int = 6) -> list[FileDataset]:
        """Return the slices of an MR series that was never sent."""
        self.number += 1
        voxels = np.zeros((count, 8, 8), np.uint16)
        return made_mr(voxels, study=f"fault {self.number}", BodyPartExamined="LSPINE")

    def radiograph(self, body_part: str = "CSPINE") -> FileDataset:
        """Return a radiograph that was never sent."""
        self.number += 1
        return made_dx(np.eye(16), study=f"fault {self.number}", body_part=body_part)

    def route(self, datasets: Sequence[FileDataset], *, patience_s: float = 120.0) -> int:
        """Send a series as a PACS does: again as a whole until every instance is stored; return how often."""
        folder = self.written(datasets)
        limit, tries = time.monotonic() + patience_s, 0
        while time.monotonic() < limit:
            tries += 1
            port = self.port()
            if port is not None:
                outcomes = send_folder(folder, "127.0.0.1", port, calling="PACS", called="SPONDYL")
                if all(outcome.fate == "stored" for outcome in outcomes):
                    return tries
            time.sleep(0.1)
        raise AssertionError("the node did not take a series in time")

    def written(self, datasets: Sequence[FileDataset]) -> Path:
        """Write instances to a new folder and return it."""
        folder = self.folder / f"{time.monotonic_ns()}"
        folder.mkdir()
        for number, dataset in enumerate(datasets):
            dataset.save_as(folder / f"{number:04}", enforce_file_format=True)
        return folder

    def port(self) -> int | None:
        """Return the port of the gateway that runs now, or None while none does."""
        sign = self.node.sign("gateway")
        return sign.port if sign is not None else None

    def process_id(self, name: str) -> int | None:
        """Return the number of a living process: `gateway`, `worker-1`, `engine-1`, `dashboard`."""
        if name.startswith("engine"):
            worker = self.process_id(name.replace("engine", "worker"))
            return next(iter(children(worker)), None) if worker is not None else None
        sign = read_sign(self.node.layout, name)
        return sign.process_id if sign is not None and _parent(sign.process_id) is not None else None

    def kill(self, *names: str) -> int:
        """End processes by SIGKILL and return how many there were."""
        found = [number for name in names if (number := self.process_id(name)) is not None]
        for number in found:
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:  # it was an engine, and its worker has just gone
                continue
        return len(found)

    def wait_alive(self, *names: str) -> None:
        """Wait until processes live and are ready."""
        wait_for(lambda: all(self.process_id(name) is not None for name in names), f"{names} alive")

    def jobs(self, dataset: FileDataset) -> list[JobStatus]:
        """Return the jobs of a study, by version."""
        own = [each for each in jobs_of(self.node) if each.job.study_instance_uid == dataset.StudyInstanceUID]
        return sorted(own, key=lambda each: each.job.version)

    def ended(self, dataset: FileDataset) -> list[JobStatus]:
        """Wait until every job of a study has ended, and return them by version."""

        def all_ended() -> bool:
            jobs = self.jobs(dataset)
            return bool(jobs) and all(each.state in FINAL_STATES for each in jobs)

        try:
            wait_for(all_ended, "all jobs of a study have ended", patience_s=300)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story(dataset)}") from error
        return self.jobs(dataset)

    def story(self, dataset: FileDataset) -> str:
        """Return all that the node knows of a study, for whom a test has failed."""
        lines = [f"study {dataset.StudyInstanceUID}, series {dataset.SeriesInstanceUID}"]
        for status in self.jobs(dataset):
            lines.append(f"{status.job.job_id} version {status.job.version} is {status.state}: {status.sentence}")
            history = self.node.layout.jobs / status.job.job_id / "history.jsonl"
            lines.append(history.read_text() if history.exists() else "no history")
        root = self.node.layout.root
        lines += [str(path.relative_to(root)) for path in (root / "inbox").rglob("*")]
        return "\n".join(lines)

    def outcome(self, datasets: Sequence[FileDataset]) -> str:
        """Return in words what has become of a study of which every instance was captured."""
        jobs = self.ended(datasets[0])
        expected = {str(capture_of(deepcopy(dataset), "standard").SOPInstanceUID) for dataset in datasets}
        folder = self.archive.folder / str(datasets[0].StudyInstanceUID)
        found = {file.stem for file in folder.glob("*.dcm")}
        if jobs[-1].state is not JobState.DELIVERED:
            return f"{jobs[-1].state}: {jobs[-1].sentence}"
        if found != expected:
            return f"delivered, with {len(expected - found)} results missing and {len(found - expected)} too many"
        if any(len(self.archive.contents[uid]) > 1 for uid in found):
            return "delivered, with two contents under one UID"
        return "delivered once"


@contextmanager
def fault_site(
    root: Path, *, workers: Workers | None = None, modules: Mapping[str, str] = FAULTY, **changes: object
) -> Iterator[FaultSite]:
    """Run a node whose dead processes are started again at once, and its archive.

    Args:
        root: an empty folder; `root/gate` is what `tests.captures` and `tests.hostile_engine` ask for.
        workers: of the node.
        modules: the programs of its processes.
        changes: more settings.
    """
    for name in ("studies", "gate"):
        (root / name).mkdir()
    with pytest.MonkeyPatch.context() as patch, Archive(root / "pacs", "PACS") as archive:
        patch.setenv("CAPTURE_GATE", str(root / "gate"))
        patch.setenv("HOSTILE_LOG", str(root / "gate"))
        patch.setattr(app.serve, "RESTART_PAUSES_S", (0.0,))
        update = {"assembly": Assembly(quiet_s=QUIET_S), "workers": workers or Workers(), **changes}
        settings: Settings = node_settings(root / "storage", destination(archive.port)).model_copy(update=update)
        with running_node(settings, modules) as node:
            yield FaultSite(node, archive, root / "studies")
        archive.ended = True


def children(process_id: int) -> list[int]:
    """Return the children of a process."""
    numbers = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    return [number for number in numbers if _parent(number) == process_id]


def _parent(process_id: int) -> int | None:
    """Return the parent of a process; None where it does not live, a zombie included."""
    try:
        state, parent = Path(f"/proc/{process_id}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(parent) if state != "Z" else None
