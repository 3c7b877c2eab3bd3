"""Names along a column: one after the other, with the anomalies of the spine at their price."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from models.spineps.label_path import GROUPS, PLAIN, SLOTS, LabelPath, Prices, find_path, score_levels

VERT = [SLOTS[slot] for slot in PLAIN]
FREE = Prices(0.0, 0.0, 0.0, 0.0)


def sure(names: Sequence[str], classes: Sequence[str], *, by: float = 0.9) -> NDArray[np.float64]:
    """A head that gives `by` to one class of each vertebra and the rest to all others alike."""
    said = np.full((len(names), len(classes)), (1 - by) / (len(classes) - 1))
    said[np.arange(len(names)), [classes.index(name) for name in names]] = by
    return said


def levels(first: str, last: str) -> list[str]:
    """Names from one to another, twelve of them thoracic."""
    usual = [name for name in SLOTS if name not in ("T13", "L6")]
    return usual[usual.index(first) : usual.index(last) + 1]


def path(heads: Mapping[str, NDArray[np.float64]], **landmarks: bool | int | Prices | None) -> LabelPath:
    """The path, which there is."""
    found = find_path(heads, **landmarks)  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.parametrize("head", ["VERT", "VERTEX", "VERTEXACT"])
def test_one_wrong_vertebra_does_not_break_the_row(head: str) -> None:
    """L2 is called L4 between L1 and L3."""
    truth = levels("T10", "L5")
    seen = [*truth]
    seen[truth.index("L2")] = "L4"

    found = path({head: sure(seen, VERT if head == "VERT" else SLOTS)})

    assert found.names == tuple(truth)
    assert 0.8 < found.certainty < 1


def test_a_thirteenth_thoracic_vertebra_is_called_only_when_it_is_paid_for() -> None:
    """A second T12, faintly and surely."""
    column = [*levels("T9", "T12"), "T12", *levels("L1", "L3")]
    rest = sure(column, VERT)
    faint = rest.copy()
    faint[4] = 0.0
    faint[4, [VERT.index("T12"), VERT.index("L1")]] = 0.52, 0.48
    faint[5:] = 1 / len(VERT)

    assert path({"VERT": rest}).names == (*levels("T9", "T12"), "T13", *levels("L1", "L3"))
    assert "T13" not in path({"VERT": faint}).names


def test_eleven_thoracic_vertebrae_and_six_lumbar_ones_are_found() -> None:
    """L1 after T11; L6 after L5."""
    eleven = [*levels("T8", "T11"), *levels("L1", "L5")]
    six = [*levels("T12", "L5"), "L6"]

    assert path({"VERT": sure(eleven, VERT)}).names == tuple(eleven)
    assert path({"VERTEXACT": sure(six, SLOTS)}).names == tuple(six)


def test_landmarks_hold_the_path_at_their_end() -> None:
    """A dens makes it C2, a sacrum makes the last L4 to L6, whatever the network says."""
    wrong = sure(levels("C3", "T2"), VERT, by=0.6)
    too_high = sure(levels("T11", "L3"), VERT, by=0.3)

    assert path({"VERT": wrong}, axis=0).names == tuple(levels("C2", "T1"))
    assert path({"VERT": wrong}, axis=1).names == tuple(levels("C1", "C7"))
    assert path({"VERT": too_high}, sacrum=True).names[-1] in ("L4", "L5")


def test_where_no_path_exists_there_is_none() -> None:
    """More vertebrae than names, and landmarks that contradict each other."""
    many = np.full((len(SLOTS) + 1, len(VERT)), 1 / len(VERT))

    assert find_path({"VERT": many}) is None
    assert find_path({"VERT": many[:5]}, axis=0, sacrum=True) is None


def test_the_ends_of_regions_move_a_path_that_is_in_doubt() -> None:
    """The head that knows first and last vertebrae decides between two rows that are as likely."""
    doubtful = (sure(levels("T9", "L2"), VERT, by=0.5) + sure(levels("T10", "L3"), VERT, by=0.5)) / 2
    ends = np.full((6, 6), 0.02)
    ends[:, 0] = 0.9
    for first in (3, 4):
        moved = ends.copy()
        moved[first, [0, 4]] = 0.02, 0.9
        moved[first - 1, [0, 3]] = 0.02, 0.9

        assert path({"VERT": doubtful, "VERTREL": moved}).names[first] == "L1"


def test_heads_add_up_and_what_is_seen_in_part_counts_less() -> None:
    """Rows of at most 1; T13 and L6 are scored as what they follow; the ends of a field are seen in part."""
    names = levels("T10", "L3")
    group_of = np.repeat(np.arange(len(GROUPS)), GROUPS)
    groups = np.eye(len(GROUPS))[[group_of[VERT.index(name)] for name in names]]
    regions = np.eye(3)[[1, 1, 1, 2, 2, 2]]
    whole = np.tile([0.0, 1.0], (6, 1))

    scores = score_levels({"VERT": sure(names, VERT), "VERTGRP": groups, "REGION": regions, "FULLYVISIBLE": whole})

    plain = scores[:, list(PLAIN)].sum(1)
    assert np.all(plain <= 1)
    assert plain[0] < plain[2]
    np.testing.assert_array_equal(scores[:, SLOTS.index("T13")], scores[:, SLOTS.index("T12")])
    assert [SLOTS[slot] for slot in scores.argmax(1)] == names


def test_the_path_gains_no_less_than_any_other() -> None:
    """Against all rows of names without a gap, on answers by chance."""
    rng = np.random.default_rng(3)
    heads = {"VERT": rng.dirichlet(np.ones(24) * 0.3, 5)}
    scores = score_levels(heads)

    found = path(heads, prices=FREE)

    plain = scores[:, list(PLAIN)]
    others = [plain[np.arange(5), start + np.arange(5)].sum() for start in range(1, 20)]
    assert scores[np.arange(5), [SLOTS.index(name) for name in found.names]].sum() >= max(others) - 1e-9
