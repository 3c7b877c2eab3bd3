"""The command: every verb is there, starts fast, and says in one line what is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from app.cli import app, main
from app.version import software_version
from operators.dicom.pixels import calibrated_spacing, facing, radiograph_image
from operators.dicom.upright_view import upright_view

VERBS = ("run", "serve", "send", "jobs", "check", "demo", "models", "phantom", "evaluate", "train")
HEAVY = ("torch", "holoscan", "pydicom", "highdicom", "dbos", "fastapi", "pynetdicom")


@pytest.fixture
def no_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Start in an empty folder with an empty settings file and packs folder."""
    (tmp_path / "app.yaml").write_text("packs: packs\nstorage: storage\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_verb_is_there() -> None:
    """design.md, section 5."""
    shown = CliRunner().invoke(app, ["--help"]).output

    for verb in VERBS:
        assert verb in shown


@pytest.mark.parametrize("group", [["jobs"], ["models"], ["phantom"]])
def test_every_group_shows_its_verbs(group: list[str]) -> None:
    """A group alone explains itself."""
    verbs = {
        "jobs": ["list", "show", "retry", "cancel", "discard"],
        "models": ["list", "verify", "import", "export"],
        "phantom": ["xray", "mr"],
    }
    shown = CliRunner().invoke(app, group).output

    for verb in verbs[group[0]]:
        assert verb in shown


def test_the_command_starts_without_its_heavy_rooms() -> None:
    """A room is loaded when its verb is called."""
    code = f"import sys, app.cli; print([name for name in {HEAVY} if name in sys.modules])"

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "[]"


def test_an_error_is_one_line_on_standard_error(
    no_settings_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback: what is wrong and with which file; exit code 2."""
    monkeypatch.setattr(sys, "argv", ["spondyl", "models", "list", "--config", "none.yaml"])

    with pytest.raises(SystemExit, match="2"):
        main()

    assert capsys.readouterr().err == "spondyl: the settings file none.yaml does not exist\n"
    assert no_settings_file.is_dir()


def test_phantom_xray_writes_a_study_and_its_truth(tmp_path: Path) -> None:
    """The same seed gives the same bytes; the truth lies on the image's grid."""
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        result = CliRunner().invoke(app, ["phantom", "xray", str(folder), "--seed", "3"])
        assert result.exit_code == 0, result.output

    dataset = dcmread(folders[0] / "1.dcm")
    truth = json.loads((folders[0] / "truth.json").read_text())
    with np.load(folders[0] / "truth.npz") as arrays:
        labelmap, levels = arrays["labelmap"], json.loads(str(arrays["levels"]))
    image = radiograph_image(dataset)
    assert (folders[1] / "1.dcm").read_bytes() == (folders[0] / "1.dcm").read_bytes()
    assert labelmap.shape == image.pixels.shape
    assert {int(value) for value in levels} == set(np.unique(labelmap)) - {0}
    assert image.pixels[labelmap > 0].mean() > image.pixels[labelmap == 0].mean()
    assert (facing(upright_view(dataset, None).orientation), image.body_region) == (
        truth["facing"],
        truth["body_region"],
    )
    assert calibrated_spacing(dataset) is not None


def test_the_version_is_told() -> None:
    """It is part of every result's device UID."""
    assert software_version()[0].isdigit()
