"""A sagittal MR Series becomes a volume with exact geometry, or a sentence that says why it cannot.

One Series may hold several stacks (`mr_subsets`). Each that is whole becomes a SliceStack, and the best one is taken; a
stack with a gap, uneven or shifted slices is never passed off as a volume.

Frame: a volume is indexed [slice, row, column], slices along rows × columns; its affine leads to LPS mm at the voxels'
centres. Source: PS3.3 C.7.6.2.1.1.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.utils import pixel_array

from models.contracts import BodyRegion, MrContrast, SpineVolume
from models.errors import SpondylError
from operators.dicom.bounds import frame_fault, spacing_fault
from operators.dicom.mr_acquisition import Plane, plane_of, readable
from operators.dicom.mr_frames import SourceFrame, frames_of
from operators.dicom.mr_origin import origin_notes
from operators.dicom.mr_subsets import places_along, subsets
from operators.dicom.pixels import is_padding
from operators.dicom.series import SourceSeries
from operators.dicom.slice_spacing import EVEN, FEWEST_SLICES, is_even

WIDEST_STEP_MM = 10.0  # slices further apart are a localizer, whatever it is called
SHIFT_MM = 0.5  # by which slices may be offset against each other within their plane
USUAL_ECHO_MS = 100.0  # of T2-weighted spines: of several echoes the nearest, not the longest that is all noise
NAMED_STACKS = 3  # in a sentence about many
# Pictures that are taken after plain or magnitude ones, the better first: 0 is for what is not listed.
LESSER_PICTURES: Mapping[str, int] = {
    **dict.fromkeys(("WATER", "W"), 1),
    **dict.fromkeys(("OP", "OUT_PHASE", "OPP_PHASE"), 2),
    **dict.fromkeys(("FAT", "F"), 3),
    **dict.fromkeys(("P", "R", "I", "PHASE", "REAL", "IMAGINARY", "MIXED", "PHASE MAP", "B0 MAP"), 4),
    **dict.fromkeys(("T1 MAP", "T2 MAP", "ADC", "EADC", "FA", "TRACEW"), 4),
}


class VolumeError(SpondylError):
    """No volume can be made of a Series; the message names the Series and the reason."""


@dataclass(frozen=True)
class SliceStack:
    """Frames that make one volume, in the order of its slices.

    affine: (4, 4) voxel index (slice, row, column, 1) → LPS mm. sentence: what it is, for the report.
    """

    frames: tuple[SourceFrame, ...]
    affine: NDArray[np.float64]
    sentence: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return len(self.frames), *self.frames[0].shape

    @property
    def plane(self) -> Plane:
        """The plane of its slices."""
        return plane_of(self.frames[0].normal)

    @property
    def header(self) -> Dataset:
        """The header of its first frame; of Enhanced MR with the functional groups of that frame alone."""
        first = self.frames[0]
        if first.frame_number is None:
            return first.instance.dataset
        header = Dataset(dict(first.instance.dataset.items()))
        own = header.PerFrameFunctionalGroupsSequence[first.frame_number - 1]
        del header.PerFrameFunctionalGroupsSequence  # the element is the source's own and must not be changed
        header.PerFrameFunctionalGroupsSequence = [copy(own)]
        return header

    @property
    def datasets(self) -> tuple[FileDataset, ...]:
        """The headers of the instances the frames are in, each once, in order."""
        unique = {frame.instance.sop_instance_uid: frame.instance.dataset for frame in self.frames}
        return tuple(unique.values())


@dataclass(frozen=True)
class VolumePlan:
    """The stacks of a Series; `chosen` is the one to process. notes: what was split, left out or dropped, and why."""

    stacks: tuple[SliceStack, ...]
    notes: tuple[str, ...]

    @property
    def chosen(self) -> SliceStack:
        """The stack to process.

        Sagittal before other planes, magnitude before phase and maps, without before with diffusion weighting, more
        slices before fewer, the echo nearest to 100 ms, the one that was numbered first.
        """
        return self.stacks[0]


def plan_volumes(series: SourceSeries) -> VolumePlan:
    """Sort the frames of a Series into stacks, by headers alone.

    Raises:
        VolumeError: no stack is whole; the message says what is wrong with the best one.
    """
    _require_one_patient(series)
    frames, notes = frames_of(series)
    stacks: list[SliceStack] = []
    faults: list[tuple[int, str]] = []
    for subset in subsets(frames):
        notes = tuple(dict.fromkeys((*notes, subset.note))) if subset.note else notes
        fault = subset.fault or _fault(subset.frames)
        if fault is None:
            stacks.append(_stack(subset.frames))
        else:
            faults.append((len(subset.frames), fault))
    if not stacks:
        sets = (f"it holds {len(faults)} sets of frames, none larger",) if len(faults) > 1 else ()
        reasons = (*(fault for _, fault in sorted(faults)[-1:]), *sets, *notes)
        raise VolumeError(f"series {series.series_instance_uid} makes no volume: {'; '.join(reasons)}")
    stacks.sort(key=_preference)
    if len(stacks) > 1:
        notes = (*notes, _taken(stacks))
    notes = (*notes, *(f"{count} frame(s) were left out: {fault}" for count, fault in faults))
    return VolumePlan(tuple(stacks), (*series.notes, *origin_notes(stacks[0].header), *notes))


def _require_one_patient(series: SourceSeries) -> None:
    """Raise VolumeError where the slices are not all of one patient; who they are is not said."""
    patients = {
        tuple(str(readable(dataset, keyword) or "").strip() for keyword in ("PatientID", "IssuerOfPatientID"))
        for dataset in series.datasets
    }
    if len(patients) > 1:
        raise VolumeError(
            f"series {series.series_instance_uid} makes no volume: it holds slices of {len(patients)} patients (by "
            "Patient ID) under one Series Instance UID; have the archive separate them, and send each again"
        )


def read_volume(stack: SliceStack, *, contrast: MrContrast, body_region: BodyRegion | None = None) -> SpineVolume:
    """Decode the frames of a stack, rescaled as their headers say.

    Raises:
        VolumeError: a frame cannot be decoded; the message names it. Or all is padding.
        InstanceError: a file has gone or is cut short.
    """
    voxels = np.empty(stack.shape, np.float32)
    order = sorted(enumerate(stack.frames), key=lambda place: place[1].instance.sop_instance_uid)
    for _, members in groupby(order, key=lambda place: place[1].instance.sop_instance_uid):
        places = list(members)
        dataset = places[0][1].instance.with_pixels()
        for index, frame in places:
            voxels[index] = _values(dataset, frame)
    signal = np.nanmin(voxels, initial=np.inf)
    if not np.isfinite(signal):
        raise VolumeError(f"series {dataset.SeriesInstanceUID} is padding from end to end")
    np.nan_to_num(voxels, copy=False, nan=min(0.0, float(signal)))  # padding is no signal
    return SpineVolume(voxels, stack.affine, contrast, body_region)


def _fault(frames: Sequence[SourceFrame]) -> str | None:
    """What keeps frames in order from being a volume, or None."""
    if len(frames) < FEWEST_SLICES:
        return f"{len(frames)} slice{'s' * (len(frames) > 1)} in one plane, {FEWEST_SLICES} are needed"
    places = places_along(frames)
    steps = np.diff(places)
    usual = float(np.median(steps))
    for frame, step in zip(frames, steps, strict=False):
        missing = round(step / usual) - 1
        if missing >= 1 and abs(step / usual - (missing + 1)) <= EVEN * (missing + 1):
            return f"{missing} slice(s) missing after {frame.name}, where {step:.2f} mm lie between neighbours"
    if not is_even(steps):
        return f"the slices are unevenly spaced, {steps.min():.2f} to {steps.max():.2f} mm"
    if usual > WIDEST_STEP_MM:
        return f"neighbouring slices lie {usual:.1f} mm apart, more than {WIDEST_STEP_MM:g} mm"
    if fault := spacing_fault(frames[0].spacing, frames[0].shape):
        return fault
    positions = np.array([frame.position for frame in frames])
    straight = positions[0] + np.outer(places - places[0], frames[0].normal)
    if (shift := float(np.linalg.norm(positions - straight, axis=1).max())) > SHIFT_MM:
        return f"the slices are offset against each other by up to {shift:.1f} mm within their plane"
    if len({frame.rescale is None for frame in frames}) > 1:
        return "some of its slices have a Rescale Slope, others none: their values cannot be compared"
    return None


def _stack(frames: Sequence[SourceFrame]) -> SliceStack:
    first, places = frames[0], places_along(frames)
    affine = np.eye(4)
    affine[:3, 0] = first.normal * (places[-1] - places[0]) / (len(frames) - 1)
    affine[:3, 1] = np.array(first.column) * first.spacing[0]
    affine[:3, 2] = np.array(first.row) * first.spacing[1]
    affine[:3, 3] = first.position
    told = ", ".join(f"{name} {value}" for name, value in first.kind if value != "image")
    sentence = f"{len(frames)} slices" + (f" ({told})" if told else "")
    return SliceStack(tuple(frames), affine, sentence)


def _preference(stack: SliceStack) -> tuple[bool, int, float, int, float, int]:
    kind = dict(stack.frames[0].kind)
    pictures = "\\".join((kind.get("image type", ""), kind.get("component", ""))).upper().split("\\")
    return (
        stack.plane != "sagittal",
        max(LESSER_PICTURES.get(picture, 0) for picture in pictures),
        _number(kind.get("diffusion b-value")),
        -len(stack.frames),
        abs(_number(kind.get("echo time")) - USUAL_ECHO_MS),
        min(frame.number for frame in stack.frames),
    )


def _taken(stacks: Sequence[SliceStack]) -> str:
    """Say which of several stacks is taken."""
    chosen, *others = (stack.sentence for stack in stacks)
    more = len(others) - NAMED_STACKS
    told = "; ".join(others[:NAMED_STACKS]) + (f"; and {more} more" if more > 0 else "")
    return f"the series holds {len(stacks)} volumes: {chosen} was taken, not {told}"


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _values(dataset: FileDataset, frame: SourceFrame) -> NDArray[np.floating]:
    """Decode a frame: (rows, columns) rescaled values, padding as not a number."""
    too_large = frame_fault(dataset)
    if too_large is not None:
        raise VolumeError(f"{frame.name} {too_large}")
    try:
        stored = np.asarray(pixel_array(dataset, index=None if frame.frame_number is None else frame.frame_number - 1))
    except Exception as error:  # decoders raise what they like; whatever it is, this frame cannot be read
        syntax = dataset.file_meta.TransferSyntaxUID.name if "TransferSyntaxUID" in dataset.file_meta else "unknown"
        raise VolumeError(f"{frame.name} cannot be decoded ({syntax}): {' '.join(str(error).split())}") from error
    if stored.shape != frame.shape:
        raise VolumeError(f"{frame.name} decodes to the shape {stored.shape}; {frame.shape} is wanted")
    slope, intercept = frame.rescale or (1.0, 0.0)
    padding = is_padding(dataset, stored)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":  # PS3.3 C.7.6.3.1.2: the lowest value is white
        stored = _highest_and_lowest(dataset) - stored.astype(np.int64)
    return np.where(padding, np.nan, stored * slope + intercept)


def _highest_and_lowest(dataset: Dataset) -> int:
    """Return the sum of the highest and the lowest value that the image may store."""
    return -1 if dataset.PixelRepresentation else (1 << int(dataset.BitsStored)) - 1
