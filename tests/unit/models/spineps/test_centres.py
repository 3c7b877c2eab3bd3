"""Centres of bodies: on any grid, also of bodies that grew together, each of which is cut once."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.spineps.centres import find_centres

REFERENCE = (0.75, 0.75, 1.65)


def column(
    size_mm: tuple[float, float, float], gap_mm: float, spacing: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """Six bodies with discs between, of a size in mm, (P, I, R)."""
    p, i, r = (max(1, round(mm / step)) for mm, step in zip(size_mm, spacing, strict=True))
    gap = max(2, round(gap_mm / spacing[1]))
    labels = np.zeros((p + 8, 6 * (i + gap) + 8, r + 6), np.uint8)
    for index in range(6):
        top = 4 + index * (i + gap)
        labels[4 : 4 + p, top : top + i, 3 : 3 + r] = 49
        labels[4 : 4 + p, top + i : top + i + gap, 3 : 3 + r] = 100 if index < 5 else 0
    return labels


@pytest.mark.parametrize("spacing", [REFERENCE, (1.6, 1.6, 3.0), (0.75, 0.75, 2.5)])
def test_cervical_bodies_outlast_being_eroded_on_every_grid(spacing: tuple[float, float, float]) -> None:
    """On a coarse one a single voxel is worn away, as much as two on the finer."""
    labels = column((14.0, 12.0, 13.0), 4.0, spacing)

    assert len(find_centres(labels, spacing)) == 6


def test_specks_are_no_bodies() -> None:
    """Less than a hundred voxels of the reference grid are left of them."""
    labels = column((14.0, 12.0, 15.0), 4.0, REFERENCE)
    labels[4:12, -4:, 3:9] = 49

    assert len(find_centres(labels, REFERENCE)) == 6


def test_a_body_that_is_too_large_is_cut_once_however_often_the_order_is_broken() -> None:
    """Two bodies grew together; pieces of disc lie before the bodies above and below them."""
    labels = column((20.0, 15.0, 30.0), 8.0, REFERENCE)
    disc = slice(4 + 2 * 31 + 20, 4 + 3 * 31)  # the third: bodies are 20 voxels high, discs 11
    labels[4:31, disc, 3:21] = 49
    labels[5:9, disc.start + 3 : disc.start + 6, 3:21] = 100
    for body in (1, 4):
        labels[0:3, 4 + 31 * body + 12 : 4 + 31 * body + 16, 3:21] = 100

    centres = find_centres(labels, REFERENCE)

    assert len(centres) == 6
    assert np.all(np.diff([i for _, i, _ in centres]) < 0)


def test_without_a_body_there_is_no_centre() -> None:
    """An empty field, and one with discs alone."""
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[2:8, 2:8, 2:8] = 100

    assert find_centres(labels, REFERENCE) == ()


def test_small_bodies_that_hang_together_behind_their_disc_are_parted() -> None:
    """Together they are no larger than some further down; one as tall without a disc between stays whole."""
    labels = np.zeros((40, 180, 20), np.uint8)
    tops, sizes = (10, 24, 38, 56, 76, 98, 122), (10, 10, 12, 16, 18, 20, 24)
    for top, height in zip(tops, sizes, strict=True):
        deep = height + 4
        labels[4 : 4 + deep, top : top + height, 4 : 4 + max(7, height // 2 + 2)] = 49
        labels[4 : 4 + deep, top + height : top + height + 4, 4:12] = 100
    joined, whole = labels.copy(), labels.copy()
    joined[11:18, 20:24, 4:11] = 49  # half of the first disc is bone
    whole[4:18, 20:24] = 49

    heights = sorted(i for _, i, _ in find_centres(joined, (1.0, 1.0, 2.0)))

    assert len(heights) == len(tops)
    assert heights[:2] == [pytest.approx(15, abs=2), pytest.approx(29, abs=2)]
    assert len(find_centres(whole, (1.0, 1.0, 2.0))) == len(tops) - 1
