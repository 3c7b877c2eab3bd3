"""The compact detector looks twice: at the whole radiograph, and closer at where vertebrae are."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.spinefm import compact
from models.spinefm.compact import CompactDetector
from models.spinefm.detection import Detection
from models.spinefm.views import Field, View, around

BODIES = ((300, 500), (330, 500), (352, 500), (400, 500))  # (y, x); the second and the third are 2 px apart
HALF = 10


class BrightDetector(CompactDetector):
    """Takes what is bright for a vertebra, and its inner part for a core."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, size, size) → logits, sure of themselves."""
        bright = (image > 0.5).float()
        core = 1 - functional.max_pool2d(1 - bright, 3, 1, 1)
        none = torch.full_like(bright, -8.0)
        return torch.cat([8 - 16 * bright, 16 * bright - 8, none, none, 16 * core - 8], 1)


@pytest.fixture
def pixels() -> NDArray[np.float32]:
    """A wide view with four bodies."""
    image = np.zeros((1024, 1024), np.float32)
    for y, x in BODIES:
        image[y - HALF : y + HALF, x - HALF : x + HALF] = 1.0
    return image


def centroids(detections: list[Detection]) -> list[tuple[float, float]]:
    """From the top."""
    return sorted((d.centroid_px for d in detections), key=lambda centroid: centroid[1])


def test_neighbours_that_are_one_from_afar_are_two_from_near(pixels: NDArray[np.float32]) -> None:
    """All four, each where it is."""
    found = centroids(BrightDetector().eval().detect(pixels))

    np.testing.assert_allclose(found, [(x - 0.5, y - 0.5) for y, x in BODIES], atol=1.5)


def test_from_afar_alone_they_are_one(pixels: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the closer look is for."""
    monkeypatch.setattr(compact, "around", lambda _detections, shape: Field(0, 0, *shape))

    assert len(BrightDetector().eval().detect(pixels)) == len(BODIES) - 1


def test_what_lies_beside_the_closer_look_is_kept(pixels: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    """A detection outside the field comes from the whole view, once."""
    monkeypatch.setattr(compact, "around", lambda _detections, _shape: Field(315, 470, 60, 60))

    found = centroids(BrightDetector().eval().detect(pixels))

    np.testing.assert_allclose(found, [(x - 0.5, y - 0.5) for y, x in BODIES], atol=3)


def test_the_field_around_detections_ends_at_the_image() -> None:
    """Three body sizes on each side, where there are as many."""
    detections = [Detection(0.9, (50.0, 20.0), 10.0), Detection(0.9, (60.0, 90.0), 10.0)]

    assert around(detections, (100, 200)) == Field(0, 20, 100, 70)


def test_a_view_is_read_at_the_pixels_of_another() -> None:
    """A ramp along x stays the same in pixels of the radiograph, whatever the grid."""
    whole = View(Field(0, 0, 40, 80), torch.arange(0.5, 80, 2).expand(1, 20, 40))
    near = View(Field(10, 20, 10, 30), torch.zeros(1, 20, 60))

    columns, _ = near.centres()

    torch.testing.assert_close(whole.on(near)[0, 0], columns - 0.5, atol=1e-4, rtol=0)
