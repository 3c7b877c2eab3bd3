"""Training of the semantic network: an anisotropic nnU-Net on windows of scanned phantoms.

The frame is nnU-Net's as SPINEPS calls it: (R, I, P), axes towards the right, the feet and the back.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.device import runs_half
from models.training.spineps_scenes import (
    CLASS_OF_MIRRORED,
    CLASS_OF_STRUCTURE,
    SPACING_MM,
    STRUCTURES,
    MrSceneStore,
    scanned,
    z_scored,
)

PATCH = (16, 192, 144)  # voxels, (R, I, P)
CLASSES = len(STRUCTURES) + 1
FEATURES = (32, 32, 48, 96, 128)
KERNELS = ((3, 3, 3),) * 5
STRIDES = ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))
CONVOLUTIONS = ((1, 2, 2, 2, 2), (2, 2, 2, 2))  # a stage, down and up; the finest stage costs most
DEEP_WEIGHTS = (1.0, 0.4, 0.15)  # of the finest stage, the next, the one after
SMALL_SHARE, SMALL_MM = 0.12, (70.0, 160.0)  # of the scenes, cut to a box as wide as this: crops, surface coils
COARSE_SHARE, COARSE_MM = 0.12, (1.0, 1.7)  # of the scenes, shown in pixels of this size: isotropic volumes
TRUTHS = 4  # places within a voxel of the scene at which its truth is read
CONFIGURATION = "3d_fullres"


def plans() -> dict[str, Any]:
    """plans.json of the semantic network, as nnU-Net 2 writes it."""
    image = {"is_seg": False, "order": 3, "order_z": 1, "force_separate_z": None}
    linear = {**image, "order": 1}
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(PATCH),
        "median_image_size_in_voxels": [28.0, 352.0, 300.0],
        "spacing": list(SPACING_MM),
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": image,
        "resampling_fn_seg_kwargs": {**linear, "is_seg": True},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": linear,
        "architecture": _architecture(),
        "batch_dice": False,
    }
    return {
        "dataset_name": "Dataset001_SpondylPhantom",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(SPACING_MM),
        "original_median_shape_after_transp": [28, 352, 300],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {CONFIGURATION: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {"max": 1500.0, "mean": 300.0, "median": 250.0, "min": 0.0, "percentile_00_5": 5.0,
                  "percentile_99_5": 1200.0, "std": 220.0}
        },
    }  # fmt: skip


def _architecture() -> dict[str, Any]:
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": len(FEATURES),
            "features_per_stage": list(FEATURES),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [list(kernel) for kernel in KERNELS],
            "strides": [list(stride) for stride in STRIDES],
            "n_conv_per_stage": list(CONVOLUTIONS[0]),
            "n_conv_per_stage_decoder": list(CONVOLUTIONS[1]),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def dataset() -> dict[str, Any]:
    """dataset.json of the semantic network: one channel, the background and SPINEPS' structures."""
    labels = {"background": 0, **{str(structure): index for index, structure in enumerate(STRUCTURES, start=1)}}
    return {"channel_names": {"0": "MR"}, "labels": labels, "numTraining": 0, "file_ending": ".nii.gz"}


def build_for_training() -> nn.Module:
    """The network that `plans` describes, with deep supervision."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans  # noqa: PLC0415 - seconds of import

    described = plans()["configurations"][CONFIGURATION]["architecture"]
    return get_network_from_plans(  # type: ignore[no-any-return]
        described["network_class_name"],
        described["arch_kwargs"],
        described["_kw_requires_import"],
        1,
        CLASSES,
        deep_supervision=True,
    )


@dataclass(frozen=True)
class Example:
    """A window and what is true in it.

    image: (1, R, I, P) float32. classes: (TRUTHS, R, I, P) int64, the truth read at several places within a voxel of
    the scene: their mean is the truth between its voxels, as the engine's logits are read between the window's.
    """

    image: Tensor
    classes: Tensor


def draw_examples(store: MrSceneStore, rng: np.random.Generator, count: int) -> list[Example]:
    """Scan one scene and cut windows from it: half of them as the engine does, half turned and scaled by chance."""
    scene = store.draw(rng)
    image = scanned(scene, rng)
    mirrored = bool(rng.random() < 0.5)
    classes = (CLASS_OF_MIRRORED if mirrored else CLASS_OF_STRUCTURE)[scene.subregions]
    # x runs to the left in the phantom, the network's first axis to the right: mirrored people run the other way.
    if not mirrored:
        image, classes = image[::-1], classes[::-1]
    if rng.random() < 0.1:  # narrow stacks, centred roughly
        keep = int(rng.integers(4, max(5, image.shape[0])))
        first = int(np.clip((image.shape[0] - keep) / 2 + rng.normal(0, 1.5), 0, max(0, image.shape[0] - keep)))
        image, classes = image[first : first + keep], classes[first : first + keep]
    pixel_mm = scene.tissues.pixel_mm
    if rng.random() < SMALL_SHARE and classes.any():
        rows, columns = _small_field(classes, pixel_mm, rng)
        image, classes = z_scored(image[:, rows, columns]), classes[:, rows, columns]
    if rng.random() < COARSE_SHARE:
        image = _coarsened(image, pixel_mm, float(rng.uniform(*COARSE_MM)))
    source = _in_network_pixels(image, pixel_mm)
    truth = torch.from_numpy(classes.astype(np.float32))[None, None]
    slices = scene.tissues.slice_mm / SPACING_MM[0] * image.shape[0]
    return [_example(source, truth, slices, rng) for _ in range(count)]


def _small_field(
    classes: NDArray[np.uint8], pixel_mm: tuple[float, float], rng: np.random.Generator
) -> tuple[slice, slice]:
    """Choose a box of `SMALL_MM` of rows and of columns about some voxel of the spine, wholly within the slices."""
    spine = np.argwhere(classes)
    middle = spine[int(rng.integers(len(spine)))][1:]
    extents = []
    for centre, size, mm in zip(middle, classes.shape[1:], pixel_mm, strict=True):
        kept = min(size, round(float(rng.uniform(*SMALL_MM)) / mm))
        start = int(np.clip(centre - kept * rng.uniform(0.3, 0.7), 0, size - kept))
        extents.append(slice(start, start + kept))
    return extents[0], extents[1]


def _coarsened(image: NDArray[np.float32], pixel_mm: tuple[float, float], coarse_mm: float) -> NDArray[np.float32]:
    """Show slices as a scan of pixels no finer than `coarse_mm` would, on the grid they have."""
    source = torch.from_numpy(np.ascontiguousarray(image))[None]
    shape = [max(1, round(n * mm / max(coarse_mm, mm))) for n, mm in zip(image.shape[1:], pixel_mm, strict=True)]
    coarse = functional.interpolate(source, size=shape, mode="area")
    return functional.interpolate(coarse, size=image.shape[1:], mode="bicubic", align_corners=False)[0].numpy()


def _in_network_pixels(image: NDArray[np.float32], pixel_mm: tuple[float, float]) -> Tensor:
    """Bring slices to the network's pixels, the number of slices as it is → (1, 1, slices, I, P)."""
    shape = [max(1, round(n * mm / to)) for n, mm, to in zip(image.shape[1:], pixel_mm, SPACING_MM[1:], strict=True)]
    source = torch.from_numpy(np.ascontiguousarray(image))[None]
    return functional.interpolate(source, size=shape, mode="bicubic", align_corners=False)[None]


def _example(source: Tensor, truth: Tensor, slices: float, rng: np.random.Generator) -> Example:
    """Cut a window; `slices` is how many of the network's the stack has."""
    grid = _window_grid((slices, *source.shape[3:]), rng)
    outside = (grid.abs() > 1).any(-1)[0]
    cut = _sample(source, grid, "bilinear")
    cut = torch.where(outside, source.min() if rng.random() < 0.5 else torch.zeros(()), cut)
    parts = np.stack([(rng.permutation(TRUTHS) + rng.random(TRUTHS)) / TRUTHS - 0.5 for _ in range(3)], 1)
    offsets = torch.from_numpy(2 * parts[:, ::-1] / truth.shape[:1:-1]).float()
    labels = torch.stack([_sample(truth, grid + offset, "nearest") for offset in offsets])
    return Example(cut[None], torch.where(outside, 0, labels.long()))


def _sample(source: Tensor, grid: Tensor, mode: str) -> Tensor:
    return functional.grid_sample(source, grid, mode=mode, padding_mode="border", align_corners=False)[0, 0]


def _window_grid(shape: tuple[float, ...], rng: np.random.Generator) -> Tensor:
    """Where a window's voxels lie in a stack of `shape` of the network's voxels, (1, R, I, P, 3) in -1…1, P first."""
    plain = bool(rng.random() < 0.5)
    angle, scale = (0.0, np.ones(3)) if plain else (rng.normal(0, 0.09), np.exp(rng.normal(0, (0.08, 0.10, 0.10))))
    size = np.array(PATCH) * scale
    room, slack = np.maximum(np.array(shape) - size, 0), np.maximum(size - np.array(shape), 0)
    start = np.clip(rng.uniform(-0.1, 1.1, 3), 0, 1) * room - (0.5 if plain else rng.uniform(0, 1, 3)) * slack
    if rng.random() < 0.7:  # the spine is in the middle of most fields
        start[2] = room[2] * np.clip(rng.normal(0.5, 0.2), 0, 1) - slack[2] / 2
    if plain:
        start[1:] = np.rint(start[1:])
    axes = [(torch.arange(n) + 0.5) / n * float(s) + float(o) for n, s, o in zip(PATCH, size, start, strict=True)]
    r, i, p = torch.meshgrid(*axes, indexing="ij")
    mid_i, mid_p = float(start[1] + size[1] / 2), float(start[2] + size[2] / 2)
    di, dp = i - mid_i, p - mid_p
    i = mid_i + di * np.cos(angle) - dp * np.sin(angle)
    p = mid_p + di * np.sin(angle) + dp * np.cos(angle)
    normalised = [2 * value / n - 1 for value, n in zip((p, i, r), reversed(shape), strict=True)]
    return torch.stack(normalised, -1)[None].float()


class SemanticStep:
    """Cross-entropy and soft Dice at three depths."""

    def __init__(self, network: nn.Module, store: MrSceneStore, *, batch: int = 2, device: str = "cpu") -> None:
        self.network, self.store, self.batch, self.device = network, store, batch, device

    def __call__(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss of a fresh batch."""
        self.network.train()
        examples = draw_examples(self.store, rng, self.batch)
        return self.loss(examples)

    def loss(self, examples: list[Example]) -> tuple[Tensor, dict[str, float]]:
        """The loss of given examples."""
        image = torch.stack([example.image for example in examples]).to(self.device)
        classes = torch.stack([example.classes for example in examples]).to(self.device)
        with torch.autocast(self.device, torch.bfloat16, enabled=runs_half(torch.device(self.device))):
            outputs = self.network(image)
        total, first = torch.zeros((), device=self.device), 0.0
        for depth, (weight, logits) in enumerate(zip(DEEP_WEIGHTS, outputs, strict=False)):
            entropy, dice = _losses(logits.float(), _shrunk(classes, logits.shape[2:]))
            total = total + weight * (entropy + dice)
            first = dice.item() if depth == 0 else first
        return total, {"dice": first}


def _shrunk(classes: Tensor, shape: torch.Size) -> Tensor:
    if classes.shape[2:] == shape:
        return classes
    return functional.interpolate(classes.float(), size=tuple(shape), mode="nearest-exact").long()


def _losses(logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy, and 1 - soft Dice over the structures, in as few passes over all voxels as can be.

    logits: (N, CLASSES, R, I, P); classes: (N, TRUTHS, R, I, P), whose mean as one-hot maps is the truth.
    """
    log_probability = logits.log_softmax(1)
    log_true = log_probability.gather(1, classes).flatten()
    flat, truths = classes.flatten(), classes.shape[1]
    overlap = torch.zeros(CLASSES, device=logits.device).index_add(0, flat, log_true.exp()) / truths
    total = log_probability.exp().sum((0, 2, 3, 4)) + torch.bincount(flat, minlength=CLASSES) / truths
    return -log_true.mean(), 1 - ((2 * overlap[1:] + 20) / (total[1:] + 20)).mean()
