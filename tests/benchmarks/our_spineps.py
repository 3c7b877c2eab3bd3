"""One run of Spondyl's SPINEPS on one volume, in a process of its own; files in and out as in original_spineps.py."""

import argparse
import json
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contracts import SpineStructure, SpineVolume
from models.errors import EngineRefusal
from models.packs import load_pack
from tests.benchmarks.original_spineps import peak_mib


def main() -> None:
    """Run it once and write both files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--volume", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    measured, arrays = run(arguments.pack, arguments.volume, arguments.threads, arguments.device)
    if arrays:
        np.savez_compressed(arguments.out, **arrays)
    arguments.out.with_suffix(".json").write_text(json.dumps(measured, indent=1))


def run(pack: Path, volume: Path, threads: int, device: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Load the pack, segment, measure."""
    began = time.perf_counter()
    import_module("torch").set_num_threads(threads)
    engine = import_module("models.spineps.engine").SPINEPS(load_pack(pack), device=device)
    measured: dict[str, Any] = {"load_s": time.perf_counter() - began, "loaded_mib": peak_mib(), "threads": threads}
    stored = np.load(volume)
    source = SpineVolume(stored["voxels"].astype(np.float32), stored["affine"], contrast="T2w")
    began = time.perf_counter()
    try:
        result = engine.segment(source)
    except EngineRefusal as refusal:
        seconds = time.perf_counter() - began
        return measured | {"wall_s": seconds, "phases_s": {}, "peak_mib": peak_mib(), "outcome": str(refusal)}, {}
    measured |= {"wall_s": time.perf_counter() - began, "phases_s": dict(result.timings_s), "peak_mib": peak_mib()}
    arrays = {
        "subregions": in_spineps_labels(result.subregion_labelmap, result.substructures),
        "vertebrae": in_spineps_labels(result.vertebra_labelmap, result.vertebrae),
    }
    return measured | {"outcome": "OK", "warnings": list(result.warnings)}, arrays


def in_spineps_labels(labelmap: NDArray[np.uint16], structures: tuple[SpineStructure, ...]) -> NDArray[np.uint16]:
    """Segment Numbers → SPINEPS' labels."""
    table = np.zeros(int(labelmap.max(initial=0)) + 1, np.uint16)
    for structure in structures:
        table[structure.segment_number] = structure.spineps_label
    return table[labelmap]


if __name__ == "__main__":
    main()
