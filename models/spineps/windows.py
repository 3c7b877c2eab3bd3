"""Sliding windows whose logits never lie in memory as a whole.

Windows, steps and weights are nnU-Net's. They are taken in the order of the volume's longest axis, and only the slab
that the present windows reach is kept: what lies behind it is finished and leaves.

Source: Isensee et al., "nnU-Net" (Nature Methods 2021).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor
from torch.nn import functional

from models.spineps.memory import Fitting, zeros_where_they_fit

Box = tuple[slice, slice, slice]
Size = tuple[int, int, int]


@dataclass(frozen=True)
class Windows:
    """Windows over a volume (X, Y, Z) of at least a window's size.

    size: of a window in voxels; starts: along each axis, where windows begin; shape: of the volume.
    """

    size: Size
    starts: tuple[tuple[int, ...], ...]
    shape: Size

    @staticmethod
    def over(shape: Sequence[int], size: Sequence[int], step: float) -> "Windows":
        """Lay nnU-Net's windows; step: from window to window, as a share of the size, at most."""
        from nnunetv2.inference.sliding_window_prediction import (  # noqa: PLC0415 - seconds of import
            compute_steps_for_sliding_window,
        )

        starts = compute_steps_for_sliding_window(tuple(shape), tuple(size), step)
        return Windows(_three(size), tuple(tuple(along) for along in starts), _three(shape))

    @property
    def axis(self) -> int:
        """The axis along which logits are finished: the longest."""
        return max(range(3), key=self.shape.__getitem__)


def padded(volume: Tensor, size: Sequence[int]) -> tuple[Tensor, Box]:
    """Surround a volume with zeros where a window is larger.

    volume: (channels, X, Y, Z).

    Returns:
        The larger volume, and where in it the volume lies.
    """
    missing = [max(0, least - have) for least, have in zip(size, volume.shape[1:], strict=True)]
    before = [n // 2 for n in missing]
    pads = [part for b, n in zip(reversed(before), reversed(missing), strict=True) for part in (b, n - b)]
    x, y, z = (slice(b, b + have) for b, have in zip(before, volume.shape[1:], strict=True))
    return functional.pad(volume, pads), (x, y, z)


def stream_logits(
    volume: Tensor, windows: Windows, network: Callable[[Tensor], Tensor], *, classes: int, fitting: Fitting
) -> Iterator[tuple[slice, Tensor]]:
    """Predict window by window and hand out what is finished.

    volume: (channels, X, Y, Z); network: (B, channels, *size) → (B, classes, *size) on the device of its input.

    Yields:
        Planes of `windows.axis`, and their logits (classes, …) as means over the windows weighted by nearness to each
        window's middle. The logits are good until the next are asked for.
    """
    axis, depth = windows.axis, windows.size[windows.axis]
    others = [other for other in range(3) if other != axis]
    corners = list(product(*(windows.starts[other] for other in others)))
    weight = _gaussian(windows.size, fitting.device)
    # The slab has the axis first, so that finished planes are its beginning: (planes, classes, …).
    plane = tuple(windows.shape[other] for other in others)
    slab = zeros_where_they_fit((depth, classes, *plane), fitting.device)
    weights = torch.zeros((depth, 1, *plane), device=slab.device)
    rows = (*windows.starts[axis], windows.shape[axis])
    for start, following in pairwise(rows):
        boxes = [_box(axis, start, corner, windows.size) for corner in corners]

        def compute(items: range, where: torch.device, boxes: Sequence[Box] = boxes) -> None:
            views = torch.stack([volume[(slice(None), *boxes[item])] for item in items]).to(where)
            logits = (network(views) * weight.to(where)).to(slab.device)
            for item, values in zip(items, logits, strict=True):  # in place: nothing can run out of memory any more
                within = [boxes[item][other] for other in others]
                slab[(slice(None), slice(None), *within)] += values.movedim(axis + 1, 0)
                weights[(slice(None), slice(None), *within)] += weight.to(slab.device).movedim(axis, 0)[:, None]

        fitting.run(len(boxes), compute)
        done = following - start
        yield slice(start, following), (slab[:done] / weights[:done]).movedim(0, axis + 1)
        _advance(slab, done)
        _advance(weights, done)


def _box(axis: int, start: int, corner: Sequence[int], size: Size) -> Box:
    begins = list(corner)
    begins.insert(axis, start)
    x, y, z = (slice(begin, begin + n) for begin, n in zip(begins, size, strict=True))
    return x, y, z


def _advance(slab: Tensor, planes: int) -> None:
    """Drop the first planes, and make room for as many behind."""
    kept = len(slab) - planes
    if kept > 0:
        slab[:kept] = slab[planes:].clone()
    slab[max(0, kept) :] = 0


def _gaussian(size: Size, device: torch.device) -> Tensor:
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian  # noqa: PLC0415 - seconds of import

    weight: Tensor = compute_gaussian(size, sigma_scale=1 / 8, value_scaling_factor=10, device=device)
    return weight.float()


def _three(values: Sequence[int]) -> Size:
    x, y, z = (int(value) for value in values)
    return x, y, z
