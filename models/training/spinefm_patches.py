"""Training of the compact segmenter and classifier on patches of phantoms."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.device import runs_half
from models.phantom.anatomy import LEVEL_VALUE
from models.spinefm.compact import CompactClassifier, CompactSegmenter
from models.training.scenes import SceneStore, TrainingScene, decoy, exposed
from models.training.warp import warp

UNDER_SHOULDERS = ("T2", "T3", "T4")  # of a cervical radiograph: nobody could draw them; the walk is to stop before
SEGMENTER_EDGE = 3.0  # of the body size
CLASSIFIER_EDGE = 2.6
SEGMENTER_SIZE, CLASSIFIER_SIZE = 128, 80
Point = tuple[float, float]
Rng = np.random.Generator


def _whole(scene: TrainingScene) -> list[str]:
    return [level for level in scene.centroids_px if (scene.labelmap == LEVEL_VALUE[level]).any()]


def _visible(scene: TrainingScene, levels: list[str]) -> list[str]:
    return levels if scene.region != "cervical" else [level for level in levels if level not in UNDER_SHOULDERS]


def _jitter(centre: Point, size: float, spread: float, rng: Rng) -> Point:
    radius, turn = spread * size * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
    return centre[0] + radius * np.cos(turn), centre[1] + radius * np.sin(turn)


def _pick(levels: list[str], share: float, rng: Rng) -> str:
    """One of the levels; C2 or S1, where there is one, with at least the probability `share`."""
    landmarks = [level for level in levels if level in ("C2", "S1")]
    return str(rng.choice(landmarks if landmarks and rng.random() < share else levels))


def segmenter_example(scene: TrainingScene, image: np.ndarray, level: str, rng: Rng) -> tuple[Tensor, Tensor]:
    """A patch around a point on one vertebra, and that vertebra's mask, each (SEGMENTER_SIZE,) * 2."""
    size = scene.body_size_px[level]
    reach = 0.55 if level == "C2" else 0.4  # the walk comes to C2 by its body, far from the middle of body and dens
    centre = _jitter(scene.centroids_px[level], size, reach if rng.random() < 0.7 else 0.1, rng)
    edge = SEGMENTER_EDGE * size * float(np.exp(rng.normal(0, 0.16)))
    angle, mirror = rng.normal(0, 0.2), bool(rng.random() < 0.5)
    truth = (scene.labelmap == LEVEL_VALUE[level]).astype(np.float32)
    patch = warp(image, centre, edge, SEGMENTER_SIZE, angle=angle, mirror=mirror)
    mask = warp(truth, centre, edge, SEGMENTER_SIZE, angle=angle, mirror=mirror)
    return patch, mask


def _decoy_point(scene: TrainingScene, rng: Rng) -> tuple[Point, float]:
    """A point that is no vertebra's middle: between two, behind, above C2, below S1, anywhere."""
    levels = list(scene.centroids_px)  # from the lowest to the highest
    pick = int(rng.integers(0, len(levels)))
    size = scene.body_size_px[levels[pick]]
    here = np.array(scene.centroids_px[levels[pick]])
    other = np.array(scene.centroids_px[levels[max(0, pick - 1) if pick else 1]])
    step = other - here
    kind = rng.random()
    if kind < 0.2:
        place = here + 0.5 * step + rng.normal(0, 0.05, 2) * size
    elif kind < 0.45:  # across the line of the spine
        across = np.array([-step[1], step[0]]) / max(float(np.linalg.norm(step)), 1e-3)
        place = here + across * size * rng.choice([-1, 1]) * rng.uniform(0.8, 2.5) + rng.normal(0, 0.2, 2) * size
    elif kind < 0.75:  # beyond the ends
        end, inner = (levels[-1], levels[-2]) if rng.random() < 0.65 else (levels[0], levels[1])
        if end[0] == "T":
            end, inner = levels[-1], levels[-2]
        size = scene.body_size_px[inner]
        away = np.array(scene.centroids_px[end]) - np.array(scene.centroids_px[inner])
        away = away / max(float(np.linalg.norm(away)), 1e-3)
        place = np.array(scene.centroids_px[end]) + away * size * rng.uniform(1.0, 2.2) + rng.normal(0, 0.25, 2) * size
    else:
        rows, columns = scene.labelmap.shape
        place = rng.random(2) * [columns, rows]
    return (float(place[0]), float(place[1])), size


def classifier_example(scene: TrainingScene, image: np.ndarray, levels: list[str], rng: Rng) -> tuple[Tensor, int]:
    """A patch (CLASSIFIER_SIZE,) * 2 and what is in its middle: 0 background, 1 vertebra, 2 C2, 3 S1."""
    kind = 0
    if rng.random() < 0.6 and levels:
        level = _pick(levels, 0.35, rng)
        size = scene.body_size_px[level]
        centre = _jitter(scene.centroids_px[level], size, 0.4 if level == "C2" else 0.22, rng)
        hidden = scene.region == "cervical" and level in UNDER_SHOULDERS
        kind = 0 if hidden else {"C2": 2, "S1": 3}.get(level, 1)
    else:
        while True:
            centre, size = _decoy_point(scene, rng)
            if all(
                np.hypot(centre[0] - x, centre[1] - y) > 0.45 * scene.body_size_px[level]
                for level, (x, y) in scene.centroids_px.items()
            ):
                break
    edge = CLASSIFIER_EDGE * size * float(np.exp(rng.normal(0, 0.16)))
    return warp(image, centre, edge, CLASSIFIER_SIZE, angle=rng.normal(0, 0.2), mirror=bool(rng.random() < 0.5)), kind


class PatchStep:
    """Segmenter and classifier on patches of the same exposures: `scenes` of them, `patches` of each."""

    def __init__(
        self,
        segmenter: CompactSegmenter,
        classifier: CompactClassifier,
        store: SceneStore,
        *,
        scenes: int = 4,
        patches: int = 4,
        device: str = "cpu",
    ) -> None:
        self.segmenter, self.classifier, self.store = segmenter, classifier, store
        self.scenes, self.patches, self.device = scenes, patches, device

    def _batch(self, rng: Rng) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[int]]:
        patches: list[Tensor] = []
        masks: list[Tensor] = []
        views: list[Tensor] = []
        kinds: list[int] = []
        while len(patches) < self.scenes * self.patches:
            scene = self.store.draw(rng)
            levels = _whole(scene)
            visible = _visible(scene, levels)
            if len(visible) < 2:
                continue
            image = exposed(scene.planes, rng)
            for _ in range(self.patches):
                patch, mask = segmenter_example(scene, image, _pick(visible, 0.25, rng), rng)
                patches.append(patch)
                masks.append(mask)
            for _ in range(2 * self.patches):
                view, kind = classifier_example(scene, image, levels, rng)
                views.append(view)
                kinds.append(kind)
        picture = decoy(rng, 300)
        for _ in range(2):
            centre = (float(rng.uniform(0, picture.shape[1])), float(rng.uniform(0, picture.shape[0])))
            views.append(warp(picture, centre, rng.uniform(50, 160), CLASSIFIER_SIZE))
            kinds.append(0)
        return patches, masks, views, kinds

    def __call__(self, rng: Rng) -> tuple[Tensor, dict[str, float]]:
        """The loss of a fresh batch."""
        self.segmenter.train()
        self.classifier.train()
        patches, masks, views, kinds = self._batch(rng)
        image, mask = torch.stack(patches)[:, None].to(self.device), torch.stack(masks)[:, None].to(self.device)
        points = torch.full((len(patches), 1, 2), SEGMENTER_SIZE / 2, device=self.device)
        with torch.autocast(self.device, torch.bfloat16, enabled=runs_half(torch.device(self.device))):
            logits, _ = self.segmenter(image.to(memory_format=torch.channels_last), points)
            guesses = self.classifier(torch.stack(views)[:, None].to(self.device))
        probability = logits.sigmoid()
        dice = 1 - ((2 * (probability * mask).sum((1, 2, 3)) + 10) / ((probability + mask).sum((1, 2, 3)) + 10)).mean()
        entropy = functional.binary_cross_entropy_with_logits(logits, mask)
        truth = torch.tensor(kinds, device=self.device)
        classes = functional.cross_entropy(guesses.float(), truth, label_smoothing=0.02)
        right = (guesses.argmax(1) == truth).float().mean().item()
        return dice + 2 * entropy + 0.5 * classes, {"dice": 1 - dice.item(), "right": right}
