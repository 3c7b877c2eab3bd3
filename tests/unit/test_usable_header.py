"""Whatever stands in an optional attribute of the source, the results are written."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import Tag

from operators.dicom.usable_header import usable_header
from operators.writers import write_pictures, write_reports, write_segmentations
from tests.made_answers import radiograph_outcome, volume_outcome

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the odd values that are set here

# What highdicom copies from a source, or what our writers read: Patient, General Study, Patient Study, General Series,
# Frame of Reference, General Equipment, General Image, Image Plane and display attributes (PS3.3 C.7, C.11).
OPTIONAL = [
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "OtherPatientIDs",
    "EthnicGroup",
    "PatientComments",
    "AdditionalPatientHistory",
    "Occupation",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "StudyDescription",
    "ReferringPhysicianName",
    "SeriesDescription",
    "SeriesNumber",
    "Laterality",
    "BodyPartExamined",
    "ProtocolName",
    "PatientPosition",
    "PositionReferenceIndicator",
    "Manufacturer",
    "StationName",
    "InstitutionName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "ImageType",
    "AcquisitionDate",
    "AcquisitionTime",
    "ContentDate",
    "ContentTime",
    "AcquisitionNumber",
    "PatientOrientation",
    "ImageLaterality",
    "BurnedInAnnotation",
    "LossyImageCompression",
    "WindowCenter",
    "WindowWidth",
    "KVP",
    "SliceThickness",
    "SpacingBetweenSlices",
    "Exposure",
    "ViewPosition",
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    "InstanceCreationDate",
    "ClinicalTrialSubjectID",
]
BAD_VALUES = (b"8192,5", b"\\\\\\", b"x" * 300, b"\xff\xfe\xfd\xfc", b"", b"[/bold]", b"-1\\-1\\-1\\-1\\-1\\-1\\-1")


def spoil(dataset: Dataset, keyword: str, value: bytes) -> None:
    """Put bytes into an attribute as a file would have them."""
    tag = Tag(keyword)
    value += b" " * (len(value) % 2)
    dataset[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A code sequence item, valid or not."""
    item = Dataset()
    for keyword, text in (("CodeValue", value), ("CodingSchemeDesignator", scheme), ("CodeMeaning", meaning)):
        spoil(item, keyword, text.encode())
    return item


def reference() -> Dataset:
    """An item that points at an instance elsewhere."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", "1.2.3.4"
    return item


# how outcomes are made, and how many files the writers make of each: Segmentations, report, Secondary Capture, PNG
OUTCOMES = {"radiograph": radiograph_outcome, "volume": volume_outcome}
RESULTS = {"radiograph": 4, "volume": 5}
SEQUENCES: dict[str, list[Dataset]] = {
    "ReferencedStudySequence": [reference()],
    "ReferencedPatientSequence": [reference()],
    "ReferencedPerformedProcedureStepSequence": [reference()],
    "ReferencedImageSequence": [reference(), reference()],
    "SourceImageSequence": [reference()],
    "RequestAttributesSequence": [Dataset()],
    "ProcedureCodeSequence": [code("1", "99X", "m" * 83)],
    "PatientSpeciesCodeSequence": [code("", "", "")],
    "AnatomicRegionSequence": [code("T" * 40, "SRT", "")],
    "InstitutionCodeSequence": [code("1", "", "hospital")],
}


@pytest.mark.parametrize("value", BAD_VALUES)
@pytest.mark.parametrize("kind", ["radiograph", "volume"])
def test_no_optional_attribute_costs_the_results(value: bytes, kind: str, tmp_path: Path) -> None:
    """A bad value in all of them at once, one kind of badness after the other."""

    def spoil_all(dataset: FileDataset) -> None:
        for keyword in OPTIONAL:
            spoil(dataset, keyword, value)

    outcome, plan = OUTCOMES[kind](tmp_path, spoil_all)

    written = write_pictures(write_reports(write_segmentations(outcome, plan), plan), plan)

    assert len(written.encoded) == RESULTS[kind]


@pytest.mark.parametrize("kind", ["radiograph", "volume"])
def test_no_optional_sequence_costs_the_results(kind: str, tmp_path: Path) -> None:
    """References of worklists, codes that are too long or empty: they stay out, or are cut."""

    def add_all(dataset: FileDataset) -> None:
        for keyword, items in SEQUENCES.items():
            setattr(dataset, keyword, items)

    outcome, plan = OUTCOMES[kind](tmp_path, add_all)

    written = write_pictures(write_reports(write_segmentations(outcome, plan), plan), plan)

    assert len(written.encoded) == RESULTS[kind]


def test_a_header_keeps_what_is_valid() -> None:
    """Only what is invalid goes."""
    dataset = Dataset()
    dataset.StudyDescription, dataset.PatientOrientation = "SPINE", ["A"]
    dataset.ProcedureCodeSequence = [code("1", "99X", "m" * 83), code("2", "99X", "two")]
    dataset.ReferencedStudySequence = [reference()]
    dataset.add_new(0x00091010, "LO", "private")
    spoil(dataset, "WindowCenter", b"8192,5")

    header = usable_header(dataset)

    assert [element.keyword for element in header] == ["StudyDescription", "ProcedureCodeSequence"]
    assert [item.CodeMeaning for item in header.ProcedureCodeSequence] == ["m" * 64, "two"]
    assert config.settings.reading_validation_mode == config.WARN  # nothing global was touched
    assert np.array_equal(dataset.PatientOrientation, "A")
