"""Whether the slices of a volume that have arrived are whole stacks."""

from pathlib import Path

import numpy as np
import pytest

from app.gateway.wholeness import SlicePlace, is_whole, read_places
from tests.made_mr import made_enhanced_mr, made_mr

VOXELS = np.zeros((6, 4, 4), np.uint16)


def places(*positions: float, stack: str = "", expected: int | None = None) -> list[SlicePlace]:
    """Return slices of one stack at positions along its normal."""
    return [SlicePlace((stack,), position, expected, "1") for position in positions]


def test_a_stack_of_equally_spaced_slices_on_one_association_is_whole() -> None:
    """In any order, with what scanners round."""
    assert is_whole(places(0, 8.01, 4, 12, 15.99), associations=1)


def test_the_same_slices_on_several_associations_may_be_the_beginning_of_more() -> None:
    """Some senders open an association for every instance."""
    assert not is_whole(places(0, 4, 8, 12, 16), associations=2)


@pytest.mark.parametrize(
    "positions",
    [(0, 4, 8, 16, 20), (0, 4, 8, 8, 12), (4, 4, 4, 4, 4), (0, 4, 8, 12), ()],
    ids=["one is missing", "one is there twice", "all in one place", "too few", "none"],
)
def test_slices_that_make_no_stack_are_not_whole(positions: tuple[float, ...]) -> None:
    """The quiet time decides."""
    assert not is_whole(places(*positions), associations=1)


def test_two_echoes_are_whole_when_both_are() -> None:
    """The second echo comes after the first: until then the series looks whole and is not the same length."""
    first = places(0, 4, 8, 12, 16, stack="1")

    assert not is_whole([*first, *places(0, 4, 8, 12, 16, 20, stack="2")], associations=1)
    assert is_whole([*first, *places(0, 4, 8, 12, 16, stack="2")], associations=1)


def test_the_headers_own_count_settles_it_on_any_number_of_associations() -> None:
    """PS3.3 C.7.3.1.1.1: Images in Acquisition."""
    assert not is_whole(places(0, 4, 8, 12, 16, expected=6), associations=1)
    assert is_whole(places(0, 4, 8, 12, 16, 20, expected=6), associations=3)


def test_the_slices_of_a_file_say_where_they_belong(tmp_path: Path) -> None:
    """Position along the normal, from Image Position and Orientation (Patient)."""
    files = []
    for dataset in made_mr(VOXELS):
        files.append(tmp_path / f"{dataset.SOPInstanceUID}.dcm")
        dataset.save_as(files[-1], enforce_file_format=True)

    found = read_places(files)

    assert found is not None
    assert is_whole(found, associations=1)
    assert not is_whole([*found[:2], *found[3:]], associations=1)


def test_a_multi_frame_instance_is_a_stack_of_its_own(tmp_path: Path) -> None:
    """Enhanced MR: one file is the volume, unless it says to be one of a concatenation."""
    dataset = made_enhanced_mr(VOXELS)
    dataset.save_as(tmp_path / "whole", enforce_file_format=True)
    dataset.ConcatenationUID, dataset.InConcatenationTotalNumber = "1.2.3", 2
    dataset.save_as(tmp_path / "half", enforce_file_format=True)

    whole, half = read_places([tmp_path / "whole"]), read_places([tmp_path / "half"])

    assert whole is not None and half is not None
    assert is_whole(whole, associations=1)
    assert not is_whole(half, associations=1)


def test_a_header_without_a_position_does_not_say(tmp_path: Path) -> None:
    """Then the series waits for the quiet time, and nobody falls over it."""
    dataset = made_mr(VOXELS)[0]
    del dataset.ImagePositionPatient
    dataset.save_as(tmp_path / "file", enforce_file_format=True)
    (tmp_path / "noise").write_bytes(b"\x01" * 300)

    assert read_places([tmp_path / "file"]) is None
    assert read_places([tmp_path / "noise"]) is None
