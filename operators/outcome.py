"""What travels along the DAG: one Series, what has become of it so far, and why.

A fault in one Series must not stop the others, so it travels as a value: each step takes a SeriesOutcome and returns
one, and steps after a fault pass it on untouched.
"""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import structlog
from pydicom.dataset import Dataset

from models.errors import EngineRefusal, SpondylError
from operators.answers import Answer
from operators.dicom.identity import Profile
from operators.dicom.routing import RoutingDecision
from operators.dicom.series import SourceSeries

Status = Literal["succeeded", "skipped", "refused", "failed"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Target:
    """Where the results of one profile go: below `folder`, a folder per study."""

    profile: Profile
    folder: Path


@dataclass(frozen=True)
class WrittenOutput:
    """A file of the results.

    path: relative to the folder of its profile's target. sop_class_uid, sop_instance_uid: None for a PNG.
    """

    profile: Profile
    path: Path
    sop_class_uid: str | None
    sop_instance_uid: str | None


@dataclass(frozen=True)
class EncodedOutput:
    """A verified result that is not on disk yet: nothing is written before everything has been made."""

    output: WrittenOutput
    content: bytes


@dataclass(frozen=True)
class SeriesOutcome:
    """A Series (a radiograph: one instance of it) and what has become of it so far.

    view_number: 1-based, counts the radiographs of one Series.
    status: `succeeded` as long as nothing went wrong; `refused` when the engine declined to answer.
    reason: why it was routed or skipped, or what went wrong.
    answer: what the engine answered, None where it was not asked.
    segmentations: profile → Segmentation of the vertebrae, for the report that points at it.
    encoded: what is to be written; outputs: what has been written.
    """

    series: SourceSeries
    decision: RoutingDecision
    status: Status
    reason: str
    view_number: int = 1
    answer: Answer | None = None
    segmentations: Mapping[Profile, Dataset] = field(default_factory=dict)
    encoded: tuple[EncodedOutput, ...] = ()
    outputs: tuple[WrittenOutput, ...] = ()
    warnings: tuple[str, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)


Step = Callable[[SeriesOutcome], SeriesOutcome]


def carry(name: str, step: Step, outcome: SeriesOutcome) -> SeriesOutcome:
    """Take one step and time it; an outcome that has failed already goes past, a fault becomes the outcome."""
    if outcome.status != "succeeded":
        return outcome
    start = time.perf_counter()
    uid = outcome.series.instances[0].sop_instance_uid
    try:
        done = step(outcome)
    except EngineRefusal as refusal:
        log.info("series_refused", instance=uid, step=name)
        done = replace(outcome, status="refused", reason=f"refused: {refusal}")
    except SpondylError as error:
        log.error("series_failed", instance=uid, step=name, kind=type(error).__name__)
        done = replace(outcome, status="failed", reason=f"failed while {name}: {error}")
    except Exception as error:  # whatever it is, the other series must go on
        # Where it happened, but not its message: foreign libraries quote values of the data set.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        log.error("series_failed", instance=uid, step=name, kind=type(error).__name__, place=place)
        done = replace(outcome, status="failed", reason=f"failed while {name}: {type(error).__name__} at {place}")
    return replace(done, timings_s={**done.timings_s, name: round(time.perf_counter() - start, 4)})
