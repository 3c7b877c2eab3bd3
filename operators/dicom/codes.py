"""Coded concepts: levels of the spine (from `manifests/levels.yaml`) and what is measured on them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydicom.sr.coding import Code

from models.contracts import FoundStructure

LEVELS_FILE = Path(__file__).parents[2] / "manifests" / "levels.yaml"

# Concepts that neither DICOM nor SNOMED CT (as far as PS3.16 lists it) codes in one piece. Three heights that are told
# apart by a modifier alone would look the same in a viewer that shows only the concept name, hence codes of our own;
# the modifier is given as well. PS3.16 8.2: private designators begin with 99.
PRIVATE_SCHEME = "99SPONDYL"
ANTERIOR_HEIGHT = Code("HEIGHT-A", PRIVATE_SCHEME, "Anterior vertebral body height")
MIDDLE_HEIGHT = Code("HEIGHT-M", PRIVATE_SCHEME, "Middle vertebral body height")
POSTERIOR_HEIGHT = Code("HEIGHT-P", PRIVATE_SCHEME, "Posterior vertebral body height")
WEDGE_ANGLE = Code("WEDGE", PRIVATE_SCHEME, "Vertebral wedge angle")
LORDOSIS = MappingProxyType(
    {
        ("C2", "C7"): Code("LORDOSIS-C2C7", PRIVATE_SCHEME, "C2-C7 lordosis"),
        ("T4", "T12"): Code("LORDOSIS-T4T12", PRIVATE_SCHEME, "T4-T12 lordosis, negative for kyphosis"),
        ("L1", "S1"): Code("LORDOSIS-L1S1", PRIVATE_SCHEME, "L1-S1 lordosis"),
    }
)
NUMBERING = Code("NUMBERING", PRIVATE_SCHEME, "Numbering of vertebrae")
NUMBERING_VALUES = MappingProxyType(
    {
        "landmark": Code("NUMBERING-L", PRIVATE_SCHEME, "Counted from a landmark in view"),
        "assumed": Code("NUMBERING-A", PRIVATE_SCHEME, "Assumed, no landmark in view"),
        "unknown": Code("NUMBERING-U", PRIVATE_SCHEME, "Unknown"),
    }
)

DISC_HEIGHT = Code("DISC-HEIGHT", PRIVATE_SCHEME, "Intervertebral disc height")
DISC_HEIGHT_INDEX = Code("DISC-INDEX", PRIVATE_SCHEME, "Intervertebral disc height index")
LISTHESIS_OFFSET = Code("LISTHESIS", PRIVATE_SCHEME, "Offset on the vertebra below")
LISTHESIS_SHARE = Code("LISTHESIS-SHARE", PRIVATE_SCHEME, "Offset as a share of the end-plate below")
CANAL_DIAMETER = Code("CANAL-AP", PRIVATE_SCHEME, "Vertebral canal AP diameter")
CANAL_AREA = Code("CANAL-AREA", PRIVATE_SCHEME, "Vertebral canal cross-sectional area")
VOLUME = Code("118565006", "SCT", "Volume")
DISC = Code("360499006", "SCT", "Intervertebral disc")  # SNOMED CT has it, PS3.16 does not list it
MAGNETIC_RESONANCE = Code("MR", "DCM", "Magnetic Resonance")

AREA = Code("42798000", "SCT", "Area")
COBB_ANGLE = Code("285285000", "SCT", "Cobb angle")
CERTAINTY_OF_FINDING = Code("111012", "DCM", "Certainty of Finding")
SOURCE_OF_MEASUREMENT = Code("121112", "DCM", "Source of Measurement")
SUMMARY = Code("121111", "DCM", "Summary")
VERTEBRA_COUNT = Code("COUNT", PRIVATE_SCHEME, "Number of vertebrae segmented")
COMMENT = Code("121106", "DCM", "Comment")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
SEGMENTATION_DERIVATION = Code("113076", "DCM", "Segmentation")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
VERTEBRA = Code("51282000", "SCT", "Vertebra")
PLAIN_RADIOGRAPHY = Code("168537006", "SCT", "Plain radiography")
ANTERIOR = Code("255549009", "SCT", "Anterior")
POSTERIOR = Code("255551008", "SCT", "Posterior")
REGIONS = MappingProxyType(
    {
        "C": Code("122494005", "SCT", "Cervical spine"),
        "T": Code("122495006", "SCT", "Thoracic spine"),
        "L": Code("122496007", "SCT", "Lumbar spine"),
    }
)
SPINE = Code("421060004", "SCT", "Spine")

LEFT = Code("7771000", "SCT", "Left")
RIGHT = Code("24028007", "SCT", "Right")

UNITS = MappingProxyType(
    {
        "mm": Code("mm", "UCUM", "millimeter"),
        "count": Code("{vertebrae}", "UCUM", "vertebrae"),
        "mm3": Code("mm3", "UCUM", "cubic millimeter"),
        "ratio": Code("{ratio}", "UCUM", "ratio"),
        "percent": Code("%", "UCUM", "percent"),
        "mm2": Code("mm2", "UCUM", "square millimeter"),
        "px": Code("{pixels}", "UCUM", "pixels"),
        "px2": Code("{pixels}", "UCUM", "pixels"),  # an area in pixels is a count of them
        "deg": Code("deg", "UCUM", "degree"),
    }
)


@dataclass(frozen=True)
class Level:
    """How a level of the spine is coded and drawn.

    code: SNOMED CT, as in PS3.16 CID 7151.
    colour: recommended display colour, (red, green, blue) 0–255.
    """

    code: Code
    colour: tuple[int, int, int]


def level_of(structure: FoundStructure) -> Level:
    """Return code and colour of a found structure; Vertebra where its level is unknown or has no code of its own."""
    table, unknown = _tables()
    level = structure.level or ""
    return table.get(level, unknown[(structure.segment_number - 1) % len(unknown)])


def known_levels() -> tuple[str, ...]:
    """Return the levels of the table from the top of the spine downwards."""
    return tuple(_tables()[0])


def region_of(structures: tuple[FoundStructure, ...]) -> Code:
    """Return the part of the spine that the structures belong to, or the whole spine where they span two."""
    return region_of_levels([structure.level for structure in structures])


def region_of_levels(levels: Sequence[str | None]) -> Code:
    """Return the part of the spine that levels belong to, or the whole spine where they span two."""
    letters = {level[0] for level in levels if level}
    return REGIONS.get(letters.pop(), SPINE) if len(letters) == 1 else SPINE


@cache
def _tables() -> tuple[dict[str, Level], tuple[Level, ...]]:
    content = yaml.safe_load(LEVELS_FILE.read_text(encoding="utf-8"))
    table = {name: Level(_code(entry), _rgb(entry["colour"])) for name, entry in content["levels"].items()}
    unknown = content["unknown"]
    return table, tuple(Level(_code(unknown), _rgb(colour)) for colour in unknown["colours"])


def _code(entry: dict[str, Any]) -> Code:
    return Code(entry["code"], "SCT", entry["meaning"])


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = re.findall("[0-9A-Fa-f]{2}", colour)
    return int(red, 16), int(green, 16), int(blue, 16)
