"""The classifier's narrow ResNet is torchvision's: its names, its numbers."""

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from models.spinefm.narrow_resnet import NarrowResNet
from tests.unit.spinefm_recipe import recipe_like

WIDTHS = [8, 8, 16, 24, 32]
CLASSES = 4


def torchvisions() -> nn.Module:
    """The same network made of torchvision's ResNet."""
    network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=CLASSES)
    network.conv1, network.bn1 = nn.Conv2d(1, WIDTHS[0], 5, 2, 2, bias=False), nn.BatchNorm2d(WIDTHS[0])
    for number in range(1, 5):
        network.inplanes = WIDTHS[number - 1]
        stage = network._make_layer(BasicBlock, WIDTHS[number], 1, stride=1 if number == 1 else 2)
        setattr(network, f"layer{number}", stage)
    network.fc = nn.Linear(WIDTHS[-1], CLASSES)
    evaluated: nn.Module = network.eval()
    return evaluated


def test_weights_of_torchvision_fit_and_give_the_same_logits() -> None:
    """In the same order of names, to the last bit."""
    ours, theirs = NarrowResNet(WIDTHS, CLASSES).eval(), torchvisions()
    state = recipe_like(theirs.state_dict())
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    theirs.load_state_dict(state)
    patches = torch.rand(3, 1, 80, 80, generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        assert torch.equal(ours(patches), theirs(patches))
