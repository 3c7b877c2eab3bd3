"""What of a source's header can be copied into a result: what the standard allows to stand there, and nothing else.

Optional attributes are ornament: a value that breaks its VR or VM, a code without meaning, or a reference to an
instance that no result is made of must never cost the result. They are left out; identity is copied by `provenance`,
verbatim.
"""

import re
from collections.abc import Iterator
from copy import deepcopy

from pydicom import config
from pydicom.datadict import dictionary_has_tag, dictionary_VM, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

FIRST_BULK_GROUP = 0x5000  # curves, overlays and pixel data lie from there on
FUNCTIONAL_GROUPS = (Tag("SharedFunctionalGroupsSequence"), Tag("PerFrameFunctionalGroupsSequence"))
# Of Enhanced MR's macros those that say where a frame lies (PS3.3 C.7.6.16).
PLACE_MACROS = ("FrameContentSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
LONGEST_MEANING = 64  # VR LO, PS3.5 Table 6.2-1
_RANGE = re.compile(r"(\d+)(?:-(\d*)(n?))?")


def usable_header(dataset: Dataset) -> Dataset:
    """Return a copy of what can be used of a header: public attributes that are valid, without bulk data.

    Of functional groups the place of each frame is kept. Sequences that point at other instances are left out.
    """
    header = Dataset()
    for tag in dataset.keys():  # noqa: SIM118  iterating over a Dataset gives elements, not tags
        if tag in FUNCTIONAL_GROUPS:
            header.add_new(tag, "SQ", [_place_of_frame(item) for item in dataset[tag].value])
        elif tag.group < FIRST_BULK_GROUP and not tag.is_private:
            element = usable_element(dataset, tag)
            if element is not None and not (element.is_empty and element.VR != "SQ"):
                header[tag] = element  # highdicom reads what is there, empty or not
    return header


def usable_element(dataset: Dataset, tag: BaseTag) -> DataElement | None:
    """Return a copy of an attribute, or None where it is absent, unreadable or invalid.

    Items of sequences lose their invalid attributes. A Code Meaning that is too long is cut.
    """
    try:
        element = _in_its_vr(dataset, tag)
        if element.VR == "SQ":
            return _usable_sequence(element)
        if element.is_empty:
            return element
        if element.tag == Tag("CodeMeaning"):
            element.value = str(element.value)[:LONGEST_MEANING]
        if not _has_valid_multiplicity(element):
            return None
        return DataElement(tag, element.VR, element.value, validation_mode=config.RAISE)
    except Exception:  # pydicom raises what it likes for what it cannot convert
        return None


def _in_its_vr(dataset: Dataset, tag: BaseTag) -> DataElement:
    """Return a copy of an attribute in the VR that PS3.6 gives it, whichever the file says.

    Raises:
        ValueError: it is no sequence and should be one, or is one and should not; or its value has no place in the VR.
    """
    held = dataset.get_item(tag)
    vr = dictionary_VR(tag) if dictionary_has_tag(tag) else ""
    if held is None or vr in ("", held.VR) or " or " in vr or (held.VR is None and isinstance(held, RawDataElement)):
        return deepcopy(dataset[tag])
    if vr == "SQ" or held.VR == "SQ":
        raise ValueError(f"{tag} is {held.VR}, not {vr}")
    if isinstance(held, RawDataElement):
        single = Dataset()
        single.set_original_encoding(*dataset.original_encoding, dataset.original_character_set)
        single[tag] = held._replace(VR=vr)
        return single[tag]
    values = held.value if isinstance(held.value, MultiValue) else [held.value]
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"{tag} is {held.VR}, not {vr}")
    return DataElement(tag, vr, deepcopy(held.value), validation_mode=config.RAISE)


def _usable_sequence(element: DataElement) -> DataElement | None:
    items = []
    for source in element.value:
        if any(_points_elsewhere(source)):
            return None
        item = Dataset()
        for tag in source.keys():  # noqa: SIM118  see above
            if not tag.is_private and (usable := usable_element(source, tag)) is not None:
                item[tag] = usable
        if "CodingSchemeDesignator" in source and not _is_code(item):
            continue
        if len(item):
            items.append(item)
    if element.value and not items:
        return None
    return DataElement(element.tag, "SQ", items)


def _points_elsewhere(item: Dataset) -> Iterator[bool]:
    for element in item:
        if element.tag == Tag("ReferencedSOPInstanceUID"):
            yield True
        elif element.VR == "SQ":
            for nested in element.value:
                yield from _points_elsewhere(nested)


def _is_code(item: Dataset) -> bool:
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue")
    return bool(value and item.get("CodingSchemeDesignator") and item.get("CodeMeaning"))


def _has_valid_multiplicity(element: DataElement) -> bool:
    """Say whether an attribute has as many values as PS3.6 asks for: `1`, `2`, `1-3`, `1-n` or `2-2n`."""
    if not dictionary_has_tag(element.tag):
        return True
    found = _RANGE.fullmatch(dictionary_VM(element.tag))
    if found is None:  # several multiplicities, of retired attributes
        return True
    count = len(element.value) if isinstance(element.value, MultiValue | list | tuple) else 1
    least, most, is_open = int(found[1]), found[2], found[3]
    if most is None:
        return count == least
    if is_open:
        return count >= least and count % int(most or 1) == 0
    return least <= count <= int(most)


def _place_of_frame(groups: Dataset) -> Dataset:
    place = Dataset()
    for keyword in PLACE_MACROS:
        if keyword in groups:
            place[Tag(keyword)] = deepcopy(groups[keyword])
    return place
