"""What an MR header tells about the acquisition: its plane, and attributes wherever a frame may have them.

Attributes are looked for in the data set, then in the functional groups of Enhanced MR (PS3.3 C.7.6.16).
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from pydicom.dataset import Dataset

Plane = Literal["sagittal", "coronal", "axial", "oblique"]
NORMAL_OF: tuple[Plane, Plane, Plane] = ("sagittal", "coronal", "axial")  # by the axis that the normal is nearest to
OBLIQUE_COSINE = 0.8  # a normal further than 37° from every axis belongs to none of the planes
ALIASES = {
    "EchoTime": ("EffectiveEchoTime",),
    "InversionTime": ("InversionTimes",),
    "SequenceName": ("PulseSequenceName",),
}


def plane(dataset: Dataset) -> Plane | None:
    """Return the plane of the first frame, or None where the header has no orientation."""
    try:
        values: Any = find_value(dataset, "ImageOrientationPatient")
        cosines = np.array([float(value) for value in values])
        normal = np.abs(np.cross(cosines[:3], cosines[3:]))
        normal /= np.linalg.norm(normal)
    except (TypeError, ValueError):
        return None
    nearest = int(normal.argmax())
    return NORMAL_OF[nearest] if normal[nearest] >= OBLIQUE_COSINE else "oblique"


def find_value(dataset: Dataset, keyword: str) -> object:
    """Return an attribute's value wherever a frame may have it, or None."""
    for name in (keyword, *ALIASES.get(keyword, ())):
        for holder in _holders(dataset):
            value = holder.get(name)
            if value not in (None, ""):
                return value
    return None


def _holders(dataset: Dataset) -> Iterator[Dataset]:
    yield dataset
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    for group in (*shared, *per_frame[:1]):
        for element in group:
            if element.VR == "SQ":
                yield from element.value
