"""The labelling network of SPINEPS: a DenseNet over a cutout of the image, with one head per group of names.

The state dict is the published one. Source: the labelling network released with SPINEPS v1.4.0 (VERIDAH).
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

BACKBONES = {"densenet121": "DenseNet121", "densenet169": "DenseNet169"}


class LabellingNetwork(nn.Module):
    """One vertebra's surroundings to the logits of every head."""

    def __init__(self, kind: str, heads: Mapping[str, int], *, head_conv: bool, head_hidden: bool) -> None:
        from monai.networks import nets  # noqa: PLC0415 - seconds of import, for packs that have this network

        super().__init__()
        backbone = getattr(nets, BACKBONES[kind])(spatial_dims=3, in_channels=1, out_channels=1)
        features = backbone.class_layers[-1].in_features
        backbone.class_layers = backbone.class_layers[:-1]
        self.net = backbone
        self.classification_heads = nn.ModuleDict(
            {name: _head(features, classes, conv=head_conv, hidden=head_hidden) for name, classes in heads.items()}
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(B, 1, P, I, R) → logits (B, classes) by head."""
        features = self.net(image)
        return {name: head(features) for name, head in self.classification_heads.items()}


def _head(features: int, classes: int, *, conv: bool, hidden: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    if conv:
        layers.append(nn.Conv3d(features, features // 2, 3))
        features //= 2
    if hidden:
        layers += [nn.Linear(features, features // 2), nn.ReLU()]
        features //= 2
    return nn.Sequential(*layers, nn.Linear(features, classes))


def build_labelling_network(settings: Mapping[str, Any]) -> LabellingNetwork:
    """Build the network that a pack's `labelling` entry describes: `kind`, `heads`, `head_conv`, `head_hidden`."""
    return LabellingNetwork(
        str(settings["kind"]),
        {str(name): int(classes) for name, classes in settings["heads"].items()},
        head_conv=bool(settings["head_conv"]),
        head_hidden=bool(settings["head_hidden"]),
    )
