"""The overlay as a Secondary Capture (PS3.3 A.8.1), for viewers that show no Segmentation."""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
import numpy as np
from highdicom.base import SOPClass
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from models.contracts import FoundStructure
from operators.dicom import codes
from operators.dicom.identity import AlgorithmIdentity
from operators.dicom.picture import RGB, Caption, render_overlay
from operators.dicom.provenance import (
    NOT_FOR_DIAGNOSIS,
    add_provenance,
    completed_headers,
    result_keywords,
    series_description,
    source_reference,
)
from operators.dicom.segmentation import check_labelmap


def build_overlay(
    pixels: NDArray[np.float32],
    labelmap: NDArray[np.uint16],
    structures: Sequence[FoundStructure],
    source: Sequence[Dataset],
    *,
    algorithm: AlgorithmIdentity,
    caption: Caption | None = None,
) -> Dataset:
    """Return the overlay of a radiograph as an RGB Secondary Capture in the same study.

    Args:
        pixels: (rows, columns) in 0–1, dense tissue bright.
        labelmap: (rows, columns) on the source grid, 0 = background, else Segment Number.
        structures: one per Segment Number, 1 … n.
        source: the one instance that was segmented.
        algorithm: what made the labelmap.
        caption: what stands beside the level names; by default `default_caption(algorithm)`.

    Raises:
        ResultError: labelmap, structures and source do not fit together.
    """
    check_labelmap(labelmap, source, structures)
    picture = render_overlay(pixels, labelmap, structures, caption or default_caption(algorithm))
    return picture_as_secondary_capture(picture, source, algorithm)


def default_caption(algorithm: AlgorithmIdentity) -> Caption:
    """Return the footer that every picture carries."""
    use = NOT_FOR_DIAGNOSIS if algorithm.research_only else "automatic"
    return Caption(footer=f"Spondyl {algorithm.name} {algorithm.version} - {use}")


def picture_as_secondary_capture(
    picture: RGB,
    source: Sequence[Dataset],
    algorithm: AlgorithmIdentity,
    *,
    of: str = "radiograph",
    patient_orientation: Sequence[str] = (),
) -> Dataset:
    """Return a picture (rows, columns, 3) as a Secondary Capture derived from the source instances.

    No Pixel Spacing is given: the picture is scaled for reading, and lengths are to be measured on the source.
    of: what was drawn on, for people. patient_orientation: of the picture; empty where it is not known.
    """
    header = completed_headers(source)[0]
    keywords = result_keywords(source, algorithm, kind="overlay")
    equipment = keywords.pop("contributing_equipment")
    result = SOPClass(
        study_instance_uid=header.StudyInstanceUID,
        sop_class_uid=SecondaryCaptureImageStorage,
        modality="OT",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description=series_description("Vertebrae overlay", algorithm),
        **keywords,
    )
    result.copy_patient_and_study_information(header)
    result.ContributingEquipmentSequence = equipment
    # Without a body part that is not paired, Laterality would be asked for (PS3.3 C.7.3.1).
    result.BodyPartExamined = header.get("BodyPartExamined") or "SPINE"
    result.ConversionType = "WSD"
    result.ImageType = ["DERIVED", "SECONDARY", "OVERLAY"]
    result.PatientOrientation = [*patient_orientation] or None
    # The picture adds no identification; what is burned into the radiograph stays in it.
    result.BurnedInAnnotation = "YES" if header.get("BurnedInAnnotation") == "YES" else "NO"
    result.DerivationDescription = f"Spine found by an algorithm, drawn on the {of}"
    result.SourceImageSequence = [source_reference(dataset, codes.SOURCE_IMAGE) for dataset in source]
    result.DerivationCodeSequence = [hd.sr.CodedConcept.from_code(codes.SEGMENTATION_DERIVATION)]
    _add_pixels(result, picture)
    add_provenance(result, source, algorithm)
    return result


def _add_pixels(result: Dataset, picture: RGB) -> None:
    """Add the Image Pixel module of an 8-bit RGB image (PS3.3 C.7.6.3)."""
    result.SamplesPerPixel = 3
    result.PhotometricInterpretation = "RGB"
    result.PlanarConfiguration = 0
    result.Rows, result.Columns = picture.shape[:2]
    result.BitsAllocated = result.BitsStored = 8
    result.HighBit = 7
    result.PixelRepresentation = 0
    data = np.ascontiguousarray(picture).tobytes()
    result.PixelData = data + b"\0" * (len(data) % 2)  # PS3.5 8.1.1: even length
    result["PixelData"].VR = "OB"
