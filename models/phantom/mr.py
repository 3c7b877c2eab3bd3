"""Sagittal MR volumes of the parametric spine, with known truth in SPINEPS' label scheme.

Three steps that training uses apart: `draw_scene` (who lies there and what the field of view is), `Tissues` (what
lies where, a stack of planes per slice), `scan` (what the scanner makes of them).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.contracts import MrContrast
from models.phantom.anatomy import Spine, draw_whole_spine
from models.phantom.mr_column import Column
from models.phantom.mr_plane import Plane, PlaneGrid
from models.phantom.mr_scanner import Tissues, scan
from models.phantom.mr_surroundings import Surroundings
from models.phantom.mr_vertebra import SACRUM, VERTEBRA_NUMBER

MrRegion = Literal["cervical", "thoracic", "lumbar", "whole"]
REGIONS: tuple[MrRegion, ...] = ("cervical", "thoracic", "lumbar", "whole")
LEVEL_NAMES: Mapping[int, str] = {
    **{number: level for level, number in VERTEBRA_NUMBER.items() if number != SACRUM},
    1: "C1",
    SACRUM: "S1",
}
# region → levels between which the middle of the field lies, and its height in mm
FIELDS: Mapping[MrRegion, tuple[str, str, float, float]] = {
    "cervical": ("C3", "C7", 170, 290),
    "thoracic": ("T5", "T9", 270, 400),
    "lumbar": ("T12", "L5", 220, 400),
    "whole": ("T8", "T11", 520, 720),
}
LEAST_VOXELS = 20  # of a body in view, for its level to count as seen


@dataclass(frozen=True)
class VolumeGrid:
    """The slices of a field of view: `plane` for each, `xs` their middles in mm, `planes` cut within each."""

    plane: PlaneGrid
    xs: tuple[float, ...]
    slice_mm: float
    thickness_mm: float
    planes: int


@dataclass(frozen=True)
class MrScene:
    """A person in a field of view, and the truth on the grid of the slices.

    subregions: (slices, rows, columns) uint8, SPINEPS' structures; vertebrae: the same, vertebrae, discs, end-plates.
    """

    spine: Spine
    grid: VolumeGrid
    tissues: Tissues
    subregions: NDArray[np.uint8]
    vertebrae: NDArray[np.uint8]


@dataclass(frozen=True)
class MrSequence:
    """The acquisition a contrast stands for: echo, repetition and inversion time in ms, field strength in T."""

    te_ms: float
    tr_ms: float
    ti_ms: float | None
    field_strength_t: float
    name: str


@dataclass(frozen=True)
class MrPhantom:
    """A synthetic sagittal MR volume and its truth.

    voxels: (slices, rows, columns) float32, not negative; affine: voxel index → LPS mm, as in SpineVolume.
    subregions, vertebrae: uint8 on the same grid in SPINEPS' scheme. levels: label → level of the vertebrae in view.
    landmarks_in_view: of C2 and S1. findings: what is unusual about the person.
    """

    voxels: NDArray[np.float32]
    affine: NDArray[np.float64]
    contrast: MrContrast
    region: MrRegion
    subregions: NDArray[np.uint8]
    vertebrae: NDArray[np.uint8]
    levels: Mapping[int, str]
    landmarks_in_view: tuple[str, ...]
    findings: tuple[str, ...]
    sequence: MrSequence


def draw_scene(rng: np.random.Generator, grid: VolumeGrid, spine: Spine) -> MrScene:
    """Paint a person in a field of view.

    Args:
        rng: the only source of chance.
        grid: where the slices lie.
        spine: who lies there.
    """
    surroundings = Surroundings.draw(rng, spine, grid.plane)
    column = Column.draw(rng, spine, surroundings)
    shape = (len(grid.xs), grid.planes, *grid.plane.shape)
    numbers = np.empty((3, *shape), np.uint8)
    reach = max(grid.xs[-1] - grid.xs[0], 1e-3)
    offsets = (np.arange(grid.planes) - (grid.planes - 1) / 2) * grid.thickness_mm / grid.planes
    for index, middle in enumerate(grid.xs):
        for sub, offset in enumerate(offsets):
            x = middle + float(offset)
            plane = Plane(grid.plane, x, surroundings.paint(x, (middle - grid.xs[0]) / reach))
            column.paint(plane)
            numbers[:, index, sub] = plane.numbers()
    tissues = Tissues(numbers[0], numbers[2], grid.slice_mm, grid.plane.pixel_mm)
    return MrScene(spine, grid, tissues, *_agreed(numbers[1], numbers[2]))


def _agreed(structures: NDArray[np.uint8], vertebrae: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Truth of a slice from its planes: where first and last agree in both maps that, else the middle one."""
    middle = structures.shape[1] // 2
    agree = (structures[:, 0] == structures[:, -1]) & (vertebrae[:, 0] == vertebrae[:, -1])
    return (
        np.where(agree, structures[:, 0], structures[:, middle]),
        np.where(agree, vertebrae[:, 0], vertebrae[:, middle]),
    )


def draw_grid(rng: np.random.Generator, spine: Spine, region: MrRegion, *, isotropic: bool = False) -> VolumeGrid:
    """Draw a field of view as scanners are set: 11–21 slices of 3–5 mm, or isotropic voxels of 0.8–1.2 mm."""
    upper, lower, least, most = FIELDS[region]
    between = [item for item in spine.vertebrae if item.level in (upper, lower)]
    height = rng.uniform(least, most) * spine.stature**0.5
    width = height * rng.uniform(0.7, 1.0) if region != "whole" else rng.uniform(200, 320)
    pixel = float(rng.uniform(0.55, 1.1) if not isotropic else rng.uniform(0.8, 1.2))
    if region == "whole":
        pixel = max(pixel, 0.85)
    shape = (round(height / pixel), round(width / pixel))
    share = rng.uniform(0, 1)
    centre = between[0].centre * (1 - share) + between[-1].centre * share
    row_share = rng.uniform(0.42, 0.58)
    origin = (float(centre[1] - width * rng.uniform(0.35, 0.72)), float(centre[2] - height * row_share))
    if isotropic:
        slice_mm = thickness = pixel
        count, planes = int(rng.uniform(50, 80) / pixel), 1
    else:
        thickness = float(rng.uniform(2.8, 4.6))
        slice_mm, planes = thickness * float(rng.uniform(1.0, 1.2)), 3
        count = int(np.clip(round(rng.uniform(48, 78) / slice_mm), 11, 21))
    middle = float(np.mean([item.centre[0] for item in spine.vertebrae
                            if origin[1] < item.centre[2] < origin[1] + height])) + rng.normal(0, 4)  # fmt: skip
    xs = tuple(float(middle + (i - (count - 1) / 2) * slice_mm) for i in range(count))
    return VolumeGrid(PlaneGrid(shape, (pixel, pixel), origin), xs, slice_mm, thickness, planes)


def draw_sequence(rng: np.random.Generator, contrast: MrContrast) -> MrSequence:
    """Draw the times of a turbo spin echo of a contrast."""
    te, tr, ti = {
        "T2w": (rng.uniform(80, 130), rng.uniform(2500, 5500), None),
        "T1w": (rng.uniform(7, 20), rng.uniform(400, 800), None),
        "STIR": (rng.uniform(30, 75), rng.uniform(3000, 6000), rng.uniform(140, 225)),
        "other": (rng.uniform(20, 60), rng.uniform(1200, 2500), None),
    }[contrast]
    ti = None if ti is None else round(float(ti), 1)
    return MrSequence(round(float(te), 1), round(float(tr), 1), ti, float(rng.choice([1.5, 3.0])), "tse")


def mr_phantom(
    seed: int, *, region: MrRegion | None = None, contrast: MrContrast | None = None, isotropic: bool = False
) -> MrPhantom:
    """A synthetic sagittal MR volume with its truth; the same seed gives the same volume.

    Args:
        seed: chooses everything, region and contrast too unless they are given.
        region: "cervical", "thoracic", "lumbar" or "whole".
        contrast: "T2w", "T1w", "STIR" or "other".
        isotropic: voxels of 0.8–1.2 mm instead of slices of 3–5 mm.

    Returns:
        The volume and its truth on the same grid.
    """
    rng = np.random.default_rng([seed, 21])
    drawn_region = REGIONS[int(rng.choice(4, p=[0.22, 0.18, 0.5, 0.1]))]
    drawn_contrast: MrContrast = "T2w" if rng.random() < 0.7 else "T1w" if rng.random() < 0.5 else "STIR"
    region, contrast = region or drawn_region, contrast or drawn_contrast
    spine = draw_whole_spine(rng)
    grid = draw_grid(rng, spine, region, isotropic=isotropic)
    scene = draw_scene(rng, grid, spine)
    voxels = scan(scene.tissues, rng, contrast)
    seen = [int(label) for label in np.unique(scene.vertebrae[scene.subregions == 49])]
    if (scene.subregions == SACRUM).sum() >= LEAST_VOXELS:
        seen.append(SACRUM)
    levels = {label: LEVEL_NAMES[label] for label in seen}
    return MrPhantom(
        voxels=voxels,
        affine=_affine(rng, grid),
        contrast=contrast,
        region=region,
        subregions=scene.subregions,
        vertebrae=scene.vertebrae,
        levels=levels,
        landmarks_in_view=tuple(level for level in ("C2", "S1") if level in levels.values()),
        findings=spine.findings,
        sequence=draw_sequence(rng, contrast),
    )


def _affine(rng: np.random.Generator, grid: VolumeGrid) -> NDArray[np.float64]:
    """Voxel index → LPS mm: x runs to the left, u backwards, v to the feet; turned as patients lie."""
    row_mm, column_mm = grid.plane.pixel_mm
    turn = rotation(*rng.normal(0, 0.04, 3))
    axes = np.array([[grid.slice_mm, 0, 0], [0, 0, column_mm], [0, -row_mm, 0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes
    affine[:3, 3] = turn @ np.array([grid.xs[0], grid.plane.origin[0], -grid.plane.origin[1]])
    return affine


def rotation(about_x: float, about_y: float, about_z: float) -> NDArray[np.float64]:
    """(3, 3) rotation about x, then y, then z, angles in radians."""
    cx, sx, cy, sy, cz, sz = (f(a) for a in (about_x, about_y, about_z) for f in (np.cos, np.sin))
    first = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    second = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    third = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(third @ second @ first, np.float64)
