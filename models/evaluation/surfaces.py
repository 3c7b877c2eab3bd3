"""Surface distances between two masks, by Euclidean distance transforms."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class SurfaceDistance:
    """How far two surfaces lie apart, in the unit of the spacing (pixels without one).

    average: mean over the voxels of both surfaces of the distance to the other surface (ASSD).
    hausdorff_95: the larger of the two directed 95th percentiles (HD95).
    """

    average: float
    hausdorff_95: float


def surface_distance(
    first: BoolArray, second: BoolArray, *, spacing: tuple[float, ...] | None = None
) -> SurfaceDistance:
    """Measure the distance between the surfaces of two masks.

    The surface of a mask is the set of its voxels with a face neighbour outside it, or outside the array.

    first, second: masks of one shape, any number of dimensions, neither empty.
    spacing: size of a voxel along each axis, in axis order; None counts in pixels.

    Raises:
        ValueError: the shapes differ, a mask is empty, or the spacing has another number of axes.
    """
    if first.shape != second.shape:
        raise ValueError(f"masks of {first.shape} and {second.shape} voxels cannot be compared")
    if spacing is not None and len(spacing) != first.ndim:
        raise ValueError(f"a spacing of {len(spacing)} axes does not fit masks of {first.ndim}")
    box = _bounding_box(first | second)
    surfaces = [_surface(mask[box]) for mask in (first, second)]
    if not all(surface.any() for surface in surfaces):
        raise ValueError("an empty mask has no surface")
    there, back = (
        ndimage.distance_transform_edt(~surfaces[1 - index], sampling=spacing)[surfaces[index]] for index in (0, 1)
    )
    return SurfaceDistance(
        average=float((there.sum() + back.sum()) / (there.size + back.size)),
        hausdorff_95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
    )


def _bounding_box(mask: BoolArray) -> tuple[slice, ...]:
    """The smallest box around the mask; distances between masks are the same inside it, and far cheaper."""
    extents = (np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
               for axis in range(mask.ndim))  # fmt: skip
    return tuple(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0) for used in extents)


def _surface(mask: BoolArray) -> BoolArray:
    """The voxels of a mask that an erosion by one face neighbour takes away."""
    eroded: BoolArray = ndimage.binary_erosion(mask)
    return mask & ~eroded
