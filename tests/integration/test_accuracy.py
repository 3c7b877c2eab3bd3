"""`python -m app.accuracy`: what it measures is what the document says, and nothing leaves that must stay."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.accuracy.document import Making, document
from app.accuracy.measure import (
    FIRST_HELD_BACK_SEED,
    Held,
    Measured,
    held_back,
    measure_phantom,
    measure_phantoms,
    measure_radiograph,
    measured_as_json,
    measured_from_json,
    phantom_image,
    radiograph_folders,
)
from app.accuracy.pictures import PictureFolderError, overlay, refuse_inside_checkout
from models.contracts import FoundStructure, RadiographImage, RadiographResult
from models.errors import NoSpineFound, PackError
from models.evaluation import ImageScore, StructureScore
from models.packs import load_pack, sha256_of
from models.phantom.radiograph import radiograph_phantom
from operators.engines import ENGINES
from tests.made_dicom import made_dx

HELD = Held(FIRST_HELD_BACK_SEED, "cervical")
MAKING = Making("2026-01-02", "python -m app.accuracy", "pack", "1.0", "ab" * 32, "No spacing was given.")


class KnowingEngine:
    """Answers with a labelmap and levels that it was told; refuses when it was told none."""

    def __init__(self, labelmap: NDArray[np.generic] | None, levels: Mapping[int, str]) -> None:
        """Take the answer: values of the labelmap and their levels."""
        self.labelmap = labelmap
        self.levels = levels
        self.seen: list[RadiographImage] = []

    def segment(self, image: RadiographImage) -> RadiographResult:
        """Return the answer, renumbered from 1."""
        self.seen.append(image)
        if self.labelmap is None:
            raise NoSpineFound("no run of three vertebrae")
        numbers = {value: number for number, value in enumerate(self.levels, start=1)}
        labelmap = np.zeros(self.labelmap.shape, np.uint16)
        for value, number in numbers.items():
            labelmap[self.labelmap == value] = number
        structures = tuple(
            FoundStructure(numbers[value], level, level, 0.9, (5.0, 5.0)) for value, level in self.levels.items()
        )
        return RadiographResult(labelmap, structures, "landmark", "estimated")


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Return a pack whose engine a test puts into the cache itself."""
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(os.urandom(16))
    description = {
        **dict.fromkeys(("name", "version", "provenance", "licence", "intended_use"), "made for a test"),
        "engine": "made",
        "accepts": {},
        "networks": {},
        "weights": {"a": {"file": "a.safetensors", "sha256": sha256_of(folder / "a.safetensors")}},
    }
    (folder / "pack.json").write_text(json.dumps(description))
    return folder


def score(dice: float, *, level: str = "C3", partner: str = "C3", image: str = "one") -> ImageScore:
    """Return an image of one structure."""
    return ImageScore(image, (StructureScore(level, partner, dice, 1.0, 2.0),), unit="mm", landmark_in_view=True)


def phantoms(*pairs: tuple[int, float]) -> list[tuple[Held, Measured]]:
    """Return cervical phantoms by seed and Dice."""
    return [
        (Held(seed, "cervical"), Measured(score(dice, image=f"cervical {seed}"), "landmark")) for seed, dice in pairs
    ]


def test_held_back_phantoms_are_half_cervical_and_have_seeds_that_training_does_not_use() -> None:
    """A seed occurs once, and all of them lie above the limit."""
    drawn = held_back(200)

    assert [phantom.region for phantom in drawn] == ["cervical"] * 100 + ["lumbar"] * 100
    assert [phantom.seed for phantom in drawn] == list(range(1_000_000, 1_000_200))


@pytest.mark.slow
@pytest.mark.parametrize("calibrated", [True, False])
def test_an_engine_that_knows_the_truth_gets_full_marks(pack: Path, calibrated: bool) -> None:
    """Truth against itself is 1 in every level that counts, T1 and below are left out, and the header is honest."""
    phantom = radiograph_phantom(HELD.seed, region=HELD.region)
    engine = KnowingEngine(phantom.labelmap, phantom.levels)
    ENGINES.keep(load_pack(pack), "cpu", engine)

    measured = measure_phantom(HELD, pack=pack, device="cpu", calibrated=calibrated)

    assert [one.level for one in measured.score.structures] == [
        level for level in phantom.levels.values() if level in {"C2", "C3", "C4", "C5", "C6", "C7"}
    ]
    assert all(one.dice == 1.0 and one.level_right for one in measured.score.structures)
    assert measured.score.unit == "mm"
    assert measured.score.landmark_in_view == ("C2" in phantom.levels.values())
    assert (engine.seen[0].spacing_mm is not None) is calibrated


@pytest.mark.slow
def test_a_refusal_counts_as_nothing_found_and_is_told(pack: Path) -> None:
    """A refused image does not drop out of the numbers."""
    ENGINES.keep(load_pack(pack), "cpu", KnowingEngine(None, {}))

    measured = measure_phantom(HELD, pack=pack, device="cpu", calibrated=False)

    assert (measured.numbering, measured.remark) == ("refused", "no run of three vertebrae")
    assert {one.dice for one in measured.score.structures} == {0.0}


@pytest.mark.slow
def test_the_engine_sees_dense_tissue_bright_whatever_the_phantom_stores() -> None:
    """MONOCHROME1 is turned round: the bodies are brighter than the median of the picture."""
    for seed in range(FIRST_HELD_BACK_SEED, FIRST_HELD_BACK_SEED + 30):
        phantom = radiograph_phantom(seed, region="cervical", columns_limit=400)
        if phantom.photometric_interpretation == "MONOCHROME1":
            break

    pixels = phantom_image(phantom, calibrated=False).pixels

    assert phantom.photometric_interpretation == "MONOCHROME1"
    assert (pixels.min() >= 0, pixels.max() <= 1) == (True, True)
    assert pixels[phantom.labelmap > 0].mean() > np.median(pixels)


@pytest.mark.slow
def test_what_was_measured_is_taken_from_the_cache_and_not_measured_again(pack: Path, tmp_path: Path) -> None:
    """A run that was interrupted goes on; here everything was done, and an engine that is missing is not missed."""
    kept = measure_phantoms(
        [HELD], pack=pack, device="cpu", calibrated=False, processes=1, cache_dir=tmp_path / "cache"
    )
    with pytest.raises(PackError, match="wants the engine 'made'"):
        list(kept)
    (folder,) = (tmp_path / "cache").iterdir()
    measured = Measured(score(0.9), "assumed", "remark")
    (folder / f"cervical-{HELD.seed}.json").write_text(measured_as_json(measured))

    again = list(
        measure_phantoms([HELD], pack=pack, device="cpu", calibrated=False, processes=1, cache_dir=tmp_path / "cache")
    )

    assert again == [(HELD, measured)]


def test_measurements_survive_being_kept() -> None:
    """What is read back is what was written, tuples and absences included."""
    measured = Measured(ImageScore("a", (StructureScore("C3", None, 0.0),), unpaired=("T1",)), "unknown", "why")

    assert measured_from_json(measured_as_json(measured)) == measured


def test_a_real_radiograph_is_read_through_the_whole_pixel_pipeline(pack: Path, tmp_path: Path) -> None:
    """DICOM in, the reference beside it, scores in pixels, and no landmark claimed that nobody annotated."""
    labelmap = np.zeros((50, 40), np.uint8)
    labelmap[5:15, 5:25], labelmap[20:30, 5:25] = 3, 4
    folder = tmp_path / "real" / "cervical_1"
    folder.mkdir(parents=True)
    Image.fromarray(labelmap).save(folder / "reference_labelmap.png")
    made_dx(np.linspace(0, 1, 2000).reshape(50, 40)).save_as(folder / "1.dcm")
    ENGINES.keep(load_pack(pack), "cpu", KnowingEngine(labelmap, {3: "C3", 4: "C5"}))

    (found,) = radiograph_folders(tmp_path / "real")
    measured = measure_radiograph(found, pack=pack, device="cpu")

    assert measured.score.image == "cervical_1"
    assert [one.level_right for one in measured.score.structures] == [True, False]
    assert (measured.score.unit, measured.score.landmark_in_view) == ("px", None)
    assert radiograph_folders(tmp_path / "nowhere") == ()


def test_the_document_says_how_it_was_made_and_states_the_gap_to_every_aim() -> None:
    """Short of an aim is said in numbers, in bold."""
    text = document(MAKING, phantoms((1_000_000, 0.95), (1_000_001, 0.4)), [])

    assert "Measured on 2026-01-02 with the pack `pack` 1.0" in text
    assert "ab" * 32 in text
    assert "| vertebrae identified | 97.8 % | 50.0 % | **short by 47.8 points** |" in text
    assert "| mean Dice, those not found as 0 | 0.942 | 0.675 | **short by 0.267** |" in text
    assert "levels are all right | 97.0 % | 50.0 % | **short by 47.0 points** |" in text
    assert "Not measured: no real radiographs" in text


def test_a_reached_aim_is_called_reached() -> None:
    """And the worst images are named with their seeds, the worst first."""
    text = document(MAKING, phantoms((1_000_000, 0.99), (1_000_001, 0.95)), [])

    assert text.count("| reached |") == 3
    assert re.search(r"\| cervical 1000001 \| 1 of 1 \| 0\.950 \| yes \|\n\| cervical 1000000 ", text)


def test_the_document_has_a_row_per_real_image_with_its_levels() -> None:
    """Found, named, Dice per level, and what the engine says of its numbering."""
    structures = (StructureScore("C3", "C3", 0.9), StructureScore("C4", "C5", 0.8))
    real = [Measured(ImageScore("cervical_1", structures), "landmark")]

    text = document(MAKING, phantoms((1_000_000, 0.99)), real)

    assert "| cervical_1 | 2 of 2 | 1 of 2 | 0.850 | 0.900 | 0.800 | landmark |" in text
    assert "| bodies found and named | 100.0 % | 50.0 % | **short by 50.0 points** |" in text


def test_pictures_of_real_images_are_refused_inside_the_project(tmp_path: Path) -> None:
    """Their licence allows research, not publication; a link into the project does not get around it."""
    checkout = tmp_path / "checkout"
    (checkout / "docs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(checkout / "docs")

    refuse_inside_checkout(tmp_path / "elsewhere", checkout)
    for folder in (checkout, checkout / "docs" / "images", tmp_path / "link"):
        with pytest.raises(PictureFolderError, match="stay out of the project"):
            refuse_inside_checkout(folder, checkout)


def test_an_overlay_tints_what_was_found_and_draws_the_truth_in_white() -> None:
    """Colour where the result is, white only along the outline of the truth, grey elsewhere."""
    truth = np.zeros((64, 64), np.uint8)
    truth[16:32, 16:32] = 3
    result = KnowingEngine(np.roll(truth, 24, axis=0), {3: "C3"}).segment(RadiographImage(np.zeros((1, 1), np.float32)))

    picture = np.asarray(overlay(RadiographImage(np.full((64, 64), 0.5, np.float32)), result, truth)).astype(int)

    colourful = np.ptp(picture, axis=2) > 30
    assert colourful[450:550, 200:300].all()
    assert not colourful[200:280, 200:280].any()
    white = (picture == 255).all(axis=2)
    assert white[159:161, 200:280].all()
    assert not white[200:280, 200:280].any()


@pytest.mark.slow
def test_the_command_names_a_missing_pack_and_writes_nothing(tmp_path: Path) -> None:
    """One sentence and status 2."""
    out = tmp_path / "accuracy.md"

    run = subprocess.run(
        [sys.executable, "-m", "app.accuracy", "--date", "2026-01-02", "--pack", tmp_path / "none", "--out", out],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip

    assert run.returncode == 2
    assert "pack.json is missing" in run.stderr
    assert not out.exists()
