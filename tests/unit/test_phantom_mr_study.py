"""`spondyl phantom mr`: a valid MR Series that routing takes, and truth on its grid."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli import app
from app.phantom_mr import TOP, mr_datasets
from models.phantom.mr import MrPhantom, MrSequence
from operators.dicom.mr_acquisition import plane
from operators.dicom.mr_contrast import mr_contrast
from operators.dicom.series import load_series
from operators.dicom.volume import plan_volumes, read_volume
from tests.made_mr import SAGITTAL, series_of

SHAPE = (6, 8, 9)


def phantom(ti_ms: float | None = None) -> MrPhantom:
    """Return a tiny volume, turned a little, every voxel another value."""
    affine = SAGITTAL.copy()
    turn = np.deg2rad(7)
    affine[:3, :3] = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]] @ affine[:3, :3]
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:4, 2:4, 2:4] = 20
    return MrPhantom(
        voxels=np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE),
        affine=affine,
        contrast="T2w" if ti_ms is None else "STIR",
        region="lumbar",
        subregions=labels,
        vertebrae=labels,
        levels={20: "L1"},
        landmarks_in_view=(),
        findings=(),
        sequence=MrSequence(95.25, 3511.3, ti_ms, 1.5, "*tse2d1_15"),
    )


def test_the_series_is_the_phantoms_volume(tmp_path: Path) -> None:
    """Values up to their scale, and every voxel where the phantom has it."""
    source = phantom()

    chosen = plan_volumes(series_of(mr_datasets(source, 1), tmp_path)).chosen

    volume = read_volume(chosen, contrast="T2w")
    scale = TOP / source.voxels.max()
    for index in ((0, 0, 0), (5, 7, 8), (1, 4, 6)):
        place = np.linalg.solve(volume.affine, source.affine @ [*index, 1])[:3]
        np.testing.assert_allclose(place, np.rint(place), atol=1e-3)
        assert volume.voxels[tuple(np.rint(place).astype(int))] == pytest.approx(source.voxels[index] * scale, abs=0.51)


@pytest.mark.parametrize(("ti_ms", "contrast"), [(None, "T2w"), (165.0, "STIR")])
def test_routing_knows_plane_and_contrast(ti_ms: float | None, contrast: str) -> None:
    """From times and orientation, as of a scanner's series."""
    dataset = mr_datasets(phantom(ti_ms), 1)[0]

    assert (plane(dataset), mr_contrast(dataset)) == ("sagittal", contrast)


def test_the_same_seed_gives_the_same_instances() -> None:
    """UIDs included; another seed gives others."""
    first, again, other = (
        [(str(d.SOPInstanceUID), d.PixelData) for d in mr_datasets(phantom(), seed)] for seed in (1, 1, 2)
    )

    assert first == again
    assert not {uid for uid, _ in first} & {uid for uid, _ in other}


@pytest.mark.peers("dciodvfy")
@pytest.mark.parametrize("ti_ms", [None, 165.0])
def test_dciodvfy_finds_no_error_in_a_slice(ti_ms: float | None, tmp_path: Path) -> None:
    """What the node is tried with must itself be valid."""
    program = shutil.which("dciodvfy")
    assert program is not None
    mr_datasets(phantom(ti_ms), 1)[0].save_as(tmp_path / "slice.dcm", enforce_file_format=True)

    told = subprocess.run([program, str(tmp_path / "slice.dcm")], capture_output=True, text=True, check=False)

    lines = (told.stdout + told.stderr).splitlines()
    assert "MRImage" in lines
    assert [line for line in lines if line.startswith("Error")] == []


@pytest.mark.slow
def test_the_command_writes_a_series_and_its_truth(tmp_path: Path) -> None:
    """A file per slice; truth.npz lies on the grid of the slices, truth.json names the levels."""
    arguments = ["phantom", "mr", str(tmp_path), "--seed", "3", "--region", "cervical", "--contrast", "T2w"]

    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 0, result.output
    (series,) = load_series(tmp_path).series
    truth = json.loads((tmp_path / "truth.json").read_text())
    with np.load(tmp_path / "truth.npz") as arrays:
        vertebrae, subregions, affine = (arrays[name] for name in ("vertebrae", "subregions", "affine"))
    chosen = plan_volumes(series).chosen
    assert (truth["contrast"], truth["series_instance_uid"]) == ("T2w", series.series_instance_uid)
    assert vertebrae.shape == subregions.shape == chosen.shape
    assert {int(label) for label in truth["levels"]} <= set(np.unique(vertebrae).tolist())
    assert np.linalg.det(affine[:3, :3]) != 0
