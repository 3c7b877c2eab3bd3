"""Cutouts of one size around the centres, through the instance network: a vertebra and its two neighbours each.

Source: Möller et al., "SPINEPS" (European Radiology 2024), second phase.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from models.spineps.centres import Centre
from models.spineps.clean import Box
from models.spineps.memory import in_batches
from models.spineps.native import NativeNetwork

CLASS_OF = {41: 1, 42: 2, 43: 3, 44: 4, 45: 5, 46: 6, 47: 7, 48: 8, 49: 9, 50: 9, 51: 9}
OLDEST_SCALE = 9.0  # the oldest network sees one channel of classes divided by this
STEP_DOWN = 5  # voxels: a centre that lies on nothing is moved towards the feet

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """One vertebra as seen from one centre: `mask` lies at `box` of the volume. vertebra: 0–2, the network's class."""

    centre: int
    vertebra: int
    box: Box
    mask: NDArray[np.bool_]
    voxels: int


def predict_cutouts(
    subregions: Labels,
    centres: Sequence[Centre],
    network: NativeNetwork,
    size: tuple[int, int, int],
    device: torch.device,
    *,
    channels: int,
) -> tuple[tuple[Prediction, ...], tuple[str, ...]]:
    """Run the network around every centre.

    subregions: (P, I, R) in SPINEPS' labels; centres: voxel positions; size: of a cutout in voxels; channels: of
    the network, one per structure, or 1 for the oldest.

    Returns:
        Up to three predictions per centre, cropped to what they cover, and what was done about a full GPU.
    """
    classes = np.zeros(256, np.uint8)
    classes[list(CLASS_OF)] = list(CLASS_OF.values())
    structures = classes[subregions]
    if channels > 1:
        structures[structures >= channels] = 0
    corners = [_corner(structures, centre, size) for centre in centres]
    found: dict[int, list[Prediction]] = {}

    def run(items: range, where: torch.device) -> None:
        batch = np.stack([_cut(structures, corners[item], size) for item in items])
        answer = network(_channels(torch.from_numpy(batch).to(where), channels))
        for item, labels in zip(items, answer.argmax(1).to(torch.uint8).cpu().numpy(), strict=True):
            found[item] = list(_predictions(item, labels, corners[item], subregions.shape))

    notes = in_batches(len(corners), device, run)
    return tuple(prediction for item in range(len(corners)) for prediction in found[item]), notes


def _corner(structures: Labels, centre: Centre, size: tuple[int, int, int]) -> tuple[int, int, int]:
    """The first voxel of a cutout, perhaps outside the volume; a centre on nothing moves towards the feet."""
    p, i, r = (int(value) for value in centre)
    lower = i
    while lower < structures.shape[1] and not structures[p, lower, r]:
        lower += STEP_DOWN
    i = lower if lower < structures.shape[1] else i
    return p - size[0] // 2, i - size[1] // 2, r - size[2] // 2


def _overlap(corner: tuple[int, int, int], size: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Box, Box]:
    """Where cutout and volume overlap: in the volume's and in the cutout's indices."""
    inside = [slice(max(0, c), min(n, c + s)) for c, s, n in zip(corner, size, shape, strict=True)]
    within = [slice(i.start - c, i.stop - c) for i, c in zip(inside, corner, strict=True)]
    return (inside[0], inside[1], inside[2]), (within[0], within[1], within[2])


def _cut(structures: Labels, corner: tuple[int, int, int], size: tuple[int, int, int]) -> Labels:
    cutout = np.zeros(size, np.uint8)
    inside, within = _overlap(corner, size, structures.shape)
    cutout[within] = structures[inside]
    return cutout


def _channels(classes: Tensor, channels: int) -> Tensor:
    """(B, P, I, R) classes → (B, channels, P, I, R): one-hot, or one channel for the oldest network."""
    if channels == 1:
        return classes[:, None].float() / OLDEST_SCALE
    return functional.one_hot(classes.long(), channels).movedim(-1, 1).float()


def _predictions(centre: int, labels: Labels, corner: tuple[int, int, int], shape: tuple[int, ...]) -> list[Prediction]:
    inside, within = _overlap(corner, labels.shape, shape)
    seen = labels[within]
    predictions = []
    for number, box in enumerate(ndimage.find_objects(seen)):
        if box is None:
            continue
        mask = seen[box] == number + 1
        p, i, r = (slice(a.start + b.start, a.start + b.stop) for a, b in zip(inside, box, strict=True))
        predictions.append(Prediction(centre, number, (p, i, r), mask, int(mask.sum())))
    return predictions
