"""Whether two sets of results on the same images differ: Wilcoxon's signed-rank test on pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import wilcoxon


@dataclass(frozen=True)
class PairedDifference:
    """Two results per image, compared.

    pairs: images with both. first_mean, second_mean: over those.
    median_difference: median of first − second.
    p_value: two-sided; None where no two results differ, so that there is nothing to rank.
    """

    pairs: int
    first_mean: float
    second_mean: float
    median_difference: float
    p_value: float | None


def paired_difference(first: Sequence[float], second: Sequence[float]) -> PairedDifference:
    """Compare two results per image; pairs without a difference take no part in the ranks (Wilcoxon's own rule).

    first, second: a number per image, in the same order.

    Raises:
        ValueError: no pairs, or not as many results on one side as on the other.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"{len(first)} and {len(second)} results make no pairs")
    one, other = np.array(first, float), np.array(second, float)
    differences = one - other
    p_value = float(wilcoxon(differences).pvalue) if differences.any() else None
    return PairedDifference(len(one), float(one.mean()), float(other.mean()), float(np.median(differences)), p_value)
