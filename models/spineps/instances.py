"""The instance phase: vertebrae told apart in the structures of the semantic phase.

Source: Möller et al., "SPINEPS" (European Radiology 2024), second phase.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from models.spineps.centres import find_centres
from models.spineps.clean import FACES, VOXEL_MM3, voxels_of
from models.spineps.cutouts import predict_cutouts
from models.spineps.frame import Spacing, resample_labels, stretched_shape, target_spacing
from models.spineps.fusion import fuse
from models.spineps.instance_network import build_instance_network
from models.spineps.native import NativeNetwork

SPECK_MM3 = 250 * VOXEL_MM3  # of a vertebra
CROP_MM = 3.75


@dataclass(frozen=True)
class FoundInstances:
    """labelmap: (P, I, R) uint16 on the grid it was asked for, 1…n from the head down.

    agreement: how well the centres that saw a vertebra agree, 0–1, in that order. notes: about a full GPU.
    """

    labelmap: NDArray[np.uint16]
    agreement: tuple[float, ...]
    notes: tuple[str, ...] = ()


class InstancePhase:
    """The instance network of a pack, and what is done around it."""

    def __init__(self, settings: Mapping[str, Any], weights: Mapping[str, Tensor], device: torch.device) -> None:
        """Build the network; settings: the pack's `instance` entry."""
        self.device, self.resolution = device, settings["resolution"]
        p, i, r = settings["cutout_size"]
        self.cutout: tuple[int, int, int] = (int(p), int(i), int(r))
        network = build_instance_network(settings)
        network.load_state_dict(weights)
        self.network, self.channels = NativeNetwork(network), network.channels

    def predict(self, subregions: NDArray[np.uint8], spacing: Spacing) -> FoundInstances:
        """Tell the vertebrae apart.

        subregions: (P, I, R) in SPINEPS' labels; spacing: mm, in that order.
        """
        none = FoundInstances(np.zeros(subregions.shape, np.uint16), ())
        target = target_spacing(spacing, self.resolution)
        whole = resample_labels(subregions, spacing, target, stretched_shape(subregions.shape, spacing, target))
        box = _crop(whole, target)
        if box is None:
            return none
        coarse = whole[box]
        centres = find_centres(coarse, target)
        if not centres:
            return none
        predictions, notes = predict_cutouts(
            coarse, centres, self.network, self.cutout, self.device, channels=self.channels
        )
        fused = fuse(predictions, coarse.shape)
        ordered = _from_the_head(_tidy(fused.labelmap, voxels_of(SPECK_MM3, target)))
        found = np.zeros(whole.shape, np.uint16)
        found[box] = ordered.labelmap
        fine = resample_labels(found, target, spacing, _size(subregions))
        return FoundInstances(fine, tuple(fused.agreement[number] for number in ordered.numbers), notes)


@dataclass(frozen=True)
class Ordered:
    """labelmap: renumbered from the head down; numbers: what each was before."""

    labelmap: NDArray[np.uint16]
    numbers: tuple[int, ...]


def _size(array: NDArray[np.uint8]) -> tuple[int, int, int]:
    p, i, r = array.shape
    return p, i, r


def _crop(subregions: NDArray[np.uint8], spacing: Spacing) -> tuple[slice, slice, slice] | None:
    box = next(iter(ndimage.find_objects((subregions > 0).astype(np.uint8))), None)
    if box is None:
        return None
    margin = int(CROP_MM / min(spacing))
    p, i, r = (slice(max(0, s.start - margin), s.stop + margin) for s in box)
    return p, i, r


def _tidy(labelmap: NDArray[np.uint16], least: int) -> NDArray[np.uint16]:
    """Without an instance's small fragments and with its holes filled."""
    for number, box in enumerate(ndimage.find_objects(labelmap), start=1):
        if box is None:
            continue
        part = labelmap[box]
        components, _ = ndimage.label(part == number, FACES)
        small = np.bincount(components.ravel()) < least
        small[0] = False
        part[small[components]] = 0
        part[ndimage.binary_fill_holes(part == number) & (part == 0)] = number
    return labelmap


def _from_the_head(labelmap: NDArray[np.uint16]) -> Ordered:
    numbers = [int(number) for number in np.unique(labelmap) if number]
    centres = ndimage.center_of_mass(labelmap > 0, labelmap, numbers) if numbers else []
    ordered = [number for number, _ in sorted(zip(numbers, centres, strict=True), key=lambda pair: pair[1][1])]
    table = np.zeros(int(labelmap.max()) + 1, np.uint16)
    table[ordered] = np.arange(1, len(ordered) + 1)
    return Ordered(table[labelmap], tuple(ordered))
