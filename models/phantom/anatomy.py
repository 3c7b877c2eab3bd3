"""A parametric 3-D spine: which vertebrae there are, how large, and how they stand.

Frame of the phantom, in mm: x from the patient's right to the left (the ray of a lateral radiograph),
u from anterior to posterior, v from head to foot. A vertebra's own frame has its origin in the middle of
the body and its (u, v) axes turned by its pitch. Sizes are typical adult values (White & Panjabi,
*Clinical Biomechanics of the Spine*; Busscher et al. 2010), spread over sex, age and stature by chance.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.contracts import BodyRegion

LEVELS: tuple[str, ...] = (
    *(f"C{i}" for i in range(1, 8)),
    *(f"T{i}" for i in range(1, 13)),
    *(f"L{i}" for i in range(1, 7)),
    "S1",
)
LEVEL_VALUE: dict[str, int] = {level: value for value, level in enumerate(LEVELS, start=1)}

# level: width (x), depth (u), height (v) of the body and the disc below it, mm
BODY_SIZE_MM: dict[str, tuple[float, float, float, float]] = {
    "C2": (17.0, 15.0, 17.0, 5.0),
    "C3": (17.5, 15.4, 13.4, 5.2),
    "C4": (18.0, 15.4, 13.0, 5.3),
    "C5": (19.0, 15.6, 12.7, 5.4),
    "C6": (21.0, 16.4, 12.9, 5.6),
    "C7": (24.0, 16.8, 14.4, 5.2),
    "T1": (27.0, 16.6, 16.0, 4.4),
    "T2": (27.5, 17.6, 17.2, 4.2),
    "T3": (27.5, 18.6, 17.8, 4.2),
    "T4": (27.5, 20.0, 18.4, 4.4),
    "T5": (28.0, 21.6, 19.0, 4.6),
    "T6": (28.5, 23.4, 19.8, 4.8),
    "T7": (29.0, 25.0, 20.4, 5.0),
    "T8": (30.0, 26.4, 21.0, 5.4),
    "T9": (31.0, 27.6, 21.8, 5.8),
    "T10": (33.0, 28.6, 22.8, 6.4),
    "T11": (36.0, 29.4, 24.0, 6.8),
    "T12": (39.0, 30.0, 25.4, 7.4),
    "L1": (42.0, 30.8, 26.8, 8.4),
    "L2": (44.0, 32.0, 27.4, 9.6),
    "L3": (46.0, 33.0, 27.6, 10.6),
    "L4": (48.0, 33.4, 27.4, 11.2),
    "L5": (50.0, 33.6, 26.6, 10.4),
    "L6": (50.0, 33.6, 26.0, 9.0),
    "S1": (50.0, 31.0, 29.0, 1.6),
    "S2": (42.0, 22.0, 25.0, 1.2),
    "S3": (36.0, 17.0, 21.0, 1.0),
    "S4": (30.0, 13.0, 18.0, 1.0),
}
BODY_SIZE_MM["T13"] = BODY_SIZE_MM["T12"]
CERVICAL_CHAIN = ("C2", "C3", "C4", "C5", "C6", "C7", "T1", "T2", "T3", "T4")
LUMBAR_CHAIN = ("T8", "T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5")
SACRUM = ("S1", "S2", "S3", "S4")
CERVICAL = tuple(f"C{i}" for i in range(2, 8))
THORACIC = tuple(f"T{i}" for i in range(1, 13))
LUMBAR = tuple(f"L{i}" for i in range(1, 6))


@dataclass(frozen=True)
class BodyShape:
    """How one body differs from a box; lengths in mm in the vertebra's own frame.

    anterior_height, posterior_height: fractions of the nominal height (wedging).
    endplate_top, endplate_bottom: depth of the end-plates' hollow.
    wall_anterior, wall_posterior: depth of the walls' hollow.
    uncinate: height of the ridge on the sides of the upper end-plate (C3–C7).
    lip: how far the lower anterior corner reaches down.
    osteophytes: growth at the four corners (top anterior, top posterior, bottom posterior, bottom anterior).
    shear: forward shift of the top against the bottom.
    """

    anterior_height: float
    posterior_height: float
    endplate_top: float
    endplate_bottom: float
    wall_anterior: float
    wall_posterior: float
    uncinate: float
    lip: float
    osteophytes: tuple[float, float, float, float]
    shear: float
    roundness: int


@dataclass(frozen=True)
class Vertebra:
    """One vertebra in place.

    centre: (x, u, v) of the body in mm; size: (width, depth, height) in mm;
    pitch, yaw, roll in radians: turn in the sagittal plane, about the long axis, about the sagittal axis.
    disc_below: mm. fused_below: the disc below is bridged by bone.
    """

    level: str
    centre: NDArray[np.float64]
    size: tuple[float, float, float]
    pitch: float
    yaw: float
    roll: float
    disc_below: float
    shape: BodyShape
    fused_below: bool = False

    def to_phantom(self, x: float, uv: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Points (n, 2) of the sagittal section at `x` of the vertebra's own frame → phantom x and (n, 2) in mm."""
        u = uv[:, 0] - x * np.sin(self.yaw)
        v = uv[:, 1] + x * np.sin(self.roll)
        cos, sin = np.cos(self.pitch), np.sin(self.pitch)
        turned = np.stack([u * cos + v * sin, -u * sin + v * cos], 1)
        return float(self.centre[0] + x), turned + self.centre[1:]


@dataclass(frozen=True)
class Spine:
    """The vertebrae from the head downwards; `sacrum` holds S1 to S4 as further members at the end."""

    region: BodyRegion
    vertebrae: tuple[Vertebra, ...]
    stature: float
    age: float
    findings: tuple[str, ...] = field(default=())

    def __getitem__(self, level: str) -> Vertebra:
        return next(v for v in self.vertebrae if v.level == level)


def _draw_shape(rng: np.random.Generator, level: str, size: tuple[float, float, float], age: float) -> BodyShape:
    _, depth, height = size
    cervical = level.startswith("C")
    wedge = 1 - abs(rng.normal(0, 0.05))
    if rng.random() < 0.04 + 0.06 * age:
        wedge *= rng.uniform(0.68, 0.93)
    anterior, posterior = (wedge, 1.0) if rng.random() < 0.75 else (1.0, wedge)
    if level in ("L5", "L6"):
        posterior *= rng.uniform(0.8, 0.95)
    growth = rng.gamma(1.2, 0.06 * (0.3 + age)) * depth
    return BodyShape(
        anterior_height=anterior * rng.normal(1, 0.025),
        posterior_height=posterior * rng.normal(1, 0.025),
        endplate_top=height * rng.uniform(0.0, 0.11),
        endplate_bottom=height * rng.uniform(0.0, 0.15),
        wall_anterior=depth * rng.uniform(0.0, 0.10),
        wall_posterior=depth * rng.uniform(-0.01, 0.07),
        uncinate=height * rng.uniform(0.08, 0.35) if cervical and level != "C2" else 0.0,
        lip=height * abs(rng.normal(0, 0.08 if cervical else 0.03)),
        osteophytes=(
            growth * rng.random(),
            0.4 * growth * rng.random(),
            0.4 * growth * rng.random(),
            growth * rng.random(),
        ),
        shear=depth * rng.normal(0.03 if cervical else 0.0, 0.045),
        roundness=int(rng.integers(1, 4)),
    )


def _cervical_pitches(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    lordosis = rng.normal(4.0, 5.5)  # degrees a level: from kyphotic to markedly lordotic
    pitch = np.zeros(count)
    pitch[1] = rng.normal(-6, 11) - lordosis
    pitch[0] = pitch[1] - 0.5 * lordosis + rng.normal(0, 4)
    for i in range(2, count):
        pitch[i] = pitch[i - 1] + (lordosis if i < 6 else rng.normal(-5, 2)) + rng.normal(0, 2.5)
    return np.asarray(np.deg2rad(pitch), np.float64)


def _lumbar_pitches(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Thoracic kyphosis, then a lordosis that grows towards the sacrum; the last four are the sacrum."""
    lordosis = np.clip(rng.normal(46, 14), 8, 80)  # L1 to S1, degrees
    share = np.array([0.10, 0.13, 0.18, 0.24, 0.35]) * np.exp(rng.normal(0, 0.18, 5))
    steps = np.concatenate([rng.normal(-3.5, 2.0, count - 9), lordosis * share / share.sum(), rng.normal(-13, 6, 3)])
    pitch = np.concatenate([[0.0], np.cumsum(steps)])
    pitch += rng.normal(-lordosis * 0.42, 6) - pitch[count - 9]
    return np.deg2rad(pitch + rng.normal(0, 1.5, count))


def _whole_pitches(rng: np.random.Generator, chain: tuple[str, ...]) -> NDArray[np.float64]:
    """Cervical lordosis, thoracic kyphosis, lumbar lordosis; the person stands or lies about upright.

    Lordosis from C2 to C7 comes out at 10.5 ± 15.5 degrees over 600 people (Guo et al. 2018,
    doi 10.1186/s13018-018-0854-6: 12.7 on average in people without complaints); the spread is ours.
    """
    lordosis, kyphosis = rng.normal(2.6, 2.8), np.clip(rng.normal(36, 11), 12, 70)
    lumbar = np.clip(rng.normal(46, 13), 8, 80)
    count = {letter: sum(level[0] == letter for level in chain) for letter in "CTLS"}
    share = np.linspace(0.4, 1.6, count["L"]) * np.exp(rng.normal(0, 0.18, count["L"]))
    steps = np.concatenate(
        [
            lordosis + rng.normal(0, 2.5, count["C"] - 1),
            -kyphosis / count["T"] + rng.normal(0, 1.6, count["T"] + 1),
            lumbar * share / share.sum(),
            rng.normal(-13, 6, count["S"] - 1),
        ]
    )
    pitch = np.concatenate([[0.0], np.cumsum(steps)])
    heights = np.array([BODY_SIZE_MM[level][2] + BODY_SIZE_MM[level][3] for level in chain])
    upright = np.array([level[0] != "S" for level in chain])
    pitch -= (pitch * heights)[upright].sum() / heights[upright].sum() + rng.normal(0, 4)
    return np.asarray(np.deg2rad(pitch), np.float64)


def draw_spine(rng: np.random.Generator, region: BodyRegion) -> Spine:
    """Draw a spine around the cervical or the lumbar region.

    Args:
        rng: the only source of chance.
        region: "cervical" gives C2–T4, "lumbar" T8–S4.

    Returns:
        The spine, C3 or L3 at the origin of the phantom's (u, v).
    """
    findings: list[str] = []
    chain: tuple[str, ...] = CERVICAL_CHAIN
    if region == "lumbar":
        chain = LUMBAR_CHAIN + SACRUM
        if rng.random() < 0.015:
            chain = (*LUMBAR_CHAIN, "L6", *SACRUM)
            findings.append("lumbarised: L6")
    return _draw_column(rng, region, chain, findings)


def draw_whole_spine(rng: np.random.Generator) -> Spine:
    """Draw a spine from C2 to S4, with a vertebra more or less at the borders of the regions at times.

    Args:
        rng: the only source of chance.

    Returns:
        The spine, L3 at the origin of the phantom's (u, v).
    """
    thoracic, lumbar = THORACIC, LUMBAR
    findings: list[str] = []
    anomaly = rng.random()
    if anomaly < 0.010:
        lumbar, findings = (*LUMBAR, "L6"), ["lumbarised: L6"]
    elif anomaly < 0.016:
        lumbar, findings = LUMBAR[:-1], ["sacralised: no L5"]
    elif anomaly < 0.023:
        thoracic, findings = (*THORACIC, "T13"), ["thirteenth rib: T13"]
    elif anomaly < 0.028:
        thoracic, findings = THORACIC[:-1], ["no T12"]
    return _draw_column(rng, "thoracic", (*CERVICAL, *thoracic, *lumbar, *SACRUM), findings)


def _draw_column(rng: np.random.Generator, region: BodyRegion, chain: tuple[str, ...], findings: list[str]) -> Spine:
    count = len(chain)
    stature, age = float(np.clip(rng.normal(1, 0.085), 0.76, 1.26)), float(rng.random())
    aspect = float(np.exp(rng.normal(0, 0.09)))  # height against depth
    growth = np.exp(np.linspace(-0.5, 0.5, count) * rng.normal(0, 0.10))  # bodies grow faster or slower downwards
    sizes, discs = [], []
    disc_scale = float(np.exp(rng.normal(-0.02, 0.2)))
    for level, g in zip(chain, growth, strict=True):
        width, depth, height, disc = BODY_SIZE_MM[level]
        jitter = np.exp(rng.normal(0, 0.03, 3)) * stature * g
        sizes.append((width * jitter[0], depth * jitter[1] / aspect**0.5, height * jitter[2] * aspect**0.5))
        narrowed = rng.uniform(0.25, 0.7) if level[0] != "S" and rng.random() < 0.05 + 0.15 * age else 1.0
        discs.append(max(0.8, disc * stature * disc_scale * narrowed * float(np.exp(rng.normal(0, 0.13)))))
    if region == "thoracic":
        pitches = _whole_pitches(rng, chain)
    else:
        pitches = _cervical_pitches(rng, count) if region == "cervical" else _lumbar_pitches(rng, count)
    fused = rng.integers(1, count - 2) if rng.random() < 0.03 else -1
    if fused >= 0 and chain[fused][0] != "S":
        discs[fused] = 0.7
        findings.append(f"fused: {chain[fused]}")
    return _assemble(rng, _Column(region, chain, sizes, discs, pitches, int(fused), stature, age, tuple(findings)))


@dataclass(frozen=True)
class _Column:
    """The drawn measures of a chain before it is stacked; lists run down the spine, sizes and discs in mm."""

    region: BodyRegion
    chain: tuple[str, ...]
    sizes: list[tuple[float, float, float]]
    discs: list[float]
    pitches: NDArray[np.float64]
    fused: int
    stature: float
    age: float
    findings: tuple[str, ...]


def _stack(rng: np.random.Generator, column: _Column) -> NDArray[np.float64]:
    """Put the bodies on each other along their own axes, with a little slip → (n, 2) centres (u, v)."""
    downwards = np.stack([np.sin(column.pitches), np.cos(column.pitches)], 1)
    backwards = np.stack([np.cos(column.pitches), -np.sin(column.pitches)], 1)
    centres = np.zeros((len(column.chain), 2))
    for i in range(1, len(column.chain)):
        between = downwards[i - 1] + downwards[i]
        between /= np.linalg.norm(between)
        above, below = column.sizes[i - 1], column.sizes[i]
        slip = rng.normal(0, 0.02 if rng.random() > 0.08 else 0.09) * below[1]
        step = downwards[i - 1] * above[2] / 2 + between * column.discs[i - 1] + downwards[i] * below[2] / 2
        centres[i] = centres[i - 1] + step + slip * backwards[i]
    centres -= centres[column.chain.index("C3" if column.region == "cervical" else "L3")]
    return centres


def _assemble(rng: np.random.Generator, column: _Column) -> Spine:
    """Stack the bodies and bend the stack sideways: scoliosis, rotation, tilt."""
    centres = _stack(rng, column)
    phase, bend = rng.uniform(0, 2 * np.pi), abs(rng.normal(0, 4)) if rng.random() < 0.85 else rng.uniform(5, 25)
    wave = phase + np.arange(len(column.chain)) * rng.uniform(0.25, 0.6)
    tilt, turn = rng.normal(0, 0.045), rng.normal(0, 0.06)
    vertebrae = tuple(
        Vertebra(
            level=level,
            centre=np.array([bend * np.sin(wave[i]) + tilt * centres[i, 1], *centres[i]]),
            size=column.sizes[i],
            pitch=float(column.pitches[i]),
            yaw=float(turn + 0.012 * bend * np.sin(wave[i]) + rng.normal(0, 0.03)),
            roll=float(tilt + 0.012 * bend * np.cos(wave[i]) + rng.normal(0, 0.02)),
            disc_below=column.discs[i],
            shape=_draw_shape(rng, level, column.sizes[i], column.age),
            fused_below=i == column.fused,
        )
        for i, level in enumerate(column.chain)
    )
    return Spine(column.region, vertebrae, column.stature, column.age, column.findings)
