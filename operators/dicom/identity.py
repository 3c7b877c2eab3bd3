"""Who made a result and under which UIDs and numbers: the same input gives the same identifiers, always.

Nothing here reads a clock or draws a random number, so that a study routed twice gives the same instances and the
receiver sees a repeat instead of a second copy. A source whose header was corrected under the same SOP Instance UID
gives other instances: a UID must never name two contents (PS3.5 section 9).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pydicom.valuerep import DA, TM

from operators.dicom.content import content_digest
from operators.dicom.mr_acquisition import readable

ResultKind = Literal["segmentation", "report", "overlay", "substructures"]
Profile = Literal["standard", "ohif"]

# The last digit of the Series Number: segmentations sort before reports, reports before pictures.
KIND_DIGITS: MappingProxyType[ResultKind, int] = MappingProxyType(
    {"segmentation": 1, "report": 2, "overlay": 3, "substructures": 4}
)

# Content Date is Type 1 in a SEG; a source without any date gets the oldest one that every receiver accepts.
DATE_OF_UNDATED = "19000101"
_DATES = ("ContentDate", "AcquisitionDate", "SeriesDate", "StudyDate")
_TIMES = ("ContentTime", "AcquisitionTime", "SeriesTime", "StudyTime")


@dataclass(frozen=True)
class AlgorithmIdentity:
    """The pack and the software that made a result.

    name, version, digest: of the model pack; `digest` is the SHA-256 (hex) over its weights, so that other weights
        make another device.
    software_version: of Spondyl.
    research_only: results are marked RESEARCH and "not for diagnosis" unless the pack's intended use says otherwise.
    """

    name: str
    version: str
    digest: str
    software_version: str
    manufacturer: str = "Spondyl"
    research_only: bool = True

    @property
    def device_uid(self) -> UID:
        """UID of this software with these weights as a device."""
        return derived_uid("device", self.software_version, self.name, self.version, self.digest)


def derived_uid(*parts: str) -> UID:
    """Return a UID that depends on the parts alone, in order.

    PS3.5 B.2: 2.25 and a 128-bit UUID as a decimal number; the UUID is of version 8 (RFC 9562: custom content),
    filled from the SHA-256 of the parts.

    >>> derived_uid("a", "b") == derived_uid("a", "b") != derived_uid("ab")
    True
    """
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 8 << 76
    number = number & ~(0x3 << 62) | 2 << 62
    return UID(f"2.25.{number}")


def instance_uid(
    source: Sequence[Dataset], algorithm: AlgorithmIdentity, *, kind: str, profile: str = "standard"
) -> UID:
    """Return the UID of a result or of its series: it depends on all that the headers of the source say."""
    contents = sorted(content_digest(dataset) for dataset in source)
    return derived_uid(kind, profile, *_made_by(algorithm), *contents)


def result_uid(source: Sequence[Dataset], algorithm: AlgorithmIdentity, *, kind: str, profile: str = "standard") -> UID:
    """Return a UID for one thing (`kind`: a vertebra, say) in the images of a source series.

    It stays the same where a header is corrected, as a Tracking Unique Identifier should.
    """
    instances = sorted(str(dataset.SOPInstanceUID) for dataset in source)
    return derived_uid(kind, profile, *_made_by(algorithm), *instances)


def _made_by(algorithm: AlgorithmIdentity) -> tuple[str, ...]:
    return algorithm.software_version, algorithm.name, algorithm.version, algorithm.digest


def series_number(source: Sequence[Dataset], kind: ResultKind) -> int:
    """Return the Series Number of a result: six digits, `9`, four from the source series, one for the kind.

    Scanners number from 1, so that 900001 and above is free in practice; two radiographs of one study get different
    numbers (one chance in ten thousand aside, and a Series Number need not be unique: PS3.3 C.7.3.1).
    """
    digest = hashlib.sha256(str(source[0].SeriesInstanceUID).encode()).digest()
    slot = int.from_bytes(digest[:4], "big") % 10_000
    return 900_000 + slot * 10 + KIND_DIGITS[kind]


def content_date_and_time(source: Sequence[Dataset]) -> tuple[str, str]:
    """Return Content Date (DA) and Content Time (TM) of a result: those of its source, for a clock would differ."""
    for date_keyword, time_keyword in zip(_DATES, _TIMES, strict=True):
        date = valid_date(readable(source[0], date_keyword))
        if date:
            return date, valid_time(readable(source[0], time_keyword)) or "000000"
    return DATE_OF_UNDATED, "000000"


def valid_date(value: object) -> str | None:
    """Return a DA value as YYYYMMDD, or None where it is empty or not one."""
    try:
        date = DA(str(value or "").strip())
    except ValueError:
        return None
    return f"{date:%Y%m%d}" if date else None


def valid_time(value: object) -> str | None:
    """Return a TM value as it stands, or None where it is empty or not one."""
    text = str(value or "").strip()
    try:
        return text if TM(text) else None
    except ValueError:
        return None
