"""The semantic phase gives nnU-Net's answer without nnU-Net's memory."""

from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from models.errors import PackError
from models.spineps import native, plans
from models.spineps.frame import Spacing
from models.spineps.memory import Fitting
from models.spineps.plans import NO_RESAMPLING, SemanticPlans
from models.spineps.resampling import resample_planes
from models.spineps.semantic import SemanticPhase, build_semantic_network
from models.spineps.windows import Windows, padded, stream_logits
from tests.made_spineps import LABELS, PATCH, SPACING_MM, random_weights, semantic_settings, shade_weights

CPU = torch.device("cpu")
CLASSES = len(LABELS) + 1


def image(shape: tuple[int, int, int] = (40, 75, 12)) -> NDArray[np.float32]:
    """Something smooth with an empty border, (P, I, R)."""
    rng = np.random.default_rng(1)
    axes = np.meshgrid(*(np.linspace(0, 7, n) for n in shape), indexing="ij")
    values = 700 + 400 * np.sin(axes[0] + axes[1]) + 300 * np.cos(2 * axes[2]) + rng.normal(0, 60, shape)
    values[:2], values[:, -3:] = 0, 0
    return np.asarray(np.clip(values, 0, 1500), np.float32)


def spineps_weight(size: tuple[int, ...] = PATCH) -> torch.Tensor:
    """SPINEPS' weight of a window's voxels: nnU-Net's bump, rounded to half precision while its sum is still 1."""
    bump = torch.zeros(size)
    bump[tuple(n // 2 for n in size)] = 1
    for axis, n in enumerate(size):
        bump = torch.from_numpy(ndimage.gaussian_filter1d(bump.double().numpy(), n / 8, axis, mode="constant"))
    rounded = bump.half()
    least = rounded[rounded != 0].min()
    return torch.where(rounded == 0, least, rounded).float()


def by_nnunet(settings: dict[str, Any], folds: list[dict[str, torch.Tensor]], volume: NDArray[np.float32]) -> Any:
    """What nnU-Net's own predictor answers, with the windows' weights that SPINEPS gives it."""
    from nnunetv2.inference import predict_from_raw_data  # noqa: PLC0415 - seconds of import
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: PLC0415

    phase = SemanticPhase(settings, folds, CPU)
    mirror_axes, plans = settings["mirror_axes"], PlansManager(settings["plans"])
    predictor = predict_from_raw_data.nnUNetPredictor(
        use_mirroring=mirror_axes is not None, perform_everything_on_device=False, device=CPU, allow_tqdm=False
    )
    predictor.manual_initialization(
        build_semantic_network(settings), plans, plans.get_configuration(settings["configuration"]), folds,
        settings["dataset"], settings["trainer"], mirror_axes,
    )  # fmt: skip
    turned = volume.astype(np.float16).astype(np.float32).transpose(2, 1, 0)[None]

    def weight(size: tuple[int, ...], **_: object) -> torch.Tensor:
        bump = spineps_weight(size)
        return (bump / bump.max() * 1000).half()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(predict_from_raw_data, "compute_gaussian", weight)
        answer = predictor.predict_single_npy_array(turned, {"spacing": list(SPACING_MM[::-1])}, None, None, False)
    return phase.table[np.asarray(answer).transpose(2, 1, 0)]


@pytest.mark.parametrize(
    ("network_mm", "image_mm", "shape"),
    [
        ((3.5, 0.9, 0.9), (4.4, 0.6, 0.7), (7, 30, 27)),
        ((3.5, 0.9, 0.9), (2.0, 1.2, 1.2), (15, 16, 15)),
        ((1.0, 1.0, 1.0), (0.8, 0.9, 1.1), (11, 23, 16)),
        ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (9, 20, 18)),
    ],
)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planes_resampled_as_they_come_are_those_of_nnunet(
    network_mm: Spacing, image_mm: Spacing, shape: tuple[int, int, int], axis: int
) -> None:
    """With thick slices, which nnU-Net treats apart, and without; the windows' padding is left out."""
    kwargs = {"is_seg": False, "order": 1, "order_z": 1, "force_separate_z": None}
    logits = torch.from_numpy(np.random.default_rng(2).normal(0, 5, (3, 9, 20, 18)).astype(np.float32))
    surrounded = functional.pad(logits, (2, 1, 3, 4, 5, 0), value=1e6)
    parts = torch.split(surrounded, [4, 1, 3, surrounded.shape[axis + 1] - 8], axis + 1)
    finished = zip((slice(0, 4), slice(4, 5), slice(5, 8), slice(8, None)), parts, strict=True)

    inside = (slice(5, 14), slice(3, 23), slice(2, 20))
    planes = list(resample_planes(finished, inside, shape, axis))

    expected = resample_data_or_seg_to_shape(logits.numpy(), shape, network_mm, image_mm, **kwargs)
    assert [number for number, _ in planes] == list(range(shape[axis]))
    answer = torch.stack([values for _, values in planes], axis + 1)
    np.testing.assert_allclose(answer, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("image_mm", "shape"),
    [((4.4, 0.6, 0.7), (9, 40, 31)), ((0.8, 0.8, 0.8), (33, 30, 27)), ((0.7, 4.0, 0.6), (40, 9, 31))],
)
def test_images_are_resampled_as_by_nnunet(image_mm: Spacing, shape: tuple[int, int, int]) -> None:
    """Where the image's slices are thick, where only the network's are, and where they are thick along another axis."""
    settings = semantic_settings()["plans"]
    network_mm = (3.5, 0.9, 0.9) if image_mm[1] < 1 else (0.9, 3.5, 0.9)
    kwargs = {"is_seg": False, "order": 3, "order_z": 1, "force_separate_z": None}
    configuration = {"spacing": list(network_mm), "resampling_fn_data_kwargs": kwargs}
    settings["configurations"]["3d_fullres"].update(configuration)
    image = np.random.default_rng(3).normal(100, 30, shape).astype(np.float32)
    ours = SemanticPlans(settings, "3d_fullres")

    with pytest.MonkeyPatch.context() as patched:
        patched.delattr(SemanticPlans, "_resampling")
        answer = ours.prepare(image, image_mm).data
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plans, "thick_axis", lambda *_: None)
        expected = ours.prepare(image, image_mm).data

    np.testing.assert_allclose(answer, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spacing", "mirror_axes", "folds", "between_slices"),
    [
        (SPACING_MM, None, 1, 0),
        (SPACING_MM, (0, 1, 2), 2, 0),
        ((0.8, 1.3, 2.2), None, 1, 0),
        ((0.8, 1.3, 2.2), None, 1, 1),
        ((1.2, 1.2, 4.5), (1,), 1, 0),  # nnU-Net resamples slices that are so thick apart
        ((1.2, 1.2, 4.5), (1,), 1, 1),
    ],
)
def test_streamed_windows_give_the_answer_of_nnunets_predictor(
    spacing: tuple[float, ...],
    mirror_axes: tuple[int, ...] | None,
    folds: int,
    between_slices: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same class but for ties that nnU-Net's half-precision sums decide."""
    monkeypatch.setattr(native, "runs_half", lambda _device: False)  # nnU-Net computes in single precision here
    settings = semantic_settings(spacing=spacing, mirror_axes=mirror_axes, folds=folds)
    settings["plans"]["configurations"]["3d_fullres"]["resampling_fn_probabilities_kwargs"]["order_z"] = between_slices
    weights = [random_weights(settings, seed) for seed in range(folds)]

    with torch.inference_mode():
        ours = SemanticPhase(settings, weights, CPU).predict(image(), SPACING_MM).labels
        theirs = by_nnunet(settings, weights, image())

    assert ours.shape == theirs.shape == image().shape
    assert len(np.unique(theirs)) > 2
    assert np.mean(ours != theirs) < 0.01


@pytest.mark.slow
def test_a_network_that_takes_every_grid_sees_the_image_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """nnU-Net's plans may name a function that resamples nothing; their spacing is then nobody's."""
    monkeypatch.setattr(native, "runs_half", lambda _device: False)
    settings = semantic_settings(spacing=(0.7, 1.4, 3.1))
    functions = ("resampling_fn_data", "resampling_fn_seg", "resampling_fn_probabilities")
    for function in functions:
        settings["plans"]["configurations"]["3d_fullres"].update({function: NO_RESAMPLING, f"{function}_kwargs": {}})
    weights = [random_weights(settings, 0)]

    with torch.inference_mode():
        ours = SemanticPhase(settings, weights, CPU).predict(image(), SPACING_MM).labels
        theirs = by_nnunet(settings, weights, image())
        on_its_grid = SemanticPhase(semantic_settings(), weights, CPU).predict(image(), SPACING_MM).labels

    assert len(np.unique(theirs)) > 2
    assert np.mean(ours != theirs) < 0.01
    np.testing.assert_array_equal(ours, on_its_grid)


@pytest.mark.parametrize("shape", [(8, 70, 33), (20, 40, 90), (50, 32, 32)])
def test_streamed_logits_are_the_weighted_means_of_all_windows(shape: tuple[int, int, int]) -> None:
    """Whatever axis is the longest, the planes together are what a sum over the whole volume gives."""
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 3, 3, padding=1)
    volume, windows = torch.randn(1, *shape), Windows.over(shape, PATCH, 0.5)
    whole, weights = torch.zeros(3, *shape), torch.zeros(shape)
    weight = spineps_weight()
    with torch.inference_mode():
        for x in windows.starts[0]:
            for y in windows.starts[1]:
                for z in windows.starts[2]:
                    at = (slice(x, x + PATCH[0]), slice(y, y + PATCH[1]), slice(z, z + PATCH[2]))
                    whole[(slice(None), *at)] += network(volume[(slice(None), *at)][None])[0] * weight
                    weights[at] += weight

        stream = stream_logits(volume, windows, network, classes=3, fitting=Fitting(CPU, "it"))
        parts = [(planes, logits.clone()) for planes, logits in stream]

    assert [planes.start for planes, _ in parts] == list(windows.starts[windows.axis])
    torch.testing.assert_close(torch.cat([part for _, part in parts], windows.axis + 1), whole / weights)


def test_windows_computed_again_after_a_full_memory_count_once() -> None:
    """Smaller batches change nothing but the time."""

    class Narrow(torch.nn.Conv3d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 1:
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(x)

    torch.manual_seed(0)
    network, shape = Narrow(1, 2, 3, padding=1), (16, 48, 64)
    volume, windows, tight = torch.randn(1, *shape), Windows.over(shape, PATCH, 0.5), Fitting(CPU, "it", batch=4)

    with torch.inference_mode():
        plenty, scarce = (
            [part.clone() for _, part in stream_logits(volume, windows, network, classes=2, fitting=fitting)]
            for fitting in (Fitting(CPU, "it"), tight)
        )

    torch.testing.assert_close(torch.cat(scarce, 3), torch.cat(plenty, 3))
    assert tight.batch == 1
    assert len(tight.notes) == 2


def test_a_volume_smaller_than_a_window_is_padded_around() -> None:
    """With zeros, the odd one behind, as nnU-Net does."""
    larger, inside = padded(torch.ones(1, 5, 40, 31), PATCH)

    assert larger.shape == (1, 8, 40, 32)
    assert inside == (slice(1, 6), slice(0, 40), slice(0, 31))
    assert larger.sum() == larger[(slice(None), *inside)].sum() == 5 * 40 * 31


def test_classes_become_spineps_labels() -> None:
    """The pack's table is applied; the network set by hand tells shades apart."""
    settings = semantic_settings()
    volume = np.zeros((32, 32, 10), np.float32)
    volume[4:16, 4:28, 2:8], volume[18:28, 4:28, 2:8] = 280, 1400

    with torch.inference_mode():
        found = SemanticPhase(settings, [shade_weights(settings)], CPU).predict(volume, SPACING_MM)

    assert found.notes == ()
    assert found.labels.dtype == np.uint8
    np.testing.assert_array_equal(found.labels, np.select([volume == 280, volume == 1400], [49, 100], 0))


def test_weights_of_another_network_are_refused() -> None:
    """The message says what does not fit."""
    with pytest.raises(PackError, match="does not fit its plans"):
        SemanticPhase(semantic_settings(), [{"foreign": torch.zeros(1)}], CPU)


def test_overlapping_regions_are_refused() -> None:
    """A voxel has one structure."""
    settings = semantic_settings()
    settings["dataset"] = {**settings["dataset"], "labels": {**settings["dataset"]["labels"], "41": [1, 2]}}

    with pytest.raises(PackError, match="regions that overlap"):
        SemanticPhase(settings, [random_weights(semantic_settings())], CPU)


def test_loading_and_predicting_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A service's standard output is not nnU-Net's."""
    settings = semantic_settings()
    with torch.inference_mode():
        SemanticPhase(settings, [random_weights(settings)], CPU).predict(image((32, 40, 9)), SPACING_MM)

    assert capsys.readouterr() == ("", "")
