"""Small SPINEPS networks, and a spine of plain intensities that a network set by hand tells apart."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from models.contracts import SpineVolume
from models.packs import ModelPack, write_pack
from models.spineps.semantic import build_semantic_network
from models.state_dicts import without_aliases

PATCH = (8, 32, 32)  # (R, I, P)
SPACING_MM = (1.0, 1.0, 2.0)  # (P, I, R)
# SPINEPS' label → its intensity in the made spine; far enough apart for half precision
SHADES: Mapping[int, float] = {0: 0.0, 49: 0.2, 41: 0.4, 61: 0.6, 26: 0.8, 100: 1.0}
LABELS = {str(number): label for number, label in enumerate(SHADES) if label}
INSTANCE = {"kind": "unet3d", "dim": 8, "dim_mults": [1, 2], "channels": 10, "classes": 4,
            "cutout_size": [48, 64, 16], "resolution": list(SPACING_MM)}  # fmt: skip


def semantic_settings(
    *, spacing: Sequence[float] = SPACING_MM, mirror_axes: Sequence[int] | None = None, folds: int = 1
) -> dict[str, Any]:
    """A pack's `semantic` entry of a network of two stages; spacing: that of the plans, (P, I, R) mm."""
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": 2,
            "features_per_stage": [4, 8],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[1, 3, 3], [3, 3, 3]],
            "strides": [[1, 1, 1], [1, 2, 2]],
            "n_conv_per_stage": [1, 1],
            "n_conv_per_stage_decoder": [1],
            "conv_bias": True,
            "norm_op": None,
            "norm_op_kwargs": {},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    configuration = {
        "data_identifier": "made",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(PATCH),
        "spacing": list(spacing[::-1]),
        "normalization_schemes": ["RescaleTo01Normalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": resampling,
        "architecture": architecture,
        "batch_dice": False,
    }
    plans = {
        "dataset_name": "Dataset001_Made",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {}},
    }
    names = {"background": 0, **{str(label): int(number) for number, label in LABELS.items()}}
    return {
        "kind": "nnunet",
        "plans": plans,
        "dataset": {"channel_names": {"0": "MR"}, "labels": names, "numTraining": 0, "file_ending": ".nii.gz"},
        "configuration": "3d_fullres",
        "trainer": "nnUNetTrainer",
        "mirror_axes": list(mirror_axes) if mirror_axes is not None else None,
        "tile_step_size": 0.5,
        "labels": LABELS,
        "resolution": list(SPACING_MM),
        "folds": folds,
        "preparation": {"normalise": True, "bias_correction": False, "padding": 4},
    }


def random_weights(settings: Mapping[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """A state dict by chance."""
    torch.manual_seed(seed)
    return dict(build_semantic_network(settings).state_dict())


def shade_weights(settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """A state dict that gives each voxel the label of the nearest shade.

    One channel carries the intensity x through; the logit of a shade s is 2·s·x − s², greatest for the nearest s.
    """
    network = build_semantic_network(settings)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        first = network.encoder.stages[0][0].convs[0].conv  # type: ignore[index, union-attr]
        first.weight[0, 0, 0, 1, 1] = 1.0
        decoder = network.decoder.stages[0].convs[0].conv  # type: ignore[index, union-attr]
        decoder.weight[0, 4, 0, 1, 1] = 1.0  # what comes from below lies before it
        shades = torch.tensor(list(SHADES.values()))
        last = network.decoder.seg_layers[-1]  # type: ignore[index, union-attr]
        last.weight[:, 0, 0, 0, 0] = 2 * shades  # type: ignore[union-attr]
        last.bias[:] = -shades * shades  # type: ignore[union-attr]
    return dict(network.state_dict())


def made_pack(folder: Path, *, instance: Mapping[str, Any] = INSTANCE, **settings: Any) -> ModelPack:
    """A pack whose semantic network knows SHADES, with an instance network by chance."""
    from models.spineps.instance_network import build_instance_network  # noqa: PLC0415

    semantic = semantic_settings() | settings
    torch.manual_seed(0)
    weights = without_aliases(shade_weights(semantic), build_semantic_network(semantic))
    description = {
        "name": "spineps-made",
        "version": "1",
        "engine": "spineps",
        "accepts": {"modality": ["MR"]},
        "networks": {"semantic": semantic, "instance": dict(instance)},
        "provenance": "made",
        "licence": "Apache-2.0",
        "intended_use": "tests",
    }
    return write_pack(
        folder, description, {"semantic": weights, "instance": build_instance_network(instance).state_dict()}
    )


class ComponentNetwork(nn.Module):
    """Stands for an instance network: whatever hangs together around the middle, above it and below it."""

    channels = 10

    def forward(self, structures: Tensor) -> Tensor:
        """(B, channels, P, I, R) → logits of nothing, the middle component, the next above and below."""
        answers = []
        for one in structures:
            components, count = ndimage.label(one[1:].sum(0).float().numpy() > 0)
            centres = ndimage.center_of_mass(components > 0, components, range(1, count + 1))
            order = sorted(range(1, count + 1), key=lambda number: centres[number - 1][1])
            middle = min(range(count), key=lambda at: abs(centres[order[at] - 1][1] - one.shape[2] / 2))
            classes = np.zeros(one.shape[1:], np.int64)
            for number, at in ((1, middle), (2, middle - 1), (3, middle + 1)):
                if 0 <= at < count:
                    classes[components == order[at]] = number
            answers.append(nn.functional.one_hot(torch.from_numpy(classes), 4).movedim(-1, 0).float())
        return torch.stack(answers)


def made_spine(count: int = 5, *, sacrum: bool = True) -> NDArray[np.uint8]:
    """Bodies with arches behind them, discs between, a canal, a sacrum: (P, I, R) in SPINEPS' labels."""
    labels = np.zeros((56, count * 18 + 30, 14), np.uint8)
    labels[28:34, 4:-4, 5:9] = 61
    for index in range(count):
        top = 6 + index * 18
        labels[8:28, top : top + 12, 3:11] = 49
        labels[20:40, top + 2 : top + 10, 4] = 41  # a pedicle beside the canal
        labels[34:44, top + 2 : top + 10, 4:10] = 41
        if index + 1 < count or sacrum:
            labels[8:28, top + 13 : top + 17, 3:11] = 100
    if sacrum:
        labels[8:28, count * 18 + 6 : count * 18 + 20, 3:11] = 26
    return labels


def volume_of(labels: NDArray[np.uint8], *, order: Sequence[int] = (2, 1, 0), signs: Sequence[int] = (1, 1, 1),
              noise: float = 0.01) -> SpineVolume:  # fmt: skip
    """A volume that shows labels (P, I, R) in their shades.

    order: which of P, I, R each of slices, rows, columns runs along; signs: −1 where it runs the other way.
    """
    shades = np.zeros(256, np.float32)
    shades[list(SHADES)] = list(SHADES.values())
    rng = np.random.default_rng(0)
    image = shades[labels] * 1400 + np.abs(rng.normal(0, noise * 1400, labels.shape)).astype(np.float32)
    towards = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # columns: P, I, R in LPS
    affine = np.eye(4)
    for axis, (along, sign) in enumerate(zip(order, signs, strict=True)):
        affine[:3, axis] = sign * SPACING_MM[along] * towards[:, along]
        if sign < 0:
            affine[:3, 3] += SPACING_MM[along] * (labels.shape[along] - 1) * towards[:, along]
    turned = image.transpose(tuple(order))[tuple(slice(None, None, sign) for sign in signs)]
    return SpineVolume(np.ascontiguousarray(turned), affine, "T2w")
