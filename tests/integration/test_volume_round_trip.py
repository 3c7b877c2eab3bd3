"""MR in, Segmentation out: another reader of the bytes finds every voxel at the point where the engine saw it."""

from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset

from models.contracts import SpineStructure, StructureKind, VolumeResult
from operators.dicom.identity import AlgorithmIdentity, Profile
from operators.dicom.series import load_series
from operators.dicom.verify import encode
from operators.dicom.volume import SliceStack, VolumeError, plan_volumes, read_volume
from operators.dicom.volume_segmentation import build_volume_segmentations
from operators.dicom.volume_verify import verify_volume_segmentation
from tests.made_mr import SAGITTAL, made_enhanced_mr, made_mr, series_of
from tests.made_volume import made_result, made_voxels

ALGORITHM = AlgorithmIdentity("spineps-made", "1", "ab" * 32, "0.1")
PROFILES: tuple[Profile, ...] = ("standard", "ohif")
NEAR = 0.02  # of a voxel: what Decimal Strings of 16 characters and float32 leave


def discs_of(labelmap: NDArray[np.uint16], stack: SliceStack) -> VolumeResult:
    """Numbered discs as a result; of the substructures, a disc's uppermost voxels are an end-plate."""
    subregions = (labelmap > 0).astype(np.uint16)
    subregions[:, 1:][(labelmap[:, 1:] > 0) & (labelmap[:, :-1] == 0)] = 2

    def structure(of: NDArray[np.uint16], number: int, label: str, spineps_label: int) -> SpineStructure:
        x, y, z = stack.affine[:3, :3] @ np.argwhere(of == number).mean(0) + stack.affine[:3, 3]
        volume = np.count_nonzero(of == number) * abs(float(np.linalg.det(stack.affine[:3, :3])))
        kind: StructureKind = "disc" if of is labelmap else "substructure"
        return SpineStructure(number, label, kind, None, spineps_label, 0.9, (x, y, z), volume)

    return VolumeResult(
        vertebra_labelmap=labelmap,
        subregion_labelmap=subregions,
        vertebrae=tuple(structure(labelmap, n, f"disc {n}", 100 + n) for n in range(1, int(labelmap.max()) + 1)),
        substructures=(
            structure(subregions, 1, "intervertebral disc", 100),
            structure(subregions, 2, "vertebral end-plate", 62),
        ),
        numbering="unknown",
    )


def held_against_another_reader(result: VolumeResult, stack: SliceStack, profile: Profile) -> None:
    """Decode both Segmentations with highdicom and look each voxel up on the grid of the stack, by its place in LPS."""
    built = build_volume_segmentations(result, stack, algorithm=ALGORITHM, profile=profile)
    for dataset, labelmap, structures in (
        (built.vertebrae, result.vertebra_labelmap, result.vertebrae),
        (built.substructures, result.subregion_labelmap, result.substructures),
    ):
        verify_volume_segmentation(encode(dataset), labelmap, stack, structures)
        volume = hd.seg.segread(BytesIO(encode(dataset))).get_volume(combine_segments=True)
        places = np.argwhere(volume.array)
        lps = places @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        back = (lps - stack.affine[:3, 3]) @ np.linalg.inv(stack.affine[:3, :3]).T
        np.testing.assert_allclose(back, np.rint(back), atol=NEAR)
        seen = np.zeros_like(labelmap)
        seen[tuple(np.rint(back).astype(int).T)] = volume.array[volume.array > 0]
        np.testing.assert_array_equal(seen, labelmap)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["lumbar_IVD_11", "lumbar_VB2_02"])
def test_the_reference_of_a_real_volume_goes_out_where_it_came_in(shared: Path, name: str, profile: Profile) -> None:
    """Real MR and its reference labelmap, whose slices are counted as Instance Numbers are."""
    folder = shared / "data" / "mr" / name
    stack = plan_volumes(load_series(folder).series[0]).chosen
    reference = np.load(folder / "reference_labelmap.npz")["labelmap"].astype(np.uint16)

    assert stack.shape == reference.shape
    labelmap = reference[[frame.number - 1 for frame in stack.frames]]
    held_against_another_reader(discs_of(_without_gaps(labelmap), stack), stack, profile)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("turned", [(False, False, False), (True, False, False), (False, True, True)])
def test_enhanced_frames_in_any_order_come_back_in_place(
    tmp_path: Path, turned: tuple[bool, bool, bool], profile: Profile
) -> None:
    """One multi-frame instance, axes either way round, frames shuffled."""
    affine = SAGITTAL.copy()
    affine[:3, :3] *= np.where(turned, -1, 1)
    source = made_enhanced_mr(made_voxels(), affine, order=[3, 1, 0, 2, 6, 5, 4])
    stack = plan_volumes(series_of([source], tmp_path)).chosen

    held_against_another_reader(made_result(stack.affine), stack, profile)


@pytest.mark.parametrize("profile", PROFILES)
def test_geometry_that_was_rounded_on_the_way_still_comes_back(tmp_path: Path, profile: Profile) -> None:
    """Gateways write direction cosines with four decimals and positions with two."""
    turn = np.linalg.qr(np.array([[1, 0.12, -0.2], [-0.1, 1, 0.15], [0.21, -0.14, 1]]))[0]
    affine = SAGITTAL.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    datasets = made_mr(made_voxels(), affine)
    for dataset in datasets:
        dataset.ImageOrientationPatient = [f"{float(value):.4f}" for value in dataset.ImageOrientationPatient]
        dataset.ImagePositionPatient = [f"{float(value):.2f}" for value in dataset.ImagePositionPatient]
    stack = plan_volumes(series_of(datasets, tmp_path)).chosen

    held_against_another_reader(made_result(stack.affine), stack, profile)


def _stack_of_one(path: str, folder: Path) -> SliceStack:
    """Five slices with the pixels of one file, in its own transfer syntax."""
    datasets: list[FileDataset] = []
    for index in range(5):
        dataset = dcmread(path)
        dataset.SOPInstanceUID += f".{index}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.InstanceNumber = index + 1
        x, y, z = (float(value) for value in dataset.ImagePositionPatient)
        dataset.ImagePositionPatient = [x, y, z + 1.5 * index]
        datasets.append(dataset)
    return plan_volumes(series_of(datasets, folder)).chosen


@pytest.mark.parametrize("syntax", ["RLE", "jp2klossless", "jpeg_ls_lossless", "bigendian", "implicit", "expb"])
def test_a_transfer_syntax_changes_no_voxel(tmp_path: Path, syntax: str) -> None:
    """A scanner's slice of signed values, as it was and as others compressed it."""
    plain, other = (str(get_testdata_file(name)) for name in ("MR_small.dcm", f"MR_small_{syntax}.dcm"))

    as_it_was = read_volume(_stack_of_one(plain, tmp_path / "plain"), contrast="other")
    as_stored = read_volume(_stack_of_one(other, tmp_path / "other"), contrast="other")

    assert as_it_was.voxels.shape == (5, 64, 64)
    assert np.ptp(as_it_was.voxels) > 1000
    np.testing.assert_array_equal(as_stored.voxels, as_it_was.voxels)
    np.testing.assert_array_equal(as_stored.affine, as_it_was.affine)


def test_a_scanners_slice_that_was_cut_short_is_named(tmp_path: Path) -> None:
    """Half the pixels are there."""
    stack = _stack_of_one(str(get_testdata_file("MR_truncated.dcm")), tmp_path)

    with pytest.raises(VolumeError, match=f"{stack.frames[0].instance.sop_instance_uid} cannot be decoded"):
        read_volume(stack, contrast="other")


def _without_gaps(labelmap: NDArray[np.uint16]) -> NDArray[np.uint16]:
    values = np.unique(labelmap[labelmap > 0])
    return np.where(labelmap > 0, np.searchsorted(values, labelmap) + 1, 0).astype(np.uint16)
