"""Training of the instance network: a vertebra and its two neighbours, told apart in cutouts of structures.

The frame is SPINEPS' own: (P, I, R), axes towards the back, the feet and the right.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.device import runs_half
from models.phantom.mr import LEVEL_NAMES
from models.phantom.mr_vertebra import SACRUM
from models.training.spineps_scenes import MIRRORED, MrSceneStore, MrTrainingScene

BODY = 49
# (P, I, R): no finer than needed, since the structures' own edges are kept when the two are combined; fine enough for a
# cervical body in slices of 3.5 mm to outlast being eroded twice, as the published engine does it.
SPACING_MM = (1.0, 1.0, 2.0)
# Voxels, 176 × 152 × 64 mm: three lumbar vertebrae with their spinous processes, of which one in twenty has its tip
# more than 72 mm behind its body's middle, the furthest 82 mm. What lies outside falls to a neighbour.
CUTOUT = (176, 152, 32)
CLASSES_IN, CLASSES_OUT = 10, 4  # nothing and structures 41–49; nothing, the middle one, the one above, the one below
WIDTH, STAGES = 8, (1, 2, 4, 8)
CHAIN = tuple(number for number in LEVEL_NAMES if number != SACRUM)
WOBBLE_MM = np.array((12.0, 6.4, 6.4))  # (R, I, P): from knot to knot of wobbling edges
STRAY_MM = np.array((3.0, 6.4, 6.4))  # (R, I, P): of faults from the structures, standard deviation
LEAST_VOXELS = 60  # of a body in view, to be a cutout's middle


def settings() -> dict[str, Any]:
    """What pack.json says of the instance network."""
    return {
        "kind": "unet3d",
        "dim": WIDTH,
        "dim_mults": list(STAGES),
        "channels": CLASSES_IN,
        "classes": CLASSES_OUT,
        "cutout_size": list(CUTOUT),
        "resolution": list(SPACING_MM),
    }


@dataclass(frozen=True)
class Labels:
    """A scene in (R, I, P): structures as the network's classes 0–9, and vertebrae by number (0 = none)."""

    structures: NDArray[np.uint8]
    vertebrae: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Cutout:
    """structures: (P, I, R) int64, 0–9; target: the same grid, 0–3."""

    structures: Tensor
    target: Tensor


def labels_of(scene: MrTrainingScene, *, mirrored: bool) -> Labels:
    """A scene's truth as the network sees it: left and right swapped where the person is mirrored."""
    table = np.zeros(256, np.uint8)
    for structure in range(41, 50):
        table[structure] = (MIRRORED.get(structure, structure) if mirrored else structure) - 40
    structures = table[scene.subregions]
    vertebrae = np.where((structures > 0) & (scene.vertebrae < SACRUM + 3), scene.vertebrae, 0).astype(np.uint8)
    spacing = (scene.tissues.slice_mm, *scene.tissues.pixel_mm)
    if mirrored:
        return Labels(structures, vertebrae, spacing)
    return Labels(np.ascontiguousarray(structures[::-1]), np.ascontiguousarray(vertebrae[::-1]), spacing)


def draw_cutouts(labels: Labels, rng: np.random.Generator, count: int) -> list[Cutout]:
    """Cut around bodies drawn by chance; fewer where the field shows none."""
    bodies = labels.vertebrae * (labels.structures == BODY - 40)
    numbers, voxels = np.unique(bodies, return_counts=True)
    seen = [int(n) for n, v in zip(numbers, voxels, strict=True) if n and v >= LEAST_VOXELS]
    if not seen:
        return []
    return [_cutout(labels, bodies, int(rng.choice(seen)), rng) for _ in range(count)]


def _cutout(labels: Labels, bodies: NDArray[np.uint8], number: int, rng: np.random.Generator) -> Cutout:
    centre = np.argwhere(bodies == number).mean(0) + rng.normal(0, 2.0, 3) / np.array(labels.spacing_mm)
    grid = _sampling_grid(labels, centre, rng)
    both = torch.from_numpy(np.stack([labels.structures, labels.vertebrae]).astype(np.float32))[None]
    structures, vertebrae = functional.grid_sample(both, grid, mode="nearest", align_corners=False)[0].long()
    place = CHAIN.index(number)
    present = [other for other in CHAIN if bool((labels.vertebrae == other).any())]
    target = (vertebrae == number).long()
    for wanted, neighbours in ((2, reversed(CHAIN[:place])), (3, CHAIN[place + 1 :])):
        neighbour = next((other for other in neighbours if other in present), None)
        if neighbour is not None:
            target[vertebrae == neighbour] = wanted
    structures, target = _spoil(structures, target, rng)
    return Cutout(structures.permute(2, 1, 0).contiguous(), target.permute(2, 1, 0).contiguous())


def _sampling_grid(labels: Labels, centre: NDArray[np.float64], rng: np.random.Generator) -> Tensor:
    """The cutout's voxels in the scene, (1, R, I, P, 3) for grid_sample: turned, scaled, with wobbling edges."""
    angle, scale = rng.normal(0, 0.12), np.exp(rng.normal(0, 0.10))
    size = np.array(CUTOUT[::-1])
    step = np.array(SPACING_MM[::-1]) * scale
    axes = [(torch.arange(n) - n // 2).float() * float(s) for n, s in zip(size, step, strict=True)]
    r, i, p = torch.meshgrid(*axes, indexing="ij")
    mm = torch.stack([r, i * np.cos(angle) - p * np.sin(angle), i * np.sin(angle) + p * np.cos(angle)])
    knots = np.rint(size * np.array(SPACING_MM[::-1]) / WOBBLE_MM).astype(int)
    coarse = torch.from_numpy(rng.normal(0, 1, (1, 3, *knots)).astype(np.float32))
    wobble = functional.interpolate(coarse, size=tuple(size), mode="trilinear")[0]
    mm = mm + wobble * float(rng.uniform(0, 2.2)) * torch.tensor([0.6, 1.0, 1.0])[:, None, None, None]
    spacing = torch.tensor(labels.spacing_mm)[:, None, None, None]
    voxel = mm / spacing + torch.tensor(centre, dtype=torch.float32)[:, None, None, None]
    shape = torch.tensor(labels.structures.shape)[:, None, None, None]
    return ((2 * voxel + 1) / shape - 1).flip(0).movedim(0, -1)[None].float()


def _spoil(structures: Tensor, target: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Holes, wrong names and false islands, as a semantic network leaves them."""
    found = torch.nonzero(structures)
    for _ in range(int(rng.integers(0, 12)) if len(found) else 0):
        stray = rng.normal(0, STRAY_MM / np.array(SPACING_MM[::-1])).round()
        middle = found[int(rng.integers(len(found)))] + torch.from_numpy(stray).long()
        blob, where = _ball(structures.shape, middle, rng)
        fault = rng.random()
        inside = structures[where] > 0
        if fault < 0.45:  # missed
            structures[where][blob] = 0
            target[where][blob] = 0
        elif fault < 0.8:  # another structure's name
            structures[where][blob & inside] = int(rng.integers(1, CLASSES_IN))
        elif fault < 0.9:  # a body that runs on over the disc
            structures[where][blob & ~inside] = BODY - 40
        else:
            structures[where][blob & ~inside] = int(rng.integers(1, CLASSES_IN))
    return structures, target


def _ball(shape: torch.Size, middle: Tensor, rng: np.random.Generator) -> tuple[Tensor, tuple[slice, ...]]:
    """An ellipsoid of 3–14 mm around a voxel, and the box around it, clipped to the cutout."""
    radius = np.maximum(float(rng.uniform(3, 14)) / 2 / np.array(SPACING_MM[::-1]), 0.6)
    low = [max(0, int(m) - int(r) - 1) for m, r in zip(middle, radius, strict=True)]
    high = [max(lo, min(n, int(m) + int(r) + 2)) for lo, n, m, r in zip(low, shape, middle, radius, strict=True)]
    where = tuple(slice(lo, hi) for lo, hi in zip(low, high, strict=True))
    axes = [(torch.arange(w.start, w.stop) - m) / r for w, m, r in zip(where, middle, radius, strict=True)]
    a, b, c = torch.meshgrid(*axes, indexing="ij")
    return a**2 + b**2 + c**2 <= 1, where


class InstanceStep:
    """Cross-entropy and soft Dice of the three vertebrae."""

    def __init__(self, network: nn.Module, store: MrSceneStore, *, batch: int = 2, device: str = "cpu") -> None:
        self.network, self.store, self.batch, self.device = network, store, batch, device
        self.weights = torch.tensor([1.0, 2.0, 2.0, 2.0], device=device)

    def __call__(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss of a fresh batch."""
        self.network.train()
        cutouts: list[Cutout] = []
        while not cutouts:
            scene = self.store.draw(rng)
            cutouts = draw_cutouts(labels_of(scene, mirrored=bool(rng.random() < 0.5)), rng, self.batch)
        return self.loss(cutouts)

    def loss(self, cutouts: list[Cutout]) -> tuple[Tensor, dict[str, float]]:
        """The loss of given cutouts."""
        structures = torch.stack([cutout.structures for cutout in cutouts]).to(self.device)
        target = torch.stack([cutout.target for cutout in cutouts]).to(self.device)
        one_hot = functional.one_hot(structures, CLASSES_IN).movedim(-1, 1).float()
        with torch.autocast(self.device, torch.bfloat16, enabled=runs_half(torch.device(self.device))):
            logits = self.network(one_hot)
        logits = logits.float()
        entropy = functional.cross_entropy(logits, target, self.weights)
        probability = logits.softmax(1)[:, 1:]
        truth = functional.one_hot(target, CLASSES_OUT).movedim(-1, 1)[:, 1:].float()
        overlap = (probability * truth).sum((2, 3, 4))
        dice = (2 * overlap + 20) / ((probability + truth).sum((2, 3, 4)) + 20)
        return 5 * entropy + 1 - dice.mean(), {"dice": dice.mean().item()}
