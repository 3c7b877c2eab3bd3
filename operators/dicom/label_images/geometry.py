"""How a label volume lies in the patient, by the MR Series in its folder."""

from dataclasses import replace
from pathlib import Path

from operators.dicom.label_images.contracts import LabelImage
from operators.dicom.label_images.volume_files import spacing_of
from operators.dicom.series import load_series
from operators.dicom.volume import SliceStack, VolumeError, plan_volumes


def with_geometry_beside(path: Path, image: LabelImage) -> LabelImage:
    """Give a volume without an affine that of the one MR stack of its shape beside it; else return it unchanged."""
    if image.labelmap.ndim != 3 or image.affine is not None:
        return image
    stacks = [stack for stack in _stacks(path.parent) if stack.shape == image.labelmap.shape]
    if len(stacks) != 1:
        return image
    return replace(image, affine=stacks[0].affine, spacing_mm=spacing_of(stacks[0].affine))


def _stacks(folder: Path) -> list[SliceStack]:
    """The MR stacks of a folder; what makes no volume has none."""
    found: list[SliceStack] = []
    for series in load_series(sorted(path for path in folder.iterdir() if path.is_file())).series:
        if series.modality != "MR":
            continue
        try:
            found += plan_volumes(series).stacks
        except VolumeError:
            continue
    return found
