"""What the gateway acknowledged and did not keep: a small record per series, so that it has a sentence like any other.

A record holds UIDs, numbers and the sentence of a route. The first instance of a series writes it; further ones are
counted in memory and written when their association ends. Only the youngest series are remembered.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from app.jobs.layout import StorageLayout, replace_durably

MOST_SERIES = 1000  # records on the disk; a PACS that sends whole studies back makes a few for each


@dataclass(frozen=True)
class DiscardedSeries:
    """A series of which instances were acknowledged and not kept.

    instances: how many, repeats counted again. reason: why, in words. last_at: seconds since the epoch.
    """

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    calling_ae_title: str
    instances: int
    reason: str
    last_at: float

    @property
    def updated_at(self) -> datetime:
        """When the last instance came."""
        return datetime.fromtimestamp(self.last_at, UTC)


class DiscardRecords:
    """The records below the storage folder.

    Args:
        layout: where the node keeps what.
        clock: seconds since the epoch.
    """

    def __init__(self, layout: StorageLayout, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = layout.discarded
        self._clock = clock
        self._pending: dict[str, DiscardedSeries] = {}

    def count(self, one: DiscardedSeries) -> bool:
        """Count instances of a series that were not kept, and say whether the series is new since the last `flush`."""
        known = self._pending.get(one.series_instance_uid)
        record = known or self._read(self._file(one.series_instance_uid))
        before = record.instances if record else 0
        told = replace(one, instances=before + one.instances, last_at=self._clock())
        self._pending[one.series_instance_uid] = told
        if known is None:
            self._write(told)
        return known is None

    def flush(self) -> tuple[DiscardedSeries, ...]:
        """Write what was counted, and return it."""
        counted = tuple(self._pending.values())
        self._pending.clear()
        for record in counted:
            self._write(record)
        if counted:
            self._forget_the_oldest()
        return counted

    def recent(self, *, limit: int = 100) -> tuple[DiscardedSeries, ...]:
        """Return the youngest records, youngest first."""
        found = sorted(self._records(), key=lambda record: record.last_at, reverse=True)
        return tuple(found[:limit])

    def _file(self, series_instance_uid: str) -> Path:
        return self._folder / f"{series_instance_uid}.json"

    def _write(self, record: DiscardedSeries) -> None:
        replace_durably(self._file(record.series_instance_uid), json.dumps(asdict(record)).encode("ascii"))

    def _records(self) -> Iterator[DiscardedSeries]:
        for file in self._folder.glob("*.json"):
            record = self._read(file)
            if record is not None:
                yield record

    @staticmethod
    def _read(file: Path) -> DiscardedSeries | None:
        try:
            return DiscardedSeries(**json.loads(file.read_text("ascii")))
        except (OSError, ValueError, TypeError):  # not there, or cut short by a disk that was full
            return None

    def _forget_the_oldest(self) -> None:
        files = [(file.stat().st_mtime, file) for file in self._folder.glob("*.json")]
        for _, file in sorted(files)[:-MOST_SERIES]:
            file.unlink(missing_ok=True)
