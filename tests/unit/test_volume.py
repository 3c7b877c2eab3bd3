"""MR Series become volumes with exact geometry, or a sentence; never a wrong volume."""

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.pixels.utils import compress
from pydicom.uid import RLELossless

from models.contracts import SpineVolume
from operators.dicom.volume import VolumeError, VolumePlan, plan_volumes, read_volume
from tests.made_mr import SAGITTAL, made_enhanced_mr, made_mr, series_of

SHAPE = (7, 10, 12)


def voxels(dtype: type = np.uint16) -> NDArray[np.integer]:
    """Every voxel another value."""
    return np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)


def planned(datasets: list, folder: Path) -> VolumePlan:  # type: ignore[type-arg]
    """Plan the volumes of instances as they lie on disk."""
    return plan_volumes(series_of(datasets, folder))


def read(datasets: list, folder: Path) -> SpineVolume:  # type: ignore[type-arg]
    """Read the chosen volume of instances."""
    return read_volume(planned(datasets, folder).chosen, contrast="T2w")


def oblique(turns: tuple[float, float, float], spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    """The sagittal affine turned about x, y and z (radians) and stretched."""
    matrix = np.eye(3)
    for axis, angle in enumerate(turns):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.roll(np.roll(np.array([[1, 0, 0], [0, c, -s], [0, s, c]]), axis, 0), axis, 1)
        matrix = turn @ matrix
    affine = np.eye(4)
    affine[:3, :3] = matrix @ (SAGITTAL[:3, :3] / np.linalg.norm(SAGITTAL[:3, :3], axis=0)) * spacing
    affine[:3, 3] = (-31.25, 12.5, 100.75)
    return affine


def test_stored_values_and_geometry_come_through(tmp_path: Path) -> None:
    """Slices along rows × columns, the affine at the voxels' centres."""
    volume = read(made_mr(voxels()), tmp_path)

    # Rows × columns points to the right here: the first slice is the leftmost.
    np.testing.assert_array_equal(volume.voxels, voxels()[::-1])
    np.testing.assert_allclose(volume.affine @ [0, 0, 0, 1], SAGITTAL @ [6, 0, 0, 1])
    np.testing.assert_allclose(volume.affine @ [6, 3, 5, 1], SAGITTAL @ [0, 3, 5, 1])


@settings(deadline=None, max_examples=40)
@given(
    turns=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    spacing=st.tuples(st.floats(1, 6), st.floats(0.3, 2), st.floats(0.3, 2)),
    order=st.permutations(range(SHAPE[0])),
)
def test_oblique_shuffled_and_stretched_stacks_keep_every_voxels_place(
    tmp_path_factory: pytest.TempPathFactory,
    turns: tuple[float, float, float],
    spacing: tuple[float, float, float],
    order: list[int],
) -> None:
    """Each value is found at the point in the patient where it was put."""
    affine = oblique(turns, spacing)
    datasets = made_mr(voxels(), affine)

    volume = read([datasets[index] for index in order], tmp_path_factory.mktemp("s"))

    for index in ((0, 0, 0), (6, 9, 11), (2, 7, 3)):
        place = np.linalg.solve(volume.affine, affine @ [*index, 1])[:3]
        np.testing.assert_allclose(place, np.rint(place), atol=2e-3)
        assert volume.voxels[tuple(np.rint(place).astype(int))] == voxels()[index]


@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_all_axis_aligned_orientations_keep_every_voxels_place(
    tmp_path: Path, axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    """48 ways to lay slices, rows and columns along the patient's axes, either way round."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(axes)] * np.array([4.0, 1.0, 0.5]) * signs
    affine[:3, 3] = (5, -7, 11)

    volume = read(made_mr(voxels(), affine), tmp_path)

    place = np.linalg.solve(volume.affine, affine @ [2, 7, 3, 1])[:3]
    assert volume.voxels[tuple(np.rint(place).astype(int))] == voxels()[2, 7, 3]


def test_signed_values_are_rescaled(tmp_path: Path) -> None:
    """Rescale Slope and Intercept of each instance."""
    signed = voxels(np.int16) - 400

    volume = read(made_mr(signed, rescale=(0.5, 10.0)), tmp_path)

    np.testing.assert_allclose(volume.voxels, (signed[::-1] * 0.5 + 10).astype(np.float32))


def test_compressed_slices_are_decoded(tmp_path: Path) -> None:
    """RLE here; the other syntaxes go through the same decoders as radiographs."""
    datasets = made_mr(voxels())
    for dataset in datasets:
        compress(dataset, RLELossless)

    np.testing.assert_array_equal(read(datasets, tmp_path).voxels, voxels()[::-1])


@pytest.mark.parametrize("order", [None, [3, 1, 0, 2, 6, 5, 4]])
def test_enhanced_multi_frame_is_the_same_volume(tmp_path: Path, order: list[int] | None) -> None:
    """Position, orientation, spacing and rescale stand in the functional groups; frames in any order."""
    volume = read([made_enhanced_mr(voxels(), order=order)], tmp_path)

    np.testing.assert_array_equal(volume.voxels, 2.0 * voxels()[::-1] - 5)
    np.testing.assert_allclose(volume.affine @ [0, 0, 0, 1], SAGITTAL @ [6, 0, 0, 1])


def test_a_gap_between_slices_is_a_spacing(tmp_path: Path) -> None:
    """Slices of 3 mm every 4.4 mm: Slice Thickness does not matter."""
    affine = SAGITTAL.copy()
    affine[0, 0] = 4.4

    volume = read(made_mr(voxels(), affine, SliceThickness="3"), tmp_path)

    assert volume.spacing_mm == pytest.approx((4.4, 1, 1))


def test_a_missing_slice_is_named_and_no_volume_made(tmp_path: Path) -> None:
    """A volume with a slice less in the middle would shift everything beyond."""
    datasets = made_mr(voxels())
    missing = datasets.pop(3)

    with pytest.raises(VolumeError, match=r"1 slice\(s\) missing after .*8.00 mm lie between") as error:
        planned(datasets, tmp_path)
    assert str(missing.SeriesInstanceUID) in str(error.value)


def test_uneven_slices_make_no_volume(tmp_path: Path) -> None:
    """A series whose steps are no multiples of each other."""
    datasets = made_mr(voxels())
    datasets[3].ImagePositionPatient[0] += 1.3

    with pytest.raises(VolumeError, match="unevenly spaced, 2.70 to 5.30 mm"):
        planned(datasets, tmp_path)


@pytest.mark.parametrize(
    ("spacing", "reason"),
    [
        ((4.0, 300.0, 300.0), "Pixel Spacing 300 × 300 mm makes a slice of 3.0 × 3.6 m, larger than any patient"),
        ((4.0, 0.001, 1.0), "Pixel Spacing 0.001 × 1 mm is finer than any scanner's"),
        ((10_000.0, 1.0, 1.0), "neighbouring slices lie 10000.0 mm apart"),
    ],
)
def test_a_spacing_that_no_scanner_has_makes_no_volume(
    spacing: tuple[float, float, float], reason: str, tmp_path: Path
) -> None:
    """It would be resampled to more voxels than there is memory for; the sentence names the value."""
    with pytest.raises(VolumeError, match=reason):
        planned(made_mr(voxels(), oblique((0, 0, 0), spacing)), tmp_path)


def test_slices_offset_within_their_plane_make_no_volume(tmp_path: Path) -> None:
    """A sheared stack is no box of voxels."""
    datasets = made_mr(voxels())
    for index, dataset in enumerate(datasets):
        dataset.ImagePositionPatient[1] += 0.4 * index

    with pytest.raises(VolumeError, match="offset against each other by up to 2.4 mm"):
        planned(datasets, tmp_path)


def test_three_plane_localizers_make_no_volume(tmp_path: Path) -> None:
    """Mixed orientations, few slices each."""
    coronal = np.array([[0, 0, 1.0, 0], [4.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])
    datasets = [*made_mr(voxels()[:3]), *made_mr(voxels()[:3], coronal, series=2)]

    with pytest.raises(VolumeError, match="3 slices in one plane, 5 are needed; it holds 2 sets"):
        planned(datasets, tmp_path)


def test_two_echoes_are_two_volumes_and_the_longer_is_taken(tmp_path: Path) -> None:
    """Each is whole by itself; the note says which was not taken."""
    short, long = made_mr(voxels(), EchoTime="20"), made_mr(voxels() + 1000, EchoTime="98")
    for dataset in long:
        dataset.SOPInstanceUID += ".1"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    mixed = [dataset for pair in zip(short, long, strict=True) for dataset in pair]

    plan = planned(mixed, tmp_path)

    assert len(plan.stacks) == 2
    assert read_volume(plan.chosen, contrast="T2w").voxels.min() == 1000
    assert plan.notes == (
        "the series holds 2 volumes: 7 slices (image type M, echo time 98) was taken, "
        "not 7 slices (image type M, echo time 20)",
    )


def test_every_slice_twice_is_two_volumes(tmp_path: Path) -> None:
    """A repeated acquisition under one Series; by the numbers the first is taken whole."""
    first, second = made_mr(voxels()), made_mr(voxels() + 1000)
    for dataset in second:
        dataset.SOPInstanceUID += ".1"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.InstanceNumber += len(first)

    plan = planned([*second, *first], tmp_path)

    assert read_volume(plan.chosen, contrast="T2w").voxels.max() < 1000
    assert "every slice is there 2 times" in plan.notes[0]


def test_a_repeated_position_costs_no_slice(tmp_path: Path) -> None:
    """One slice twice: the first by its number stays, the other is named."""
    datasets = made_mr(voxels())
    again = made_mr(voxels() + 1000)[2]
    again.SOPInstanceUID += ".1"
    again.file_meta.MediaStorageSOPInstanceUID = again.SOPInstanceUID
    again.InstanceNumber = 99

    plan = planned([again, *datasets], tmp_path)

    np.testing.assert_array_equal(read_volume(plan.chosen, contrast="T2w").voxels, voxels()[::-1])
    assert str(again.SOPInstanceUID) in plan.notes[0]


def test_a_frame_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    """Cut short on the way."""
    datasets = made_mr(voxels())
    datasets[4].PixelData = datasets[4].PixelData[:20]

    with pytest.raises(VolumeError, match=str(datasets[4].SOPInstanceUID)):
        read(datasets, tmp_path)


def test_frames_without_a_place_are_left_out_with_a_sentence(tmp_path: Path) -> None:
    """A dose page or the like among the slices."""
    datasets = made_mr(voxels())
    del datasets[6].ImagePositionPatient

    plan = planned(datasets, tmp_path)

    assert plan.chosen.shape == (6, 10, 12)
    left_out = f"1 frame(s) with no Image Position (Patient) were left out: {datasets[6].SOPInstanceUID}"
    assert plan.notes == (left_out,)
