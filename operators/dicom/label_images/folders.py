"""Which label images a folder holds, and which image each of them is about."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydicom import dcmread

from operators.dicom.label_images.annotation_files import is_csxa, is_nhanes, read_nhanes
from operators.dicom.label_images.contracts import LabelImageError
from operators.dicom.label_images.reading import READERS, is_dicom
from operators.dicom.label_images.segmentation_files import SEGMENTATION_SOP_CLASSES, referenced_sop_instance_uids
from operators.dicom.label_images.volume_files import VOLUME_ENDINGS, ending_of, is_label_volume, stem_of

_MOST_VALUES = 64
"""More values than any label map of a spine has, and fewer than any radiograph."""


@dataclass(frozen=True)
class LabelFile:
    """A label image that was found.

    names: what its image may be called, the first in tables: the file's stem, or its folder where stems repeat.
    sop_instance_uids: the images that it is about, where the file or its DICOM neighbours say so.
    """

    path: Path
    names: tuple[str, ...]
    sop_instance_uids: frozenset[str]

    @property
    def name(self) -> str:
        """What its image is called in tables."""
        return self.names[0]


def find_label_files(root: Path) -> tuple[LabelFile, ...]:
    """Find the label images under a folder, whatever else lies between them, or take the one file given.

    A DICOM file counts when it is a Segmentation. A JSON file counts as CSXA when it has `shapes`, a text file
    as NHANES II when its first line starts with a level. A PNG
    beside such a file is its radiograph, not a label map, and so is a PNG in colour or of many grey values.
    A volume counts when it holds few whole numbers.
    A label map that is alone in its folder is also about the DICOM images there.

    Raises:
        LabelImageError: no such path, or no label image in it.
    """
    if root.is_file():
        return (_label_file(root, (stem_of(root),), alone=True),)
    if not root.is_dir():
        raise LabelImageError(f"{root} does not exist")
    paths = [path for path in sorted(root.rglob("*")) if path.is_file() and _is_label_file(path)]
    if not paths:
        raise LabelImageError(
            f"{root} holds no label image: DICOM SEG, NIfTI, MHA, PNG, NPZ or an annotation file was expected"
        )
    stems = Counter(stem_of(path) for path in paths)
    folders = Counter(path.parent for path in paths)
    return tuple(
        _label_file(path, _names(root, path, stems, folders), alone=folders[path.parent] == 1) for path in paths
    )


def _names(root: Path, path: Path, stems: Counter[str], folders: Counter[Path]) -> tuple[str, ...]:
    """The names of a file that no other file under the root has, or else its path below the root."""
    stem = [stem_of(path)] if stems[stem_of(path)] == 1 else []
    folder = [path.parent.name] if path.parent != root and folders[path.parent] == 1 else []
    return tuple(stem + folder) or (path.relative_to(root).with_name(stem_of(path)).as_posix(),)


def _label_file(path: Path, names: tuple[str, ...], *, alone: bool) -> LabelFile:
    if is_dicom(path):
        uids = referenced_sop_instance_uids(dcmread(path, stop_before_pixels=True))
    else:
        uids = _image_uids(path.parent) if alone else frozenset()
    return LabelFile(path, names, uids)


def _image_uids(folder: Path) -> frozenset[str]:
    """The SOP Instance UIDs of the DICOM files in a folder."""
    return frozenset(
        str(dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).get("SOPInstanceUID", ""))
        for path in folder.iterdir()
        if path.is_file() and is_dicom(path)
    ) - {""}


def _is_label_file(path: Path) -> bool:
    if is_dicom(path):
        header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        return header.get("SOPClassUID") in SEGMENTATION_SOP_CLASSES
    suffix = ending_of(path)
    if suffix in VOLUME_ENDINGS:
        return is_label_volume(path)
    if READERS.get(suffix) is read_nhanes:
        return is_nhanes(path)
    if suffix == ".json":
        return is_csxa(path)
    if suffix == ".png":
        beside = path.with_suffix(".json")
        return not (beside.is_file() and is_csxa(beside)) and _is_label_picture(path)
    return suffix in READERS and suffix != ".dcm"


def _is_label_picture(path: Path) -> bool:
    """Whether a PNG has one channel and few values, as label maps do and radiographs do not."""
    try:
        with Image.open(path) as picture:
            if len(picture.getbands()) != 1:
                return False
            return len(np.unique(np.asarray(picture))) <= _MOST_VALUES
    except UnidentifiedImageError:
        return False
