"""The parts of a vertebra as solids: stacks of sagittal sections, each an outline in the vertebra's own frame.

A section stands for a slab of bone of some thickness along x. A lateral radiograph sums the slabs along its
ray; a sagittal MR volume will cut the same stack. Outlines are (n, 2) arrays of (u, v) in mm.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.phantom.anatomy import BodyShape, Vertebra

Outline = NDArray[np.float64]


@dataclass(frozen=True)
class Section:
    """A slab of a part: `outline` (n, 2) in mm, at `x` mm, `thickness` mm along x.

    density: cancellous bone relative to 1; cortex: thickness of the dense rim in mm (0: none).
    """

    outline: Outline
    x: float
    thickness: float
    density: float
    cortex: float


@dataclass(frozen=True)
class PosteriorStyle:
    """What one person's arches have in common (fractions of body depth or height, angles in radians)."""

    offset: float
    width: float
    lean: float
    droop: float
    spinous_length: float
    spinous_height: float
    asymmetry: float
    density: float
    cortex: float

    @staticmethod
    def draw(rng: np.random.Generator) -> "PosteriorStyle":
        """Draw the style of one person."""
        return PosteriorStyle(
            offset=rng.uniform(-0.24, 0.12),
            width=rng.uniform(0.45, 0.8),
            lean=rng.uniform(0.3, 1.2),
            droop=rng.uniform(0.05, 0.6),
            spinous_length=rng.uniform(0.7, 1.35),
            spinous_height=rng.uniform(0.7, 1.9),
            asymmetry=rng.uniform(0, 0.12),
            density=rng.uniform(0.5, 1.3),
            cortex=rng.uniform(0.4, 1.4),
        )


def smooth(outline: Outline, passes: int) -> Outline:
    """Round a closed outline's corners by repeated neighbour averaging, the number of points unchanged."""
    for _ in range(passes):
        outline = 0.25 * np.roll(outline, 1, 0) + 0.5 * outline + 0.25 * np.roll(outline, -1, 0)
    return outline


def chaikin(outline: Outline, passes: int = 2) -> Outline:
    """Round a closed outline by cutting its corners (Chaikin 1974)."""
    for _ in range(passes):
        following = np.roll(outline, -1, 0)
        outline = np.stack([0.75 * outline + 0.25 * following, 0.25 * outline + 0.75 * following], 1).reshape(-1, 2)
    return outline


def moved_aside(line: Outline, distance: float) -> Outline:
    """A line (n, 2) moved across its direction by a distance in mm; a part of a body's outline moves away from it."""
    along = np.gradient(line, axis=0)
    across = np.stack([along[:, 1], -along[:, 0]], 1) / np.linalg.norm(along, axis=1, keepdims=True)
    return np.asarray(line + distance * across)


def ellipse(centre: tuple[float, float], half_u: float, half_v: float, turn: float = 0.0, points: int = 20) -> Outline:
    """An ellipse with its half axes in mm, turned by `turn` radians."""
    t = np.linspace(0, 2 * np.pi, points, endpoint=False)
    u, v = half_u * np.cos(t), half_v * np.sin(t)
    return np.stack(
        [centre[0] + u * np.cos(turn) - v * np.sin(turn), centre[1] + u * np.sin(turn) + v * np.cos(turn)], 1
    )


def body_outline(size: tuple[float, float, float], shape: BodyShape, side: float = 0.0) -> Outline:
    """The body's sagittal section.

    Args:
        size: (width, depth, height) in mm.
        shape: how the body differs from a box.
        side: |x| as a fraction of half the width; 0 is the midline.

    Returns:
        (32, 2) points from the upper anterior corner backwards, down, forwards and up.
    """
    _, depth, height = size
    narrow = (1 - min(side, 0.999) ** 2.6) ** (1 / 2.6)
    front = -depth / 2 * narrow
    back = depth / 2 * (1 - 0.14 * side**2) if side < 0.9 else depth / 2 * 0.75
    half_a, half_p = height / 2 * shape.anterior_height, height / 2 * shape.posterior_height
    o = shape.osteophytes
    corners = np.array(
        [
            [front + shape.shear - o[0], -half_a],
            [back + shape.shear + o[1], -half_p],
            [back - shape.shear + o[2], half_p],
            [front - shape.shear - o[3], half_a + shape.lip],
        ]
    )
    hollow = np.array(
        [
            [0, shape.endplate_top * (1 - side**2)],
            [-shape.wall_posterior, 0],
            [0, -shape.endplate_bottom * (1 - side**2)],
            [shape.wall_anterior, 0],
        ]
    )
    edges = []
    for k, n in enumerate((10, 6, 10, 6)):
        t = np.linspace(0, 1, n, endpoint=False)[:, None]
        edges.append(corners[k] + (corners[(k + 1) % 4] - corners[k]) * t + np.sin(np.pi * t) * hollow[k])
    outline = np.concatenate(edges)
    if shape.uncinate and side > 0.45:
        rise = shape.uncinate * min((side - 0.45) / 0.4, 1.0)
        back_part = np.clip((outline[:10, 0] - front) / (back - front + 1e-6) * 1.6 - 0.3, 0, 1)
        outline[:10, 1] -= rise * back_part
        outline[16:26, 1] -= 0.6 * rise * back_part[::-1]
    return smooth(outline, shape.roundness)


def body_truth(vertebra: Vertebra) -> Outline:
    """The outline an annotator draws: the midline section bridged straight from corner to corner, own frame, mm."""
    from scipy.spatial import ConvexHull  # noqa: PLC0415 - 40 ms of import that only the truth needs

    points = axis_outline(vertebra) if vertebra.level == "C2" else body_outline(vertebra.size, vertebra.shape)
    return points if vertebra.level == "C2" else points[ConvexHull(points).vertices]


AXIS_LOWER = 12  # points of the axis' outline along its lower end-plate, from front to back


def axis_outline(vertebra: Vertebra) -> Outline:
    """The axis with its dens from the side: (n, 2) of (u, v), mm, in its own frame, closed."""
    _, d, h = vertebra.size
    lean, top = 0.10 * d + vertebra.shape.shear, h * (0.95 + vertebra.shape.anterior_height * 0.35)
    w = d * (0.24 + 0.5 * vertebra.shape.wall_anterior / d)
    corners = [
        (-0.50 * d, 0.46 * h + vertebra.shape.lip),
        (-0.2 * d, 0.46 * h - vertebra.shape.endplate_bottom * 0.5),
        (0.2 * d, 0.44 * h - vertebra.shape.endplate_bottom * 0.5),
        (0.5 * d, 0.42 * h),
        (0.47 * d, 0.05 * h),
        (0.42 * d, -0.35 * h),
        (w + lean, -0.6 * h),
        (w + lean, -0.35 * h - top * 0.8),
        (lean, -0.35 * h - top),
        (lean - w, -0.35 * h - top * 0.75),
        (lean * 0.5 - 1.05 * w, -0.5 * h),
        (-0.40 * d, -0.05 * h),
        (-0.52 * d, 0.40 * h),
    ]
    return chaikin(np.array(corners), 2)


def body_sections(vertebra: Vertebra, density: float, cortex: float, slabs: int = 9) -> Iterator[Section]:
    """The body (for C2 with the dens) as sagittal slabs, thinner towards the sides where the outline changes fast."""
    width = vertebra.size[0]
    edges = np.sin(np.linspace(-np.pi / 2, np.pi / 2, slabs + 1)) * width / 2
    for left, right in zip(edges[:-1], edges[1:], strict=True):
        x = (left + right) / 2
        side = abs(2 * x / width)
        face = 0.8 * cortex if side > 0.85 else 0.0
        outline = body_outline(vertebra.size, vertebra.shape, side)
        if vertebra.level == "C2":
            if side < 0.55:
                outline = axis_outline(vertebra)
                outline = outline.mean(0) + (outline - outline.mean(0)) * (1 - 0.12 * side)
            else:
                outline = outline * [0.92, 1.0] - [0, 0.1 * vertebra.size[2]]
        yield Section(outline, float(x), float(right - left + face), density, cortex)


def _plate(corners: list[tuple[float, float]], rng: np.random.Generator, scatter: float) -> Outline:
    return chaikin(np.array(corners) + rng.normal(0, scatter, (len(corners), 2)), 2)


def arch_sections(vertebra: Vertebra, style: PosteriorStyle, rng: np.random.Generator) -> Iterator[Section]:
    """Pedicles, articular and transverse processes, laminae and the spinous process."""
    maker = _cervical_arch if vertebra.level.startswith("C") else _thoracolumbar_arch
    sides = [1 + rng.normal(0, style.asymmetry) for _ in range(2)]
    for part_x, thickness, outline, weight in maker(vertebra, style, rng):
        if part_x == 0:
            yield Section(outline, 0.0, thickness, style.density * weight, style.cortex)
            continue
        for sign, scale in zip((-1, 1), sides, strict=True):
            yield Section(outline * scale, sign * part_x, thickness, style.density * weight, style.cortex)


_Part = tuple[float, float, Outline, float]


def _cervical_arch(vertebra: Vertebra, style: PosteriorStyle, rng: np.random.Generator) -> Iterator[_Part]:
    w, d, h = vertebra.size
    s = h + vertebra.disc_below
    jitter = 0.03 * d
    yield (
        0.42 * w,
        4.5,
        _plate([(0.3 * d, -0.32 * s), (0.8 * d, -0.34 * s), (0.8 * d, 0.05 * s), (0.3 * d, 0.0)], rng, jitter),
        1.2,
    )
    u0, u1 = (0.42 + style.offset) * d, (0.42 + style.offset + style.width) * d
    k = 0.5 * (u1 - u0) * style.lean
    pillar = [
        (u0, -0.44 * s - k),
        ((u0 + u1) / 2, -0.44 * s),
        (u1, -0.40 * s + k),
        (u1, 0.1 * s + 0.6 * k),
        (u1, 0.5 * s + k),
        ((u0 + u1) / 2, 0.5 * s),
        (u0, 0.5 * s - k),
        (u0, 0.0 - k),
    ]
    for x, t in ((0.52 * w, 4.0), (0.72 * w, 5.0), (0.9 * w, 3.5)):
        yield x, t, _plate(pillar, rng, jitter), 0.8
    yield (
        0.85 * w,
        4.0,
        ellipse((rng.uniform(-0.05, 0.3) * d, rng.uniform(-0.15, 0.2) * h), 0.24 * d, 0.3 * h, rng.uniform(0, 3)),
        0.7,
    )
    lamina = [
        (u1 - 0.1 * d, -0.25 * s + k),
        (u1 + 0.22 * d, -0.1 * s + k),
        (u1 + 0.3 * d, 0.45 * s + k),
        (u1, 0.4 * s + k),
    ]
    yield 0.3 * w, 4.0, _plate(lamina, rng, jitter), 1.1
    long = {"C2": 1.5, "C3": 1.05, "C4": 1.05, "C5": 1.15, "C6": 1.4, "C7": 1.9}[vertebra.level]
    root, thick = (u1, 0.1 * s + 0.5 * k), d * (1.4 if vertebra.level == "C2" else 1.0)
    yield 0, 8.0, _spinous(long * d * style.spinous_length, root, thick, style, rng), 0.8


def _spinous(
    length: float, root: tuple[float, float], d: float, style: PosteriorStyle, rng: np.random.Generator
) -> Outline:
    reach = np.array([0, 0.35, 0.7, 1.0]) * length * np.exp(rng.normal(0, 0.12))
    angle = style.droop + rng.normal(0, 0.09)
    half = 0.21 * d * style.spinous_height * np.array([1.1, 0.9, 0.95, 0.75]) * np.exp(rng.normal(0, 0.12, 4))
    cu, cv = root[0] + reach * np.cos(angle), root[1] + reach * np.sin(angle)
    return chaikin(np.concatenate([np.stack([cu, cv - half], 1), np.stack([cu, cv + half], 1)[::-1]]), 2)


# Outlines of thoracic and lumbar parts: u in body depths, v in body heights with the disc below.
SUPERIOR_ARTICULAR = ((0.72, -0.85), (0.95, -0.92), (1.08, -0.3), (0.98, 0.05), (0.75, -0.1))
INFERIOR_ARTICULAR = ((0.92, -0.2), (1.2, -0.15), (1.22, 0.4), (1.12, 0.8), (0.95, 0.7), (0.98, 0.2))
LAMINA = ((1.05, 0.0), (1.35, 0.05), (1.4, 0.6), (1.15, 0.55))


def _thoracolumbar_arch(vertebra: Vertebra, style: PosteriorStyle, rng: np.random.Generator) -> Iterator[_Part]:
    w, d, h = vertebra.size
    s = h + vertebra.disc_below
    jitter = 0.02 * d
    lumbar = vertebra.level[0] == "L"
    o = style.offset * d
    pedicle = [(0.4 * d, -0.46 * h), (0.95 * d + o, -0.5 * h), (0.95 * d + o, 0.0), (0.4 * d, 0.04 * h)]
    for x, t in ((0.33 * w, 5.0), (0.42 * w, 5.0)):
        yield x, t, _plate(pedicle, rng, jitter), 1.2
    superior = [(u * d + o, v * s) for u, v in SUPERIOR_ARTICULAR]
    inferior = [(u * d + o, v * s) for u, v in INFERIOR_ARTICULAR]
    for x in (0.36 * w, 0.5 * w):
        yield x, 5.0, _plate(superior, rng, 2 * jitter), 1.1
        yield x * 0.9, 5.0, _plate(inferior, rng, 2 * jitter), 1.1
    transverse = ellipse((rng.uniform(0.6, 0.9) * d, -0.15 * h), 0.18 * d, 0.16 * h, rng.uniform(-0.4, 0.4))
    for x in (0.65 * w, 0.9 * w):
        yield x, 8.0, transverse, 0.7
    yield 0.2 * w, 5.0, _plate([(u * d + o, v * s) for u, v in LAMINA], rng, jitter), 1.1
    if lumbar:
        long, drop = d * 0.95 * style.spinous_length, style.droop * 0.3
        block = [
            (1.25 * d + o, -0.02 * s),
            (1.25 * d + o + long * 0.9, 0.05 * s + drop * long),
            (1.25 * d + o + long, 0.35 * s + drop * long),
            (1.25 * d + o + long * 0.9, 0.72 * s * style.spinous_height**0.5 + drop * long),
            (1.25 * d + o, 0.55 * s),
        ]
        yield 0, 9.0, _plate(block, rng, 1.5 * jitter), 0.7
    else:
        yield 0, 6.0, _spinous(1.5 * d * style.spinous_length, (1.2 * d + o, 0.3 * s), 0.6 * d, style, rng), 0.7
