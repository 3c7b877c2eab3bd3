"""Levels from what is seen: the sacrum, the dens, both, or neither."""

import numpy as np
import pytest

from models.spineps.levels import BODY, CHAIN, BodyShape, Levels, find_axis, name_levels, shapes_of


def spine(count: int, *, dens_at: int | None = None, without: int | None = None) -> list[BodyShape]:
    """Bodies 30 mm apart; one may have a dens, one may not have been found."""
    bodies = [BodyShape((0.0, 30.0 * index, 0.0), 24.0, 1.0) for index in range(count)]
    if dens_at is not None:
        bodies[dens_at] = BodyShape(bodies[dens_at].centre, 38.0, 0.6)
    if without is not None:
        del bodies[without]
    return bodies


def named(bodies: list[BodyShape], *, sacrum: bool = False, region: str | None = None) -> Levels:
    """Name them."""
    return name_levels(bodies, sacrum=sacrum, body_region=region)  # type: ignore[arg-type]


@pytest.mark.parametrize("middle", [True, False])
def test_a_body_is_measured_where_it_is_seen_even_if_not_in_its_middle_slice(middle: bool) -> None:
    """Two pieces with a gap between, as a network may leave them: the slice nearest the middle counts."""
    vertebrae, subregions = np.zeros((24, 30, 7), np.uint16), np.zeros((24, 30, 7), np.uint8)
    vertebrae[4:20, 5:25, 1:6] = 1
    if not middle:
        vertebrae[:, :, 3] = 0
    subregions[vertebrae > 0] = BODY

    (shape,) = shapes_of(vertebrae, subregions, (1.0, 1.0, 3.5))

    assert (shape.height, shape.depth, shape.narrowing) == pytest.approx((20.0, 16.0, 1.0), rel=0.01)


@pytest.mark.parametrize("lean_deg", [0, 25, 45])
def test_bodies_are_measured_along_the_spine_however_far_a_neck_is_bent(lean_deg: float) -> None:
    """14 mm high, 18 mm deep and square; the uppermost is 30 mm high with a dens 10 mm deep."""
    lean = np.deg2rad(lean_deg)
    down, back = np.array([np.sin(lean), np.cos(lean)]), np.array([np.cos(lean), -np.sin(lean)])
    p, i, _ = np.mgrid[:200, :200, :3]
    vertebrae = np.zeros((200, 200, 3), np.uint16)
    for number, (top, bottom) in enumerate(((0, 30), (34, 48), (52, 66), (70, 84)), start=1):
        u, v = ((p * 0.5 - 20) * axis[0] + (i * 0.5 - 15) * axis[1] for axis in (back, down))
        half = np.where((number == 1) & (v < 15), 5.0, 9.0)
        vertebrae[(v >= top) & (v < bottom) & (np.abs(u) < half)] = number

    shapes = shapes_of(vertebrae, np.where(vertebrae > 0, BODY, 0).astype(np.uint8), (0.5, 0.5, 4.0))

    assert find_axis(shapes) == 0
    assert [shape.height for shape in shapes] == pytest.approx([30, 14, 14, 14], abs=0.7)
    assert [shape.depth for shape in shapes] == pytest.approx([14, 18, 18, 18], abs=0.7)
    assert shapes[0].narrowing == pytest.approx(10 / 18, abs=0.05)
    assert shapes[1].narrowing == pytest.approx(1, abs=0.05)


def test_a_torn_axis_is_known_by_its_size_and_a_torn_body_below_it_does_not_hide_it() -> None:
    """C3 has taken a piece of C2; neither is narrow on top."""
    necks = [BodyShape((0.0, 18.0 * index, 0.0), 13.0, 1.0, 15.0) for index in range(6)]
    necks[0], necks[1] = BodyShape((0.0, 0.0, 0.0), 24.0, 1.0, 13.0), BodyShape((0.0, 22.0, 0.0), 22.0, 0.9, 11.0)

    assert named(necks).names[:2] == ("C2", "C3")


def test_a_long_slender_dens_makes_an_axis_though_the_mean_depth_is_small() -> None:
    """Two thirds as deep as those below, as the truth of the most slender of 38 phantoms has it."""
    necks = [BodyShape((0.0, 20.0 * index, 0.0), 12.0, 1.0, 14.4) for index in range(6)]
    necks[0] = BodyShape((0.0, 0.0, 0.0), 32.6, 0.48, 9.7)

    assert named(necks).names[:2] == ("C2", "C3")


@pytest.mark.parametrize(("height", "narrowing", "depth"), [(26.0, 0.4, 8.0), (38.0, 1.5, 6.6)])
def test_a_wisp_of_false_bone_is_no_axis(height: float, narrowing: float, depth: float) -> None:
    """Tall and narrow on top, or tall and large, but far thinner than the bodies below."""
    chest = [BodyShape((0.0, 20.0 * index, 0.0), 14.0, 1.0, 14.0) for index in range(6)]
    chest[0] = BodyShape((0.0, 0.0, 0.0), height, narrowing, depth)

    assert named(chest).numbering == "unknown"


def test_two_bodies_run_together_at_the_border_are_no_axis() -> None:
    """C7 and T1, say: taller and larger than the next, but cut by the field."""
    chest = [BodyShape((0.0, 20.0 * index, 0.0), 14.0, 1.0, 14.0) for index in range(6)]
    chest[0] = BodyShape((0.0, 0.0, 0.0), 22.0, 0.9, 12.0, cut=True)

    assert named(chest).numbering == "unknown"


def test_from_the_sacrum_upwards() -> None:
    """The last above it is L5."""
    levels = named(spine(6), sacrum=True)

    assert levels.names == ("T12", "L1", "L2", "L3", "L4", "L5")
    assert (levels.numbering, levels.warnings) == ("landmark", ())
    assert 0.9 < levels.factor < 1.0


@pytest.mark.parametrize(("dens_at", "first"), [(0, "C2"), (1, "C1")])
def test_from_the_dens_downwards(dens_at: int, first: str) -> None:
    """The axis is the first, or the second where the atlas was found."""
    levels = named(spine(7, dens_at=dens_at))

    start = CHAIN.index(first)
    assert levels.names == CHAIN[start : start + 7]
    assert levels.numbering == "landmark"


def test_a_whole_spine_that_counts_right_is_not_doubted() -> None:
    """23 from C2 to L5."""
    levels = named(spine(23, dens_at=0), sacrum=True)

    assert (levels.names[0], levels.names[-1], levels.warnings) == ("C2", "L5", ())


@pytest.mark.parametrize(("count", "last"), [(24, "L6"), (22, "L4")])
def test_a_whole_spine_with_another_count_is_counted_from_above_and_doubted(count: int, last: str) -> None:
    """T13 or L6, or one less: said, with less confidence."""
    levels = named(spine(count, dens_at=0), sacrum=True)

    assert levels.names[-1] == last
    assert f"{count} vertebrae from C2 to the sacrum, 23 expected" in levels.warnings[0]
    assert levels.factor < 1


@pytest.mark.parametrize("count", [7, 21, 25])
def test_where_dens_and_sacrum_cannot_both_be_right_the_sacrum_counts(count: int) -> None:
    """No anatomy has two vertebrae more or less: a vertebra cut by the field was taken for C2, say."""
    levels = named(spine(count, dens_at=0), sacrum=True)

    assert levels.names[-7:] == ("T11", "T12", "L1", "L2", "L3", "L4", "L5")
    assert levels.numbering == "landmark"
    assert f"{count} vertebrae above the sacrum, 23 expected; counted from the sacrum" in levels.warnings[-1]
    assert levels.factor < 1


def test_a_vertebra_that_was_not_found_is_counted() -> None:
    """A step twice as long as those beside it."""
    levels = named(spine(6, without=2), sacrum=True)

    assert levels.names == ("T12", "L1", "L3", "L4", "L5")
    assert "not found" in levels.warnings[0]


def test_without_a_landmark_the_lumbar_spine_is_assumed_and_others_stay_open() -> None:
    """Never a level without a sentence."""
    lumbar, thoracic = named(spine(4), region="lumbar"), named(spine(4), region="thoracic")

    assert (lumbar.names, lumbar.numbering) == (("L2", "L3", "L4", "L5"), "assumed")
    assert (thoracic.names, thoracic.numbering) == ((None,) * 4, "unknown")
    assert all("no landmark" in levels.warnings[0] for levels in (lumbar, thoracic))


def test_all_that_stand_between_the_atlas_and_the_sacrum_are_named_without_a_landmark() -> None:
    """Twenty-three in one view can be nothing else; one fewer may be either end's, one more is unusual."""
    whole = named(spine(23, without=9))
    others = [named(spine(count)) for count in (22, 24)]

    assert (whole.names[0], whole.names[-1], whole.numbering) == ("C2", "L5", "assumed")
    assert [levels.numbering for levels in others] == ["unknown", "unknown"]


def test_a_spinous_process_whose_body_is_out_of_view_hides_no_vertebra() -> None:
    """It lies far behind the bodies, so that the step to it is long."""
    process = BodyShape((60.0, 15.0, 0.0), 15.0, 1.0, has_body=False)

    levels = named([process, *spine(6)[1:]], sacrum=True)

    assert (levels.names[0], levels.warnings) == ("T12", ())
