"""Sliding windows whose logits never lie in memory as a whole.

Windows and steps are nnU-Net's, weights those of SPINEPS. They are taken in the order of the volume's longest axis,
and only the slab that the present windows reach is kept: what lies behind it is finished and leaves. Windows beside the
spine are not computed.

Source: Isensee et al., "nnU-Net" (Nature Methods 2021).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from models.spineps.memory import Fitting, zeros_where_they_fit
from models.spineps.search import ColumnSearch, Sight, together

Box = tuple[slice, slice, slice]
Size = tuple[int, int, int]
LEAST_WEIGHT = 1e-12  # below what any window gives; what no window reached keeps a sum of 0


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

    @property
    def across(self) -> int:
        """The axis along which the search for the spine goes: of the two others that with more windows."""
        return max((axis for axis in range(3) if axis != self.axis), key=lambda axis: len(self.starts[axis]))

    def column(self, start: int, column: int) -> list[Box]:
        """The windows that begin at `start` along `axis` and at one place along `across`, at all along the third."""
        chosen = list(self.starts)
        chosen[self.axis], chosen[self.across] = (start,), (self.starts[self.across][column],)
        return [_box(corner, self.size) for corner in product(*chosen)]


def _box(corner: Sequence[int], size: Size) -> Box:
    x, y, z = (slice(begin, begin + n) for begin, n in zip(corner, size, strict=True))
    return x, y, z


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
    """Predict window by window and hand out what is finished; windows beside the spine are left out.

    volume: (channels, X, Y, Z); network: (B, channels, *size) → (B, classes, *size) on the device of its input.

    Yields:
        Planes of `windows.axis`, and their logits (classes, …): means over the windows weighted by nearness to each
        window's middle, 0 where no window was needed. They are good until the next are asked for.
    """
    sums = _Sums(windows, classes, fitting.device)
    across = windows.starts[windows.across]
    first = len(across) // 2
    for start, following in pairwise((*windows.starts[windows.axis], windows.shape[windows.axis])):
        search = ColumnSearch(len(across), first)
        while (column := search.following()) is not None:
            boxes, sights = windows.column(start, column), list[Sight]()

            def compute(
                items: range,
                where: torch.device,
                column: int = column,
                boxes: Sequence[Box] = boxes,
                sights: list[Sight] = sights,
            ) -> None:
                views = torch.stack([volume[(slice(None), *boxes[item])] for item in items]).to(where)
                logits = network(views).movedim(1, -1).movedim(windows.axis + 1, 1)
                seen = [_sight(values, windows, column) for values in logits]
                weighted = sums.weighted(logits)
                sights += seen  # from here on nothing can run out of memory any more
                for item, values in zip(items, weighted, strict=True):
                    sums.add(boxes[item], values)

            fitting.run(len(boxes), compute)
            search.seen[column] = together(sights)
        first = search.densest()
        yield slice(start, following), sums.means(following - start)
        sums.advance(following - start)


class _Sums:
    """Weighted logits of the planes that present windows reach: (planes, the two other axes, classes).

    Finished planes are the beginning. Classes lie together in memory, as networks give them on a CPU.
    """

    def __init__(self, windows: Windows, classes: int, device: torch.device) -> None:
        self.axis = windows.axis
        plane = [n for other, n in enumerate(windows.shape) if other != self.axis]
        self.logits = zeros_where_they_fit((windows.size[self.axis], *plane, classes), device)
        self.weights = self.logits.new_zeros((*self.logits.shape[:-1], 1))
        self.weight = _gaussian(windows.size, device).movedim(self.axis, 0)[..., None]

    def weighted(self, logits: Tensor) -> Tensor:
        """Weigh windows (B, planes, …, classes) in place, and bring them to where the sums are."""
        return logits.mul_(self.weight.to(logits)).to(self.logits)

    def add(self, box: Box, weighted: Tensor) -> None:
        """Add a window that begins at the first plane."""
        within = [along for axis, along in enumerate(box) if axis != self.axis]
        self.logits[(slice(None), *within)] += weighted
        self.weights[(slice(None), *within)] += self.weight.to(self.weights)

    def means(self, planes: int) -> Tensor:
        """The first planes' logits, (classes, …) in the volume's order of axes; in place, as the planes leave next."""
        means = self.logits[:planes].div_(self.weights[:planes].clamp_min(LEAST_WEIGHT))
        return means.movedim(0, self.axis).movedim(-1, 0)

    def advance(self, planes: int) -> None:
        """Drop the first planes, and make room for as many behind."""
        for values in (self.logits, self.weights):
            for plane in range(planes, len(values)):  # one by one: a copy of them all would cost memory
                values[plane - planes] = values[plane]
            values[max(0, len(values) - planes) :] = 0


def _sight(logits: Tensor, windows: Windows, column: int) -> Sight:
    """What a window (planes, …, classes) finds, looked at in every second voxel."""
    starts, size = windows.starts[windows.across], windows.size[windows.across]
    if len(starts) == 1:
        return Sight(0.0, before=False, after=False)
    dimension = windows.across + (windows.across < windows.axis)
    found = (logits[::2, ::2, ::2].argmax(-1) > 0).movedim(dimension, 0)
    shared = starts[column - 1] + size - starts[column] if column else 0
    alone = starts[column + 1] - starts[column] if column + 1 < len(starts) else size
    return Sight(
        float(found.float().mean()),
        before=bool(found[: (shared + 1) // 2].any()),
        after=bool(found[alone // 2 :].any()),
    )


def _gaussian(size: Size, device: torch.device) -> Tensor:
    """How much a window's voxels count, most in its middle; nowhere less than about a thousandth of that.

    The original rounds the bump to half precision before it scales it up, and gives the least of what is left to the
    voxels that became zero. Where only the rims of windows reach, at the ends of a volume, that decides.
    """
    bump = np.zeros(size)
    bump[tuple(n // 2 for n in size)] = 1
    rounded = ndimage.gaussian_filter(bump, [n / 8 for n in size], mode="constant").astype(np.float16)
    rounded[rounded == 0] = rounded[rounded > 0].min()
    return torch.from_numpy(rounded.astype(np.float32) / np.float32(rounded.max())).to(device)


def _three(values: Sequence[int]) -> Size:
    x, y, z = (int(value) for value in values)
    return x, y, z
