"""State dicts from outside, held against the networks they are for."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from models.errors import PackError


def shapes_of(build: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Shape of every entry of a network's state dict; no memory is taken for its weights."""
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in build().state_dict().items()}


def check_state_dict(weights: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Hold a state dict read from `path` against the shapes of its network.

    Raises: PackError naming the first entries that are missing, unknown or misshapen.
    """
    faults = [f"{key} is missing" for key in expected if key not in weights]
    faults += [f"{key} is unknown" for key in weights if key not in expected]
    faults += [
        f"{key} is {tuple(weights[key].shape)}, expected {shape}"
        for key, shape in expected.items()
        if key in weights and tuple(weights[key].shape) != shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise PackError(f"{path} is not the expected network of {len(expected)} entries: {'; '.join(faults[:3])}{more}")
