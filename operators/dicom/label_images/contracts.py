"""What every reader of label images answers, and the one error they raise."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import SpondylError

_LEVEL = re.compile(r"([CTLS])0?([1-9]\d?)", re.IGNORECASE)


class LabelImageError(SpondylError):
    """A prediction or reference cannot be read or compared; the message names the file and what was expected."""


@dataclass(frozen=True)
class LabelImage:
    """Structures on the grid of an image.

    labelmap: (rows, columns) or (slices, rows, columns) uint16, 0 = background.
    levels: for each value of the labelmap its level (`C3`), or a label where the level is unknown.
    spacing_mm: size of a voxel *in the patient*, in the axis order of the labelmap; None where nobody says.
    overlapping: voxels that more than one structure of the file claims; the lowest number has them here.
    affine: (4, 4) index in the axis order of a volume's labelmap → LPS mm; None for pictures, or where nobody says.
    partial: levels of vertebrae that the file marks as cut by the border, so that they do not count.
    """

    labelmap: NDArray[np.uint16]
    levels: Mapping[int, str]
    spacing_mm: tuple[float, ...] | None = None
    overlapping: int = 0
    affine: NDArray[np.float64] | None = None
    partial: frozenset[str] = frozenset()


def canonical_level(name: str) -> str:
    """Write a level the one way it is compared: `C3` for `c3` and `C03`; any other label only loses outer blanks.

    >>> canonical_level(" l05"), canonical_level("vertebra 3")
    ('L5', 'vertebra 3')
    """
    text = name.strip()
    match = _LEVEL.fullmatch(text)
    return f"{match[1].upper()}{match[2]}" if match else text
