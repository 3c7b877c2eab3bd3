"""Partners: which predicted structure answers for which reference structure.

The names of the structures take no part in it. So a spine that is segmented well but numbered one level
too low is found in full, and is wrong only where the levels are compared.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

IDENTIFIED_DICE = 0.5
"""A reference structure counts as identified from this Dice with its partner upwards (SpineFM, evaluation)."""

BoolArray = NDArray[np.bool_]
LabelArray = NDArray[np.integer]


@dataclass(frozen=True)
class Pair:
    """A reference structure and the predicted structure that answers for it.

    reference: value in the reference labelmap.
    predicted: value in the predicted labelmap, or None where nothing overlaps it.
    dice: overlap of the two, 0 without a partner.
    """

    reference: int
    predicted: int | None
    dice: float


@dataclass(frozen=True)
class DiceTable:
    """Overlaps of all structures of two labelmaps: rows for the reference's, columns for the predicted.

    dice, common: (reference structures, predicted structures) overlap and voxels in both.
    reference_values, predicted_values: the labelmaps' values, ascending, without 0.
    predicted_sizes: voxels of each predicted structure.
    """

    dice: NDArray[np.float64]
    common: NDArray[np.int64]
    reference_values: NDArray[np.int64]
    predicted_values: NDArray[np.int64]
    predicted_sizes: NDArray[np.int64]


def dice(first: BoolArray, second: BoolArray) -> float:
    """Twice the common voxels over the sum of both: 1 for equal masks, 0 for disjoint ones.

    first, second: masks of one shape, any number of dimensions.

    Raises:
        ValueError: the shapes differ, or both masks are empty and the measure has no meaning.
    """
    if first.shape != second.shape:
        raise ValueError(f"masks of {first.shape} and {second.shape} voxels cannot be compared")
    size = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    if size == 0:
        raise ValueError("the overlap of two empty masks is not defined")
    return 2 * int(np.count_nonzero(first & second)) / size


def pair_structures(predicted: LabelArray, reference: LabelArray) -> tuple[Pair, ...]:
    """Find for every reference structure its partner: the assignment with the greatest sum of Dice.

    A predicted structure is partner of one reference structure at most, so one large mask over two vertebrae
    identifies one of them at best.

    predicted, reference: labelmaps of one shape, any number of dimensions; 0 is background.

    Returns:
        A pair per value of the reference, in ascending order of value.

    Raises:
        ValueError: the shapes differ.
    """
    table = dice_table(predicted, reference)
    overlaps = table.dice
    rows, columns = linear_sum_assignment(overlaps, maximize=True)
    partner = {row: column for row, column in zip(rows, columns, strict=True) if overlaps[row, column] > 0}
    return tuple(
        Pair(int(value), int(table.predicted_values[partner[row]]), float(overlaps[row, partner[row]]))
        if row in partner
        else Pair(int(value), None, 0.0)
        for row, value in enumerate(table.reference_values)
    )


def dice_table(predicted: LabelArray, reference: LabelArray) -> DiceTable:
    """Compare every structure of one labelmap with every structure of another, in one pass over the voxels.

    predicted, reference: labelmaps of one shape, any number of dimensions; 0 is background.

    Raises:
        ValueError: the shapes differ.
    """
    if predicted.shape != reference.shape:
        raise ValueError(f"labelmaps of {predicted.shape} and {reference.shape} voxels cannot be compared")
    predicted_values, predicted_index, predicted_sizes = _structures(predicted)
    reference_values, reference_index, reference_sizes = _structures(reference)
    width = predicted_values.size + 1
    cells = (reference_values.size + 1) * width
    common = np.bincount(reference_index * width + predicted_index, minlength=cells).reshape(-1, width)[1:, 1:]
    return DiceTable(
        dice=2 * common / (reference_sizes[:, None] + predicted_sizes[None, :]),
        common=common,
        reference_values=reference_values,
        predicted_values=predicted_values,
        predicted_sizes=predicted_sizes,
    )


def _structures(labelmap: LabelArray) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The values other than 0, per voxel the 1-based index into them (0 = background), and the voxels of each."""
    values = np.unique(labelmap)
    values = values[values != 0].astype(np.int64)
    if values.size == 0:
        return values, np.zeros(labelmap.size, np.int64), values
    flat = labelmap.ravel()
    index = np.where(flat == 0, 0, np.searchsorted(values, flat) + 1)
    return values, index, np.bincount(index, minlength=values.size + 1)[1:]
