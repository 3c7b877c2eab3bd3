"""`spondyl evaluate` for volumes: every form of label volume, on one grid, without resampling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from app.evaluate import evaluate_command
from app.evaluate_volumes import VolumesEvaluation, compare, evaluate_volumes
from operators.dicom.identity import AlgorithmIdentity, Profile
from operators.dicom.label_images import LabelImageError, find_label_files, read_label_maps
from operators.dicom.series import load_series
from operators.dicom.volume import SliceStack, plan_volumes
from operators.dicom.volume_segmentation import build_volume_segmentations
from tests.made_mr import SAGITTAL, made_mr
from tests.made_volume import SHAPE, made_result, made_voxels

STRUCTURES = {1: 41, 2: 49, 3: 61, 4: 100}
"""Segment Number in the made result → SPINEPS' structure."""
VERTEBRAE = {1: 23, 2: 123, 3: 24}
SPIDER = {1: 2, 2: 202, 3: 1}
"""The same in SPIDER's count from below: L5 is 1, L4 is 2, 202 the disc below L4."""


def renumbered(labelmap: NDArray[np.uint16], numbers: Mapping[int, int]) -> NDArray[np.uint16]:
    """Return a labelmap in another numbering."""
    table = np.zeros(int(labelmap.max()) + 1, np.uint16)
    for value, number in numbers.items():
        table[value] = number
    return table[labelmap]


def write_itk(path: Path, labelmap: NDArray[np.generic], affine: NDArray[np.float64] = SAGITTAL) -> Path:
    """Write a volume whose index (slices, rows, columns) lies as the affine says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(labelmap)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing([float(size) for size in spacing[::-1]])
    image.SetDirection([float(value) for value in (affine[:3, :3] / spacing)[:, ::-1].ravel()])
    image.SetOrigin([float(value) for value in affine[:3, 3]])
    SimpleITK.WriteImage(image, str(path))
    return path


def write_series(folder: Path, affine: NDArray[np.float64] = SAGITTAL, *, study: str = "mr study") -> SliceStack:
    """Write the made MR Series and return its stack."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, dataset in enumerate(made_mr(made_voxels(), affine, study=study)):
        dataset.save_as(folder / f"{index}.dcm", enforce_file_format=True)
    return plan_volumes(load_series(folder).series[0]).chosen


def write_segmentations(folder: Path, stack: SliceStack, *, profile: Profile = "standard", shift: int = 0) -> None:
    """Write both Segmentations of the made result, moved along the columns."""
    folder.mkdir(parents=True, exist_ok=True)
    result = made_result(stack.affine)
    result = replace(
        result,
        vertebra_labelmap=np.roll(result.vertebra_labelmap, shift, axis=2),
        subregion_labelmap=np.roll(result.subregion_labelmap, shift, axis=2),
    )
    algorithm = AlgorithmIdentity("spineps-made", "1", "ab" * 32, "0.1")
    built = build_volume_segmentations(result, stack, algorithm=algorithm, profile=profile)
    for segmentation in (built.vertebrae, built.substructures):
        segmentation.save_as(folder / f"{segmentation.SOPInstanceUID}.dcm", enforce_file_format=True)


def evaluated(pred: Path, reference: Path) -> VolumesEvaluation:
    """Evaluate as the command does."""
    return evaluate_volumes(find_label_files(reference), find_label_files(pred), reference_is_file=reference.is_file())


def perfect(evaluation: VolumesEvaluation) -> set[str]:
    """Return the kinds that agree in full."""
    return {row.kind for row in evaluation.summary.kinds if row.dice_mean == 1.0 and row.average_distance_mean == 0.0}


def tilted() -> NDArray[np.float64]:
    """Return a double-oblique geometry."""
    a, b = 0.2, -0.3
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ SAGITTAL[:3, :3]
    affine[:3, 3] = SAGITTAL[:3, 3]
    return affine


@pytest.mark.parametrize("profile", ["standard", "ohif"])
@pytest.mark.parametrize("affine", [SAGITTAL, tilted()], ids=["sagittal", "oblique"])
def test_both_segmentations_of_a_series_are_held_against_one_nifti_reference(
    tmp_path: Path, profile: Profile, affine: NDArray[np.float64]
) -> None:
    """Slices that a Segmentation leaves out as empty are put back; what only one side has is not compared."""
    stack = write_series(tmp_path / "series", affine)
    write_segmentations(tmp_path / "pred", stack, profile=profile)
    result = made_result(affine)
    vertebrae = write_itk(tmp_path / "v.nii.gz", renumbered(result.vertebra_labelmap, VERTEBRAE), stack.affine)
    structures = write_itk(tmp_path / "s.nii.gz", renumbered(result.subregion_labelmap, STRUCTURES), stack.affine)

    of_vertebrae, of_structures = evaluated(tmp_path / "pred", vertebrae), evaluated(tmp_path / "pred", structures)

    assert perfect(of_vertebrae) == {"vertebra", "disc"}
    assert perfect(of_structures) == {"vertebral arch", "vertebral body", "spinal canal", "intervertebral disc"}
    row = of_vertebrae.summary.kind("vertebra")
    assert row is not None
    assert row.instances is not None
    assert (row.instances.annotated, row.instances.level_right) == (2, 2)
    assert of_structures.notes == ("not compared, for no reference has it: vertebra",)


def test_a_reference_in_another_axis_order_and_direction_is_permuted(tmp_path: Path) -> None:
    """The geometry decides where a voxel is, not the order in which a file lists it."""
    labelmap = renumbered(made_result().vertebra_labelmap, VERTEBRAE)
    order, flip = (2, 0, 1), (0, 2)
    turned = np.flip(labelmap.transpose(order), flip)
    step = np.zeros((4, 4))
    step[3, 3] = 1
    for new, old in enumerate(order):
        step[old, new] = -1 if new in flip else 1
        step[old, 3] = labelmap.shape[old] - 1 if new in flip else 0
    pred = write_itk(tmp_path / "p.nii.gz", labelmap)
    reference = write_itk(tmp_path / "r.nii.gz", np.ascontiguousarray(turned), SAGITTAL @ step)

    evaluation = evaluated(pred, reference)

    assert turned.shape != labelmap.shape
    assert perfect(evaluation) == {"vertebra", "disc"}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(np.diag([1.0, 1.1, 1.0, 1.0]), id="another spacing"),
        pytest.param(np.array([[1.0, 0, 0, 0], [0, 1, 0, 0.4], [0, 0, 1, 0], [0, 0, 0, 1]]), id="between voxels"),
        pytest.param(np.array([[1, 0, 0, 0], [0, 0.8, -0.6, 0], [0, 0.6, 0.8, 0], [0, 0, 0, 1]]), id="turned"),
    ],
)  # fmt: skip
def test_grids_that_differ_are_refused_and_nothing_is_resampled(tmp_path: Path, change: NDArray[np.float64]) -> None:
    """A Dice after resampling would measure the resampling."""
    labelmap = renumbered(made_result().vertebra_labelmap, VERTEBRAE)
    pred = write_itk(tmp_path / "p.nii.gz", labelmap, SAGITTAL @ change)
    reference = write_itk(tmp_path / "r.nii.gz", labelmap)

    with pytest.raises(LabelImageError, match=r"p\.nii\.gz has a grid of .*r\.nii\.gz.*nothing is resampled"):
        evaluated(pred, reference)


def test_structures_beyond_the_grid_of_the_reference_are_refused(tmp_path: Path) -> None:
    """A larger prediction may hold nothing where the reference says nothing."""
    labelmap = renumbered(made_result().vertebra_labelmap, VERTEBRAE)
    pred = write_itk(tmp_path / "p.nii.gz", labelmap)
    reference = write_itk(tmp_path / "r.nii.gz", labelmap[:4])

    with pytest.raises(LabelImageError, match="structures beyond the grid"):
        evaluated(pred, reference)


def test_spider_counts_from_below_and_its_cut_vertebrae_do_not_count(tmp_path: Path) -> None:
    """1 is L5, 102 the cut L4, 202 the disc below L4, 100 the canal with its cord."""
    result = made_result()
    spider = renumbered(result.vertebra_labelmap, {**SPIDER, 1: 102})
    spider[result.subregion_labelmap == 3] = 100
    pred = tmp_path / "pred"
    write_itk(pred / "v.nii.gz", renumbered(result.vertebra_labelmap, {**VERTEBRAE, 1: 0}))
    write_itk(pred / "s.nii.gz", renumbered(result.subregion_labelmap, STRUCTURES))

    evaluation = evaluated(pred, write_itk(tmp_path / "1_t2.mha", spider))

    vertebrae = evaluation.summary.kind("vertebra")
    assert vertebrae is not None
    assert vertebrae.instances is not None
    assert (vertebrae.instances.annotated, vertebrae.instances.level_right) == (1, 1)
    assert vertebrae.counts is not None
    assert vertebrae.counts.panoptic_quality == 1.0
    assert perfect(evaluation) == {"disc", "spinal canal with cord"}


def test_a_table_beside_a_volume_names_its_values(tmp_path: Path) -> None:
    """Bodies by instance are then held against vertebra and body together."""
    result = made_result()
    bodies = np.where(result.subregion_labelmap == 2, result.vertebra_labelmap, 0).astype(np.uint16)
    reference = write_itk(tmp_path / "bodies.nii.gz", bodies)
    (tmp_path / "bodies.json").write_text('{"levels": {"1": "body 1", "3": "body 2"}}')
    write_itk(tmp_path / "pred" / "v.nii.gz", renumbered(result.vertebra_labelmap, VERTEBRAE))
    write_itk(tmp_path / "pred" / "s.nii.gz", renumbered(result.subregion_labelmap, STRUCTURES))

    evaluation = evaluated(tmp_path / "pred", reference)

    assert perfect(evaluation) == {"body"}
    assert "vertebra," not in evaluation.notes[0]


def test_an_npz_reference_lies_as_the_series_beside_it(tmp_path: Path) -> None:
    """And is found by the images that a Segmentation refers to."""
    result = made_result()
    for study in ("one", "two"):
        stack = write_series(tmp_path / "reference" / study, study=study)
        write_segmentations(tmp_path / "pred" / study, stack, shift=study == "two")
        names = np.array(json.dumps({"1": "L4", "2": "L4/L5", "3": "L5"}))
        np.savez(tmp_path / "reference" / study / "labels.npz", labelmap=result.vertebra_labelmap, levels=names)

    evaluation = evaluated(tmp_path / "pred", tmp_path / "reference")

    assert [volume.volume for volume in evaluation.volumes] == ["one", "two"]
    first, second = (volume.kind("disc") for volume in evaluation.volumes)
    assert first is not None
    assert second is not None
    assert first.dice == 1.0
    assert second.dice == pytest.approx(6 / 7)  # 7 columns, moved by one


def test_the_truth_of_a_phantom_is_read_with_both_of_its_maps(tmp_path: Path) -> None:
    """`spondyl phantom mr` writes one file; both maps are held against both Segmentations."""
    stack = write_series(tmp_path / "reference")
    write_segmentations(tmp_path / "pred", stack)
    result = made_result()
    np.savez(
        tmp_path / "reference" / "truth.npz",
        vertebrae=renumbered(result.vertebra_labelmap, VERTEBRAE),
        subregions=renumbered(result.subregion_labelmap, STRUCTURES),
        affine=SAGITTAL,
        levels=np.array(json.dumps({"23": "L4", "24": "L5"})),
    )

    evaluation = evaluated(tmp_path / "pred", tmp_path / "reference")

    assert perfect(evaluation) >= {"vertebra", "disc", "vertebral arch", "spinal canal", "intervertebral disc"}


def test_a_kind_that_some_predictions_have_is_a_failure_where_it_is_missing(tmp_path: Path) -> None:
    """Left out is only what no prediction knows; a volume without a prediction is all missed."""
    labelmap = renumbered(made_result().vertebra_labelmap, VERTEBRAE)
    for name in ("a", "b"):
        write_itk(tmp_path / "reference" / f"{name}.nii.gz", labelmap)
    write_itk(tmp_path / "pred" / "a.nii.gz", np.where(labelmap == 123, 0, labelmap))

    evaluation = evaluated(tmp_path / "pred", tmp_path / "reference")

    row = evaluation.summary.kind("vertebra")
    assert row is not None
    assert row.dice_mean == pytest.approx(0.5)
    assert evaluation.summary.kind("disc") is None
    assert evaluation.notes == (
        "1 references have no prediction and count as not found, the first is b",
        "not compared, for no prediction has it: disc",
    )


def test_two_predictions_with_the_same_structures_are_refused(tmp_path: Path) -> None:
    """Nobody chooses the better of two answers."""
    labelmap = renumbered(made_result().vertebra_labelmap, VERTEBRAE)
    for name in ("a", "b"):
        write_itk(tmp_path / "pred" / f"{name}.nii.gz", labelmap)

    with pytest.raises(LabelImageError, match=r"a\.nii\.gz and .*b\.nii\.gz both hold vertebra"):
        evaluated(tmp_path / "pred", write_itk(tmp_path / "r.nii.gz", labelmap))


def test_a_volume_that_does_not_say_what_it_holds_is_refused_with_the_way_to_name_it(tmp_path: Path) -> None:
    """Nothing is guessed: bodies and discs are both numbers."""
    np.savez(tmp_path / "r.npz", labelmap=made_result().vertebra_labelmap)
    pred = write_itk(tmp_path / "p.nii.gz", renumbered(made_result().vertebra_labelmap, VERTEBRAE))

    with pytest.raises(LabelImageError, match="does not say what its structures are: name them in a JSON table"):
        evaluated(pred, tmp_path / "r.npz")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full(SHAPE, 90, np.uint16), "SPINEPS' vertebrae numbering does not name"),
        (np.full(SHAPE, 1.5, np.float32), "an image, not a label map"),
        (np.full((4, 5), 1, np.uint16), "2 dimensions"),
    ],
)
def test_a_volume_that_is_no_label_map_is_refused(tmp_path: Path, values: NDArray[np.uint16], reason: str) -> None:
    """The file is named and what was expected."""
    path = tmp_path / "a.nii.gz"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(path))

    with pytest.raises(LabelImageError, match=rf"a\.nii\.gz .*{reason}"):
        read_label_maps(path)


def test_images_between_label_volumes_are_left_alone(tmp_path: Path) -> None:
    """A folder as researchers keep it: the image lies beside its masks."""
    write_itk(tmp_path / "t2w.nii.gz", made_voxels())
    write_itk(tmp_path / "mask.nii.gz", renumbered(made_result().vertebra_labelmap, VERTEBRAE))

    assert [file.name for file in find_label_files(tmp_path)] == ["mask"]


def test_two_sets_of_predictions_are_tested_by_kind_and_measure(tmp_path: Path) -> None:
    """Pairs are volumes that have the measure in both sets."""
    labelmap = renumbered(made_result().vertebra_labelmap, VERTEBRAE)
    for index in range(6):
        write_itk(tmp_path / "reference" / f"{index}.nii.gz", labelmap)
        write_itk(tmp_path / "good" / f"{index}.nii.gz", labelmap)
        write_itk(tmp_path / "bad" / f"{index}.nii.gz", np.roll(labelmap, 1 + index % 3, axis=2))
    good, bad = (evaluated(tmp_path / name, tmp_path / "reference") for name in ("good", "bad"))

    rows = {(row.kind, row.measure): row.difference for row in compare(good, bad)}

    assert {measure for kind, measure in rows if kind == "vertebra"} == {
        "Dice, whole", "ASSD mm, whole", "Dice, all instances", "PQ"
    }  # fmt: skip
    difference = rows["vertebra", "Dice, whole"]
    assert difference.pairs == 6
    assert difference.first_mean == 1.0
    assert difference.median_difference > 0
    assert difference.p_value is not None
    assert difference.p_value < 0.05
    assert all(row.difference.p_value is None for row in compare(good, good))


def test_the_command_prints_tables_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Table, test and JSON say the same; published numbers are called so."""
    monkeypatch.setenv("COLUMNS", "100")
    labelmap = renumbered(made_result().vertebra_labelmap, VERTEBRAE)
    reference = write_itk(tmp_path / "r.nii.gz", labelmap)
    pred = write_itk(tmp_path / "p.nii.gz", np.roll(labelmap, 1, axis=2))

    status = evaluate_command(pred, reference, versus=reference, json_out=tmp_path / "out.json")

    printed = capsys.readouterr().out
    content = json.loads((tmp_path / "out.json").read_text())
    assert status == 0
    assert "published, SPINEPS (Möller et al. 2024), other images" in printed
    assert "Wilcoxon signed-rank test" in printed
    (row,) = [kind for kind in content["summary"]["kinds"] if kind["kind"] == "disc"]
    assert row["dice_mean"] == pytest.approx(6 / 7)
    assert row["panoptic"]["rq"] == 1.0
    assert f"{6 / 7:.3f} ± 0.000" in printed
    assert {one["kind"] for one in content["comparisons"]} == {"vertebra", "disc"}


def test_two_sets_of_pictures_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The option is refused in a sentence, not ignored."""
    (tmp_path / "r.txt").write_text("C3 5 5\nC3 15 5\nC3 15 15\nC3 5 15\n")

    status = evaluate_command(tmp_path / "r.txt", tmp_path / "r.txt", versus=tmp_path / "r.txt")

    assert status == 2
    assert "holds no volumes" in capsys.readouterr().err
