"""What an MR header tells about the acquisition: its plane, and attributes wherever a frame may have them.

Attributes are looked for in the data set, then in the functional groups of Enhanced MR (PS3.3 C.7.6.16).
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

Plane = Literal["sagittal", "coronal", "axial", "oblique"]
NORMAL_OF: tuple[Plane, Plane, Plane] = ("sagittal", "coronal", "axial")  # by the axis that the normal is nearest to
OBLIQUE_COSINE = 0.8  # a normal further than 37° from every axis belongs to none of the planes
# What Enhanced MR calls an attribute, or its values: PS3.3 C.8.13.4 and C.8.13.5.
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
        return plane_of(np.cross(cosines[:3], cosines[3:]))
    except (TypeError, ValueError):
        return None


def plane_of(normal: ArrayLike) -> Plane:
    """Return the plane that a normal (x, y, z; LPS, any length and sign) stands on.

    Raises:
        ValueError: it has no length.
    """
    direction = np.abs(np.asarray(normal, np.float64))
    length = np.linalg.norm(direction)
    if not length > 0:
        raise ValueError("a normal without length stands on no plane")
    nearest = int(direction.argmax())
    return NORMAL_OF[nearest] if direction[nearest] >= OBLIQUE_COSINE * length else "oblique"


def find_value(dataset: Dataset, keyword: str) -> object:
    """Return an attribute's value wherever a frame may have it, or None where it has none or no readable one."""
    return next(find_values(dataset, keyword), None)


def find_values(dataset: Dataset, keyword: str) -> Iterator[object]:
    """Yield every value of an attribute that a frame may mean, the nearest first."""
    for name in (keyword, *ALIASES.get(keyword, ())):
        for holder in _holders(dataset):
            value = readable(holder, name)
            if value not in (None, "") and not (isinstance(value, Sequence) and len(value) == 0):
                yield value


def values_in(value: object) -> tuple[object, ...]:
    """Return the values of an attribute of one or several."""
    return tuple(value) if isinstance(value, MultiValue | list | tuple) else (value,)


def _holders(dataset: Dataset) -> Iterator[Dataset]:
    """Yield what may hold a frame's attributes; what a private sequence holds has no meaning outside (PS3.5 7.8)."""
    yield dataset
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    for group in (*per_frame[:1], *shared):
        for element in group:
            if element.VR == "SQ" and not element.tag.is_private:
                yield from element.value


def readable(holder: Dataset, keyword: str) -> object:
    """Return an attribute's value, or None where it has none or none that can be read."""
    try:
        return holder.get(keyword)
    except Exception:  # pydicom converts as it reads; a value that cannot be converted is as good as none
        return None
