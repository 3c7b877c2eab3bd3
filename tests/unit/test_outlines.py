"""An outline goes round the structure in the frame that it names, in the coordinates of PS3.3 C.18.6."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import disk
from skimage.measure import grid_points_in_poly

from operators.dicom.outlines import MOST_POINTS, centres_of, outlines_of, polygon_of

SHAPE = (5, 40, 60)


def filled(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return which pixels' centres lie within a polygon of columns and rows from the corner of the first pixel."""
    return np.asarray(grid_points_in_poly(shape, points[:, ::-1] - 0.5))


def test_a_rectangle_is_outlined_along_its_pixels_edges() -> None:
    """Pixels 10 to 19 reach from the edge 10 to the edge 20; but for the corners, the line runs on these."""
    labelmap = np.zeros(SHAPE, np.uint16)
    labelmap[1:4, 5:15, 10:20] = 3

    (outline,) = outlines_of(labelmap).values()

    assert outline.frame == 2
    assert outline.points.min(0).tolist() == [10, 5]
    assert outline.points.max(0).tolist() == [20, 15]
    assert outline.points[0].tolist() == outline.points[-1].tolist()
    assert outline.centre == (15, 10)


def test_at_the_border_an_outline_stays_within_the_image() -> None:
    """0 to Columns and 0 to Rows are the edges of the image."""
    labelmap = np.ones((1, *SHAPE[1:]), np.uint16)

    points = outlines_of(labelmap)[1].points

    assert points.min(0).tolist() == pytest.approx([0, 0], abs=0.5)
    assert points.max(0).tolist() == pytest.approx([60, 40], abs=0.5)
    assert points.min() >= 0
    assert (points <= [60, 40]).all()


@pytest.mark.parametrize("radius", [1, 3, 9, 30, 200])
def test_a_simplified_outline_encloses_what_it_goes_round(radius: int) -> None:
    """Few points, and nearly the same pixels: a point of a large structure may be a little off."""
    mask = np.zeros((2 * radius + 5,) * 2, bool)
    mask[disk((radius + 2, radius + 2), radius)] = True

    points = polygon_of(mask)

    inside = filled(points, mask.shape)
    assert len(points) <= MOST_POINTS
    assert 2 * np.count_nonzero(inside & mask) / (inside.sum() + mask.sum()) > 0.93


def test_of_several_parts_the_largest_is_outlined_and_holes_are_not() -> None:
    """A stray island does not hide the structure, nor does a hole in it."""
    labelmap = np.zeros(SHAPE, np.uint16)
    labelmap[2, 5:25, 5:25] = 1
    labelmap[2, 12:15, 12:15] = 0
    labelmap[2, 10:20, 40:50] = 1

    points = outlines_of(labelmap)[1].points

    assert (points.min(0).tolist(), points.max(0).tolist()) == ([5, 5], [25, 25])


def test_a_structure_that_is_not_in_its_middle_frame_is_outlined_in_the_nearest() -> None:
    """An arch has two halves and nothing between them."""
    labelmap = np.zeros(SHAPE, np.uint16)
    labelmap[0, 5:9, 5:9] = 1
    labelmap[4, 5:9, 5:10] = 1

    assert outlines_of(labelmap)[1].frame == 4


def test_centres_are_told_in_the_frame_of_most() -> None:
    """A spine that leaves its slice is drawn where most of it is."""
    labelmap = np.zeros(SHAPE, np.uint16)
    for number, frame in enumerate((1, 3, 3), start=1):
        labelmap[frame, 10 * number : 10 * number + 4, 10:14] = number

    frame, points = centres_of(outlines_of(labelmap).values())

    assert frame == 3
    assert points.tolist() == [[12, 12], [12, 22], [12, 32]]
