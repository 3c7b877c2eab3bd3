"""Which series are complete: a pure function of what arrived and the clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Self

# A radiograph is whole as soon as it is there; volumes arrive over one or several associations.
RADIOGRAPH_MODALITIES = frozenset({"CR", "DX"})
VOLUME_MODALITIES = frozenset({"MR"})

# A series that another gateway receives is that one's to complete; after so long it counts as gone.
FOREIGN_GRACE_S = 20.0


@dataclass(frozen=True)
class ArrivingSeries:
    """What is known of a series that is arriving.

    key: see `app.jobs.lineage.series_key`.
    folder: the name of its folder, which is the key unless version 0.1.0 made it.
    digests: SOP Instance UID → SHA-256 of its encoded data set.
    associations: all that brought an instance; open_associations: those that are still open.
    released: an association that brought an instance has ended in order.
    is_whole: what `app.gateway.wholeness` says of the instances; None where it has not been asked since the last.
    is_foreign: all of it came to another gateway.
    last_arrival: time of the last instance, in seconds of the caller's clock.
    """

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    calling_ae_title: str
    last_arrival: float
    key: str = ""
    folder: str = ""
    digests: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    associations: frozenset[int] = frozenset()
    open_associations: frozenset[int] = frozenset()
    released: bool = False
    is_whole: bool | None = None
    is_foreign: bool = False

    @property
    def is_sent(self) -> bool:
        """Whether every association that brought an instance has ended, and one of them in order."""
        return self.released and not self.open_associations

    @property
    def may_be_whole(self) -> bool:
        """Whether it is worth while to ask if the instances make whole stacks."""
        return self.is_sent and self.modality in VOLUME_MODALITIES and self.is_whole is None

    def with_instance(self, sop_instance_uid: str, digest: str, association: int, now: float) -> Self:
        """Return the series with one more instance (or a repeat of one)."""
        return replace(
            self,
            digests=MappingProxyType({**self.digests, sop_instance_uid: digest}),
            associations=self.associations | {association},
            open_associations=self.open_associations | {association},
            last_arrival=now,
            is_whole=None,
            is_foreign=False,
        )

    def with_foreign(self, digests: dict[str, str], now: float) -> Self:
        """Return the series with instances that came to another gateway."""
        return replace(
            self, digests=MappingProxyType({**self.digests, **digests}), last_arrival=now, is_whole=None, released=False
        )

    def without_association(self, association: int, *, in_order: bool) -> Self:
        """Return the series after one of its associations has ended; `in_order` means by A-RELEASE."""
        if association not in self.open_associations:
            return self
        return replace(
            self,
            open_associations=self.open_associations - {association},
            released=self.released or in_order,
        )


def complete_at(series: ArrivingSeries, quiet_s: float) -> float:
    """Return the time from which the series counts as complete, if nothing else arrives."""
    is_whole = series.modality in RADIOGRAPH_MODALITIES or series.is_whole is True
    if series.is_sent and is_whole:
        return series.last_arrival
    return series.last_arrival + quiet_s + (FOREIGN_GRACE_S if series.is_foreign else 0.0)


def is_complete(series: ArrivingSeries, now: float, *, quiet_s: float) -> bool:
    """Say whether a series can be processed.

    A radiograph is complete when the association that brought it is released, a volume when it is known to be
    whole besides; any other series, and one whose association broke or stays open, when nothing has arrived for
    `quiet_s` seconds.
    """
    return now >= complete_at(series, quiet_s)


def why_complete(series: ArrivingSeries) -> str:
    """Return in words why a complete series was not waited for any longer."""
    if not series.is_sent:
        return "nothing more came within the quiet time"
    if series.modality in RADIOGRAPH_MODALITIES:
        return "its association was released"
    if series.is_whole:
        return "its association was released and its slices are whole"
    return "its slices do not say that they are whole, and nothing more came within the quiet time"
