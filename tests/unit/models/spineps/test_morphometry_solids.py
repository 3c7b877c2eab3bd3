"""Measurements on solids whose size is known in closed form, cut into voxels as MR does, however they lie."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.spineps.morphometry import VertebraMeasures, VolumeMorphometry, measure_volume
from tests.labelled_volume import result_of

Array = NDArray[np.float64]
BODY, CANAL, DISC = 49, 61, 100
L3, L4 = 22, 23
PIXEL_MM, SLICE_MM = 0.7, 4.0
HALF_A_VOXEL = PIXEL_MM / 2
ANGLE_DEG = 2.0


def turned(about_x: float, about_y: float, about_z: float) -> Array:
    """(3, 3) rotation in LPS, degrees."""
    matrix = np.eye(3)
    for axis, degrees in enumerate((about_x, about_y, about_z)):
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        matrix = np.roll(np.roll(np.array([[1, 0, 0], [0, c, -s], [0, s, c]]), axis, 0), axis, 1) @ matrix
    return matrix


def wedge(depth: float, front: float, back: float) -> Array:
    """Corners (front to back, up to down positive) of a body around its middle: upper front, upper back, then round."""
    return np.array([[-depth, -front], [depth, -back], [depth, back], [-depth, front]]) / 2


@dataclass
class Scan:
    """A sagittal volume around the origin that solids are put into, (slices, rows, columns)."""

    pixel_mm: float = PIXEL_MM
    slice_mm: float = SLICE_MM
    pose: Array = field(default_factory=lambda: np.eye(3))
    shift: Array = field(default_factory=lambda: np.zeros(3))
    size_mm: tuple[float, float, float] = (72.0, 110.0, 100.0)

    def __post_init__(self) -> None:
        shape = tuple(
            int(n / step) for n, step in zip(self.size_mm, (self.slice_mm, *[self.pixel_mm] * 2), strict=True)
        )
        axes = np.array([[self.slice_mm, 0, 0], [0, 0, self.pixel_mm], [0, -self.pixel_mm, 0]])
        self.affine = np.eye(4)
        self.affine[:3, :3] = axes
        self.affine[:3, 3] = -axes @ (np.array(shape) - 1) / 2 + self.shift
        self.subregions, self.vertebrae = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        index = np.moveaxis(np.indices(shape), 0, -1)
        own = (index @ axes.T + self.affine[:3, 3]) @ self.pose
        # The solids' own frame: to the left, backwards, to the feet.
        self.left, self.back, self.down = own[..., 0], own[..., 1], -own[..., 2]

    def put(self, corners: Array, width: float, labels: tuple[int, int]) -> None:
        """Put a prism: a convex section of corners (back, down) mm, and its width; (structure, vertebra)."""
        inside = np.abs(self.left) < width / 2
        for (a, b), (c, d) in zip(corners, np.roll(corners, -1, 0), strict=True):
            inside &= (c - a) * (self.down - b) - (d - b) * (self.back - a) >= 0
        self.subregions[inside], self.vertebrae[inside] = labels

    def put_canal(self, front: float, depth: float, width: float) -> None:
        """Put an elliptic tube along the solids' own long axis."""
        inside = ((self.back - front - depth / 2) / (depth / 2)) ** 2 + (self.left / (width / 2)) ** 2 < 1
        self.subregions[inside] = CANAL

    def measured(self) -> VolumeMorphometry:
        """Measure what was put."""
        return measure_volume(result_of(self.subregions, self.vertebrae, self.affine), self.affine)


def heights(vertebra: VertebraMeasures) -> list[float]:
    """Anterior, middle and posterior height in mm and the wedge angle in degrees."""
    values = (vertebra.anterior_height, vertebra.middle_height, vertebra.posterior_height, vertebra.wedge_angle)
    assert all(value is not None for value in values)
    return [value.value for value in values if value is not None]


# End-plates near the direction of the rows are left out: there a mask tells their place to half a voxel only.
TILT = st.floats(12, 32).flatmap(lambda tilt: st.sampled_from([tilt, -tilt]))


@settings(max_examples=15, deadline=None)
@given(
    tilt=TILT,
    roll=st.floats(-15, 15),
    yaw=st.floats(-12, 12),
    depth=st.floats(26, 36),
    back=st.floats(20, 28),
    share=st.floats(0.75, 1.1),
    shift=st.tuples(st.floats(-2, 2), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)),
)
@example(tilt=24.0, roll=0.0, yaw=0.0, depth=29.0, back=20.0, share=0.75, shift=(0.0, 0.39, 0.0))
@example(tilt=-30.7, roll=4.6, yaw=-7.8, depth=30.0, back=24.7, share=0.75, shift=(0.0, 0.0, 0.0))
def test_a_wedge_keeps_its_heights_however_it_is_turned(
    *, tilt: float, roll: float, yaw: float, depth: float, back: float, share: float, shift: tuple[float, float, float]
) -> None:
    """Neither scoliosis nor rotation lengthens a body: heights lie in its own mid-sagittal section."""
    front = share * back
    scan = Scan(pose=turned(tilt, roll, yaw), shift=np.array(shift), size_mm=(60, 60, 60))
    scan.put(wedge(depth, front, back), 44.0, (BODY, L3))

    found = heights(scan.measured().vertebrae[0])

    np.testing.assert_allclose(found[:3], [front, (front + back) / 2, back], atol=HALF_A_VOXEL)
    assert found[3] == pytest.approx(2 * np.degrees(np.arctan((back - front) / 2 / depth)), abs=ANGLE_DEG)


@pytest.mark.parametrize(("pixel_mm", "slice_mm"), [(0.5, 3.0), (0.9, 5.0), (1.0, 1.0)])
@pytest.mark.parametrize("tilt", [-21.0, 0.0, 9.0])
def test_half_a_voxel_holds_at_every_spacing(pixel_mm: float, slice_mm: float, tilt: float) -> None:
    """Whatever the scanner's grid."""
    scan = Scan(pixel_mm, slice_mm, turned(tilt, 6, 4), np.array([0.3, 0.2, 0.1]), (60, 60, 60))
    scan.put(wedge(32, 23, 26), 44.0, (BODY, L3))

    found = heights(scan.measured().vertebrae[0])

    np.testing.assert_allclose(found[:3], [23, 24.5, 26], atol=pixel_mm / 2)
    assert found[3] == pytest.approx(5.37, abs=ANGLE_DEG)


def two_bodies(scan: Scan, *, slip: float, gap: float) -> None:
    """Put L3 over L4 with a gap for the disc, L3 slipped forwards."""
    upper, lower = wedge(34, 26, 26), wedge(34, 27, 27)
    scan.put(upper + [-slip, -13 - gap / 2], 44.0, (BODY, L3))
    scan.put(lower + [0, 13.5 + gap / 2], 44.0, (BODY, L4))
    scan.put(wedge(30, gap, gap), 40.0, (DISC, 100 + L3))


@pytest.mark.parametrize("slip", [-4.0, 0.0, 2.5, 7.0])
@pytest.mark.parametrize("pose", [(9, 0, 0), (-14, 8, 5), (17, -11, -6)])
def test_a_slip_is_measured_along_the_lower_end_plate_and_leaves_the_disc_its_height(
    slip: float, pose: tuple[float, float, float]
) -> None:
    """Positive forwards, in mm and in percent of the lower end-plate; the disc's index is height by depth."""
    scan = Scan(pose=turned(*pose), shift=np.array([0.5, 0.1, 0.2]))
    two_bodies(scan, slip=slip, gap=9.0)

    measured = scan.measured()
    upper, (disc,) = measured.vertebrae[0], measured.discs

    assert upper.listhesis_offset is not None
    assert upper.listhesis_percent is not None
    assert disc.height is not None
    assert disc.height_index is not None
    assert upper.listhesis_offset.value == pytest.approx(slip, abs=HALF_A_VOXEL)
    assert upper.listhesis_percent.value == pytest.approx(100 * slip / 34, abs=100 * HALF_A_VOXEL / 34)
    assert disc.height.value == pytest.approx(9.0, abs=HALF_A_VOXEL)
    assert disc.height_index.value == pytest.approx(9 / 34, abs=0.02)


@pytest.mark.parametrize("pose", [(0, 0, 0), (18, 0, 0), (-25, 0, 0), (12, 14, 5)])
def test_the_canal_is_cut_at_right_angles_to_its_course(pose: tuple[float, float, float]) -> None:
    """A tilted tube is no wider than an upright one."""
    scan = Scan(pose=turned(*pose), shift=np.array([0.5, 0.1, 0.2]))
    two_bodies(scan, slip=0, gap=9.0)
    scan.put_canal(19.0, 16.0, 24.0)

    sizes = scan.measured().canal

    assert [size.label for size in sizes] == ["L3", "L4"]
    for size in sizes:
        assert size.ap_diameter.value == pytest.approx(16, abs=HALF_A_VOXEL)
        assert size.area.value == pytest.approx(np.pi * 8 * 12, rel=0.06)


def test_an_osteophyte_makes_no_corner() -> None:
    """A spur at the lower front edge leaves heights and wedge angle as they were."""
    found = []
    for spur in (0.0, 6.0):
        scan = Scan(pose=turned(11, 3, 2), size_mm=(60, 70, 70))
        scan.put(wedge(32, 25, 25), 44.0, (BODY, L3))
        if spur:
            scan.put(np.array([[-20, 8], [-13, 8], [-13, 12.4 + spur], [-16, 12.4 + spur]]), 44.0, (BODY, L3))
        found.append(heights(scan.measured().vertebrae[0]))

    np.testing.assert_allclose(found[1][:3], found[0][:3], atol=HALF_A_VOXEL)
    assert found[1][3] == pytest.approx(found[0][3], abs=ANGLE_DEG)


def test_a_body_cut_by_the_field_of_view_is_not_measured_and_a_sentence_says_so() -> None:
    """Half a body has no height; its neighbour is measured all the same."""
    scan = Scan(pose=turned(9, 0, 0), shift=np.array([0, 0, -38.0]))
    two_bodies(scan, slip=0, gap=9.0)

    measured = scan.measured()

    assert measured.vertebrae[0].anterior_height is None
    assert measured.vertebrae[0].volume.value > 0
    assert measured.vertebrae[1].anterior_height is not None
    assert measured.discs[0].height is None
    assert measured.warnings == ("L3 is cut by the field of view: its heights were not measured",)
