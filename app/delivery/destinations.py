"""Who receives results, in which encoding, and what a receiver's answer means."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType

from app.peer_settings import DeliveryRule, Destination, WebDestination


class Fate(StrEnum):
    """What became of one instance at one receiver."""

    STORED = "stored"
    REFUSED = "refused"  # trying again gives the same answer
    POSTPONED = "postponed"  # trying again may succeed
    DENIED = "denied"  # trying again may succeed once an administrator has let this node in


# PS3.4 Table B.2-1 (0xA7xx, 0xA9xx, 0xBxxx, 0xCxxx), PS3.7 section C.4 and C.5.
_STATUS_FATES: Mapping[int, tuple[Fate, str]] = MappingProxyType(
    {
        0x0000: (Fate.STORED, "stored"),
        0x0001: (Fate.STORED, "stored"),
        0x0107: (Fate.STORED, "stored; the receiver skipped unknown attributes"),
        0x0110: (Fate.POSTPONED, "the receiver failed while processing it"),
        0x0111: (Fate.STORED, "the receiver has it already"),
        0x0116: (Fate.STORED, "stored; the receiver found a value out of range"),
        0x0117: (Fate.REFUSED, "the receiver finds the SOP Instance UID invalid"),
        0x0122: (Fate.REFUSED, "the receiver does not support the SOP class"),
        0x0124: (
            Fate.DENIED,
            "the receiver does not authorise this node to store: let its administrator permit this node's AE title",
        ),
        0x0210: (Fate.POSTPONED, "the receiver saw the message twice"),
        0x0212: (Fate.REFUSED, "the receiver finds an argument mistyped"),
        0x0213: (Fate.POSTPONED, "the receiver is short of resources"),
    }
)
_STATUS_RANGES: tuple[tuple[range, Fate, str], ...] = (
    (range(0xA700, 0xA800), Fate.POSTPONED, "the receiver is out of resources"),
    (range(0xA900, 0xAA00), Fate.REFUSED, "the receiver finds that the data set does not match its SOP class"),
    (range(0xB000, 0xC000), Fate.STORED, "stored with a warning"),
    (range(0xC000, 0xD000), Fate.REFUSED, "the receiver cannot understand it"),
)


def fate_of_status(status: int) -> tuple[Fate, str]:
    """Return what a C-STORE status means for the instance, and a sentence with the status in it.

    >>> fate_of_status(0xA701)[0].value
    'postponed'
    """
    fate, words = _STATUS_FATES.get(status, (None, ""))
    if fate is None:
        fate, words = next(
            ((fate, words) for codes, fate, words in _STATUS_RANGES if status in codes),
            (Fate.REFUSED, "the receiver answered with a status that PS3.4 does not know"),
        )
    return fate, f"{words} (0x{status:04X})"


def needed_profiles(destinations: Sequence[Destination | WebDestination]) -> tuple[str, ...]:
    """Return the encodings that the destinations may get, each once; `standard` where there is nobody.

    With an `ohif` destination of C-STORE `standard` as well: it gets that where it refuses label maps.
    """
    needed = {destination.profile for destination in destinations}
    if any(isinstance(destination, Destination) and destination.profile == "ohif" for destination in destinations):
        needed.add("standard")
    return tuple(sorted(needed)) or ("standard",)


def takes(rule: DeliveryRule, *, modality: str, calling_ae_title: str, engines: Callable[[], Iterable[str]]) -> bool:
    """Say whether a destination's rule takes the results of a series.

    Args:
        rule: of the destination; each of its lists that is not empty has to be met.
        modality: of the series.
        calling_ae_title: who sent it.
        engines: returns what segmented it; asked only where the rule names engines.
    """
    return (
        (not rule.modalities or modality in rule.modalities)
        and (not rule.calling_ae_titles or calling_ae_title in rule.calling_ae_titles)
        and (not rule.engines or not set(rule.engines).isdisjoint(engines()))
    )
