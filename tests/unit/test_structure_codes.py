"""Every structure of SPINEPS and every disc has a code that means it, its side, and a colour of its own."""

from __future__ import annotations

from itertools import pairwise

import pytest
import yaml
from pydicom.sr.codedict import codes as dictionary

from models.contracts import SpineStructure, StructureKind
from operators.dicom import codes
from operators.dicom.structure_codes import STRUCTURES_FILE, concept_of

CONTENT = yaml.safe_load(STRUCTURES_FILE.read_text(encoding="utf-8"))
# The labels that SPINEPS publishes, and those that only some of its packs have.
PUBLISHED = (26, 41, 42, 43, 44, 45, 46, 47, 48, 49, 60, 61, 62, 100)
OTHERS = (50, 51)
# In SNOMED CT (body structure), but in no context group of PS3.16.
NOT_IN_THE_DICTIONARY = {"3572006": "Body of vertebra", "1172006": "Odontoid process of axis",
                         codes.DISC.value: "Intervertebral disc"}  # fmt: skip
LEVELS = codes.known_levels()
LEFT_AND_RIGHT = ((43, 44), (45, 46), (47, 48))


def structure(kind: StructureKind, label: str, *, spineps_label: int = 0, number: int = 1) -> SpineStructure:
    """Return a structure of that kind and label."""
    level = label.partition("/")[0] if kind != "substructure" and label[:1] in "CTLS" else None
    return SpineStructure(number, label, kind, level, spineps_label, 1.0, (0.0, 0.0, 0.0), 1.0)


def substructure(spineps_label: int) -> SpineStructure:
    """Return a structure of SPINEPS."""
    return structure("substructure", "a substructure", spineps_label=spineps_label)


def test_every_label_of_spineps_is_in_the_table() -> None:
    """The fourteen published ones, core and dens."""
    assert set(CONTENT["substructures"]) == {*PUBLISHED, *OTHERS}


@pytest.mark.parametrize("label", [*PUBLISHED, *OTHERS])
def test_the_code_of_a_structure_is_looked_up(label: int) -> None:
    """In pydicom's copy of PS3.16, whose entries also say it longer; else it is known from SNOMED CT, or our own."""
    code = concept_of(substructure(label)).code

    if code.scheme_designator == codes.PRIVATE_SCHEME:
        assert code.value in {"BODY-CORE", "ENDPLATE"}
    elif code.value in NOT_IN_THE_DICTIONARY:
        assert code.meaning == NOT_IN_THE_DICTIONARY[code.value]
    else:
        listed = [getattr(dictionary.SCT, name) for name in dictionary.SCT.dir()]
        meanings = {entry.meaning.lower() for entry in listed if entry.value == code.value}
        assert any(code.meaning.lower() in meaning for meaning in meanings), (
            f"{code.value} means {meanings or 'nothing known'}"
        )


@pytest.mark.parametrize(("left", "right"), LEFT_AND_RIGHT)
def test_left_and_right_differ_by_the_modifier_and_the_colour(left: int, right: int) -> None:
    """One code for both, as SNOMED CT has laterality apart from the structure."""
    one, other = concept_of(substructure(left)), concept_of(substructure(right))

    assert one.code == other.code
    assert (one.side, other.side) == (codes.LEFT, codes.RIGHT)
    assert one.colour != other.colour


def test_what_lies_in_the_middle_has_no_side() -> None:
    """No modifier on a body or a cord."""
    paired = {label for pair in LEFT_AND_RIGHT for label in pair}

    assert [label for label in CONTENT["substructures"] if concept_of(substructure(label)).side] == sorted(paired)


def test_no_two_structures_share_a_colour() -> None:
    """They touch each other everywhere."""
    colours = [concept_of(substructure(label)).colour for label in CONTENT["substructures"]]

    assert len(set(colours)) == len(colours)


def test_every_disc_of_a_usual_spine_has_its_own_code() -> None:
    """C2/C3 to L5/S1, each looked up in CID 7604 with its meaning."""
    group = dictionary.cid7604
    listed = {getattr(group, name).meaning: getattr(group, name).value for name in group.dir()}
    usual = [level for level in LEVELS[1:] if level not in {"T13", "L6"}]
    labels = [f"{upper}/{lower}" for upper, lower in pairwise(usual)]

    assert [*CONTENT["discs"]] == labels
    found = {label: concept_of(structure("disc", label)).code for label in labels}
    assert {label: code.value for label, code in found.items()} == {label: listed[f"{label} disc"] for label in labels}
    assert {code.meaning for code in found.values()} == {f"{label} disc" for label in labels}


@pytest.mark.parametrize("label", ["L5/L6", "L6/S1", "T12/T13", "T13/L1", "T11/L1", "disc below L5", "disc 3"])
def test_a_disc_of_a_transitional_or_unknown_place_is_coded_as_a_disc(label: str) -> None:
    """The code of L5/S1 would be wrong for L5/L6: the label tells it, the code does not pretend."""
    assert concept_of(structure("disc", label)).code == codes.DISC


def test_a_disc_differs_in_colour_from_the_vertebrae_and_discs_around_it() -> None:
    """Down a usual spine, and where nothing is known."""
    usual = [level for level in LEVELS[1:] if level not in {"T13", "L6"}]
    known = []
    for upper, lower in pairwise(usual):
        known += [structure("vertebra", upper), structure("disc", f"{upper}/{lower}")]
    unknown = [
        structure("vertebra" if number % 2 else "disc", f"number {number}", number=number) for number in range(1, 20)
    ]

    for column in (known, unknown):
        colours = [concept_of(item).colour for item in column]
        assert all(colours[i] not in colours[i + 1 : i + 3] for i in range(len(colours) - 1))
