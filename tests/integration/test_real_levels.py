"""Real images whose levels were judged by looking: named right or doubted, never wrong with certainty."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from scipy import ndimage

from app.run import run_profiles
from app.settings import Settings

pytestmark = pytest.mark.slow

RADIOGRAPHS = ("lumbar_buu_3836", "lumbar_buu_4367", "refuse_ap_buu_0238", "refuse_chest_16747")
# An L5 that the network paints as sacrum: every name was one too low, as "landmark" with a confidence of 1.00.
VOLUME = "t1_vb1_02"
NEAR_MM = 12.0  # half a lumbar body with its disc
NEAR_PX = 50.0  # the same in these radiographs


def results_of(folder: Path, out: Path) -> Mapping[str, Any]:
    """Return the one series of `report.json` of a run over a folder."""
    report = run_profiles(folder, {"standard": out}, settings=Settings(device="cpu")).as_json()
    (study,) = json.loads(json.dumps(report))["studies"]
    (series,) = study["series"]
    return dict(series)


def named(
    found: Mapping[str, Any], key: str, truth: Mapping[str, NDArray[np.float64]], near: float
) -> list[tuple[str, str]]:
    """Return the level given and the true level of each vertebra that lies on a body of the reference."""
    pairs = []
    for structure in found["structures"]:
        if structure.get("level") is None or structure.get("kind", "vertebra") != "vertebra":
            continue
        distances = {level: np.linalg.norm(np.subtract(structure[key], place)) for level, place in truth.items()}
        level = min(distances, key=lambda each: distances[each])
        if distances[level] < near:
            pairs.append((structure["level"], level))
    return pairs


@pytest.mark.parametrize("name", RADIOGRAPHS)
def test_a_real_radiograph_is_named_right_doubted_or_refused(shared: Path, tmp_path: Path, name: str) -> None:
    """What is no lateral spine is refused; a wrong name is never a landmark's."""
    folder = shared / "data" / "xray" / name
    expected = json.loads((folder / "expected.json").read_text())

    series = results_of(folder, tmp_path / "out")

    if expected["must"] == "refuse":
        assert series["status"] == "refused", series["reason"]
        return
    assert series["status"] == "succeeded", series["reason"]
    truth = {each["level"]: np.array(each["centroid_px"], float) for each in expected["levels"]}
    pairs = named(series, "centroid_px", truth, NEAR_PX)
    assert len(pairs) >= 3 or series["numbering"] == "unknown"
    assert all(given == true for given, true in pairs) or series["numbering"] != "landmark", pairs


def test_an_l5_painted_as_sacrum_is_named_l5(shared: Path, tmp_path: Path) -> None:
    """By the disc below it: the sacrum is parted there, and every name is the one that was judged by looking."""
    folder = shared / "data" / "mr" / VOLUME

    series = results_of(folder, tmp_path / "out")

    assert series["status"] == "succeeded", series["reason"]
    vertebrae = {each["level"] for each in series["structures"] if each.get("kind", "vertebra") == "vertebra"}
    assert {"L1", "L2", "L3", "L4", "L5"} <= vertebrae
    pairs = named(series, "centroid_lps_mm", _bodies(folder), NEAR_MM)
    assert len(pairs) >= 5
    assert all(given == true for given, true in pairs), pairs


def _bodies(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Return the centroids of the reference's bodies in LPS mm, by their true level."""
    levels = json.loads((folder / "reference_labels.json").read_text())["levels"]
    labelmap = np.load(folder / "reference_labelmap.npz")["labelmap"]
    headers = [dcmread(file, stop_before_pixels=True) for file in sorted(folder.glob("*.dcm"))]
    truth = {}
    for number, level in levels.items():
        index, row, column = ndimage.center_of_mass(labelmap == int(number))
        header = headers[round(index)]
        along_row, along_column = np.reshape(header.ImageOrientationPatient, (2, 3)).astype(float)
        down, right = (float(value) for value in header.PixelSpacing)
        place = np.array(header.ImagePositionPatient, float) + along_row * column * right + along_column * row * down
        truth[level] = place
    return truth
