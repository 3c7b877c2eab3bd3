"""Pictures that hold no lateral spine: a hand, a frontal spine with ribs, a chest, an empty detector.

An engine must learn to answer nothing to them.
"""

import numpy as np

from models.phantom.projection import Field, Layers
from models.phantom.solids import Outline, chaikin, ellipse
from models.phantom.surroundings import noise

Rng = np.random.Generator


def _box(u: float, v: float, half_u: float, half_v: float, rng: Rng, *, waist: float = 0.0) -> Outline:
    corners = [
        (-half_u, -half_v),
        (half_u, -half_v),
        (half_u - waist, 0),
        (half_u, half_v),
        (-half_u, half_v),
        (waist - half_u, 0),
    ]
    return chaikin(np.array(corners) + rng.normal(0, 0.04, (6, 2)) * [half_u, half_v], 1) + [u, v]


def _hand(layers: Layers, rng: Rng) -> None:
    scale, base = rng.uniform(0.7, 1.3), np.array([rng.uniform(-15, 15), rng.uniform(20, 60)])
    for finger in np.linspace(-0.5, 0.5, 5):
        place, turn = base + [finger * 60 * scale, 0.0], finger * rng.uniform(0.6, 1.2)
        for length in (55, 38, 24, 16):
            half = length * scale / 2
            axis = np.array([np.sin(turn), -np.cos(turn)])
            bone = _box(0, 0, rng.uniform(4, 7) * scale, half, rng, waist=2.0 * scale)
            rotated = np.stack(
                [
                    bone[:, 0] * np.cos(turn) - bone[:, 1] * np.sin(turn),
                    bone[:, 0] * np.sin(turn) + bone[:, 1] * np.cos(turn),
                ],
                1,
            )
            layers.fill("bones", rotated + place + axis * half, 9.0, 12.0, 1.4)
            layers.fill("soft", ellipse(tuple(place + axis * half), 11 * scale, half + 9 * scale, turn), 18.0)
            place = place + axis * (2 * half + 3 * scale)
    for _ in range(8):
        layers.fill(
            "bones",
            ellipse(tuple(base + rng.normal(0, [18, 8]) * scale + [0, 14]), rng.uniform(6, 10), rng.uniform(6, 10)),
            10.0,
            12.0,
            1.4,
        )
    layers.fill("soft", ellipse(tuple(base), 45 * scale, 55 * scale), 25.0)


def _frontal_spine(layers: Layers, rng: Rng) -> None:
    """Bodies seen from the front: wide boxes with two pedicles and a spinous process, ribs on both sides."""
    width, step = rng.uniform(24, 48), rng.uniform(18, 36)
    weight, ribs = rng.uniform(6, 18), rng.random() < 0.6
    for k in range(-8, 9):
        u, v = rng.normal(0, 1.0), k * step
        layers.fill(
            "bodies", _box(u, v, width / 2, 0.4 * step, rng, waist=0.06 * width), weight, rng.uniform(2, 14), 1.0
        )
        for side in (-1, 1):
            layers.fill(
                "arches", ellipse((u + side * 0.33 * width, v - 0.1 * step), 0.1 * width, 0.16 * step), 4.0, 8.0, 1.2
            )
            layers.fill(
                "arches", ellipse((u + side * 0.75 * width, v), 0.3 * width, 0.1 * step, side * 0.2), 4.0, 4.0, 1.0
            )
            if ribs:
                t = np.linspace(0, 1, 9)
                arc = np.stack([u + side * (0.5 * width + 110 * np.sin(np.pi * t * 0.6)), v + 60 * t**2 - 12 * t], 1)
                layers.stroke("bones", arc, rng.uniform(5, 9), 6.0)
        layers.fill("arches", ellipse((u, v + 0.3 * step), 0.07 * width, 0.3 * step), 6.0, 6.0, 1.0)
    layers.fill("soft", ellipse((0, 0), rng.uniform(110, 180), 400, points=40), rng.uniform(60, 180))
    if ribs:
        for side in (-1, 1):
            layers.fill("air", ellipse((side * 75, -40), 50, 120, points=40), rng.uniform(20, 70))
        layers.fill("soft", ellipse((20, 20), 50, 60), rng.uniform(20, 80))


def draw_decoy(rng: Rng, long_side: int) -> Layers:
    """Draw a picture without a lateral spine.

    Args:
        rng: the only source of chance.
        long_side: rows or columns, whichever is more.

    Returns:
        The layers, to be exposed like any other.
    """
    height = rng.uniform(200, 420)
    shape = (long_side, round(long_side * rng.uniform(0.6, 1.0)))
    pixel = height / long_side
    layers = Layers(Field(shape, pixel, (-shape[1] * pixel / 2 + rng.normal(0, 15), -height / 2 + rng.normal(0, 15))))
    kind = rng.integers(0, 5)
    if kind <= 1:
        _hand(layers, rng)
    elif kind <= 3:
        _frontal_spine(layers, rng)
    else:
        layers.planes["soft"] += rng.uniform(20, 120) * (1 + 0.2 * noise(rng, shape, 60))
    return layers
