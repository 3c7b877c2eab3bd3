"""MR scenes for training, drawn once and kept on disk; every visit scans them anew, under another contrast."""

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contracts import MrContrast
from models.phantom.anatomy import draw_whole_spine
from models.phantom.mr import MrRegion, VolumeGrid, draw_grid, draw_scene
from models.phantom.mr_scanner import Tissues, scan
from models.training.scenes import HELD_BACK

# Structures in the order of the network's classes 1…14; MIRRORED swaps left and right.
STRUCTURES = (41, 42, 43, 44, 45, 46, 47, 48, 49, 60, 61, 62, 100, 26)
MIRRORED = {43: 44, 44: 43, 45: 46, 46: 45, 47: 48, 48: 47}
# mm, (R, I, P): what the semantic network sees.
SPACING_MM = (3.5, 0.9, 0.9)
CONTRASTS: tuple[tuple[MrContrast, float], ...] = (("T2w", 0.62), ("T1w", 0.12), ("STIR", 0.12), ("other", 0.14))
# The neck is the hardest: small bodies, thin discs.
REGION_SHARE: tuple[tuple[MrRegion, float], ...] = (("cervical", 0.4), ("thoracic", 0.15), ("lumbar", 0.45))
LARGEST_MM = 330.0  # longer fields show the network nothing that a window of it does not


def _table(mirrored: bool) -> NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    for index, structure in enumerate(STRUCTURES, start=1):
        table[structure] = STRUCTURES.index(MIRRORED.get(structure, structure)) + 1 if mirrored else index
    return table


CLASS_OF_STRUCTURE, CLASS_OF_MIRRORED = _table(False), _table(True)


@dataclass(frozen=True)
class MrTrainingScene:
    """A phantom before the scan: tissues, and the truth on the slices' own grid, as in `phantom.mr.MrScene`."""

    tissues: Tissues
    subregions: NDArray[np.uint8]
    vertebrae: NDArray[np.uint8]


class MrSceneStore:
    """A folder of MR scenes by seed; what is missing is drawn."""

    def __init__(self, folder: Path, count: int) -> None:
        if count >= HELD_BACK:
            raise ValueError(f"{count} scenes would reach the held-back seeds from {HELD_BACK} on")
        self.folder, self.count = folder, count
        folder.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, seed: int) -> MrTrainingScene:
        """The scene of a seed below `count`."""
        path = self.folder / f"{seed}.npz"
        if not path.exists():
            self._draw(seed, path)
        with np.load(path) as file:
            tissues = Tissues(file["tissue"], file["vertebra"], float(file["slice_mm"]), tuple(file["pixel_mm"]))
            return MrTrainingScene(tissues, file["subregions"], file["vertebrae"])

    def _draw(self, seed: int, path: Path) -> None:
        rng = np.random.default_rng([seed, 11])
        spine = draw_whole_spine(rng)
        regions, shares = zip(*REGION_SHARE, strict=True)
        region = regions[int(rng.choice(len(regions), p=shares))]
        grid = worth_training(draw_grid(rng, spine, region, isotropic=bool(rng.random() < 0.08)))
        scene = draw_scene(rng, grid, spine)
        part = path.with_suffix(f".{threading.get_ident()}.part.npz")  # two workers may want the same one
        np.savez_compressed(
            part,
            tissue=scene.tissues.tissue,
            vertebra=scene.tissues.vertebra,
            slice_mm=scene.tissues.slice_mm,
            pixel_mm=scene.tissues.pixel_mm,
            subregions=scene.subregions,
            vertebrae=scene.vertebrae,
        )
        part.replace(path)

    def draw(self, rng: np.random.Generator) -> MrTrainingScene:
        """Any scene."""
        return self[int(rng.integers(0, self.count))]


def worth_training(grid: VolumeGrid) -> VolumeGrid:
    """The same field of view no higher than `LARGEST_MM`; isotropic ones in slices of the network's thickness."""
    plane = grid.plane
    shape = (min(plane.shape[0], round(LARGEST_MM / plane.pixel_mm[0])), plane.shape[1])
    xs, slice_mm = grid.xs, grid.slice_mm
    if grid.planes == 1:
        step = max(1, round(SPACING_MM[0] / slice_mm))
        xs, slice_mm = xs[::step], slice_mm * step
    return replace(grid, plane=replace(plane, shape=shape), xs=xs, slice_mm=slice_mm)


def scanned(scene: MrTrainingScene, rng: np.random.Generator) -> NDArray[np.float32]:
    """Scan a scene under a contrast drawn at random → (slices, rows, columns) float32, z-scored."""
    contrasts, shares = zip(*CONTRASTS, strict=True)
    return z_scored(scan(scene.tissues, rng, contrasts[int(rng.choice(len(contrasts), p=shares))]))


def z_scored(image: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Normalise an image by its own mean and standard deviation, as nnU-Net does."""
    return np.asarray((image - image.mean()) / (image.std() + 1e-6), np.float32)
