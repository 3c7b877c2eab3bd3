"""How a complete series becomes a job: by renames, so that a crash leaves it in the inbox or as a job.

First the folder of the series is moved to where no instance is placed any more, then its listing decides which job
it is. The instances of the series that came before belong to the job too: they are linked in, so that a job always
holds the whole series. A job that is there already is a repeat, and the copy is dropped.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread

from app.gateway.assembly import ArrivingSeries, why_complete
from app.gateway.kept_file import digest_of, is_same_instance
from app.jobs.accession import accession_key
from app.jobs.history import note
from app.jobs.job import SeriesJob, job_identity
from app.jobs.layout import PRIVATE_FOLDER, StorageLayout, sync_folder, write_durably
from app.jobs.lineage import Lineage, lineage_lock, read_lineage, write_lineage
from app.jobs.names import give_names
from app.logs import get_logger

log = get_logger()


@dataclass(frozen=True)
class Taken:
    """A series that has become a job; `is_repeat` where the job was there before."""

    job: SeriesJob
    is_repeat: bool


class Taker:
    """Turns series into jobs for one gateway.

    Args:
        layout: where the node keeps what.
        gateway: the name of the gateway among those that share the folder.
        packs: modality → what tells apart the packs that may answer.
    """

    def __init__(self, layout: StorageLayout, *, gateway: str, packs: Callable[[str], Iterable[str]]) -> None:
        self._layout = layout
        self._packs = packs
        self._own = layout.taking / gateway
        self._own.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)

    def claim(self, series: ArrivingSeries) -> Path | None:
        """Move a series to where no instance is placed any more; None where another gateway was faster."""
        folder = self._own / uuid.uuid4().hex
        try:
            (self._layout.arriving / series.series_instance_uid).rename(folder)
        except FileNotFoundError:
            return None
        return folder

    def take(self, folder: Path, series: ArrivingSeries) -> Taken | None:
        """Turn a claimed series into a job on the disk; None where the disk is full: it is in the inbox again."""
        try:
            with lineage_lock(self._layout):
                return self._to_job(folder, series)
        except OSError as fault:
            log.error("assembly_postponed", series_instance_uid=series.series_instance_uid, reason=fault.strerror)
            self._give_back(folder)
            return None

    def give_back(self, gateway: str) -> None:
        """Put what a gateway that has ended was taking back among the series that arrive."""
        for folder in (self._layout.taking / gateway).glob("*"):
            self._give_back(folder)

    def _give_back(self, folder: Path) -> None:
        uid = _series_instance_uid(folder)
        for file in sorted(folder.glob("*/*.dcm")) if uid else ():
            target = self._layout.arriving / uid / file.parent.name
            for new in (target.parent, target):
                new.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            if not (target / file.name).exists():
                file.rename(target / file.name)
        shutil.rmtree(folder)

    def _to_job(self, folder: Path, series: ArrivingSeries) -> Taken:
        lineage = read_lineage(self._layout, series.series_instance_uid)
        came = {file.stem: digest_of(file) for file in sorted((folder / "input").glob("*.dcm"))}
        self._set_aside(folder, came, lineage)
        digests = {**came, **lineage.known}
        job = self._job(series, lineage, digests, folder)
        if self._layout.job_folder(job.job_id).exists():
            self._bring_back(folder, job)
            note(self._layout, job.job_id, "came_again", sender=series.calling_ae_title, instances=len(came))
            return Taken(job, is_repeat=True)
        self._add_earlier(folder, lineage, came)
        sync_folder(folder / "input")
        write_durably(folder / "job.json", job.to_json().encode("ascii"))
        sync_folder(folder)
        write_durably(self._layout.unsent / job.job_id)
        sync_folder(self._layout.unsent)
        ids = (*(each for each in lineage.job_ids if each != job.job_id), job.job_id)
        write_lineage(self._layout, series.series_instance_uid, Lineage(ids, digests))
        folder.rename(self._layout.job_folder(job.job_id))
        sync_folder(self._layout.jobs)
        give_names(self._layout, job.job_id, (job.study_instance_uid, job.accession_key))
        words = {"sender": series.calling_ae_title, "instances": len(came), "because": why_complete(series)}
        note(self._layout, job.job_id, "series_complete", **words, version=job.version, gateway=self._own.name)
        return Taken(job, is_repeat=False)

    def _job(self, series: ArrivingSeries, lineage: Lineage, digests: Mapping[str, str], folder: Path) -> SeriesJob:
        job_id = job_identity(digests, self._packs(series.modality))
        known = job_id in lineage.job_ids
        return SeriesJob(
            job_id=job_id,
            study_instance_uid=series.study_instance_uid,
            series_instance_uid=series.series_instance_uid,
            modality=series.modality,
            calling_ae_title=series.calling_ae_title,
            instance_count=len(digests),
            version=(lineage.job_ids.index(job_id) if known else len(lineage.job_ids)) + 1,
            accession_key=accession_key(self._layout, _accession_number(folder)),
        )

    def _set_aside(self, folder: Path, came: dict[str, str], lineage: Lineage) -> None:
        """Move what came before with other content out of the way; the first copy counts."""
        for uid in [uid for uid in came if lineage.known.get(uid, came[uid]) != came[uid]]:
            file = folder / "input" / f"{uid}.dcm"
            firsts = (self._layout.job_input(job_id) / file.name for job_id in lineage.job_ids)
            if any(first.is_file() and is_same_instance(file, first) for first in firsts):
                continue
            (folder / "aside").mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            file.rename(folder / "aside" / f"{uid}.{came.pop(uid)[:12]}.dcm")
            log.warning("instance_set_aside", sop_instance_uid=uid, reason="came again with other content")

    def _bring_back(self, folder: Path, job: SeriesJob) -> None:
        """Give a job the copies that it has lost to retention, and those that do not count; a retry will want them."""
        for kind in ("input", "aside"):
            target = self._layout.job_folder(job.job_id) / kind
            for file in (folder / kind).glob("*.dcm"):
                target.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
                if not (target / file.name).exists():
                    file.rename(target / file.name)
        shutil.rmtree(folder)

    def _add_earlier(self, folder: Path, lineage: Lineage, came: Mapping[str, str]) -> None:
        """Link in the instances that came before, as far as they are still kept."""
        for job_id in reversed(lineage.job_ids):
            for file in self._layout.job_input(job_id).glob("*.dcm"):
                target = folder / "input" / file.name
                if file.stem not in came and not target.exists():
                    _link_or_copy(file, target)


def _link_or_copy(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except FileNotFoundError:  # retention was here
        return
    except OSError:  # a file system without links
        write_durably(target, file.read_bytes())


def _series_instance_uid(folder: Path) -> str:
    file = next(iter(sorted(folder.glob("*/*.dcm"))), None)
    if file is None:
        return ""
    return str(dcmread(file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID)


def _accession_number(folder: Path) -> str:
    """Return the accession number of a series for its key; it is kept nowhere."""
    file = next(iter(sorted((folder / "input").glob("*.dcm"))), None)
    if file is None:
        return ""
    try:
        header = dcmread(file, stop_before_pixels=True, specific_tags=["AccessionNumber"])
        return str(header.get("AccessionNumber") or "")
    except Exception:  # whatever a malformed header makes a decoder raise: it is found by its UIDs
        return ""
