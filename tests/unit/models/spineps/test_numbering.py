"""A numbering is weighed: what speaks against it makes it less likely, and it is told."""

import pytest

from models.numbering import COLUMNS, LIKELY, POSSIBLE, Evidence, decide
from models.spineps.evidence import Landmarks
from models.spineps.levels import BodyShape, Levels, decide_levels
from models.spineps.lower_end import LowerEnd


def lumbar(count: int = 6, *, without: int | None = None) -> list[BodyShape]:
    """Bodies 35 mm apart."""
    return [BodyShape((0.0, 35.0 * index, 0.0), 27.0, 1.0) for index in range(count) if index != without]


def levels(shapes: list[BodyShape], landmarks: Landmarks) -> Levels:
    """Decide."""
    return decide_levels(shapes, landmarks)


def test_priors_are_a_distribution_and_without_evidence_nothing_is_known() -> None:
    """Every place is as likely as another."""
    decision = decide([0, 1, 2], [])

    assert sum(COLUMNS.values()) == pytest.approx(1, abs=0.01)
    assert decision.probability < POSSIBLE
    assert decision.numbering(landmark=True) == "unknown"


def test_hypotheses_that_give_the_same_names_count_together() -> None:
    """How many thoracic vertebrae there are out of view does not matter to L5."""
    decision = decide([0, 1], [Evidence("sacrum", lambda h: 0.0 if h.above_s1 == 0 else -50.0)])

    assert decision.best.names == ("L4", "L5")
    assert decision.probability == pytest.approx(0.95, abs=0.01)
    assert decision.runner_up is not None
    assert decision.runner_up.names == ("L5", "L6")


@pytest.mark.parametrize(("cord_end", "likelier"), [(1.3, True), (0.3, False), (2.9, False), (4.5, False)])
def test_the_end_of_the_cord_speaks_for_or_against_what_the_sacrum_says(cord_end: float, likelier: bool) -> None:
    """T12 to L5 in view: the cord ends at L1, or too high, or below L2; L4 is no place for it."""
    without = levels(lumbar(), Landmarks(sacrum=True))
    found = levels(lumbar(), Landmarks(sacrum=True, cord_end=cord_end))

    assert (found.factor > without.factor) == likelier
    assert found.names[-1] == "L5"


def test_a_doubtful_sacrum_is_no_landmark_and_the_cord_settles_what_it_can() -> None:
    """A disc of doubtful size lies in it: the last body may be L4, and is where the cord ends one too high."""
    doubtful = LowerEnd("doubtful", 0.33)
    open_ = levels(lumbar(), Landmarks(sacrum=True, lower_end=doubtful))
    settled = levels(lumbar(), Landmarks(sacrum=True, lower_end=doubtful, cord_end=2.4))

    assert open_.numbering != "landmark"
    assert any("a disc lies in the sacrum" in warning for warning in open_.warnings)
    assert (settled.names[-1], settled.numbering) == ("L4", "assumed")
    assert settled.factor < LIKELY


def test_a_gap_makes_the_numbering_less_likely() -> None:
    """How many were missed is a guess."""
    whole, gap = (levels(lumbar(without=without), Landmarks(sacrum=True)) for without in (None, 2))

    assert gap.names == ("T12", "L1", "L3", "L4", "L5")
    assert gap.factor < 0.85 * whole.factor


def test_small_steps_are_not_lumbar() -> None:
    """A neck of 18 mm a step whose header says lumbar, without a landmark: not called L5."""
    neck = [BodyShape((0.0, 18.0 * index, 0.0), 13.0, 1.0) for index in range(6)]

    assert levels(neck, Landmarks(sacrum=False, body_region="lumbar")).factor < 0.6 or not any(
        levels(neck, Landmarks(sacrum=False, body_region="lumbar")).names
    )
