"""`spondyl evaluate`: pairs of files, the table, the JSON, and what cannot be compared."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.evaluate import evaluate, evaluate_command, read_split
from models.contracts import FoundStructure
from operators.dicom.identity import AlgorithmIdentity
from operators.dicom.label_images import LabelImageError
from operators.dicom.segmentation import build_segmentation
from tests.made_dicom import made_dx


def spine(*, shift: int = 0, values: tuple[int, ...] = (2, 3, 4)) -> NDArray[np.uint16]:
    """Return bars of ten rows for C2, C3, C4 in the public numbering, moved down by some rows."""
    labelmap = np.zeros((60, 40), np.uint16)
    for index, value in enumerate(values):
        labelmap[5 + 15 * index + shift : 15 + 15 * index + shift, 10:30] = value
    return labelmap


def write_png(path: Path, labelmap: NDArray[np.uint16]) -> Path:
    """Write a label map, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labelmap.astype(np.uint8)).save(path)
    return path


def test_two_files_are_compared_whatever_they_are_called(tmp_path: Path) -> None:
    """A pair of files needs no names that agree."""
    pred, reference = write_png(tmp_path / "p.png", spine(shift=1)), write_png(tmp_path / "r.png", spine())

    evaluation = evaluate(pred, reference)

    assert evaluation.summary.total.dice_mean == pytest.approx(0.9)
    assert evaluation.summary.total.level_right == 3
    assert (evaluation.summary.landmark_images_right, evaluation.summary.landmark_images) == (1, 1)


def test_the_table_has_a_row_per_level_the_total_and_the_published_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published rows are marked as published, so that nobody takes them for a result."""
    monkeypatch.setenv("COLUMNS", "80")
    pred, reference = write_png(tmp_path / "p.png", spine(shift=1)), write_png(tmp_path / "r.png", spine())

    status = evaluate_command(pred, reference)

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert status == 0
    measured = ["100.0%", "100.0%", "0.900", "±", "0.000", "0.900"]
    assert [line[:8] for line in lines if line[:1] in (["C2"], ["C3"], ["C4"])] == [
        [level, "1", *measured] for level in ("C2", "C3", "C4")
    ]
    assert next(line for line in lines if line[:1] == ["all"])[:8] == ["all", "3", *measured]
    published = lines.index(["published,", "97.8%", "0.942"])
    assert lines[published + 1 : published + 4] == [["NHANES", "II"], ["published,", "99.6%", "0.921"], ["CSXA"]]


def test_the_json_holds_every_number_of_the_table(tmp_path: Path) -> None:
    """Rates are 0–1, a score per structure of each image is there."""
    pred, reference = write_png(tmp_path / "p.png", spine(values=(2, 3, 0))), write_png(tmp_path / "r.png", spine())

    evaluate_command(pred, reference, json_out=tmp_path / "new" / "out.json")

    content = json.loads((tmp_path / "new" / "out.json").read_text())
    assert content["summary"]["total"]["identified_rate"] == pytest.approx(2 / 3)
    assert [row["level"] for row in content["summary"]["levels"]] == ["C2", "C3", "C4"]
    assert content["images"][0]["structures"][2] == {
        "level": "C4",
        "partner": None,
        "dice": 0.0,
        "average_distance": None,
        "hausdorff_95": None,
        "identified": False,
        "level_right": False,
    }
    assert {row["identified_rate"] for row in content["published"]} == {0.978, 0.996}


def test_a_segmentation_finds_its_reference_by_the_image_it_refers_to(tmp_path: Path) -> None:
    """Folders as `spondyl run` writes them: names are UIDs, and only the reference to the image tells."""
    for study in ("one", "two"):
        source = made_dx(np.zeros((60, 40), np.uint16), study=study)
        labelmap = spine(values=(1, 2, 3), shift=2 if study == "two" else 0)
        structures = [
            FoundStructure(n + 1, level, level, 0.9, (0.0, 0.0)) for n, level in enumerate(("C2", "C3", "C4"))
        ]
        seg = build_segmentation(
            labelmap, [source], structures, algorithm=AlgorithmIdentity("pack", "1", "0" * 64, "0.1")
        )
        folder = tmp_path / "pred" / str(source.StudyInstanceUID)
        folder.mkdir(parents=True)
        seg.save_as(folder / f"{seg.SOPInstanceUID}.dcm")
        write_png(tmp_path / "reference" / study / "reference_labelmap.png", spine())
        source.save_as(tmp_path / "reference" / study / "1.dcm")

    evaluation = evaluate(tmp_path / "pred", tmp_path / "reference")

    assert [image.image for image in evaluation.images] == ["one", "two"]
    assert [image.structures[0].dice for image in evaluation.images] == pytest.approx([1.0, 0.8])


def test_a_reference_without_a_prediction_counts_as_not_found(tmp_path: Path) -> None:
    """An engine that refuses half of the images does not get the numbers of the other half alone."""
    for name in ("a", "b"):
        write_png(tmp_path / "reference" / f"{name}.png", spine())
    write_png(tmp_path / "pred" / "a.png", spine())
    write_png(tmp_path / "pred" / "z.png", spine())

    evaluation = evaluate(tmp_path / "pred", tmp_path / "reference")

    assert evaluation.summary.total.identified_rate == pytest.approx(0.5)
    assert evaluation.notes == (
        "1 references have no prediction and count as not found, the first is b",
        "1 predictions are about none of these references",
    )


def test_a_split_chooses_the_images_that_count(tmp_path: Path) -> None:
    """Only the ids of the file are compared, however it writes them."""
    for name in ("0001", "0002", "0003"):
        write_png(tmp_path / "reference" / f"{name}.png", spine())
        write_png(tmp_path / "pred" / f"{name}.png", spine())
    (tmp_path / "test.txt").write_text("# the authors' test images\nimages/0003.png\n0001\n\n")

    evaluation = evaluate(tmp_path / "pred", tmp_path / "reference", split=tmp_path / "test.txt")

    assert [image.image for image in evaluation.images] == ["0003", "0001"]


def test_an_id_with_dots_is_no_file_name(tmp_path: Path) -> None:
    """UIDs as ids keep their last component."""
    (tmp_path / "test.txt").write_text("1.2.826.0.1\n1.2.826.0.1\nC00012.TIF\n")

    assert read_split(tmp_path / "test.txt") == ("1.2.826.0.1", "C00012")


@pytest.mark.parametrize(
    ("content", "reason"),
    [("0001\n0009\n", "1 of its 2 images have no reference, the first is 0009"), ("# none\n", "names no image")],
)
def test_a_split_that_does_not_fit_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    """Numbers over a part of a split would be compared with published ones over all of it."""
    reference = write_png(tmp_path / "reference" / "0001.png", spine()).parent
    (tmp_path / "test.txt").write_text(content)

    with pytest.raises(LabelImageError, match=reason):
        evaluate(reference, reference, split=tmp_path / "test.txt")


def test_a_missing_split_is_refused(tmp_path: Path) -> None:
    """The file is named."""
    reference = write_png(tmp_path / "0001.png", spine()).parent

    with pytest.raises(LabelImageError, match=r"none\.txt: a text file"):
        evaluate(reference, reference, split=tmp_path / "none.txt")


def test_images_with_and_without_spacing_are_all_measured_in_pixels(tmp_path: Path) -> None:
    """One unit per table, and a remark why."""
    write_png(tmp_path / "reference" / "a.png", spine())
    np.savez(tmp_path / "reference" / "b.npz", labelmap=spine(), spacing_mm=np.array([0.5, 0.5]))
    (tmp_path / "reference" / "b.json").write_text('{"2": "C2", "3": "C3", "4": "C4"}')
    for name in ("a", "b"):
        write_png(tmp_path / "pred" / f"{name}.png", spine(shift=1))

    evaluation = evaluate(tmp_path / "pred", tmp_path / "reference")

    assert evaluation.summary.unit == "px"
    assert "not every image has a spacing: surface distances are in pixels for all" in evaluation.notes
    assert evaluation.images[0].structures[0].average_distance == evaluation.images[1].structures[0].average_distance


def test_with_spacing_everywhere_distances_are_in_mm(tmp_path: Path) -> None:
    """Half a millimetre a pixel halves the distance."""
    levels = np.array('{"2": "C2", "3": "C3", "4": "C4"}')
    np.savez(tmp_path / "r.npz", labelmap=spine(), spacing_mm=np.array([0.5, 0.5]), levels=levels)
    pred = write_png(tmp_path / "p.png", spine(shift=2))

    summary = evaluate(pred, tmp_path / "r.npz").summary

    assert summary.unit == "mm"
    assert summary.total.hausdorff_95_mean == pytest.approx(1.0)


def test_references_without_levels_say_nothing_of_naming(tmp_path: Path) -> None:
    """A 0 % of right levels is explained where nobody could have them right."""
    np.savez(tmp_path / "r.npz", labelmap=spine())

    evaluation = evaluate(write_png(tmp_path / "p.png", spine()), tmp_path / "r.npz")

    assert evaluation.notes == ("the references name no anatomical levels, so whether a level is right cannot be told",)


def test_what_cannot_be_compared_ends_with_a_sentence_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, and the message names the files."""
    pred = write_png(tmp_path / "p.png", spine())
    reference = write_png(tmp_path / "r.png", spine()[:50])

    status = evaluate_command(pred, reference)

    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert "p.png has a grid of (60, 40), its reference" in captured.err


def test_two_predictions_of_one_image_are_refused(tmp_path: Path) -> None:
    """Nobody chooses the better of two answers."""
    source = made_dx(np.zeros((60, 40), np.uint16))
    structures = [FoundStructure(1, "C3", "C3", 0.9, (0.0, 0.0))]
    for version in ("1", "2"):
        algorithm = AlgorithmIdentity("pack", version, "0" * 64, "0.1")
        seg = build_segmentation(spine(values=(1, 0, 0)), [source], structures, algorithm=algorithm)
        (tmp_path / "pred").mkdir(exist_ok=True)
        seg.save_as(tmp_path / "pred" / f"{version}.dcm")
    write_png(tmp_path / "reference" / "image" / "labels.png", spine())
    source.save_as(tmp_path / "reference" / "image" / "1.dcm")

    with pytest.raises(LabelImageError, match=r"1\.dcm and .*2\.dcm are both about the image"):
        evaluate(tmp_path / "pred", tmp_path / "reference")


@pytest.mark.parametrize(
    ("names", "value", "reason"),
    [(("a", "b"), 3, "neither UIDs nor names agree"), (("a", "a"), 0, "no image has an annotated structure")],
)
def test_folders_with_nothing_to_compare_are_refused(
    tmp_path: Path, names: tuple[str, str], value: int, reason: str
) -> None:
    """Other images, or references without a structure: neither is a result of 0 %."""
    for side, name in zip(("pred", "reference"), names, strict=True):
        write_png(tmp_path / side / f"{name}.png", np.full((8, 8), value, np.uint16))

    with pytest.raises(LabelImageError, match=reason):
        evaluate(tmp_path / "pred", tmp_path / "reference")
