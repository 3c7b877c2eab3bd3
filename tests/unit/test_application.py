"""The DAG and the MAP entry point."""

import threading
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from app.__main__ import main
from app.run import load_dag, run_profiles
from app.settings import MapFolders, Settings, map_folders, with_packs_of
from operators.dicom.routing import load_rules
from operators.dicom.series import InstanceError, SeriesFiles
from operators.engines import EngineCache
from operators.steps import RunPlan
from tests.made_dicom import made_dx

PIXELS = np.zeros((160, 140), np.uint16)
SETTINGS = Settings(device="cpu")


def write(folder: Path, dataset: FileDataset) -> Path:
    """Write an instance and return its path."""
    folder.mkdir(exist_ok=True)
    dataset.save_as(folder / "image", enforce_file_format=True)
    return folder / "image"


@pytest.fixture
def frontal(tmp_path: Path) -> Path:
    """Return a folder with a frontal view, which no engine takes."""
    return write(tmp_path / "in", made_dx(PIXELS, view="AP")).parent


def test_the_dag_runs_in_any_thread_and_again(tmp_path: Path, frontal: Path) -> None:
    """The worker's queue calls it from threads of its own."""
    statuses: list[str] = []

    def work() -> None:
        report = run_profiles(frontal, {"standard": tmp_path / "out"}, settings=SETTINGS, packs=[])
        statuses.extend(entry.status for entry in report.series)

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(60)

    assert statuses == ["skipped"] * 3


def test_a_fault_in_the_loader_comes_out_with_its_own_type(tmp_path: Path) -> None:
    """A Series whose files went away ends its own run and no other."""
    plan = RunPlan(load_rules(), (), (), "cpu", EngineCache(), (), "1")
    gone = SeriesFiles("2.25.1", "2.25.2", "DX", (tmp_path / "gone",))
    application = load_dag()(files=gone, plan=plan)

    with pytest.raises(InstanceError, match="gone cannot be parsed"):
        application.run()


def test_a_file_that_goes_away_during_a_run_is_a_fault_of_the_report(tmp_path: Path, frontal: Path) -> None:
    """Found when it was indexed, gone when its turn comes: told, and the run goes on."""
    image = frontal / "image"

    report = run_profiles(
        frontal,
        {"standard": tmp_path / "out"},
        settings=SETTINGS,
        packs=[],
        progress=lambda progress: image.unlink() if progress.done == 0 else None,
    )

    assert report.series == ()
    assert [path for path, _ in report.faults] == [image]


def test_the_map_entry_point_runs_over_the_mounted_folders(
    tmp_path: Path, frontal: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """HOLOSCAN_INPUT_PATH, HOLOSCAN_OUTPUT_PATH and HOLOSCAN_MODEL_PATH as a MAP runner sets them."""
    (tmp_path / "models").mkdir()
    for name, folder in (("INPUT", frontal), ("OUTPUT", tmp_path / "out"), ("MODEL", tmp_path / "models")):
        monkeypatch.setenv(f"HOLOSCAN_{name}_PATH", str(folder))

    assert main() == 3
    assert "skipped: DX with view" in capsys.readouterr().out
    assert (tmp_path / "out" / "report.json").is_file()


def test_the_map_entry_point_says_what_is_not_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2."""
    for name in ("INPUT", "OUTPUT", "MODEL"):
        monkeypatch.delenv(f"HOLOSCAN_{name}_PATH", raising=False)

    assert main() == 2
    assert capsys.readouterr().err.startswith("spondyl: set HOLOSCAN_INPUT_PATH")


def test_mounted_packs_replace_the_shipped_ones_only_where_there_are_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner always sets HOLOSCAN_MODEL_PATH, also for a MAP without mounted weights."""
    monkeypatch.setenv("HOLOSCAN_MODEL_PATH", str(tmp_path))
    assert map_folders() == MapFolders(map_folders().input, map_folders().output, tmp_path)
    assert with_packs_of(SETTINGS, tmp_path).packs == SETTINGS.packs
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "pack.json").write_text("{}")

    assert with_packs_of(SETTINGS, tmp_path).packs == tmp_path
    assert with_packs_of(SETTINGS, None).packs == SETTINGS.packs
