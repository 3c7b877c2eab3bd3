"""What is no spine gets no result; what lacks one thing does."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.spineps.combine import combine
from models.spineps.evidence import Landmarks
from models.spineps.levels import decide_levels, shapes_of
from models.spineps.plausibility import implausible

SPACING = (1.0, 1.0, 2.0)


def neck(
    *, discs: bool = True, canal: bool = True, sacrum: bool = False, depth: int = 16, shifts: tuple[int, ...] = (0,) * 5
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Five bodies of 12 mm, 18 mm apart, each shifted along P; what a true neck has can be left out of it."""
    labels, instances = np.zeros((120, 130, 16), np.uint8), np.zeros((120, 130, 16), np.uint16)
    for number, shift in enumerate(shifts, start=1):
        top, front = 5 + 18 * (number - 1), 40 + shift
        labels[front : front + depth, top : top + 12, 3:13] = 49
        instances[front : front + depth, top : top + 12, 3:13] = number
        if discs and number < len(shifts):
            labels[front : front + depth, top + 13 : top + 17, 3:13] = 100
    if canal:
        labels[64:74, :, 6:10] = 61
    if sacrum:
        labels[30:36, 120:126, 6:10] = 26
    return labels, instances


def verdict(labels: NDArray[np.uint8], instances: NDArray[np.uint16], *, agreement: float = 0.95) -> str | None:
    """As the engine asks."""
    combined = combine(labels, instances, SPACING)
    shapes = shapes_of(combined.vertebrae, combined.subregions, SPACING)
    levels = decide_levels(shapes, Landmarks(sacrum=False, body_region="cervical"))
    return implausible(combined, shapes, levels, [agreement] * len(shapes), SPACING)


def test_a_spine_is_one_also_where_one_thing_is_amiss() -> None:
    """All in order; without a canal in view; without discs; poorly outlined."""
    assert verdict(*neck()) is None
    assert verdict(*neck(canal=False)) is None
    assert verdict(*neck(discs=False)) is None
    assert verdict(*neck(), agreement=0.3) is None


@pytest.mark.parametrize(
    ("without", "agreement", "signs"),
    [
        ({"discs": False, "canal": False}, 0.95, "too few discs, no canal behind the bodies"),
        ({"discs": False, "depth": 5}, 0.95, "bodies of 5 mm, too few discs"),
        ({"canal": False}, 0.3, "no canal behind the bodies, the outlines disagree"),
        ({"shifts": (0, 18, -18, 18, 0), "canal": False}, 0.95, "vertebrae out of line, no canal behind the bodies"),
    ],
)
def test_what_lacks_more_is_none(without: dict[str, bool], agreement: float, signs: str) -> None:
    """A brain's folds, say; the sentence names the signs."""
    assert verdict(*neck(**without), agreement=agreement) == f"what was found is no spine: {signs}"  # type: ignore[arg-type]


def test_a_sacrum_next_to_the_neck_is_a_sign() -> None:
    """With another it is one too many."""
    labels, instances = neck(sacrum=True, canal=False)
    labels[40:49, 0:5, 6:10], instances[40:49, 0:5, 6:10] = 49, 1
    labels[40:56, 5:25, 3:13], instances[40:56, 5:25, 3:13] = 49, 1
    labels[40:56, 25:35, 3:13], instances[40:56, 25:35, 3:13] = 100, 0

    assert "a sacrum next to C" in str(verdict(labels, instances))
