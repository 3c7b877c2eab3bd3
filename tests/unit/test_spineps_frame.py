"""P-I-R and back: nothing is turned over, stretched grids share their first voxel."""

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from models.spineps.frame import Orientation, resample_image, resample_labels, stretched_shape
from models.spineps.prepare import Preparation, prepare, to_range, without_bias_field

AXES, SIGNS = list(permutations(range(3))), list(product((1, -1), repeat=3))


@pytest.mark.parametrize("signs", SIGNS)
@pytest.mark.parametrize("axes", AXES)
def test_every_orientation_becomes_pir_and_comes_back(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    """Towards the back, the feet, the right: LPS y up, z down, x down along the three axes."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(axes)] * np.array([4.0, 1.0, 0.5]) * signs
    source = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    orientation = Orientation.of(affine)
    places = np.moveaxis(np.indices(source.shape), 0, -1) @ affine[:3, :3].T

    turned = [orientation.apply(places[..., axis]) for axis in range(3)]

    for axis, (lps, direction) in enumerate(((1, 1), (2, -1), (0, -1))):
        assert np.all(np.diff(turned[lps], axis=axis) * direction > 0)
    np.testing.assert_array_equal(orientation.undo(orientation.apply(source)), source)
    assert sorted(orientation.spacing((4.0, 1.0, 0.5))) == [0.5, 1.0, 4.0]


def test_a_stretched_image_keeps_its_first_voxel_and_its_places() -> None:
    """A ramp stays a ramp with the same slope in mm."""
    ramp = np.arange(40, dtype=np.float32)[:, None, None] * np.ones((1, 6, 6), np.float32)

    fine = resample_image(ramp, (1.0, 1.0, 1.0), (0.5, 1.0, 1.0))

    assert fine.shape == (80, 6, 6) == stretched_shape(ramp.shape, (1.0, 1.0, 1.0), (0.5, 1.0, 1.0))
    np.testing.assert_allclose(fine[4:60, 0, 0], np.arange(4, 60) * 0.5, atol=1e-2)


@pytest.mark.parametrize("target", [(0.9, 0.9, 3.5), (2.0, 0.4, 4.4)])
def test_splines_axis_by_axis_are_the_splines_of_the_whole_grid(target: tuple[float, float, float]) -> None:
    """SciPy evaluates 64 coefficients a voxel where twelve suffice; also beside air, where the rest dies away."""
    image = np.random.default_rng(0).uniform(0, 1500, (34, 30, 9)).astype(np.float32)
    image[:12], image[:, 20:] = 0, 0
    source = (1.0, 0.8, 4.0)
    shape = stretched_shape(image.shape, source, target)
    steps = np.array(target) / np.array(source)

    values = resample_image(image, source, target)

    assert values.dtype == np.float32
    expected = ndimage.affine_transform(image, steps, output_shape=shape, order=3, mode="nearest")
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-12)


def test_labels_come_back_to_the_nearest_voxel() -> None:
    """There and back over a finer grid changes nothing."""
    labels = np.random.default_rng(0).integers(0, 9, (7, 8, 9)).astype(np.uint8)

    fine = resample_labels(labels, (1.0, 2.0, 3.0), (0.5, 0.5, 0.5), (14, 32, 54))

    np.testing.assert_array_equal(resample_labels(fine, (0.5, 0.5, 0.5), (1.0, 2.0, 3.0), (7, 8, 9)), labels)


def test_intensities_are_brought_down_to_1500_and_weak_ones_left() -> None:
    """From zero; only what is stronger is scaled."""
    strong = to_range(np.array([100.0, 3100.0], np.float32))
    weak = to_range(np.array([100.0, 900.0], np.float32))

    np.testing.assert_allclose(strong, [0, 1500])
    np.testing.assert_allclose(weak, [0, 800])


def test_steps_can_be_switched_off_and_padding_is_of_the_minimum() -> None:
    """A pack trained without a step must not get it."""
    image = np.full((4, 4, 4), 5000.0, np.float32)
    image[0, 0, 0] = 7.0

    plain = prepare(image, (1, 1, 1), Preparation(normalise=False, bias_correction=False, padding=2))

    assert plain.shape == (8, 8, 8)
    np.testing.assert_array_equal(plain[2:-2, 2:-2, 2:-2], image)
    assert plain[0, 0, 0] == 7.0


def test_the_bias_field_is_taken_out() -> None:
    """A smooth shading over noise-free tissue is flatter afterwards."""
    i = np.linspace(-1, 1, 48)
    shading = np.exp(0.5 * i)[None, :, None] * np.ones((40, 1, 16))
    tissue = np.where(np.random.default_rng(1).random((40, 48, 16)) < 0.5, 400.0, 700.0)
    image = (tissue * shading).astype(np.float32)

    corrected = without_bias_field(image, (2.0, 2.0, 4.0))

    def slope(volume: np.ndarray) -> float:
        places = np.broadcast_to(i[None, :, None], volume.shape)[tissue == 700.0]
        return float(np.polyfit(places, np.log(volume[tissue == 700.0]), 1)[0])

    assert slope(image) == pytest.approx(0.5, abs=1e-3)
    assert abs(slope(corrected)) < 0.25


def test_the_bias_field_does_not_follow_the_number_of_processors() -> None:
    """Nodes of different machines write the same instance under the same UID."""
    image = np.random.default_rng(2).uniform(400, 700, (24, 32, 8)).astype(np.float32)
    usual = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    corrected = []
    try:
        for processors in (1, 2, 5):
            SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(processors)
            corrected.append(without_bias_field(image, (2.0, 2.0, 4.0)))
    finally:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(usual)

    np.testing.assert_array_equal(corrected[1], corrected[0])
    np.testing.assert_array_equal(corrected[2], corrected[0])
