"""One run of the original SPINEPS on one volume, in an environment of its own; started as a script by its Python.

It imports nothing of Spondyl. Input: an .npz of `voxels` (slices, rows, columns) and `affine` (voxel index → LPS mm).
Output: an .npz of `subregions` and `vertebrae` on that grid in SPINEPS' labels, and a .json of measurements beside it.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

LPS_TO_RAS = (-1.0, -1.0, 1.0, 1.0)  # NIfTI counts to the right and front, DICOM to the left and back
# phase → the function, as `spineps.seg_run` or `spineps.phase_pre` calls it, in which the original does it
PHASES = {
    "prepare": ("spineps.seg_run", "preprocess_input"),
    "of which N4": ("spineps.phase_pre", "n4_bias"),
    "semantic": ("spineps.seg_run", "predict_semantic_mask"),
    "instances": ("spineps.seg_run", "predict_instance_mask"),
    "combine": ("spineps.seg_run", "phase_postprocess_combined"),
    "centroids": ("spineps.seg_run", "predict_centroids_from_both"),
}
NETWORKS = ("semantic", "instance", "labelling")


def main() -> None:
    """Run it once and write both files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--published", type=Path, required=True, help="folder with semantic/ and instance/")
    parser.add_argument("--volume", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--preparation", type=json.loads, required=True, help="as in the pack's pack.json, JSON")
    arguments = parser.parse_args()
    measured, arrays = run(arguments.published, arguments.volume, arguments.threads, arguments.preparation)
    if arrays:
        np.savez_compressed(arguments.out, **arrays)
    arguments.out.with_suffix(".json").write_text(json.dumps(measured, indent=1))


def run(
    published: Path, volume: Path, threads: int, preparation: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Load the networks, segment, measure."""
    began = time.perf_counter()
    phases: dict[str, float] = {}
    for phase, (module, function) in PHASES.items():
        clock(import_module(module), function, phase, phases)
    load = import_module("spineps.get_models").get_actual_model
    networks = [load(published / name, use_cpu=True).load() for name in NETWORKS if (published / name).is_dir()]
    import_module("torch").set_num_threads(threads)
    measured: dict[str, Any] = {"load_s": time.perf_counter() - began, "loaded_mib": peak_mib(), "threads": threads}
    with tempfile.TemporaryDirectory() as folder:
        source = write_nifti(volume, Path(folder))
        began = time.perf_counter()
        answer = import_module("spineps.seg_run").segment_image(
            source,
            *networks,
            auto_crop_to_spine=False,  # it would fetch weights of yet another network
            ignore_compatibility_issues=True,
            proc_normalize_input=preparation["normalise"],
            proc_sem_n4_bias_correction=preparation["bias_correction"],
            proc_pad_size=preparation["padding"],
            return_output_instead_of_save=True,
        )
    measured |= {"wall_s": time.perf_counter() - began, "phases_s": phases, "peak_mib": peak_mib()}
    measured["outcome"] = str(answer[-1].name)
    if len(answer) != 4:  # an early end gives the paths of files and why
        return measured, {}
    subregions, vertebrae = (part.get_seg_array().astype(np.uint16) for part in answer[:2])
    return measured, {"subregions": subregions, "vertebrae": vertebrae}


def write_nifti(volume: Path, folder: Path) -> object:
    """Write a volume as the file the original takes, and give its handle."""
    stored, nibabel = np.load(volume), import_module("nibabel")
    path = folder / "sub-volume_T2w.nii.gz"
    affine = np.diag(LPS_TO_RAS) @ stored["affine"]
    nibabel.save(nibabel.Nifti1Image(stored["voxels"].astype(np.float32), affine), path)
    return import_module("TPTBox").BIDS_FILE(str(path), dataset=str(folder), verbose=False)


def clock(module: object, name: str, phase: str, phases: dict[str, float]) -> None:
    """Make a function of a module add its seconds to a phase."""
    function: Callable[..., Any] = getattr(module, name)

    def clocked(*positional: object, **named: object) -> object:
        began = time.perf_counter()
        try:
            return function(*positional, **named)
        finally:
            phases[phase] = phases.get(phase, 0.0) + time.perf_counter() - began

    setattr(module, name, clocked)


def peak_mib() -> float:
    """Greatest resident memory of this program so far, in MiB; Linux only, as the comparison is.

    Not ru_maxrss, which holds what the process that started this one had taken before.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
