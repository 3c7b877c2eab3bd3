"""Flat borders around a radiograph change nothing in what is found."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.contracts import RadiographImage
from models.spinefm.borders import exposed, exposed_field, is_large
from models.spinefm.engine import SpineFM
from models.spinefm.views import Field
from tests.unit.drawn_spine import config, draw_spine, networks

Pixels = NDArray[np.float32]
SIDES = ((400, 0, 0, 0), (0, 300, 0, 0), (0, 0, 350, 50), (120, 200, 90, 60))  # pixels above, below, left and right


def picture(rows: int = 200, columns: int = 150) -> Pixels:
    """Something without flat lines."""
    return np.random.default_rng(1).uniform(0.2, 0.8, (rows, columns)).astype(np.float32)


def framed(pixels: Pixels, sides: tuple[int, int, int, int], value: float) -> Pixels:
    """Put a border around a picture: pixels above, below, left and right."""
    above, below, left, right = sides
    return np.pad(pixels, ((above, below), (left, right)), constant_values=np.float32(value))


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_the_exposed_field_is_what_lies_within_the_border(sides: tuple[int, int, int, int], value: float) -> None:
    """Black, grey and white; on one side, on all."""
    field = exposed_field(framed(picture(), sides, value))

    assert field == Field(sides[0], sides[2], 200, 150)


def test_borders_of_different_values_are_told_one_after_the_other() -> None:
    """A white one around a black one, and grey at the side."""
    pixels = framed(framed(framed(picture(), (0, 0, 0, 90), 0.4), (50, 50, 0, 0), 0.0), (40, 40, 40, 40), 1.0)

    assert exposed_field(pixels) == Field(90, 40, 200, 150)


def test_markers_in_a_border_belong_to_it() -> None:
    """A letter of lead, and a wide line of text that makes no line of the border plain."""
    pixels = framed(picture(), (300, 100, 0, 0), 0.0)
    pixels[40:60, 20:24] = 1.0
    pixels[150:160] = picture(10)

    assert exposed_field(pixels) == Field(300, 0, 200, 150)


def test_a_seam_between_two_exposures_is_no_border() -> None:
    """Both parts of a stitched image are exposed."""
    pixels = np.concatenate([picture(120), np.zeros((40, 150), np.float32), picture(200)])

    assert exposed_field(pixels) == Field(0, 0, 360, 150)


@pytest.mark.parametrize("pixels", [picture(), np.zeros((300, 200), np.float32), picture(20, 20)])
def test_without_a_border_the_field_is_the_whole_image(pixels: Pixels) -> None:
    """The same holds for an image that is all border."""
    assert exposed_field(pixels) == Field(0, 0, *pixels.shape)


@pytest.mark.parametrize(("share", "large"), [(0.06, False), (0.1, False), (0.2, True)])
def test_a_narrow_collimation_is_left_as_it_is(share: float, large: bool) -> None:
    """The shipped networks were trained with up to 6 % of the rows dark on either side."""
    pixels = framed(picture(), (round(share * 200),) * 2 + (0, 0), 0.0)

    assert is_large(exposed_field(pixels), pixels.shape) is large


def test_a_border_that_had_set_the_range_of_values_sets_it_no_more() -> None:
    """Tissue within a tenth of the range is spread over all of it; else the values stay."""
    faint, field = framed(picture() * np.float32(0.1), (300, 0, 0, 0), 1.0), Field(300, 0, 200, 150)

    assert np.ptp(exposed(faint, field)) == 1.0
    np.testing.assert_array_equal(exposed(framed(picture(), (300, 0, 0, 0), 1.0), field), picture())


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_what_is_found_within_a_border_is_what_is_found_without(value: float) -> None:
    """Labelmap and centroids are those of the source's grid."""
    engine, drawing = SpineFM.of(networks(), config()), draw_spine(7, top="C2")
    bare = engine.segment(RadiographImage(drawing.pixels))

    result = engine.segment(RadiographImage(framed(drawing.pixels, (500, 300, 200, 100), value)))

    assert [s.label for s in result.structures] == [s.label for s in bare.structures]
    np.testing.assert_array_equal(result.labelmap[500:900, 200:500], bare.labelmap)
    moved = np.array([s.centroid_px for s in bare.structures]) + (200, 500)
    np.testing.assert_allclose([s.centroid_px for s in result.structures], moved)
    assert (result.numbering, result.warnings, result.scale) == (bare.numbering, bare.warnings, bare.scale)
