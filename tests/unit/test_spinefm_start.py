"""Where the walk starts: the order along the spine and the choice of three."""

import json
from pathlib import Path

import pytest

from models.spinefm.detection import Detection
from models.spinefm.engine import likely_starts
from models.spinefm.start import choose_start, is_one_line, order_along_spine, order_downwards, turn_degrees


def seen(*centroids: tuple[float, float], score: float = 0.9) -> list[Detection]:
    """Detections of one score at these points."""
    return [Detection(score, centroid, 20.0) for centroid in centroids]


def test_the_three_are_those_of_the_published_method(shared: Path) -> None:
    """Every measured case: candidates above 0.6, ordered along their line, the best run of three neighbours."""
    cases = json.loads((shared / "facts" / "spinefm" / "spinefm_golden.json").read_text())["start_selection"]

    for case in cases:
        detections = [
            Detection(candidate["score"], tuple(candidate["centroid_xy"]), 1.0)
            for candidate in case["candidates"]
            if candidate["score"] > 0.6
        ]
        chosen = choose_start(detections)

        assert chosen is not None
        assert [list(detection.centroid_px) for detection in chosen] == case["chosen_xy"]


def test_the_first_of_equal_runs_is_taken() -> None:
    """Equal scores: the uppermost three."""
    chosen = choose_start(seen((5, 40), (0, 10), (2, 20), (3, 30)))

    assert chosen is not None
    assert [detection.centroid_px for detection in chosen] == [(0, 10), (2, 20), (3, 30)]


def test_a_vertical_line_is_ordered_by_height() -> None:
    """No slope fits it, the order is plain all the same."""
    ordered = order_along_spine(seen((7, 30), (7, 10), (7, 20)))

    assert [detection.centroid_px[1] for detection in ordered] == [10, 20, 30]


def test_fewer_than_three_are_no_start() -> None:
    """Two vertebrae give no direction to trust."""
    assert choose_start(seen((0, 0), (0, 10))) is None


@pytest.mark.parametrize(("c", "turn"), [((20, 0), 0), ((10, 10), 90), ((10, -10), 90), ((0, 0), 180)])
def test_a_turn_is_measured_either_way(c: tuple[float, float], turn: float) -> None:
    """0 is straight on, 180 is back."""
    assert turn_degrees((0, 0), (10, 0), c) == pytest.approx(turn)


def test_a_chain_with_one_sharp_turn_is_no_line() -> None:
    """One turn is enough."""
    assert is_one_line([(0, 0), (0, 10), (2, 20), (4, 30)], 60)
    assert not is_one_line([(0, 0), (0, 10), (10, 9), (20, 8)], 60)


def test_even_runs_come_before_better_ones_with_a_hole() -> None:
    """A step twice as long as the other hides a vertebra that was not detected."""
    holed = [*seen((0, 0), (0, 10), score=0.99), *seen((0, 30), (0, 40), (0, 50), score=0.8)]

    first = likely_starts(holed, 60)[0]

    assert [detection.centroid_px[1] for detection in first] == [30, 40, 50]


def test_an_upright_bent_spine_starts_from_its_top_whatever_line_fits_it() -> None:
    """No line y = m·x + b fits a bow that stands upright: every start runs downwards all the same."""
    bow = seen((174, 59), (159, 111), (153, 150), (150, 189), (154, 226), (162, 266), (173, 312))

    starts = likely_starts(bow, 60)

    assert starts
    for run in starts:
        heights = [detection.centroid_px[1] for detection in run]
        assert heights == sorted(heights)
    assert [detection.centroid_px[1] for detection in order_downwards(bow)] == [59, 111, 150, 189, 226, 266, 312]
