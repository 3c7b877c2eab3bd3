"""Finished masks: one region each, no overlaps, smoothed only where they are."""

import numpy as np
import pytest
from scipy import ndimage

from models.spinefm.config import Smoothing
from models.spinefm.finish import finish
from models.spinefm.patches import PlacedMask

SIZE = (40, 60)


def mask(box: tuple[int, int, int, int], *, logit: float = 4.0, left: int = 0, top: int = 0) -> PlacedMask:
    """A mask that is `logit` within rows a–b, columns c–d of the image, stored from (left, top) on."""
    logits = np.full(SIZE, -9.0, dtype=np.float32)
    a, b, c, d = box
    logits[a:b, c:d] = logit
    return PlacedMask(logits[top : top + 30, left : left + 30], left, top, -9.0, SIZE)


def test_a_pixel_that_two_claim_goes_to_the_likelier() -> None:
    """Whatever their order."""
    weak, strong = mask((5, 15, 5, 15), logit=1.0), mask((10, 20, 5, 15), logit=3.0)

    for order, expected in (((weak, strong), 2), ((strong, weak), 1)):
        finished = finish(order, SIZE, threshold=0.5, smoothing=None)

        assert (finished.labelmap[10:15, 5:15] == expected).all()
        assert (finished.labelmap > 0).sum() == 150


def test_only_the_largest_region_of_a_mask_stays() -> None:
    """A vertebra is one piece."""
    logits = mask((5, 15, 5, 15)).logits.copy()
    logits[25:27, 25:27] = 4.0

    finished = finish([PlacedMask(logits, 0, 0, -9.0, SIZE)], SIZE, threshold=0.5, smoothing=None)

    assert (finished.labelmap > 0).sum() == 100


@pytest.mark.parametrize(("left", "top"), [(0, 0), (12, 6), (30, 10)])
def test_smoothing_equals_that_of_the_whole_image(left: int, top: int) -> None:
    """Threshold, 15×15 Gaussian of sigma 20, again at a half; also across the patch's and the image's edge."""
    smoothing = Smoothing(kernel=15, sigma=20.0)
    box = (top, top + 22, left + 1, left + 30)
    placed = mask(box, left=left, top=top)

    finished = finish([placed], SIZE, threshold=0.9, smoothing=smoothing)

    offset = np.arange(-7, 8)
    weights = np.exp(-(offset**2) / 800)
    whole = (placed.whole() > np.log(9)).astype(float)
    for axis in (0, 1):
        whole = ndimage.correlate1d(whole, weights / weights.sum(), axis=axis, mode="mirror")
    np.testing.assert_array_equal(finished.labelmap > 0, whole > 0.5)


def test_a_mask_with_nothing_left_has_no_certainty() -> None:
    """It keeps its number, without a pixel."""
    finished = finish([mask((0, 0, 0, 0)), mask((5, 15, 5, 15))], SIZE, threshold=0.5, smoothing=None)

    assert finished.probabilities[0] == 0
    assert finished.probabilities[1] == pytest.approx(1 / (1 + np.exp(-4)))
    assert np.unique(finished.labelmap).tolist() == [0, 2]
