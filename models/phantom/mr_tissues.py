"""Tissues of an MR phantom and how bright each is under T2w, T1w, STIR or a contrast that no scanner has.

Signals are relative to fat in T2w; the ranges are wide on purpose, so that a real scanner is one more variation.
"""

from collections.abc import Mapping
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from models.contracts import MrContrast


class Tissue(IntEnum):
    """What a voxel of the phantom is made of."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    MARROW = 3
    CORTEX = 4
    ANNULUS = 5
    NUCLEUS = 6
    CSF = 7
    CORD = 8
    LIGAMENT = 9
    VESSEL = 10
    ORGAN = 11
    BOWEL = 12
    FLUID = 13
    SKIN = 14
    POSTERIOR_MARROW = 15
    SACRAL_MARROW = 16
    EPIDURAL = 17
    NERVE = 18
    INTERSPINOUS = 19
    LUNG = 20
    OTHER_ORGAN = 21
    BASIVERTEBRAL = 22
    LESION = 23
    METAL = 24


_Range = tuple[float, float]
_T = Tissue
SIGNALS: Mapping[MrContrast, Mapping[Tissue, _Range]] = {
    "T2w": {
        _T.FAT: (0.45, 1.0), _T.MUSCLE: (0.07, 0.30), _T.MARROW: (0.18, 0.58), _T.CORTEX: (0.02, 0.12),
        _T.ANNULUS: (0.03, 0.20), _T.NUCLEUS: (0.08, 0.95), _T.CSF: (0.65, 1.35), _T.CORD: (0.22, 0.58),
        _T.LIGAMENT: (0.02, 0.14), _T.VESSEL: (0.0, 0.45), _T.ORGAN: (0.08, 0.6), _T.BOWEL: (0.0, 0.6),
        _T.FLUID: (0.5, 1.2), _T.SKIN: (0.2, 0.8), _T.EPIDURAL: (0.45, 1.0), _T.NERVE: (0.12, 0.42),
        _T.INTERSPINOUS: (0.1, 0.6), _T.LUNG: (0.0, 0.1), _T.OTHER_ORGAN: (0.08, 0.7), _T.LESION: (0.5, 1.1),
    },
    "T1w": {
        _T.FAT: (0.65, 1.0), _T.MUSCLE: (0.14, 0.36), _T.MARROW: (0.28, 0.72), _T.CORTEX: (0.02, 0.12),
        _T.ANNULUS: (0.08, 0.3), _T.NUCLEUS: (0.13, 0.4), _T.CSF: (0.03, 0.2), _T.CORD: (0.18, 0.42),
        _T.LIGAMENT: (0.02, 0.14), _T.VESSEL: (0.0, 0.25), _T.ORGAN: (0.14, 0.5), _T.BOWEL: (0.0, 0.4),
        _T.FLUID: (0.03, 0.3), _T.SKIN: (0.2, 0.8), _T.EPIDURAL: (0.6, 1.0), _T.NERVE: (0.14, 0.36),
        _T.INTERSPINOUS: (0.2, 0.7), _T.LUNG: (0.0, 0.1), _T.OTHER_ORGAN: (0.1, 0.5), _T.LESION: (0.2, 0.9),
    },
    "STIR": {
        _T.FAT: (0.02, 0.2), _T.MUSCLE: (0.1, 0.36), _T.MARROW: (0.06, 0.3), _T.CORTEX: (0.01, 0.08),
        _T.ANNULUS: (0.03, 0.16), _T.NUCLEUS: (0.1, 0.85), _T.CSF: (0.65, 1.25), _T.CORD: (0.2, 0.5),
        _T.LIGAMENT: (0.02, 0.1), _T.VESSEL: (0.0, 0.7), _T.ORGAN: (0.1, 0.6), _T.BOWEL: (0.0, 0.6),
        _T.FLUID: (0.5, 1.2), _T.SKIN: (0.1, 0.6), _T.EPIDURAL: (0.02, 0.22), _T.NERVE: (0.2, 0.5),
        _T.INTERSPINOUS: (0.05, 0.4), _T.LUNG: (0.0, 0.1), _T.OTHER_ORGAN: (0.1, 0.7), _T.LESION: (0.4, 1.0),
    },
}  # fmt: skip
# Posterior elements, sacrum and the basivertebral vein take their brightness from the bodies' marrow.
OF_MARROW: Mapping[Tissue, _Range] = {
    _T.POSTERIOR_MARROW: (0.75, 1.35),
    _T.SACRAL_MARROW: (0.85, 1.2),
    _T.BASIVERTEBRAL: (0.4, 2.2),
}


def draw_signals(rng: np.random.Generator, contrast: MrContrast) -> NDArray[np.float32]:
    """Draw the brightness of each tissue.

    Args:
        rng: the only source of chance.
        contrast: "other" draws every tissue at random, compact bone and ligaments mostly dark.

    Returns:
        (tissues,) float32, indexed by Tissue; air and metal give no signal.
    """
    signals = np.zeros(len(Tissue), np.float32)
    if contrast == "other":
        signals[:] = rng.uniform(0, 1, len(Tissue))
        if rng.random() < 0.7:
            signals[Tissue.CORTEX], signals[Tissue.LIGAMENT] = rng.uniform(0, 0.15), rng.uniform(0, 0.2)
    else:
        for tissue, (low, high) in SIGNALS[contrast].items():
            signals[tissue] = rng.uniform(low, high)
    for tissue, (low, high) in OF_MARROW.items():
        signals[tissue] = signals[Tissue.MARROW] * rng.uniform(low, high)
    signals[[Tissue.AIR, Tissue.METAL]] = 0
    return signals
