"""What one MR Series holds: frames apart by plane, size, station and kind, and once more where positions repeat.

Most Series are one stack. Others hold several echoes, time points, magnitude and phase, an acquisition and its
repetition, or stations between which the table has moved. Frames are only put into one stack by what their headers say;
where positions repeat and the headers do not tell which frames belong together, there is no stack but a sentence. Times
and numbers that differ without any place being there twice tell nothing apart: scanners write what they measured.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from operators.dicom.mr_frames import CONVERTED, SourceFrame, Trait, named, plain, trait_of
from operators.dicom.slice_spacing import SAME_COSINE, SAME_PLACE_MM, is_whole_stack, stations

SAME_SPACING = 1e-3  # of pixel spacings, relative
SAME_TIME = 0.01  # of echo and inversion times, relative: less is what the scanner measured, not what was asked for
# Of a frame's kind, what may differ from slice to slice of one stack.
MAY_VARY = ("stack", "time point", "diffusion b-value", "inversion time", "echo time")
TIMES = ("inversion time", "echo time")
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
    groups = [
        kind
        for group in _groups(frames)
        for station in _by_station(group)
        for kind in _by_kind(_with_even_times(station))
    ]
    return tuple(subset for group in groups for subset in _once_per_place(group))


def places_along(frames: Sequence[SourceFrame]) -> NDArray[np.float64]:
    """Return places along the normal of the first frame, mm."""
    return np.array([frame.position for frame in frames]) @ frames[0].normal


def _groups(frames: Sequence[SourceFrame]) -> list[list[SourceFrame]]:
    """Group frames of one plane, size and picture; directions and spacings are compared with a tolerance."""
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
        _kind_without(a, MAY_VARY) == _kind_without(b, MAY_VARY)
        and a.shape == b.shape
        and _close((*a.row, *a.column), (*b.row, *b.column), SAME_COSINE)
        and _close(a.spacing, b.spacing, SAME_SPACING * min(a.spacing))
        and a.frame_of_reference_uid == b.frame_of_reference_uid
    )


def _by_station(group: list[SourceFrame]) -> Iterator[list[SourceFrame]]:
    """Yield frames whose offset within the plane is the same."""
    labels = stations([frame.position for frame in group], group[0].normal)
    count = int(labels.max()) + 1
    for label in range(count):
        members = [frame for frame, own in zip(group, labels, strict=True) if own == label]
        name = f"{label + 1} of {count}"
        yield members if count == 1 else [replace(one, kind=(*one.kind, ("station", name))) for one in members]


def _with_even_times(group: list[SourceFrame]) -> list[SourceFrame]:
    """Write echo and inversion times that differ by a rounding as one."""
    for name in TIMES:
        told = sorted({value for frame in group if (value := _time(frame, name)) is not None})
        usual: dict[float, float] = {}
        for value in told:
            lower = max(usual.values(), default=-np.inf)
            usual[value] = lower if value - lower <= SAME_TIME * abs(value) else value
        group = [
            frame
            if (value := _time(frame, name)) is None or usual[value] == value
            else _with_kind(frame, name, plain(usual[value]))
            for frame in group
        ]
    return group


def _by_kind(group: list[SourceFrame]) -> list[list[SourceFrame]]:
    """Take frames of one plane, size and picture apart by the traits that tell frames at one place apart."""
    runs = _runs(group)
    telling = [name for name in MAY_VARY if any(len({dict(one.kind).get(name) for one in run}) > 1 for run in runs)]
    for names in (telling, *([name] for name in telling)) if telling else ():
        parts = _parts(group, names)
        if any(len(part) == len(runs) == len(_runs(part)) for part in parts):
            return parts
    if telling:
        return _parts(group, telling)
    # Nothing repeats by these. Stacks beside each other, as of left and right, are apart all the same.
    parts = _parts(group, MAY_VARY)
    if len(parts) > 1 and not is_whole_stack(places_along(group).tolist()) and not _interleave(parts):
        return parts
    return [group]


def _parts(group: list[SourceFrame], names: Sequence[str]) -> list[list[SourceFrame]]:
    parts: dict[tuple[str | None, ...], list[SourceFrame]] = {}
    for frame in group:
        kind = dict(frame.kind)
        parts.setdefault(tuple(kind.get(name) for name in names), []).append(frame)
    return list(parts.values())


def _interleave(parts: list[list[SourceFrame]]) -> bool:
    normal = parts[0][0].normal
    places = [[float(np.dot(frame.position, normal)) for frame in part] for part in parts]
    spans = sorted((min(own), max(own)) for own in places)
    return any(left[1] >= right[0] for left, right in zip(spans, spans[1:], strict=False))


def _kind_without(frame: SourceFrame, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in frame.kind if pair[0] not in names)


def _with_kind(frame: SourceFrame, name: str, value: str) -> SourceFrame:
    return replace(frame, kind=tuple((key, value if key == name else old) for key, old in frame.kind))


def _time(frame: SourceFrame, name: str) -> float | None:
    try:
        return float(dict(frame.kind)[name])
    except (KeyError, ValueError):
        return None


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
            kind = frame.kind if name == "instance" else (*_kind_without(frame, (name,)), (name, value))
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
