"""The form in which a CPU computes fastest gives the network's own answer."""

import pytest
import torch
from torch import nn

from models.spineps import native
from models.spineps.instance_network import build_instance_network
from models.spineps.native import NarrowGroupNorm, NativeNetwork, PairedConvolution, with_fast_layers


def blocks() -> nn.Module:
    """Instance norms, narrow and wide layers, uneven kernels, one convolution of each kind that may not be paired."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(2, 5, 3, padding=1),
        nn.InstanceNorm3d(5, affine=True),
        nn.LeakyReLU(),
        nn.Conv3d(5, 16, (1, 3, 3), padding=(0, 1, 1)),
        nn.InstanceNorm3d(16),
        nn.LeakyReLU(),
        nn.Conv3d(16, 8, (3, 1, 5), padding=(1, 0, 2), bias=False),
        nn.GroupNorm(4, 8),
        nn.Conv3d(8, 8, 3, stride=2, padding=1),
        nn.Conv3d(8, 8, 3, padding=1, padding_mode="replicate"),
        nn.Conv3d(8, 3, 1),
    ).eval()


@pytest.mark.parametrize("shape", [(1, 2, 9, 10, 12), (2, 2, 8, 6, 7)])
def test_the_form_for_a_cpu_gives_the_networks_answer(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Even and odd grids, one item and two: single precision to its rounding."""
    monkeypatch.setattr(native, "runs_half", lambda _device: False)
    network, x = blocks(), torch.randn(shape)
    with torch.inference_mode():
        expected = network(x)

        answer = NativeNetwork(network)(x)

    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, expected, atol=1e-4, rtol=1e-4)


def test_bfloat16_stays_near_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an instance network of the published layout, by a few hundredths; the network itself is untouched."""
    monkeypatch.setattr(native, "runs_half", lambda _device: True)
    torch.manual_seed(0)
    network = build_instance_network({"dim": 8, "dim_mults": [1, 2], "channels": 10, "classes": 4}).eval()
    x = nn.functional.one_hot(torch.randint(0, 10, (1, 16, 16, 8)), 10).movedim(-1, 1).float()
    with torch.inference_mode():
        expected = network(x)

        answer = NativeNetwork(network)(x)

    assert float((answer - expected).std()) < 0.03 * float(expected.std())
    assert next(network.parameters()).dtype == torch.float32


def test_slow_layers_are_replaced_and_others_kept() -> None:
    """Instance norms by group norms, narrow ones by those in single precision, narrow convolutions by paired ones."""
    kinds = [type(layer) for layer in with_fast_layers(blocks()).children()]

    assert kinds == [
        PairedConvolution, NarrowGroupNorm, nn.LeakyReLU, nn.Conv3d, nn.GroupNorm, nn.LeakyReLU,
        PairedConvolution, NarrowGroupNorm, nn.Conv3d, nn.Conv3d, nn.Conv3d,
    ]  # fmt: skip


def test_a_norm_with_running_statistics_is_kept() -> None:
    """It computes something else."""
    (kept,) = with_fast_layers(nn.Sequential(nn.InstanceNorm3d(4, track_running_stats=True))).children()

    assert isinstance(kept, nn.InstanceNorm3d)
