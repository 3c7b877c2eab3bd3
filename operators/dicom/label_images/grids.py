"""Two label volumes on one grid, without resampling: axes are permuted and turned round, slices added or left out."""

from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from operators.dicom.label_images.contracts import LabelImage, LabelImageError

TOLERANCE = 0.1
"""Voxels by which grids may lie apart anywhere: more than rounding does, less than would count."""


def on_grid_of(truth: LabelImage, found: LabelImage, *, names: tuple[Path, Path]) -> NDArray[np.uint16]:
    """Bring a labelmap onto the grid of another.

    Where both say how they lie in the patient, that decides: the axes may come in another order and direction, and
    slices that a Segmentation leaves out as empty are added. Where one does not, the shapes must agree.

    names: the files of `truth` and `found`, for messages.

    Raises:
        LabelImageError: the grids differ, or structures lie beyond the grid of `truth`.
    """
    if truth.affine is None or found.affine is None:
        if truth.labelmap.shape != found.labelmap.shape:
            raise LabelImageError(f"{_grids(truth, found, names)}: bring one to the grid of the other")
        return found.labelmap
    steps = np.linalg.inv(truth.affine) @ found.affine
    turned = np.rint(steps)
    corners = np.array([[*corner, 1] for corner in product(*((0, size - 1) for size in found.labelmap.shape))])
    apart = np.abs((steps - turned) @ corners.T).max()
    if not np.array_equal(np.abs(turned[:3, :3]).sum(0), [1, 1, 1]) or apart > TOLERANCE:
        raise LabelImageError(
            f"{_grids(truth, found, names)}; they lie differently in the patient: nothing is resampled here, bring one "
            f"to the grid of the other"
        )
    return _placed(found.labelmap, turned.astype(np.intp), truth.labelmap.shape, names)


def _placed(
    labelmap: NDArray[np.uint16], turn: NDArray[np.intp], shape: tuple[int, ...], names: tuple[Path, Path]
) -> NDArray[np.uint16]:
    """Lay a labelmap into a grid; turn: (4, 4) index → index in that grid, a signed permutation and an offset."""
    order = np.abs(turn[:3, :3]).argmax(axis=1)
    signs = turn[np.arange(3), order]
    moved = labelmap.transpose(order)[tuple(slice(None, None, int(sign)) for sign in signs)]
    starts = [
        int(turn[axis, 3]) - (0 if sign > 0 else size - 1)
        for axis, (sign, size) in enumerate(zip(signs, moved.shape, strict=True))
    ]
    inner = tuple(
        slice(max(0, -start), max(0, min(size, most - start)))
        for start, size, most in zip(starts, moved.shape, shape, strict=True)
    )
    if np.count_nonzero(moved[inner]) != np.count_nonzero(moved):
        raise LabelImageError(f"{names[1]} has structures beyond the grid of its reference {names[0]}")
    placed = np.zeros(shape, np.uint16)
    outer = tuple(slice(start + part.start, start + part.stop) for start, part in zip(starts, inner, strict=True))
    placed[outer] = moved[inner]
    return placed


def _grids(truth: LabelImage, found: LabelImage, names: tuple[Path, Path]) -> str:
    return f"{names[1]} has a grid of {_grid(found)}, its reference {names[0]} of {_grid(truth)}"


def _grid(image: LabelImage) -> str:
    spacing = "" if image.spacing_mm is None else f" at {' × '.join(f'{size:.2f}' for size in image.spacing_mm)} mm"
    return f"{image.labelmap.shape}{spacing}"
