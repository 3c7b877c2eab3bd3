"""What the numbers mean in label volumes that carry no names: SPINEPS' two maps, and SPIDER's.

- SPINEPS, structures: 41–51, 60–62, 100 the discs, 26 the sacrum.
- SPINEPS, vertebrae: a number per vertebra (C1–C7, T1–T12, L1–L6 in one count, 26 the sacrum, 28 T13), 100 more for
  the disc below it, 200 more for its end-plates.
- SPIDER (van der Graaf et al., Scientific Data 2024): vertebrae counted from the lowest lumbar one upwards, 100 more
  for one that the border cuts, 100 the canal with all that is in it, 200 more for the disc below a vertebra. The count
  starts at L5 by the data set's own word, so six lumbar vertebrae shift its names.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from models.spineps.answer import SUBSTRUCTURES
from operators.dicom.label_images.array_files import LEVEL_OF_VALUE

DISC, END_PLATE, PARTIAL = 100, 200, 100
"""Added to a vertebra's number: SPINEPS' disc and end-plates, SPIDER's cut vertebra."""

_UPWARDS = tuple(
    f"{region}{number}" for region, count in (("L", 5), ("T", 12), ("C", 7)) for number in range(count, 0, -1)
)
_SPIDER_LEVELS = dict(enumerate(_UPWARDS, start=1))
_SPIDER_CANAL = 100
_ONLY_STRUCTURES = frozenset(value for value in SUBSTRUCTURES if 41 <= value <= 62)


@dataclass(frozen=True)
class Scheme:
    """A numbering of structures.

    names: the level or label of each value it knows. partial: values of vertebrae that the border cuts.
    """

    name: str
    names: Mapping[int, str]
    partial: Collection[int] = field(default_factory=frozenset)


SPINEPS_STRUCTURES = Scheme("SPINEPS' structures", SUBSTRUCTURES)
SPINEPS_VERTEBRAE = Scheme(
    "SPINEPS' vertebrae",
    {**LEVEL_OF_VALUE}
    | {DISC + value: f"disc below {level}" for value, level in LEVEL_OF_VALUE.items()}
    | {END_PLATE + value: "vertebral end-plate" for value in LEVEL_OF_VALUE},
)
SPIDER = Scheme(
    "SPIDER's",
    {**_SPIDER_LEVELS, _SPIDER_CANAL: "spinal canal with cord"}
    | {PARTIAL + value: level for value, level in _SPIDER_LEVELS.items()}
    | {200 + value: f"disc below {level}" for value, level in _SPIDER_LEVELS.items()},
    partial=frozenset(PARTIAL + value for value in _SPIDER_LEVELS),
)


def scheme_of(values: Collection[int], *, ending: str) -> Scheme:
    """Tell the numbering of a label volume by the values it holds; SPIDER's files end in `.mha`.

    >>> scheme_of({23, 24, 123}, ending=".nii.gz").names[123], scheme_of({1, 2, 100, 201}, ending=".mha").names[201]
    ('disc below L4', 'disc below L5')
    """
    if not _ONLY_STRUCTURES.isdisjoint(values):
        return SPINEPS_STRUCTURES
    return SPIDER if _SPIDER_CANAL in values or ending == ".mha" else SPINEPS_VERTEBRAE
