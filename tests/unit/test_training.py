"""Laws of the training: resuming changes nothing, labels follow the image through every warp, the loss goes down."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.phantom.anatomy import LEVEL_VALUE
from models.spinefm.engine import SpineFM
from models.training.loop import Plan, Trainee, train
from models.training.scenes import HELD_BACK, SceneStore, exposed
from models.training.spinefm import Recipe, train_spinefm
from models.training.spinefm_detector import draw_example
from models.training.spinefm_patches import SEGMENTER_SIZE, segmenter_example
from models.training.spinefm_points import draw_quadruples, train_point_predictor
from models.training.warp import warp

# A training in a process of its own; prints which share of 64 MiB's pages each step and later arrays fetched.
COUNT_PAGES = """
import json, resource, sys
from pathlib import Path

import torch

from models.training.loop import Plan, Trainee, train

SIZE = 2**26

def fetched():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(SIZE, dtype=torch.uint8)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / SIZE

line = torch.nn.Linear(3, 1)
step = lambda _: (line.weight.sum(), {"fetched": fetched()})
plan = Plan(20, save_every=1)
log = train(Trainee("line", {"line": line}, Path(sys.argv[1])), step, plan, report=lambda _: None)
print(json.dumps([[entry["fetched"] for entry in log], [fetched(), fetched()]]))
"""


def _trainee(folder: Path) -> Trainee:
    torch.manual_seed(0)
    return Trainee("line", {"line": nn.Linear(3, 1)}, folder)


def _step(trainee: Trainee):  # type: ignore[no-untyped-def]
    def step(rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        x = torch.tensor(rng.standard_normal((16, 3)), dtype=torch.float32)
        return ((trainee.networks["line"](x) - x.sum(1, keepdim=True)) ** 2).mean(), {}

    return step


@pytest.mark.parametrize("workers", [1, 2])
def test_a_resumed_training_ends_where_an_unbroken_one_does(tmp_path: Path, workers: int) -> None:
    """A run that is stopped and called again gives bit for bit the weights of one that was not."""
    plan = Plan(40, save_every=10, workers=workers)
    whole, broken = _trainee(tmp_path / "whole"), _trainee(tmp_path / "broken")

    def fall_over(line: str) -> None:
        if "step=20" in line:
            raise KeyboardInterrupt

    train(whole, _step(whole), plan, report=lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        train(broken, _step(broken), plan, report=fall_over)
    again = _trainee(tmp_path / "broken")
    log = train(again, _step(again), plan, report=lambda _: None)

    torch.testing.assert_close(again.averages["line"]["weight"], whole.averages["line"]["weight"], rtol=0, atol=0)
    assert [entry["step"] for entry in log] == [10, 20, 30, 40]
    assert log[-1]["loss"] < log[0]["loss"]


def test_a_step_of_two_workers_goes_along_the_mean_of_two_different_batches(tmp_path: Path) -> None:
    """Each worker draws its own batch; what is logged and what the optimiser sees is their mean."""
    trainee = _trainee(tmp_path)
    weight = next(trainee.networks["line"].parameters())
    drawn: list[torch.Tensor] = []

    def step(rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        batch = torch.tensor(rng.standard_normal((1, 3)), dtype=torch.float32) / 4
        drawn.append(batch)
        return (weight * batch).sum(), {"first": float(batch[0, 0])}

    (entry,) = train(trainee, step, Plan(1, workers=2), report=lambda _: None)

    first, second = drawn
    assert not torch.equal(first, second)
    torch.testing.assert_close(weight.grad, (first + second) / 2)
    assert entry["first"] == pytest.approx(float((first + second)[0, 0]) / 2)


def test_a_training_keeps_its_memory_and_gives_it_back(tmp_path: Path) -> None:
    """Most steps fetch no pages of a large array from the system (few, as the heap moves); after it each array does."""
    run = subprocess.run(
        [sys.executable, "-c", COUNT_PAGES, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    within, afterwards = json.loads(run.stdout)

    assert len(within) == 20
    assert np.median(within) < 0.1
    assert min(afterwards) > 0.5


def test_workers_share_the_cores_and_give_them_back(tmp_path: Path) -> None:
    """While two work each has half of torch's threads; afterwards all are there again, also when a step fails."""
    threads = torch.get_num_threads()
    seen: list[int] = []

    def step(_: np.random.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        seen.append(torch.get_num_threads())
        raise ZeroDivisionError

    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            train(_trainee(tmp_path), step, Plan(1, workers=2), report=lambda _: None)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_held_back_seeds_cannot_be_trained_on(tmp_path: Path) -> None:
    """A store that would reach the seeds of docs/accuracy.md is refused."""
    with pytest.raises(ValueError, match="held-back"):
        SceneStore(tmp_path, HELD_BACK)


def test_a_warp_without_turn_or_scale_is_a_cut() -> None:
    """An even edge around a point between pixels takes just those pixels; mirrored, the same from right to left."""
    array = np.arange(100, dtype=np.float32).reshape(10, 10)

    patch = warp(array, (4.5, 3.5), 4, 4)
    mirrored = warp(array, (4.5, 3.5), 4, 4, mirror=True)

    np.testing.assert_allclose(patch, array[2:6, 3:7], atol=1e-4)
    np.testing.assert_allclose(mirrored, array[2:6, 3:7][:, ::-1], atol=1e-4)


def test_labels_stay_on_the_bone_through_turning_and_mirroring(tmp_path: Path) -> None:
    """A patch made of the label itself equals the mask drawn for it."""
    scene = SceneStore(tmp_path, 4)[1]
    picture = (scene.labelmap == LEVEL_VALUE["C5"]).astype(np.float32)

    patch, mask = segmenter_example(scene, picture, "C5", np.random.default_rng(3))

    np.testing.assert_allclose(patch, mask, atol=1e-6)
    assert mask[SEGMENTER_SIZE // 2 - 4 : SEGMENTER_SIZE // 2 + 4].sum() > 0


def test_a_detector_example_is_as_large_as_asked_and_holds_a_spine(tmp_path: Path) -> None:
    """Image, classes and core share their grid; cores lie inside bodies."""
    store = SceneStore(tmp_path, 2)

    image, classes, core = draw_example(store, np.random.default_rng(1), 96)

    assert image.shape == classes.shape == core.shape == (96, 96)
    assert ((core > 0) & (classes == 0)).sum() <= 0.02 * (core > 0).sum()


def test_every_visit_exposes_a_scene_anew(tmp_path: Path) -> None:
    """Two draws of chance give two pictures of one scene; the same draw gives the same."""
    planes = SceneStore(tmp_path, 2)[0].planes

    first, again, other = (exposed(planes, np.random.default_rng(k), long_side=64) for k in (1, 1, 2))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_point_predictor_learns_to_go_on_along_the_spine() -> None:
    """After a short training it lands within half a level's height more often than the nearest point itself."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 50), nn.ReLU(), nn.Linear(50, 2))

    error = train_point_predictor(network, seed=5, spines=150, steps=2000, report=lambda _: None)

    assert error < 0.5
    given, following = draw_quadruples(np.random.default_rng(1), 4)
    assert given.shape[1:] == (6,)
    assert following.shape[1:] == (2,)


@pytest.mark.slow
def test_one_command_makes_a_pack_that_the_engine_loads(tmp_path: Path) -> None:
    """A training of a few steps writes weights, model card and log; called again, it has nothing left to train."""
    recipe = Recipe(scenes=4, detector_steps=2, patch_steps=2, spines=20, point_steps=20)
    lines: list[str] = []

    pack = train_spinefm(tmp_path / "pack", work=tmp_path / "work", recipe=recipe, version="0.0.1", report=lines.append)
    again = train_spinefm(
        tmp_path / "again", work=tmp_path / "work", recipe=recipe, version="0.0.1", report=lines.append
    )

    assert SpineFM(pack, device="cpu").config.classes == ("background", "vertebra", "C2", "S1")
    assert pack.digest == again.digest
    assert "no patient's image" in (tmp_path / "pack" / "MODEL_CARD.md").read_text()
    assert lines[-1].startswith("wrote spinefm-phantom 0.0.1")
