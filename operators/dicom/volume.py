"""A sagittal MR Series becomes a volume with exact geometry, or a sentence that says why it cannot.

One Series may hold several stacks: other planes, echoes, time points, magnitude and phase. Each becomes a stack of its
own, and the best one is taken; a stack with a gap, uneven or shifted slices is never passed off as a volume.

Frame: a volume is indexed [slice, row, column], slices along rows × columns; its affine leads to LPS mm at the voxels'
centres. Source: PS3.3 C.7.6.2.1.1.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array

from models.contracts import BodyRegion, MrContrast, SpineVolume
from models.errors import SpondylError
from operators.dicom.mr_acquisition import Plane, plane_of
from operators.dicom.mr_frames import SourceFrame, frames_of
from operators.dicom.series import SourceSeries

FEWEST_SLICES = 5
SAME_DIRECTION = 1e-3  # between unit vectors of one stack
SAME_SPACING = 1e-3  # of pixel spacings, relative
SAME_PLACE_MM = 0.01
EVEN = 0.05  # steps between slices may differ by this share of the usual one
SHIFT_MM = 0.5  # by which slices may be offset against each other within their plane


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
        header = Dataset(first.instance.dataset)
        own = header.PerFrameFunctionalGroupsSequence[first.frame_number - 1]
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
        """The sagittal stack with most slices; among equals the longest echo, then the one that comes first."""
        return self.stacks[0]


def plan_volumes(series: SourceSeries) -> VolumePlan:
    """Sort the frames of a Series into stacks, by headers alone.

    Raises:
        VolumeError: no stack is whole; the message says what is wrong with the best one.
    """
    frames, notes = frames_of(series)
    stacks: list[SliceStack] = []
    faults: list[tuple[int, str]] = []
    for group in _groups(frames):
        for members, note in _once_per_place(group):
            notes = (*notes, note) if note else notes
            fault = _fault(members)
            if fault is None:
                stacks.append(_stack(members))
            else:
                faults.append((len(members), fault))
    if not stacks:
        reason = max(faults, default=(0, "none of its frames has a position in the patient"))[1]
        raise VolumeError(f"series {series.series_instance_uid} makes no volume: {reason}")
    stacks.sort(key=_preference)
    chosen = stacks[0]
    if len(stacks) > 1:
        others = "; ".join(stack.sentence for stack in stacks[1:])
        notes = (*notes, f"the series holds {len(stacks)} volumes: {chosen.sentence} was taken, not {others}")
    notes = (*notes, *(f"{count} frames were left out: {fault}" for count, fault in faults))
    return VolumePlan(tuple(stacks), notes)


def read_volume(stack: SliceStack, *, contrast: MrContrast, body_region: BodyRegion | None = None) -> SpineVolume:
    """Decode the frames of a stack, rescaled as their headers say.

    Raises:
        VolumeError: a frame cannot be decoded; the message names it.
    """
    voxels = np.empty(stack.shape, np.float32)
    place = {id(frame): index for index, frame in enumerate(stack.frames)}
    for _, members in groupby(stack.frames, key=lambda frame: frame.instance.sop_instance_uid):
        frames = list(members)
        dataset = frames[0].instance.with_pixels()
        for frame in frames:
            voxels[place[id(frame)]] = _pixels(dataset, frame)
    return SpineVolume(voxels, stack.affine, contrast, body_region)


def _groups(frames: Sequence[SourceFrame]) -> Iterator[list[SourceFrame]]:
    """Group frames of one plane, size and kind; directions and spacings are compared with a tolerance."""
    groups: list[list[SourceFrame]] = []
    for frame in frames:
        for group in groups:
            if _alike(group[0], frame):
                group.append(frame)
                break
        else:
            groups.append([frame])
    yield from groups


def _alike(a: SourceFrame, b: SourceFrame) -> bool:
    return (
        a.kind == b.kind
        and a.shape == b.shape
        and np.allclose(a.row, b.row, atol=SAME_DIRECTION)
        and np.allclose(a.column, b.column, atol=SAME_DIRECTION)
        and np.allclose(a.spacing, b.spacing, rtol=SAME_SPACING)
    )


def _along(frames: Sequence[SourceFrame]) -> NDArray[np.float64]:
    """Places along the normal of the first frame, mm."""
    return np.array([frame.position for frame in frames]) @ frames[0].normal


def _once_per_place(group: list[SourceFrame]) -> Iterator[tuple[list[SourceFrame], str]]:
    """Split a group that has every place several times; where some have, keep the first of each."""
    places = _along(group)
    order = sorted(range(len(group)), key=lambda index: (float(places[index]), group[index].number))
    runs: list[list[SourceFrame]] = []
    last = -np.inf
    for index in order:
        if places[index] - last > SAME_PLACE_MM:
            runs.append([])
            last = places[index]
        runs[-1].append(group[index])
    times = {len(run) for run in runs}
    if times == {1}:
        yield [run[0] for run in runs], ""
    elif len(times) == 1:
        count = times.pop()
        note = f"every slice is there {count} times: they were taken for {count} volumes, by their numbers"
        for repeat in range(count):
            yield [run[repeat] for run in runs], note if repeat == 0 else ""
    else:
        extra = [frame.name for run in runs for frame in run[1:]]
        note = f"{len(extra)} frames repeat a position and were left out: {', '.join(extra[:3])}"
        yield [run[0] for run in runs], note


def _fault(frames: Sequence[SourceFrame]) -> str | None:
    """What keeps frames in order from being a volume, or None."""
    if len(frames) < FEWEST_SLICES:
        return f"{len(frames)} slices in one plane, {FEWEST_SLICES} are needed"
    places = _along(frames)
    steps = np.diff(places)
    usual = float(np.median(steps))
    for frame, step in zip(frames, steps, strict=False):
        missing = round(step / usual) - 1
        if missing >= 1 and abs(step / usual - (missing + 1)) <= EVEN * (missing + 1):
            return f"{missing} slice(s) missing after {frame.name}, where {step:.2f} mm lie between neighbours"
    if np.ptp(steps) > EVEN * usual + SAME_PLACE_MM:
        return f"the slices are unevenly spaced, {steps.min():.2f} to {steps.max():.2f} mm"
    positions = np.array([frame.position for frame in frames])
    straight = positions[0] + np.outer(places - places[0], frames[0].normal)
    if (shift := float(np.linalg.norm(positions - straight, axis=1).max())) > SHIFT_MM:
        return f"the slices are offset against each other by up to {shift:.1f} mm within their plane"
    return None


def _stack(frames: Sequence[SourceFrame]) -> SliceStack:
    first, places = frames[0], _along(frames)
    affine = np.eye(4)
    affine[:3, 0] = first.normal * (places[-1] - places[0]) / (len(frames) - 1)
    affine[:3, 1] = np.array(first.column) * first.spacing[0]
    affine[:3, 2] = np.array(first.row) * first.spacing[1]
    affine[:3, 3] = first.position
    told = ", ".join(f"{name} {value}" for name, value in first.kind if value != "image")
    sentence = f"{len(frames)} slices" + (f" ({told})" if told else "")
    return SliceStack(tuple(frames), affine, sentence)


def _preference(stack: SliceStack) -> tuple[bool, int, float, int]:
    return stack.plane != "sagittal", -len(stack.frames), -_echo_time(stack), stack.frames[0].number


def _echo_time(stack: SliceStack) -> float:
    try:
        return float(dict(stack.frames[0].kind).get("echo time", 0))
    except ValueError:
        return 0.0


def _pixels(dataset: FileDataset, frame: SourceFrame) -> NDArray[np.float32]:
    try:
        index = None if frame.frame_number is None else frame.frame_number - 1
        stored = np.asarray(pixel_array(dataset, index=index))
        values = _rescaled(dataset, frame.frame_number, stored)
    except Exception as error:  # decoders raise what they like; whatever it is, this frame cannot be read
        syntax = dataset.file_meta.TransferSyntaxUID.name if "TransferSyntaxUID" in dataset.file_meta else "unknown"
        raise VolumeError(f"{frame.name} cannot be decoded ({syntax}): {' '.join(str(error).split())}") from error
    if values.shape != frame.shape:
        raise VolumeError(f"{frame.name} decodes to the shape {values.shape}; {frame.shape} is wanted")
    return values.astype(np.float32)


def _rescaled(dataset: Dataset, frame_number: int | None, stored: NDArray[Any]) -> NDArray[Any]:
    """Apply the Modality LUT of an instance, or the Pixel Value Transformation of a frame (PS3.3 C.7.6.16.2.9)."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if frame_number is not None and per_frame:
        for group in (per_frame[frame_number - 1], *(dataset.get("SharedFunctionalGroupsSequence") or ())):
            for item in group.get("PixelValueTransformationSequence") or ():
                return np.asarray(stored * float(item.RescaleSlope) + float(item.RescaleIntercept))
    return np.asarray(apply_modality_lut(stored, dataset))
