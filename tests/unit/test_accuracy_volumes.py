"""The MR half of `python -m app.accuracy`: what counts, what is said, and that the other half stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from app.accuracy.document import Making
from app.accuracy.keeping import Keeper, measure_all
from app.accuracy.parts import write_part
from app.accuracy.volume_document import volumes_document
from app.accuracy.volume_pictures import volume_overlay
from app.accuracy.volumes import (
    WITH_CUT,
    MeasuredVolume,
    cut_by_border,
    measured_from_json,
    phantom_volume,
    score_phantom,
)
from models.contracts import SpineStructure, VolumeResult
from models.evaluation import BODY, CANAL, CANAL_WITH_CORD, DISC, VERTEBRA, LabelledVolume, VolumeScore, score_kind
from models.phantom.mr import MrPhantom, MrSequence
from tests.made_mr import SAGITTAL

MAKING = Making("2026-01-02", "python -m app.accuracy", "pack", "1.0", "ab" * 32, "Device: cpu.")


def phantom() -> MrPhantom:
    """Return L3, which the upper edge cuts, L4, L5 and the sacrum, bodies with discs, and a canal with its cord."""
    structures, vertebrae = np.zeros((3, 60, 20), np.uint8), np.zeros((3, 60, 20), np.uint8)
    for level, first, last in ((22, 0, 8), (23, 12, 24), (24, 28, 40)):
        structures[:, first:last, 2:10], vertebrae[:, first:last, 2:10] = 49, level
        structures[:, last : last + 4, 2:10], vertebrae[:, last : last + 4, 2:10] = 100, 100 + level
    structures[:, 44:58, 2:10] = vertebrae[:, 44:58, 2:10] = 26
    structures[:, :, 12:15] = 61
    structures[:, :30, 13] = 60
    return MrPhantom(
        voxels=structures.astype(np.float32),
        affine=SAGITTAL,
        contrast="T2w",
        region="lumbar",
        subregions=structures,
        vertebrae=vertebrae,
        levels={22: "L3", 23: "L4", 24: "L5", 26: "S1"},
        landmarks_in_view=("S1",),
        findings=(),
        sequence=MrSequence(100.0, 3000.0, None, 1.5, "tse"),
    )


def answer(truth: MrPhantom, *, without: tuple[int, ...] = (), names: dict[int, str] | None = None) -> VolumeResult:
    """Return the truth as an engine would say it, some vertebrae or discs left out or called otherwise."""
    called = {22: "L3", 122: "L3/L4", 23: "L4", 123: "L4/L5", 24: "L5", 124: "L5/S1", 26: "sacrum"} | (names or {})
    vertebrae = np.zeros(truth.vertebrae.shape, np.uint16)
    found: list[SpineStructure] = []
    for value, label in called.items():
        if value not in without:
            kind = "disc" if value > 100 else "vertebra"
            found.append(SpineStructure(len(found) + 1, label, kind, None, value, 0.9, (0, 0, 0), 1.0))  # type: ignore[arg-type]
            vertebrae[truth.vertebrae == value] = len(found)
    parts = {26: "sacrum", 49: "vertebral body", 60: "spinal cord", 61: "spinal canal", 100: "intervertebral disc"}
    subregions, structures = np.zeros(truth.subregions.shape, np.uint16), []
    for number, (value, label) in enumerate(parts.items(), start=1):
        structures.append(SpineStructure(number, label, "substructure", None, value, 0.9, (0, 0, 0), 1.0))
        subregions[truth.subregions == value] = number
    return VolumeResult(vertebrae, subregions, tuple(found), tuple(structures), "landmark")


def measured(score: VolumeScore) -> MeasuredVolume:
    """Return what was measured of a lumbar T2w volume."""
    return MeasuredVolume(score, "landmark", "", "lumbar, T2w", 3, 12.0)


def test_the_truth_as_the_answer_gets_full_marks_in_every_kind() -> None:
    """Each kind is held against its own, and both maps' names mean the same."""
    truth = phantom()

    score = score_phantom(truth, answer(truth), name="one")

    assert {kind.kind for kind in score.kinds} == {
        "vertebra", "disc", "sacrum", "vertebral body", "spinal cord", "spinal canal", "spinal canal with cord",
        "intervertebral disc", WITH_CUT
    }  # fmt: skip
    assert all(kind.dice == 1.0 and kind.average_distance == 0.0 and kind.complete for kind in score.kinds)
    assert score.landmark_in_view
    vertebrae = score.kind(VERTEBRA)
    assert vertebrae is not None
    assert vertebrae.instances.levels_right


def test_a_cord_that_ends_elsewhere_is_no_fault_of_the_canal_with_its_cord() -> None:
    """SPIDER marks the whole canal, SPINEPS what the cord leaves of it."""
    truth = phantom()
    longer = truth.subregions.copy()
    longer[:, 30:50, 13] = 60

    score = score_phantom(truth, answer(replace(truth, subregions=longer)), name="one")

    whole, alone = score.kind(CANAL_WITH_CORD), score.kind(CANAL)
    assert whole is not None
    assert alone is not None
    assert whole.dice == 1.0
    assert alone.dice < 0.95


def test_a_vertebra_that_the_edge_cuts_does_not_count_but_is_told_of() -> None:
    """L3 reaches the upper edge: missing it is no fault, except where the cut ones count too."""
    truth = phantom()

    score = score_phantom(truth, answer(truth, without=(22,)), name="one")

    whole, every = score.kind(VERTEBRA), score.kind(WITH_CUT)
    assert cut_by_border(truth)[VERTEBRA] >= {"L3"}
    assert cut_by_border(truth)[DISC] == frozenset()
    assert whole is not None
    assert every is not None
    assert (whole.complete, every.complete) == (True, False)
    assert [one.level for one in whole.instances.structures] == ["L4", "L5"]
    assert whole.counts is not None
    assert (whole.counts.missed, whole.counts.spurious) == (0, 0)


def test_a_vertebra_without_a_body_in_view_does_not_count() -> None:
    """A spinous process at the border says little of its vertebra."""
    truth = phantom()
    structures = np.where(truth.vertebrae == 23, 42, truth.subregions).astype(np.uint8)

    assert "L4" in cut_by_border(replace(truth, subregions=structures))[VERTEBRA]


def test_one_missed_vertebra_makes_a_volume_incomplete_and_a_refusal_finds_nothing() -> None:
    """A refused volume does not drop out of the numbers."""
    truth = phantom()

    missed = score_phantom(truth, answer(truth, without=(23,)), name="one").kind(VERTEBRA)
    refused = score_phantom(truth, None, name="one").kind(VERTEBRA)

    assert missed is not None
    assert refused is not None
    assert (missed.complete, refused.complete, refused.dice) == (False, False, 0.0)
    assert missed.counts is not None
    assert missed.counts.missed == 1


def test_measurements_survive_being_kept() -> None:
    """What is read back is what was written, counts and absences included."""
    truth = phantom()
    one = measured(score_phantom(truth, answer(truth, without=(24,)), name="one"))

    assert measured_from_json(json.dumps(asdict(one))) == one


def test_what_was_kept_is_not_measured_again(tmp_path: Path) -> None:
    """A run that was interrupted goes on where it stopped."""
    keeper = Keeper[int, int](tmp_path / "new", name=str, dumps=json.dumps, loads=json.loads)
    keeper.write(3, 9)
    nothing: dict[int, int] = {}
    never: Callable[[int], int] = nothing.__getitem__

    assert list(measure_all([3], never, keeper=keeper, processes=1)) == [(3, 9)]


def test_the_document_states_every_aim_and_the_gap_to_it() -> None:
    """One of two volumes misses a vertebra and calls the other one by the wrong name."""
    truth = phantom()
    good = score_phantom(truth, answer(truth), name="lumbar T2w 1000000")
    bad = score_phantom(truth, answer(truth, without=(23,), names={24: "L4"}), name="lumbar T2w 1000001")

    text = volumes_document(MAKING, [(1_000_001, measured(bad)), (1_000_000, measured(good))], [])

    assert "2 phantoms, seeds 1000000 to 1000001" in text
    assert "| volumes in which every vertebra is found | 99.0 % | 50.0 % | **short by 49.0 points** |" in text
    assert "| Dice per vertebra, those not found as 0 | 0.929 | 0.750 | **short by 0.179** |" in text
    assert "| Dice of the discs as a whole | 0.960 | 1.000 | reached |" in text
    assert "| Dice of the canal as a whole | 0.947 | 1.000 | reached |" in text
    assert "whose levels are all right | 97.0 % | 50.0 % | **short by 47.0 points** |" in text
    assert "| lumbar T2w 1000001 | 1 of 2 | 0.500 | no | landmark |\n| lumbar T2w 1000000 " in text
    assert "Not measured: no real volumes" in text


def test_real_volumes_have_a_row_each_with_what_their_references_mark() -> None:
    """Bodies against bodies; a volume without a reference only says how many vertebrae were found."""
    truth = phantom()
    labelmap = np.where(truth.vertebrae < 25, truth.vertebrae, 0)
    bodies = LabelledVolume(labelmap, {22: "body 1", 23: "body 2", 24: "body 3"})
    kind = score_kind(BODY, LabelledVolume(np.where(labelmap == 22, 0, labelmap), bodies.names), bodies,
                      spacing_mm=(4.0, 1.0, 1.0))  # fmt: skip
    real = [measured(VolumeScore("lumbar_a", (kind,))), measured(VolumeScore("lumbar_b", ()))]
    held = [(1_000_000, measured(score_phantom(truth, answer(truth), name="a")))]

    text = volumes_document(MAKING, held, real)

    assert "| bodies found | 100.0 % | 66.7 % | **short by 33.3 points** |" in text
    assert "| lumbar_a | lumbar, T2w | 3 | 2 of 3, 0.667 | – | – | landmark | 12 |" in text
    assert "| lumbar_b | lumbar, T2w | 3 | – | – | – | landmark | 12 |" in text
    assert "| Dice per disc, those not found as 0 | 0.800 | – | not measured |" in text


def test_a_half_of_the_document_is_written_without_touching_the_other(tmp_path: Path) -> None:
    """Radiographs first, whichever is measured last; headings go down a level; repeating changes nothing."""
    out = tmp_path / "accuracy.md"

    write_part(out, "MR volumes", "# MR volumes\n\nold\n\n## Real\n")
    write_part(out, "radiographs", "# Radiographs\n\ntext\n")
    write_part(out, "MR volumes", "# MR volumes\n\nnew\n\n## Real\n")
    once = out.read_text()
    write_part(out, "MR volumes", "# MR volumes\n\nnew\n\n## Real\n")

    assert out.read_text() == once
    assert once.index("## Radiographs") < once.index("## MR volumes") < once.index("### Real")
    assert "text" in once
    assert "old" not in once


def test_a_picture_shows_the_middle_of_the_spine_with_square_pixels() -> None:
    """Found in colour, head up, and the size of the field of view in mm."""
    truth = phantom()

    picture = np.asarray(volume_overlay(phantom_volume(truth), answer(truth), truth.vertebrae)).astype(int)

    rows, columns, _ = picture.shape
    assert columns / rows == pytest.approx(20 / 60, abs=0.01)
    colourful = np.ptp(picture, axis=2) > 30
    assert colourful[:, : columns // 2].mean() > 0.5
    assert not colourful[:, -columns // 5 :].any()
