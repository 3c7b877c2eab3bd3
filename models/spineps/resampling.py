"""nnU-Net's resampling where slices are thick, without what nnU-Net imports for it (pandas alone takes a second).

Within a slice by cubic splines, between slices linearly; logits linearly along every axis.

Source: Isensee et al., "nnU-Net" (Nature Methods 2021), resampling of anisotropic images.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import ceil

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


def resample_planes(
    finished: Iterable[tuple[slice, Tensor]], inside: Sequence[slice], shape: Sequence[int], axis: int
) -> Iterator[tuple[int, Tensor]]:
    """Resample linearly while a volume is still coming: of what has come, only the last plane is kept.

    finished: the volume's planes across `axis` in their order, and their values (channels, X, Y, Z); inside: the part
    of the volume that counts; shape: what it becomes.

    Yields:
        The number of a plane of `shape`, and its values (channels, …): those of `resample_linearly`.
    """
    first, count = inside[axis].start, inside[axis].stop - inside[axis].start
    within = (slice(None), *(along for other, along in enumerate(inside) if other != axis))
    size = tuple(n for other, n in enumerate(shape) if other != axis)
    number, last = 0, torch.empty(0)
    for planes, values in finished:
        known = values.movedim(axis + 1, 0)
        while number < shape[axis]:
            place = max(0.0, (number + 0.5) * count / shape[axis] - 0.5)
            below, above = (min(round_off(place), count - 1) + first - planes.start for round_off in (int, ceil))
            if above >= len(known):
                break
            plane = torch.lerp(known[below] if below >= 0 else last, known[above], place % 1)[within]
            resized = plane.shape[1:] != size
            yield number, functional.interpolate(plane[None], size=size, mode="bilinear")[0] if resized else plane
            number += 1
        last = known[-1].clone()
