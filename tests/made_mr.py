"""Small MR Series made from an array and an affine, for tests: single frames or one Enhanced MR Image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from operators.dicom.series import SourceInstance, SourceSeries
from tests.made_dicom import made_uid

# Slices to the patient's left, rows downwards, columns backwards: 4 mm slices of 1 mm pixels.
SAGITTAL = np.array([[4.0, 0, 0, -8.0], [0, 0, 1.0, -20.0], [0, -1.0, 0, 30.0], [0, 0, 0, 1.0]])


def made_mr(
    voxels: NDArray[np.integer],
    affine: NDArray[np.float64] = SAGITTAL,
    *,
    rescale: tuple[float, float] | None = None,
    study: str = "mr study",
    series: int = 1,
    **attributes: object,
) -> list[FileDataset]:
    """Return an instance per slice, in the order of the slices; same arguments, same bytes.

    Args:
        voxels: (slices, rows, columns) uint16 or int16, stored as they are.
        affine: voxel index (slice, row, column) → LPS mm.
        rescale: slope and intercept, where the header has them.
        study: the word that the Study Instance UID is made from.
        series: its number.
        attributes: more, or other ones; None leaves one out.
    """
    datasets = []
    for index, plane in enumerate(voxels):
        dataset = _header(plane.shape, voxels.dtype, study, series)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(made_uid(study, series, index))
        dataset.InstanceNumber = index + 1
        _set_plane(dataset, dataset, dataset, affine, index)
        if rescale is not None:
            dataset.RescaleSlope, dataset.RescaleIntercept = (format_number_as_ds(value) for value in rescale)
            dataset.RescaleType = "US"
        dataset.PixelData = np.ascontiguousarray(plane).tobytes()
        dataset["PixelData"].VR = "OW"
        for keyword, value in attributes.items():
            if value is None:
                if keyword in dataset:
                    delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        datasets.append(dataset)
    return datasets


def made_enhanced_mr(
    voxels: NDArray[np.integer], affine: NDArray[np.float64] = SAGITTAL, *, order: Sequence[int] | None = None
) -> FileDataset:
    """Return one Enhanced MR Image of all slices; `order` tells which slice each frame shows."""
    order = range(len(voxels)) if order is None else order
    dataset = _header(voxels.shape[1:], voxels.dtype, "enhanced study", 1)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(made_uid("enhanced"))
    for keyword in ("EchoTime", "RepetitionTime", "ScanningSequence"):
        delattr(dataset, keyword)
    dataset.InstanceNumber, dataset.NumberOfFrames = 1, len(voxels)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    per_frame = []
    for number, index in enumerate(order, start=1):
        groups, content = Dataset(), Dataset()
        position, orientation, measures = Dataset(), Dataset(), Dataset()
        _set_plane(position, orientation, measures, affine, index)
        groups.PlanePositionSequence, groups.PlaneOrientationSequence = [position], [orientation]
        groups.PixelMeasuresSequence = [measures]
        content.StackID, content.InStackPositionNumber = "1", index + 1
        content.DimensionIndexValues = [1, number]
        groups.FrameContentSequence = [content]
        values = Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "2", "-5", "US"
        groups.PixelValueTransformationSequence = [values]
        per_frame.append(groups)
    shared, echo = Dataset(), Dataset()
    echo.EffectiveEchoTime = 100.0
    shared.MREchoSequence = [echo]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], per_frame
    dataset.PixelData = np.ascontiguousarray(voxels[list(order)]).tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def series_of(datasets: Sequence[FileDataset], folder: Path) -> SourceSeries:
    """Write instances into a folder and return them as a Series with pixels on disk, in the given order."""
    folder.mkdir(parents=True, exist_ok=True)
    instances = []
    for number, dataset in enumerate(datasets):
        path = folder / f"{number}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        instances.append(SourceInstance(dataset, path))
    return SourceSeries(tuple(instances))


def _header(shape: tuple[int, ...], dtype: np.dtype[np.integer], study: str, series: int) -> FileDataset:
    dataset = FileDataset("", Dataset(), file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = "Made^Patient", "M1", "", "O"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = made_uid(study), made_uid(study, "series", series)
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = made_uid(study, "frame"), ""
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = "20260101"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = "120000"
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", "", ""
    dataset.Modality, dataset.SeriesNumber, dataset.Manufacturer = "MR", series, "Made"
    dataset.BodyPartExamined, dataset.PatientPosition = "LSPINE", "HFS"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "SE", "SK", ""
    dataset.MRAcquisitionType, dataset.EchoTrainLength = "2D", 12
    dataset.EchoTime, dataset.RepetitionTime = "100", "3500"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = int(np.issubdtype(dtype, np.signedinteger))
    return dataset


def _set_plane(
    position: Dataset, orientation: Dataset, measures: Dataset, affine: NDArray[np.float64], index: int
) -> None:
    slice_axis, row_axis, column_axis = affine[:3, :3].T
    row_mm, column_mm = float(np.linalg.norm(row_axis)), float(np.linalg.norm(column_axis))
    place = affine[:3, 3] + index * slice_axis
    cosines = [*(column_axis / column_mm), *(row_axis / row_mm)]
    position.ImagePositionPatient = [format_number_as_ds(float(value)) for value in place]
    orientation.ImageOrientationPatient = [format_number_as_ds(float(value)) for value in cosines]
    measures.PixelSpacing = [format_number_as_ds(row_mm), format_number_as_ds(column_mm)]
    measures.SliceThickness = format_number_as_ds(float(np.linalg.norm(slice_axis)))
