"""Scenes for training, drawn once and kept on disk; every visit exposes them anew."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.contracts import BodyRegion
from models.phantom.decoys import draw_decoy
from models.phantom.projection import LAYERS
from models.phantom.radiograph import draw_scene, expose

LONG_SIDE = 480
HELD_BACK = 1_000_000  # seeds from here on never train anything; docs/accuracy.md is measured on them


@dataclass(frozen=True)
class TrainingScene:
    """A phantom before exposure.

    planes: (layers, rows, columns) float16, in the order of `projection.LAYERS`.
    labelmap: (rows, columns) uint8, `anatomy.LEVEL_VALUE`, 255 where the field cuts a body.
    centroids_px, body_size_px: as in `radiograph.Scene`.
    """

    region: BodyRegion
    planes: NDArray[np.float16]
    labelmap: NDArray[np.uint8]
    centroids_px: Mapping[str, tuple[float, float]]
    body_size_px: Mapping[str, float]


class SceneStore:
    """A folder of scenes by seed; what is missing is drawn. Even seeds are lumbar, odd ones cervical."""

    def __init__(self, folder: Path, count: int) -> None:
        if count >= HELD_BACK:
            raise ValueError(f"{count} scenes would reach the held-back seeds from {HELD_BACK} on")
        self.folder, self.count = folder, count
        folder.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, seed: int) -> TrainingScene:
        """The scene of a seed below `count`."""
        path = self.folder / f"{seed}.npz"
        if not path.exists():
            self._draw(seed, path)
        with np.load(path) as file:
            facts = json.loads(str(file["facts"]))
            return TrainingScene(planes=file["planes"], labelmap=file["labelmap"], **facts)

    def _draw(self, seed: int, path: Path) -> None:
        region: BodyRegion = "cervical" if seed % 2 else "lumbar"
        scene = draw_scene(np.random.default_rng([seed, 10]), region, LONG_SIDE)
        facts = {"region": region, "centroids_px": dict(scene.centroids_px), "body_size_px": dict(scene.body_size_px)}
        planes = np.stack([scene.layers.planes[name] for name in LAYERS]).astype(np.float16)
        part = path.with_suffix(".part.npz")
        np.savez(part, planes=planes, labelmap=scene.labelmap, facts=json.dumps(facts))
        part.replace(path)

    def draw(self, rng: np.random.Generator) -> TrainingScene:
        """Any scene."""
        return self[int(rng.integers(0, self.count))]


def exposed(
    planes: NDArray[np.float16], rng: np.random.Generator, *, long_side: int | None = None
) -> NDArray[np.float32]:
    """Expose a stack of planes, first shrunk to `long_side` where given → (rows, columns) float32 in 0–1."""
    stack = torch.from_numpy(planes).float()
    if long_side is not None:
        factor = long_side / max(stack.shape[1:])
        size = [round(n * factor) for n in stack.shape[1:]]
        stack = functional.interpolate(stack[None], size=size, mode="area")[0]
    image = expose(dict(zip(LAYERS, stack.numpy(), strict=True)), rng)
    return 1 - image if rng.random() < 0.04 else image


def decoy(rng: np.random.Generator, long_side: int) -> NDArray[np.float32]:
    """An exposed picture without a lateral spine, (rows, columns) float32 in 0–1."""
    return expose(draw_decoy(rng, long_side).planes, rng)
