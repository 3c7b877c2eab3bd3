"""What the reports on radiographs and volumes share: measurements, observer, evidence, comments (PS3.16 TID 1500)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import highdicom as hd
from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.tag import Tag

from models.quantity import Quantity, Unit
from operators.dicom import codes
from operators.dicom.identity import AlgorithmIdentity
from operators.dicom.provenance import NOT_FOR_DIAGNOSIS, plain_text
from operators.dicom.usable_header import usable_element

# PS3.3 C.18.1: Numeric Value is a DS of 16 characters; what is cut off is below what a mask can tell.
DECIMALS: Mapping[Unit, int] = {"ratio": 3, "mm3": 0}  # of others: 2


def measurement(
    name: Code, quantity: Quantity, site: sr.FindingSite | None = None, *, method: Code | None = None
) -> sr.Measurement:
    """Return a measurement of a quantity."""
    value = round(quantity.value, DECIMALS.get(quantity.unit, 2))
    sites = None if site is None else [site]
    return sr.Measurement(name=name, value=value, unit=codes.UNITS[quantity.unit], finding_sites=sites, method=method)


def algorithm_id(algorithm: AlgorithmIdentity) -> sr.AlgorithmIdentification:
    """Return who measured (TID 4019)."""
    return sr.AlgorithmIdentification(
        name=plain_text(algorithm.name),
        version=plain_text(algorithm.version),
        family=codes.ARTIFICIAL_INTELLIGENCE,
        manufacturer=plain_text(algorithm.manufacturer),
    )


def observation_context(algorithm: AlgorithmIdentity) -> sr.ObservationContext:
    """Return the device observer (TID 1001)."""
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=str(algorithm.device_uid),
        name="Spondyl",
        manufacturer_name=plain_text(algorithm.manufacturer),
        model_name=plain_text(f"{algorithm.name} {algorithm.version}"),
        serial_number=algorithm.digest[:16],
    )
    observer_type = hd.sr.CodedConcept("121007", "DCM", "Device")
    return sr.ObservationContext(
        observer_device_context=sr.ObserverContext(observer_type, observer_identifying_attributes=device)
    )


def procedure(source: Dataset, usual: Code) -> hd.sr.CodedConcept:
    """Return the imaging procedure that is reported on: as the source codes it, else the usual one."""
    performed = usable_element(source, Tag("ProcedureCodeSequence"))
    for item in performed.value if performed is not None else ():
        try:
            return hd.sr.CodedConcept(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)
        except (AttributeError, TypeError, ValueError):  # a long code, say: highdicom takes what TID 1204 allows
            continue
    return hd.sr.CodedConcept.from_code(usual)


def evidence(segmentation: Dataset) -> Dataset:
    """Return what the evidence sequences need of the Segmentation."""
    header = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(header, keyword, segmentation[keyword].value)
    return header


def comments(algorithm: AlgorithmIdentity, warnings: Sequence[str]) -> list[str]:
    """Return what the comments say, each once: what the result is for, then the doubts."""
    use = [f"Automatic result of {algorithm.name} {algorithm.version}: {NOT_FOR_DIAGNOSIS}."]
    return (use if algorithm.research_only else []) + list(dict.fromkeys(warnings))


def add_comments(report: sr.MeasurementReport, comments: Sequence[str]) -> None:
    """Add comments to the last group, the image's: TID 1501 is extensible, and highdicom offers coded items only."""
    measurements = report[0].ContentSequence[-1]
    for comment in comments:
        item = sr.TextContentItem(
            name=codes.COMMENT,
            value=plain_text(comment),
            relationship_type=sr.RelationshipTypeValues.CONTAINS,
        )
        measurements.ContentSequence[-1].ContentSequence.append(item)


def private_scheme() -> CodingSchemeIdentificationItem:
    """Return what our own codes are."""
    return CodingSchemeIdentificationItem(
        codes.PRIVATE_SCHEME, name="Spondyl measurements", responsible_organization="Spondyl"
    )
