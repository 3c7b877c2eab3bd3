"""`spondyl phantom xray`: a synthetic radiograph as a valid DX study, and its truth beside it."""

import json
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from models.contracts import BodyRegion
from models.phantom.radiograph import RadiographPhantom, radiograph_phantom
from operators.dicom.identity import derived_uid

IMAGE_NAME = "1.dcm"
TRUTH_NAME = "truth"
# PS3.16 CID 4031 and Annex L: Body Part Examined, SCT code, meaning.
ANATOMY: dict[BodyRegion, tuple[str, str, str]] = {
    "cervical": ("CSPINE", "122494005", "Cervical spine"),
    "lumbar": ("LSPINE", "122496007", "Lumbar spine"),
}
LATERAL = ("399067008", "lateral")  # PS3.16 CID 4010
# Facing left means that rows run towards the back (PS3.3 C.7.6.1.1.1) and that the left side is at the detector.
ORIENTATION = {"left": (["P", "F"], "LL"), "right": (["A", "F"], "RL")}
STUDY_DATE, STUDY_TIME = "20260101", "120000"


def write_xray_study(
    out: Path, seed: int, *, region: BodyRegion | None = None, calibrated: bool = True
) -> tuple[Path, ...]:
    """Write a radiograph and its truth; the same seed gives the same bytes.

    Args:
        out: folder for `1.dcm`, `truth.npz` (labelmap, levels, spacing_mm) and `truth.json`.
        seed: chooses everything, the region too unless it is given.
        region: cervical or lumbar.
        calibrated: whether the header tells the spacing in the patient, or only that at the detector.

    Returns:
        The files, the radiograph first.
    """
    phantom = radiograph_phantom(seed, region=region)
    out.mkdir(parents=True, exist_ok=True)
    dataset = xray_dataset(phantom, seed, calibrated=calibrated)
    dataset.save_as(out / IMAGE_NAME, enforce_file_format=True)
    truth = {
        "seed": seed,
        "sop_instance_uid": str(dataset.SOPInstanceUID),
        "body_region": phantom.body_region,
        "facing": phantom.facing,
        "levels": {str(value): level for value, level in phantom.levels.items()},
        "centroids_px": {level: [round(x, 2), round(y, 2)] for level, (x, y) in phantom.centroids_px.items()},
        "landmarks_in_view": list(phantom.landmarks_in_view),
        "findings": list(phantom.findings),
    }
    (out / f"{TRUTH_NAME}.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    np.savez_compressed(
        out / f"{TRUTH_NAME}.npz",
        labelmap=phantom.labelmap,
        levels=np.array(json.dumps(truth["levels"])),
        spacing_mm=np.array(phantom.spacing_mm),
    )
    return tuple(out / name for name in (IMAGE_NAME, f"{TRUTH_NAME}.npz", f"{TRUTH_NAME}.json"))


def xray_dataset(phantom: RadiographPhantom, seed: int, *, calibrated: bool = True) -> FileDataset:
    """Return a phantom as a DX instance for presentation (PS3.3 A.26)."""
    dataset = FileDataset("", Dataset(), file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _identify(dataset, phantom, seed)
    _describe_acquisition(dataset, phantom, calibrated=calibrated)
    _add_pixels(dataset, phantom)
    return dataset


def _identify(dataset: Dataset, phantom: RadiographPhantom, seed: int) -> None:
    def uid(kind: str) -> str:
        return derived_uid("phantom xray", kind, str(seed), phantom.body_region)

    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = uid("instance")
    dataset.StudyInstanceUID = uid("study")
    dataset.SeriesInstanceUID = uid("series")
    dataset.PatientName = f"Phantom^Seed {seed}"
    dataset.PatientID = f"PHANTOM-{seed}"
    dataset.PatientBirthDate, dataset.PatientSex = "", "O"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = STUDY_DATE
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = STUDY_TIME
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", "", ""
    dataset.StudyDescription = dataset.SeriesDescription = f"Synthetic {phantom.body_region} spine, lateral"
    dataset.Manufacturer = "Spondyl phantom"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "DX", 1, 1


def _describe_acquisition(dataset: Dataset, phantom: RadiographPhantom, *, calibrated: bool) -> None:
    body_part, code, meaning = ANATOMY[phantom.body_region]
    dataset.BodyPartExamined = body_part
    dataset.AnatomicRegionSequence = [_code(code, meaning)]
    dataset.ViewCodeSequence = [_code(*LATERAL)]
    dataset.ViewCodeSequence[0].ViewModifierCodeSequence = []
    dataset.PatientOrientation, dataset.ViewPosition = ORIENTATION[phantom.facing]
    dataset.ImageLaterality = "U"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.DetectorType, dataset.PositionerType = "SCINTILLATOR", ""
    dataset.AcquisitionContextSequence = []
    dataset.ImagerPixelSpacing = [format_number_as_ds(size) for size in phantom.imager_spacing_mm]
    if calibrated:
        magnification = phantom.imager_spacing_mm[0] / phantom.spacing_mm[0]
        dataset.EstimatedRadiographicMagnificationFactor = format_number_as_ds(magnification)
        dataset.PixelSpacing = [format_number_as_ds(size) for size in phantom.spacing_mm]
        dataset.PixelSpacingCalibrationType = "GEOMETRY"
        dataset.PixelSpacingCalibrationDescription = "plane of the spine"


def _add_pixels(dataset: Dataset, phantom: RadiographPhantom) -> None:
    inverse = phantom.photometric_interpretation == "MONOCHROME1"
    bits = phantom.bits_stored
    stored = np.ascontiguousarray(phantom.pixels, dtype="<u1" if bits <= 8 else "<u2")
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = phantom.photometric_interpretation
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = stored.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits - 1), 2**bits
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", 1 if inverse else -1
    dataset.LossyImageCompression, dataset.BurnedInAnnotation = "00", "NO"
    data = stored.tobytes()
    dataset.add_new("PixelData", "OB" if stored.itemsize == 1 else "OW", data + b"\0" * (len(data) % 2))


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item
