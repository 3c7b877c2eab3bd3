"""The flat borders of a radiograph: collimation that was blackened, padding to a detector's or an archive's size.

A detector that shrinks the whole image sees the bodies smaller by as much as there is border, and a predictor of points
speaks in shares of the image. So what is segmented is the exposed field alone, where the borders are large.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.spinefm.views import Field

FLAT = 0.02  # a pixel of a border is this near to the border's own value, of the range 0–1
FLAT_SHARE = 0.95  # of a line in a border; what is left is a marker
GAP = 0.02  # of an axis: flat lines between two parts that are no more than this belong to the picture
SMALL_PART = 0.25  # of the longest part: what is shorter and stands apart is a marker or an annotation
LEAST_PX = 32  # a smaller field is no radiograph
# By how much a border must lengthen the longer side. Radiographs that were collimated a little are left as they are:
# up to 6 % of a phantom's rows and 10 % of its columns are dark on either side.
LARGE = 1.3
STRETCHED = (0.5, 99.5)  # percentiles that become 0 and 1 where a border's value had set the range
NARROW = 0.25  # range of the exposed field below which a border's value has set it


def exposed_field(pixels: NDArray[np.float32]) -> Field:
    """Return the part of a radiograph, (rows, columns) in 0–1, within its flat borders; all of it where there is none.

    A border is flat along whole lines and may hold markers; opposite ones may have different values.
    """
    top, bottom, left, right = 0, pixels.shape[0], 0, pixels.shape[1]
    while True:  # a border above of another value than the one at the side hides it, and is taken off first
        part = pixels[top:bottom, left:right]
        rows = _span(part)
        columns = _span(part[rows].T) if rows.stop else rows
        if rows.stop - rows.start < LEAST_PX or columns.stop - columns.start < LEAST_PX:
            return Field(0, 0, *pixels.shape)
        if (rows.stop - rows.start, columns.stop - columns.start) == part.shape:
            return Field(top, left, bottom - top, right - left)
        top, bottom = top + rows.start, top + rows.stop
        left, right = left + columns.start, left + columns.stop


def is_large(field: Field, shape: tuple[int, ...]) -> bool:
    """Whether what lies around a field makes an image of (rows, columns) much longer than the field."""
    return max(shape) >= LARGE * max(field.rows, field.columns)


def exposed(pixels: NDArray[np.float32], field: Field) -> NDArray[np.float32]:
    """Cut a field out; where the values of the borders had set the range, its own range becomes 0–1."""
    part = pixels[field.top : field.top + field.rows, field.left : field.left + field.columns]
    low, high = np.percentile(part, STRETCHED)
    if not 0 < high - low < NARROW:
        return np.ascontiguousarray(part)
    return np.asarray(np.clip((part - low) / (high - low), 0, 1), np.float32)


def _span(lines: NDArray[np.float32]) -> slice:
    """From the first to the last line of (lines, pixels) that is not border; an empty slice where all of it is."""
    plain = np.zeros(len(lines), dtype=bool)
    for outermost in (lines[0], lines[-1]):
        plain |= (np.abs(lines - np.median(outermost)) <= FLAT).mean(axis=1) >= FLAT_SHARE
    parts = _parts(plain)
    longest = max((part.stop - part.start for part in parts), default=0)
    parts = [part for part in parts if part.stop - part.start >= SMALL_PART * longest]
    return slice(parts[0].start, parts[-1].stop) if parts else slice(0, 0)


def _parts(plain: NDArray[np.bool_]) -> Sequence[slice]:
    """The runs of lines that are not plain, joined where a narrow gap parts them."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], plain, [True]])))
    runs = edges.reshape(-1, 2).tolist()
    firsts = [first for first, _ in runs[:1]] + [b[0] for a, b in pairwise(runs) if b[0] - a[1] > GAP * len(plain)]
    lasts = [a[1] for a, b in pairwise(runs) if b[0] - a[1] > GAP * len(plain)] + [last for _, last in runs[-1:]]
    return [slice(first, last) for first, last in zip(firsts, lasts, strict=True)]
