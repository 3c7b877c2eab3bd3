"""Which engines made results: a Segmentation names its pack, and the pack its engine."""

import json
from collections.abc import Iterable
from pathlib import Path

from pydicom import dcmread

from models.packs import DESCRIPTION


def engines_of(results: Iterable[Path], packs: Path) -> frozenset[str]:
    """Return the names of the engines behind the Segmentations among some results.

    Args:
        results: DICOM files.
        packs: the folder of installed packs; a pack that is gone names no engine.
    """
    names = {name for file in results for name in _algorithms(file)}
    return frozenset(engine for name in names if (engine := _engine(packs / Path(name).name / DESCRIPTION)))


def _algorithms(file: Path) -> set[str]:
    header = dcmread(file, stop_before_pixels=True, specific_tags=["SegmentSequence"])
    return {
        str(algorithm.AlgorithmName)
        for segment in header.get("SegmentSequence", [])
        for algorithm in segment.get("SegmentationAlgorithmIdentificationSequence", [])
    }


def _engine(description: Path) -> str:
    try:
        return str(json.loads(description.read_text("utf-8")).get("engine", ""))
    except (OSError, ValueError):
        return ""
