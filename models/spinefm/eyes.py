"""The networks at work on one radiograph: points in, vertebrae out, many at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.device import runs_half
from models.spinefm.config import PatchSettings, SpineFMConfig
from models.spinefm.networks import Networks
from models.spinefm.patches import PlacedMask, Point, Window, cut_patches, place
from models.spinefm.scale import Scale


@dataclass(frozen=True)
class Vertebra:
    """One vertebra of a chain.

    mask: where it is. centroid: (x, y) of the mask, whole pixels.
    probabilities: the classifier's, in the pack's order of classes.
    """

    mask: PlacedMask
    centroid: Point
    probabilities: tuple[float, ...]


class Eyes:
    """Looks at one radiograph through patches of one size."""

    def __init__(self, pixels: NDArray[np.float32], networks: Networks, config: SpineFMConfig, *, scale: Scale,
                 device: torch.device) -> None:  # fmt: skip
        """Keep the image, (rows, columns) in 0–1, as the patches are to be cut from it."""
        image = torch.from_numpy(np.ascontiguousarray(pixels))[None]
        self._image = (image * 255).round().byte() if config.walk.resampling == "uint8" else image
        self._networks = networks
        self._config = config
        self._scale = scale
        self._device = device
        self.image_size: tuple[int, int] = (pixels.shape[0], pixels.shape[1])

    def segment(self, points: Sequence[Point]) -> list[PlacedMask]:
        """Segment the vertebra at each (x, y), all in one batch."""
        edge, settings = self._scale.segmenter_px, self._config.segmenter
        patches = self._patches(points, edge, settings)
        middle = torch.full((len(points), 1, 2), settings.input_px / 2, device=self._device)
        with self._precision(half_on_cpu=self._networks.half_on_cpu):
            logits, _ = self._networks.segmenter(patches, middle)
        return [
            place(
                logits[index, 0],
                Window.around(point, edge),
                self.image_size,
                upsampling=self._config.mask_upsampling,
                outside=self._config.walk.outside,
            )
            for index, point in enumerate(points)
        ]

    def classify(self, points: Sequence[Point]) -> list[tuple[float, ...]]:
        """Probabilities of the classes at each (x, y), all in one batch, the mean over the pack's zooms."""
        settings = self._config.classifier
        edges = [round(self._scale.classifier_px * zoom) for zoom in settings.zooms]
        patches = torch.cat([self._patches(points, edge, settings) for edge in edges])
        with self._precision():
            logits = self._networks.classifier(patches)
        means = logits.float().softmax(dim=1).unflatten(0, (len(edges), len(points))).mean(0)
        return [tuple(row) for row in means.tolist()]

    def look(self, points: Sequence[Point]) -> list[Vertebra]:
        """Segment, refine the centroid and classify at each (x, y)."""
        masks = self.segment(points)
        centroids = [mask.weighted_centroid() for mask in masks]
        return [Vertebra(*parts) for parts in zip(masks, centroids, self.classify(centroids), strict=True)]

    def predict(self, triples: Sequence[Sequence[Point]]) -> list[Point]:
        """Predict the centroid that follows each three, nearest last."""
        rows, columns = self.image_size
        unit = torch.tensor([columns, rows], dtype=torch.float32)
        given = torch.tensor(triples, dtype=torch.float32) / unit
        following = self._networks.point_predictor(given.reshape(-1, 6).to(self._device)).float().cpu() * unit
        return [(x, y) for x, y in following.tolist()]

    def _patches(self, points: Sequence[Point], edge: int, settings: PatchSettings) -> Tensor:
        patches = cut_patches(self._image, points, edge=edge, size=settings.via_px or settings.input_px)
        if patches.shape[-1] != settings.input_px:
            patches = F.interpolate(patches, size=(settings.input_px, settings.input_px), mode="nearest")
        return patches.to(self._device)

    def _precision(self, *, half_on_cpu: bool = False) -> torch.autocast:
        if self._device.type == "cpu":
            return torch.autocast("cpu", torch.bfloat16, enabled=half_on_cpu and runs_half(self._device))
        return torch.autocast(self._device.type, torch.float16, enabled=self._device.type == "cuda")
