"""What belongs together, by where the slices are: stations of one MR Series, one Series spread over studies."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from operators.dicom.mr_acquisition import plane_of
from operators.dicom.slice_spacing import FEWEST_SLICES, SAME_PLACE_MM, is_whole_stack, stations

SliceGeometry = NDArray[np.float64]  # (3, 3): position, direction of a row, direction of a column; LPS
GEOMETRY_TAGS = ("ImagePositionPatient", "ImageOrientationPatient", "NumberOfFrames")
STUDY_UID_ADVICE = "give all instances one Study Instance UID (0020,000D) and run again"


@dataclass(frozen=True)
class Station:
    """Instances of one Series that make a volume of their own.

    members: their indices. note: which station it is, for the report; empty where there is one alone.
    """

    members: tuple[int, ...]
    note: str = ""


def slice_geometry(header: Dataset) -> SliceGeometry | None:
    """Return where a single-frame image lies, or None where the header does not tell."""
    try:
        if int(header.get("NumberOfFrames") or 1) > 1:
            return None
        values = [*header.ImagePositionPatient, *header.ImageOrientationPatient]
        geometry = np.array([float(value) for value in values]).reshape(3, 3)
        plane_of(np.cross(geometry[1], geometry[2]))
    except Exception:  # pydicom converts as it reads, and raises what it likes
        return None
    return geometry if np.isfinite(geometry).all() else None


def stations_of(slices: Sequence[SliceGeometry | None]) -> tuple[Station, ...]:
    """Take the instances of one MR Series apart by station.

    Only sagittal stacks of `FEWEST_SLICES` places or more count; whatever else the Series holds stays with the first.
    """
    sagittal = [index for index, geometry in enumerate(slices) if geometry is not None and _is_sagittal(geometry)]
    whole = Station(tuple(range(len(slices))))
    if len(sagittal) < 2 * FEWEST_SLICES:
        return (whole,)
    positions = np.array([_of(slices, index)[0] for index in sagittal])
    normal = _normal(_of(slices, sagittal[0]))
    labels = stations(positions, normal)
    found = [
        label for label in range(int(labels.max()) + 1) if _places(positions[labels == label] @ normal) >= FEWEST_SLICES
    ]
    if len(found) < 2:
        return (whole,)
    members = [[index for index, own in zip(sagittal, labels, strict=True) if own == label] for label in found]
    taken = {index for group in members for index in group}
    members[0] = sorted({*members[0], *(index for index in range(len(slices)) if index not in taken)})
    apart = _apart_mm([positions[labels == label] for label in found], normal)
    words = (
        f"the series holds {len(found)} stations, {apart:.0f} mm apart within their plane; each is a volume of its own"
    )
    return tuple(
        Station(tuple(group), f"station {number} of {len(found)}: {words}") for number, group in enumerate(members, 1)
    )


def spread_over_studies(
    studies: Mapping[str, Sequence[SliceGeometry | None]],
) -> str | None:
    """Say that a Series lies in several studies, a few slices in each, or None where it does not.

    Args:
        studies: Study Instance UID → the slices of the Series in it. A Series UID that was copied to several whole
            Series is no such thing: each of them is taken as it is.
    """
    if len(studies) < 2 or any(len(slices) >= FEWEST_SLICES for slices in studies.values()):
        return None
    together = [geometry for slices in studies.values() for geometry in slices]
    words = f"one Series Instance UID in {len(studies)} studies"
    if any(geometry is None for geometry in together):
        return f"{words}; {STUDY_UID_ADVICE}"
    normal = _normal(_of(together, 0))
    places = [float(geometry[0] @ normal) for geometry in together if geometry is not None]
    if is_whole_stack(places):
        return f"{words}, which together make one volume of {len(places)} slices; {STUDY_UID_ADVICE}"
    return f"{words}; {STUDY_UID_ADVICE} if they belong together"


def _of(slices: Sequence[SliceGeometry | None], index: int) -> SliceGeometry:
    geometry = slices[index]
    if geometry is None:
        raise ValueError("an instance without a place has been counted as a slice")
    return geometry


def _is_sagittal(geometry: SliceGeometry) -> bool:
    return plane_of(np.cross(geometry[1], geometry[2])) == "sagittal"


def _normal(geometry: SliceGeometry) -> NDArray[np.float64]:
    normal: NDArray[np.float64] = np.cross(geometry[1], geometry[2])
    length = float(np.linalg.norm(normal))
    return normal / length


def _places(along: NDArray[np.float64]) -> int:
    return len(Counter(np.round(along / SAME_PLACE_MM).tolist()))


def _apart_mm(groups: Sequence[NDArray[np.float64]], normal: NDArray[np.float64]) -> float:
    """Return the usual distance between neighbouring stations within their plane."""
    means = np.array([group.mean(0) - (group.mean(0) @ normal) * normal for group in groups])
    distances = np.linalg.norm(means[:, None] - means[None], axis=2)
    return float(np.median(np.where(distances > 0, distances, np.inf).min(1)))
