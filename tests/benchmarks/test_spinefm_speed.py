"""SpineFM against a literal rendering of its method: the same ViT-B weights, one run, the same masks, less time."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from models.spinefm import build_medsam
from models.spinefm.config import PatchSettings, SpineFMConfig, WalkSettings
from models.spinefm.eyes import Eyes
from models.spinefm.networks import Networks
from models.spinefm.patches import PlacedMask
from models.spinefm.scale import Scale
from tests.benchmarks.literal_spinefm import LiteralSegmenter, literal_centroid, literal_iou
from tests.unit.drawn_spine import DrawnClassifier, DrawnDetector, straight_on
from tests.unit.spinefm_recipe import recipe_state_dict

KEYS = Path(__file__).parents[1] / "data" / "medsam_vit_b_keys.json"
EDGE = 300
POINTS = [(241, 284), (60, 189)]  # the walk's two ends: one patch inside, one over the image's edge
LEAST_RATIO = {"cpu": 2.5, "cuda": 5.0}
MOST_DIFFERING = 1e-3  # of the image's pixels


def radiograph() -> NDArray[np.float32]:
    """A soft random image of a cervical radiograph's size."""
    noise = np.random.default_rng(0).normal(size=(569, 482))
    soft = sum(ndimage.gaussian_filter(noise, sigma) * sigma for sigma in (2, 8, 30))
    return np.asarray((soft - soft.min()) / np.ptp(soft), dtype=np.float32)


Answer = TypeVar("Answer")


def timed(work: Callable[[], Answer]) -> tuple[Answer, float]:
    """Do it and tell the seconds."""
    began = time.perf_counter()
    answer = work()
    return answer, time.perf_counter() - began


@pytest.mark.slow
@pytest.mark.benchmark
def test_a_step_both_ways_is_faster_than_its_literal_rendering(record_property: Callable[[str, object], None]) -> None:
    """Two patches, their centroids and overlap: at least 2.5 times as fast on the CPU, 5 times on a GPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = build_medsam("vit_b").eval()
    network.load_state_dict(recipe_state_dict(json.loads(KEYS.read_text())))
    pixels, literal = radiograph(), LiteralSegmenter(network.to(device), EDGE)
    patch = PatchSettings(input_px=1024, px=EDGE)
    walk = WalkSettings(outside="smallest_logit")
    eyes = Eyes(
        pixels,
        Networks(DrawnDetector(), network, straight_on, DrawnClassifier(), half_on_cpu=True),
        SpineFMConfig(patch, patch, "nearest", ("background", "vertebra"), walk, ("cervical",)),
        scale=Scale(50.0, EDGE, EDGE, "cervical", ""),
        device=device,
    )

    with torch.inference_mode():
        eyes.segment(POINTS[:1])  # both start warm
        ours, our_seconds = timed(lambda: _with_numbers(eyes))
        theirs, literal_seconds = timed(lambda: _literal_numbers(literal, pixels))

    ratio = literal_seconds / our_seconds
    record_property("ratio", ratio)
    print(f"\nours {our_seconds:.1f} s, literal {literal_seconds:.1f} s: {ratio:.2f} times as fast on {device.type}")
    for mine, whole in zip(ours[0], theirs[0], strict=True):
        assert ((mine.whole() > 0.5) != (whole > 0.5)).mean() <= MOST_DIFFERING
    assert ours[1] == theirs[1]
    assert ours[2] == pytest.approx(theirs[2], abs=1e-3)
    assert ratio >= LEAST_RATIO[device.type]


def _with_numbers(eyes: Eyes) -> tuple[list[PlacedMask], list[tuple[int, int]], float]:
    masks = eyes.segment(POINTS)
    return masks, [mask.weighted_centroid() for mask in masks], masks[0].iou(masks[1])


def _literal_numbers(
    literal: LiteralSegmenter, pixels: NDArray[np.float32]
) -> tuple[list[NDArray[np.float32]], list[tuple[int, int]], float]:
    masks = [literal(pixels, point) for point in POINTS]
    return masks, [literal_centroid(mask) for mask in masks], literal_iou(masks[0], masks[1])
