"""Every frame of an MR Series with its geometry, whether it is an instance of its own or one of an Enhanced MR Image.

Source: PS3.3 C.7.6.2 (Image Plane), C.7.6.16 (Multi-frame Functional Groups), C.8.13.5 (MR Echo).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from operators.dicom.series import SourceInstance, SourceSeries


@dataclass(frozen=True)
class SourceFrame:
    """One slice as it was received.

    frame_number: 1-based within a multi-frame instance, None where the instance is the frame.
    position, row, column: LPS mm of the first pixel's centre, unit vectors along a row and down a column.
    spacing: (between rows, between columns) mm. shape: (rows, columns).
    kind: what may differ between stacks of one Series: (name, value) pairs such as ("echo time", "98.0").
    """

    instance: SourceInstance
    frame_number: int | None
    position: tuple[float, float, float]
    row: tuple[float, float, float]
    column: tuple[float, float, float]
    spacing: tuple[float, float]
    shape: tuple[int, int]
    kind: tuple[tuple[str, str], ...]
    number: int

    @property
    def normal(self) -> NDArray[np.float64]:
        """Rows × columns, the direction in which slices are counted."""
        return np.cross(self.row, self.column)

    @property
    def name(self) -> str:
        """SOP Instance UID, and the frame within it."""
        frame = "" if self.frame_number is None else f" frame {self.frame_number}"
        return self.instance.sop_instance_uid + frame


# What tells stacks of one Series apart: (name, keyword, macro in which Enhanced MR keeps it).
KINDS = (
    ("image type", "ImageType", None),
    ("image type", "FrameType", "MRImageFrameTypeSequence"),
    ("stack", "StackID", "FrameContentSequence"),
    ("echo time", "EchoTime", None),
    ("echo time", "EffectiveEchoTime", "MREchoSequence"),
    ("inversion time", "InversionTime", None),
    ("time point", "TemporalPositionIdentifier", None),
    ("time point", "TemporalPositionIndex", "FrameContentSequence"),
    ("diffusion b-value", "DiffusionBValue", None),
    ("diffusion b-value", "DiffusionBValue", "MRDiffusionSequence"),
)
COMPONENTS = ("M", "P", "R", "I", "MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "WATER", "FAT", "IN_PHASE", "OUT_PHASE")


def frames_of(series: SourceSeries) -> tuple[tuple[SourceFrame, ...], tuple[str, ...]]:
    """List the frames that have a place in the patient, and a sentence for each that has none."""
    frames: list[SourceFrame] = []
    notes: list[str] = []
    for instance in series.instances:
        for frame_number, groups in _functional_groups(instance.dataset):
            frame = _frame(instance, frame_number, groups)
            if frame is None:
                where = "" if frame_number is None else f" frame {frame_number}"
                notes.append(f"{instance.sop_instance_uid}{where} has no position or spacing and was left out")
            else:
                frames.append(frame)
    return tuple(frames), tuple(notes)


def _functional_groups(dataset: Dataset) -> Iterator[tuple[int | None, tuple[Dataset, ...]]]:
    """Yield a frame's number and where its attributes may stand, the nearest first."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    shared = tuple(dataset.get("SharedFunctionalGroupsSequence") or ())
    if not per_frame:
        yield None, (dataset,)
        return
    for number, own in enumerate(per_frame, start=1):
        yield number, (own, *shared, dataset)


def _lookup(groups: tuple[Dataset, ...], keyword: str, macro: str | None) -> object:
    """Return an attribute from the first group that has it, inside a macro or beside."""
    for group in groups:
        holders = (group.get(macro) or ()) if macro else (group,)
        for holder in holders:
            value = holder.get(keyword)
            if value not in (None, ""):
                return value
    return None


def _either(groups: tuple[Dataset, ...], keyword: str, macro: str, count: int) -> tuple[float, ...] | None:
    value = _lookup(groups, keyword, macro)
    value = _lookup(groups, keyword, None) if value is None else value
    try:
        numbers = tuple(float(number) for number in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None


def _frame(instance: SourceInstance, frame_number: int | None, groups: tuple[Dataset, ...]) -> SourceFrame | None:
    position = _either(groups, "ImagePositionPatient", "PlanePositionSequence", 3)
    cosines = _either(groups, "ImageOrientationPatient", "PlaneOrientationSequence", 6)
    spacing = _either(groups, "PixelSpacing", "PixelMeasuresSequence", 2)
    rows, columns = instance.dataset.get("Rows"), instance.dataset.get("Columns")
    if position is None or cosines is None or spacing is None or not rows or not columns or min(spacing) <= 0:
        return None
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.5 or abs(row @ column) > 1e-2 * lengths[0] * lengths[1]:
        return None
    number = frame_number or _whole(instance.dataset.get("InstanceNumber"))
    x, y, z = position
    return SourceFrame(
        instance=instance,
        frame_number=frame_number,
        position=(x, y, z),
        row=_unit(row),
        column=_unit(column),
        spacing=(spacing[0], spacing[1]),
        shape=(int(rows), int(columns)),
        kind=_kind(groups),
        number=number,
    )


def _kind(groups: tuple[Dataset, ...]) -> tuple[tuple[str, str], ...]:
    kind: dict[str, str] = {}
    for name, keyword, macro in KINDS:
        value = _lookup(groups, keyword, macro)
        if value is None or name in kind:
            continue
        kind[name] = _component(value) if name == "image type" else _plain(value)
    return tuple(kind.items())


def _component(value: object) -> str:
    """Of an Image Type only what makes another picture: magnitude or phase, water or fat."""
    parts = value if isinstance(value, MultiValue) else str(value).split("\\")
    return "\\".join(str(part) for part in parts[2:] if str(part).upper() in COMPONENTS) or "image"


def _plain(value: object) -> str:
    """Numbers without trailing zeros, so that 98 and 98.0 are the same echo."""
    try:
        return f"{float(value):g}"  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return str(value)


def _unit(vector: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (vector / np.linalg.norm(vector)).tolist()
    return x, y, z


def _whole(value: object) -> int:
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        return 0
