"""Measures in three dimensions: kinds of structure, panoptic quality, the test between two sets."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.evaluation import (
    BODY,
    DISC,
    VERTEBRA,
    LabelledVolume,
    PanopticCounts,
    VolumeScore,
    count_matches,
    paired_difference,
    score_kind,
    split_kinds,
    summarise_volumes,
    take_kind,
    total_counts,
)

SHAPE = (4, 40, 10)
SPACING = (4.0, 1.0, 0.5)


def bars(*places: tuple[int, int, int]) -> NDArray[np.uint16]:
    """Return bars through all slices: (value, first row, last row + 1)."""
    labelmap = np.zeros(SHAPE, np.uint16)
    for value, start, stop in places:
        labelmap[:, start:stop, 2:8] = value
    return labelmap


def vertebrae(*places: tuple[int, int, int], **names: str) -> LabelledVolume:
    """Return vertebrae named `L1` … by value, or as told."""
    labelmap = bars(*places)
    return LabelledVolume(labelmap, {value: names.get(f"n{value}", f"L{value}") for value, _, _ in places})


def test_panoptic_quality_is_the_mean_overlap_of_the_matched_times_their_f1() -> None:
    """One of IoU 0.8, one missed, one spurious: SQ 0.8, RQ 1 / (1 + 1), PQ 0.4."""
    reference = bars((1, 0, 10), (2, 20, 30))
    predicted = bars((5, 0, 8), (6, 32, 38))

    counts = count_matches(predicted, reference)

    assert (counts.matched, counts.missed, counts.spurious) == (1, 1, 1)
    assert counts.segmentation_quality == pytest.approx(0.8)
    assert counts.recognition_quality == pytest.approx(0.5)
    assert counts.panoptic_quality == pytest.approx(0.4)
    assert counts.matched_dice == pytest.approx(16 / 18)


def test_a_match_needs_more_than_half_of_the_union() -> None:
    """An intersection over union of exactly one half is none: only above it a partner is the only one."""
    counts = count_matches(bars((1, 0, 5)), bars((1, 0, 10)))

    assert (counts.matched, counts.missed, counts.spurious) == (0, 1, 1)
    assert counts.panoptic_quality == 0.0
    assert counts.segmentation_quality is None


def test_a_match_is_found_where_the_greatest_sum_of_dice_lies_elsewhere() -> None:
    """Matching above one half does not depend on what else there is."""
    reference = bars((1, 0, 10), (2, 10, 12))
    predicted = bars((1, 2, 13), (2, 0, 2))

    assert count_matches(predicted, reference).matched == 1


def test_what_does_not_count_is_neither_missed_nor_spurious() -> None:
    """A vertebra that the border cuts: found, found badly, or not found, it changes nothing."""
    reference = bars((1, 0, 10), (2, 20, 30))

    for predicted in (bars((1, 0, 10), (2, 20, 30)), bars((1, 0, 10), (2, 20, 24)), bars((1, 0, 10))):
        counts = count_matches(predicted, reference, ignored={2})

        assert (counts.matched, counts.missed, counts.spurious) == (1, 0, 0)


def test_nothing_against_nothing_has_no_quality() -> None:
    """Neither 0 nor 1 would be true."""
    counts = count_matches(bars(), bars())

    assert counts.recognition_quality is None
    assert counts.panoptic_quality is None


def test_every_instance_weighs_the_same_over_all_volumes() -> None:
    """Counts add up; a volume of one vertebra does not weigh as much as one of ten."""
    total = total_counts([PanopticCounts(9, 0, 0, 9.0, 9.0), PanopticCounts(0, 0, 1, 0.0, 0.0)])

    assert total.recognition_quality == pytest.approx(9 / 9.5)


def test_surface_distances_are_in_mm_along_every_axis() -> None:
    """A shift by one row of 1 mm and by one column of 0.5 mm are not the same distance."""
    reference = vertebrae((1, 10, 20))
    down = LabelledVolume(np.roll(reference.labelmap, 1, axis=1), {1: "L1"})
    across = LabelledVolume(np.roll(reference.labelmap, 1, axis=2), {1: "L1"})

    by_row = score_kind(VERTEBRA, down, reference, spacing_mm=SPACING)
    by_column = score_kind(VERTEBRA, across, reference, spacing_mm=SPACING)

    assert by_row.instances.structures[0].hausdorff_95 == pytest.approx(1.0)
    assert by_column.instances.structures[0].hausdorff_95 == pytest.approx(0.5)
    assert by_row.instances.unit == "mm"


def test_the_distance_between_slices_counts_as_thick_as_they_are() -> None:
    """A structure that goes on for a slice too many is 4 mm too long, not one voxel."""
    labelmap = np.zeros((9, 2, 2), np.uint16)
    labelmap[2:5] = 1
    longer = labelmap.copy()
    longer[5] = 1

    score = score_kind(
        VERTEBRA, LabelledVolume(longer, {1: "L1"}), LabelledVolume(labelmap, {1: "L1"}), spacing_mm=(4.0, 100.0, 100.0)
    )

    # Of 12 and 16 voxels all are surface; the four of the slice too many lie 4 mm away.
    assert score.average_distance == pytest.approx(4 * 4 / (12 + 16))


def test_a_volume_is_parted_into_kinds_and_discs_are_known_by_the_vertebra_above() -> None:
    """Names decide: whichever file and number they come from."""
    volume = LabelledVolume(
        bars((1, 0, 5), (2, 5, 8), (3, 8, 12), (4, 12, 14), (5, 14, 20), (6, 20, 22), (7, 22, 30)),
        {1: "L4", 2: "L4/L5", 3: "L5", 4: "disc below L5", 5: "sacrum", 6: "vertebral body", 7: "vertebral body core"},
    )

    kinds = split_kinds(volume)

    assert {kind: tuple(part.names.values()) for kind, part in kinds.items()} == {
        "vertebra": ("L4", "L5"),
        "disc": ("L4", "L5"),
        "sacrum": ("sacrum",),
        "vertebral body": ("vertebral body",),
    }
    assert np.count_nonzero(kinds["vertebral body"].labelmap) == np.count_nonzero(volume.labelmap >= 6)


def test_a_value_without_a_name_is_refused() -> None:
    """A labelmap and its table must belong together."""
    with pytest.raises(ValueError, match=r"without a level or label: \[2\]"):
        split_kinds(LabelledVolume(bars((1, 0, 5), (2, 5, 8)), {1: "L1"}))


def test_bodies_are_what_vertebrae_and_all_bodies_have_in_common() -> None:
    """A reference that marks bodies is held against bodies, not against whole vertebrae."""
    whole = vertebrae((1, 0, 10), (2, 12, 22))
    bodies = LabelledVolume(bars((1, 0, 6), (1, 12, 18)), {1: "vertebral body"})

    taken = take_kind(split_kinds(whole) | split_kinds(bodies), BODY)

    assert taken is not None
    assert np.array_equal(taken.labelmap, bars((1, 0, 6), (2, 12, 18)))
    assert take_kind(split_kinds(whole), BODY) is None


def test_a_canal_with_its_cord_is_put_together_from_both() -> None:
    """SPIDER marks the canal with all that is in it."""
    parts = LabelledVolume(bars((1, 0, 6), (2, 6, 10)), {1: "spinal canal", 2: "spinal cord"})

    taken = take_kind(split_kinds(parts), "spinal canal with cord")

    assert taken is not None
    assert np.array_equal(taken.labelmap > 0, bars((1, 0, 10)) > 0)


def test_a_kind_that_was_not_predicted_scores_nothing_and_has_no_distance() -> None:
    """A refusal is a bad result, not a missing one."""
    score = score_kind(VERTEBRA, None, vertebrae((1, 0, 10), (2, 20, 30)), spacing_mm=SPACING)

    assert (score.dice, score.average_distance, score.complete) == (0.0, None, False)
    assert score.counts == PanopticCounts(0, 0, 2, 0.0, 0.0)


def test_a_volume_is_complete_when_every_vertebra_that_counts_is_found() -> None:
    """The one that the border cuts need not be."""
    reference, predicted = vertebrae((1, 0, 10), (2, 20, 30)), vertebrae((1, 0, 10))

    every = score_kind(VERTEBRA, predicted, reference, spacing_mm=SPACING)
    whole = score_kind(VERTEBRA, predicted, reference, spacing_mm=SPACING, ignored={"L2"})

    assert (every.complete, whole.complete) == (False, True)
    assert [one.level for one in whole.instances.structures] == ["L1"]


def test_the_summary_counts_volumes_as_a_whole_and_instances_over_all_volumes() -> None:
    """Two means: of volumes for the kind, of vertebrae for its instances; levels where a landmark is in view."""
    reference = vertebrae((1, 0, 10), (2, 20, 30))
    shifted = vertebrae((1, 0, 10), (2, 20, 30), n1="L2", n2="L3")
    right = score_kind(VERTEBRA, reference, reference, spacing_mm=SPACING)
    wrong = score_kind(VERTEBRA, shifted, reference, spacing_mm=SPACING)
    none = score_kind(VERTEBRA, None, reference, spacing_mm=SPACING)
    disc = score_kind(DISC, None, LabelledVolume(bars((1, 10, 12)), {1: "L1"}), spacing_mm=SPACING)

    summary = summarise_volumes(
        [
            VolumeScore("a", (disc, right), landmark_in_view=True),
            VolumeScore("b", (wrong,), landmark_in_view=True),
            VolumeScore("c", (none,), landmark_in_view=False),
        ]
    )
    row = summary.kind(VERTEBRA)

    assert row is not None
    assert [kind.kind for kind in summary.kinds] == [VERTEBRA, DISC]
    assert (row.volumes, row.complete) == (3, 2)
    assert row.dice_mean == pytest.approx(2 / 3)
    assert row.average_distance_mean == pytest.approx(0.0)
    assert row.instances is not None
    assert (row.instances.annotated, row.instances.identified, row.instances.level_right) == (6, 4, 2)
    assert row.counts is not None
    assert row.counts.recognition_quality == pytest.approx(4 / 5)
    assert summary.levels_right_rate == pytest.approx(0.5)


def test_a_summary_of_nothing_is_refused() -> None:
    """An average needs something to average."""
    with pytest.raises(ValueError, match="no volume has a structure"):
        summarise_volumes([VolumeScore("a", ())])


def test_the_signed_rank_test_agrees_with_its_table() -> None:
    """All of six pairs on one side: two of the 64 assignments of signs are as extreme, p = 1/32."""
    first = [0.91, 0.92, 0.93, 0.94, 0.95, 0.96]
    second = [0.90, 0.90, 0.90, 0.90, 0.90, 0.90]

    difference = paired_difference(first, second)

    assert difference.pairs == 6
    assert difference.p_value == pytest.approx(1 / 32)
    assert difference.median_difference == pytest.approx(0.035)


def test_equal_results_have_nothing_to_rank() -> None:
    """No p value is made up."""
    assert paired_difference([0.5, 0.6], [0.5, 0.6]).p_value is None


@pytest.mark.parametrize(("first", "second"), [([], []), ([0.5], [0.5, 0.6])])
def test_results_that_make_no_pairs_are_refused(first: list[float], second: list[float]) -> None:
    """Every result needs its partner."""
    with pytest.raises(ValueError, match="make no pairs"):
        paired_difference(first, second)
