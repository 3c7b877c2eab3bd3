"""Measurements on MR phantoms against what is true of their anatomy, without a voxel (`models.phantom.mr_truth`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from models.phantom.mr import MrRegion, mr_phantom
from models.phantom.mr_truth import PersonTruth, drawn_person, true_measures
from models.quantity import Quantity
from models.spineps.morphometry import VolumeMorphometry, measure_volume
from tests.labelled_volume import painted, result_of

# The first four of each region from seed 12 that have both ends of the region's curve in view and no anomaly.
PEOPLE: tuple[tuple[int, MrRegion], ...] = (
    *((seed, "cervical") for seed in (13, 14, 15, 16)),
    *((seed, "thoracic") for seed in (12, 14, 16, 17)),
    *((seed, "lumbar") for seed in (12, 13, 14, 16)),
)
# Bound, of which share of the values, and no value beyond: in voxels within a slice for lengths, else degrees or a
# share. Half a voxel and 2 degrees are what is asked for; a few end-plates that run along the rows miss them, since a
# mask tells the place of such an edge to half a voxel only.
BOUNDS: dict[str, tuple[float, float, float]] = {
    "anterior height": (0.5, 0.95, 1.0),
    "middle height": (0.5, 0.95, 1.0),
    "posterior height": (0.5, 0.95, 1.0),
    "wedge angle": (2.0, 0.95, 4.0),
    "listhesis": (0.5, 0.95, 1.0),
    "disc height": (0.5, 0.95, 1.0),
    "disc height index": (0.05, 0.95, 0.1),
    "canal diameter": (0.5, 0.95, 1.0),
    "canal area": (0.1, 0.95, 0.2),
    "lordosis": (2.0, 1.0, 2.0),
}
LENGTHS = {"anterior height", "middle height", "posterior height", "listhesis", "disc height", "canal diameter"}


@dataclass(frozen=True)
class Deviation:
    """What was measured less what is true, in the unit of its bound."""

    kind: str
    where: str
    value: float


def compared(
    measured: VolumeMorphometry, truth: PersonTruth, levels: dict[int, str]
) -> Iterator[tuple[str, str, Quantity | None, float]]:
    """Pair every value with its truth: kind, level, measured, true."""
    for vertebra in measured.vertebrae:
        level = levels[vertebra.segment_number]
        if level in truth.bodies and level != "C2":
            body = truth.bodies[level]
            found = (vertebra.anterior_height, vertebra.middle_height, vertebra.posterior_height)
            for name, quantity, true in zip(("anterior", "middle", "posterior"), found, body.heights, strict=True):
                yield f"{name} height", level, quantity, true
            yield "wedge angle", level, vertebra.wedge_angle, body.wedge_angle
        if level in truth.listheses:
            yield "listhesis", level, vertebra.listhesis_offset, truth.listheses[level][0]
    for disc in measured.discs:
        if levels[disc.segment_number] not in truth.discs:
            continue
        height, index = truth.discs[levels[disc.segment_number]]
        yield "disc height", disc.label, disc.height, height
        yield "disc height index", disc.label, disc.height_index, index
    for canal in measured.canal:
        diameter, area = truth.canal[canal.label]
        yield "canal diameter", canal.label, canal.ap_diameter, diameter
        yield "canal area", canal.label, Quantity(canal.area.value / area - 1, "ratio"), 0.0
    for lordosis in measured.lordoses:
        pair = (lordosis.upper_level, lordosis.lower_level)
        if pair in truth.lordoses:
            yield "lordosis", "–".join(pair), lordosis.angle, truth.lordoses[pair]


@cache
def deviations() -> tuple[Deviation, ...]:
    """Measure everybody once."""
    found = []
    for seed, region in PEOPLE:
        grid, column, _ = drawn_person(seed, region=region)
        structures, vertebrae, affine = painted(grid, column)
        result = result_of(structures, vertebrae, affine)
        levels = {s.segment_number: s.level or "" for s in result.vertebrae}
        truth = true_measures(column, set(levels.values()), pixel_mm=grid.plane.mm)
        for kind, level, quantity, true in compared(measure_volume(result, affine), truth, levels):
            if quantity is not None:
                scale = grid.plane.mm if kind in LENGTHS else 1.0
                found.append(Deviation(kind, f"{seed} {region} {level}", (quantity.value - true) / scale))
    return tuple(found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOUNDS)
def test_every_measurement_keeps_to_the_anatomy_of_twelve_people(kind: str) -> None:
    """Half a voxel, 2 degrees."""
    bound, share, most = BOUNDS[kind]

    off = {deviation.where: abs(deviation.value) for deviation in deviations() if deviation.kind == kind}
    values = np.array(list(off.values()))

    worst = max(off, key=lambda where: off[where])
    assert len(values) >= 10
    assert (values <= bound).mean() >= share, f"{(values <= bound).sum()} of {len(values)} within {bound}"
    assert off[worst] <= most, f"{worst} is off by {off[worst]:.2f}"


@pytest.mark.slow
def test_measurements_lean_to_no_side() -> None:
    """On average lengths are right to a seventh of a voxel and angles to a third of a degree."""
    for kind in BOUNDS:
        values = [deviation.value for deviation in deviations() if deviation.kind == kind]

        assert abs(float(np.mean(values))) < (1 / 7 if kind in LENGTHS else 1 / 3), kind


def test_the_truth_is_drawn_of_the_person_that_the_phantom_shows() -> None:
    """The same seed: the same field of view, findings, and bodies in the same places."""
    made = mr_phantom(12, region="lumbar")
    grid, column, findings = drawn_person(12, region="lumbar")
    truth = true_measures(column, ["L2", "L3", "L4"])

    assert made.findings == findings
    assert made.voxels.shape == (len(grid.xs), *grid.plane.shape)
    masks = [(made.vertebrae == number) & (made.subregions == 49) for number in (21, 22, 23)]
    seen = [made.affine[:3, :3] @ np.argwhere(mask).mean(0) for mask in masks]
    true = [truth.bodies[level].corners.mean(0) for level in ("L2", "L3", "L4")]
    for (a, b), (c, d) in zip(zip(seen, seen[1:], strict=False), zip(true, true[1:], strict=False), strict=True):
        assert np.linalg.norm(b - a) == pytest.approx(float(np.linalg.norm(d - c)), abs=2.0)
