"""What one MR Series holds: frames apart by plane, size and kind, and once more where positions repeat.

Most Series are one stack. Others hold several echoes, time points, magnitude and phase, or an acquisition and its
repetition. Frames are only put into one stack by what their headers say; where positions repeat and the headers do not
tell which frames belong together, there is no stack but a sentence.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from operators.dicom.mr_frames import CONVERTED, SourceFrame, Trait, named, plain, trait_of

SAME_DIRECTION = 1e-3  # between unit vectors of one stack: half a millimetre across 500
SAME_SPACING = 1e-3  # of pixel spacings, relative
SAME_PLACE_MM = 0.1  # along the normal; no MR of the spine has slices as close
MOST_REPEATS = 0.25  # of the places may be there twice without a word why: slices sent or taken again

# What may tell frames at one place apart, the most telling first. None of these always separates stacks: within one
# stack, flavours of Image Type differ, and interleaved slices may come from several acquisitions.
REPEATS = (
    Trait("image type", "FrameType", ("MRImageFrameTypeSequence",)),
    Trait("image type", "ImageType"),
    Trait("echo", "EchoNumbers", CONVERTED),
    Trait("sequence", "SequenceName"),
    Trait("repetition time", "RepetitionTime", ("MRTimingAndRelatedParametersSequence",)),
    Trait("flip angle", "FlipAngle", ("MRTimingAndRelatedParametersSequence",)),
    Trait("acquisition", "AcquisitionNumber"),
    Trait("acquisition", "FrameAcquisitionNumber", ("FrameContentSequence",)),
    Trait("trigger time", "TriggerTime", CONVERTED),
    Trait("acquisition time", "AcquisitionTime"),
    Trait("acquisition time", "AcquisitionDateTime"),
)


@dataclass(frozen=True)
class Subset:
    """Frames of one plane, size and kind, each place once, in order along rows × columns.

    note: how it came apart from others, empty where there was nothing to take apart.
    fault: why nothing can be made of it, or None.
    """

    frames: tuple[SourceFrame, ...]
    note: str = ""
    fault: str | None = None


def subsets(frames: Sequence[SourceFrame]) -> tuple[Subset, ...]:
    """Take the frames of a Series apart into what may be stacks."""
    return tuple(subset for group in _groups(frames) for subset in _once_per_place(group))


def places_along(frames: Sequence[SourceFrame]) -> NDArray[np.float64]:
    """Return places along the normal of the first frame, mm."""
    return np.array([frame.position for frame in frames]) @ frames[0].normal


def _groups(frames: Sequence[SourceFrame]) -> list[list[SourceFrame]]:
    """Group frames of one plane, size and kind; directions and spacings are compared with a tolerance."""
    groups: list[list[SourceFrame]] = []
    for frame in frames:
        for group in groups:
            if _alike(group[0], frame):
                group.append(frame)
                break
        else:
            groups.append([frame])
    return groups


def _alike(a: SourceFrame, b: SourceFrame) -> bool:
    return (
        a.kind == b.kind
        and a.shape == b.shape
        and _close((*a.row, *a.column), (*b.row, *b.column), SAME_DIRECTION)
        and _close(a.spacing, b.spacing, SAME_SPACING * min(a.spacing))
        and a.frame_of_reference_uid == b.frame_of_reference_uid
    )


def _close(a: Sequence[float], b: Sequence[float], tolerance: float) -> bool:
    return all(abs(left - right) <= tolerance for left, right in zip(a, b, strict=True))


def _once_per_place(group: list[SourceFrame]) -> Iterator[Subset]:
    """Yield subsets in which no place repeats."""
    runs = _runs(group)
    times = Counter(len(run) for run in runs)
    if set(times) == {1}:
        yield Subset(tuple(run[0] for run in runs))
    elif apart := _apart_by_header(group, len(runs)) or _apart_by_number(runs):
        yield from apart
    elif len(times) == 1:
        count = next(iter(times))
        yield Subset(tuple(group), fault=f"every slice is there {count} times, and nothing tells which belong together")
    elif (repeated := len(runs) - times[1]) > MOST_REPEATS * len(runs):
        fault = f"{repeated} of {len(runs)} positions repeat, and nothing tells which frames belong together"
        yield Subset(tuple(group), fault=fault)
    else:
        extra = [frame.name for run in runs for frame in run[1:]]
        note = f"{len(extra)} frame(s) repeat a position and were left out: {named(extra)}"
        yield Subset(tuple(run[0] for run in runs), note)


def _runs(group: Sequence[SourceFrame]) -> list[list[SourceFrame]]:
    """Frames at one place, places in order, frames by their numbers."""
    places = places_along(group).tolist()
    order = sorted(range(len(group)), key=places.__getitem__)
    runs: list[list[SourceFrame]] = []
    start = -np.inf
    for index in order:
        if places[index] - start > SAME_PLACE_MM:
            runs.append([])
            start = places[index]
        runs[-1].append(group[index])
    return [sorted(run, key=lambda frame: (frame.number, frame.name)) for run in runs]


def _apart_by_header(group: list[SourceFrame], place_count: int) -> tuple[Subset, ...]:
    """Split by the first trait that leaves no place twice and at least one subset whole."""
    for name, values in _telling(group):
        parts: dict[str, list[SourceFrame]] = {}
        for frame, value in zip(group, values, strict=True):
            kind = frame.kind if name == "instance" else (*_without(frame, name), (name, value))
            parts.setdefault(value, []).append(replace(frame, kind=kind))
        runs = [_runs(part) for part in parts.values()]
        if all(len(run) == 1 for part in runs for run in part) and any(len(part) == place_count for part in runs):
            note = f"positions repeat: {len(parts)} sets of slices were told apart by their {name}"
            return tuple(
                Subset(tuple(run[0] for run in part), "" if index else note) for index, part in enumerate(runs)
            )
    return ()


def _telling(group: Sequence[SourceFrame]) -> Iterator[tuple[str, list[str]]]:
    """Yield names and values, a value per frame, of what differs among frames."""
    instances = ["" if frame.frame_number is None else frame.instance.sop_instance_uid for frame in group]
    if len(set(instances)) > 1:
        yield "instance", instances
    for trait in REPEATS:
        values = [plain(trait_of(frame, trait)) for frame in group]
        if len(set(values)) > 1:
            yield trait.name, values


def _without(frame: SourceFrame, name: str) -> Iterator[tuple[str, str]]:
    return (pair for pair in frame.kind if pair[0] != name)


def _apart_by_number(runs: list[list[SourceFrame]]) -> tuple[Subset, ...]:
    """Split repetitions of a whole stack whose numbers follow one another, stack by stack or slice by slice."""
    count = len(runs[0])
    if any(len(run) != count for run in runs):
        return ()
    numbers = np.array([[frame.number for frame in run] for run in runs])  # (places, repetitions)
    steps = np.diff(numbers, axis=1)
    by_stack = (numbers.max(0)[:-1] < numbers.min(0)[1:]).all()
    by_slice = (steps == 1).all()
    if not by_stack and not by_slice:
        return ()
    note = f"every slice is there {count} times: they were taken for {count} volumes, by their numbers"
    return tuple(Subset(tuple(run[repeat] for run in runs), "" if repeat else note) for repeat in range(count))
