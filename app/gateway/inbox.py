"""The inbox on disk: an instance is safe here before its sender is told so.

An instance is written into a file whose name is on the disk already, synced, and renamed into its series; then its
sender is answered. That costs one flush of the disk. Should the rename be lost with the power, the file is placed at
the next start: the digest in its preamble tells a whole one from a torn one. A series that is complete becomes a job
by one rename of its folder; where the job is there already, the copy is a repeat and is dropped.
"""

import hashlib
import json
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    UID,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from app.gateway.assembly import ArrivingSeries, complete_at, is_complete
from app.gateway.instance import (
    DataSetMismatch,
    InboxFull,
    InboxRefusal,
    InstanceIdentity,
    read_identity,
)
from app.jobs.job import SeriesJob, job_identity
from app.jobs.layout import PRIVATE_FILE, PRIVATE_FOLDER, StorageLayout, sync_folder, write_durably

MINIMUM_FREE_BYTES = 1 << 30
PARTS_AT_A_TIME = 64

# Objects of a study that hold no image to segment; a PACS that routes whole studies sends them too.
NOT_IMAGES = frozenset(
    {"SEG", "SR", "PR", "KO", "REG", "RWV", "RTSTRUCT", "RTPLAN", "RTDOSE", "DOC", "PLAN", "AU", "ECG"}
)
OWN_MANUFACTURER = "Spondyl"  # of the results; the phantoms of this project are radiographs, not captures

_CAPTURES = frozenset({SecondaryCaptureImageStorage, MultiFrameTrueColorSecondaryCaptureImageStorage})

_NOBODY = -1  # stands for the associations of a process that has ended

# Group 0002 begins after the preamble with its own length: PS3.10 section 7.1.
PREAMBLE_LENGTH = 128
_DIGEST_LENGTH = 64
_META_LENGTH_AT = 140
_META_STARTS_AT = 144


@dataclass(frozen=True)
class ReceivedInstance:
    """An instance as the Storage SCP has received it.

    sop_class_uid, sop_instance_uid: what the request names.
    meta: the prefix `DICM` and File Meta Information, ready to write behind a preamble.
    data_set: the encoded data set, unparsed.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: UID
    calling_ae_title: str
    meta: bytes
    data_set: bytes


@dataclass(frozen=True)
class Taken:
    """A series that has become a job; `is_repeat` where the job was there before."""

    job: SeriesJob
    is_repeat: bool


class Inbox:
    """Keeps what arrives, series by series, until each is complete.

    Safe for many threads. `now` is always a value of the `clock` given here.

    Args:
        layout: where the node keeps what.
        quiet_s: see `app.gateway.assembly.is_complete`.
        clock: seconds that never go back.
        minimum_free_bytes: below this the inbox takes nothing more.
    """

    def __init__(
        self,
        layout: StorageLayout,
        *,
        quiet_s: float,
        clock: Callable[[], float] = time.monotonic,
        minimum_free_bytes: int = MINIMUM_FREE_BYTES,
    ) -> None:
        self._layout = layout
        self._quiet_s = quiet_s
        self._clock = clock
        self._minimum_free_bytes = minimum_free_bytes
        self._lock = threading.Lock()
        self._series: dict[str, ArrivingSeries] = {}
        self._parts: list[Path] = []
        self.changed = threading.Event()

    def accept(self, received: ReceivedInstance, association: int) -> bool:
        """Keep an instance durably; on return it is on the disk.

        Args:
            received: the instance.
            association: a number that stands for the association, for `association_ended`.

        Returns:
            False where the instance is none to segment (a report, or a result of this node that comes
            back): it is acknowledged and not kept.

        Raises:
            InboxRefusal: it is not kept; the subclass says why.
        """
        identity = read_identity(received.data_set, received.transfer_syntax)
        if (identity.sop_class_uid, identity.sop_instance_uid) != (received.sop_class_uid, received.sop_instance_uid):
            raise DataSetMismatch("SOP Class or Instance UID is not the request's; the sender has to mend it")
        if identity.modality in NOT_IMAGES or _is_own_overlay(identity):
            return False
        digest = hashlib.sha256(received.data_set).hexdigest()
        part = self._write_part(digest, received)
        self._place(part, identity, sender=received.calling_ae_title, digest=digest, association=association)
        return True

    def association_ended(self, association: int, *, in_order: bool) -> None:
        """Note that an association is gone; `in_order` means by A-RELEASE."""
        with self._lock:
            for uid, series in self._series.items():
                self._series[uid] = series.without_association(association, in_order=in_order)
        self.changed.set()

    def next_completion(self) -> float | None:
        """Return the time at which the next series will be complete if nothing arrives, or None."""
        with self._lock:
            times = [complete_at(series, self._quiet_s) for series in self._series.values()]
        return min(times, default=None)

    def take_complete(self) -> tuple[Taken, ...]:
        """Turn every complete series into a job and forget it here."""
        now = self._clock()
        with self._lock:
            ready = [s for s in self._series.values() if is_complete(s, now, quiet_s=self._quiet_s)]
            for series in ready:
                del self._series[series.series_instance_uid]
            return tuple(self._to_job(series) for series in ready)

    def recover(self) -> int:
        """Take up what was arriving when the process ended, and return how many series that is.

        Each is complete after one quiet time, since nobody knows any more which association brought it.
        """
        for part in self._layout.partial.iterdir():
            self._recover_part(part)
        found = [self._read_series(folder) for folder in self._layout.arriving.iterdir()]
        with self._lock:
            self._series.update({series.series_instance_uid: series for series in found if series})
            return len(self._series)

    def _write_part(self, digest: str, received: ReceivedInstance) -> Path:
        free = shutil.disk_usage(self._layout.root).free
        if free < self._minimum_free_bytes:
            raise InboxFull(f"{free >> 20} MiB free in {self._layout.root}; make room, senders will try again")
        # PS3.10 section 7.1 leaves the preamble to the application that writes the file.
        preamble = digest.encode("ascii").ljust(PREAMBLE_LENGTH, b"\0")
        try:
            part = self._new_part()
            write_durably(part, preamble, received.meta, received.data_set)
        except OSError as fault:
            raise InboxFull(
                f"cannot write: {fault.strerror}; make room or mend the disk of the storage folder"
            ) from fault
        return part

    def _new_part(self) -> Path:
        """Return an empty file whose name is on the disk; names are made and synced many at a time."""
        with self._lock:
            if not self._parts:
                parts = [self._layout.partial / uuid.uuid4().hex for _ in range(PARTS_AT_A_TIME)]
                for part in parts:
                    part.touch(mode=PRIVATE_FILE)
                sync_folder(self._layout.partial)
                self._parts = parts
            return self._parts.pop()

    def _place(self, part: Path, identity: InstanceIdentity, *, sender: str, digest: str, association: int) -> None:
        folder = self._layout.arriving / identity.series_instance_uid
        with self._lock:
            series = self._series.get(identity.series_instance_uid)
            is_new = series is None
            if series is None:
                series = self._new_series(identity, sender)
                for new in (folder, folder / "input"):
                    new.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            part.rename(folder / "input" / f"{identity.sop_instance_uid}.dcm")
            self._series[identity.series_instance_uid] = series.with_instance(
                identity.sop_instance_uid, digest, association, self._clock()
            )
        if is_new:  # else it is complete later than was thought, never sooner
            self.changed.set()

    def _new_series(self, identity: InstanceIdentity, sender: str) -> ArrivingSeries:
        return ArrivingSeries(
            study_instance_uid=identity.study_instance_uid,
            series_instance_uid=identity.series_instance_uid,
            modality=identity.modality,
            calling_ae_title=sender,
            digests=MappingProxyType({}),
            open_associations=frozenset(),
            released=False,
            last_arrival=self._clock(),
        )

    def _to_job(self, series: ArrivingSeries) -> Taken:
        job = SeriesJob(
            job_id=job_identity(series.digests),
            study_instance_uid=series.study_instance_uid,
            series_instance_uid=series.series_instance_uid,
            modality=series.modality,
            calling_ae_title=series.calling_ae_title,
            instance_count=len(series.digests),
        )
        folder = self._layout.arriving / series.series_instance_uid
        if self._layout.job_folder(job.job_id).exists():
            if not self._layout.job_input(job.job_id).exists():  # retention was here; a retry will want it
                (folder / "input").rename(self._layout.job_input(job.job_id))
            shutil.rmtree(folder)
            return Taken(job, is_repeat=True)
        sync_folder(folder / "input")
        write_durably(folder / "job.json", job.to_json().encode("ascii"))
        sync_folder(folder)
        folder.rename(self._layout.job_folder(job.job_id))
        sync_folder(self._layout.jobs)
        return Taken(job, is_repeat=False)

    def _recover_part(self, part: Path) -> None:
        """Place an instance whose rename was lost; drop one that was still being written."""
        encoded = _encoded_data_set(part)
        if hashlib.sha256(encoded).hexdigest().encode("ascii") != part.read_bytes()[:_DIGEST_LENGTH]:
            part.unlink()
            return
        meta = read_file_meta_info(part)
        identity = read_identity(encoded, meta.TransferSyntaxUID)
        folder = self._layout.arriving / identity.series_instance_uid / "input"
        for new in (folder.parent, folder):
            new.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        part.rename(folder / f"{identity.sop_instance_uid}.dcm")

    def _read_series(self, folder: Path) -> ArrivingSeries | None:
        series: ArrivingSeries | None = None
        for file in sorted((folder / "input").glob("*.dcm")):
            meta = read_file_meta_info(file)
            encoded = _encoded_data_set(file)
            try:
                identity = read_identity(encoded, meta.TransferSyntaxUID)
            except InboxRefusal:  # not what this inbox wrote: a damaged disk; the rest of the series counts
                continue
            if series is None:
                series = self._new_series(identity, str(meta.get("SourceApplicationEntityTitle", "")))
            digest = hashlib.sha256(encoded).hexdigest()
            series = series.with_instance(identity.sop_instance_uid, digest, _NOBODY, self._clock())
        return series.without_association(_NOBODY, in_order=False) if series else None


def read_jobs(layout: StorageLayout) -> tuple[SeriesJob, ...]:
    """Return the jobs whose input is still kept, oldest first."""
    records = [folder / "job.json" for folder in layout.jobs.iterdir() if (folder / "input").is_dir()]
    records.sort(key=lambda record: record.stat().st_mtime)
    return tuple(SeriesJob.from_mapping(json.loads(record.read_text("ascii"))) for record in records)


def _is_own_overlay(identity: InstanceIdentity) -> bool:
    return identity.manufacturer == OWN_MANUFACTURER and identity.sop_class_uid in _CAPTURES


def _encoded_data_set(file: Path) -> bytes:
    content = file.read_bytes()
    meta_length = int.from_bytes(content[_META_LENGTH_AT:_META_STARTS_AT], "little")
    return content[_META_STARTS_AT + meta_length :]
