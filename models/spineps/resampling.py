"""nnU-Net's resampling where slices are thick, without what nnU-Net imports for it (pandas alone takes a second).

Within a slice by cubic splines, between slices linearly; logits linearly along every axis.

Source: Isensee et al., "nnU-Net" (Nature Methods 2021), resampling of anisotropic images.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.transform import resize
from torch import Tensor
from torch.nn import functional

THICK = 3.0  # times another axis' spacing: slices are treated apart


def thick_axis(*spacings: Sequence[float]) -> int | None:
    """The axis across slices by the first of the spacings, (3,) mm, that is thick along one; None where none is."""
    for spacing in spacings:
        if max(spacing) / min(spacing) > THICK:
            coarse = [axis for axis, mm in enumerate(spacing) if mm == max(spacing)]
            return coarse[0] if len(coarse) == 1 else None
    return None


def resample_slices(image: NDArray[np.float32], shape: Sequence[int], axis: int) -> NDArray[np.float32]:
    """(X, Y, Z) → the given shape: cubic splines within the slices across `axis`, linear between them."""
    slices = np.moveaxis(image, axis, 0)
    size = tuple(n for along, n in enumerate(shape) if along != axis)
    sized = np.stack([resize(plane.astype(float), size, 3, mode="edge", anti_aliasing=False) for plane in slices])
    whole = resample_linearly(torch.from_numpy(sized)[None], (shape[axis], *size))
    return np.ascontiguousarray(np.moveaxis(whole[0].numpy(), 0, axis), np.float32)


def resample_linearly(values: Tensor, shape: Sequence[int]) -> Tensor:
    """(channels, X, Y, Z) → (channels, *shape), the borders of both grids in the same place."""
    return functional.interpolate(values[None], size=tuple(shape), mode="trilinear")[0]
