"""The semantic phase: nnU-Net over sliding windows, from a pack instead of an nnU-Net folder.

Source: Möller et al., "SPINEPS" (European Radiology 2024), first phase; Isensee et al., "nnU-Net" (Nature Methods
2021).
"""

from collections.abc import Mapping
from typing import Any

from torch import nn


def build_semantic_network(settings: Mapping[str, Any]) -> nn.Module:
    """Build the network that `plans` and `dataset` of a pack's `semantic` entry describe, without deep supervision."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans  # noqa: PLC0415 - seconds of import

    architecture = settings["plans"]["configurations"][settings["configuration"]]["architecture"]
    return get_network_from_plans(  # type: ignore[no-any-return]
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        len(settings["dataset"]["channel_names"]),
        len(settings["dataset"]["labels"]),
        deep_supervision=False,
    )
