"""Labelmaps in SPINEPS' scheme as the result of an engine, and the truth of an MR phantom without thick slices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.contracts import SpineStructure, StructureKind, VolumeResult
from models.phantom.mr import LEVEL_NAMES, VolumeGrid
from models.phantom.mr_column import Column
from models.phantom.mr_plane import Plane
from models.phantom.mr_vertebra import SACRUM

DISC, END_PLATE = 100, 200
LEVELS = (
    "C1",
    *(f"C{i}" for i in range(2, 8)),
    *(f"T{i}" for i in range(1, 14)),
    *(f"L{i}" for i in range(1, 7)),
    "S1",
)
Labels = NDArray[np.uint8]


def result_of(subregions: Labels, vertebrae: Labels, affine: NDArray[np.float64]) -> VolumeResult:
    """Number the Segments of both labelmaps, (slices, rows, columns): vertebrae from the head, each with its disc.

    vertebrae: n for a vertebra, 100 + n for its disc, 200 + n for its end-plates.
    """
    present = {int(n) for n in np.unique(vertebrae)}
    chain = sorted((n for n in present if n in LEVEL_NAMES), key=lambda n: LEVELS.index(LEVEL_NAMES[n]))
    labelmap = np.zeros(vertebrae.shape, np.uint16)
    found: list[SpineStructure] = []

    def add(mask: NDArray[np.bool_], label: str, kind: StructureKind, named: tuple[str, int]) -> None:
        labelmap[mask] = len(found) + 1
        x, y, z = affine[:3, :3] @ np.argwhere(mask).mean(0) + affine[:3, 3]
        volume = float(mask.sum()) * abs(float(np.linalg.det(affine[:3, :3])))
        found.append(SpineStructure(len(found) + 1, label, kind, *named, 0.9, (x, y, z), volume))

    for n in chain:
        level = LEVEL_NAMES[n]
        add(vertebrae == n, level, "vertebra", (level, n))
        if n != SACRUM and DISC + n in present:
            add(vertebrae == DISC + n, f"disc below {level}", "disc", (level, DISC + n))
    structures = [int(n) for n in np.unique(subregions) if n]
    return VolumeResult(
        vertebra_labelmap=labelmap,
        subregion_labelmap=np.searchsorted([0, *structures], subregions).astype(np.uint16),
        vertebrae=tuple(found),
        substructures=tuple(
            SpineStructure(i, str(n), "substructure", None, n, 0.9, (0.0, 0.0, 0.0), 0.0)
            for i, n in enumerate(structures, start=1)
        ),
        numbering="landmark",
    )


def painted(grid: VolumeGrid, column: Column) -> tuple[Labels, Labels, NDArray[np.float64]]:
    """The truth of a phantom in the middle plane of each slice, without what a thick slice averages.

    Returns:
        Structures, vertebrae, and the affine to LPS mm.
    """
    plane = grid.plane
    row, column_mm = plane.pixel_mm
    structures, vertebrae = [], []
    for x in grid.xs:
        section = Plane(plane, float(x), np.zeros(plane.shape, np.uint8))
        column.paint(section)
        _, structure, vertebra = section.numbers()
        structures.append(structure)
        vertebrae.append(vertebra)
    affine = np.eye(4)
    affine[:3, :3] = [[grid.slice_mm, 0, 0], [0, 0, column_mm], [0, -row, 0]]
    affine[:3, 3] = [grid.xs[0], plane.origin[0], -plane.origin[1]]
    return np.stack(structures), np.stack(vertebrae), affine
