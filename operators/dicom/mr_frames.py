"""Every frame of an MR Series with its geometry, whether it is an instance of its own or one of an Enhanced MR Image.

Source: PS3.3 C.7.6.2 (Image Plane), C.7.6.16 (Multi-frame Functional Groups), C.8.13.5 (MR Echo).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from operators.dicom.mr_acquisition import readable
from operators.dicom.series import SourceInstance, SourceSeries

Vector = tuple[float, float, float]
Kind = tuple[tuple[str, str], ...]

# Where Legacy Converted Enhanced MR keeps what no macro has a place for (PS3.3 C.7.6.16.2.25 and .26).
CONVERTED = ("UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence")
NOT_SQUARE = 1e-2  # the most that the cosine between rows and columns may be
SHORTEST_COSINES = 0.5  # direction cosines much shorter than 1 are no directions
NAMED_FRAMES = 3  # in a sentence about many
GREYS = ("MONOCHROME2", "MONOCHROME1")


class Trait(NamedTuple):
    """What may differ between stacks: its name in sentences, its keyword, the Enhanced MR macros that may hold it."""

    name: str
    keyword: str
    macros: tuple[str, ...] = ()


# What always tells stacks of one Series apart; of several rows of one name the first that has a value counts.
KINDS = (
    Trait("image type", "FrameType", ("MRImageFrameTypeSequence",)),
    Trait("image type", "ImageType"),
    Trait("component", "ComplexImageComponent", ("MRImageFrameTypeSequence",)),
    Trait("stack", "StackID", ("FrameContentSequence",)),
    Trait("echo time", "EffectiveEchoTime", ("MREchoSequence",)),
    Trait("echo time", "EchoTime", CONVERTED),
    Trait("inversion time", "InversionTimes", ("MRModifierSequence",)),
    Trait("inversion time", "InversionTime", CONVERTED),
    Trait("time point", "TemporalPositionIndex", ("FrameContentSequence",)),
    Trait("time point", "TemporalPositionIdentifier", CONVERTED),
    Trait("diffusion b-value", "DiffusionBValue", ("MRDiffusionSequence", *CONVERTED)),
)
# Of an Image Type only these make another picture; flavours such as NORM or ND may differ within one stack.
COMPONENTS = {
    *("M", "P", "R", "I", "MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "PHASE MAP", "B0 MAP", "T1 MAP", "T2 MAP"),
    *("WATER", "FAT", "W", "F", "IP", "OP", "IN_PHASE", "OUT_PHASE", "OPP_PHASE", "ADC", "EADC", "FA", "TRACEW"),
}


@dataclass(frozen=True)
class SourceFrame:
    """One slice as it was received.

    frame_number: 1-based within a multi-frame instance, None where the instance is the frame.
    position, row, column: LPS mm of the first pixel's centre, unit vectors along a row and down a column.
    spacing: (between rows, between columns) mm. shape: (rows, columns).
    rescale: slope and intercept, None where the header has none.
    kind: what may differ between stacks of one Series: (name, value) pairs such as ("echo time", "98").
    number: Instance Number, or Frame Number within a multi-frame instance.
    groups: where its attributes stand, the nearest first.
    """

    instance: SourceInstance
    frame_number: int | None
    position: Vector
    row: Vector
    column: Vector
    spacing: tuple[float, float]
    shape: tuple[int, int]
    rescale: tuple[float, float] | None
    kind: Kind
    number: int
    groups: tuple[Dataset, ...] = field(repr=False, compare=False)

    @property
    def normal(self) -> NDArray[np.float64]:
        """Rows × columns, the direction in which slices are counted."""
        return np.cross(self.row, self.column)

    @property
    def name(self) -> str:
        """SOP Instance UID, and the frame within it."""
        return _name(self.instance, self.frame_number)

    @property
    def frame_of_reference_uid(self) -> str:
        """The space that its position lies in; empty where the header does not tell."""
        return str(self.instance.dataset.get("FrameOfReferenceUID") or "")


class _Unplaced(Exception):
    """A frame cannot be a slice; the message completes "… frame(s) ‹message› and were left out"."""


def frames_of(series: SourceSeries) -> tuple[tuple[SourceFrame, ...], tuple[str, ...]]:
    """List the frames that can be slices, and a sentence for each reason why others cannot."""
    frames: list[SourceFrame] = []
    refused: dict[str, list[str]] = {}
    for instance in series.instances:
        for frame_number, groups in _functional_groups(instance.dataset):
            try:
                frames.append(_frame(instance, frame_number, groups))
            except _Unplaced as reason:
                refused.setdefault(str(reason), []).append(_name(instance, frame_number))
    return tuple(frames), tuple(
        f"{len(names)} frame(s) with {reason} were left out: {named(names)}" for reason, names in refused.items()
    )


def trait_of(frame: SourceFrame, trait: Trait) -> object:
    """Return what a frame's header says of a trait, or None."""
    return _lookup(frame.groups, trait.keyword, *trait.macros)


def plain(value: object) -> str:
    """Return a value for comparison and sentences: numbers without trailing zeros, so that 98 and 98.0 are one."""
    parts = value if isinstance(value, MultiValue | list | tuple) else [value]
    return "\\".join(_plain_number(part) for part in parts)


def named(names: list[str]) -> str:
    """Name the first few of a list."""
    more = len(names) - NAMED_FRAMES
    return ", ".join(names[:NAMED_FRAMES]) + (f" and {more} more" if more > 0 else "")


def _name(instance: SourceInstance, frame_number: int | None) -> str:
    return instance.sop_instance_uid + ("" if frame_number is None else f" frame {frame_number}")


def _functional_groups(dataset: Dataset) -> Iterator[tuple[int | None, tuple[Dataset, ...]]]:
    """Yield a frame's number and where its attributes may stand, the nearest first."""
    per_frame = _items(dataset, "PerFrameFunctionalGroupsSequence")
    shared = _items(dataset, "SharedFunctionalGroupsSequence")
    if not per_frame:
        yield None, (dataset,)
        return
    for number in range(1, max(len(per_frame), _whole(readable(dataset, "NumberOfFrames"))) + 1):
        yield number, (*per_frame[number - 1 : number], *shared, dataset)


def _items(holder: Dataset, keyword: str) -> tuple[Dataset, ...]:
    items = readable(holder, keyword)
    return tuple(items) if isinstance(items, Sequence) else ()


def _lookup(groups: tuple[Dataset, ...], keyword: str, *macros: str) -> object:
    """Return an attribute from the first group that has it, in one of the macros or beside them."""
    for group in groups:
        for macro in macros:
            for holder in _items(group, macro):
                if (value := readable(holder, keyword)) not in (None, ""):
                    return value
        if (value := readable(group, keyword)) not in (None, ""):
            return value
    return None


def _numbers(groups: tuple[Dataset, ...], keyword: str, macro: str, name: str, count: int) -> tuple[float, ...]:
    value = _lookup(groups, keyword, macro)
    try:
        numbers = tuple(float(number) for number in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise _Unplaced(f"no {name}")
    return numbers


def _frame(instance: SourceInstance, frame_number: int | None, groups: tuple[Dataset, ...]) -> SourceFrame:
    x, y, z = _numbers(groups, "ImagePositionPatient", "PlanePositionSequence", "Image Position (Patient)", 3)
    row, column = _directions(groups)
    row_mm, column_mm = _numbers(groups, "PixelSpacing", "PixelMeasuresSequence", "Pixel Spacing", 2)
    if min(row_mm, column_mm) <= 0:
        raise _Unplaced("no Pixel Spacing")
    return SourceFrame(
        instance=instance,
        frame_number=frame_number,
        position=(x, y, z),
        row=row,
        column=column,
        spacing=(row_mm, column_mm),
        shape=_shape(instance.dataset, frame_number),
        rescale=_rescale(groups),
        kind=_kind(groups),
        number=frame_number or _whole(readable(instance.dataset, "InstanceNumber")),
        groups=groups,
    )


def _directions(groups: tuple[Dataset, ...]) -> tuple[Vector, Vector]:
    """Return the directions of a row and a column as unit vectors."""
    cosines = _numbers(groups, "ImageOrientationPatient", "PlaneOrientationSequence", "Image Orientation (Patient)", 6)
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    if min(lengths) < SHORTEST_COSINES or abs(row @ column) > NOT_SQUARE * lengths[0] * lengths[1]:
        raise _Unplaced("an Image Orientation (Patient) that is no pair of directions at right angles")
    return _unit(row), _unit(column)


def _shape(dataset: Dataset, frame_number: int | None) -> tuple[int, int]:
    """Return rows and columns of an image whose frames are grey and have their place."""
    frames = _whole(readable(dataset, "NumberOfFrames")) or 1
    if frame_number is None and frames > 1:
        raise _Unplaced("several frames in one instance, but no place for each,")
    if frame_number is not None and frame_number > frames:
        raise _Unplaced("a place, but beyond the Number of Frames,")
    if readable(dataset, "PhotometricInterpretation") not in GREYS:
        raise _Unplaced("colours, which no MR acquisition has,")
    rows, columns = _whole(readable(dataset, "Rows")), _whole(readable(dataset, "Columns"))
    if min(rows, columns) <= 0:
        raise _Unplaced("no Rows and Columns")
    return rows, columns


def _rescale(groups: tuple[Dataset, ...]) -> tuple[float, float] | None:
    """Return slope and intercept (PS3.3 C.7.6.16.2.9, C.11.1); a slope of 0 would leave no image."""
    if _lookup(groups, "ModalityLUTSequence"):
        raise _Unplaced("a Modality LUT, which no MR acquisition has,")
    try:
        slope, intercept = (
            float(_lookup(groups, keyword, "PixelValueTransformationSequence"))  # type: ignore[arg-type]
            for keyword in ("RescaleSlope", "RescaleIntercept")
        )
    except (TypeError, ValueError):
        return None
    return (slope, intercept) if slope != 0 and np.isfinite([slope, intercept]).all() else None


def _kind(groups: tuple[Dataset, ...]) -> Kind:
    kind: dict[str, str] = {}
    for trait in KINDS:
        if trait.name in kind:
            continue
        value = _lookup(groups, trait.keyword, *trait.macros)
        if value is not None:
            kind[trait.name] = _component(value) if trait.name == "image type" else plain(value)
    return tuple(kind.items())


def _component(value: object) -> str:
    """Of an Image Type only what makes another picture: magnitude or phase, water or fat."""
    parts = value if isinstance(value, MultiValue) else str(value).split("\\")
    return "\\".join(str(part) for part in parts[2:] if str(part).upper() in COMPONENTS) or "image"


def _plain_number(value: object) -> str:
    try:
        return f"{float(value):g}"  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return str(value).strip()


def _unit(vector: NDArray[np.float64]) -> Vector:
    x, y, z = (vector / np.linalg.norm(vector)).tolist()
    return x, y, z


def _whole(value: object) -> int:
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        return 0
