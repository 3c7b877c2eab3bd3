"""A pack, written out in the published folder format, so that the original SPINEPS runs the same weights.

::

    <out>/semantic/    inference_config.json dataset.json plans.json fold_<n>/checkpoint_final.pth
    <out>/instance/    inference_config.json instance-weights.ckpt
    <out>/labelling/   inference_config.json epoch=0-val_f1=0-valf1-weights.ckpt        (where the pack has one)

What a training would keep in a checkpoint beside the weights, and what the original asks for when it opens one, is
filled in with values that decide nothing at inference.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from models.errors import PackError
from models.packs import ModelPack, read_weights
from models.spineps.centres import SPECK_MM3 as BODY_SPECK_MM3
from models.spineps.instances import SPECK_MM3 as VERTEBRA_SPECK_MM3
from models.spineps.published import CONFIG, fold_name
from models.spineps.release import network_voxels
from models.spineps.semantic import build_semantic_network
from models.state_dicts import with_aliases

# contrast of ours → modality of the original, which knows no STIR: its own T2w network is used on both
MODALITY_OF: Mapping[str, str] = MappingProxyType({"T2w": "T2w", "STIR": "T2w", "T1w": "T1w", "other": "MPR"})
ACQUISITION_OF: Mapping[str, str] = MappingProxyType({"sagittal": "sag", "coronal": "cor", "axial": "ax"})
ORIENTATION = ("P", "I", "R")
LIGHTNING = {"epoch": 0, "global_step": 0, "pytorch-lightning_version": "2.0.0"}
INSTANCE_OPTIONS = {"n_epoch": 1, "lr": 1e-4, "lr_end_factor": 0.01, "l2_reg_w": 1e-4, "dsc_loss_w": 1.0}
LABELLING_OPTIONS = {"lr": 1e-4, "l2_regularization_w": 0.0, "mse_weighting": 0.0, "dropout": 0.0, "n_epoch": 1,
                     "in_channel": 1, "not_pretrained": True}  # fmt: skip


def publish(pack: ModelPack, out: Path) -> dict[str, Path]:
    """Write a SPINEPS pack as published folders below `out`; network → its folder.

    Raises: PackError when the pack is none of SPINEPS, or its networks have no published form.
    """
    if pack.engine != "spineps":
        raise PackError(f"pack {pack.name} is for the engine {pack.engine}, and only one for spineps is published so")
    writers = {"semantic": _write_semantic, "instance": _write_instance, "labelling": _write_labelling}
    folders = {network: out / network for network in writers if network in pack.networks}
    for network, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        writers[network](pack, pack.networks[network], folder)
    return folders


def _write_semantic(pack: ModelPack, settings: Mapping[str, Any], folder: Path) -> None:
    if settings["kind"] != "nnunet":
        raise PackError(f"pack {pack.name}: a semantic network of kind {settings['kind']!r} has no published form")
    folds = settings.get("folds", 1)
    _write_json(folder / "plans.json", settings["plans"])
    _write_json(folder / "dataset.json", settings["dataset"])
    contrasts = [MODALITY_OF[contrast] for contrast in pack.accepts.get("contrast", ["T2w"])]
    planes = pack.accepts.get("plane", ["sagittal"])
    config = {
        "modality": sorted(set(contrasts)),
        "acquisition": ACQUISITION_OF[planes[0]] if len(planes) == 1 else "iso",
        "log_name": f"{pack.name} semantic",
        "modeltype": "nnunet",
        "available_folds": folds,
        "inference_augmentation": settings["mirror_axes"] is not None,
        "default_step_size": settings["tile_step_size"],
        "labels": settings["labels"],
        "expected_inputs": ["img"],
    }
    _write_config(folder, settings, config)
    with torch.device("meta"):
        network = build_semantic_network(settings)
    for number in range(folds):
        checkpoint = {
            "network_weights": with_aliases(_single(read_weights(pack, fold_name(number, folds))), network),
            "init_args": {"configuration": settings["configuration"], "fold": number},
            "trainer_name": settings["trainer"],
            "inference_allowed_mirroring_axes": settings["mirror_axes"],
        }
        _save(checkpoint, folder / f"fold_{number}" / "checkpoint_final.pth")


def _write_instance(pack: ModelPack, settings: Mapping[str, Any], folder: Path) -> None:
    channels = settings["channels"]
    config = {
        "modality": "SEG",
        "acquisition": "sag",
        "log_name": f"{pack.name} instance",
        "modeltype": "unet",
        "available_folds": 1,
        "inference_augmentation": False,
        "default_step_size": 0.5,
        "labels": {"1": 1, "2": 2, "3": 3},
        "expected_inputs": ["seg"],
        "cutout_size": settings["cutout_size"],
        # The original counts these in voxels of the network's grid, whatever its spacing; we mean a volume.
        "corpus_size_cleaning": network_voxels(BODY_SPECK_MM3, settings["resolution"]),
        "vert_size_threshold": network_voxels(VERTEBRA_SPECK_MM3, settings["resolution"]),
    }
    _write_config(folder, settings, config)
    checkpoint = {
        **LIGHTNING,
        "state_dict": {f"network.{key}": value for key, value in _single(read_weights(pack, "instance")).items()},
        "hyper_parameters": {
            "opt": argparse.Namespace(**INSTANCE_OPTIONS, channelwise=channels != 1),
            "do2D": False,
            "num_channels": channels,
            "dim": settings["dim"],
        },
    }
    _save(checkpoint, folder / "instance-weights.ckpt")


def _write_labelling(pack: ModelPack, settings: Mapping[str, Any], folder: Path) -> None:
    config = {
        "modality": sorted({MODALITY_OF[contrast] for contrast in pack.accepts.get("contrast", ["T2w"])}),
        "acquisition": "sag",
        "log_name": f"{pack.name} labelling",
        "modeltype": "classifier",
        "available_folds": 1,
        "inference_augmentation": False,
        "default_step_size": 0.5,
        "labels": {str(number): number for number in range(1, 27)},
        "expected_inputs": ["img"],
    }
    _write_config(folder, settings, config)
    options = argparse.Namespace(
        **LABELLING_OPTIONS,
        backbone=settings["kind"].upper(),
        classification_conv=settings["head_conv"],
        classification_linear=settings["head_hidden"],
        num_classes=max(settings["heads"].values()),
        final_size=tuple(settings["cutout_size"]),
        ds_name="v4corpus" if settings["rotate"] else "v3corpus",
    )
    checkpoint = {
        **LIGHTNING,
        "state_dict": _single(read_weights(pack, "labelling")),
        "hyper_parameters": {"opt": options, "group_2_n_channel": dict(settings["heads"])},
    }
    _save(checkpoint, folder / "epoch=0-val_f1=0-valf1-weights.ckpt")


def _write_config(folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    grid = {"model_expected_orientation": ORIENTATION, "resolution_range": settings["resolution"]}
    _write_json(folder / CONFIG, {**config, **grid})


def _write_json(path: Path, body: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


def _single(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Single precision, in which the original computes; a pack may keep half."""
    return {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}


def _save(checkpoint: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(checkpoint), path)
