"""What the labelling network says of each vertebra: the image around its body, through the network, head by head.

Source: the labelling released with SPINEPS v1.4.0 (VERIDAH).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from models.spineps.frame import Spacing, resample_image, resample_labels, stretched_shape, target_spacing
from models.spineps.labelling_network import build_labelling_network

BODY = (49, 50, 51)
ROOM = 64  # voxels along P and I around a cutout that is turned, so that no corner of it is empty
Image = NDArray[np.float32]
Cut = tuple[int, int, int]


class LabellingPhase:
    """The labelling network of a pack, and what is done before it."""

    def __init__(self, settings: Mapping[str, Any], weights: Mapping[str, Tensor], device: torch.device) -> None:
        """Build the network; settings: the pack's `labelling` entry."""
        self.device, self.resolution, self.rotate = device, settings["resolution"], bool(settings["rotate"])
        p, i, r = settings["cutout_size"]
        self.size: Cut = (int(p), int(i), int(r))
        self.network = build_labelling_network(settings)
        self.network.load_state_dict(weights)
        self.network.eval().to(device)

    @torch.inference_mode()
    def look(
        self, image: Image, spacing: Spacing, vertebrae: NDArray[np.uint16], subregions: NDArray[np.uint8]
    ) -> dict[str, NDArray[np.float64]]:
        """Look at vertebrae 1…n.

        image: (P, I, R), as measured; spacing: mm in that order; vertebrae, subregions: the same grid, from the
        head down and in SPINEPS' labels. A vertebra without a body is looked at by all it has.

        Returns:
            Probabilities (n, classes) by head, from the head down.
        """
        target = target_spacing(spacing, self.resolution)
        shape = stretched_shape(image.shape, spacing, target)
        fine = resample_image(image, spacing, target)
        bodies = resample_labels(_bodies(vertebrae, subregions), spacing, target, shape)
        boxes = [box for box in ndimage.find_objects(bodies) if box is not None]
        angles = _angles(bodies) if self.rotate else [0.0] * len(boxes)
        said: dict[str, list[NDArray[np.float64]]] = {}
        for box, angle in zip(boxes, angles, strict=True):
            p, i, r = (along.start + (along.stop - along.start) // 2 for along in box)
            cutout = torch.from_numpy(standardised(cut_out(fine, (p, i, r), self.size, angle)))
            for head, logits in self.network(cutout[None, None].to(self.device)).items():
                said.setdefault(head, []).append(logits[0].softmax(0).double().cpu().numpy())
        return {head: np.stack(rows) for head, rows in said.items()}


def cut_out(image: Image, centre: Cut, size: Cut, degrees: float = 0.0) -> Image:
    """Cut a box of a size around a centre out of (P, I, R), zeros outside; turn it in the sagittal plane before."""
    room = (ROOM, ROOM, 0)
    wide = np.zeros([n + extra for n, extra in zip(size, room, strict=True)], np.float32)
    first = [c - n // 2 for c, n in zip(centre, wide.shape, strict=True)]
    limits = zip(first, image.shape, wide.shape, strict=True)
    inside = tuple(slice(max(0, f), max(0, min(n, f + w))) for f, n, w in limits)
    wide[tuple(slice(s.start - f, s.stop - f) for s, f in zip(inside, first, strict=True))] = image[inside]
    if degrees:
        turned = ndimage.rotate(wide.swapaxes(0, 1), degrees, reshape=False, order=3, mode="constant")
        wide = turned.swapaxes(0, 1)
    half = ROOM // 2
    return np.ascontiguousarray(wide[half:-half, half:-half])


def standardised(cutout: Image) -> Image:
    """Zero mean and unit deviation of what is not zero; zeros stay."""
    seen = cutout != 0
    if not seen.any():
        return cutout
    values = cutout[seen]
    deviation = float(values.std())
    result = cutout.copy()
    result[seen] = (values - values.mean()) / (deviation if deviation > 0 else 1.0)
    return result


def _bodies(vertebrae: NDArray[np.uint16], subregions: NDArray[np.uint8]) -> NDArray[np.uint16]:
    bodies = np.where(np.isin(subregions, BODY), vertebrae, 0).astype(np.uint16)
    for number in np.setdiff1d(np.unique(vertebrae), np.unique(bodies)):
        bodies[vertebrae == number] = number
    return bodies


def _angles(bodies: NDArray[np.uint16]) -> list[float]:
    """Degrees by which each vertebra's piece of the spine, from its neighbours' centres, leans from I."""
    numbers = [int(number) for number in np.unique(bodies) if number]
    centres = np.array(ndimage.center_of_mass(bodies > 0, bodies, numbers)).reshape(-1, 3)
    angles = []
    for index in range(len(centres)):
        p, i, r = centres[min(index + 1, len(centres) - 1)] - centres[max(index - 1, 0)]
        length = float(np.linalg.norm((p, i, r)))
        if length == 0:
            angles.append(0.0)
            continue
        # The original's sign is that of the summed cross product with I in (I, P, L): of left and back, -r and -p.
        sign = np.sign(-r - p) or 1.0
        angles.append(float(sign * np.degrees(np.arccos(np.clip(i / length, -1.0, 1.0)))))
    return angles
