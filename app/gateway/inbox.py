"""The inbox on disk: an instance is safe here before its sender is told so.

An instance is written into a file whose name is on the disk already, synced, and renamed into its series; then its
sender is answered. That costs one flush of the disk. Should the rename be lost with the power, the file is placed at
the next start: the digest in its preamble tells a whole one from a torn one. `app.gateway.taking` makes the jobs of
the series that are complete.

Several gateways may share the folder. A series lies in one place, whoever receives it, and the gateway that sees it
complete first takes it; what a dead gateway has left behind is taken up by the others.
"""

import hashlib
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID

from app.gateway.assembly import ArrivingSeries, complete_at, is_complete
from app.gateway.copies import settle_arriving
from app.gateway.instance import (
    DataSetMismatch,
    InboxFull,
    InstanceIdentity,
    identity_of_file,
    read_identity,
)
from app.gateway.kept_file import (
    PREAMBLE_LENGTH,
    digest_of,
    is_kept_file,
    is_torn,
    preamble,
)
from app.gateway.spool import Spool
from app.gateway.taking import Taken, Taker
from app.gateway.wholeness import is_whole, read_places
from app.jobs.discarded import DiscardedSeries, DiscardRecords
from app.jobs.layout import PRIVATE_FILE, StorageLayout, sync_folder, write_durably
from app.jobs.lineage import series_key
from app.jobs.set_aside import ensure_folder, set_aside
from app.logs import get_logger
from operators.dicom.routing import discard_reason, load_rules

__all__ = ["PREAMBLE_LENGTH", "Inbox", "ReceivedInstance"]

MINIMUM_FREE_BYTES = 1 << 30
PARTS_AT_A_TIME = 64

_NOBODY = -1  # stands for the associations of a process that has ended

log = get_logger()


@dataclass(frozen=True)
class ReceivedInstance:
    """An instance as the Storage SCP has received it.

    sop_class_uid, sop_instance_uid: what the request names.
    meta: the prefix `DICM` and File Meta Information, ready to write behind a preamble.
    data_set: the encoded data set, unparsed.
    spool: where the data set is instead, if it is large; then `meta` and `data_set` are empty.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: UID
    calling_ae_title: str
    meta: bytes
    data_set: bytes
    spool: Spool | None = None


class Inbox:
    """Keeps what arrives, series by series, until each is complete.

    Safe for many threads. `now` is always a value of the `clock` given here.

    Args:
        layout: where the node keeps what.
        quiet_s: see `app.gateway.assembly.is_complete`.
        gateway: the name of this gateway among those that share the folder.
        packs: modality → what tells apart the packs that may answer (see `job_identity`).
        clock: seconds that never go back.
        minimum_free_bytes: below this the inbox takes nothing more.
    """

    def __init__(
        self,
        layout: StorageLayout,
        *,
        quiet_s: float,
        gateway: str = "gateway",
        packs: Callable[[str], Iterable[str]] = lambda _modality: (),
        clock: Callable[[], float] = time.monotonic,
        minimum_free_bytes: int = MINIMUM_FREE_BYTES,
    ) -> None:
        self._layout = layout
        self._quiet_s = quiet_s
        self._gateway = gateway
        self._taker = Taker(layout, gateway=gateway, packs=packs)
        self._clock = clock
        self._minimum_free_bytes = minimum_free_bytes
        self._lock = threading.Lock()
        self._series: dict[str, ArrivingSeries] = {}  # by the name of the folder
        self._parts_lock = threading.Lock()
        self._parts: list[Path] = []
        self.changed = threading.Event()
        self._rules = load_rules()
        self._discarded = DiscardRecords(layout)
        self._discarded_lock = threading.Lock()
        self._own_partial = layout.partial / gateway
        ensure_folder(layout, self._own_partial)
        series_key(layout, "", "", "")  # makes the key of the storage folder now, not while a sender waits

    def accept(self, received: ReceivedInstance, association: int) -> bool:
        """Keep an instance durably; on return it is on the disk.

        An instance that has come before changes nothing; `app.gateway.copies` tells what another content leads to.

        Args:
            received: the instance.
            association: a number that stands for the association, for `association_ended`.

        Returns:
            False where a rule of the routes says that such an instance need not be kept (a report, or a result of this
            node that comes back): it is acknowledged and counted.

        Raises:
            InboxRefusal: it is not kept; the subclass says why.
        """
        spool = received.spool
        syntax = received.transfer_syntax
        identity = read_identity(received.data_set, syntax) if spool is None else identity_of_file(spool.path, syntax)
        if (identity.sop_class_uid, identity.sop_instance_uid) != (received.sop_class_uid, received.sop_instance_uid):
            raise DataSetMismatch("SOP Class or Instance UID is not the request's; the sender has to mend it")
        reason = discard_reason(self._rules, _told(identity))
        if reason is not None:
            self._discard(identity, received.calling_ae_title, reason)
            return False
        if spool is None:
            digest = hashlib.sha256(received.data_set).hexdigest()
            part = self._write_part(digest, received)
        else:
            digest, part = self._finished(spool), spool.path
        self._place(part, identity, sender=received.calling_ae_title, digest=digest, association=association)
        return True

    def spool(self, meta: bytes) -> Spool:
        """Return a file for a data set that is too large for memory.

        Raises:
            InboxFull: there is no room for it.
        """
        self._ask_for_room()
        try:
            return Spool(self._new_part(), meta)
        except OSError as fault:
            raise _cannot_write(fault) from fault

    def _finished(self, spool: Spool) -> str:
        self._ask_for_room()
        try:
            return spool.finish()
        except OSError as fault:
            raise _cannot_write(fault) from fault

    def association_ended(self, association: int, *, in_order: bool) -> None:
        """Note that an association is gone; `in_order` means by A-RELEASE."""
        with self._lock:
            for uid, series in self._series.items():
                self._series[uid] = series.without_association(association, in_order=in_order)
        self.changed.set()
        with self._discarded_lock:
            counted = self._discarded.flush()
        for one in counted:
            ids = {"study_instance_uid": one.study_instance_uid, "series_instance_uid": one.series_instance_uid}
            log.info("series_discarded", **ids, instances=one.instances, reason=one.reason)

    def next_completion(self) -> float | None:
        """Return the time at which the next series will be complete if nothing arrives, or None."""
        with self._lock:
            times = [complete_at(series, self._quiet_s) for series in self._series.values()]
        return min(times, default=None)

    def take_complete(self) -> tuple[Taken, ...]:
        """Turn every series that is complete by now into a job on the disk, and return the jobs.

        A crash at any point leaves the series in the inbox or as a job, never in between.
        """
        self._ask_for_wholeness()
        with self._lock:
            now = self._clock()
            ready = [s for s in self._series.values() if is_complete(s, now, quiet_s=self._quiet_s)]
        taken = []
        for series in ready:
            folder = self._claim(series)
            if folder is None:
                continue
            job = self._taker.take(folder, series)  # without the lock: it syncs, and other series go on arriving
            if job is not None:
                taken.append(job)
            else:  # after another quiet time
                with self._lock:
                    postponed = replace(series, last_arrival=self._clock(), released=False)
                    self._series.setdefault(series.folder, postponed)
        return tuple(taken)

    def recover(self, gateways: Iterable[str] | None = None) -> int:
        """Take up what was arriving when a process ended, and return how many series are arriving now.

        Each is complete after one quiet time, since nobody knows any more which association brought it.

        Args:
            gateways: those that have ended; this one's own predecessor where None.
        """
        for gateway in gateways if gateways is not None else (self._gateway,):
            self._taker.give_back(gateway)
            for part in (self._layout.partial / gateway).glob("*"):
                if part not in self._parts:
                    self._recover_part(part)
        self._set_torn_aside()
        self.look_around(are_mine=True)
        return len(self._series)

    def look_around(self, *, are_mine: bool = False) -> None:
        """Take note of instances that other gateways have placed, and of series that they have taken.

        Args:
            are_mine: nobody else will complete what is found (see `FOREIGN_GRACE_S`).
        """
        for folder in self._layout.arriving.iterdir():
            if not folder.is_dir():
                set_aside(self._layout, folder, "a file where the folders of series lie")
                continue
            with self._lock:
                series = self._series.get(folder.name)
                new = self._unknown(folder, series)
                if series is not None and new:
                    self._series[folder.name] = series.with_foreign(new, self._clock())
                elif new:
                    read = self._read_series(folder, new)
                    if read is not None:
                        self._series[folder.name] = replace(read, is_foreign=not are_mine)
        with self._lock:
            for name in [name for name in self._series if not self._folder(name).exists()]:
                del self._series[name]

    def _discard(self, identity: InstanceIdentity, sender: str, reason: str) -> None:
        """Put down that an instance came; a full disk must not keep the sender from being told that all is well."""
        uids = identity.study_instance_uid, identity.series_instance_uid
        one = DiscardedSeries(*uids, identity.modality, sender, instances=1, reason=reason, last_at=0.0)
        try:
            with self._discarded_lock:
                self._discarded.count(one)
        except OSError as fault:
            log.warning("discard_not_recorded", series_instance_uid=identity.series_instance_uid, reason=fault.strerror)

    def _folder(self, name: str) -> Path:
        return self._layout.arriving / name

    def _claim(self, series: ArrivingSeries) -> Path | None:
        """Return the folder of a complete series, taken out of the inbox; None where it has changed or is gone."""
        name = series.folder
        with self._lock:
            if self._series.get(name) is not series:
                return None
            new = self._unknown(self._folder(name), series)
            if new:  # another gateway has placed more of it
                self._series[name] = series.with_foreign(new, self._clock())
                return None
            del self._series[name]
            return self._taker.claim(series)

    def _ask_for_wholeness(self) -> None:
        with self._lock:
            asked = [series for series in self._series.values() if series.may_be_whole]
        for series in asked:  # without the lock: instances of other series go on arriving
            folder = self._folder(series.folder) / "input"
            places = read_places(folder / f"{uid}.dcm" for uid in series.digests)
            answer = places is not None and is_whole(places, associations=len(series.associations))
            with self._lock:
                if self._series.get(series.folder) is series:
                    self._series[series.folder] = replace(series, is_whole=answer)

    def _write_part(self, digest: str, received: ReceivedInstance) -> Path:
        self._ask_for_room()
        try:
            part = self._new_part()
            write_durably(part, preamble(digest), received.meta, received.data_set)
        except OSError as fault:
            raise _cannot_write(fault) from fault
        return part

    def _ask_for_room(self) -> None:
        free = shutil.disk_usage(self._layout.root).free
        if free < self._minimum_free_bytes:
            raise InboxFull(f"{free >> 20} MiB free in {self._layout.root}; make room, senders will try again")

    def _new_part(self) -> Path:
        """Return an empty file whose name is on the disk; names are made and synced many at a time."""
        with self._parts_lock:
            if not self._own_partial.is_dir():  # gone, or exchanged for a file
                ensure_folder(self._layout, self._own_partial)
                self._parts = []
            if not self._parts:
                parts = [self._own_partial / uuid.uuid4().hex for _ in range(PARTS_AT_A_TIME)]
                for part in parts:
                    part.touch(mode=PRIVATE_FILE, exist_ok=False)
                sync_folder(self._own_partial)
                self._parts = parts
            return self._parts.pop()

    def _place(self, part: Path, identity: InstanceIdentity, *, sender: str, digest: str, association: int) -> None:
        name = self._key(identity)
        folder = self._folder(name)
        with self._lock:
            series = self._series.get(name)
            is_new = series is None or not (folder / "input").is_dir()  # or another gateway has taken it
            if series is None or is_new:
                series = self._new_series(identity, sender, name)
            digest = self._move_into(folder, part, identity.sop_instance_uid, digest)
            self._series[name] = series.with_instance(identity.sop_instance_uid, digest, association, self._clock())
        if is_new:  # else it is complete later than was thought, never sooner
            self.changed.set()

    def _key(self, identity: InstanceIdentity) -> str:
        return series_key(self._layout, identity.study_instance_uid, identity.series_instance_uid, identity.patient)

    def _new_series(self, identity: InstanceIdentity, sender: str, folder: str) -> ArrivingSeries:
        return ArrivingSeries(
            study_instance_uid=identity.study_instance_uid,
            series_instance_uid=identity.series_instance_uid,
            modality=identity.modality,
            calling_ae_title=sender,
            last_arrival=self._clock(),
            key=self._key(identity),
            folder=folder,
        )

    def _recover_part(self, part: Path) -> None:
        """Place an instance whose rename was lost; drop one that was still being written."""
        try:
            if is_torn(part):  # nobody was told that it is kept
                part.unlink()
                return
            meta = read_file_meta_info(part)
            identity = identity_of_file(part, meta.TransferSyntaxUID)
            self._move_into(self._folder(self._key(identity)), part, identity.sop_instance_uid, digest_of(part))
        except Exception as fault:  # whatever a damaged file makes a reader raise
            set_aside(self._layout, part, f"no instance that was being written ({type(fault).__name__})")

    def _set_torn_aside(self) -> None:
        for file in self._layout.arriving.glob("*/input/*.dcm"):
            try:
                torn = is_kept_file(file) and is_torn(file)
            except FileNotFoundError:  # taken by another gateway meanwhile
                continue
            except OSError:
                torn = True
            if torn:
                set_aside(self._layout, file, "an instance that is not what its digest says")

    def _read_series(self, folder: Path, digests: dict[str, str]) -> ArrivingSeries | None:
        """Return a series as its files have it."""
        series: ArrivingSeries | None = None
        for file in sorted((folder / "input").glob("*.dcm")):
            try:
                meta = read_file_meta_info(file)
                identity = identity_of_file(file, meta.TransferSyntaxUID)
            except FileNotFoundError:  # taken by another gateway meanwhile
                continue
            except Exception as fault:  # whatever a damaged file makes a reader raise
                set_aside(self._layout, file, f"an instance that cannot be read ({type(fault).__name__})")
                continue
            series = self._new_series(identity, str(meta.get("SourceApplicationEntityTitle", "")), folder.name)
            return series.with_foreign(digests, self._clock())
        return series

    def _move_into(self, folder: Path, part: Path, sop_instance_uid: str, digest: str) -> str:
        """Move an instance into its series, and return the digest of the copy that counts."""
        target = folder / "input" / f"{sop_instance_uid}.dcm"
        for needed in (folder, target.parent):
            ensure_folder(self._layout, needed)
        if target.exists() and not is_kept_file(target):
            set_aside(self._layout, target, "no instance, in the place of one")
        if not target.exists():
            part.rename(target)
            return digest
        if (folder / "aside").exists():
            ensure_folder(self._layout, folder / "aside")
        return settle_arriving(part, target, digest)

    def _unknown(self, folder: Path, series: ArrivingSeries | None) -> dict[str, str]:
        """Return SOP Instance UID → digest of the files of a series that is arriving and that are not known here."""
        known = series.digests if series is not None else {}
        found = {}
        try:
            for file in (folder / "input").iterdir():
                if file.suffix == ".dcm" and file.stem in known:
                    continue
                if is_kept_file(file):
                    found[file.stem] = digest_of(file)
                elif file.exists():
                    set_aside(self._layout, file, "no instance, among those of a series")
        except FileNotFoundError:  # another gateway takes it just now
            return {}
        except NotADirectoryError:
            set_aside(self._layout, folder / "input", "a file where a folder belongs")
            return {}
        return found


def _told(identity: InstanceIdentity) -> Dataset:
    """Return what a rule may ask of an instance that is not kept (`TOLD_AT_ONCE`)."""
    header = Dataset()
    header.Modality, header.Manufacturer = identity.modality, identity.manufacturer
    header.SOPClassUID = UID(identity.sop_class_uid)
    return header


def _cannot_write(fault: OSError) -> InboxFull:
    return InboxFull(f"cannot write: {fault.strerror}; make room or mend the disk of the storage folder")
