"""Panoptic quality of instances: how well what is recognised is outlined, times how well it is recognised.

Source: Kirillov et al., "Panoptic Segmentation" (CVPR 2019), section 4, and its handling of regions that do not count.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.pairing import dice_table

MATCHED_IOU = 0.5
"""Two instances match above this intersection over union; then no other pair of either can."""
MOSTLY = 0.5
"""An unmatched prediction with more than this share of its voxels on what does not count is no fault."""

LabelArray = NDArray[np.integer]


@dataclass(frozen=True)
class PanopticCounts:
    """Matches of instances, of one volume or of many.

    matched: pairs above MATCHED_IOU. spurious: predicted without a match. missed: reference without a match.
    iou_sum, dice_sum: over the matched.
    """

    matched: int
    spurious: int
    missed: int
    iou_sum: float
    dice_sum: float

    @property
    def segmentation_quality(self) -> float | None:
        """Mean intersection over union of the matched, 0–1; None without any."""
        return self.iou_sum / self.matched if self.matched else None

    @property
    def matched_dice(self) -> float | None:
        """Mean Dice of the matched, 0–1; None without any."""
        return self.dice_sum / self.matched if self.matched else None

    @property
    def recognition_quality(self) -> float | None:
        """F1 of recognition: matched over matched and half of all errors; None where there is nothing at all."""
        total = self.matched + (self.spurious + self.missed) / 2
        return self.matched / total if total else None

    @property
    def panoptic_quality(self) -> float | None:
        """Segmentation quality times recognition quality; None where there is nothing at all."""
        recognition = self.recognition_quality
        return None if recognition is None else (self.segmentation_quality or 0.0) * recognition


def count_matches(predicted: LabelArray, reference: LabelArray, *, ignored: Collection[int] = ()) -> PanopticCounts:
    """Match the instances of a volume.

    predicted, reference: labelmaps of one shape, any number of dimensions; 0 is background.
    ignored: values of the reference that do not count, neither as missed nor, where predicted, as spurious.

    Raises:
        ValueError: the shapes differ.
    """
    table = dice_table(predicted, reference)
    iou = table.dice / (2 - table.dice)
    match = iou > MATCHED_IOU
    skipped = np.isin(table.reference_values, list(ignored))
    counted = match & ~skipped[:, None]
    on_ignored = table.common[skipped].sum(axis=0) > MOSTLY * table.predicted_sizes
    spurious = ~match.any(axis=0) & ~on_ignored
    return PanopticCounts(
        matched=int(counted.sum()),
        spurious=int(spurious.sum()),
        missed=int((~match.any(axis=1) & ~skipped).sum()),
        iou_sum=float(iou[counted].sum()),
        dice_sum=float(table.dice[counted].sum()),
    )


def total_counts(counts: Iterable[PanopticCounts]) -> PanopticCounts:
    """Add up the matches of many volumes: every instance weighs the same, whatever volume it lies in."""
    kept = list(counts)
    return PanopticCounts(
        matched=sum(one.matched for one in kept),
        spurious=sum(one.spurious for one in kept),
        missed=sum(one.missed for one in kept),
        iou_sum=sum(one.iou_sum for one in kept),
        dice_sum=sum(one.dice_sum for one in kept),
    )
