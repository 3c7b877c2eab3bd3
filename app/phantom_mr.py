"""`spondyl phantom mr`: a synthetic sagittal MR Series, a file per slice, and its truth beside it."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from models.contracts import MrContrast
from models.phantom.mr import MrPhantom, MrRegion, mr_phantom
from operators.dicom.identity import derived_uid

TRUTH_NAME = "truth"
BODY_PARTS: dict[MrRegion, str] = {"cervical": "CSPINE", "thoracic": "TSPINE", "lumbar": "LSPINE", "whole": "SPINE"}
STUDY_DATE, STUDY_TIME = "20260101", "120000"
TOP = 4000  # stored value of the brightest voxel; 12 bits


def write_mr_study(
    out: Path,
    seed: int,
    *,
    region: MrRegion | None = None,
    contrast: MrContrast | None = None,
    isotropic: bool = False,
) -> tuple[Path, ...]:
    """Write an MR Series and its truth; the same seed gives the same bytes.

    Args:
        out: folder for `001.dcm` …, `truth.npz` (subregions, vertebrae, affine, levels) and `truth.json`.
        seed: chooses everything, region and contrast too unless they are given.
        region: cervical, thoracic, lumbar or whole.
        contrast: T2w, T1w, STIR or other.
        isotropic: voxels of one size in all directions instead of slices of 3 to 5 mm.

    Returns:
        The files, the slices first.
    """
    phantom = mr_phantom(seed, region=region, contrast=contrast, isotropic=isotropic)
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(mr_datasets(phantom, seed), start=1):
        paths.append(out / f"{number:03}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    truth = {
        "seed": seed,
        "series_instance_uid": _uid(phantom, seed, "series"),
        "region": phantom.region,
        "contrast": phantom.contrast,
        "levels": {str(label): level for label, level in phantom.levels.items()},
        "landmarks_in_view": list(phantom.landmarks_in_view),
        "findings": list(phantom.findings),
    }
    (out / f"{TRUTH_NAME}.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    np.savez_compressed(
        out / f"{TRUTH_NAME}.npz",
        subregions=phantom.subregions,
        vertebrae=phantom.vertebrae,
        affine=phantom.affine,
        levels=np.array(json.dumps(truth["levels"])),
    )
    return (*paths, out / f"{TRUTH_NAME}.npz", out / f"{TRUTH_NAME}.json")


def mr_datasets(phantom: MrPhantom, seed: int) -> tuple[FileDataset, ...]:
    """Return a phantom as MR Image instances, a slice each (PS3.3 A.4)."""
    scale = TOP / max(float(phantom.voxels.max()), 1e-6)
    stored = np.clip(np.rint(phantom.voxels * scale), 0, TOP).astype("<u2")
    datasets = []
    for index, plane in enumerate(stored):
        dataset = FileDataset("", Dataset(), file_meta=FileMetaDataset(), preamble=b"\0" * 128)
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        _identify(dataset, phantom, seed, index)
        _describe_acquisition(dataset, phantom)
        _place(dataset, phantom, index)
        _add_pixels(dataset, plane)
        datasets.append(dataset)
    return tuple(datasets)


def _uid(phantom: MrPhantom, seed: int, kind: str, number: int = 0) -> str:
    return derived_uid("phantom mr", kind, str(seed), phantom.region, phantom.contrast, str(number))


def _identify(dataset: Dataset, phantom: MrPhantom, seed: int, index: int) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = _uid(phantom, seed, "instance", index)
    dataset.StudyInstanceUID = _uid(phantom, seed, "study")
    dataset.SeriesInstanceUID = _uid(phantom, seed, "series")
    dataset.FrameOfReferenceUID = _uid(phantom, seed, "frame of reference")
    dataset.PositionReferenceIndicator = ""
    dataset.PatientName = f"Phantom^Seed {seed}"
    dataset.PatientID = f"PHANTOM-{seed}"
    dataset.PatientBirthDate, dataset.PatientSex = "", "O"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = STUDY_DATE
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = STUDY_TIME
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", "", ""
    dataset.StudyDescription = f"Synthetic spine, {phantom.region}"
    dataset.SeriesDescription = f"{phantom.contrast} sagittal, synthetic"
    dataset.Manufacturer = "Spondyl phantom"
    dataset.Modality, dataset.SeriesNumber = "MR", 1
    dataset.InstanceNumber, dataset.AcquisitionNumber = index + 1, 1


def _describe_acquisition(dataset: Dataset, phantom: MrPhantom) -> None:
    sequence = phantom.sequence
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    dataset.BodyPartExamined = BODY_PARTS[phantom.region]
    dataset.PatientPosition = "HFS"
    dataset.ScanningSequence = ["SE", "IR"] if sequence.ti_ms is not None else "SE"
    dataset.SequenceVariant = "SK"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "2D"
    dataset.SequenceName = sequence.name
    dataset.EchoTime = format_number_as_ds(sequence.te_ms)
    dataset.RepetitionTime = format_number_as_ds(sequence.tr_ms)
    if sequence.ti_ms is not None:
        dataset.InversionTime = format_number_as_ds(sequence.ti_ms)
    dataset.EchoTrainLength = 12
    dataset.MagneticFieldStrength = format_number_as_ds(sequence.field_strength_t)


def _place(dataset: Dataset, phantom: MrPhantom, index: int) -> None:
    """Write the plane of a slice: the phantom's affine leads from (slice, row, column) to LPS mm."""
    slice_axis, row_axis, column_axis = phantom.affine[:3, :3].T
    lengths = [float(np.linalg.norm(axis)) for axis in (slice_axis, row_axis, column_axis)]
    cosines = np.concatenate([column_axis / lengths[2], row_axis / lengths[1]])
    position = phantom.affine[:3, 3] + index * slice_axis
    dataset.ImageOrientationPatient = [format_number_as_ds(float(value)) for value in cosines]
    dataset.ImagePositionPatient = [format_number_as_ds(float(value)) for value in position]
    dataset.PixelSpacing = [format_number_as_ds(lengths[1]), format_number_as_ds(lengths[2])]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = format_number_as_ds(lengths[0])


def _add_pixels(dataset: Dataset, plane: NDArray[np.uint16]) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = plane.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = str(TOP // 2), str(TOP)
    dataset.PixelData = np.ascontiguousarray(plane).tobytes()
    dataset["PixelData"].VR = "OW"
