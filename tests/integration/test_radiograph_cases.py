"""Radiographs that went wrong for users of other software (shared/cases), each with its right answer."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import JPEG2000

from app.report import SeriesReport
from app.run import run_folder
from app.settings import Settings
from tests.shared_cases import Make, case_maker

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]  # pydicom's, about odd values

PHANTOM_LEVELS = ["C2", "C3", "C4", "C5", "C6", "C7", "T1", "T2", "T3"]  # in view of the phantom that the cases change
SQUARE_LORDOSIS_DEG = 70.6  # C2 to C7, of case 03's image with square pixels (shared/cases/README.md)


@pytest.fixture(scope="module")
def make(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function that makes the files of a case."""
    return case_maker(shared, tmp_path_factory)


def run(folder: Path) -> list[SeriesReport]:
    """Run over a folder with the shipped packs, and return what became of its series."""
    return list(run_folder(folder, folder / "out", settings=Settings(device="cpu")).series)


def labels(entry: SeriesReport) -> list[str]:
    """Return the levels that were found."""
    return [str(structure["label"]) for structure in entry.structures]


@pytest.mark.parametrize("number", ["01", "02", "11", "12", "13"])
def test_a_case_whose_trouble_is_ornament_is_answered_as_without_it(make: Make, number: str) -> None:
    """References of the worklist, a decimal comma, an odd lookup table, half an orientation, a long code meaning."""
    (entry,) = run(make(number))

    assert (entry.status, entry.numbering) == ("succeeded", "landmark")
    assert labels(entry) == PHANTOM_LEVELS
    assert len(entry.outputs) == 4


def test_pixels_that_are_wider_than_high_give_the_patients_angles(make: Make) -> None:
    """Case 03: Imager Pixel Spacing alone tells the ratio."""
    (entry,) = run(make("03"))

    assert entry.measurements["lordosis_C2_C7"]["value"] == pytest.approx(SQUARE_LORDOSIS_DEG, abs=3)
    assert any("square pixels" in warning for warning in entry.warnings)
    assert {structure["measurements"]["area"]["unit"] for structure in entry.structures} == {"px2"}


def test_pixel_spacing_unlike_the_detectors_is_calibrated(make: Make) -> None:
    """Case 14: PS3.3 10.7.1.1, without a Pixel Spacing Calibration Type."""
    (entry,) = run(make("14"))

    assert entry.spacing is not None and "type of its calibration is not told" in entry.spacing
    assert {structure["measurements"]["area"]["unit"] for structure in entry.structures} == {"mm2"}


def test_a_lateral_that_is_stored_turned_is_answered_in_its_own_grid(make: Make) -> None:
    """Patient Orientation says how it was turned; the angles are those of the upright image."""
    folder = make("01")
    (file,) = folder.glob("*.dcm")
    (upright,) = run(folder)
    dataset: FileDataset = dcmread(file)
    pixels = np.ascontiguousarray(np.rot90(dataset.pixel_array))
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes()
    dataset.PatientOrientation = ["F", "P"]
    turned_folder = folder / "turned"
    turned_folder.mkdir()
    dataset.save_as(turned_folder / "1.dcm")

    (turned,) = run(turned_folder)

    assert labels(turned) == labels(upright)
    assert turned.measurements == upright.measurements
    (_, width) = (dataset.Columns, dataset.Rows)
    for one, other in zip(turned.structures, upright.structures, strict=True):
        x, y = other["centroid_px"]
        assert one["centroid_px"] == pytest.approx([y, width - 1 - x], abs=0.01)


def test_a_radiograph_that_was_compressed_with_loss_is_taken_with_a_word(make: Make) -> None:
    """An archive has compressed it; Derivation Code Sequence and Lossy Image Compression say so."""
    folder = make("01")
    (file,) = folder.glob("*.dcm")
    dataset = dcmread(file)
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_15444_1"
    dataset.compress(JPEG2000, j2k_cr=[10], generate_instance_uid=False)
    dataset.save_as(file)

    (entry,) = run(folder)

    assert labels(entry) == PHANTOM_LEVELS
    assert any("compressed with loss" in warning for warning in entry.warnings)
