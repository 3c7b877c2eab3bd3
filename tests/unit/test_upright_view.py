"""The engine sees a radiograph upright and with square pixels; its answer returns to the source's grid."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.contracts import FoundStructure, RadiographImage, RadiographResult
from operators.dicom.pixels import facing
from operators.dicom.upright_view import UprightView, upright_view
from tests.made_dicom import made_dx

ROWS, COLUMNS = 60, 40


def picture() -> NDArray[np.float32]:
    """A smooth image in which no two quarters are alike."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    return np.asarray(0.7 * rows / ROWS + 0.3 * columns / COLUMNS, np.float32)


def boxes() -> NDArray[np.uint16]:
    """Two vertebrae, one above the other."""
    labelmap = np.zeros((ROWS, COLUMNS), np.uint16)
    labelmap[10:20, 12:24] = 1
    labelmap[24:36, 14:28] = 2
    return labelmap


def found(labelmap: NDArray[np.uint16]) -> RadiographResult:
    """What an engine answers for a labelmap."""
    structures = []
    for number in (1, 2):
        rows, columns = np.nonzero(labelmap == number)
        structures.append(
            FoundStructure(number, f"C{number + 2}", f"C{number + 2}", 0.9, (columns.mean(), rows.mean()))
        )
    return RadiographResult(labelmap, tuple(structures), "landmark", "")


# Patient Orientation → how the upright image (A\F: facing right) was turned before it was stored.
STORED = {("A", "F"): 0, ("F", "P"): 1, ("P", "H"): 2, ("H", "A"): 3}


@pytest.mark.parametrize("orientation", STORED)
def test_an_image_that_is_stored_turned_is_seen_upright(orientation: tuple[str, str]) -> None:
    """PS3.3 C.7.6.1.1.1: the directions of rows and columns say which quarter turn it was."""
    turns = STORED[orientation]
    stored = np.ascontiguousarray(np.rot90(picture(), turns))
    dataset = made_dx(stored, patient_orientation=orientation)

    view = upright_view(dataset, None)
    seen = view.image(RadiographImage(stored))

    np.testing.assert_array_equal(seen.pixels, picture())
    assert view.orientation == ("A", "F")
    assert facing(view.orientation) == "right"
    assert (view.note == "") == (turns == 0)


@pytest.mark.parametrize("orientation", STORED)
def test_the_answer_returns_to_the_stored_image(orientation: tuple[str, str]) -> None:
    """Labelmap and centroids lie on the source's grid, whichever way it is stored."""
    turns = STORED[orientation]
    stored = np.ascontiguousarray(np.rot90(boxes(), turns))
    view = upright_view(made_dx(stored, patient_orientation=orientation), None)

    result = view.on_source_grid(found(boxes()))

    np.testing.assert_array_equal(result.labelmap, stored)
    for structure in result.structures:
        rows, columns = np.nonzero(stored == structure.segment_number)
        assert structure.centroid_px == pytest.approx((columns.mean(), rows.mean()))


@pytest.mark.parametrize("orientation", [None, ("L", "F"), ("A", "R"), ("A",)])
def test_an_orientation_that_tells_no_turn_turns_nothing(orientation: tuple[str, ...] | None) -> None:
    """Absent, frontal, contradictory or with one value."""
    dataset = made_dx(picture(), patient_orientation=("A", "F"))
    dataset.PatientOrientation = None if orientation is None else list(orientation)

    assert upright_view(dataset, None).is_source


@pytest.mark.parametrize(
    ("attributes", "aspect"),
    [
        ({"PixelSpacing": ["0.24", "0.3"]}, 0.8),
        ({"ImagerPixelSpacing": ["0.3", "0.24"]}, 1.25),
        ({"PixelAspectRatio": ["4", "5"]}, 0.8),
        ({"PixelAspectRatio": ["1", "1"]}, 1.0),
        ({"PixelSpacing": ["0.2", "0.2"], "PixelAspectRatio": ["4", "5"]}, 1.0),
        ({"PixelSpacing": ["0.2", "0"]}, 1.0),
        ({"ImagerPixelSpacing": ["0.1", "9"]}, 1.0),
        ({}, 1.0),
    ],
)
def test_the_shape_of_a_pixel_is_known_even_where_its_size_is_not(
    attributes: dict[str, list[str]], aspect: float
) -> None:
    """PS3.3 10.7.1.3 and C.7.6.3.1.7: row spacing first; a ratio measured at the detector holds in the patient too."""
    dataset = made_dx(picture(), without=["PixelSpacing", "ImagerPixelSpacing"])
    for keyword, values in attributes.items():
        setattr(dataset, keyword, values)

    assert upright_view(dataset, None).aspect == pytest.approx(aspect)


@pytest.mark.parametrize("aspect", [0.8, 1.25, 2.0])
def test_an_image_of_oblong_pixels_is_seen_in_the_patients_proportions(aspect: float) -> None:
    """Its longer side is resampled at the shorter one's step, and the answer comes back to its own grid."""
    view = UprightView(0, aspect, (ROWS, COLUMNS))
    seen = view.image(RadiographImage(picture(), spacing_mm=(aspect * 0.2, 0.2)))

    assert seen.pixels.shape == ((round(ROWS * aspect), COLUMNS) if aspect > 1 else (ROWS, round(COLUMNS / aspect)))
    assert seen.spacing_mm == pytest.approx((min(aspect, 1) * 0.2,) * 2)
    assert seen.pixels.mean() == pytest.approx(picture().mean(), abs=0.01)
    stretched = RadiographImage(boxes().astype(np.float32))
    answer = view.on_source_grid(found(np.rint(view.image(stretched).pixels).astype(np.uint16)))
    overlap = (answer.labelmap == boxes())[boxes() > 0].mean()
    assert overlap > 0.9


def test_a_square_upright_image_is_handed_on_as_it_is() -> None:
    """Nothing is copied, nothing interpolated."""
    view = UprightView(0, 1.0, (ROWS, COLUMNS))
    image, result = RadiographImage(picture()), found(boxes())

    assert view.image(image) is image
    assert view.on_source_grid(result) is result
    assert replace(view, quarter_turns=1).note == (
        "for the engine and the picture the image was turned by 90 degrees, as Patient Orientation says"
    )
