"""Small valid radiographs made from an array, for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

# (code value, meaning), all SCT: PS3.16 CID 4031.
ANATOMIC_REGIONS = {
    "CSPINE": ("122494005", "Cervical spine"),
    "TSPINE": ("122495006", "Thoracic spine"),
    "LSPINE": ("122496007", "Lumbar spine"),
    "CHEST": ("51185008", "Chest"),
    "HAND": ("85562004", "Hand"),
}
# PS3.16 CID 4010.
VIEWS = {
    "LL": ("399067008", "lateral projection"),
    "RL": ("399067008", "lateral projection"),
    "AP": ("399348003", "antero-posterior projection"),
    "PA": ("272479007", "postero-anterior projection"),
}
SOP_CLASSES = {"DX": DigitalXRayImageStorageForPresentation, "CR": ComputedRadiographyImageStorage}


def made_uid(*parts: object) -> str:
    """Return a UID below 2.25 that depends on the parts alone."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def made_dx(
    pixels: NDArray[np.generic],
    *,
    modality: str = "DX",
    photometric: str = "MONOCHROME2",
    bits: int = 12,
    spacing: tuple[float, float] | None = None,
    imager_spacing: tuple[float, float] | None = None,
    patient_orientation: tuple[str, str] | None = ("A", "F"),
    body_part: str = "CSPINE",
    view: str = "LL",
    study_description: str = "C-SPINE LAT",
    study: str = "study",
    instance_number: int = 1,
    without: Sequence[str] = (),
) -> FileDataset:
    """Return a radiograph of one frame that dciodvfy accepts; same arguments, same bytes.

    Args:
        pixels: (rows, columns). Floating point is taken as 0–1 with dense tissue bright and spread over
            the range of `bits` (turned round for MONOCHROME1, so that the picture is the same);
            whole numbers are stored as they are.
        modality: `DX` or `CR`.
        photometric: `MONOCHROME1` or `MONOCHROME2`.
        bits: Bits Stored; up to 8 in one byte, up to 16 in two.
        spacing: calibrated Pixel Spacing (row, column) in mm, with its Calibration Type FIDUCIAL.
        imager_spacing: Imager Pixel Spacing (row, column) in mm at the detector; a DX always has one.
        patient_orientation: directions of the row and of the column; None leaves the attribute empty.
        body_part: Body Part Examined and, where listed above, Anatomic Region Sequence.
        view: View Position.
        study_description: Study and Series Description.
        study: the word that the Study Instance UID is made from; same word, same study.
        instance_number: tells two radiographs of a study apart, each in a series of its own.
        without: keywords to leave out, as anonymisers do.
    """
    dataset = FileDataset("", Dataset(), file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _add_patient_and_study(dataset, study, study_description)
    _add_series(dataset, modality, study, instance_number, study_description)
    _add_pixels(dataset, pixels, photometric, bits)
    dataset.BodyPartExamined = body_part
    dataset.ViewPosition = view
    dataset.PatientOrientation = list(patient_orientation or ())
    if spacing is not None:
        dataset.PixelSpacing = list(spacing)
        dataset.PixelSpacingCalibrationType = "FIDUCIAL"
        dataset.PixelSpacingCalibrationDescription = "made for a test"
    if imager_spacing is not None:
        dataset.ImagerPixelSpacing = list(imager_spacing)
    if modality == "DX":
        _add_digital_x_ray(dataset, body_part)
    for keyword in without:
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.file_meta.MediaStorageSOPClassUID = SOP_CLASSES[modality]
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(made_uid(study, "instance", instance_number))
    return dataset


def _add_patient_and_study(dataset: Dataset, study: str, description: str) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "Phantom^Spine"
    dataset.PatientID = "PHANTOM-1"
    dataset.PatientBirthDate = "19700101"
    dataset.PatientSex = "O"
    dataset.StudyInstanceUID = made_uid(study, "study")
    dataset.StudyDate = "20260102"
    dataset.StudyTime = "101500"
    dataset.StudyID = "1"
    dataset.AccessionNumber = "A1"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = description


def _add_series(dataset: Dataset, modality: str, study: str, number: int, description: str) -> None:
    dataset.Modality = modality
    dataset.SeriesInstanceUID = made_uid(study, "series", number)
    dataset.SOPClassUID = SOP_CLASSES[modality]
    dataset.SOPInstanceUID = made_uid(study, "instance", number)
    dataset.SeriesNumber = number
    dataset.InstanceNumber = 1
    dataset.SeriesDescription = description
    dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = dataset.StudyDate
    dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = dataset.StudyTime
    dataset.Manufacturer = "Spondyl tests"


def _add_pixels(dataset: Dataset, pixels: NDArray[np.generic], photometric: str, bits: int) -> None:
    peak = 2**bits - 1
    if np.issubdtype(pixels.dtype, np.floating):
        bright = np.clip(pixels, 0, 1)
        stored = np.rint((1 - bright if photometric == "MONOCHROME1" else bright) * peak)
    else:
        stored = pixels
    dtype = np.dtype("<u1" if bits <= 8 else "<u2")
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dtype.itemsize * 8
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits - 1), 2**bits
    dataset.LossyImageCompression = "00"
    dataset.BurnedInAnnotation = "NO"
    data = np.ascontiguousarray(stored.astype(dtype)).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if dtype.itemsize == 1 else "OW"


def _add_digital_x_ray(dataset: Dataset, body_part: str) -> None:
    """Add what PS3.3 A.26 (Digital X-Ray IOD) asks for beyond CR."""
    inverse = dataset.PhotometricInterpretation == "MONOCHROME1"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageLaterality = "U"
    dataset.AnatomicRegionSequence = _coded(ANATOMIC_REGIONS, body_part)
    if dataset.ViewPosition in VIEWS:
        dataset.ViewCodeSequence = _coded(VIEWS, dataset.ViewPosition)
        dataset.ViewCodeSequence[0].ViewModifierCodeSequence = []
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if inverse else -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    dataset.DetectorType = "SCINTILLATOR"
    if "ImagerPixelSpacing" not in dataset:
        dataset.ImagerPixelSpacing = [0.2, 0.2]
    dataset.PositionerType = ""
    dataset.AcquisitionContextSequence = []


def _coded(table: dict[str, tuple[str, str]], key: str) -> list[Dataset]:
    if key not in table:
        return []
    item = Dataset()
    item.CodeValue, item.CodeMeaning = table[key]
    item.CodingSchemeDesignator = "SCT"
    return [item]
