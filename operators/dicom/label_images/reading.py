"""One door for every form of label image."""

from collections.abc import Callable, Mapping
from pathlib import Path

from operators.dicom.label_images.annotation_files import read_csxa, read_nhanes
from operators.dicom.label_images.array_files import read_npz, read_png
from operators.dicom.label_images.contracts import LabelImage, LabelImageError
from operators.dicom.label_images.geometry import with_geometry_beside
from operators.dicom.label_images.segmentation_files import read_segmentation
from operators.dicom.label_images.volume_files import VOLUME_ENDINGS, ending_of, read_truth, read_volume_file

READERS: Mapping[str, Callable[[Path], LabelImage]] = {
    ".dcm": read_segmentation,
    ".png": read_png,
    ".npz": read_npz,
    ".json": read_csxa,
    ".txt": read_nhanes,
    ".mrk": read_nhanes,
    **dict.fromkeys(VOLUME_ENDINGS, read_volume_file),
}
"""The reader for a file name's ending; DICOM is known by its preamble too, whatever the file is called."""

_PREAMBLE_END = 132


def is_dicom(path: Path) -> bool:
    """Whether a file starts as PS3.10 7.1 wants it: 128 bytes, then `DICM`."""
    with path.open("rb") as stream:
        return stream.read(_PREAMBLE_END)[128:] == b"DICM"


def read_label_image(path: Path) -> LabelImage:
    """Read a prediction or a reference.

    Raises:
        LabelImageError: there is no such file, nothing here reads it, or it is not what its ending says.
    """
    if not path.is_file():
        raise LabelImageError(f"{path} is no file")
    reader = read_segmentation if is_dicom(path) else READERS.get(ending_of(path))
    if reader is None:
        raise LabelImageError(f"{path}: a DICOM SEG or one of {', '.join(READERS)} was expected")
    if reader is read_segmentation and not is_dicom(path):
        raise LabelImageError(f"{path} is no DICOM file")
    return reader(path)


def read_label_maps(path: Path) -> tuple[LabelImage, ...]:
    """Read every label map of a file: one, but two from the truth of an MR phantom.

    A volume that does not say how it lies in the patient lies as the one MR stack of its shape in its folder.

    Raises:
        LabelImageError: as `read_label_image`.
    """
    truth = read_truth(path) if path.is_file() and ending_of(path) == ".npz" else None
    return truth or (with_geometry_beside(path, read_label_image(path)),)
