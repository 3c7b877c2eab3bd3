"""The largest series that a scanner makes fit into 8 GB of memory."""

from pathlib import Path

import numpy as np
import pytest

from models.contracts import SpineVolume
from models.phantom.mr import MrRegion, mr_phantom
from tests.benchmarks.spineps_against_original import PACK, ours_command, run_engine

MOST_MIB = 8e9 / 2**20
SEED = 2_000_003


def stretched(region: MrRegion, spacing_mm: tuple[float, ...], size_mm: tuple[float, ...]) -> SpineVolume:
    """A phantom on a grid of another spacing, mirrored at its borders until a size is filled."""
    phantom = mr_phantom(SEED, region=region, contrast="T2w")
    source = SpineVolume(phantom.voxels, phantom.affine, "T2w")
    picks = []
    for n, have, mm, length in zip(source.voxels.shape, source.spacing_mm, spacing_mm, size_mm, strict=True):
        along = (np.arange(round(length / mm)) * mm / have).astype(np.intp) % (2 * n)
        picks.append(np.minimum(along, 2 * n - 1 - along))
    affine = source.affine.copy()
    affine[:3, :3] *= np.array(spacing_mm) / np.array(source.spacing_mm)
    return SpineVolume(source.voxels[np.ix_(*picks)], affine, "T2w")


@pytest.mark.slow
@pytest.mark.benchmark
@pytest.mark.parametrize(
    ("region", "spacing_mm", "size_mm"),
    [
        pytest.param("whole", (4.0, 0.7, 0.7), (80.0, 1500.0, 450.0), id="whole spine of 1.5 m"),
        pytest.param("lumbar", (0.5, 0.5, 0.5), (80.0, 400.0, 260.0), id="isotropic at 0.5 mm"),
    ],
)
def test_the_largest_series_stay_within_8_gb(
    region: MrRegion, spacing_mm: tuple[float, ...], size_mm: tuple[float, ...], tmp_path: Path
) -> None:
    """The whole process, from its start to the answer; the spine is found."""
    volume = stretched(region, spacing_mm, size_mm)
    stored = tmp_path / "large.volume.npz"
    np.savez(stored, voxels=volume.voxels, affine=volume.affine)

    run = run_engine(ours_command(PACK), stored, tmp_path / "large.ours.npz")

    print(f"\n{volume.voxels.shape}: {run.peak_mib:.0f} MiB, {run.wall_s:.0f} s")
    assert run.outcome == "OK"
    assert run.peak_mib < MOST_MIB
