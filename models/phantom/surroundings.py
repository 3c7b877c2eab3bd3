"""What else is in the picture: skull and jaw, airway, shoulders; sacrum, pelvis, ribs, bowel; skin and soft tissue.

Crude on purpose and drawn over a wide range: these shapes are there so that a network meets overlap, edges and
decoys, not to be looked at for themselves. All positions in the phantom's mm; `size` is the depth of C3's or
L3's body, the yardstick of the person.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.phantom.anatomy import Spine, Vertebra
from models.phantom.projection import Layers
from models.phantom.solids import Outline, PosteriorStyle, arch_sections, body_sections, chaikin, ellipse

Rng = np.random.Generator
Plane = NDArray[np.float64]
Grid = tuple[Plane, Plane]  # u and v of every pixel, mm


def noise(rng: Rng, shape: tuple[int, int], scale: float) -> NDArray[np.float32]:
    """Smooth noise of unit deviation; `scale` is its grain in pixels."""
    coarse = tuple(max(4, int(np.ceil(n / scale)) + 3) for n in shape)
    zoomed = ndimage.zoom(
        rng.standard_normal(coarse).astype(np.float32),
        [(n + 2 * scale) / c for n, c in zip(shape, coarse, strict=True)],
        order=1,
    )
    out = zoomed[: shape[0], : shape[1]]
    out = out if out.shape == shape else np.resize(zoomed, shape)
    return np.asarray(out / (out.std() + 1e-6), np.float32)


def _local(vertebra: Vertebra, *points: tuple[float, float]) -> Outline:
    """Points given in the vertebra's own frame → phantom mm."""
    return vertebra.to_phantom(0.0, np.array(points, float))[1]


def draw_vertebrae(layers: Layers, spine: Spine, rng: Rng) -> None:
    """Bodies and arches of the whole chain, from the lowest to the highest."""
    style = PosteriorStyle.draw(rng)
    density, cortex_density, cortex = np.exp(rng.uniform(-1.5, -0.1)), rng.uniform(0.4, 2.2), rng.uniform(0.5, 1.6)
    for vertebra in reversed(spine.vertebrae):
        own = density * np.exp(rng.normal(0, 0.12))
        layers.add_sections("bodies", vertebra, body_sections(vertebra, own, cortex), cortex_density)
        _trabeculae(layers, vertebra, rng)
        if vertebra.fused_below:
            _bridge(layers, vertebra, own, cortex_density)
        if vertebra.level[0] != "S":
            layers.add_sections(
                "arches", vertebra, arch_sections(vertebra, style, rng), cortex_density * rng.uniform(0.5, 1)
            )
        if rng.random() < 0.02:
            _screw(layers, vertebra, rng)


def _trabeculae(layers: Layers, vertebra: Vertebra, rng: Rng) -> None:
    w, d, h = vertebra.size
    for _ in range(rng.integers(0, 3)):
        centre = (rng.uniform(-0.4, 0.5) * d, rng.uniform(-0.35, 0.3) * h)
        ring = ellipse(centre, rng.uniform(0.08, 0.22) * d, rng.uniform(0.1, 0.26) * h, rng.uniform(0, 3))
        layers.stroke(
            "bodies", _local(vertebra, *ring[: rng.integers(8, 20)]), rng.uniform(0.5, 1.5), w * rng.uniform(0.1, 0.5)
        )
    for _ in range(rng.integers(0, 2)):  # sclerosis along an end-plate
        v = rng.choice([-0.42, 0.42]) * h
        layers.fill("bodies", _local(vertebra, *ellipse((0.0, v), 0.45 * d, 0.12 * h)), w * rng.uniform(0, 0.4))


def _bridge(layers: Layers, vertebra: Vertebra, density: float, cortex_density: float) -> None:
    w, d, h = vertebra.size
    layers.fill(
        "bodies",
        _local(vertebra, (-0.45 * d, 0.4 * h), (0.45 * d, 0.4 * h), (0.45 * d, 0.65 * h), (-0.45 * d, 0.65 * h)),
        w * density,
    )
    layers.stroke(
        "bodies", _local(vertebra, (-0.45 * d, 0.55 * h), (-0.45 * d, 0.4 * h)), 1.0, w * cortex_density * 0.5
    )


def _screw(layers: Layers, vertebra: Vertebra, rng: Rng) -> None:
    _, d, h = vertebra.size
    back = rng.random() < 0.5
    start = 1.3 * d if back else -0.6 * d
    layers.stroke(
        "metal",
        _local(vertebra, (start, rng.normal(0, 0.1) * h), (-0.2 * d if back else 0.3 * d, 0)),
        rng.uniform(2, 5),
        rng.uniform(2, 6),
    )
    layers.stroke("metal", _local(vertebra, (start, -0.8 * h), (start, 0.8 * h)), rng.uniform(2, 5), rng.uniform(2, 6))


# --- cervical -------------------------------------------------------------------------------------------------


def draw_head_and_neck(layers: Layers, spine: Spine, rng: Rng) -> None:
    """Atlas, skull, face, jaw and teeth, hyoid and larynx, first ribs and clavicles."""
    axis, size = spine["C2"], spine["C3"].size[1]
    _, d, h = axis.size
    atlas = -0.55 * h - rng.uniform(0.3, 0.9) * d
    top = _local(axis, (0.0, atlas))[0]
    _atlas(layers, axis, atlas, rng)
    _skull(layers, top, size, rng)
    if rng.random() < 0.93:
        _jaw(layers, axis.centre[1:], size, rng)
    layers.planes["bones"] *= 1 + rng.uniform(0, 0.22) * noise(rng, layers.field.shape, rng.uniform(5, 12))
    larynx = _local(spine["C4"], (-rng.uniform(1.2, 2.0) * d, rng.uniform(-1.0, 0.8) * d))[0]
    layers.stroke(
        "bones",
        np.array([larynx, larynx + np.array([-rng.uniform(0.6, 1.7), rng.uniform(-0.2, 0.4)]) * size]),
        rng.uniform(0.05, 0.2) * size,
        rng.uniform(2, 10),
    )
    for _ in range(rng.integers(0, 5)):
        start = _local(spine["C5"], (-rng.uniform(1, 2.3) * d, rng.uniform(-2, 3) * d))[0]
        layers.stroke(
            "bones",
            chaikin(start + np.cumsum(rng.normal(0, 0.25, (4, 2)), 0) * size),
            rng.uniform(0.04, 0.2) * size,
            rng.uniform(1, 8),
        )
    for _ in range(rng.integers(0, 4)):
        start = spine["T1"].centre[1:] + rng.normal(0, 2, 2) * size
        bar = np.array([[-2.5, rng.uniform(-1, 1)], [0, 0], [2.5, rng.uniform(-1, 1)]]) * size
        layers.stroke("bones", start + bar, rng.uniform(0.2, 0.6) * size, rng.uniform(1, 6))


def _atlas(layers: Layers, axis: Vertebra, v: float, rng: Rng) -> None:
    d = axis.size[1]
    rim = rng.uniform(2, 8)
    layers.fill(
        "arches",
        _local(
            axis, *ellipse((-rng.uniform(0.35, 0.55) * d, v), rng.uniform(0.12, 0.2) * d, rng.uniform(0.22, 0.34) * d)
        ),
        6.0,
        rim,
        1.0,
    )
    mass = [(-0.3 * d, v - 0.35 * d), (0.6 * d, v - 0.35 * d), (0.7 * d, v + 0.5 * d), (-0.2 * d, v + 0.5 * d)]
    layers.fill("arches", _local(axis, *chaikin(np.array(mass))), 12.0, 0.4 * rim, 1.0)
    behind = np.array(
        [
            [0.5 * d, v + rng.uniform(-0.1, 0.4) * d],
            [1.1 * d, v + rng.uniform(-0.1, 0.2) * d],
            [rng.uniform(1.6, 2.4) * d, v + rng.uniform(-0.3, 0.4) * d],
        ]
    )
    layers.stroke("arches", _local(axis, *behind), d * rng.uniform(0.15, 0.3), 7.0)
    layers.fill(
        "arches",
        _local(
            axis, *ellipse(tuple(behind[-1]), rng.uniform(0.15, 0.32) * d, rng.uniform(0.2, 0.34) * d, rng.random())
        ),
        6.0,
        rim,
        1.0,
    )


def _skull(layers: Layers, top: NDArray[np.float64], size: float, rng: Rng) -> None:
    a, b, turn = size * rng.uniform(4.2, 8), size * rng.uniform(3.2, 6), rng.normal(0.1, 0.25)
    centre = top + np.array([size * rng.uniform(0.5, 4.5), -b * rng.uniform(0.86, 1.05) - size * rng.uniform(0.1, 0.9)])
    inside, rim = rng.uniform(4, 20), rng.uniform(4, 30)
    layers.fill("bones", ellipse(tuple(centre), a, b, turn, 60), inside, rim, rng.uniform(2, 7))
    layers.fill(
        "bones",
        ellipse(tuple(centre + rng.normal(0, 0.15, 2) * size), a * 0.97, b * 0.97, turn, 60),
        0.2 * inside,
        0.5 * rim,
        rng.uniform(1, 4),
    )
    _skull_base(layers, top, size, rng)
    mastoid = top + np.array([rng.uniform(-0.5, 2), -rng.uniform(0.6, 2)]) * size
    for _ in range(rng.integers(4, 24)):  # air cells
        cell = ellipse(
            tuple(mastoid + rng.normal(0, 0.5, 2) * size), size * rng.uniform(0.06, 0.2), size * rng.uniform(0.06, 0.2)
        )
        layers.fill("bones", cell, -rng.uniform(0, 4), rng.uniform(0, 5), 0.8)
    if rng.random() < 0.8:
        maxilla = ellipse(
            tuple(top - np.array([rng.uniform(3, 6), rng.uniform(1, 3)]) * size),
            size * rng.uniform(1.5, 3.5),
            size * rng.uniform(1, 2.5),
            rng.random(),
        )
        layers.fill("bones", maxilla, rng.uniform(2, 14), rng.uniform(0, 10), 2.0)


def _skull_base(layers: Layers, top: NDArray[np.float64], size: float, rng: Rng) -> None:
    for _ in range(rng.integers(3, 10)):
        place = top + np.array([rng.uniform(-4, 3), -rng.uniform(0.3, 4)]) * size
        if rng.random() < 0.5:
            line = place + np.cumsum(rng.normal(0, 0.55, (rng.integers(3, 7), 2)), 0) * size
            layers.stroke("bones", chaikin(line), rng.uniform(1, 4), rng.uniform(2, 14))
        else:
            blob = ellipse(
                tuple(place), size * rng.uniform(0.3, 1.6), size * rng.uniform(0.3, 1.3), rng.uniform(0, 3), 9
            )
            layers.fill(
                "bones",
                chaikin(blob + rng.normal(0, 0.15, (9, 2)) * size),
                rng.uniform(1, 12),
                rng.uniform(0, 12),
                rng.uniform(0.5, 2.5),
            )


def _jaw(layers: Layers, axis: NDArray[np.float64], size: float, rng: Rng) -> None:
    angle = axis + np.array([-rng.uniform(0.9, 2.8), rng.uniform(-0.6, 1.2)]) * size
    slope = rng.normal(-0.02, 0.25)
    forward, up = np.array([-np.cos(slope), np.sin(slope)]), np.array([0.0, -1.0])
    ramus = np.array([rng.uniform(-0.1, 0.7), -1.0]) * size * rng.uniform(2.2, 4)
    long, thick, wide = size * rng.uniform(4, 9), size * rng.uniform(0.7, 1.5), size * rng.uniform(0.6, 1.2)
    outline = np.array(
        [
            angle,
            angle + 0.5 * ramus,
            angle + ramus,
            angle + ramus - [wide, 0],
            angle + 0.45 * ramus - [1.1 * wide, 0],
            angle + up * thick + 1.2 * forward * wide,
            angle + up * thick + 0.6 * forward * long,
            angle + up * thick * rng.uniform(0.8, 1.8) + forward * long,
            angle + 1.05 * forward * long,
            angle + 0.5 * forward * long,
        ]
    )
    inside, rim = rng.uniform(3, 14), rng.uniform(3, 22)
    for _ in range(rng.integers(1, 3)):
        layers.fill("bones", chaikin(outline + rng.normal(0, 0.2, 2) * size), inside, rim, rng.uniform(1, 3))
    if rng.random() < 0.9:
        _teeth(layers, angle + up * thick, forward, size, rng)


def _teeth(layers: Layers, base: NDArray[np.float64], forward: NDArray[np.float64], size: float, rng: Rng) -> None:
    first = rng.uniform(1.3, 2.2)
    for row in range(2):
        for k in range(rng.integers(3, 9)):
            place = (
                base
                + np.array([0, -0.2 - 0.75 * row]) * size
                + forward * size * (first + 0.42 * k)
                + rng.normal(0, 0.05, 2) * size
            )
            layers.fill(
                "bones",
                ellipse(
                    tuple(place), size * rng.uniform(0.12, 0.22), size * rng.uniform(0.3, 0.5), rng.normal(0, 0.25), 12
                ),
                rng.uniform(3, 12),
                rng.uniform(0, 9),
                1.0,
            )
            if rng.random() < 0.2:
                layers.fill(
                    "metal",
                    ellipse(tuple(place), size * rng.uniform(0.1, 0.3), size * rng.uniform(0.08, 0.3), rng.random(), 7),
                    rng.uniform(1, 4),
                )


# --- lumbar ---------------------------------------------------------------------------------------------------


# Wing of the sacrum: u in depths, v in heights of S1's body; wing of the ilium in depths of L3's body from S1's middle,
# without the part of its height that differs between people.
ALA = ((-0.45, -0.35), (0.5, -0.5), (1.0, 0.6), (0.9, 1.9), (0.2, 2.0), (-0.3, 0.7))
ILIUM = ((-2.0, 0.9), (-1.5, -0.2), (-0.4, -1.0), (0.9, -0.9), (1.5, 0.0), (0.9, 1.3), (0.2, 2.4), (-1.2, 2.6))
ILIUM_RISE = (0.0, 0.6, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0)


def draw_trunk_bones(layers: Layers, spine: Spine, rng: Rng) -> None:
    """Wings of the sacrum, iliac bones, hips, ribs."""
    size = spine["L3"].size[1]
    _pelvis(layers, spine["S1"], size, rng)
    _ribs(layers, spine, size, rng)
    for _ in range(rng.integers(0, 4)):  # calcified vessels in front of the bodies
        start = _local(spine["L3"], (-rng.uniform(0.65, 1.0) * size, rng.uniform(-3, 2) * size))[0]
        path = start + np.cumsum(rng.normal([0, 0.3], 0.12, (4, 2)), 0) * size
        layers.stroke("bones", path, rng.uniform(0.8, 2), rng.uniform(1, 8))


def _pelvis(layers: Layers, sacrum: Vertebra, size: float, rng: Rng) -> None:
    _, d, h = sacrum.size
    ala = chaikin(np.array(ALA) * [d, h] + rng.normal(0, 0.05, (6, 2)) * d)
    layers.fill("arches", _local(sacrum, *ala), rng.uniform(10, 40), rng.uniform(2, 10), 1.0)
    crest = _local(sacrum, (1.2 * d, -0.6 * h), (1.6 * d, 0.3 * h), (1.5 * d, 1.4 * h), (1.2 * d, 2.2 * h))
    layers.stroke("arches", crest, rng.uniform(4, 12), rng.uniform(4, 16))
    inside, rim = rng.uniform(1, 8), rng.uniform(2, 12)
    height = rng.uniform(-0.3, 1.1)  # how high the crest reaches: L4 to L5
    for _ in range(2):
        wing = np.array(ILIUM) - np.stack([np.zeros(8), np.array(ILIUM_RISE) * height], 1)
        place = sacrum.centre[1:] + rng.normal(0, 0.12, 2) * size
        layers.fill(
            "bones", chaikin(place + (wing + rng.normal(0, 0.08, wing.shape)) * size, 3), inside, rim, rng.uniform(1, 3)
        )
        hip = sacrum.centre[1:] + np.array([rng.uniform(-1.6, 0.2), rng.uniform(2.4, 3.8)]) * size
        layers.fill(
            "bones",
            ellipse(tuple(hip), size * 0.75, size * 0.75, points=30),
            rng.uniform(8, 26),
            rng.uniform(2, 12),
            1.5,
        )


def _ribs(layers: Layers, spine: Spine, size: float, rng: Rng) -> None:
    weight, slope = rng.uniform(0.4, 1.6), rng.uniform(0.5, 1.3)
    for vertebra in spine.vertebrae:
        if vertebra.level[0] != "T":
            continue
        reach = {"T11": 2.6, "T12": 1.5}.get(vertebra.level, 4.5) * rng.uniform(0.7, 1.2)
        for _ in range(2):
            start = vertebra.centre[1:] + np.array([0.7, -0.3]) * size + rng.normal(0, 0.12, 2) * size
            t = np.linspace(0, 1, 9)
            back = np.stack([1.0 * np.sin(np.pi * np.minimum(1.4 * t, 1)) - reach * t**1.4, slope * reach * t**1.1], 1)
            path = start + back * size
            layers.stroke("bones", path, rng.uniform(6, 11), 3.0 * weight)
            layers.stroke("bones", path + [0, 4.0], 1.2, 4.0 * weight)
            layers.stroke("bones", path - [0, 4.0], 1.2, 4.0 * weight)


# --- soft tissue and air --------------------------------------------------------------------------------------


def draw_soft_tissue(layers: Layers, spine: Spine, rng: Rng, step: int = 4) -> None:
    """Skin to skin thickness, shoulders or hips, air; computed on a grid `step` times coarser."""
    rows, columns = (-(-n // step) for n in layers.field.shape)
    u = (np.arange(columns) * step + step / 2) * layers.field.pixel_mm + layers.field.origin[0]
    v = (np.arange(rows) * step + step / 2) * layers.field.pixel_mm + layers.field.origin[1]
    uu, vv = np.meshgrid(u, v)
    centres = np.array([b.centre[1:] for b in spine.vertebrae])
    order = np.argsort(centres[:, 1])
    line = np.interp(v, centres[order, 1], centres[order, 0])  # u of the spine at each row
    maker = _neck if spine.region == "cervical" else _trunk
    for name, plane in maker(spine, uu, vv, line, rng).items():
        big = np.kron(plane.astype(np.float32), np.ones((1, 1), np.float32))
        zoomed = ndimage.zoom(big, step, order=1, grid_mode=True, mode="nearest")
        layers.planes[name] += zoomed[: layers.field.shape[0], : layers.field.shape[1]]


def _sigmoid(t: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(t, -40, 40))))


def _neck(
    spine: Spine, uu: NDArray[np.float64], vv: NDArray[np.float64], line: NDArray[np.float64], rng: Rng
) -> dict[str, NDArray[np.float64]]:
    size = spine["C3"].size[1]
    c3, c7 = spine["C3"].centre[1:], spine["C7"].centre[1:]
    t = (vv[:, 0] - c3[1]) / (c7[1] - c3[1])  # 0 at C3, 1 at C7
    mean = 0.5 * line + 0.5 * c3[0]
    back = mean + size * (
        rng.uniform(2.6, 5.5)
        + rng.uniform(0.5, 4) * np.maximum(0.2 - t, 0) ** rng.uniform(1, 2)
        + rng.uniform(0.8, 6) * np.maximum(t - rng.uniform(0.4, 0.9), 0) ** rng.uniform(1, 2)
    )
    front = mean - size * (
        rng.uniform(1.8, 3.7)
        + rng.uniform(3, 8) * _sigmoid((rng.uniform(-0.35, 0.15) - t) / rng.uniform(0.03, 0.15))
        + rng.uniform(0.4, 5) * np.maximum(t - rng.uniform(0.5, 1.1), 0) ** 1.5
    )
    across = np.clip((uu - front[:, None]) / np.maximum(back - front, 5)[:, None], 0, 1)
    soft = (
        110
        * (4 * across * (1 - across)) ** rng.uniform(0.3, 0.8)
        * (1 + rng.uniform(0, 0.8) * _sigmoid((-0.2 - t) / 0.12))[:, None]
    )
    if rng.random() < 0.1:
        soft = np.full_like(soft, 75.0)
    soft = soft * (1 + 0.05 * noise(rng, soft.shape, 10) + 0.03 * noise(rng, soft.shape, 3))
    air = _airway(spine, (uu, vv), line, t, rng)
    shadow = _shoulders(c7, (uu, vv), size, rng)
    return {"soft": soft, "shadow": shadow, "air": 30 * np.clip(air, 0, 1.5) * np.minimum(soft / 50, 1)}


def _airway(spine: Spine, grid: Grid, line: Plane, t: Plane, rng: Rng) -> Plane:
    """Pharynx and trachea in front of the spine (`line`: its u per row, `t`: 0 at C3, 1 at C7), and pockets of air."""
    uu, vv = grid
    size = spine["C3"].size[1]
    edge = line - size * (
        0.5 + rng.uniform(0.1, 0.32) + rng.uniform(0.1, 0.9) * _sigmoid((t - rng.uniform(0.3, 0.7)) / 0.08)
    )
    bore = (
        size
        * rng.uniform(0.2, 1.2)
        * (1 + 0.4 * np.interp(np.linspace(0, 6, len(line)), range(7), rng.standard_normal(7)))
    )
    air = _sigmoid((edge[:, None] - uu) / rng.uniform(0.4, 2)) * _sigmoid(
        (uu - (edge - np.maximum(bore, 2))[:, None]) / rng.uniform(0.5, 3)
    )
    for _ in range(rng.integers(0, 4)):
        c = _local(spine["C4"], (-size * rng.uniform(0.9, 2.6), rng.uniform(-3, 3) * size))[0]
        air = air + rng.uniform(0.2, 1) * np.exp(
            -(
                (
                    ((uu - c[0]) / (size * rng.uniform(0.2, 0.8))) ** 2
                    + ((vv - c[1]) / (size * rng.uniform(0.2, 0.9))) ** 2
                )
                ** 2
            )
        )
    return np.asarray(air)


def _shoulders(c7: NDArray[np.float64], grid: Grid, size: float, rng: Rng) -> Plane:
    """The two shoulders and the trapezius."""
    uu, vv = grid
    shadow = np.zeros_like(uu)
    for _ in range(rng.integers(1, 4)):
        tip = c7 + np.array([rng.uniform(-0.5, 5), rng.uniform(-2.0, 2.4)]) * size
        slopes = rng.uniform(0.2, 1.2), rng.uniform(-0.1, 0.7)
        border = (
            tip[1]
            + np.where(uu < tip[0], (tip[0] - uu) * slopes[0], (uu - tip[0]) * slopes[1])
            + 0.15 * size * noise(rng, uu.shape, 20)
        )
        shadow += rng.uniform(20, 150) * (1 - np.exp(-np.maximum(vv - border, 0) / (size * rng.uniform(0.1, 2.5))))
    return shadow


def _trunk(
    spine: Spine, uu: NDArray[np.float64], vv: NDArray[np.float64], line: NDArray[np.float64], rng: Rng
) -> dict[str, NDArray[np.float64]]:
    size = spine["L3"].size[1]
    top, low = spine["T12"].centre[2], spine["L5"].centre[2]
    t = (vv[:, 0] - top) / (low - top)  # 0 at T12, 1 at L5
    lumbar = spine["L3"].centre[1]
    back = 0.4 * line + 0.6 * lumbar + size * (rng.uniform(2.0, 4.0) + rng.uniform(0, 2) * np.maximum(t - 0.6, 0))
    front = lumbar - size * (rng.uniform(2.5, 7.0) + rng.uniform(-0.6, 1.5) * np.sin(np.pi * np.clip(t, -0.5, 1.5)))
    across = np.clip((uu - front[:, None]) / np.maximum(back - front, 20)[:, None], 0, 1)
    wide = 260 * (1 + rng.uniform(-0.2, 0.3) * t + rng.uniform(0, 0.5) * np.maximum(t - 0.6, 0))
    soft = wide[:, None] * (4 * across * (1 - across)) ** rng.uniform(0.25, 0.7)
    soft = soft * (1 + 0.04 * noise(rng, soft.shape, 12) + 0.02 * noise(rng, soft.shape, 4))
    dome = top + size * rng.uniform(-3.0, 1.4)  # diaphragm
    bow = (
        dome
        + rng.uniform(0.05, 0.5) * (uu - lumbar - rng.uniform(-1, 1) * size) * rng.choice([-1, 1])
        + rng.uniform(0, 0.004) * (uu - lumbar + size) ** 2
    )
    lung = rng.uniform(20, 110) * _sigmoid((bow - vv) / rng.uniform(1.0, 5.0)) * (across > 0.02) * (across < 0.93)
    gas = np.zeros_like(uu)
    for _ in range(rng.integers(0, 12)):  # bowel gas in front of the spine, at times over it
        c = np.array([lumbar - size * abs(rng.normal(1.9, 1.2)), rng.uniform(top, low + 2 * size)])
        axes = size * rng.uniform(0.2, 1.3), size * rng.uniform(0.2, 0.9)
        r = ((uu - c[0]) / axes[0]) ** 2 + ((vv - c[1]) / axes[1]) ** 2 + 0.2 * noise(rng, uu.shape, 8)
        gas += rng.uniform(5, 40) * _sigmoid((1 - r) / rng.uniform(0.05, 0.6))
    hips = rng.uniform(0, 120) * _sigmoid(
        (vv - spine["S1"].centre[2] + size * rng.uniform(-1, 2)) / (size * rng.uniform(0.3, 1.5))
    )
    arms = np.zeros_like(uu)
    if rng.random() < 0.15:
        y0 = top - size * rng.uniform(1, 4)
        arms = rng.uniform(10, 60) * np.exp(
            -(((vv - y0 - rng.uniform(-0.3, 0.3) * (uu - lumbar)) / (size * rng.uniform(0.5, 1.0))) ** 4)
        )
    return {"soft": soft, "shadow": (hips + arms) * (across > 0), "air": (lung + gas) * np.minimum(soft / 60, 1)}


def draw_clutter(layers: Layers, size: float, rng: Rng) -> None:
    """Objects that are nobody's anatomy: pads, cables, jewellery, clips."""
    rows, columns = layers.field.shape
    extent = np.array([columns, rows]) * layers.field.pixel_mm
    for _ in range(rng.integers(0, 4)):
        place = np.array(layers.field.origin) + rng.random(2) * extent
        shape = ellipse(
            tuple(place),
            size * rng.uniform(0.1, 1.2),
            size * rng.uniform(0.1, 1.2),
            rng.uniform(0, 3),
            int(rng.integers(4, 9)),
        )
        layers.fill("bones", chaikin(shape, int(rng.integers(0, 3))), rng.uniform(0, 5), rng.uniform(0, 8), 1.0)
    if rng.random() < 0.1:
        path = (
            np.array(layers.field.origin)
            + np.cumsum(np.vstack([rng.random((1, 2)), rng.normal(0, 0.2, (5, 2))]), 0) * extent
        )
        layers.stroke("metal", chaikin(path), rng.uniform(0.7, 2.5), rng.uniform(0.3, 3))
