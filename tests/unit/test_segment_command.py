"""`spondyl segment`: a folder as SPIDER has it becomes label maps that `spondyl evaluate` holds against its masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from app.cli import app
from app.evaluate import evaluate_command
from app.segment import Unsuitable, read_volume_image
from models.phantom.mr import MrPhantom, mr_phantom
from operators.dicom.label_images import LabelImageError
from tests.made_volume import made_voxels
from tests.unit.test_evaluate_volumes import write_itk

SPIDER_OF_LEVEL = {"L5": 1, "L4": 2, "L3": 3, "L2": 4, "L1": 5, "T12": 6, "T11": 7, "T10": 8, "T9": 9, "T8": 10}
SAGITTAL = np.array([[4.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def phantom() -> MrPhantom:
    """Return a lumbar spine with the sacrum in view."""
    return mr_phantom(9_000_001, region="lumbar", contrast="T2w")


def spider_mask(phantom: MrPhantom) -> NDArray[np.uint16]:
    """Number the truth as SPIDER does: vertebrae from L5 upwards, 200 more for the disc below, 100 the canal."""
    mask = np.zeros(phantom.vertebrae.shape, np.uint16)
    for value, level in phantom.levels.items():
        if level in SPIDER_OF_LEVEL:
            mask[phantom.vertebrae == value] = SPIDER_OF_LEVEL[level]
            mask[phantom.vertebrae == 100 + value] = 200 + SPIDER_OF_LEVEL[level]
    mask[np.isin(phantom.subregions, (60, 61))] = 100
    return mask


@pytest.mark.slow
def test_images_and_masks_of_a_data_set_become_its_table(tmp_path: Path, phantom: MrPhantom) -> None:
    """One image becomes maps, names, picture and report; a mask and a broken file stop nothing; twice is no more."""
    images, masks, out = tmp_path / "images", tmp_path / "masks", tmp_path / "out"
    stored = np.rint(phantom.voxels * 500).astype(np.uint16)
    write_itk(images / "7_t2.mha", stored, phantom.affine)
    write_itk(images / "lesions.nii.gz", (stored > 600).astype(np.uint16), phantom.affine)
    (images / "torn_t2.mha").write_bytes((images / "7_t2.mha").read_bytes()[:300])
    write_itk(masks / "7_t2.mha", spider_mask(phantom), phantom.affine)
    command = ["segment", str(images), str(out)]

    first = CliRunner().invoke(app, command)
    maps = {name: out / "7_t2" / f"{name}.nii.gz" for name in ("vertebrae", "subregions")}
    written = {path: path.stat().st_mtime_ns for path in maps.values()}
    again = CliRunner().invoke(app, command)

    assert first.exit_code == again.exit_code == 4
    assert {path: path.stat().st_mtime_ns for path in maps.values()} == written
    fates = {entry["name"]: entry for entry in json.loads((out / "report.json").read_text())["volumes"]}
    assert (fates["7_t2"]["status"], fates["7_t2"]["reason"]) == ("succeeded", "spineps-phantom, was there already")
    assert fates["lesions"]["reason"] == "skipped: a label map, not an image"
    assert "torn_t2.mha is no volume that ITK can read" in fates["torn_t2"]["reason"]
    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(maps["vertebrae"])))
    for level, number in (("L1", 20), ("L5", 24)):
        value = next(value for value, name in phantom.levels.items() if name == level)
        both = np.count_nonzero((labels == number) & (phantom.vertebrae == value))
        assert both > 0.85 * np.count_nonzero(phantom.vertebrae == value)
    with Image.open(out / "7_t2" / "picture.png") as picture:
        assert picture.mode == "RGB"
    report = json.loads((out / "7_t2" / "report.json").read_text())
    assert report["numbering"] == "landmark"
    heights = [one["measurements"] for one in report["structures"] if one["label"] == "L3"]
    assert 15 < heights[0]["middle_height"]["value"] < 45

    assert evaluate_command(out, masks, json_out=tmp_path / "scores.json") == 0

    rows = {row["kind"]: row for row in json.loads((tmp_path / "scores.json").read_text())["summary"]["kinds"]}
    assert rows["vertebra"]["instances"]["dice_mean"] > 0.85
    vertebrae = rows["vertebra"]["instances"]
    assert vertebrae["level_right"] == vertebrae["annotated"] == 5
    assert rows["disc"]["dice_mean"] > 0.85


def test_the_contrast_is_what_the_name_says_unless_it_is_given(tmp_path: Path) -> None:
    """SPIDER's names, and those of people who have others."""
    named = {
        "12_t1.mha": "T1w",
        "12_t2.mha": "T2w",
        "12_t2_SPACE.mha": "T2w",
        "sub-3_STIR.nii.gz": "STIR",
        "x.nii": "other",
    }

    found = {
        name: read_volume_image(write_itk(tmp_path / name, made_voxels(), SAGITTAL), None).contrast for name in named
    }

    assert found == named
    assert read_volume_image(tmp_path / "x.nii", "T1w").contrast == "T1w"


def test_slices_that_are_not_sagittal_are_left_alone(tmp_path: Path) -> None:
    """As the node leaves them alone; a volume without thick slices has no plane."""
    voxels = made_voxels()
    axial, even = np.diag([1.0, 1.0, 4.0, 1.0])[:, [2, 1, 0, 3]], np.eye(4)[:, [2, 1, 0, 3]]

    with pytest.raises(Unsuitable, match=r"MR, axial, 4\.0 mm slices; SPINEPS needs a sagittal plane"):
        read_volume_image(write_itk(tmp_path / "t2.nii", voxels, axial), None)

    read_volume_image(write_itk(tmp_path / "t2.nii", voxels, even), None)


def test_values_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    """Resampling leaves them behind."""
    voxels = made_voxels().astype(np.float32)
    voxels[0, 0, 0] = np.nan

    with pytest.raises(LabelImageError, match=r"t2\.mha holds values that are no numbers"):
        read_volume_image(write_itk(tmp_path / "t2.mha", voxels, SAGITTAL), None)


def test_files_that_differ_in_their_ending_alone_keep_it(tmp_path: Path) -> None:
    """Neither takes the other's folder."""
    for name in ("a/1_t2.mha", "a/1_t2.nii.gz", "b/1_t2.mha"):
        write_itk(tmp_path / "images" / name, np.ones((3, 4, 5), np.uint16), SAGITTAL)

    CliRunner().invoke(app, ["segment", str(tmp_path / "images"), str(tmp_path / "images" / "out")])

    content = json.loads((tmp_path / "images" / "out" / "report.json").read_text())
    assert [entry["name"] for entry in content["volumes"]] == ["a/1_t2.mha", "a/1_t2.nii.gz", "b/1_t2"]


def test_a_contrast_that_no_pack_takes_says_what_to_do(tmp_path: Path) -> None:
    """Nothing was segmented: exit code 3."""
    write_itk(tmp_path / "images" / "x.nii", made_voxels(), SAGITTAL)

    done = CliRunner().invoke(app, ["segment", str(tmp_path / "images"), str(tmp_path / "out")])

    assert done.exit_code == 3
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "no installed pack takes it (spineps-phantom takes T2w/T1w/STIR MR" in content["volumes"][0]["reason"]
    assert "--contrast" in content["volumes"][0]["reason"]
