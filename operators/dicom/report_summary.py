"""What a report says first, in sentences: what was examined and how well, how it was numbered, what was measured.

Plain statements of what the measurements hold, the most important first; nothing is judged or named as a disease.
Numbers are rounded for reading: the exact ones stand in the groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from models.contracts import FoundStructure, Numbering, SpineStructure
from models.quantity import Lordosis, Quantity
from models.spinefm.morphometry import SpineMorphometry
from models.spineps.morphometry import VertebraMeasures, VolumeMorphometry

# Structures below the first are segmented but not reported, those below the second are called doubtful.
LEAST_CERTAINTY = 0.25
CERTAIN_FROM = 0.6

NUMBERED = {
    "landmark": "Numbering: counted from a landmark in view.",
    "assumed": "Numbering: assumed, no landmark is in view; the levels may all be off by the same number.",
    "unknown": "Numbering: not known, the levels were not named.",
}
UNITS = {"mm": " mm", "px": " pixels", "deg": " deg", "percent": " %", "mm2": " mm2"}


class Certain(Protocol):
    """A structure with a name and a certainty."""

    @property
    def label(self) -> str:
        """Segment Label."""

    @property
    def confidence(self) -> float:
        """0–1."""


class Body(Protocol):
    """What both engines measure on a vertebral body; None where it cannot be told."""

    @property
    def label(self) -> str:
        """Segment Label."""

    @property
    def anterior_height(self) -> Quantity | None:
        """In front."""

    @property
    def middle_height(self) -> Quantity | None:
        """Halfway."""

    @property
    def posterior_height(self) -> Quantity | None:
        """Behind."""

    @property
    def wedge_angle(self) -> Quantity | None:
        """Between the end-plates, positive where the body is lower in front."""


def is_reported(structure: Certain) -> bool:
    """Say whether a structure is certain enough for the report to hold measurements of it."""
    return structure.confidence >= LEAST_CERTAINTY


def certain_curves(
    lordoses: Sequence[Lordosis], structures: Sequence[FoundStructure | SpineStructure]
) -> tuple[Lordosis, ...]:
    """Return the curves that neither begin nor end at a structure that is left out."""
    doubted = {structure.level for structure in structures if not is_reported(structure)}
    return tuple(curve for curve in lordoses if doubted.isdisjoint((curve.upper_level, curve.lower_level)))


def left_out(structure: Certain) -> str:
    """Return the sentence on a structure of which the report holds nothing."""
    return (
        f"{structure.label} is left out: its certainty is {structure.confidence:.0%}, "
        f"below the {LEAST_CERTAINTY:.0%} that a report takes."
    )


def of_radiograph(measured: SpineMorphometry, structures: Sequence[FoundStructure], numbering: Numbering) -> list[str]:
    """Return the sentences on a radiograph."""
    told = [structure for structure in structures if is_reported(structure)]
    labels = {structure.label for structure in told}
    bodies = [vertebra for vertebra in measured.vertebrae if vertebra.label in labels]
    return [
        f"Examined: a lateral radiograph. {_found(told, 'vertebra', 'vertebrae')}",
        *_certainty(told),
        NUMBERED[numbering],
        *_curves(measured.lordoses),
        *_compressed(bodies),
        *_wedges(bodies),
        *_measured_at(bodies),
    ]


def of_volume(
    measured: VolumeMorphometry, structures: Sequence[SpineStructure], numbering: Numbering, slices: int
) -> list[str]:
    """Return the sentences on an MR volume of so many slices."""
    told = [structure for structure in structures if is_reported(structure)]
    labels = {structure.label for structure in told}
    bodies = [vertebra for vertebra in measured.vertebrae if vertebra.label in labels]
    vertebrae = _found([structure for structure in told if structure.kind == "vertebra"], "vertebra", "vertebrae")
    discs = _found([structure for structure in told if structure.kind == "disc"], "disc", "discs")
    return [
        f"Examined: a sagittal MR series of {slices} slices. {vertebrae} {discs}",
        *_certainty(told),
        NUMBERED[numbering],
        *_range(
            "antero-posterior canal diameter",
            [(canal.label, canal.ap_diameter) for canal in measured.canal if canal.label in labels],
        ),
        *_slipped(bodies),
        *_compressed(bodies),
        *_range("disc height", [(disc.label, disc.height) for disc in measured.discs if disc.label in labels]),
        *_wedges(bodies),
        *_curves(measured.lordoses),
        *_measured_at(bodies),
    ]


def _found(structures: Sequence[Certain], one: str, many: str) -> str:
    if not structures:
        return f"No {one} segmented."
    names = f"{structures[0].label}" + (f" to {structures[-1].label}" if len(structures) > 1 else "")
    return f"{len(structures)} {one if len(structures) == 1 else many} segmented, {names}."


def _certainty(structures: Sequence[Certain]) -> Iterator[str]:
    if structures:
        least = min(structures, key=lambda structure: structure.confidence)
        yield f"Certainty: at least {least.confidence:.0%} ({least.label})."
    doubtful = [f"{s.label} ({s.confidence:.0%})" for s in structures if s.confidence < CERTAIN_FROM]
    if doubtful:
        yield f"Doubtful, certainty below {CERTAIN_FROM:.0%}: {', '.join(doubtful)}."


def curve_sentence(lordosis: Lordosis) -> str:
    """Return a curve in words, without what it was measured by.

    >>> curve_sentence(Lordosis("T4", "T12", Quantity(-31.26, "deg")))
    'T4-T12 kyphosis 31.3 deg'
    """
    kind = "lordosis" if lordosis.angle.value >= 0 else "kyphosis"
    return f"{lordosis.upper_level}-{lordosis.lower_level} {kind} {abs(lordosis.angle.value):.1f} deg"


def _curves(lordoses: Sequence[Lordosis]) -> Iterator[str]:
    for lordosis in lordoses:
        yield f"Measured: {curve_sentence(lordosis)} (Cobb angle)."


def _wedges(bodies: Sequence[Body]) -> Iterator[str]:
    return _range("wedge angle, positive where lower in front", [(body.label, body.wedge_angle) for body in bodies])


def _compressed(bodies: Sequence[Body]) -> Iterator[str]:
    """Yield the lowest share of the anterior in the posterior height."""
    shares = [
        (body.label, Quantity(100 * body.anterior_height.value / body.posterior_height.value, "percent"))
        for body in bodies
        if body.anterior_height and body.posterior_height and body.posterior_height.value > 0
    ]
    return _range("anterior height as a share of the posterior", shares)


def _slipped(bodies: Sequence[VertebraMeasures]) -> Iterator[str]:
    """Yield the largest offset of a vertebra on the one below."""
    offsets = [
        (body.label, body.listhesis_offset, body.listhesis_percent)
        for body in bodies
        if body.listhesis_offset and body.listhesis_percent
    ]
    if offsets:
        label, offset, share = max(offsets, key=lambda each: abs(each[1].value))
        way = "forwards" if offset.value >= 0 else "backwards"
        length = _said(Quantity(abs(offset.value), offset.unit))
        yield (
            f"Measured: largest offset of a vertebra on the one below {length} {way}, "
            f"{abs(share.value):.0f} % of the end-plate ({label})."
        )


def _range(what: str, values: Sequence[tuple[str, Quantity | None]]) -> Iterator[str]:
    """Yield the lowest and the highest of values, each with its level."""
    known = sorted(((each, label) for label, each in values if each), key=lambda pair: pair[0].value)
    if len(known) == 1:
        yield f"Measured: {what} {_said(known[0][0])} ({known[0][1]})."
    elif known:
        (low, where_low), (high, where_high) = known[0], known[-1]
        yield f"Measured: {what} from {_said(low)} ({where_low}) to {_said(high)} ({where_high})."


def _measured_at(bodies: Sequence[Body]) -> Iterator[str]:
    if bodies:
        measured = sum(body.middle_height is not None for body in bodies)
        yield f"Heights were measured in {measured} of {len(bodies)} vertebrae."


def _said(quantity: Quantity) -> str:
    return f"{quantity.value:.1f}{UNITS[quantity.unit]}"
