"""A labelmap as a DICOM Segmentation (PS3.3 A.51): one Segment per vertebra, on the grid of its source."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from models.contracts import FoundStructure
from operators.dicom import codes
from operators.dicom.errors import ResultError
from operators.dicom.identity import AlgorithmIdentity, Profile, derived_uid, result_uid
from operators.dicom.mr_acquisition import readable, values_in
from operators.dicom.provenance import (
    NOT_FOR_DIAGNOSIS,
    add_provenance,
    completed_headers,
    plain_text,
    result_keywords,
    series_description,
)
from operators.dicom.segments import (
    ENCODING_OF,
    Concept,
    describe_segment,
    fix_dimension_organization,
    put_background_last,
)

# PS3.3 C.7.6.1.1.1: the direction that a letter of Patient Orientation names, in LPS.
DIRECTIONS = {
    "R": (-1.0, 0.0, 0.0),
    "L": (1.0, 0.0, 0.0),
    "A": (0.0, -1.0, 0.0),
    "P": (0.0, 1.0, 0.0),
    "H": (0.0, 0.0, 1.0),
    "F": (0.0, 0.0, -1.0),
}
# What OHIF assumes for an image without orientation: rows to the right, columns down.
_NOMINAL_ORIENTATION = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def build_segmentation(
    labelmap: NDArray[np.uint16],
    source: Sequence[Dataset],
    structures: Sequence[FoundStructure],
    *,
    algorithm: AlgorithmIdentity,
    profile: Profile = "standard",
    spacing_mm: tuple[float, float] | None = None,
) -> Dataset:
    """Return the Segmentation of a radiograph.

    Args:
        labelmap: (rows, columns) on the source grid; 0 = background, else Segment Number.
        source: the one instance that was segmented; its pixel data need not be there.
        structures: one per Segment Number, 1 … n without gaps.
        algorithm: what made the labelmap.
        profile: `standard` is BINARY, a frame per Segment, in the plane that Patient Orientation tells; `ohif` is a
            label map of one frame with nominal geometry (see `_add_nominal_geometry`).
        spacing_mm: calibrated (row, column) spacing in the patient, or None.

    Raises:
        ResultError: labelmap, structures and source do not fit together, or a Segment would be empty.
    """
    check_labelmap(labelmap, source, structures)
    headers = completed_headers(source)
    orientation = _orientation(headers[0]) if profile == "standard" else None
    if orientation is not None:
        headers = [_with_plane(headers[0], orientation, spacing_mm)]
    result = hd.seg.Segmentation(
        source_images=headers,
        pixel_array=labelmap,
        segmentation_type=ENCODING_OF[profile],
        segment_descriptions=[_describe(structure, source, algorithm) for structure in structures],
        content_label="VERTEBRAE",
        content_description=_content_description(algorithm),
        content_creator_name="Spondyl^",
        series_description=series_description("Vertebrae", algorithm),
        omit_empty_frames=True,
        **result_keywords(source, algorithm, kind="segmentation", profile=profile),
    )
    add_provenance(result, source, algorithm)
    # PS3.3 C.7.6.1: Type 2C for an image without Image Orientation (Patient).
    result.PatientOrientation = deepcopy(headers[0].get("PatientOrientation"))
    fix_dimension_organization(result, source, algorithm, profile)
    if profile == "ohif":
        _add_nominal_geometry(result, spacing_mm)
        put_background_last(result)
    return result


def tracking_uid(source: Sequence[Dataset], algorithm: AlgorithmIdentity, structure: FoundStructure) -> str:
    """Return the Tracking UID of a vertebra: the same in SEG and report, whatever the profile."""
    return str(result_uid(source, algorithm, kind=f"tracking {structure.label}"))


def check_labelmap(
    labelmap: NDArray[np.uint16], source: Sequence[Dataset], structures: Sequence[FoundStructure]
) -> None:
    """Hold labelmap, source and structures against each other.

    Raises:
        ResultError: they differ in grid or Segment Numbers, or nothing was segmented.
    """
    if len(source) != 1 or str(readable(source[0], "NumberOfFrames") or 1) != "1":
        raise ResultError(f"a radiograph is one instance of one frame, not {len(source)} instances")
    uid = source[0].get("SOPInstanceUID", "?")
    grid = (source[0].Rows, source[0].Columns)
    if labelmap.shape != grid:
        raise ResultError(f"labelmap of {labelmap.shape} for instance {uid} of {grid} rows and columns")
    numbers = [structure.segment_number for structure in structures]
    if not numbers:
        raise ResultError(f"nothing was segmented in instance {uid}: an empty Segmentation is never sent")
    if numbers != list(range(1, len(numbers) + 1)):
        raise ResultError(f"Segment Numbers for instance {uid} must run 1 to {len(numbers)}, not {numbers}")
    present = set(np.unique(labelmap).tolist()) - {0}
    if present != set(numbers):
        raise ResultError(f"labelmap for instance {uid} holds {sorted(present)}, the structures are {numbers}")


def _describe(
    structure: FoundStructure, source: Sequence[Dataset], algorithm: AlgorithmIdentity
) -> hd.seg.SegmentDescription:
    level = codes.level_of(structure)
    return describe_segment(
        structure.segment_number,
        structure.label,
        Concept(level.code, level.colour),
        algorithm=algorithm,
        tracking_uid=tracking_uid(source, algorithm, structure),
    )


def _content_description(algorithm: AlgorithmIdentity) -> str:
    use = NOT_FOR_DIAGNOSIS if algorithm.research_only else "automatic"
    return plain_text(f"Vertebral bodies, {use}", 64)


def _orientation(header: Dataset) -> list[float] | None:
    """Return the direction cosines of rows and columns in LPS as Patient Orientation tells them, or None."""
    letters = [str(value)[:1] for value in values_in(readable(header, "PatientOrientation"))]
    if len(letters) != 2 or not DIRECTIONS.keys() >= set(letters):
        return None
    row, column = (DIRECTIONS[letter] for letter in letters)
    return None if np.dot(row, column) else [*row, *column]


def _with_plane(header: Dataset, orientation: Sequence[float], spacing_mm: tuple[float, float] | None) -> Dataset:
    """Return the header of a radiograph as if it lay in space, for readers that know Segmentations of volumes only.

    The space is one of its own: a Frame of Reference that nothing else is said to lie in, with the first pixel at its
    origin. Without calibrated spacing the value is 1 by 1: one unit a pixel, which is what viewers use for an image
    without spacing. It measures nothing, nor does the thickness of 1: a projection has none.
    """
    header.FrameOfReferenceUID = derived_uid("frame of reference", str(header.SOPInstanceUID))
    header.PositionReferenceIndicator = None
    header.ImagePositionPatient = [0.0, 0.0, 0.0]
    header.ImageOrientationPatient = [*orientation]
    header.PixelSpacing = [format_number_as_ds(float(value)) for value in spacing_mm or (1.0, 1.0)]
    header.SliceThickness = header.SpacingBetweenSlices = format_number_as_ds(1.0)
    return header


def _add_nominal_geometry(result: Dataset, spacing_mm: tuple[float, float] | None) -> None:
    """Add the two macros that OHIF 3.13 reads unconditionally from the Shared Functional Groups.

    A radiograph has no Frame of Reference, so PS3.3 A.51.5 asks for neither. Without calibrated spacing the value is
    1 by 1: one unit a pixel, which is what viewers use for an image without spacing. It measures nothing. A projection
    has no thickness either, but highdicom opens no Pixel Measures without one.
    """
    measures = Dataset()
    measures.PixelSpacing = [format_number_as_ds(float(value)) for value in spacing_mm or (1.0, 1.0)]
    measures.SliceThickness = format_number_as_ds(1.0)
    orientation = Dataset()
    orientation.ImageOrientationPatient = _NOMINAL_ORIENTATION
    groups = result.SharedFunctionalGroupsSequence[0]
    groups.PixelMeasuresSequence = [measures]
    groups.PlaneOrientationSequence = [orientation]
