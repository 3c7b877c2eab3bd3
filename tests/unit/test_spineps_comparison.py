"""The yardstick of the comparison with the original is right itself."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.spineps.old_plans import resolved_plans
from models.spineps.semantic import build_semantic_network
from tests.benchmarks.comparison import VERTEBRAE, compare, paired_dice
from tests.benchmarks.old_form import to_old_form
from tests.made_spineps import semantic_settings

Labelmap = NDArray[np.uint16]


def column(*runs: tuple[int, int]) -> Labelmap:
    """Make a labelmap (1, 1, n) of runs of (label, length)."""
    return np.repeat(*np.array(runs, np.uint16).T).astype(np.uint16)[None, None]


def pair(subregions: Labelmap, vertebrae: Labelmap) -> Mapping[str, Labelmap]:
    """Make what a run gives."""
    return {"subregions": subregions, "vertebrae": vertebrae}


def test_two_equal_runs_agree_wholly() -> None:
    """Every Dice is 1 and what neither has does not count."""
    run = pair(column((49, 4), (100, 2), (0, 2)), column((20, 4), (120, 2), (0, 2)))

    agreement = compare(run, run)

    assert agreement.vertebra_counts == (1, 1)
    assert agreement.structures == {49: 1.0, 100: 1.0}
    assert (agreement.vertebrae, agreement.discs) == ((1.0,), (1.0,))


def test_vertebrae_are_paired_by_place_not_by_number() -> None:
    """One engine counts from the top, the other names levels."""
    assert paired_dice(column((20, 4), (21, 4)), column((1, 4), (2, 4)), VERTEBRAE) == (1.0, 1.0)


def test_the_halves_of_an_end_plate_are_one_structure() -> None:
    """The original tells upper and lower apart in its answer, ours has the one structure that the network has."""
    ours = pair(column((62, 4), (0, 2)), column((20, 6)))
    theirs = pair(column((52, 2), (53, 2), (0, 2)), column((1, 6)))

    assert compare(ours, theirs).structures == {62: 1.0}


def test_pieces_are_counted_apart() -> None:
    """What has less than 15 % of the median vertebra is none, in either run."""
    ours = pair(column((49, 42)), column((1, 20), (2, 20), (0, 2)))
    theirs = pair(column((49, 42)), column((1, 20), (2, 20), (3, 2)))

    agreement = compare(ours, theirs)

    assert agreement.vertebra_counts == (2, 2)
    assert agreement.fragments == (0, 1)
    assert agreement.vertebrae == (1.0, 1.0)


def test_a_shift_lowers_dice_as_its_definition_says() -> None:
    """Three of four voxels in common: 2 · 3 / 8."""
    assert paired_dice(column((20, 4), (0, 2)), column((0, 1), (3, 4), (0, 1)), VERTEBRAE) == (0.75,)


def test_a_vertebra_without_partner_counts_zero() -> None:
    """Found by one engine alone is found wrongly by one of them."""
    assert paired_dice(column((1, 4), (2, 4)), column((1, 4), (0, 4)), VERTEBRAE) == (1.0, 0.0)


def test_two_vertebrae_in_one_have_one_partner() -> None:
    """The larger overlap takes it; the other stays alone."""
    assert paired_dice(column((1, 6), (2, 2)), column((5, 8)), VERTEBRAE) == (12 / 14, 0.0)


def test_the_sacrum_is_no_vertebra() -> None:
    """26 is compared as a structure."""
    empty = column((0, 4))

    assert compare(pair(empty, column((26, 4))), pair(empty, empty)).vertebra_counts == (0, 0)


def test_runs_on_different_grids_are_not_compared() -> None:
    """A comparison of shifted grids would look like a difference of the engines."""
    with pytest.raises(ValueError, match="not on one grid"):
        compare(pair(column((1, 4)), column((1, 4))), pair(column((1, 5)), column((1, 5))))


def test_a_network_of_the_old_form_computes_what_it_did(tmp_path: Path) -> None:
    """Widened to features that double from stage to stage, its added channels are zero throughout."""
    settings = semantic_settings()
    architecture = settings["plans"]["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    architecture |= {
        "features_per_stage": [4, 6],
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    }
    network = build_semantic_network(settings).eval()
    (tmp_path / "fold_0").mkdir()
    (tmp_path / "plans.json").write_text(json.dumps(settings["plans"]))
    (tmp_path / "dataset.json").write_text(json.dumps(settings["dataset"]))
    file = tmp_path / "fold_0" / "checkpoint_final.pth"
    torch.save({"network_weights": network.state_dict()}, file)

    to_old_form(tmp_path)

    plans = json.loads((tmp_path / "plans.json").read_text())
    assert "architecture" not in plans["configurations"]["3d_fullres"]
    resolved = {**settings, "plans": resolved_plans(plans, "3d_fullres", tmp_path / "plans.json")}
    wide = build_semantic_network(resolved).eval()
    wide.load_state_dict(torch.load(file, weights_only=True)["network_weights"])
    x = torch.rand(1, 1, 8, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(wide(x), network(x), atol=1e-5, rtol=1e-4)
    assert sum(p.numel() for p in wide.parameters()) > sum(p.numel() for p in network.parameters())
