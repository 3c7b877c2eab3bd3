"""What all Segmentations share: how a Segment is described, and what highdicom leaves to be put right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from operators.dicom import codes
from operators.dicom.identity import AlgorithmIdentity, Profile, result_uid
from operators.dicom.provenance import plain_text

Encoding = Literal["BINARY", "LABELMAP"]
ENCODING_OF: dict[Profile, Encoding] = {"standard": "BINARY", "ohif": "LABELMAP"}


@dataclass(frozen=True)
class Concept:
    """How a structure is coded and drawn.

    colour: recommended display colour, (red, green, blue) 0–255. side: the laterality, where there are two of it.
    """

    code: Code
    colour: tuple[int, int, int]
    side: Code | None = None


def describe_segment(
    number: int, label: str, concept: Concept, *, algorithm: AlgorithmIdentity, tracking_uid: str
) -> hd.seg.SegmentDescription:
    """Return an item of the Segment Sequence (PS3.3 C.8.20.4)."""
    name = plain_text(label, 64)
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=codes.ANATOMICAL_STRUCTURE,
        segmented_property_type=concept.code,
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=plain_text(algorithm.name, 64),
            family=codes.ARTIFICIAL_INTELLIGENCE,
            version=plain_text(algorithm.version, 64),
            source=plain_text(algorithm.manufacturer, 64),
        ),
        tracking_uid=tracking_uid,
        tracking_id=name,
        display_color=hd.color.CIELabColor.from_rgb(*concept.colour),
    )
    if concept.side is not None:
        side = hd.sr.CodedConcept.from_code(concept.side)
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    return description


def fix_dimension_organization(
    result: Dataset, source: Sequence[Dataset], algorithm: AlgorithmIdentity, *kind: str
) -> None:
    """Replace the random Dimension Organization UID by one that a repeat will give again."""
    uid = result_uid(source, algorithm, kind="dimension organization", profile=" ".join(kind))
    for item in (*result.DimensionOrganizationSequence, *result.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def put_background_last(result: Dataset) -> None:
    """Move Segment Number 0 to the end of the Segment Sequence.

    OHIF 3.13 takes the colour of segment n from the n-th item. PS3.3 C.8.20.2 lays down no order of the items.
    """
    items = list(result.SegmentSequence)
    result.SegmentSequence = sorted(items, key=lambda item: (item.SegmentNumber == 0, item.SegmentNumber))
