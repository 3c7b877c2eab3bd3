"""Names of a case: right, doubted, or wrong without a word of doubt; in the table and in the JSON."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.evaluate import evaluate_command
from models.evaluation import StructureScore, count_namings, judge_naming


def score(level: str, partner: str | None, dice: float = 0.9) -> StructureScore:
    """A vertebra and what it is called."""
    return StructureScore(level, partner, dice)


@pytest.mark.parametrize(
    ("structures", "naming"),
    [
        ([score("L4", "L4"), score("L5", "L5")], "right"),
        ([score("L4", "L4"), score("L5", "vertebra 5")], "right"),
        ([score("L4", "vertebra 4"), score("L5", "vertebra 5")], "doubted"),
        ([score("L4", "L5"), score("L5", "vertebra 5")], "confidently wrong"),
        ([score("L4", "L4"), score("L5", "S1")], "confidently wrong"),
        ([score("L4", "L5", 0.2)], "nothing found"),
        ([score("body 1", "L5")], None),
    ],
)
def test_a_case_is_judged_by_the_names_that_were_given(structures: list[StructureScore], naming: str | None) -> None:
    """One wrong name is enough; none at all is doubt; a reference without levels judges nothing."""
    assert judge_naming(structures) == naming


def test_cases_are_counted_in_one_order() -> None:
    """Those that cannot be judged are left out."""
    assert count_namings(["doubted", None, "right", "right"]) == {
        "right": 2,
        "doubted": 1,
        "confidently wrong": 0,
        "nothing found": 0,
    }
    assert count_namings([None]) == {}


def test_the_command_counts_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One case right, one a level too low."""
    labelmap = np.zeros((40, 20), np.uint8)
    labelmap[2:12, 4:16], labelmap[20:30, 4:16] = 1, 2
    for folder, names in (("pred", {"a": ("L4", "L5"), "b": ("L5", "S1")}), ("ref", dict.fromkeys("ab", ("L4", "L5")))):
        (tmp_path / folder).mkdir()
        for name, levels in names.items():
            np.savez(tmp_path / folder / f"{name}.npz", labelmap=labelmap)
            table = {str(number): level for number, level in enumerate(levels, start=1)}
            (tmp_path / folder / f"{name}.json").write_text(json.dumps(table))

    status = evaluate_command(tmp_path / "pred", tmp_path / "ref", json_out=tmp_path / "out.json")

    scores = json.loads((tmp_path / "out.json").read_text())
    assert status == 0
    assert "names by case: right 1, doubted 0, confidently wrong 1, nothing found 0" in capsys.readouterr().out
    assert scores["summary"]["naming"]["confidently wrong"] == 1
    assert [image["naming"] for image in scores["images"]] == ["right", "confidently wrong"]
