"""A ResNet-18 with one block per stage and few channels, for patches of one channel.

Names of parameters are torchvision's, and so are the layers. It is not built from torchvision because importing that
loads every one of its models and torch's compiler: as long again as torch itself takes, before the first radiograph.

Source: He et al., "Deep Residual Learning for Image Recognition" (2016).
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class ResidualBlock(nn.Module):
    """Two convolutions of 3×3 pixels and what was given, added."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        """Make the layers; what was given is projected where channels or the grid change."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels:
            projection = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels in, R, C) → (B, channels, R / stride, C / stride)."""
        found = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(found + (x if self.downsample is None else self.downsample(x)))


class NarrowResNet(nn.Module):
    """From a patch to class logits."""

    def __init__(self, widths: Sequence[int], classes: int) -> None:
        """Make the layers; widths: channels of the first layer and of the four stages."""
        super().__init__()
        first, *stages = widths
        self.conv1 = nn.Conv2d(1, first, 5, 2, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        for number, (before, width) in enumerate(zip(widths, stages, strict=False), 1):
            block = ResidualBlock(before, width, stride=1 if number == 1 else 2)
            self.add_module(f"layer{number}", nn.Sequential(block))
        self.stages = len(stages)
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, S, S) → logits (B, classes)."""
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for number in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{number}")(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits
