"""The small networks of packs trained on phantoms: the roles of the published ones, a hundredth of the size.

A transformer of SAM's kind does not learn from nothing within hours on two cores, a U-Net does. So the compact
detector and segmenter are U-Nets, the compact classifier is a narrow ResNet, all in front of one layer that
removes brightness and contrast locally: what is bright in one clinic's radiographs is dark in another's.
Tensors are (batch, channels, rows, columns).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed
from torch import Tensor, nn
from torch.nn import functional

from models.spinefm.detection import Detection, DetectionKind
from models.spinefm.narrow_resnet import NarrowResNet
from models.spinefm.views import Field, View, around

KINDS: tuple[DetectionKind, ...] = ("vertebra", "C2", "S1")
DETECTOR_CLASSES = ("background", *KINDS)
CORE = len(DETECTOR_CLASSES)  # the channel after the classes: the inner part of a body, which parts neighbours
SURE = 0.5  # a detection with a higher score is looked at again


class LocalNormalisation(nn.Module):
    """Subtract the mean and divide by the deviation of a box of `window` pixels around every pixel."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.kernel = max(3, (window // 4) | 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, R, C) in any range → the same shape, locally of mean 0 and deviation 1."""
        coarse = functional.avg_pool2d(torch.cat([image, image * image], 1), 4, ceil_mode=True)
        box = functional.avg_pool2d(coarse, self.kernel, 1, self.kernel // 2, count_include_pad=False)
        mean, square = functional.interpolate(box, size=image.shape[-2:], mode="bilinear").chunk(2, 1)
        return (image - mean) / (square - mean * mean).clamp_min(1e-4).sqrt()


def _unet(widths: Sequence[int], channels_in: int, channels_out: int) -> nn.Module:
    net: nn.Module = PlainConvUNet(
        channels_in,
        len(widths),
        list(widths),
        nn.Conv2d,
        3,
        [1] + [2] * (len(widths) - 1),
        2,
        channels_out,
        1,
        conv_bias=False,
        norm_op=nn.BatchNorm2d,
        norm_op_kwargs={},
        nonlin=nn.ReLU,
        nonlin_kwargs={"inplace": True},
    )
    net.register_state_dict_post_hook(_keep_one_name)
    net.register_load_state_dict_pre_hook(_restore_names)
    return net


def _names_by_tensor(net: nn.Module) -> list[list[str]]:
    """The library's U-Net registers its encoder and its layers under several names: the names of each tensor."""
    names: dict[int, list[str]] = {}
    for name, tensor in (*net.named_parameters(remove_duplicate=False), *net.named_buffers(remove_duplicate=False)):
        names.setdefault(id(tensor), []).append(name)
    return list(names.values())


def _keep_one_name(net: nn.Module, state: dict[str, Tensor], prefix: str, _metadata: object) -> None:
    for _, *others in _names_by_tensor(net):
        for name in others:
            state.pop(prefix + name, None)


def _restore_names(net: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    for first, *others in _names_by_tensor(net):
        for name in others:
            if prefix + first in state:
                state.setdefault(prefix + name, state[prefix + first])


def _mirror_averaged(net: nn.Module, image: Tensor) -> Tensor:
    """In use, look from either side and average: (B, C, R, C) → logits, maps turned back. In training, look once."""
    logits: Tensor = net(image)
    if net.training:
        return logits
    other: Tensor = net(image.flip(-1))
    return (logits + (other.flip(-1) if other.ndim == 4 else other)) / 2


class CompactDetector(nn.Module):
    """Finds vertebrae in the whole radiograph: a U-Net on the image shrunk to `size` pixels on its longer side.

    Its answer has a channel per class of DETECTOR_CLASSES (softmax) and one for the bodies' cores (sigmoid).
    """

    tells_landmarks = True

    def __init__(self, *, size: int = 256, widths: Sequence[int] = (24, 48, 96, 128, 160), window: int = 60) -> None:
        super().__init__()
        self.size = size
        self.normalise = LocalNormalisation(window)
        self.unet = _unet(widths, 4, CORE + 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, size, size) in 0–1 → logits (B, 5, size, size)."""
        folded = functional.pixel_unshuffle(self.normalise(image), 2)
        return functional.interpolate(self.unet(folded).float(), scale_factor=2, mode="bilinear")

    @torch.inference_mode()
    def detect(self, pixels: NDArray[np.float32]) -> list[Detection]:
        """Find vertebrae in a radiograph, and look again at where they are, closer.

        In a wide view bodies are few pixels of the shrunk image, and two of them may be taken for one.

        Args:
            pixels: (rows, columns) in 0–1, dense tissue bright, any size.

        Returns:
            The vertebrae found, in no particular order, in pixels of the radiograph.
        """
        whole = self._look(pixels, Field(0, 0, *pixels.shape))
        found = _instances(whole)
        sure = [detection for detection in found if detection.score > SURE]
        if len(sure) < 2:
            return found
        field = around(sure, pixels.shape)
        near = self._look(pixels, field)
        both = replace(near, logits=(near.logits + whole.on(near)) / 2)
        return [*_instances(both), *(detection for detection in found if not field.holds(detection.centroid_px))]

    def _look(self, pixels: NDArray[np.float32], field: Field) -> View:
        """Look at a part of a radiograph, shrunk or stretched to `size` pixels on its longer side."""
        part = pixels[field.top : field.top + field.rows, field.left : field.left + field.columns]
        scale = self.size / max(field.rows, field.columns)
        small = (max(1, round(field.rows * scale)), max(1, round(field.columns * scale)))
        device = next(self.parameters()).device
        image = torch.from_numpy(np.ascontiguousarray(part, np.float32)).to(device)[None, None]
        image = functional.interpolate(image, size=small, mode="bilinear", antialias=True)
        image = functional.pad(image, (0, self.size - small[1], 0, self.size - small[0]))
        return View(field, _mirror_averaged(self, image)[0, :, : small[0], : small[1]])


def _instances(view: View) -> list[Detection]:
    """Part the class map into vertebrae around their cores."""
    classes, core = view.logits[:CORE].softmax(0).cpu().numpy(), view.logits[CORE].sigmoid().cpu().numpy()
    unit, (left, top) = view.unit, (view.field.left, view.field.top)
    bone = 1 - classes[0]
    markers, count = ndimage.label(core * bone > 0.4)
    regions = watershed(-ndimage.gaussian_filter(core, 1.0), markers, mask=(bone > 0.5) | (markers > 0))
    found = []
    for number in range(1, count + 1):
        region = regions == number
        area = int(region.sum())
        if area < 12:
            continue
        ys, xs = np.nonzero(region)
        kinds = classes[1:, region].mean(1)
        kind = KINDS[int(kinds.argmax())]
        score = float(bone[region].mean() * np.clip(core[markers == number].mean() * 1.25, 0, 1))
        centroid = (float((xs.mean() + 0.5) * unit[0] - 0.5 + left), float((ys.mean() + 0.5) * unit[1] - 0.5 + top))
        found.append(
            Detection(score=score, centroid_px=centroid, size_px=float(np.sqrt(area * unit[0] * unit[1])), kind=kind)
        )
    return found


class CompactSegmenter(nn.Module):
    """Segments the vertebra under a point: a U-Net on a patch, the point given as a second channel."""

    def __init__(self, *, widths: Sequence[int] = (16, 32, 64, 128, 160), window: int = 64) -> None:
        super().__init__()
        self.normalise = LocalNormalisation(window)
        self.unet = _unet(widths, 2, 1)

    def forward(self, image: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Segment one vertebra per patch.

        Args:
            image: (B, 3, S, S) in 0–1, three equal channels.
            points: (B, 1, 2) foreground point, pixel (x, y) of the patch.

        Returns:
            logits (B, 1, S, S) and scores (B, 1): the mean certainty within the mask.
        """
        grey = image[:, :1]
        size = grey.shape[-1]
        axis = torch.arange(size, device=grey.device, dtype=grey.dtype)
        dx, dy = axis[None] - points[:, 0, :1], axis[None] - points[:, 0, 1:]
        spread = 2 * (size / 16) ** 2
        prompt = torch.exp(-(dy[:, :, None] ** 2 + dx[:, None, :] ** 2) / spread)[:, None]
        given = torch.cat([self.normalise(grey), prompt], 1)
        logits = _mirror_averaged(self.unet, given).float()
        probability = logits.sigmoid()
        inside = (probability > 0.5).float()
        scores = (probability * inside).sum((2, 3)) / inside.sum((2, 3)).clamp_min(1)
        return logits, scores


class CompactClassifier(nn.Module):
    """Says what is in the middle of a patch: background, vertebra, C2, S1; a ResNet-18 of `width` channels."""

    def __init__(self, *, width: int = 24, window: int = 48) -> None:
        super().__init__()
        self.normalise = LocalNormalisation(window)
        self.resnet = NarrowResNet([width, width, 2 * width, 3 * width, 4 * width], len(DETECTOR_CLASSES))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) in 0–1, three equal channels → class logits (B, 4)."""
        return _mirror_averaged(self.resnet, self.normalise(image[:, :1]))
