"""The instance network of SPINEPS: a 3-D U-Net of residual blocks, with the published state dict.

Both published layouts of the training code (before and since version 2) have the same keys and shapes.
Source: Möller et al., "SPINEPS" (European Radiology 2024), second phase.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS = 8
Stages = Iterable[tuple[nn.Module, nn.Module, nn.Module]]


class GroupNorm(nn.GroupNorm):
    """PyTorch's, but for groups of one channel by its instance norm, the same numbers.

    On a CPU, where a group norm of channels-last volumes takes 10 times as long forwards and backwards together.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, D, H, W) → the same shape."""
        if self.num_groups != self.num_channels:
            return super().forward(input)
        return functional.instance_norm(input, weight=self.weight, bias=self.bias, eps=self.eps)


class ConvolutionBlock(nn.Module):
    """Convolution, group norm, leaky ReLU."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(width_in, width_out, 3, padding=1)
        self.norm = GroupNorm(GROUPS, width_out)
        self.act = nn.LeakyReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, D, H, W) → (B, out, D, H, W)."""
        return self.act(self.norm(self.proj(x)))  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """Two convolution blocks beside a shortcut, which is a 1×1×1 convolution where the width changes."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.block1 = ConvolutionBlock(width_in, width_out)
        self.block2 = ConvolutionBlock(width_out, width_out)
        self.res_conv = nn.Conv3d(width_in, width_out, 1) if width_in != width_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, D, H, W) → (B, out, D, H, W)."""
        return self.block2(self.block1(x)) + self.res_conv(x)  # type: ignore[no-any-return]


class InstanceNetwork(nn.Module):
    """Structures of a cutout to the vertebra in its middle and its two neighbours.

    Skip connections are averaged with what comes from below, not concatenated; only the first features are.
    """

    def __init__(self, *, channels: int, width: int, multiples: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.channels = channels
        widths = [width, *(width * multiple for multiple in multiples)]
        steps = list(zip(widths, widths[1:], strict=False))
        self.init_conv = nn.Conv3d(channels, width, 7, padding=3)
        self.downs = nn.ModuleList()
        for index, (before, after) in enumerate(steps):
            halve = nn.Conv3d(after, after, 4, 2, 1) if index + 1 < len(steps) else nn.Identity()
            self.downs.append(nn.ModuleList([ResidualBlock(before, after), ResidualBlock(after, after), halve]))
        self.mid_block1 = ResidualBlock(widths[-1], widths[-1])
        self.mid_block2 = ResidualBlock(widths[-1], widths[-1])
        self.ups = nn.ModuleList()
        for index, (before, after) in enumerate(reversed(steps)):
            double = nn.ConvTranspose3d(before, before, 4, 2, 1) if index + 1 < len(steps) else nn.Identity()
            self.ups.append(nn.ModuleList([ResidualBlock(after, before), ResidualBlock(before, before), double]))
        self.final_res_block = ResidualBlock(2 * width, width)
        self.final_conv = nn.Conv3d(width, classes, 1)

    def forward(self, structures: Tensor) -> Tensor:
        """(B, channels, P, I, R) → logits (B, classes, P, I, R); sizes are multiples of 2 ** (stages - 1)."""
        first = x = self.init_conv(structures)
        skipped: list[Tensor] = []
        for block1, block2, halve in cast("Stages", self.downs):
            x = block2(block1(x))
            skipped.append(x)
            x = halve(x)
        x = self.mid_block2(self.mid_block1(x))
        for block1, block2, double in cast("Stages", self.ups):
            x = double(block2(block1(0.5 * (x + skipped.pop()))))
        return self.final_conv(self.final_res_block(torch.cat((x, first), 1)))  # type: ignore[no-any-return]


def build_instance_network(settings: Mapping[str, Any]) -> InstanceNetwork:
    """Build the network that a pack's `instance` entry describes: `dim`, `dim_mults`, `channels`, `classes`."""
    return InstanceNetwork(
        channels=int(settings["channels"]),
        width=int(settings["dim"]),
        multiples=tuple(int(multiple) for multiple in settings["dim_mults"]),
        classes=int(settings["classes"]),
    )
