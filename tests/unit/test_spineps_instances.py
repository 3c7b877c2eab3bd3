"""From structures to vertebrae: centres, fusion, combination."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from models.spineps.centres import find_centres
from models.spineps.clean import clean_subregions, fill_holes, without_outliers, without_specks
from models.spineps.combine import claim_the_rest, combine
from models.spineps.cutouts import Prediction, predict_cutouts
from models.spineps.frame import resample_labels, stretched_shape
from models.spineps.fusion import couples_of, fuse
from models.spineps.instance_network import GROUPS, GroupNorm, InstanceNetwork, build_instance_network
from models.spineps.instances import InstancePhase
from models.spineps.native import NativeNetwork

SPACING = (1.0, 1.0, 2.0)
HEIGHT, GAP, COUNT = 14, 6, 5


def column(count: int = COUNT) -> NDArray[np.uint8]:
    """Bodies with arches behind them, discs between: (P, I, R) in SPINEPS' labels."""
    labels = np.zeros((48, count * (HEIGHT + GAP) + 10, 20), np.uint8)
    labels[26:34, :, 7:13] = 61
    for index in range(count):
        top = 5 + index * (HEIGHT + GAP)
        labels[6:26, top : top + HEIGHT, 4:16] = 49
        labels[34:42, top + 2 : top + HEIGHT - 2, 6:14] = 41
        if index + 1 < count:
            labels[6:26, top + HEIGHT + 1 : top + HEIGHT + GAP - 1, 4:16] = 100
    return labels


def test_each_body_has_a_centre_from_the_feet_upwards() -> None:
    """In the middle of the body, whatever stands behind it."""
    centres = find_centres(column(), SPACING)

    assert len(centres) == COUNT
    for index, (p, i, r) in enumerate(reversed(centres)):
        assert (p, i, r) == pytest.approx((15.5, 5 + index * (HEIGHT + GAP) + (HEIGHT - 1) / 2, 9.5), abs=0.6)


@pytest.mark.parametrize(("size", "seen"), [((9, 7, 7), True), ((6, 5, 6), False)])
def test_a_small_body_that_two_layers_would_eat_has_a_centre_a_small_island_has_none(
    size: tuple[int, int, int], seen: bool
) -> None:
    """Of the first 45 voxels are left, too few, but 175 after one layer; of the second 48."""
    labels = column()
    top = 5 + HEIGHT + GAP
    labels[6:26, top : top + HEIGHT, 4:16] = 0
    p, i, r = size
    labels[12 : 12 + p, top + 3 : top + 3 + i, 7 : 7 + r] = 49

    centres = [height for _, height, _ in find_centres(labels, SPACING) if top <= height < top + HEIGHT]

    assert centres == ([pytest.approx(top + 3 + (i - 1) / 2)] if seen else [])


def test_bodies_that_grew_together_are_parted() -> None:
    """Two discs in a row would stand without a body between them: the largest is cut in two."""
    labels = column(7)
    first, second = 5 + 2 * (HEIGHT + GAP), 5 + 3 * (HEIGHT + GAP)
    labels[6:26, first : second + HEIGHT, 4:16] = 49  # the third body, its disc and the fourth in one
    labels[6:10, first + HEIGHT + 1 : second - 1, 4:16] = 100  # a sliver of the disc is still seen

    centres = sorted(i for _, i, _ in find_centres(labels, SPACING))

    assert len(centres) == 7
    assert centres[2] == pytest.approx(first + HEIGHT / 2, abs=3)
    assert centres[3] == pytest.approx(second + HEIGHT / 2, abs=3)


def prediction(centre: int, vertebra: int, start: int, length: int = 10) -> Prediction:
    """A bar along I."""
    mask = np.ones((4, length, 4), bool)
    return Prediction(centre, vertebra, (slice(2, 6), slice(start, start + length), slice(1, 5)), mask, mask.size)


def test_three_views_of_a_vertebra_become_one() -> None:
    """Its own centre's and those of its neighbours; a voxel that two have belongs to it."""
    seen = [
        prediction(0, 2, 20),
        prediction(1, 0, 20),
        prediction(2, 1, 22),
        prediction(1, 1, 40),
        prediction(0, 0, 40),
    ]

    fused = fuse(seen, (10, 60, 8))

    assert set(np.unique(fused.labelmap)) == {0, 1, 2}
    one = int(fused.labelmap[3, 25, 2])
    assert np.flatnonzero(fused.labelmap[3, :, 2] == one).tolist() == list(range(20, 30))
    assert fused.agreement[one] > 0.8


def test_couples_are_ranked_by_size_and_agreement() -> None:
    """Three that agree come before two that agree as well."""
    seen = [prediction(0, 0, 0), prediction(1, 1, 0), prediction(2, 2, 0), prediction(3, 0, 30), prediction(4, 1, 30)]

    couples = couples_of(seen)

    assert [len(couple.members) for couple in couples] == [3, 2]


def test_partners_that_disagree_with_each_other_are_not_both_taken() -> None:
    """Both overlap the anchor by half, not one another."""
    seen = [prediction(1, 0, 10, 20), prediction(0, 0, 0, 16), prediction(2, 0, 24, 16)]

    assert max(len(couple.members) for couple in couples_of(seen)) == 2


def test_what_lies_in_taken_voxels_is_left_out() -> None:
    """More than 60 % of it belongs to another vertebra already."""
    seen = [prediction(0, 0, 20), prediction(1, 1, 20), prediction(9, 0, 22)]

    assert len(fuse(seen, (10, 60, 8)).agreement) == 1


def test_every_voxel_of_bone_gets_its_vertebra_and_discs_their_place() -> None:
    """What the instance network missed goes to the vertebra it touches; discs are numbered by the body above."""
    labels, instances = column(3), np.zeros((48, 70, 20), np.uint16)
    for index in range(3):
        top = 5 + index * (HEIGHT + GAP)
        instances[8:26, top + 2 : top + HEIGHT - 2, 4:16] = index + 1
        instances[36:40, top + 4 : top + HEIGHT - 4, 6:14] = index + 1

    combined = combine(labels, instances, SPACING)

    assert np.array_equal(combined.vertebrae > 0, np.isin(labels, (41, 49)))
    for index in range(3):
        top = 5 + index * (HEIGHT + GAP)
        assert set(np.unique(combined.vertebrae[:, top : top + HEIGHT])) - {0} == {index + 1}
    assert combined.discs[10, 5 + HEIGHT + 2, 8] == 1
    assert combined.discs[10, 5 + 2 * HEIGHT + GAP + 2, 8] == 2


def test_bone_that_touches_no_vertebra_is_dropped() -> None:
    """A false island far from every instance."""
    labels, instances = column(3), np.zeros((48, 70, 20), np.uint16)
    instances[6:26, 5:19, 4:16] = 1
    labels[45:48, 60:63, 0:3] = 41

    combined = combine(labels, instances, SPACING)

    assert combined.subregions[46, 61, 1] == 0


def test_an_articular_process_is_one_vertebras() -> None:
    """Where the next has less than half as much of it."""
    labels, instances = column(2), np.zeros((48, 50, 20), np.uint16)
    instances[:, :21], instances[:, 21:] = 1, 2
    labels[30:33, 14:24, 6:9] = 47  # seven rows in the first, three in the second

    combined = combine(labels, instances, SPACING)

    assert set(np.unique(combined.vertebrae[30:33, 14:24, 6:9])) == {1}


def test_a_fragment_within_the_field_is_no_vertebra() -> None:
    """It would shift every level by one; the first may be cut by the field."""
    labels, instances = column(4), np.zeros((48, 90, 20), np.uint16)
    for index in range(4):
        top = 5 + index * (HEIGHT + GAP)
        instances[:, top : top + HEIGHT] = index + 1
    labels[6:9, 80:83, 4:8], instances[6:9, 80:83, 4:8] = 49, 5
    labels[20:40, 83:90, 4:16] = 26

    combined = combine(labels, instances, SPACING)

    assert combined.kept == (1, 2, 3, 4)


def test_what_lies_lower_than_the_sacrums_middle_is_no_vertebra() -> None:
    """A piece of the hip bone taken for a vertebra would be L5; a last vertebra above a cut sacrum stays."""
    labels, instances = column(4), np.zeros((60, 90, 20), np.uint16)
    labels = np.pad(labels, ((0, 12), (0, 0), (0, 0)))
    for index in range(4):
        top = 5 + index * (HEIGHT + GAP)
        instances[:48, top : top + HEIGHT] = index + 1
    labels[20:40, 79:90, 4:16] = 26
    labels[50:59, 80:90, 4:12], instances[50:59, 80:90, 4:12] = 49, 5

    combined = combine(labels, instances, SPACING)

    assert combined.kept == (1, 2, 3, 4)
    assert not combined.subregions[55, 85, 10]


def test_a_false_sacrum_high_up_costs_no_vertebra() -> None:
    """Whole vertebrae below it say that it is none."""
    labels, instances = column(4), np.zeros((48, 90, 20), np.uint16)
    for index in range(4):
        top = 5 + index * (HEIGHT + GAP)
        instances[:, top : top + HEIGHT] = index + 1
    labels[40:47, 20:30, 4:16], instances[40:47, 20:30, 4:16] = 26, 0

    assert combine(labels, instances, SPACING).kept == (1, 2, 3, 4)


def test_a_body_that_grows_into_the_sacrum_is_s1() -> None:
    """No disc parts them: the semantic network took the upper part of the sacrum for a vertebra."""
    labels, instances = column(4), np.zeros((48, 90, 20), np.uint16)
    for index in range(4):
        top = 5 + index * (HEIGHT + GAP)
        instances[:, top : top + HEIGHT] = index + 1
    labels[6:26, 65 + HEIGHT : 88, 4:16] = 26  # right below the fourth body

    combined = combine(labels, instances, SPACING)

    assert combined.kept == (1, 2, 3)
    assert combined.subregions[15, 70, 10] == 26


def test_the_rest_is_claimed_in_two_rounds_and_by_touch() -> None:
    """A long remainder goes wholly to what it touches."""
    vertebrae, bony = np.zeros((3, 30, 3), np.uint16), np.zeros((3, 30, 3), bool)
    bony[1, 2:20, 1], bony[1, 25:28, 1] = True, True
    vertebrae[1, 2:5, 1] = 4

    claimed = claim_the_rest(vertebrae, bony)

    assert np.all(claimed[1, 2:20, 1] == 4)
    assert np.all(claimed[1, 25:28, 1] == 0)


def test_specks_outliers_and_holes_are_cleaned() -> None:
    """Specks by volume, outliers by distance from the spine, holes by what encloses them."""
    labels = column()
    labels[20, 12, 10] = 0  # a hole in a body
    labels[0:2, 0:2, 0] = 41  # a speck
    labels[44:48, 60:70, 17:20] = 41  # near the spine: part of it
    labels = np.pad(labels, ((0, 60), (0, 0), (0, 0)))
    labels[100:106, 40:60, 2:18] = 49  # far off

    cleaned = clean_subregions(labels, SPACING)

    assert cleaned[20, 12, 10] == 49
    assert cleaned[0, 0, 0] == 0
    assert cleaned[45, 65, 18] == 41
    assert not cleaned[100:106].any()


def test_cleaning_alone_does_what_it_says() -> None:
    """Each step by itself."""
    labels = column()
    labels[0, 0, 0] = 41

    assert without_specks(labels, (41,), 2)[0, 0, 0] == 0
    assert without_outliers(labels, SPACING).sum() <= labels.sum()
    assert np.array_equal(fill_holes(labels, (49,)), labels)


def small_network(channels: int) -> InstanceNetwork:
    """A network of the published layout, narrow."""
    torch.manual_seed(0)
    return build_instance_network({"dim": 8, "dim_mults": [1, 2], "channels": channels, "classes": 4}).eval()


@pytest.mark.parametrize("channels", [8, 16])
def test_the_group_norm_is_pytorchs_in_value_and_gradient(channels: int) -> None:
    """With a channel in a group and with two, channels last as in training."""
    torch.manual_seed(1)
    x = torch.randn(2, channels, 5, 6, 4).contiguous(memory_format=torch.channels_last_3d)
    ours, theirs = GroupNorm(GROUPS, channels), nn.GroupNorm(GROUPS, channels)
    for norm in (ours, theirs):
        norm.load_state_dict({"weight": torch.linspace(0.5, 2, channels), "bias": torch.linspace(-1, 1, channels)})
    answers = []
    for norm in (ours, theirs):
        own = x.clone().requires_grad_()
        answer = norm(own)
        answers.append((answer, *torch.autograd.grad((answer**3).sum(), [own, *norm.parameters()])))

    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 10, 11])
def test_cutouts_at_the_border_are_padded_and_come_back_in_place(channels: int) -> None:
    """One-hot or, for the oldest network, one channel; masks lie within the volume."""
    labels = column()
    with torch.inference_mode():
        found, notes = predict_cutouts(
            labels,
            find_centres(labels, SPACING),
            NativeNetwork(small_network(channels)),
            (32, 48, 16),
            torch.device("cpu"),
            channels=channels,
        )

    assert notes == ()
    assert found
    for one in found:
        assert one.mask.shape == tuple(s.stop - s.start for s in one.box)
        assert all(s.start >= 0 and s.stop <= n for s, n in zip(one.box, labels.shape, strict=True))
        assert one.voxels == one.mask.sum()


def test_the_grid_of_the_instances_begins_with_the_volume_not_with_the_spine(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the original: another phase moves every centre by up to half a voxel, and the network answers otherwise."""
    settings = {"dim": 8, "dim_mults": [1, 2], "channels": 10, "classes": 4}
    weights = build_instance_network(settings).state_dict()
    grid = {"resolution": list(SPACING), "cutout_size": [32, 48, 16]}
    phase, spacing = InstancePhase(settings | grid, weights, torch.device("cpu")), (0.9, 0.9, 3.5)
    labels = np.pad(column(), [(7, 4), (11, 5), (3, 2)])
    seen: list[NDArray[np.uint8]] = []

    def look(subregions: NDArray[np.uint8], *_: Any, **__: Any) -> Any:
        seen.append(subregions)
        return (), ()

    monkeypatch.setattr("models.spineps.instances.predict_cutouts", look)
    found = phase.predict(labels, spacing)

    whole = resample_labels(labels, spacing, SPACING, stretched_shape(labels.shape, spacing, SPACING))
    assert found.labelmap.shape == labels.shape
    assert np.array_equal(trimmed(seen[0]), trimmed(whole))


def trimmed(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Without the empty border."""
    box: tuple[slice, ...] = ndimage.find_objects((labels > 0).astype(np.uint8))[0]
    return labels[box]
