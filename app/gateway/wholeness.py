"""Whether the instances of an MR series make whole stacks, so that nothing needs to be waited for.

No header says for certain how many instances a series has. What arrived counts as whole where it is one or more
stacks of the same number of slices, equally spaced by the measure of the engine, that came on one association, or where
the header's own count (Images in Acquisition) is reached. A mistake costs one more, superseding version, no result.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread

from operators.dicom.slice_spacing import STATION_MM, is_whole_stack

_TAGS = [
    "ImageType",
    "EchoTime",
    "InversionTime",
    "EchoNumbers",
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "ImagesInAcquisition",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "NumberOfFrames",
    "ConcatenationUID",
    "InConcatenationTotalNumber",
]
_STACK_TAGS = ("ImageType", "EchoTime", "InversionTime", "EchoNumbers", "TemporalPositionIdentifier")


@dataclass(frozen=True)
class SlicePlace:
    """Where an instance belongs.

    stack: what it has in common with the other slices of its stack.
    position_mm: along the stack's normal; None for a multi-frame instance.
    expected: how many instances its acquisition (or concatenation) has by its own account; None where it tells none.
    group: which acquisition (or concatenation) that is.
    """

    stack: tuple[Any, ...]
    position_mm: float | None
    expected: int | None
    group: str


def read_places(files: Iterable[Path]) -> tuple[SlicePlace, ...] | None:
    """Return where each instance of an MR series belongs, or None where one of them does not say.

    Args:
        files: one per instance; only their headers are read.
    """
    try:
        return tuple(_place(dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))) for file in files)
    except Exception:  # whatever a malformed header makes a decoder raise: then it does not say
        return None


def is_whole(places: Sequence[SlicePlace], *, associations: int) -> bool:
    """Say whether instances make whole stacks.

    Args:
        places: of all instances that have arrived.
        associations: on how many associations they came.
    """
    counted = Counter(place.group for place in places)
    expected = {place.group: place.expected for place in places}
    if any(number is not None and counted[group] < number for group, number in expected.items()):
        return False
    if all(place.position_mm is None for place in places):  # multi-frame: each is a stack or more
        return bool(places)
    if any(place.position_mm is None for place in places):
        return False
    stacks: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for place in places:
        stacks[place.stack].append(place.position_mm or 0.0)
    is_told = all(number is not None for number in expected.values())
    are_regular = all(is_whole_stack(positions) for positions in stacks.values())
    same_length = len({len(positions) for positions in stacks.values()}) == 1
    return are_regular and same_length and (associations == 1 or is_told)


def _place(header: Dataset) -> SlicePlace:
    frames = header.get("NumberOfFrames")
    if frames is not None and int(frames) > 1:
        group = str(header.get("ConcatenationUID", ""))
        total = header.get("InConcatenationTotalNumber")
        return SlicePlace((), None, int(total) if total else None, group)
    orientation = np.array(header.ImageOrientationPatient, dtype=float)
    normal = np.cross(orientation[:3], orientation[3:])
    place = np.array(header.ImagePositionPatient, dtype=float)
    position = float(normal @ place)
    # PS3.3 C.7.6.2.1.1; scanners write the same plane with a digit more or less
    station = tuple(((place - position * normal) / STATION_MM).round() + 0.0)  # 0.0: so that -0 is 0
    stack = (tuple(orientation.round(3) + 0.0), station, *(str(header.get(name, "")) for name in _STACK_TAGS))
    total = header.get("ImagesInAcquisition")
    return SlicePlace(stack, position, int(total) if total else None, str(header.get("AcquisitionNumber", "")))
