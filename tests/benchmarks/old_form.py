"""A published folder rewritten with plans of nnU-Net 2.2's form, as SPINEPS' authors published theirs.

The old form states features that double from stage to stage up to a limit. A network with fewer is brought to these
widths by channels that are zero throughout: it computes what it did.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.spineps.old_plans import resolved_plans
from models.spineps.semantic import build_semantic_network

MOST_FEATURES = 320


def to_old_form(folder: Path) -> None:
    """Rewrite plans.json and the weights of a semantic network, as `models.spineps.publish` writes them, in place."""
    plans_file, dataset = folder / "plans.json", json.loads((folder / "dataset.json").read_text())
    plans = json.loads(plans_file.read_text())
    for name, settings in plans["configurations"].items():
        plans["configurations"][name] = old_settings(settings)
        resolved = {"plans": resolved_plans(plans, name, plans_file), "dataset": dataset, "configuration": name}
        wide = build_semantic_network(resolved).state_dict()
        for file in folder.glob("fold_*/checkpoint_*.pth"):
            checkpoint = torch.load(file, weights_only=False)  # noqa: S614  our own, written a moment ago
            checkpoint["network_weights"] = widened(checkpoint["network_weights"], wide)
            torch.save(checkpoint, file)
    plans_file.write_text(json.dumps(plans))


def old_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the old form's keys instead of `architecture`."""
    build = settings["architecture"]["arch_kwargs"]
    return {
        **{key: value for key, value in settings.items() if key != "architecture"},
        "UNet_class_name": settings["architecture"]["network_class_name"].rpartition(".")[2],
        "UNet_base_num_features": build["features_per_stage"][0],
        "unet_max_num_features": MOST_FEATURES,
        "n_conv_per_stage_encoder": build["n_conv_per_stage"],
        "n_conv_per_stage_decoder": build["n_conv_per_stage_decoder"],
        "num_pool_per_axis": [sum(stride > 1 for stride in along) for along in zip(*build["strides"], strict=True)],
        "pool_op_kernel_sizes": build["strides"],
        "conv_kernel_sizes": build["kernel_sizes"],
    }


def widened(weights: Mapping[str, Tensor], wide: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights padded with zeros to the shapes of a wider network of the same build."""
    return {key: _padded(value, wide[key].shape, key) for key, value in weights.items()}


def _padded(values: Tensor, shape: torch.Size, key: str) -> Tensor:
    made = values.new_zeros(shape)
    if values.ndim < 2:  # of norms and biases
        made[: len(values)] = values
    elif "decoder.stages" in key and "convs.0." in key:  # what comes from below, then the skip connection
        half, wide_half = values.shape[1] // 2, shape[1] // 2
        made[: len(values), :half] = values[:, :half]
        made[: len(values), wide_half : wide_half + half] = values[:, half:]
    else:
        made[: values.shape[0], : values.shape[1]] = values
    return made
