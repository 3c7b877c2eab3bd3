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
from operators.dicom.identity import AlgorithmIdentity, Profile, result_uid
from operators.dicom.mr_acquisition import readable
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
        profile: `standard` is BINARY, a frame per Segment, as the standard has it for an image without Frame of
            Reference; `ohif` is a label map of one frame with nominal geometry (see `_add_nominal_geometry`).
        spacing_mm: calibrated (row, column) spacing in the patient, or None.

    Raises:
        ResultError: labelmap, structures and source do not fit together, or a Segment would be empty.
    """
    check_labelmap(labelmap, source, structures)
    headers = completed_headers(source)
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
