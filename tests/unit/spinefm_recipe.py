"""Weights from a recipe: any network's state dict filled from its key names alone.

With these weights the published network was measured; the same numbers out of another implementation mean that the
published weights will work in it.
"""

import math
import zlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def recipe_tensor(key: str, shape: Sequence[int]) -> Tensor:
    """Fill one entry: noise seeded by the key's CRC-32, scaled as a trained network's entry of that name would be."""
    noise = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if key.endswith("running_var"):
        return 1 + 0.02 * noise.abs()
    if noise.ndim >= 2:
        return noise / math.sqrt(noise[0].numel())
    return 1 + 0.02 * noise if key.endswith("weight") else 0.02 * noise


def recipe_state_dict(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Fill a whole state dict, given the shape of every key."""
    return {key: recipe_tensor(key, shape) for key, shape in shapes.items()}


def recipe_like(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fill a state dict like another one; counters (whole numbers) stay as they are."""
    return {
        key: recipe_tensor(key, value.shape) if value.is_floating_point() else value
        for key, value in state_dict.items()
    }
