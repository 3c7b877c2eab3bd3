"""Patches and placed masks: what the whole image would give, without touching it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.spinefm.patches import MASK_LOGIT, Outside, PlacedMask, Window, cut_patch, cut_patches, place, sigmoid

SIZE = (50, 70)  # rows, columns


def placed(seed: int, x: int, y: int, *, shift: float = 0.0, outside: Outside = "smallest_logit") -> PlacedMask:
    """Place random logits of an 8×8 network around (x, y) at an edge of 24 px; `shift` moves them all."""
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(8, 8)) * 2 + shift)
    return place(logits, Window.around((x, y), 24), SIZE, outside=outside)


points = st.tuples(st.integers(-5, SIZE[1] + 5), st.integers(-5, SIZE[0] + 5))


@settings(max_examples=60, deadline=None)
@given(point=points, seed=st.integers(0, 99), shift=st.sampled_from([-6.0, 0.0, 9.0]))
def test_the_centroid_is_that_of_the_whole_image(point: tuple[int, int], seed: int, shift: float) -> None:
    """Mean pixel coordinate weighted by probability, the constant outside included."""
    mask = placed(seed, *point, shift=shift)

    weight = sigmoid(mask.whole())
    rows, columns = np.indices(SIZE)
    literal = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()

    np.testing.assert_array_equal(mask.weighted_centroid(), np.floor(np.add(literal, 1e-9)))


@settings(max_examples=80, deadline=None)
@given(a=points, b=points, seed=st.integers(0, 99), shifts=st.tuples(*2 * [st.sampled_from([-6.0, 0.0, 9.0])]))
def test_overlap_and_area_are_those_of_the_whole_image(
    a: tuple[int, int], b: tuple[int, int], seed: int, shifts: tuple[float, float]
) -> None:
    """Also where a mask covers everything outside its patch."""
    one, two = placed(seed, *a, shift=shifts[0]), placed(seed + 1, *b, shift=shifts[1])
    first, second = one.whole() > MASK_LOGIT, two.whole() > MASK_LOGIT
    either = np.logical_or(first, second).sum()

    assert one.area_px == first.sum()
    assert one.iou(two) == pytest.approx(np.logical_and(first, second).sum() / either if either else 0.0)


@pytest.mark.parametrize("smallest", [-3.7, -0.4])
def test_the_outside_is_the_integer_part_of_the_smallest_logit(smallest: float) -> None:
    """Towards zero, as published."""
    logits = torch.tensor([[smallest, 1.0], [2.0, 3.0]])

    assert place(logits, Window.around((30, 30), 8), SIZE).outside == int(smallest)
    assert place(logits, Window.around((30, 30), 8), SIZE, outside="background").whole().min() == -np.inf


def test_the_rounded_point_is_the_middle_of_the_patch() -> None:
    """Pixel edge // 2 of the patch is the point."""
    pixels = torch.arange(50 * 70, dtype=torch.float32).view(1, 50, 70)

    patch = cut_patch(pixels, Window.around((30.4, 19.6), 8))

    assert patch[0, 4, 4] == pixels[0, 20, 30]


def test_outside_the_image_is_zero() -> None:
    """Also where nothing of the patch lies on the image."""
    pixels = torch.ones(1, 50, 70)

    assert cut_patch(pixels, Window.around((0, 0), 8)).sum() == 16
    assert cut_patch(pixels, Window.around((-30, -30), 8)).sum() == 0


@pytest.mark.parametrize(("edge", "levels"), [(40, 0), (100, 0), (300, 1)])
def test_eight_bit_patches_are_resized_as_pillow_does(edge: int, levels: int) -> None:
    """The published weights have seen Pillow's rounding, enlarging; shrinking comes within one grey level."""
    pixels = np.random.default_rng(1).integers(0, 256, (edge, edge), dtype=np.uint8)
    pillow = Image.fromarray(pixels).resize((128, 128), Image.Resampling.BILINEAR)

    patch = cut_patches(torch.from_numpy(pixels)[None], [(edge // 2, edge // 2)], edge=edge, size=128)

    np.testing.assert_allclose(patch[0, 0].numpy() * 255, np.asarray(pillow, dtype=np.float32), atol=levels + 1e-3)


def test_sigmoid_never_overflows() -> None:
    """Far logits are 0 and 1."""
    assert sigmoid(-np.inf) == 0
    assert sigmoid(np.float64(1e4)) == 1
    assert sigmoid(0.0) == 0.5
