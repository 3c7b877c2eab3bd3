"""Which jobs a series has become, and which copy of each instance counts: `series/<Series Instance UID>.json`.

A series is whole as far as anybody can know when its job is made; if more of it comes, there is one more job with
all of it, a version higher. The record says so to the gateways, which write it, and to the workers, which ask it
before results leave. Both hold its lock meanwhile.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from app.jobs.layout import PRIVATE_FILE, StorageLayout, replace_durably


@dataclass(frozen=True)
class Lineage:
    """The jobs of a series.

    job_ids: oldest first; the version of a job is its place, counted from 1.
    digests: SOP Instance UID → SHA-256 of the data set that counts, of all instances of the youngest job.
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


def read_lineage(layout: StorageLayout, series_instance_uid: str) -> Lineage:
    """Return what is on record of a series; an empty lineage where it is new."""
    try:
        content = json.loads(_file(layout, series_instance_uid).read_text("ascii"))
    except FileNotFoundError:
        return Lineage()
    return Lineage(tuple(content["job_ids"]), content["digests"])


def write_lineage(layout: StorageLayout, series_instance_uid: str, lineage: Lineage) -> None:
    """Put a record of a series on the disk; the caller holds `lineage_lock`."""
    replace_durably(_file(layout, series_instance_uid), json.dumps(asdict(lineage)).encode("ascii"))


@contextmanager
def lineage_lock(layout: StorageLayout) -> Iterator[None]:
    """Keep every other process of the nodes that share the folder from changing a record meanwhile."""
    descriptor = os.open(layout.series / ".lock", os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _file(layout: StorageLayout, series_instance_uid: str) -> Path:
    return layout.series / f"{series_instance_uid}.json"
