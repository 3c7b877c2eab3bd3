"""Which series are complete: a pure function of what arrived and the clock."""

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Self

# A radiograph is whole as soon as it is there; volumes arrive over one or several associations.
RADIOGRAPH_MODALITIES = frozenset({"CR", "DX"})


@dataclass(frozen=True)
class ArrivingSeries:
    """What is known of a series that is arriving.

    digests: SOP Instance UID → SHA-256 of its encoded data set.
    open_associations: the associations that brought an instance and are still open.
    released: an association that brought an instance has ended in order.
    last_arrival: time of the last instance, in seconds of the caller's clock.
    """

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    calling_ae_title: str
    digests: MappingProxyType[str, str]
    open_associations: frozenset[int]
    released: bool
    last_arrival: float

    def with_instance(self, sop_instance_uid: str, digest: str, association: int, now: float) -> Self:
        """Return the series with one more instance (or a newer copy of one)."""
        return replace(
            self,
            digests=MappingProxyType({**self.digests, sop_instance_uid: digest}),
            open_associations=self.open_associations | {association},
            last_arrival=now,
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
    sent_whole = series.released and not series.open_associations
    if series.modality in RADIOGRAPH_MODALITIES and sent_whole:
        return series.last_arrival
    return series.last_arrival + quiet_s


def is_complete(series: ArrivingSeries, now: float, *, quiet_s: float) -> bool:
    """Say whether a series can be processed.

    A radiograph is complete when the association that brought it is released; any other series, and a
    radiograph whose association broke or stays open, when nothing has arrived for `quiet_s` seconds.
    """
    return now >= complete_at(series, quiet_s)
