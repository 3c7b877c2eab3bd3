"""Heights within half a pixel and angles within two degrees of what was drawn, whatever the pose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from models.contracts import FoundStructure
from models.spinefm.morphometry import Facing, SpineMorphometry, measure_spine

SIDE = 160
HEIGHT_TOLERANCE_PX = 0.5
ANGLE_TOLERANCE_DEG = 2.0

Array = NDArray[np.float64]


def turned(corners: Array, degrees: float, centre_xy: tuple[float, float]) -> Array:
    """Turn corners (x, y) clockwise on the screen and put them around a centre."""
    t = np.deg2rad(degrees)
    turn = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    return np.asarray(corners @ turn.T + centre_xy, np.float64)


def body(width: float, left_height: float, right_height: float) -> Array:
    """Return the corners of a wedge around the origin: upper left, upper right, lower right, lower left."""
    half = width / 2
    return np.array(
        [[-half, -left_height / 2], [half, -right_height / 2], [half, right_height / 2], [-half, left_height / 2]]
    )


def drawn(corners: Array, shape: tuple[int, int] = (SIDE, SIDE)) -> NDArray[np.bool_]:
    """Return the mask of the pixels whose centre lies inside a convex polygon given clockwise."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = np.ones(shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        mask &= (bx - ax) * (y - ay) - (by - ay) * (x - ax) >= 0
    return mask


def measured(
    masks: dict[str, NDArray[np.bool_]],
    *,
    spacing_mm: tuple[float, float] | None = None,
    facing: Facing | None = "left",
    pixels: NDArray[np.float32] | None = None,
) -> SpineMorphometry:
    """Measure bodies given by level, from the top downwards."""
    labelmap = np.zeros(next(iter(masks.values())).shape, np.uint16)
    structures = []
    for number, (level, mask) in enumerate(masks.items(), start=1):
        labelmap[mask] = number
        y, x = np.nonzero(mask)
        structures.append(FoundStructure(number, level, level, 1.0, (float(x.mean()), float(y.mean()))))
    return measure_spine(labelmap, structures, spacing_mm=spacing_mm, facing=facing, pixels=pixels)


def values(spine: SpineMorphometry) -> tuple[float, float, float, float]:
    """Return anterior, middle, posterior height and wedge angle of the only vertebra."""
    (vertebra,) = spine.vertebrae
    quantities = (vertebra.anterior_height, vertebra.middle_height, vertebra.posterior_height, vertebra.wedge_angle)
    assert all(quantity is not None for quantity in quantities)
    anterior, middle, posterior, wedge = (quantity.value for quantity in quantities if quantity is not None)
    return anterior, middle, posterior, wedge


# Sides within 10 degrees of a grid line are left to the next test: there a mask cannot tell a fraction of a pixel.
@settings(max_examples=25, deadline=None)
@given(
    width=st.floats(36, 60),
    posterior=st.floats(0.7, 1.05),
    anterior=st.floats(0.75, 1.2),
    tilt=st.floats(16, 32),
    sign=st.sampled_from([-1, 1]),
    facing=st.sampled_from(["left", "right"]),
    shift=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_turned_wedge_is_measured_as_it_was_drawn(
    *,
    width: float,
    posterior: float,
    anterior: float,
    tilt: float,
    sign: int,
    facing: Facing,
    shift: tuple[float, float],
) -> None:
    """Heights are distances of corners, the wedge angle lies between the end-plates, for either facing."""
    back, front = posterior * width, anterior * posterior * width
    left, right = (front, back) if facing == "left" else (back, front)
    corners = turned(body(width, left, right), sign * tilt, (80 + shift[0], 80 + shift[1]))
    wedge_deg = 2 * np.degrees(np.arctan((back - front) / 2 / width))

    found = values(measured({"C5": drawn(corners)}, facing=facing))

    np.testing.assert_allclose(found[:3], [front, (front + back) / 2, back], atol=HEIGHT_TOLERANCE_PX + 0.05)
    assert found[3] == pytest.approx(wedge_deg, abs=ANGLE_TOLERANCE_DEG)


@pytest.mark.parametrize(("width", "height"), [(40, 30), (31, 37), (64, 50)])
def test_an_upright_body_on_whole_pixels_is_measured_as_it_was_drawn(width: int, height: int) -> None:
    """Edges between pixels are told exactly."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[50 : 50 + height, 40 : 40 + width] = True

    found = values(measured({"L3": mask}))

    np.testing.assert_allclose(found, [height, height, height, 0], atol=0.1)


def test_calibrated_spacing_gives_millimetres_also_where_pixels_are_not_square() -> None:
    """Geometry is done in mm: rows 0.5 mm, columns 0.25 mm."""
    spacing = (0.5, 0.25)
    corners_mm = turned(body(16, 12, 14), 20, (0, 0))
    corners = corners_mm / (spacing[1], spacing[0]) + 80

    spine = measured({"L3": drawn(corners)}, spacing_mm=spacing)

    np.testing.assert_allclose(values(spine)[:3], [12, 13, 14], atol=0.25)
    assert values(spine)[3] == pytest.approx(2 * np.degrees(np.arctan(1 / 16)), abs=ANGLE_TOLERANCE_DEG)
    (vertebra,) = spine.vertebrae
    assert vertebra.area.value == pytest.approx(16 * 13, rel=0.02)
    assert (vertebra.area.unit, vertebra.middle_height and vertebra.middle_height.unit) == ("mm2", "mm")


def test_without_spacing_lengths_are_pixels() -> None:
    """No unit is claimed that the image does not give."""
    (vertebra,) = measured({"L3": drawn(turned(body(40, 30, 30), 20, (80, 80)))}).vertebrae

    assert (vertebra.area.unit, vertebra.middle_height and vertebra.middle_height.unit) == ("px2", "px")


def test_a_hollow_end_plate_lowers_the_middle_height_only() -> None:
    """A biconcave body keeps its front and back height."""
    mask = drawn(body(60, 44, 44) + 80.5)
    y, x = np.mgrid[:SIDE, :SIDE]
    for pole in (80.5 - 22, 80.5 + 22):
        mask &= ((x - 80.5) / 22) ** 2 + ((y - pole) / 5) ** 2 > 1

    anterior, middle, posterior, wedge = values(measured({"L2": mask}))

    assert middle == pytest.approx(44 - 10, abs=1)
    assert anterior == pytest.approx(44, abs=2.5)
    assert posterior == pytest.approx(44, abs=2.5)
    assert wedge == pytest.approx(0, abs=ANGLE_TOLERANCE_DEG)


def test_a_spur_and_a_hole_do_not_move_the_corners() -> None:
    """The mask of a network is not a polygon: a spur, a hole and a speck elsewhere change little."""
    mask = drawn(turned(body(48, 36, 40), 14, (80, 80)))
    clean = values(measured({"C4": mask}))
    mask[75:80, 78:82] = False
    mask[10:16, 10:16] = True
    spur = drawn(turned(body(12, 5, 5), 14, (56, 80)))

    noisy = values(measured({"C4": mask | spur}))

    np.testing.assert_allclose(noisy[:3], clean[:3], atol=1)
    assert noisy[3] == pytest.approx(clean[3], abs=ANGLE_TOLERANCE_DEG)


def test_a_ragged_outline_costs_little() -> None:
    """Seeded noise of about a pixel on the outline: heights within 3 pixels, angle within 5 degrees."""
    rng = np.random.default_rng(7)
    errors = []
    for _ in range(10):
        mask = drawn(turned(body(48, 36, 40), rng.uniform(-25, 25), (80, 80))).astype(float)
        rough = mask + 1.2 * ndimage.gaussian_filter(rng.normal(size=mask.shape), 2)
        found = values(measured({"C4": ndimage.gaussian_filter(rough, 1.5) > 0.5}))
        errors.append(np.abs(np.array(found) - [36, 38, 40, np.degrees(2 * np.arctan(2 / 48))]))

    assert np.max(errors, axis=0)[:3].max() < 3
    assert np.max(errors, axis=0)[3] < 5


@pytest.mark.parametrize(("upper", "lower"), [("C2", "C7"), ("L1", "S1")])
@pytest.mark.parametrize(("facing", "sign"), [("left", 1), ("right", -1)])
def test_lordosis_is_the_angle_between_the_end_plates_and_positive_where_the_spine_bends_backwards(
    upper: str, lower: str, facing: Facing, sign: int
) -> None:
    """Upper body leaning back by 18 degrees, lower one forwards by 14: lordosis of 32 degrees."""
    shape = (260, 160)
    masks = {
        upper: drawn(turned(body(50, 36, 36), 18 * sign, (80, 60)), shape),
        lower: drawn(turned(body(50, 36, 36), -14 * sign, (80, 200)), shape),
    }

    (lordosis,) = measured(masks, facing=facing).lordoses

    assert (lordosis.upper_level, lordosis.lower_level) == (upper, lower)
    assert lordosis.angle.value == pytest.approx(32, abs=ANGLE_TOLERANCE_DEG)


def test_the_end_plates_of_lordosis_are_the_lower_ones_in_the_neck_and_the_upper_ones_below() -> None:
    """C2-C7 reads the lower end-plates; with wedges this differs from the upper ones."""
    shape = (260, 160)
    wedge_deg = 2 * np.degrees(np.arctan(5 / 50))
    masks = {
        "C2": drawn(turned(body(50, 30, 40), 12, (80, 60)), shape),
        "C7": drawn(turned(body(50, 36, 36), -12, (80, 200)), shape),
    }

    (lordosis,) = measured(masks).lordoses

    # The front of C2 is 10 pixels lower: its lower end-plate points upwards by half the wedge more.
    assert lordosis.angle.value == pytest.approx(24 + wedge_deg / 2, abs=ANGLE_TOLERANCE_DEG)


def test_axis_and_sacrum_have_an_area_but_no_heights() -> None:
    """C1, C2 and S1 have no body with two end-plates."""
    (vertebra,) = measured({"S1": drawn(turned(body(50, 36, 36), 20, (80, 80)))}).vertebrae

    assert vertebra.area.value > 1700
    assert vertebra.middle_height is vertebra.anterior_height is vertebra.wedge_angle is None


def test_an_outline_without_four_sides_is_said_and_not_measured() -> None:
    """A crescent has an area, but its heights would be an invention."""
    y, x = np.mgrid[:SIDE, :SIDE]
    crescent = (np.hypot(x - 80, y - 80) < 30) & (np.hypot(x - 95, y - 80) > 24)

    spine = measured({"C4": crescent})

    assert spine.vertebrae[0].middle_height is None
    assert "the outline of C4 is not four-sided: its heights were not measured" in spine.warnings


@pytest.mark.parametrize(("bone_right", "facing"), [(True, "left"), (False, "right")])
def test_the_brighter_side_of_the_bodies_is_behind_and_that_is_said_to_be_assumed(
    bone_right: bool, facing: Facing
) -> None:
    """Bone lies behind the bodies, so that the patient faces the darker side."""
    masks = {level: drawn(body(40, 26, 30) + (80, 30 + 45 * i)) for i, level in enumerate(("C3", "C4", "C5"))}
    ramp = np.linspace(0, 1, SIDE, dtype=np.float32)[None, :].repeat(SIDE, axis=0)

    spine = measured(masks, facing=None, pixels=ramp if bone_right else 1 - ramp)

    assert spine.facing == facing
    assert any("assumed" in warning and f"facing {facing}" in warning for warning in spine.warnings)


@pytest.mark.parametrize("pixels", [None, np.full((SIDE, SIDE), 0.5, np.float32)])
def test_an_unknown_front_leaves_front_and_back_open(pixels: NDArray[np.float32] | None) -> None:
    """Nothing to judge by: the middle height stands, front, back and angles do not."""
    spine = measured({"C4": drawn(turned(body(50, 36, 36), 20, (80, 80)))}, facing=None, pixels=pixels)

    (vertebra,) = spine.vertebrae
    assert spine.facing is None
    assert vertebra.middle_height is not None
    assert vertebra.anterior_height is vertebra.posterior_height is vertebra.wedge_angle is None
    assert any("not known" in warning for warning in spine.warnings)


def test_a_speck_of_a_few_pixels_has_an_area_and_nothing_else() -> None:
    """Too small to have sides."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[80:85, 80:85] = True

    (vertebra,) = measured({"C4": mask}).vertebrae

    assert vertebra.area.value == 25
    assert vertebra.middle_height is None


def test_a_body_at_the_end_of_a_stretch_stands_as_its_own_stretch_does() -> None:
    """The next one may be a whole thorax away, and to the side: what lies across a gap is no neighbour."""
    upright = body(50, 38, 38)
    places = {"C6": (80.5, 50.5), "C7": (80.5, 110.5), "L1": (420.5, 250.5), "L2": (420.5, 310.5)}
    masks = {level: drawn(upright + np.array(place), (380, 500)) for level, place in places.items()}
    labelmap = np.zeros((380, 500), np.uint16)
    for number, mask in enumerate(masks.values(), start=1):
        labelmap[mask] = number
    structures = [
        FoundStructure(number, level, level, 1.0, place, stretch=1 + (number > 2))
        for number, (level, place) in enumerate(places.items(), start=1)
    ]

    spine = measure_spine(labelmap, structures, facing="left")

    for vertebra in spine.vertebrae:
        assert vertebra.middle_height is not None
        assert vertebra.middle_height.value == pytest.approx(38, abs=HEIGHT_TOLERANCE_PX)
