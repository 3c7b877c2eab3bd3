"""The times of an MR acquisition, as far as they can be believed.

Headers that programs make have times in seconds, -1 for "not known", the largest double, or lists. A value that no
spine examination can have counts as absent, so that what the series is called decides instead.
"""

import math
from collections.abc import Iterator, Mapping

from pydicom.dataset import Dataset

from operators.dicom.mr_acquisition import find_values, values_in

# Attribute → the shortest and longest time in ms that is believed.
PLAUSIBLE_MS: Mapping[str, tuple[float, float]] = {
    "EchoTime": (1e-3, 5_000.0),  # ultra-short echoes have some hundredths; a myelogram has a second
    "RepetitionTime": (1e-3, 60_000.0),
    "InversionTime": (10.0, 20_000.0),  # nulls tissue: fat at 1.5 T takes some 150 ms, fluid some 2500 ms
}
SECONDS_ECHO = 1.0  # an echo and a repetition below these two are in seconds, but for gradient echoes
SECONDS_REPETITION = 20.0
FASTEST_REPETITION_MS = 1.0  # no sequence repeats faster


def acquisition_time(dataset: Dataset, keyword: str) -> str:
    """Return the first believable value of a time, ms, as text; empty where there is none.

    Args:
        dataset: the header; times may stand in functional groups, several in one attribute.
        keyword: of `PLAUSIBLE_MS`.
    """
    if in_seconds(dataset):
        return ""
    value = _first(dataset, keyword)
    echo = _first(dataset, "EchoTime")
    if keyword == "RepetitionTime" and value is not None and echo is not None and value < echo:
        return ""  # no echo comes after the next excitation: one of both has another unit
    return "" if value is None else f"{value:g}"


def time_told_in_seconds(dataset: Dataset, keyword: str) -> str:
    """Return a time of a header whose times are in seconds, ms, as text; empty where they are not."""
    if not in_seconds(dataset):
        return ""
    lowest, highest = PLAUSIBLE_MS[keyword]
    times = (1000 * value for value in _numbers(dataset, keyword))
    return next((f"{time:g}" for time in times if lowest <= time <= highest), "")


def in_seconds(dataset: Dataset) -> bool:
    """Tell whether echo and repetition can only be meant in seconds (PS3.3 C.8.3.1 wants milliseconds)."""
    echo, repetition = _first(dataset, "EchoTime"), _first(dataset, "RepetitionTime")
    if repetition is not None and repetition < FASTEST_REPETITION_MS:
        return True
    if _is_gradient_echo(dataset) or (echo is None and repetition is None):
        return False
    return (echo is None or echo < SECONDS_ECHO) and (repetition is None or repetition < SECONDS_REPETITION)


def _first(dataset: Dataset, keyword: str) -> float | None:
    lowest, highest = PLAUSIBLE_MS[keyword]
    return next((value for value in _numbers(dataset, keyword) if lowest <= value <= highest), None)


def _numbers(dataset: Dataset, keyword: str) -> Iterator[float]:
    for value in find_values(dataset, keyword):
        for part in values_in(value):
            try:
                number = float(part)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                continue
            if math.isfinite(number):
                yield number


def _is_gradient_echo(dataset: Dataset) -> bool:
    kinds = {str(kind).upper() for value in find_values(dataset, "ScanningSequence") for kind in values_in(value)}
    pulses = {str(value).upper() for value in find_values(dataset, "EchoPulseSequence")}
    return ("GR" in kinds and "SE" not in kinds) or "GRADIENT" in pulses
