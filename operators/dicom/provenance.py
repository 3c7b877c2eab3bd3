"""Where a result comes from: the patient and study of its source, the software that made it, and no clock."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from operators.dicom import codes
from operators.dicom.errors import ResultError
from operators.dicom.identity import (
    AlgorithmIdentity,
    Profile,
    ResultKind,
    content_date_and_time,
    instance_uid,
    series_number,
    valid_date,
    valid_time,
)
from operators.dicom.mr_acquisition import readable
from operators.dicom.usable_header import usable_header

NOT_FOR_DIAGNOSIS = "research use, not for diagnosis"

# Patient and General Study modules, Type 1 or 2 (PS3.3 C.7.1.1, C.7.2.1): a result carries the source's own values.
_IDENTIFYING = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_SEXES = ("M", "F", "O")
_LIBRARY = "Highdicom open-source contributors"
_DASHES = str.maketrans({"–": "-", "—": "-", "‑": "-", "−": "-", "×": "x", "≤": "<=", "≥": ">=", "…": "...", "’": "'"})


def completed_headers(source: Sequence[Dataset]) -> list[Dataset]:
    """Return copies of the source headers on which highdicom can build: without bulk data, Type 2 attributes present.

    Anonymised sources lack attributes that PS3.3 allows to be empty. Names and values that break their VR are blanked
    here, because highdicom warns of them with the name in the message; `add_provenance` puts them back verbatim.

    Raises:
        ResultError: a dataset lacks one of the UIDs without which nothing can point at it.
    """
    return [_completed(dataset) for dataset in source]


def _completed(dataset: Dataset) -> Dataset:
    for keyword in _UIDS:
        if not readable(dataset, keyword):
            raise ResultError(
                f"source instance {dataset.get('SOPInstanceUID', '?')} has no {keyword}: no result can refer to it"
            )
    header = usable_header(dataset)
    for keyword in _IDENTIFYING:
        if keyword not in header:
            setattr(header, keyword, None)
    header.PatientName = header.ReferringPhysicianName = None
    header.PatientBirthDate = valid_date(header.PatientBirthDate)
    header.StudyDate = valid_date(header.StudyDate)
    header.StudyTime = valid_time(header.StudyTime)
    header.PatientSex = header.PatientSex if header.PatientSex in _SEXES else None
    if "SeriesNumber" not in header:
        header.SeriesNumber = None
    return header


def result_keywords(
    source: Sequence[Dataset], algorithm: AlgorithmIdentity, *, kind: ResultKind, profile: Profile = "standard"
) -> dict[str, Any]:
    """Return the constructor keywords that highdicom's SOP classes share: identifiers, equipment, date and time."""
    date, time = content_date_and_time(source)
    return {
        "series_instance_uid": instance_uid(source, algorithm, kind=f"{kind} series", profile=profile),
        "sop_instance_uid": instance_uid(source, algorithm, kind=f"{kind} instance", profile=profile),
        "series_number": series_number(source, kind),
        "instance_number": 1,
        "manufacturer": algorithm.manufacturer,
        "manufacturer_model_name": "Spondyl",
        "software_versions": _versions(algorithm),
        "device_serial_number": algorithm.digest[:16],
        "content_date": date,
        "content_time": time,
        "specific_character_set": None,  # the source's own, from add_provenance
        "content_qualification": None,
        "contributing_equipment": [processing_equipment(algorithm)],
    }


def processing_equipment(algorithm: AlgorithmIdentity) -> hd.ContributingEquipment:
    """Return the Contributing Equipment item of this software with these weights (PS3.3 C.12.1)."""
    item = hd.ContributingEquipment(
        algorithm.manufacturer,
        codes.PROCESSING_EQUIPMENT,
        manufacturer_model_name="Spondyl",
        software_versions=_versions(algorithm),
        device_serial_number=algorithm.digest[:16],
        contribution_description=plain_text(f"Spine analysis, {_purpose(algorithm)}"),
    )
    item.DeviceUID = algorithm.device_uid
    return item


def add_provenance(result: Dataset, source: Sequence[Dataset], algorithm: AlgorithmIdentity) -> None:
    """Make a fresh result the source's own: identity verbatim, qualification; take out what a clock wrote."""
    first = source[0]
    for keyword in ("InstanceCreationDate", "InstanceCreationTime", "SpecificCharacterSet"):
        if keyword in result:
            delattr(result, keyword)
    if readable(first, "SpecificCharacterSet"):
        result.SpecificCharacterSet = deepcopy(first.SpecificCharacterSet)
    for keyword in _IDENTIFYING:
        if keyword in first and readable(first, keyword) is not None:
            result[keyword] = deepcopy(first[keyword])
    result.SeriesDate, result.SeriesTime = content_date_and_time(source)
    result.ContentQualification = "RESEARCH" if algorithm.research_only else "PRODUCT"
    for item in result.ContributingEquipmentSequence:
        if item.Manufacturer == _LIBRARY:  # highdicom's own item carries the time of day
            del item.ContributionDateTime


def series_description(what: str, algorithm: AlgorithmIdentity) -> str:
    """Return a Series Description (LO, 64 characters) that says what it is and what it is not for.

    >>> series_description("Vertebrae", AlgorithmIdentity("p", "1", "d", "0.1"))
    'Vertebrae (research use, not for diagnosis)'
    """
    return plain_text(f"{what} ({_purpose(algorithm)})", 64)


def source_reference(dataset: Dataset, purpose: Code | None = None) -> Dataset:
    """Return an item that points at a source instance, with the purpose of the reference where one is given."""
    item = Dataset()
    item.ReferencedSOPClassUID = dataset.SOPClassUID
    item.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    if purpose is not None:
        item.PurposeOfReferenceCodeSequence = [hd.sr.CodedConcept.from_code(purpose)]
    return item


def plain_text(text: str, limit: int | None = None) -> str:
    """Return text in the default repertoire, which every Specific Character Set of a source contains.

    >>> plain_text("C2–C7: 12 ° ± 2")
    'C2-C7: 12 deg +/- 2'
    """
    spelt = text.translate(_DASHES).replace("°", "deg").replace("±", "+/-").replace("\\", "/")
    ascii_text = unicodedata.normalize("NFKD", spelt).encode("ascii", "ignore").decode()
    return ascii_text if limit is None else ascii_text[:limit]


def _purpose(algorithm: AlgorithmIdentity) -> str:
    return NOT_FOR_DIAGNOSIS if algorithm.research_only else "automatic"


def _versions(algorithm: AlgorithmIdentity) -> list[str]:
    return [plain_text(text, 64) for text in (algorithm.software_version, f"{algorithm.name} {algorithm.version}")]
