"""Drawn spines, and hand-written networks that really see them.

A vertebra is a bright rectangle; C2 and S1 are drawn a little brighter, which is how the classifier tells them. The
segmenter finds the bright region under its prompt, the classifier looks at the middle of its patch, the point
predictor goes straight on, and the detector finds all bright regions: nothing is scripted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from models.spinefm.config import PatchSettings, SpineFMConfig, WalkSettings
from models.spinefm.detection import Detection, DetectionKind
from models.spinefm.networks import Networks

VERTEBRA, C2, S1 = 0.6, 0.8, 0.9
TISSUE, GRAIN = 0.1, 0.05  # every other pixel is brighter by the grain: tissue is no flat border
CLASSES = ("background", "vertebra", "C2", "S1")
BODY = (20, 26)  # rows, columns: the size is 22.8 px
STEP = 30


@dataclass(frozen=True)
class Drawing:
    """A drawn radiograph: `pixels` (rows, columns) and the bodies' `centroids` (x, y) from the top."""

    pixels: NDArray[np.float32]
    centroids: tuple[tuple[float, float], ...]


def draw_spine(
    count: int,
    *,
    top: str | None = None,
    bottom: str | None = None,
    first_y: int = 40,
    slope: float = 0.3,
    size: tuple[int, int] = (400, 300),
) -> Drawing:
    """Draw `count` bodies downwards from row `first_y`, shifting right by `slope` px per row.

    top, bottom: `C2` and `S1` make the first and the last a landmark. Bodies may reach over the image's edge.
    """
    pixels = (TISSUE + GRAIN * (np.indices(size).sum(axis=0) % 2)).astype(np.float32)
    centroids = []
    for index in range(count):
        y = first_y + index * STEP
        x = round(size[1] / 3 + slope * index * STEP)
        value = C2 if top == "C2" and index == 0 else S1 if bottom == "S1" and index == count - 1 else VERTEBRA
        rows = slice(max(0, y - BODY[0] // 2), max(0, y + BODY[0] // 2))
        pixels[rows, x - BODY[1] // 2 : x + BODY[1] // 2] = value
        centroids.append((x - 0.5, y - 0.5))
    return Drawing(pixels, tuple(centroids))


class DrawnDetector:
    """Finds every bright region; sees landmarks only if told to."""

    def __init__(self, *, kinds: bool = False, hidden: Sequence[int] = ()) -> None:
        """`kinds` tells landmarks apart; the regions of the indexes `hidden`, from the top, are overlooked."""
        self.kinds = kinds
        self.hidden = hidden

    def detect(self, pixels: NDArray[np.float32]) -> tuple[Detection, ...]:
        """Find the regions brighter than tissue."""
        labels, count = ndimage.label(pixels > 0.5)
        found = []
        for number in range(1, count + 1):
            if number - 1 in self.hidden:
                continue
            rows, columns = np.nonzero(labels == number)
            value = float(pixels[rows[0], columns[0]])
            kind: DetectionKind = _kind(value) if self.kinds else "vertebra"
            found.append(
                Detection(0.9, (float(int(columns.mean())), float(int(rows.mean()))), float(np.sqrt(rows.size)), kind)
            )
        return tuple(found)


def _kind(value: float) -> DetectionKind:
    return "S1" if value > 0.85 else "C2" if value > 0.7 else "vertebra"


class DrawnSegmenter:
    """Takes the bright region nearest to the prompt; counts its calls and their batch sizes."""

    def __init__(self) -> None:
        """Start with no call."""
        self.batches: list[int] = []

    def __call__(self, image: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Segment: logits ±8."""
        self.batches.append(len(image))
        logits = torch.stack([self._one(patch[0], point[0]) for patch, point in zip(image, points, strict=True)])
        return logits[:, None], torch.ones(len(image), 1)

    def _one(self, patch: Tensor, point: Tensor) -> Tensor:
        labels, count = ndimage.label(patch.numpy() > 0.4)
        if not count:
            return torch.full(patch.shape, -8.0)
        distance, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
        x, y = (int(value) for value in point)
        if distance[y, x] > 12:  # nothing near the prompt
            return torch.full(patch.shape, -8.0)
        number = labels[tuple(nearest[:, y, x])]
        return torch.from_numpy(np.where(labels == number, 8.0, -8.0).astype(np.float32))


class DrawnClassifier:
    """Tells by the brightness in the middle."""

    def __init__(self, *, landmarks: bool = True) -> None:
        """Without `landmarks` it knows background and vertebra only."""
        self.landmarks = landmarks

    def __call__(self, patches: Tensor) -> Tensor:
        """Answer class logits that are sure of themselves."""
        middle = patches.shape[-1] // 2
        values = patches[:, 0, middle - 2 : middle + 2, middle - 2 : middle + 2].mean(dim=(1, 2))
        kinds = torch.bucketize(values, torch.tensor([0.4, 0.7, 0.85]))
        if not self.landmarks:
            kinds = kinds.clamp(max=1)
        return 8.0 * torch.nn.functional.one_hot(kinds, 4 if self.landmarks else 2).float()


def straight_on(centroids: Tensor) -> Tensor:
    """Predict the next point by the last step."""
    return 2 * centroids[:, 4:] - centroids[:, 2:4]


def networks(
    *, detector: DrawnDetector | None = None, segmenter: DrawnSegmenter | None = None, landmarks: bool = True
) -> Networks:
    """Put the hand-written networks together."""
    detector = detector or DrawnDetector()
    return Networks(
        detector,
        segmenter or DrawnSegmenter(),
        straight_on,
        DrawnClassifier(landmarks=landmarks),
        detector_tells_landmarks=detector.kinds,
    )


def config(walk: WalkSettings | None = None, *, landmarks: bool = True) -> SpineFMConfig:
    """Patches of 80 px, or 3.5 body sizes."""
    return SpineFMConfig(
        segmenter=PatchSettings(input_px=96, body_sizes=3.5),
        classifier=PatchSettings(input_px=32, body_sizes=1.5),
        mask_upsampling="bilinear",
        classes=CLASSES if landmarks else CLASSES[:2],
        walk=walk or WalkSettings(),
        regions=("cervical", "lumbar"),
    )
