"""What a runner answers, and the last look at results before they leave."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydicom import dcmread

from models.errors import SpondylError


class ResultFault(SpondylError):
    """A result must not leave the node; nothing of its job is sent."""


class EngineLost(SpondylError):
    """The engine died, hung or took too much memory over a series; the message says which. A fresh one may try."""


@dataclass(frozen=True)
class RunAnswer:
    """How the work on one series ended.

    decision: `segmented` (results are in the output folder), `skipped` (no engine is meant for it) or
        `refused` (an engine looked and declined).
    sentence: why, in words.
    """

    decision: Literal["segmented", "skipped", "refused"]
    sentence: str


# (input folder, result profile → its output folder) → answer. Called in one thread at a time.
Runner = Callable[[Path, Mapping[str, Path]], RunAnswer]


def result_files(output: Path) -> tuple[Path, ...]:
    """Return the DICOM files of an output folder, in a fixed order."""
    return tuple(sorted(output.rglob("*.dcm")))


def check_results(output: Path, study_instance_uid: str) -> int:
    """Check that every result can be read and belongs to its source's study; return how many there are.

    Raises:
        ResultFault: there is none, or one is unreadable, of another study, or there twice.
    """
    files = result_files(output)
    if not files:
        raise ResultFault("the engine reported success but wrote no result; see the log of the worker")
    seen: set[str] = set()
    for file in files:
        header = dcmread(file, stop_before_pixels=True, specific_tags=["StudyInstanceUID", "SOPInstanceUID"])
        if header.get("StudyInstanceUID") != study_instance_uid:
            raise ResultFault(f"{file.name} does not belong to the study of its source; it was not sent")
        if header.SOPInstanceUID in seen:
            raise ResultFault(f"SOP Instance UID {header.SOPInstanceUID} was written twice; nothing was sent")
        seen.add(header.SOPInstanceUID)
    return len(files)
