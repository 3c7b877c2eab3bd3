"""Training of the point predictor: three centroids of a chain to the fourth, on geometry alone."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.contracts import BodyRegion
from models.phantom.anatomy import LEVEL_VALUE, Vertebra, draw_spine
from models.phantom.radiograph import draw_field


def _middle(vertebra: Vertebra) -> NDArray[np.float64]:
    """(u, v) of the drawn outline's centre of mass; C2's lies in the root of the dens."""
    if vertebra.level != "C2":
        return np.asarray(vertebra.centre[1:])
    return np.asarray(vertebra.to_phantom(0.0, np.array([[0.05 * vertebra.size[1], -0.3 * vertebra.size[2]]]))[1][0])


def draw_quadruples(rng: np.random.Generator, spines: int) -> tuple[Tensor, Tensor]:
    """Draw chains of four neighbours, in both directions and mirrored.

    Args:
        rng: the only source of chance.
        spines: how many people.

    Returns:
        (n, 6) three points (x, y), nearest last, and (n, 2) the next one; divided by the image's width and height.
    """
    given, following = [], []
    for k in range(spines):
        region: BodyRegion = "cervical" if k % 2 else "lumbar"
        spine = draw_spine(rng, region)
        field = draw_field(rng, spine, 480)
        size = np.array(field.shape[::-1])
        members = [v for v in spine.vertebrae if v.level in LEVEL_VALUE]
        points = (
            np.array([field.to_pixels(field.project(_middle(v)[None], float(v.centre[0])))[0] for v in members]) / size
        )
        body = np.array([v.size[1] for v in members])[:, None] / field.pixel_mm / size
        for chain, scale in ((points, body), (points[::-1], body[::-1])):
            for i in range(len(chain) - 3):
                four = chain[i : i + 4].copy()
                if (four < -0.15).any() or (four > 1.15).any():
                    continue
                four[:3] += rng.normal(0, 0.05, (3, 2)) * scale[i : i + 3]  # masks' centroids are not exact
                if rng.random() < 0.5:
                    four[:, 0] = 1 - four[:, 0]
                given.append(four[:3].ravel())
                following.append(four[3])
    return torch.tensor(np.array(given), dtype=torch.float32), torch.tensor(np.array(following), dtype=torch.float32)


def train_point_predictor(
    network: nn.Module, *, seed: int, spines: int = 6000, steps: int = 6000, report: Callable[[str], None] = print
) -> float:
    """Fit the point predictor.

    Args:
        network: (n, 6) → (n, 2), as published: Linear 6→50, ReLU, Linear 50→2.
        seed: of the spines and of the batches.
        spines: people drawn.
        steps: optimiser steps of 512 chains.
        report: receives a line of progress now and then.

    Returns:
        The median error on people not trained on, as a fraction of the distance between neighbours.
    """
    given, following = draw_quadruples(np.random.default_rng([seed, 30]), spines)
    test_given, test_following = draw_quadruples(np.random.default_rng([seed, 31]), 300)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), 5e-3, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, steps)
    error = float("nan")
    for number in range(steps):
        pick = torch.randint(len(given), (512,), generator=generator)
        step = (given[pick, 4:] - given[pick, 2:4]).norm(dim=1, keepdim=True).clamp_min(0.02)
        loss = nn.functional.smooth_l1_loss(
            (network(given[pick]) - following[pick]) / step, torch.zeros(512, 2), beta=0.2
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if (number + 1) % 2000 == 0 or number + 1 == steps:
            with torch.no_grad():
                steps_there = (test_given[:, 4:] - test_given[:, 2:4]).norm(dim=1)
                error = float(((network(test_given) - test_following).norm(dim=1) / steps_there).median())
            report(f"points step={number + 1} median_error={error:.3f} of a level's height")
    return error
