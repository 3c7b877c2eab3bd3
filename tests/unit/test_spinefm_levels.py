"""Levels follow from landmarks, or are an assumption, or unknown."""

import pytest

from models.contracts import BodyRegion, Numbering
from models.spinefm.levels import LEVELS, Numbered, number_chain


def numbered(count: int, *, c2: int | None = None, s1: int | None = None, region: BodyRegion | None = None,
             cut_above: bool = False, cut_below: bool = False) -> Numbered:  # fmt: skip
    """Number a chain in which C2 and S1 are seen at these indexes."""
    evidence = [{"C2": 0.9 * (index == c2), "S1": 0.8 * (index == s1)} for index in range(count)]
    return number_chain(evidence, threshold=0.5, region=region, cut_above=cut_above, cut_below=cut_below)


def test_c2_counts_downwards_through_the_whole_column() -> None:
    """C7 is followed by T1, T12 by L1, L5 by S1."""
    assert numbered(24, c2=0).levels == LEVELS
    assert numbered(8, c2=0).levels[-3:] == ("C7", "T1", "T2")


def test_s1_counts_upwards_past_l1() -> None:
    """L1 is preceded by T12."""
    assert numbered(8, s1=7).levels == ("T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1")


def test_what_lies_beyond_a_landmark_is_left_out_and_told() -> None:
    """Above C2 and below S1 there is no vertebra to name."""
    above = numbered(6, c2=1)
    below = numbered(6, s1=4)

    assert (above.members, above.levels[0], above.warnings) == (range(1, 6), "C2", ("1 found above C2 left out",))
    assert (below.members, below.levels[-1], below.warnings) == (range(5), "S1", ("1 found below S1 left out",))


def test_two_landmarks_that_agree_are_taken_together() -> None:
    """The whole column, without a word of doubt."""
    assert numbered(24, c2=0, s1=23) == Numbered(range(24), LEVELS, "landmark")


def test_of_two_landmarks_that_contradict_the_likelier_counts() -> None:
    """And it is told."""
    answer = numbered(6, c2=0, s1=5)

    assert answer.levels[0] == "C2"
    assert "likelier" in answer.warnings[0]


def test_weak_evidence_is_no_landmark() -> None:
    """Below the threshold nothing was seen."""
    answer = number_chain([{"C2": 0.4, "S1": 0.0}] * 4, threshold=0.5, region=None)

    assert answer.numbering == "unknown"


@pytest.mark.parametrize(
    ("region", "count", "cut", "numbering", "levels"),
    [
        ("cervical", 5, "", "assumed", ("C3", "C4", "C5", "C6", "C7")),
        ("cervical", 5, "below", "assumed", ("C3", "C4", "C5", "C6", "C7")),
        ("cervical", 5, "above", "unknown", (None,) * 5),
        ("cervical", 8, "", "unknown", (None,) * 8),
        ("lumbar", 5, "", "assumed", ("L1", "L2", "L3", "L4", "L5")),
        ("lumbar", 7, "above", "assumed", ("T11", "T12", "L1", "L2", "L3", "L4", "L5")),
        ("lumbar", 5, "below", "unknown", (None,) * 5),
        ("lumbar", 10, "", "assumed", ("T8", "T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5")),
        ("lumbar", 11, "", "unknown", (None,) * 11),
        ("thoracic", 5, "", "unknown", (None,) * 5),
        (None, 5, "", "unknown", (None,) * 5),
    ],
)
def test_without_a_landmark_the_region_is_believed_only_where_plausible(
    region: BodyRegion | None,
    count: int,
    cut: str,
    numbering: Numbering,
    levels: tuple[str | None, ...],
) -> None:
    """Assumed is always told; a spine that runs on, or is too long, has no known end."""
    answer = numbered(count, region=region, cut_above=cut == "above", cut_below=cut == "below")

    assert (answer.numbering, answer.levels) == (numbering, levels)
    assert answer.warnings[0].startswith(f"numbering {numbering}: neither C2 nor S1 was seen")


def test_a_landmark_far_from_its_own_end_is_not_believed() -> None:
    """An S1 at the top of a chain or a C2 at its bottom would throw the whole chain away."""
    assert numbered(8, s1=0, region="lumbar").numbering == "assumed"
    assert numbered(7, c2=6, region="cervical").numbering == "assumed"
    assert numbered(8, c2=1, s1=0).levels[0] == "C2"


def test_a_poor_s1_is_no_landmark() -> None:
    """Hardly a vertebra at all: what it says of the numbering counts for nothing."""
    evidence = [{"S1": 0.6 * (index == 6)} for index in range(7)]
    sure, poor = (
        number_chain(evidence, threshold=0.45, region="lumbar", certain=[0.9] * 6 + [last]) for last in (0.9, 0.3)
    )

    assert (sure.numbering, sure.levels[-1]) == ("landmark", "S1")
    assert poor.numbering == "unknown"


def test_a_poor_lowest_vertebra_may_be_s1_and_is_not_called_l5() -> None:
    """As seen on a real lateral: S1 was taken for L5."""
    sure, poor = (
        number_chain([{}] * 6, threshold=0.45, region="lumbar", certain=[0.9] * 5 + [last]) for last in (0.9, 0.3)
    )

    assert (sure.numbering, poor.numbering) == ("assumed", "unknown")


def test_vertebrae_that_were_jumped_over_are_counted_and_make_the_numbering_less_likely() -> None:
    """A step twice as long as the others."""
    evidence = [{"S1": 0.9 * (index == 5)} for index in range(6)]

    answer = number_chain(evidence, threshold=0.45, region="lumbar", steps=[1.2, 1.3, 2.5, 1.2, 1.3])

    assert answer.levels == ("T12", "L1", "L2", "L4", "L5", "S1")
    assert answer.numbering == "assumed"
    assert "1 vertebra(e) between the 3. and the 4. from the top not found" in answer.warnings
    assert answer.probability < 0.75


def test_a_chain_of_jumps_has_no_levels() -> None:
    """Three of seven vertebrae, as on a real lateral: every step is far longer than a body."""
    answer = number_chain([{}] * 3, threshold=0.45, region="lumbar", steps=[2.7, 2.05])

    assert answer.numbering == "unknown"


def test_the_long_step_from_c2_hides_nothing() -> None:
    """Its centroid lies high, in the root of the dens."""
    evidence = [{"C2": 0.9 * (index == 0)} for index in range(5)]

    answer = number_chain(evidence, threshold=0.45, region=None, steps=[1.9, 1.2, 1.2, 1.2])

    assert (answer.numbering, answer.levels[-1], answer.warnings) == ("landmark", "C6", ())
