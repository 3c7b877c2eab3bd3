"""State dicts from outside, held against the networks they are for.

A state dict may name one tensor several times: nnU-Net's networks hold each convolution by two names, and the
encoder once more inside the decoder. A file needs each tensor once.
"""

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


def without_aliases(weights: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Keep the first name of every tensor that the network has by several."""
    first_names = {id(tensor): key for key, tensor in reversed(network.state_dict(keep_vars=True).items())}
    return {key: value for key, value in weights.items() if key in first_names.values()}


def with_aliases(weights: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Give every tensor all the names that the network has for it, as `load_state_dict` wants them."""
    own = network.state_dict(keep_vars=True)
    known = {id(tensor): weights[key] for key, tensor in own.items() if key in weights}
    return {**weights, **{key: known[id(tensor)] for key, tensor in own.items() if id(tensor) in known}}
