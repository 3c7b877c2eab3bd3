"""Label volumes outside DICOM: NIfTI and MetaImage through SimpleITK, and the truth that a phantom comes with.

Frame: labelmaps are indexed with the slowest axis of the file first; the affine leads from an index in that order to
LPS mm. ITK speaks LPS whatever the file says (NIfTI itself is RAS).
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from operators.dicom.label_images.array_files import read_levels_beside
from operators.dicom.label_images.contracts import LabelImage, LabelImageError, canonical_level
from operators.dicom.label_images.schemes import SPINEPS_STRUCTURES, SPINEPS_VERTEBRAE, scheme_of

VOLUME_ENDINGS = (".nii.gz", ".nii", ".mha")
MOST_VALUES = 128
"""More values than any label volume of a spine has, and fewer than any image."""

TRUTH_ARRAYS = ("vertebrae", "subregions")


def is_label_volume(path: Path) -> bool:
    """Whether a volume holds few whole numbers, none of them negative, as label maps do and images do not."""
    try:
        return holds_labels(SimpleITK.GetArrayViewFromImage(_read(path)))
    except LabelImageError:
        return False


def holds_labels(voxels: NDArray[np.generic]) -> bool:
    """Whether voxels are few whole numbers, none of them negative."""
    values = np.unique(voxels)
    return len(values) <= MOST_VALUES and bool((values >= 0).all()) and np.array_equal(values, np.round(values))


def read_volume_file(path: Path) -> LabelImage:
    """Read a NIfTI or MetaImage label map; its values are named by `<name>.json` beside it, or else by its scheme.

    Raises:
        LabelImageError: no such volume, not in three dimensions, no whole numbers, or values that nothing names.
    """
    image = _read(path)
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise LabelImageError(f"{path} has {image.GetDimension()} dimensions; a label map of three was expected")
    stored = SimpleITK.GetArrayFromImage(image)
    labelmap = stored.astype(np.uint16)
    if not np.array_equal(labelmap, stored):
        raise LabelImageError(f"{path} holds other values than whole numbers from 0: an image, not a label map")
    affine = _affine(image)
    ending = ending_of(path)
    values = {int(value) for value in np.unique(labelmap)} - {0}
    named = read_levels_beside(path.with_name(path.name.removesuffix(ending) + ".x"))
    scheme = scheme_of(values, ending=ending)
    names = scheme.names if named is None else named
    nameless = sorted(values - names.keys())
    if nameless:
        table = "its table beside it" if named is not None else f"{scheme.name} numbering"
        raise LabelImageError(
            f"{path} holds values that {table} does not name: {nameless[:5]}; name all of them in "
            f"{path.name.removesuffix(ending)}.json"
        )
    return LabelImage(
        labelmap,
        {value: names[value] for value in values},
        spacing_of(affine),
        affine=affine,
        partial=frozenset() if named is not None else frozenset(names[value] for value in values & {*scheme.partial}),
    )


def read_image_file(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read the voxels of a NIfTI or MetaImage volume, slowest axis first, and the affine from their index to LPS mm.

    Raises:
        LabelImageError: no such volume, or not in three dimensions.
    """
    image = _read(path)
    if image.GetDimension() != 3:
        raise LabelImageError(f"{path} has {image.GetDimension()} dimensions; a volume of three was expected")
    return SimpleITK.GetArrayFromImage(image).astype(np.float32), _affine(image)


def write_volume_file(
    path: Path, labelmap: NDArray[np.uint16], affine: NDArray[np.float64], names: Mapping[int, str]
) -> None:
    """Write a label map as NIfTI or MetaImage, and beside it the table `<name>.json` that names its values.

    labelmap: the slowest axis of the file first; affine: from an index in that order to LPS mm, axes at right angles.
    """
    image = SimpleITK.GetImageFromArray(labelmap)
    spacing = np.array(spacing_of(affine))
    image.SetSpacing(spacing[::-1].tolist())
    image.SetDirection((affine[:3, :3] / spacing)[:, ::-1].ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(path))
    table = {"levels": {str(value): name for value, name in sorted(names.items())}}
    path.with_name(f"{stem_of(path)}.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def read_truth(path: Path) -> tuple[LabelImage, ...] | None:
    """Read both maps of the truth that `spondyl phantom mr` writes; None where an NPZ file is something else.

    Raises:
        LabelImageError: the maps are of no known form.
    """
    with np.load(path, allow_pickle=False) as arrays:
        if not {*TRUTH_ARRAYS, "affine"} <= set(arrays):
            return None
        vertebrae, subregions = (np.asarray(arrays[name], np.uint16) for name in TRUTH_ARRAYS)
        affine = np.asarray(arrays["affine"], np.float64)
        levels = json.loads(str(arrays["levels"])) if "levels" in arrays else {}
    given = {int(value): canonical_level(level) for value, level in levels.items()}
    names: Mapping[int, str] = {**SPINEPS_VERTEBRAE.names, **given}
    return tuple(
        LabelImage(labelmap, _names(path, labelmap, table), spacing_of(affine), affine=affine)
        for labelmap, table in ((vertebrae, names), (subregions, SPINEPS_STRUCTURES.names))
    )


def ending_of(path: Path) -> str:
    """The ending of a file name in lower case, both halves of `.nii.gz`."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def stem_of(path: Path) -> str:
    """The name of a file without its ending."""
    return path.name[: len(path.name) - len(ending_of(path))]


def spacing_of(affine: NDArray[np.float64]) -> tuple[float, ...]:
    """Size of a voxel in mm along each axis of the labelmap."""
    return tuple(float(size) for size in np.linalg.norm(affine[:3, :3], axis=0))


def _names(path: Path, labelmap: NDArray[np.uint16], table: Mapping[int, str]) -> Mapping[int, str]:
    values = [int(value) for value in np.unique(labelmap) if value != 0]
    nameless = [value for value in values if value not in table]
    if nameless:
        raise LabelImageError(f"{path} holds values that SPINEPS' numbering does not name: {nameless[:5]}")
    return {value: table[value] for value in values}


def _read(path: Path) -> SimpleITK.Image:
    try:
        return SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise LabelImageError(f"{path} is no volume that ITK can read") from error


def _affine(image: SimpleITK.Image) -> NDArray[np.float64]:
    """Voxel index, slowest axis first → LPS mm."""
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = (direction * np.array(image.GetSpacing()))[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return affine
