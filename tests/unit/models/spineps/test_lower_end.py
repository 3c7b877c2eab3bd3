"""A disc within the sacrum: a vertebra was painted as sacrum, or it is a remnant, or nobody can tell."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.spineps.combine import combine

SPACING = (1.0, 1.0, 2.0)
TOPS = (10, 42, 74)  # of three bodies; what lies below the third disc is sacrum
L5 = np.s_[20:44, 106:128, 4:20]


def lower_end(
    *, disc: tuple[int, int] | None, lean: int = 0, below: int = 60
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Three vertebrae on a sacrum: `disc` (first, last column) lies in it under what would be the fourth body.

    lean: by how far the disc and what lies below stand forwards or backwards. below: rows of the sacrum under the disc.
    """
    labels, instances = np.zeros((110, 200, 24), np.uint8), np.zeros((110, 200, 24), np.uint16)
    for number, top in enumerate(TOPS, start=1):
        labels[20:44, top : top + 22, 4:20] = 49
        labels[56:64, top : top + 14, 4:20] = 41
        labels[20:44, top + 23 : top + 31, 4:20] = 100
        instances[:, top : top + 22] = number
    labels[46:54, :140, 10:14] = 61
    labels[L5] = 26
    if disc is not None:
        labels[20 + lean : 44 + lean, 137 : 137 + below, 4:20] = 26
        labels[disc[0] : disc[1], 129:136, 4:20] = 100
    else:
        labels[20:44, 128:180, 4:20] = 26
    return labels, np.where(np.isin(labels, (41, 49)), instances, 0).astype(np.uint16)


@pytest.mark.parametrize("lean", [0, 9])
def test_a_vertebra_painted_as_sacrum_is_one_where_a_disc_lies_below_it(lean: int) -> None:
    """Slipped or not; the disc is its own, and the sacrum begins below."""
    combined = combine(*lower_end(disc=(20 + lean, 44), lean=lean), SPACING)

    assert combined.lower_end.kind == "split"
    assert combined.kept == (1, 2, 3, 0)
    assert np.all(combined.vertebrae[L5] == 4)
    assert np.all(combined.subregions[L5] == 49)
    assert set(np.unique(combined.discs[:, 129:136])) == {0, 4}
    assert np.all(combined.subregions[20 + lean : 44 + lean, 140:190, 4:20] == 26)


def test_a_remnant_of_a_disc_in_the_sacrum_is_no_reason_for_a_vertebra() -> None:
    """Short beside the disc above; and no disc of a vertebra."""
    combined = combine(*lower_end(disc=(38, 42)), SPACING)

    assert combined.lower_end.kind == "whole"
    assert combined.vertebrae.max() == 3
    assert not combined.discs[:, 129:136].any()


@pytest.mark.parametrize(("disc", "below"), [((36, 44), 60), ((20, 44), 1)])
def test_what_may_be_either_is_left_whole_and_doubted(disc: tuple[int, int], below: int) -> None:
    """A disc of a third the size, or one with no sacrum below it."""
    combined = combine(*lower_end(disc=disc, below=below), SPACING)

    assert combined.lower_end.kind == "doubtful"
    assert combined.vertebrae.max() == 3


def test_a_sacrum_without_a_disc_in_it_is_whole() -> None:
    """The usual case."""
    assert combine(*lower_end(disc=None), SPACING).lower_end.kind == "whole"


def test_a_vertebra_that_grows_into_the_sacrum_stays_one_with_all_it_has_where_a_disc_lies_below_it() -> None:
    """Its lower part is painted as sacrum, an instance saw the rest; half a disc is enough then."""
    labels, instances = lower_end(disc=(34, 44))
    upper, arch = np.s_[20:44, 106:118, 4:20], np.s_[56:64, 108:120, 4:20]
    labels[upper], labels[arch] = 49, 41
    instances[upper] = instances[arch] = 7

    combined = combine(labels, instances, SPACING)

    assert combined.kept == (1, 2, 3, 7)
    assert np.all(combined.vertebrae[L5] == 4)
    assert np.all(combined.vertebrae[arch] == 4)
    assert np.all(combined.subregions[arch] == 41)
