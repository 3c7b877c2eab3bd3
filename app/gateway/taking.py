"""How a complete series becomes a job: by renames, so that a crash leaves it in the inbox or as a job.

First the folder of the series is moved to where no instance is placed any more, then its listing decides which job
it is. The instances of the series that came before belong to the job too: they are linked in, so that a job always
holds the whole series. A job that is there already is a repeat, and the copy is dropped.
"""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread

from app.gateway.assembly import ArrivingSeries, why_complete
from app.gateway.copies import settle_with_earlier_jobs
from app.gateway.kept_file import digest_of, is_kept_file
from app.jobs.accession import accession_key
from app.jobs.history import note
from app.jobs.job import SeriesJob, job_identity
from app.jobs.layout import PRIVATE_FOLDER, StorageLayout, sync_folder, write_durably
from app.jobs.lineage import Lineage, lineage_lock, read_lineage, write_lineage
from app.jobs.names import give_names
from app.jobs.set_aside import clear_place, ensure_folder, set_aside
from app.logs import get_logger

_SEPARATOR = "@"  # in names of folders in `taking`: the series' own folder name, then a random one

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
        ensure_folder(layout, self._own)

    def claim(self, series: ArrivingSeries) -> Path | None:
        """Move a series to where no instance is placed any more; None where another gateway was faster."""
        ensure_folder(self._layout, self._own)
        folder = self._own / f"{series.folder}{_SEPARATOR}{uuid.uuid4().hex}"
        try:
            (self._layout.arriving / series.folder).rename(folder)
        except FileNotFoundError:
            return None
        return folder

    def take(self, folder: Path, series: ArrivingSeries) -> Taken | None:
        """Turn a claimed series into a job on the disk; None where that cannot be: it is in the inbox again."""
        try:
            with lineage_lock(self._layout):
                return self._to_job(folder, series)
        except Exception as fault:  # a full disk, or damage that nothing foresees: other series go on
            reason = getattr(fault, "strerror", None) or type(fault).__name__
            log.error("assembly_postponed", series_instance_uid=series.series_instance_uid, reason=reason)
            self._give_back(folder)
            return None

    def give_back(self, gateway: str) -> None:
        """Put what a gateway that has ended was taking back among the series that arrive."""
        for folder in (self._layout.taking / gateway).glob("*"):
            self._give_back(folder)

    def _give_back(self, folder: Path) -> None:
        if not folder.exists():  # it has become a job
            return
        try:
            name = folder.name.partition(_SEPARATOR)[0]
            for file in sorted(folder.glob("*/*.dcm")):
                target = self._layout.arriving / name / file.parent.name
                for new in (target.parent, target):
                    ensure_folder(self._layout, new)
                if not (target / file.name).exists():
                    file.rename(target / file.name)
            shutil.rmtree(folder)
        except OSError as fault:
            set_aside(self._layout, folder, f"a series that cannot be put back ({fault.strerror})")

    def _to_job(self, folder: Path, series: ArrivingSeries) -> Taken | None:
        lineage = self._lineage(series)
        files = self._files(folder)
        if not files:
            set_aside(self._layout, folder, "a series of which no instance is left")
            return None
        came = settle_with_earlier_jobs(self._layout, folder, files, lineage)
        digests = {**lineage.known, **came}
        job = self._job(series, lineage, digests, folder)
        place = self._layout.job_folder(job.job_id)
        if place.exists() and not place.is_dir():
            set_aside(self._layout, place, "a file where the folder of a job belongs")
        clear_place(self._layout, self._layout.unsent / job.job_id)
        if place.exists():
            self._bring_back(folder, job)
            note(self._layout, job.job_id, "came_again", sender=series.calling_ae_title, instances=len(files))
            self._tell_of_conflicts(job.job_id)
            return Taken(job, is_repeat=True)
        self._add_earlier(folder, lineage, came)
        sync_folder(folder / "input")
        write_durably(folder / "job.json", job.to_json().encode("ascii"))
        sync_folder(folder)
        write_durably(self._layout.unsent / job.job_id)
        sync_folder(self._layout.unsent)
        ids = (*(each for each in lineage.job_ids if each != job.job_id), job.job_id)
        write_lineage(self._layout, series.key, Lineage(ids, digests))
        folder.rename(self._layout.job_folder(job.job_id))
        sync_folder(self._layout.jobs)
        give_names(self._layout, job.job_id, (job.study_instance_uid, job.series_instance_uid, job.accession_key))
        words = {"sender": series.calling_ae_title, "instances": len(files), "because": why_complete(series)}
        note(self._layout, job.job_id, "series_complete", **words, version=job.version, gateway=self._own.name)
        self._tell_of_conflicts(job.job_id)
        return Taken(job, is_repeat=False)

    def _files(self, folder: Path) -> dict[str, str]:
        """Return SOP Instance UID → digest of what came; what is no instance is set aside."""
        files = {}
        for file in sorted((folder / "input").iterdir()):
            if is_kept_file(file):
                files[file.stem] = digest_of(file)
            else:
                set_aside(self._layout, file, "no instance, among those of a series")
        return files

    def _job(self, series: ArrivingSeries, lineage: Lineage, digests: Mapping[str, str], folder: Path) -> SeriesJob:
        packs = self._packs(series.modality)
        job_id = job_identity(series.study_instance_uid, series.series_instance_uid, digests, packs)
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
            series_key=series.key,
        )

    def _lineage(self, series: ArrivingSeries) -> Lineage:
        lineage = read_lineage(self._layout, series.key)
        if lineage.job_ids:
            return lineage
        of_first_version = read_lineage(self._layout, series.series_instance_uid)  # see `app.jobs.lineage`
        studies = {_study_instance_uid(self._layout, job_id) for job_id in of_first_version.job_ids}
        return of_first_version if studies == {series.study_instance_uid} else lineage

    def _tell_of_conflicts(self, job_id: str) -> None:
        count = self._layout.job_conflicts(job_id)
        if count:
            note(self._layout, job_id, "conflict", instances=count)
            log.warning("series_in_conflict", job=job_id, instances=count)

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


def _study_instance_uid(layout: StorageLayout, job_id: str) -> str:
    try:
        return str(json.loads((layout.job_folder(job_id) / "job.json").read_text("ascii"))["study_instance_uid"])
    except (OSError, ValueError, KeyError, TypeError):  # the record is not there, or damaged
        return ""


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
