"""Laws of the MR training: truth follows the image into every window, the loss is what it says, one command trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.packs import load_pack, read_weights
from models.phantom.mr import mr_phantom
from models.phantom.mr_vertebra import SACRUM, VERTEBRA_NUMBER
from models.spineps.engine import SPINEPS
from models.spineps.instance_network import build_instance_network
from models.training import spineps_instances, spineps_semantic
from models.training.scenes import HELD_BACK
from models.training.spineps import SpinepsRecipe, train_spineps
from models.training.spineps_instances import CUTOUT, InstanceStep, draw_cutouts, labels_of
from models.training.spineps_scenes import STRUCTURES, MrSceneStore
from models.training.spineps_semantic import CLASSES, PATCH, SMALL_MM, TRUTHS, SemanticStep, draw_examples

LEFT = {STRUCTURES.index(structure) + 1 for structure in (43, 45, 47)}
RIGHT = {STRUCTURES.index(structure) + 1 for structure in (44, 46, 48)}


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> MrSceneStore:
    """Four scenes, drawn once."""
    return MrSceneStore(tmp_path_factory.mktemp("mr_scenes"), 4)


def test_held_back_seeds_cannot_be_trained_on(tmp_path: Path) -> None:
    """A store that would reach the seeds of docs/accuracy.md is refused."""
    with pytest.raises(ValueError, match="held-back"):
        MrSceneStore(tmp_path, HELD_BACK)


@pytest.mark.slow
def test_right_structures_lie_on_the_right_of_left_ones_in_every_window(store: MrSceneStore) -> None:
    """The first axis runs to the right, whether the person was mirrored or not; scans of a scene differ each time."""
    images = []
    for draw in range(8):
        for example in draw_examples(store, np.random.default_rng(draw), 2):
            assert example.image.shape == (1, *PATCH)
            images.append(example.image)
            where = np.nonzero(np.isin(example.classes.numpy(), list(LEFT)))[1]
            opposite = np.nonzero(np.isin(example.classes.numpy(), list(RIGHT)))[1]
            if len(where) > 100 and len(opposite) > 100:
                assert opposite.mean() > where.mean() + 2
    assert not any(torch.equal(one, other) for one, other in zip(images, images[1:], strict=False))


@pytest.mark.slow
@pytest.mark.parametrize(("pixel_mm", "small"), [(0.6, 0.0), (0.9, 0.0), (1.1, 0.0), (0.6, 1.0)])
def test_truth_lies_where_the_image_shows_it(
    store: MrSceneStore, monkeypatch: pytest.MonkeyPatch, pixel_mm: float, small: float
) -> None:
    """Where an image is its own truth, bright in bodies, windows of both are the same but for the interpolation."""
    monkeypatch.setattr(spineps_semantic, "SMALL_SHARE", small)
    monkeypatch.setattr(spineps_semantic, "COARSE_SHARE", 0.0)
    monkeypatch.setattr(spineps_semantic, "z_scored", lambda image: image)
    tissues = replace(store[1].tissues, pixel_mm=(pixel_mm, pixel_mm))
    scene = replace(store[1], tissues=tissues)
    monkeypatch.setattr(store, "draw", lambda _: scene)
    bright = np.float32(scene.subregions == 49)
    monkeypatch.setattr(spineps_semantic, "scanned", lambda *_: bright)
    monkeypatch.setattr(spineps_semantic, "TRUTHS", 16)  # of 4 the mean is a coarse one
    body = STRUCTURES.index(49) + 1

    seen = 0
    for draw in range(4):
        for example in draw_examples(store, np.random.default_rng(draw), 2):
            image = example.image[0].clamp(0, 1)  # bicubic interpolation overshoots
            if not image.any():
                continue
            seen += 1
            truth = (example.classes == body).float().mean(0)
            assert truth.sum() == pytest.approx(float(image.sum()), rel=0.02)
            apart = (truth - image).abs().mean()
            for axis in range(3):
                for step in (-1, 1):
                    assert apart < 0.5 * (truth.roll(step, axis) - image).abs().mean()
    assert seen >= 4


@pytest.mark.slow
def test_small_fields_show_a_part_of_the_spine_normalised_by_itself(
    store: MrSceneStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every one holds some of the spine, is no wider than it may be, and knows nothing of what was cut off."""
    monkeypatch.setattr(spineps_semantic, "SMALL_SHARE", 1.0)
    pixels = Mock(wraps=spineps_semantic._in_network_pixels)
    monkeypatch.setattr(spineps_semantic, "_in_network_pixels", pixels)

    for draw in range(6):
        draw_examples(store, np.random.default_rng(draw), 1)

    assert pixels.call_count == 6
    for image, (row_mm, column_mm) in (call.args for call in pixels.call_args_list):
        assert image.shape[1] * row_mm <= SMALL_MM[1] + row_mm
        assert image.shape[2] * column_mm <= SMALL_MM[1] + column_mm
        assert abs(image.mean()) < 0.05
    classes = np.zeros((3, 300, 200), np.uint8)
    classes[:, 290:, 5:9] = 1
    for draw in range(20):
        rows, columns = spineps_semantic._small_field(classes, (1.0, 0.7), np.random.default_rng(draw))
        assert classes[:, rows, columns].any()
        assert 0 <= rows.start < rows.stop <= 300
        assert 0 <= columns.start < columns.stop <= 200
        assert SMALL_MM[0] - 1 <= rows.stop - rows.start <= SMALL_MM[1] + 1


def test_coarse_pixels_average_what_lies_in_them_and_move_nothing() -> None:
    """Stripes a pixel wide are gone, a step stays where it was; finer pixels than the scan's are no business of it."""
    stripes = np.tile(np.array([0, 1], np.float32), (2, 60, 30))
    step = np.repeat(np.array([0, 1], np.float32), 30)[None, :, None] * np.ones((2, 60, 60), np.float32)

    np.testing.assert_allclose(spineps_semantic._coarsened(stripes, (0.5, 0.5), 1.0), 0.5, atol=1e-5)
    coarse = spineps_semantic._coarsened(step, (0.5, 0.5), 1.5)
    assert np.abs(coarse[:, 28:32] - step[:, 28:32]).max() > 0.1
    assert coarse[0, :, 0].sum() == pytest.approx(30, rel=0.01)
    np.testing.assert_allclose(spineps_semantic._coarsened(step, (0.5, 0.5), 0.3), step, atol=1e-6)


def test_the_loss_is_cross_entropy_and_soft_dice() -> None:
    """The lean computation equals the textbook one on the mean of the truths, in value and in gradient."""
    rng = torch.Generator().manual_seed(3)
    classes = torch.randint(0, CLASSES, (2, TRUTHS, 3, 8, 6), generator=rng)
    lean = torch.randn(2, CLASSES, 3, 8, 6, generator=rng, dtype=torch.float64).float().requires_grad_()
    plain = lean.detach().clone().requires_grad_()

    entropy, dice = spineps_semantic._losses(lean, classes)
    probability = plain.softmax(1)
    truth = functional.one_hot(classes, CLASSES).movedim(-1, 1).float().mean(2)
    overlaps = (probability * truth).sum((0, 2, 3, 4))[1:]
    totals = (probability + truth).sum((0, 2, 3, 4))[1:]
    wanted = functional.cross_entropy(plain, truth), 1 - ((2 * overlaps + 20) / (totals + 20)).mean()
    (entropy + dice).backward()
    (wanted[0] + wanted[1]).backward()

    assert entropy.item() == pytest.approx(wanted[0].item(), rel=1e-5)
    assert dice.item() == pytest.approx(wanted[1].item(), rel=1e-5)
    torch.testing.assert_close(lean.grad, plain.grad, rtol=1e-4, atol=1e-8)


@pytest.mark.slow
def test_a_cutout_holds_the_vertebra_in_its_middle_and_its_neighbours_above_and_below(store: MrSceneStore) -> None:
    """Classes 1, 2, 3: the one in the middle, the one above, the one below."""
    seen = 0
    for seed in range(4):
        labels = labels_of(store[seed], mirrored=bool(seed % 2))
        for cutout in draw_cutouts(labels, np.random.default_rng(seed), 3):
            assert tuple(cutout.structures.shape) == tuple(cutout.target.shape) == CUTOUT
            rows = [torch.nonzero(cutout.target == part)[:, 1].float().mean() for part in (1, 2, 3)]
            middle = CUTOUT[1] / 2
            assert abs(rows[0] - middle) < 25
            assert not rows[1] > rows[0]  # nan where there is none
            assert not rows[2] < rows[0]
            seen += int(torch.isfinite(torch.stack(rows)).all())
    assert seen >= 6


@pytest.mark.slow
def test_a_cutout_reaches_behind_the_spinous_processes_of_a_large_person() -> None:
    """The demonstration's patient: what lies outside a vertebra's own cutout is taken for its neighbour's."""
    person = mr_phantom(9_000_001, region="lumbar", contrast="T2w")
    behind = []
    for number in person.levels:
        body = np.argwhere((person.vertebrae == number) & (person.subregions == 49))
        if number != SACRUM and len(body) > 1000:
            column_mm = float(np.linalg.norm(person.affine[:3, 2]))
            processes = np.argwhere((person.vertebrae == number) & (person.subregions == 42))
            behind.append((processes[:, 2].max() - body[:, 2].mean()) * column_mm)

    assert 72 < max(behind) < CUTOUT[0] / 2 * spineps_instances.SPACING_MM[0]


@pytest.mark.slow
def test_vertebrae_keep_their_numbers_and_sides_change_when_a_person_is_mirrored(store: MrSceneStore) -> None:
    """A mirrored person has the same vertebrae; what was left is right, at the place where right is."""
    as_is, mirrored = (labels_of(store[1], mirrored=flag) for flag in (False, True))

    np.testing.assert_array_equal(as_is.vertebrae[::-1], mirrored.vertebrae)
    assert set(np.unique(as_is.vertebrae)) <= {0, *VERTEBRA_NUMBER.values()}
    swapped = {43 - 40: 44 - 40, 44 - 40: 43 - 40}
    for side, other in swapped.items():
        np.testing.assert_array_equal(as_is.structures[::-1] == side, mirrored.structures == other)


@pytest.mark.slow
def test_a_few_steps_lower_both_losses(store: MrSceneStore) -> None:
    """The same batch again and again is learned."""
    for step, batch in (_semantic(store), _instance(store)):
        optimiser = torch.optim.AdamW(step.network.parameters(), 3e-3)
        losses = []
        for _ in range(3):
            loss, _ = step.loss(batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses[-1] < 0.9 * losses[0]


def _semantic(store: MrSceneStore):  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    step = SemanticStep(spineps_semantic.build_for_training(), store)
    return step, draw_examples(store, np.random.default_rng(5), 1)


def _instance(store: MrSceneStore):  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    step = InstanceStep(build_instance_network(spineps_instances.settings()), store)
    return step, draw_cutouts(labels_of(store[0], mirrored=False), np.random.default_rng(5), 1)


@pytest.mark.slow
def test_one_command_makes_a_pack_that_the_engine_loads(tmp_path: Path) -> None:
    """A training of a step each writes weights, model card and log; called again, it has nothing left to train."""
    recipe = SpinepsRecipe(scenes=2, semantic_steps=1, instance_steps=1)
    lines: list[str] = []

    pack, again = (
        train_spineps(tmp_path / name, work=tmp_path / "work", recipe=recipe, version="0.0.1", report=lines.append)
        for name in ("pack", "again")
    )

    assert SPINEPS(load_pack(tmp_path / "pack"), device="cpu").resolution == [[0.6, 0.6, 2.0], [1.2, 1.2, 6.0]]
    assert pack.digest == again.digest
    trained = torch.load(tmp_path / "work" / "semantic.pt", weights_only=True)["averages"]["semantic"]
    last = "decoder.seg_layers.3.weight"
    torch.testing.assert_close(read_weights(pack, "semantic")[last].float(), trained[last] / 8, atol=1e-5, rtol=1e-3)
    assert "no patient's image" in (tmp_path / "pack" / "MODEL_CARD.md").read_text()
    assert lines[-1].startswith("wrote spineps-phantom 0.0.1")
