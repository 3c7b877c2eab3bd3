"""The measures of a segmentation: partners, surface distances, summaries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.evaluation import (
    ImageScore,
    StructureScore,
    dice,
    pair_structures,
    score_image,
    summarise,
    surface_distance,
)

LEVELS = {3: "C3", 4: "C4", 5: "C5"}


def blocks(*rows: tuple[int, int, int], shape: tuple[int, ...] = (60, 40)) -> NDArray[np.uint16]:
    """Return a labelmap of horizontal bars: (value, first row, last row + 1), columns 10 to 29."""
    labelmap = np.zeros(shape, np.uint16)
    for value, first, last in rows:
        labelmap[first:last, 10:30] = value
    return labelmap


REFERENCE = blocks((3, 0, 10), (4, 15, 25), (5, 30, 40))


@pytest.mark.parametrize(("rows_in_common", "expected"), [(10, 1.0), (8, 0.8), (5, 0.5), (1, 0.1), (0, 0.0)])
def test_dice_is_the_common_part_of_two_bars(rows_in_common: int, expected: float) -> None:
    """Two bars of ten rows that share n rows have a Dice of n / 10."""
    shift = 10 - rows_in_common
    first, second = blocks((1, 0, 10)) == 1, blocks((1, shift, shift + 10)) == 1

    assert dice(first, second) == pytest.approx(expected)


def test_the_overlap_of_two_empty_masks_is_refused() -> None:
    """A measure without a meaning is an error, not a 0 and not a 1."""
    nothing = np.zeros((4, 4), bool)

    with pytest.raises(ValueError, match="two empty masks"):
        dice(nothing, nothing)


def test_partners_are_found_by_place_and_not_by_value() -> None:
    """A prediction with other Segment Numbers pairs every structure with the one in its place."""
    predicted = blocks((7, 0, 10), (1, 15, 25), (3, 30, 40))

    pairs = pair_structures(predicted, REFERENCE)

    assert [(pair.reference, pair.predicted, pair.dice) for pair in pairs] == [(3, 7, 1.0), (4, 1, 1.0), (5, 3, 1.0)]


def test_one_mask_over_two_vertebrae_is_partner_of_only_one() -> None:
    """A fused mask identifies one vertebra at best; the other is not found."""
    predicted = blocks((1, 0, 22))

    pairs = pair_structures(predicted, REFERENCE)

    assert [pair.predicted for pair in pairs] == [1, None, None]
    assert pairs[0].dice == pytest.approx(2 * 10 / 32)


@pytest.mark.parametrize("predicted", [np.zeros((60, 40), np.uint16), blocks((1, 45, 55))])
def test_without_overlap_there_is_no_partner(predicted: NDArray[np.uint16]) -> None:
    """An empty prediction, and one beside every structure, leave all of them without a partner."""
    assert [(pair.predicted, pair.dice) for pair in pair_structures(predicted, REFERENCE)] == [(None, 0.0)] * 3


def test_an_empty_reference_has_no_pairs() -> None:
    """Nothing annotated, nothing to pair."""
    assert pair_structures(REFERENCE, np.zeros_like(REFERENCE)) == ()


def test_labelmaps_of_different_shapes_are_refused() -> None:
    """Masks on different grids are never compared by chance."""
    with pytest.raises(ValueError, match=r"\(60, 40\) and \(30, 40\)"):
        pair_structures(REFERENCE, REFERENCE[:30])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_the_pairing_agrees_with_dice_mask_by_mask_in_any_number_of_dimensions(seed: int, axes: int) -> None:
    """The table made in one pass over the voxels gives the Dice that two masks give."""
    chance = np.random.default_rng(seed)
    predicted, reference = chance.integers(0, 4, (2, *(6,) * axes))

    pairs = pair_structures(predicted, reference)

    for pair in pairs:
        if pair.predicted is not None:
            assert pair.dice == pytest.approx(dice(predicted == pair.predicted, reference == pair.reference))
    assert len({pair.predicted for pair in pairs} - {None}) == sum(pair.predicted is not None for pair in pairs)


@pytest.mark.parametrize(("spacing", "expected"), [(None, 3.0), ((1.0, 1.0), 3.0), ((0.5, 2.0), 1.5)])
def test_two_lines_lie_as_far_apart_as_they_were_drawn(spacing: tuple[float, float] | None, expected: float) -> None:
    """Parallel lines three rows apart: every distance is three times the row spacing."""
    first, second = np.zeros((2, 20, 20), bool)
    first[5], second[8] = True, True

    distance = surface_distance(first, second, spacing=spacing)

    assert (distance.average, distance.hausdorff_95) == pytest.approx((expected, expected))


def test_a_sphere_lies_its_growth_away_from_a_larger_one() -> None:
    """In 3-D with anisotropic voxels, concentric spheres of 10 and 12 mm are 2 mm apart, within a voxel."""
    spacing = (2.0, 1.0, 0.5)
    axes = np.meshgrid(*(np.arange(-16, 16.1, step) for step in spacing), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))

    distance = surface_distance(radius <= 10, radius <= 12, spacing=spacing)

    assert distance.average == pytest.approx(2.0, abs=0.5)
    assert distance.hausdorff_95 < 2.0 + 2.0


def test_equal_masks_lie_at_no_distance_even_at_the_border_of_the_array() -> None:
    """A mask that fills the array still has a surface: its border."""
    full = np.ones((5, 5), bool)

    distance = surface_distance(full, full)

    assert (distance.average, distance.hausdorff_95) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("second", "spacing", "reason"),
    [
        (np.zeros((20, 20), bool), None, "empty mask"),
        (np.ones((10, 20), bool), None, r"\(20, 20\) and \(10, 20\)"),
        (np.ones((20, 20), bool), (1.0, 1.0, 1.0), "3 axes does not fit masks of 2"),
    ],
)
def test_distances_that_mean_nothing_are_refused(
    second: NDArray[np.bool_], spacing: tuple[float, ...] | None, reason: str
) -> None:
    """An empty mask, another grid, another number of axes: each is named."""
    with pytest.raises(ValueError, match=reason):
        surface_distance(np.ones((20, 20), bool), second, spacing=spacing)


def test_a_spine_numbered_one_too_low_is_identified_but_its_levels_are_wrong() -> None:
    """Identification and naming are two things: each has its own number."""
    shifted = {1: "C4", 2: "C5", 3: "C6"}
    predicted = blocks((1, 0, 10), (2, 15, 25), (3, 30, 40))

    score = score_image((predicted, shifted), (REFERENCE, LEVELS), image="one")

    assert [s.identified for s in score.structures] == [True] * 3
    assert [s.level_right for s in score.structures] == [False] * 3
    assert not score.levels_right


def test_half_covered_vertebrae_are_identified_and_less_is_not() -> None:
    """Dice 0.5 is identified, 0.4 is not, and only the identified get surface distances."""
    predicted = blocks((1, 5, 15), (2, 21, 31), (3, 30, 40))

    score = score_image((predicted, {1: "C3", 2: "C4", 3: "C5"}), (REFERENCE, LEVELS), image="one")

    assert [s.identified for s in score.structures] == [True, False, True]
    assert [s.average_distance is None for s in score.structures] == [False, True, False]
    assert score.levels_right


def test_a_structure_outside_the_annotated_levels_is_neither_counted_nor_unpaired() -> None:
    """The published sets count C2–C7: what is truly T1 and found there is no fault and no success."""
    truth = {3: "C6", 4: "C7", 5: "T1"}
    predicted = blocks((1, 0, 10), (2, 15, 25), (3, 30, 40), (4, 45, 55))

    score = score_image(
        (predicted, {1: "C6", 2: "C7", 3: "T1", 4: "T2"}), (REFERENCE, truth), image="one", annotated={"C6", "C7"}
    )

    assert [s.level for s in score.structures] == ["C6", "C7"]
    assert score.unpaired == ("T2",)


def test_a_value_without_a_level_is_refused() -> None:
    """A labelmap and its table of levels must belong together."""
    with pytest.raises(ValueError, match=r"reference labelmap holds values without a level or label: \[5\]"):
        score_image((REFERENCE, LEVELS), (REFERENCE, {3: "C3", 4: "C4"}), image="one")


def test_the_summary_counts_a_missed_vertebra_as_zero_over_all_and_not_over_the_identified() -> None:
    """Both means are there; the table can say which it shows."""
    image = ImageScore(
        "one",
        (StructureScore("C3", "C3", 0.9, 1.0, 2.0), StructureScore("C4", "C4", 0.7, 3.0, 4.0),
         StructureScore("C5", None, 0.0)),
        landmark_in_view=True,
    )  # fmt: skip

    summary = summarise([image])

    assert summary.total.annotated == 3
    assert summary.total.identified_rate == pytest.approx(2 / 3)
    assert summary.total.dice_mean == pytest.approx(1.6 / 3)
    assert summary.total.dice_identified_mean == pytest.approx(0.8)
    assert summary.total.dice_identified_sd == pytest.approx(0.1)
    assert (summary.total.average_distance_mean, summary.total.hausdorff_95_mean) == pytest.approx((2.0, 3.0))
    assert summary.levels[-1].dice_identified_mean is None
    assert (summary.landmark_images, summary.landmark_images_right) == (1, 1)


def test_only_images_known_to_show_a_landmark_count_for_the_levels() -> None:
    """Without a landmark the numbering is an assumption, so such images stay out of that rate."""
    right, wrong = StructureScore("C3", "C3", 0.9), StructureScore("C3", "C4", 0.9)
    images = [
        ImageScore("a", (right,), landmark_in_view=True),
        ImageScore("b", (wrong,), landmark_in_view=True),
        ImageScore("c", (wrong,), landmark_in_view=False),
        ImageScore("d", (wrong,)),
    ]

    summary = summarise(images)

    assert summary.levels_right_rate == pytest.approx(0.5)
    assert summarise(images[2:]).levels_right_rate is None


def test_an_image_where_nothing_was_found_does_not_have_its_levels_right() -> None:
    """No identified vertebra, no right levels: an empty answer must not raise the rate."""
    assert not ImageScore("a", (StructureScore("C3", None, 0.0),), landmark_in_view=True).levels_right


def test_levels_come_from_the_top_of_the_spine_downwards() -> None:
    """The rows of the table follow anatomy, not the alphabet."""
    levels = ["S1", "L1", "T12", "C7", "T2", "vertebra 10", "vertebra 9"]
    image = ImageScore("a", tuple(StructureScore(level, level, 1.0) for level in levels))

    assert [row.level for row in summarise([image]).levels] == [
        "C7", "T2", "T12", "L1", "S1", "vertebra 9", "vertebra 10"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ([], "annotated structure"),
        ([ImageScore("a", ())], "annotated structure"),
        (
            [ImageScore("a", (StructureScore("C3", "C3", 1.0),), unit="mm"),
             ImageScore("b", (StructureScore("C3", "C3", 1.0),), unit="px")],
            "px and in mm",
        ),
    ],
)  # fmt: skip
def test_a_summary_of_nothing_or_of_mixed_units_is_refused(images: list[ImageScore], reason: str) -> None:
    """An average needs something to average, in one unit."""
    with pytest.raises(ValueError, match=reason):
        summarise(images)
