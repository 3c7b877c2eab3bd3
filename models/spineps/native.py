"""A network in the form that its device computes fastest; what it answers stays the same but for rounding.

On a GPU that is half precision by autocast. On a CPU channels come last in memory, and where the processor multiplies
bfloat16 (AVX-512 BF16) weights and features are bfloat16 throughout: nothing is converted between the layers, and half
as much is moved. Layers are put in the place of others that do the same arithmetic in a way that is slower there.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.device import runs_half

Norm = nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d | nn.GroupNorm
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
NARROW = 16  # channels; below this a group norm of bfloat16 with channels last is slower than the way over float32


class NativeNetwork:
    """A network that answers in single precision, whatever it computes in."""

    def __init__(self, network: nn.Module) -> None:
        """Take a network in single precision, in evaluation mode from here on."""
        self.network = network.eval()
        self._for_cpu: tuple[nn.Module, torch.dtype] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """(B, channels, X, Y, Z) float32 → the answer, float32, computed on the device of `x`."""
        if x.device.type == "cpu":
            return self._on_cpu(x)
        with torch.autocast(x.device.type, torch.float16, enabled=runs_half(x.device)):
            answer = self.network.to(x.device)(x)
        return answer.float()  # type: ignore[no-any-return]

    def _on_cpu(self, x: Tensor) -> Tensor:
        network, precision = self._cpu_form(torch.bfloat16 if runs_half(x.device) else torch.float32)
        answer = network(x.to(precision).contiguous(memory_format=torch.channels_last_3d))
        return answer.float()  # type: ignore[no-any-return]

    def _cpu_form(self, precision: torch.dtype) -> tuple[nn.Module, torch.dtype]:
        if self._for_cpu is None or self._for_cpu[1] != precision:
            network = with_fast_layers(copy.deepcopy(self.network.cpu()))  # a full GPU has no room for a copy
            network.to(dtype=precision, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
            self._for_cpu = network, precision
        return self._for_cpu


class NarrowGroupNorm(nn.GroupNorm):
    """A group norm that computes in single precision, whatever it is given; a group per channel as a batch norm."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, …) → the same, in its own precision."""
        weight = self.weight.float() if self.affine else None
        bias = self.bias.float() if self.affine else None
        if len(x) == 1 and self.num_groups == self.num_channels:  # the same over a batch of one
            return functional.batch_norm(x, None, None, weight, bias, training=True, eps=self.eps)
        return functional.group_norm(x.float(), self.num_groups, weight, bias, self.eps).to(x.dtype)


class PairedConvolution(nn.Module):
    """A convolution that answers for two neighbours along the last axis at once, as twice as many channels.

    With few channels a vector unit is half empty. With channels last the pairs lie in memory as single voxels would.
    """

    def __init__(self, like: nn.Conv3d) -> None:
        """Take over a convolution for which `may_pair` holds."""
        super().__init__()
        weight = like.weight.detach()
        self.weight = nn.Parameter(torch.cat([functional.pad(weight, (0, 1)), functional.pad(weight, (1, 0))]))
        self.bias = nn.Parameter(like.bias.detach().repeat(2)) if like.bias is not None else None
        self.padding = cast("tuple[int, int, int]", like.padding)

    @staticmethod
    def may_pair(layer: nn.Module) -> bool:
        """Whether a layer is a convolution that keeps the grid, with few channels and neighbours to look at."""
        return (
            isinstance(layer, nn.Conv3d)
            and layer.out_channels <= NARROW // 2
            and layer.padding_mode == "zeros"
            and not isinstance(layer.padding, str)
            and (layer.stride, layer.dilation, layer.groups) == ((1, 1, 1), (1, 1, 1), 1)
            and layer.kernel_size[2] == 2 * layer.padding[2] + 1 > 1
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, X, Y, Z) → (B, out, X, Y, Z)."""
        depth = x.shape[-1]
        if depth % 2:
            x = functional.pad(x, (0, 1)).contiguous(memory_format=torch.channels_last_3d)
        pairs = functional.conv3d(x, self.weight, self.bias, (1, 1, 2), self.padding).movedim(1, -1)
        return pairs.reshape(*pairs.shape[:3], 2 * pairs.shape[3], -1)[:, :, :, :depth].movedim(-1, 1)


def with_fast_layers(network: nn.Module) -> nn.Module:
    """Replace what is slow on a CPU: instance norms without running statistics, narrow group norms and convolutions."""
    for name, layer in network.named_children():
        if isinstance(layer, INSTANCE_NORMS) and not layer.track_running_stats:
            setattr(network, name, _group_norm(layer.num_features, layer.num_features, layer))
        elif isinstance(layer, nn.GroupNorm):
            setattr(network, name, _group_norm(layer.num_groups, layer.num_channels, layer))
        elif PairedConvolution.may_pair(layer):
            setattr(network, name, PairedConvolution(cast("nn.Conv3d", layer)))
        else:
            with_fast_layers(layer)
    return network


def _group_norm(groups: int, channels: int, like: Norm) -> nn.GroupNorm:
    norm = (NarrowGroupNorm if channels < NARROW else nn.GroupNorm)(groups, channels, like.eps, affine=like.affine)
    if norm.affine:
        norm.weight, norm.bias = like.weight, like.bias
    return norm
