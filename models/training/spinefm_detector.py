"""Training of the compact detector: whole phantoms, shrunk, turned a little, mirrored."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.device import runs_half
from models.phantom.anatomy import LEVEL_VALUE
from models.phantom.radiograph import CUT
from models.spinefm.compact import CORE, CompactDetector
from models.training.scenes import SceneStore, TrainingScene, decoy, exposed
from models.training.warp import warp

CLASS_OF_VALUE = np.ones(256, np.uint8)
CLASS_OF_VALUE[0] = 0
CLASS_OF_VALUE[LEVEL_VALUE["C2"]] = 2
CLASS_OF_VALUE[LEVEL_VALUE["S1"]] = 3
IGNORE = 255
for _value in (CUT, *(LEVEL_VALUE[f"T{i}"] for i in (2, 3, 4))):  # cut by the field; under the shoulders
    CLASS_OF_VALUE[_value] = IGNORE
CORE_RADIUS = 0.30  # of the body size


def _core(scene: TrainingScene) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rows, columns = scene.labelmap.shape
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    core = np.zeros((rows, columns), np.float32)
    for level, (cx, cy) in scene.centroids_px.items():
        radius = CORE_RADIUS * scene.body_size_px[level]
        core = np.maximum(core, ((x - cx) ** 2 + (y - cy) ** 2 < radius**2) & (scene.labelmap == LEVEL_VALUE[level]))
    return core


def draw_example(store: SceneStore, rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """One training example → image, classes (255: ignore), core; each (size, size)."""
    if rng.random() < 0.07:
        image = warp(
            decoy(rng, 300), (150 + rng.normal(0, 10), 150 + rng.normal(0, 10)), 300 * rng.uniform(0.8, 1.1), size
        )
        return image, torch.zeros(size, size, dtype=torch.long), torch.zeros(size, size)
    scene = store.draw(rng)
    planes, bare = scene.planes, rng.random() < 0.03
    if bare:  # everything but the spine
        planes = planes.copy()
        planes[:2] = 0
    long_side = max(planes.shape[1:])
    picture = exposed(planes, rng, long_side=size + 44)
    shrink = (size + 44) / long_side
    fit = max(picture.shape) * float(np.exp(rng.normal(0.02, 0.1)))
    # the engine puts the picture into the upper left corner of the square; so do we, give or take
    centre = (fit / 2 + rng.normal(0, 5), fit / 2 + rng.normal(0, 5))
    mirror = bool(rng.random() < 0.5)
    if mirror:
        centre = (picture.shape[1] - 1 - centre[0], centre[1])
    angle = rng.normal(0, 0.06)
    image = warp(picture, centre, fit, size, angle=angle, mirror=mirror)
    if bare:
        return image, torch.zeros(size, size, dtype=torch.long), torch.zeros(size, size)
    there = ((centre[0] + 0.5) / shrink - 0.5, (centre[1] + 0.5) / shrink - 0.5)
    classes = warp(
        CLASS_OF_VALUE[scene.labelmap].astype(np.float32),
        there,
        fit / shrink,
        size,
        angle=angle,
        mirror=mirror,
        nearest=True,
    )
    core = warp(_core(scene), there, fit / shrink, size, angle=angle, mirror=mirror, nearest=True)
    return image, classes.long(), core


class DetectorStep:
    """Cross-entropy and Dice over the classes, cross-entropy for the cores."""

    def __init__(self, network: CompactDetector, store: SceneStore, *, batch: int = 8, device: str = "cpu") -> None:
        self.network, self.store, self.batch, self.device = network, store, batch, device

    def __call__(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss of a fresh batch."""
        self.network.train()
        examples = [draw_example(self.store, rng, self.network.size) for _ in range(self.batch)]
        image, classes, core = (torch.stack(c).to(self.device) for c in zip(*examples, strict=True))
        with torch.autocast(self.device, torch.bfloat16, enabled=runs_half(torch.device(self.device))):
            logits = self.network(image[:, None].to(memory_format=torch.channels_last))
        valid = (classes != IGNORE).float()
        weights = torch.tensor([1.0, 2.0, 3.0, 3.0], device=self.device)
        entropy = functional.cross_entropy(logits[:, :CORE], classes, weights, ignore_index=IGNORE)
        probability = logits[:, :CORE].softmax(1)[:, 1:] * valid[:, None]
        truth = (
            functional.one_hot(torch.where(classes == IGNORE, 0, classes), CORE).movedim(-1, 1)[:, 1:].float()
            * valid[:, None]
        )
        overlap, total = (probability * truth).sum((0, 2, 3)), (probability + truth).sum((0, 2, 3))
        dice = 1 - ((2 * overlap + 20) / (total + 20)).mean()
        cores = functional.binary_cross_entropy_with_logits(logits[:, CORE], core, weight=valid * (1 + 4 * core))
        return entropy + dice + 2 * cores, {"dice": dice.item(), "cores": cores.item()}
