"""Which jobs a series has become, and which content of each instance counts: `series/<series key>.json`.

A series is whole as far as anybody can know when its job is made; if more of it comes, there is one more job with
all of it, a version higher. The record says so to the gateways, which write it, and to the workers, which ask it
before results leave. Both hold its lock meanwhile.

Version 0.1.0 kept the record under the Series Instance UID; it goes on to be read where its jobs are of the same study.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from app.jobs.accession import keyed_digest
from app.jobs.layout import PRIVATE_FILE, StorageLayout, replace_durably
from app.jobs.set_aside import clear_place, set_aside


@dataclass(frozen=True)
class Lineage:
    """The jobs of a series.

    job_ids: oldest first; the version of a job is its place, counted from 1.
    digests: SOP Instance UID → SHA-256 of the encoded data set with the content that counts, of all instances of the
        youngest job; other encodings of the same content are known by this one.
    """

    job_ids: tuple[str, ...] = ()
    digests: Mapping[str, str] | None = None

    @property
    def known(self) -> Mapping[str, str]:
        """The digests; none where the series is new."""
        return self.digests or {}

    def before(self, job_id: str) -> tuple[str, ...]:
        """Return the older jobs of the series, youngest first."""
        place = self.job_ids.index(job_id) if job_id in self.job_ids else len(self.job_ids)
        return tuple(reversed(self.job_ids[:place]))

    def is_superseded(self, job_id: str) -> bool:
        """Say whether the series has become a later job."""
        return job_id in self.job_ids and job_id != self.job_ids[-1]


def series_key(layout: StorageLayout, study_instance_uid: str, series_instance_uid: str, patient: str) -> str:
    """Return what stands for a series: 32 hexadecimal digits that also tell studies and patients apart.

    Archives that split or merge studies, and vendors whose UIDs are not unique, send one Series Instance UID in several
    studies or for several patients.

    Args:
        layout: where the node keeps what.
        study_instance_uid: of the series.
        series_instance_uid: likewise.
        patient: what tells the patient from others; it cannot be read back from the key.
    """
    return keyed_digest(layout, "series", study_instance_uid, series_instance_uid, patient)


def read_lineage(layout: StorageLayout, name: str) -> Lineage:
    """Return what is on record of a series by its key (or, from version 0.1.0, its UID); empty where it is new."""
    try:
        content = json.loads(_file(layout, name).read_text("ascii"))
        return Lineage(tuple(map(str, content["job_ids"])), dict(content["digests"] or {}))
    except FileNotFoundError:
        return Lineage()
    except (OSError, ValueError, KeyError, TypeError):
        set_aside(layout, _file(layout, name), "a record of a series that cannot be read; it counts as new")
        return Lineage()


def write_lineage(layout: StorageLayout, name: str, lineage: Lineage) -> None:
    """Put a record of a series on the disk; the caller holds `lineage_lock`."""
    replace_durably(_file(layout, name), json.dumps(asdict(lineage)).encode("ascii"))


@contextmanager
def lineage_lock(layout: StorageLayout) -> Iterator[None]:
    """Keep every other process of the nodes that share the folder from changing a record meanwhile."""
    clear_place(layout, layout.series / ".lock")
    descriptor = os.open(layout.series / ".lock", os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _file(layout: StorageLayout, name: str) -> Path:
    return layout.series / f"{name}.json"
