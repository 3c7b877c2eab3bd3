"""A small result of an MR volume: two vertebrae, the disc between them, and their structures, as boxes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.contracts import SpineStructure, VolumeResult
from operators.dicom.identity import AlgorithmIdentity
from operators.dicom.volume import SliceStack, plan_volumes
from tests.made_mr import SAGITTAL, made_enhanced_mr, made_mr, series_of

ALGORITHM = AlgorithmIdentity("spineps-made", "1", "ab" * 32, "0.1")

SHAPE = (7, 24, 20)
# (slices, rows, columns) of each, head first where rows run to the feet; SPINEPS' structure.
VERTEBRA_BOXES = {"L4": (slice(1, 6), slice(3, 9), slice(4, 11)), "L5": (slice(1, 6), slice(12, 18), slice(4, 11))}
DISC_BOX = (slice(1, 6), slice(9, 12), slice(4, 11))
ARCH_BOXES = ((slice(2, 5), slice(4, 8), slice(14, 17)), (slice(2, 5), slice(13, 17), slice(14, 17)))
CANAL_BOX = (slice(2, 5), slice(0, 24), slice(11, 14))


def made_voxels(seed: int = 0) -> NDArray[np.uint16]:
    """Noise, brighter in the bodies."""
    voxels = np.random.default_rng(seed).integers(0, 200, SHAPE).astype(np.uint16)
    for box in VERTEBRA_BOXES.values():
        voxels[box] += 600
    return voxels


def made_result(affine: NDArray[np.float64] = SAGITTAL) -> VolumeResult:
    """Return the result on the grid of an affine; every structure has its true centroid and volume."""
    vertebrae, subregions = np.zeros(SHAPE, np.uint16), np.zeros(SHAPE, np.uint16)
    for number, box, arch in zip((1, 3), VERTEBRA_BOXES.values(), ARCH_BOXES, strict=True):
        vertebrae[box] = vertebrae[arch] = number
        subregions[box], subregions[arch] = 2, 1
    vertebrae[DISC_BOX], subregions[DISC_BOX], subregions[CANAL_BOX] = 2, 4, 3

    def structure(labelmap: NDArray[np.uint16], number: int, *named: object) -> SpineStructure:
        label, kind, level, spineps_label = named
        places = np.argwhere(labelmap == number)
        x, y, z = affine[:3, :3] @ places.mean(0) + affine[:3, 3]
        volume = len(places) * abs(float(np.linalg.det(affine[:3, :3])))
        return SpineStructure(number, label, kind, level, spineps_label, 0.9, (x, y, z), volume)  # type: ignore[arg-type]

    return VolumeResult(
        vertebra_labelmap=vertebrae,
        subregion_labelmap=subregions,
        vertebrae=(
            structure(vertebrae, 1, "L4", "vertebra", "L4", 23),
            structure(vertebrae, 2, "L4/L5", "disc", "L4", 123),
            structure(vertebrae, 3, "L5", "vertebra", "L5", 24),
        ),
        substructures=(
            structure(subregions, 1, "vertebral arch", "substructure", None, 41),
            structure(subregions, 2, "vertebral body", "substructure", None, 49),
            structure(subregions, 3, "spinal canal", "substructure", None, 61),
            structure(subregions, 4, "intervertebral disc", "substructure", None, 100),
        ),
        numbering="landmark",
        warnings=("the lowest disc is faint",),
    )


def made_stack(
    folder: Path,
    affine: NDArray[np.float64] = SAGITTAL,
    *,
    enhanced: bool = False,
    attributes: Mapping[str, object] | None = None,
) -> SliceStack:
    """Return the stack that a made Series is planned as; attributes as for `made_mr`, for single frames."""
    if enhanced:
        return plan_volumes(series_of([made_enhanced_mr(made_voxels(), affine)], folder)).chosen
    datasets = made_mr(made_voxels(), affine, **(attributes or {}))  # type: ignore[arg-type]
    return plan_volumes(series_of(datasets, folder)).chosen


def made_result_on(stack: SliceStack) -> VolumeResult:
    """Return the made result on the grid of a stack, which may count its slices from the other side."""
    return made_result(stack.affine)
