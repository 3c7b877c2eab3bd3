"""Every code that a result carries stands in PS3.16 or is declared as our own."""

from __future__ import annotations

from itertools import pairwise

import pytest
from pydicom.sr.codedict import codes as dictionary
from pydicom.sr.coding import Code

from models.contracts import FoundStructure
from operators.dicom import codes

WITHOUT_A_CODE_OF_THEIR_OWN = {"T13", "L6"}
CONCEPTS = [value for value in vars(codes).values() if isinstance(value, Code)] + [*codes.REGIONS.values()]
# In SNOMED CT, but in no context group of PS3.16.
NOT_IN_THE_DICTIONARY = {codes.DISC}
STANDARD_CONCEPTS = [
    concept
    for concept in CONCEPTS
    if concept.scheme_designator != codes.PRIVATE_SCHEME and concept not in NOT_IN_THE_DICTIONARY
]


def structure(level: str | None, number: int = 1) -> FoundStructure:
    """Return a structure of that level."""
    return FoundStructure(number, level or f"vertebra {number}", level, 1.0, (0.0, 0.0))


def listed_in(cid: int) -> set[Code]:
    """Return the concepts of a context group as pydicom lists them."""
    group = getattr(dictionary, f"cid{cid}")
    return {getattr(group, name) for name in group.dir()}


def test_the_table_goes_from_the_atlas_to_the_sacrum() -> None:
    """Seven cervical, thirteen thoracic, six lumbar levels and S1, in the order of the body."""
    expected = (
        [f"C{n}" for n in range(1, 8)] + [f"T{n}" for n in range(1, 14)] + [f"L{n}" for n in range(1, 7)] + ["S1"]
    )

    assert list(codes.known_levels()) == expected


@pytest.mark.parametrize("level", [*codes.known_levels()])
def test_the_code_of_a_level_is_the_one_of_cid_7151(level: str) -> None:
    """Value and meaning are looked up, not believed; a level has its own code but for T13 and L6."""
    code = codes.level_of(structure(level)).code

    (listed,) = [entry for entry in listed_in(7151) if entry.value == code.value]
    assert (listed.scheme_designator, listed.meaning) == ("SCT", code.meaning)
    if level == "S1":
        assert code.meaning == "Sacrum"
    else:
        assert code.meaning == ("Vertebra" if level in WITHOUT_A_CODE_OF_THEIR_OWN else f"{level} vertebra")


@pytest.mark.parametrize("level", [None, "T14", "C9", "transitional"])
def test_an_unknown_level_is_coded_as_vertebra(level: str | None) -> None:
    """The label tells it, the code does not pretend."""
    assert codes.level_of(structure(level)).code == codes.VERTEBRA


def test_neighbours_never_share_a_colour() -> None:
    """Down the spine and down a run of unknown levels."""
    known = [codes.level_of(structure(level)).colour for level in codes.known_levels()]
    unknown = [codes.level_of(structure(None, number)).colour for number in range(1, 20)]
    around_missing = [codes.level_of(structure(level)).colour for level in ("T12", "L1", "L5", "S1")]

    for colours in (known, unknown, around_missing[:2], around_missing[2:]):
        assert all(upper != lower for upper, lower in pairwise(colours))


@pytest.mark.parametrize("concept", STANDARD_CONCEPTS, ids=lambda code: code.meaning)
def test_a_standard_concept_is_in_the_dictionary_with_this_meaning(concept: Code) -> None:
    """Looked up in pydicom's copy of PS3.16."""
    scheme = getattr(dictionary, concept.scheme_designator)
    meanings = {getattr(scheme, name).meaning for name in scheme.dir() if getattr(scheme, name).value == concept.value}

    assert concept.meaning in meanings


@pytest.mark.parametrize("unit", ["mm", "mm2", "mm3", "deg", "ratio", "percent"])
def test_a_unit_is_a_ucum_unit_of_ps3_16(unit: str) -> None:
    """Looked up where pydicom lists it."""
    listed = {getattr(dictionary.UCUM, name).value for name in dictionary.UCUM.dir()}

    assert codes.UNITS[unit].scheme_designator == "UCUM"
    assert codes.UNITS[unit].value in listed


@pytest.mark.parametrize("unit", ["px", "px2"])
def test_pixels_are_a_ucum_annotation_and_never_a_length(unit: str) -> None:
    """UCUM 2.4: what stands in braces has no dimension."""
    assert codes.UNITS[unit] == Code("{pixels}", "UCUM", "pixels")


def test_the_region_is_told_where_all_levels_belong_to_one() -> None:
    """Cervical, lumbar, or the spine where two meet or nothing is known."""
    assert codes.region_of((structure("C3"), structure("C4"))) == codes.REGIONS["C"]
    assert codes.region_of((structure("T12"), structure("L1"))) == codes.SPINE
    assert codes.region_of((structure(None),)) == codes.SPINE
