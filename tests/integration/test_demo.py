"""The first command of the README, with the weights shipped: what comes back lies where the phantoms have it."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset

from operators.dicom.verify import decoded_labelmap

ROOT = Path(__file__).parents[2]
PATIENCE_S = 580
LEAST_DICE = 0.9
NEAR_MM = 5.0  # between the centre of a vertebra that was found and the true one


@dataclass(frozen=True)
class Shown:
    """What the demonstration printed and left in its folder."""

    words: str
    out: Path

    def study(self, name: str) -> list[FileDataset]:
        """The results that were received for a study that was sent."""
        sent = dcmread(next((self.out / "studies" / name).glob("*1.dcm")), stop_before_pixels=True)
        return [dcmread(path) for path in (self.out / "results" / sent.StudyInstanceUID).rglob("*.dcm")]

    def truth(self, name: str) -> dict[str, Any]:
        """The truth that the phantom wrote beside what was sent."""
        with np.load(self.out / "studies" / name / "truth.npz") as file:
            return {key: file[key] for key in file.files}

    def structures(self, decision: str) -> dict[str, dict[str, Any]]:
        """Vertebrae of the report by label, of the series that went to an engine."""
        report = json.loads((self.out / "report.json").read_text("utf-8"))
        (series,) = (s for study in report["studies"] for s in study["series"] if s["decision"] == decision)
        return {item["label"]: item for item in series["structures"] if item["kind"] == "vertebra"}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """Run it as a user does."""
    out = tmp_path_factory.mktemp("demo") / "out"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, "-c", "from app.cli import main; main()", "demo", "--out", str(out)],
        cwd=out.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Shown(done.stdout, out)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "segmentations"), [("radiograph", 1), ("mr", 2)])
def test_results_come_back_to_the_study_that_was_sent(shown: Shown, name: str, segmentations: int) -> None:
    """Segmentations, a report and a picture; a table and an overlay to look at."""
    modalities = Counter(dataset.Modality for dataset in shown.study(name))

    assert (modalities["SEG"], modalities["SR"], modalities.total()) == (segmentations, 1, segmentations + 2)
    assert (shown.out / f"{name}.png").stat().st_size > 50_000
    assert "delivered" in next(line for line in shown.words.splitlines() if line.strip().startswith(f"{name} "))


@pytest.mark.slow
def test_the_vertebrae_of_the_radiograph_lie_where_the_phantom_has_them(shown: Shown) -> None:
    """By name, from the Segmentation as it was received."""
    (segmentation,) = (dataset for dataset in shown.study("radiograph") if dataset.Modality == "SEG")
    truth, found = shown.truth("radiograph"), decoded_labelmap(segmentation)
    levels = {level: int(number) for number, level in json.loads(str(truth["levels"])).items()}

    labels = {str(item.SegmentLabel): int(item.SegmentNumber) for item in segmentation.SegmentSequence}

    for level in ("C3", "C4", "C5", "C6", "C7"):
        mine, true = found == labels[level], truth["labelmap"] == levels[level]
        assert 2 * (mine & true).sum() / (mine.sum() + true.sum()) >= LEAST_DICE, level


@pytest.mark.slow
def test_the_vertebrae_of_the_volume_lie_where_the_phantom_has_them(shown: Shown) -> None:
    """By name, in LPS mm, with the sacrum below them."""
    truth, found = shown.truth("mr"), shown.structures("spineps")
    levels = {level: int(number) for number, level in json.loads(str(truth["levels"])).items()}

    for level in ("L1", "L2", "L3", "L4", "L5"):
        places = np.argwhere(truth["vertebrae"] == levels[level]).mean(0)
        centre = truth["affine"][:3, :3] @ places + truth["affine"][:3, 3]
        assert np.linalg.norm(centre - found[level]["centroid_lps_mm"]) < NEAR_MM, level
    assert "sacrum" in found
