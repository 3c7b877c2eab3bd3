"""Cut, turn, scale and mirror in one resampling."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def warp(
    array: NDArray[np.float32],
    centre: tuple[float, float],
    edge: float,
    size: int,
    *,
    angle: float = 0.0,
    mirror: bool = False,
    nearest: bool = False,
) -> Tensor:
    """Resample a square patch.

    Args:
        array: (rows, columns).
        centre: (x, y) in pixels of the array that becomes the middle of the patch.
        edge: edge of the patch in pixels of the array.
        size: edge of the result in pixels.
        angle: turn in radians.
        mirror: left to right.
        nearest: for labels.

    Returns:
        (size, size); zero outside the array.
    """
    rows, columns = array.shape
    t = (torch.arange(size) + 0.5) / size - 0.5
    dy, dx = torch.meshgrid(t * edge, -t * edge if mirror else t * edge, indexing="ij")
    x = centre[0] + dx * np.cos(angle) - dy * np.sin(angle)
    y = centre[1] + dx * np.sin(angle) + dy * np.cos(angle)
    grid = torch.stack([(2 * x + 1) / columns - 1, (2 * y + 1) / rows - 1], -1)[None]
    source = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None, None]
    return functional.grid_sample(source, grid, mode="nearest" if nearest else "bilinear", align_corners=False)[0, 0]
