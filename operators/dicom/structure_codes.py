"""How the structures of an MR volume are coded and drawn: from manifests/structures.yaml and manifests/levels.yaml."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import yaml
from pydicom.sr.coding import Code

from models.contracts import FoundStructure, SpineStructure
from operators.dicom import codes
from operators.dicom.segments import Concept

STRUCTURES_FILE = codes.LEVELS_FILE.with_name("structures.yaml")
SIDES = {"left": codes.LEFT, "right": codes.RIGHT}


def concept_of(structure: SpineStructure) -> Concept:
    """Return code and colour of a structure; the general ones where its level is unknown or has no code of its own."""
    if structure.kind == "substructure":
        return _table("substructures")[structure.spineps_label]
    if structure.kind == "disc":
        unknown = _unknown_discs()
        return _table("discs").get(structure.label, unknown[(structure.segment_number - 1) % len(unknown)])
    as_found = FoundStructure(structure.segment_number, structure.label, structure.level, 1.0, (0.0, 0.0))
    level = codes.level_of(as_found)
    return Concept(level.code, level.colour)


@cache
def _content() -> dict[str, Any]:
    return dict(yaml.safe_load(STRUCTURES_FILE.read_text(encoding="utf-8")))


@cache
def _table(name: str) -> dict[Any, Concept]:
    return {key: _concept(entry, entry["colour"]) for key, entry in _content()[name].items()}


@cache
def _unknown_discs() -> tuple[Concept, ...]:
    entry = _content()["unknown_disc"]
    return tuple(_concept(entry, colour) for colour in entry["colours"])


def _concept(entry: dict[str, str], colour: str) -> Concept:
    red, green, blue = (int(part, 16) for part in re.findall("[0-9A-Fa-f]{2}", colour))
    side = SIDES[entry["side"]] if "side" in entry else None
    return Concept(Code(entry["code"], entry.get("scheme", "SCT"), entry["meaning"]), (red, green, blue), side)
