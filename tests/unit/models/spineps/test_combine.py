"""Inconsistencies between neighbours are resolved when both phases are brought together."""

import numpy as np
from numpy.typing import NDArray

from models.spineps.combine import combine

SPACING = (1.0, 1.0, 2.0)
TOPS = (5, 30, 55)


def scene() -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Structures and instances of three vertebrae, an arch behind each body, and their discs."""
    labels, instances = np.zeros((50, 80, 20), np.uint8), np.zeros((50, 80, 20), np.uint16)
    for number, top in enumerate(TOPS, start=1):
        labels[4:24, top : top + 16, 4:16] = 49
        labels[24:32, top + 4 : top + 10, 4:16] = 41
        labels[32:42, top + 4 : top + 14, 8:12] = 42
        instances[:, top : top + 16] = number
        labels[4:24, top + 17 : top + 23, 4:16] = 100 if number < 3 else 0
    return labels, np.where(np.isin(labels, (41, 42, 49)), instances, 0).astype(np.uint16)


def test_a_piece_of_arch_away_from_its_vertebra_goes_to_the_one_it_lies_at() -> None:
    """The tip of the first spinous process was taken for the second's."""
    labels, instances = scene()
    tip = np.s_[38:42, TOPS[0] + 4 : TOPS[0] + 14, 8:12]
    instances[tip] = 2

    combined = combine(labels, instances, SPACING)

    assert np.all(combined.vertebrae[tip] == 1)


def test_a_piece_of_body_is_not_given_away() -> None:
    """Only arches and spinous processes are."""
    labels, instances = scene()
    corner = np.s_[4:8, TOPS[0] : TOPS[0] + 4, 4:16]
    instances[corner] = 3

    combined = combine(labels, instances, SPACING)

    assert np.all(combined.vertebrae[corner] == 3)


def test_a_torn_first_vertebra_is_one() -> None:
    """No disc parts the two uppermost, and the first is a small piece grown to the second."""
    labels, instances = scene()
    labels[4:24, TOPS[0] + 16 : TOPS[0] + 23] = 0
    labels[10:20, 0:5, 6:14] = 49
    instances[10:20, 0:5, 6:14] = 4

    combined = combine(labels, instances, SPACING)

    assert combined.vertebrae.max() == 3
    assert np.all(combined.vertebrae[10:20, 0:5, 6:14] == 1)


def test_a_disc_above_the_first_vertebra_is_marked_as_such() -> None:
    """It gets the number after the last."""
    labels, instances = scene()
    labels[4:24, 0:4, 4:16] = 100

    combined = combine(labels, instances, SPACING)

    assert np.all(combined.discs[4:24, 0:4, 4:16] == 4)
