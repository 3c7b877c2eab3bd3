"""Records of DICOMweb answers as one shape: DICOM JSON (PS3.18 annex F), or Native DICOM Model XML (PS3.19 A.1).

A server may answer in XML though JSON was asked for, or put the one record of a STOW answer into a list.
"""

import json
from typing import Any
from xml.etree import ElementTree

Record = dict[str, Any]


def records_of(body: bytes) -> list[Record] | None:
    """Return the records of an answer in the form of DICOM JSON; None where it is neither JSON nor DICOM XML.

    An empty body holds no record. A document type declaration is refused: no DICOM XML has one, and entities may swell.
    """
    text = body.strip()
    if not text:
        return []
    if text.startswith(b"<"):
        return _of_xml(text)
    try:
        content = json.loads(text)
    except ValueError:
        return None
    found = content if isinstance(content, list) else [content]
    return [record for record in found if isinstance(record, dict)]


def _of_xml(text: bytes) -> list[Record] | None:
    if b"<!DOCTYPE" in text.upper():
        return None
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
    models = [each for each in (root, *root) if _name(each) == "NativeDicomModel"]
    return [_record(model) for model in models] or None


def _record(model: ElementTree.Element) -> Record:
    return {
        str(attribute.get("tag")).upper(): {"vr": attribute.get("vr"), "Value": _values(attribute)}
        for attribute in model
        if _name(attribute) == "DicomAttribute"
    }


def _values(attribute: ElementTree.Element) -> list[Any]:
    values: list[Any] = []
    for child in attribute:
        if _name(child) == "Item":
            values.append(_record(child))
        elif _name(child) == "Value":
            text = (child.text or "").strip()
            values.append(int(text) if attribute.get("vr") in ("US", "UL", "SS", "SL") and text.isdecimal() else text)
    return values


def _name(element: ElementTree.Element) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition("}")[2]
