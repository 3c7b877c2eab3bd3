"""The frame that SPINEPS works in: P-I-R, axes towards the back, the feet and the right, at the network's spacing.

Grids are only permuted, flipped and stretched, never turned: an oblique stack stays oblique. A stretched grid shares
the centre of its first voxel with the grid it comes from, as the published resampling does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.errors import EngineRefusal

Spacing = tuple[float, float, float]
T = TypeVar("T", bound=np.generic)
P_I_R_IN_LPS = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
BORDER = 12  # voxels by which the border is continued before splines are fitted
SAME_MM = 1e-3  # spacings closer than this are the same
MOST_VOXELS = 200_000_000  # of a resampled volume: five times a whole spine at 0.6 × 0.6 × 2 mm


@dataclass(frozen=True)
class Orientation:
    """Which source axis runs along P, I and R, and which of them run the other way.

    >>> affine = np.diag([-4.0, 1.0, 1.0, 1.0])[[0, 2, 1, 3]]  # slices to the right, rows upwards, columns backwards
    >>> Orientation.of(affine)
    Orientation(order=(2, 1, 0), flipped=(False, True, False))
    """

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    @staticmethod
    def of(affine: NDArray[np.float64]) -> "Orientation":
        """Match the axes of an affine (voxel index → LPS mm) to P, I and R, each to the nearest."""
        axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        along = P_I_R_IN_LPS @ axes
        order = max(permutations(range(3)), key=lambda choice: sum(abs(along[i, j]) for i, j in enumerate(choice)))
        signs = [bool(along[i, j] < 0) for i, j in enumerate(order)]
        return Orientation((order[0], order[1], order[2]), (signs[0], signs[1], signs[2]))

    def apply(self, source: NDArray[T]) -> NDArray[T]:
        """(slices, rows, columns) → a view as (P, I, R)."""
        turned = source.transpose(self.order)
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]

    def undo(self, turned: NDArray[T]) -> NDArray[T]:
        """(P, I, R) → (slices, rows, columns)."""
        back = turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]
        return back.transpose(tuple(int(axis) for axis in np.argsort(self.order)))

    def spacing(self, source: Spacing) -> Spacing:
        """Spacing along P, I and R."""
        return source[self.order[0]], source[self.order[1]], source[self.order[2]]


def target_spacing(source: Spacing, resolution: Sequence[float] | Sequence[Sequence[float]]) -> Spacing:
    """The spacing to work at: the pack's own, or the source's within the pack's least and greatest.

    >>> target_spacing((0.5, 1.0, 4.0), [[0.75, 0.75, 1.65], [0.86, 1.2, 3.3]])
    (0.75, 1.0, 3.3)
    """
    if isinstance(resolution[0], Sequence):
        least, greatest = np.array(resolution, float)
        p, i, r = np.clip(source, least, greatest)
    else:
        p, i, r = np.array(resolution, float)
    return float(p), float(i), float(r)


def stretched_shape(shape: tuple[int, ...], source: Spacing, target: Spacing) -> tuple[int, int, int]:
    """Voxels along P, I and R after a change of spacing."""
    p, i, r = (max(1, round(n * s / t)) for n, s, t in zip(shape, source, target, strict=True))
    return p, i, r


def require_bounded(shape: tuple[int, ...], source: Spacing, target: Spacing) -> None:
    """See that a volume can be resampled before memory is set aside for it.

    Args:
        shape: voxels along P, I and R.
        source: the spacing that it has.
        target: the spacing that it is to have.

    Raises:
        EngineRefusal: it would become too large; the reason names its spacing, from the header.
    """
    voxels = [max(1.0, n * s / t) for n, s, t in zip(shape, source, target, strict=True)]
    count = float(np.prod(voxels))
    if count <= MOST_VOXELS:
        return
    old, new = (" × ".join(f"{mm:g}" for mm in spacing) for spacing in (source, target))
    gibibytes = count * np.dtype(np.float32).itemsize / (1 << 30)
    raise EngineRefusal(
        f"the voxels of the header are {old} mm: resampled to {new} mm they would be {count / 1e6:,.0f} million "
        f"({gibibytes:,.1f} GiB), and at most {MOST_VOXELS // 1_000_000} million are taken; is the spacing right?"
    )


def resample_image(image: NDArray[np.float32], source: Spacing, target: Spacing) -> NDArray[np.float32]:
    """Cubic splines, the border continued; axis by axis, which is the same for a grid that is only stretched."""
    if np.allclose(source, target, atol=SAME_MM):
        return image
    # In double precision: nnU-Net crops to what is not zero, and beside air only rounding errors would not be.
    coefficients = ndimage.spline_filter(np.pad(image, BORDER, mode="edge"), order=3, mode="nearest")
    steps = np.array(target) / np.array(source)
    shape = stretched_shape(image.shape, source, target)
    for axis in np.argsort(np.array(shape) / image.shape):  # what shrinks most first
        coefficients = _splines_along(coefficients, BORDER + np.arange(shape[axis]) * steps[axis], int(axis))
    return np.asarray(coefficients, np.float32)


def _splines_along(coefficients: NDArray[np.float64], places: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Evaluate cubic B-splines at places along an axis, in voxels."""
    first = np.floor(places).astype(np.intp)
    t = places - first
    weights = np.array([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (t + t**2 - t**3) + 1, t**3]) / 6
    last = coefficients.shape[axis] - 1
    values: NDArray[np.float64] | None = None
    for offset, weight in zip(range(-1, 3), weights, strict=True):
        part = coefficients.take(np.clip(first + offset, 0, last), axis)
        part *= weight.reshape([-1 if other == axis else 1 for other in range(3)])
        values = part if values is None else np.add(values, part, out=values)
    return np.asarray(values)


def resample_labels(labels: NDArray[T], source: Spacing, target: Spacing, shape: tuple[int, int, int]) -> NDArray[T]:
    """The nearest voxel for each voxel of a grid of `shape`, of two that are as near the farther from the first."""
    picks = [
        np.clip(np.floor(np.arange(n) * t / s + 0.5).astype(np.intp), 0, have - 1)
        for n, have, s, t in zip(shape, labels.shape, source, target, strict=True)
    ]
    return labels[np.ix_(*picks)]
