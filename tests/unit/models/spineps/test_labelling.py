"""What the labelling network is shown, and what becomes of what it says."""

import numpy as np
import pytest
import torch

from models.spineps.label_path import PLAIN, SLOTS
from models.spineps.labelling import LabellingPhase, cut_out, standardised
from models.spineps.labelling_network import build_labelling_network
from models.spineps.levels import CHAIN, BodyShape, name_levels

VERT = [SLOTS[slot] for slot in PLAIN]
SETTINGS = {
    "kind": "densenet121",
    "heads": {"VERT": 24, "REGION": 3},
    "head_conv": False,
    "head_hidden": True,
    "cutout_size": [32, 32, 32],
    "rotate": True,
    "resolution": [1.0, 1.0, 1.0],
}


def bodies(count: int) -> list[BodyShape]:
    """Bodies 30 mm apart, none of them an axis."""
    return [BodyShape((0.0, 30.0 * index, 0.0), 24.0, 1.0) for index in range(count)]


def said(*names: str) -> dict[str, np.ndarray]:
    """A network that is nearly sure."""
    rows = np.full((len(names), len(VERT)), 0.1 / (len(VERT) - 1))
    rows[np.arange(len(names)), [VERT.index(name) for name in names]] = 0.9
    return {"VERT": rows}


def test_a_cutout_keeps_its_centre_and_is_zero_outside() -> None:
    """The voxel at the centre comes to lie at half the size; nothing is repeated beyond the border."""
    image = np.ones((20, 30, 10), np.float32)
    image[3, 4, 5] = 7

    cutout = cut_out(image, (3, 4, 5), (8, 12, 6))

    assert cutout.shape == (8, 12, 6)
    assert cutout[4, 6, 3] == 7
    assert not cutout[0].any()
    assert not cutout[:, :2].any()


def test_a_leaning_piece_of_spine_is_turned_upright() -> None:
    """A bar that leans backwards on its way down stands along I after its turn by that angle."""
    image = np.zeros((60, 60, 3), np.float32)
    for step in range(-20, 21):
        image[round(30 + step * np.tan(np.radians(20))) + np.arange(-1, 2), 30 + step] = 1

    turned = cut_out(image, (30, 30, 1), (40, 40, 3), -20.0)

    columns = turned[:, 5:35, 1].argmax(0)
    assert np.ptp(columns) <= 2


def test_only_what_is_not_zero_is_standardised() -> None:
    """The border that was filled up stays zero."""
    cutout = np.array([[[0.0, 2.0, 4.0]]], np.float32)

    np.testing.assert_allclose(standardised(cutout), [[[0.0, -1.0, 1.0]]])
    assert not standardised(np.zeros((2, 2, 2), np.float32)).any()


@pytest.mark.slow
def test_every_vertebra_gets_probabilities_from_every_head() -> None:
    """From the head down, also one without a body."""
    torch.manual_seed(0)
    phase = LabellingPhase(SETTINGS, build_labelling_network(SETTINGS).state_dict(), torch.device("cpu"))
    vertebrae, subregions = np.zeros((2, 24, 60, 12)).astype(np.uint16)
    for number, top in enumerate((5, 25, 45), start=1):
        vertebrae[4 + number : 16, top : top + 12, 2:10] = number
    subregions[vertebrae > 0] = 49
    subregions[vertebrae == 2] = 41
    image = np.random.default_rng(0).random(vertebrae.shape).astype(np.float32)

    heads = phase.look(image, (1.0, 1.0, 1.0), vertebrae, subregions.astype(np.uint8))

    assert {head: rows.shape for head, rows in heads.items()} == {"VERT": (3, 24), "REGION": (3, 3)}
    np.testing.assert_allclose(heads["VERT"].sum(1), 1)


def test_names_come_from_the_network_and_without_a_landmark_are_assumed() -> None:
    """With a sentence; a region from the header is not needed."""
    levels = name_levels(bodies(4), sacrum=False, body_region=None, said=said("T6", "T7", "T8", "T9"))

    assert (levels.names, levels.numbering) == (("T6", "T7", "T8", "T9"), "assumed")
    assert "labelling network" in levels.warnings[0]


def test_a_landmark_outvotes_the_network() -> None:
    """The last vertebra lies on the sacrum, whatever it looks like."""
    levels = name_levels(bodies(3), sacrum=True, body_region=None, said=said("L1", "L2", "L3"))

    assert levels.numbering == "landmark"
    assert levels.names[-1] in ("L4", "L5")


def test_an_unusual_count_is_said_and_doubted() -> None:
    """T13."""
    levels = name_levels(bodies(4), sacrum=False, body_region=None, said=said("T11", "T12", "T12", "L1"))

    assert levels.names == ("T11", "T12", "T13", "L1")
    assert any("unusual count of vertebrae: T13" in warning for warning in levels.warnings)
    assert levels.factor < 0.85


def test_a_missed_vertebra_keeps_its_name_also_with_a_network() -> None:
    """A step twice as long as those beside it: one name is passed over."""
    shapes = bodies(6)
    del shapes[3]

    levels = name_levels(shapes, sacrum=False, body_region=None, said=said("T5", "T6", "T7", "T9", "T10"))

    assert levels.names == ("T5", "T6", "T7", "T9", "T10")
    assert set(levels.names) < set(CHAIN)
