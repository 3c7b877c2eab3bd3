"""Label images from files: predictions and references, in every form they come in.

| file | read as |
| --- | --- |
| DICOM Segmentation | `segmentation_files`: BINARY and LABELMAP; Segment Label = level |
| `.png` | `array_files`: a value per level, with a JSON table beside it or the public data sets' numbering |
| `.npz` | `array_files`: the array `labelmap`, with `levels` in it or a JSON table beside it |
| `truth.npz` | `volume_files`: both maps of an MR phantom |
| `.nii.gz`, `.nii`, `.mha` | `volume_files`: named by a JSON table beside it, or by SPINEPS' or SPIDER's numbering |
| `.json` | `annotation_files`: key points or polygons as the Cervical Spine X-ray Atlas (CSXA) has them |
| `.txt`, `.mrk` | `annotation_files`: vertebra coordinates as the NHANES II radiographs have them |

`on_grid_of` brings two volumes onto one grid; `find_label_files` looks through folders and says which image each file
is about.
"""

from operators.dicom.label_images.contracts import LabelImage, LabelImageError, canonical_level
from operators.dicom.label_images.folders import LabelFile, find_label_files
from operators.dicom.label_images.grids import on_grid_of
from operators.dicom.label_images.reading import read_label_image, read_label_maps
from operators.dicom.label_images.schemes import SPINEPS_STRUCTURES, SPINEPS_VERTEBRAE
from operators.dicom.label_images.volume_files import (
    VOLUME_ENDINGS,
    ending_of,
    holds_labels,
    is_label_volume,
    read_image_file,
    stem_of,
    write_volume_file,
)

__all__ = [
    "SPINEPS_STRUCTURES",
    "SPINEPS_VERTEBRAE",
    "VOLUME_ENDINGS",
    "LabelFile",
    "LabelImage",
    "LabelImageError",
    "canonical_level",
    "ending_of",
    "find_label_files",
    "holds_labels",
    "is_label_volume",
    "on_grid_of",
    "read_image_file",
    "read_label_image",
    "read_label_maps",
    "stem_of",
    "write_volume_file",
]
