"""From a folder to results and report.json through the Holoscan DAG, with an engine that finds bright blocks."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset
from scipy import ndimage

from app.report import EXIT_FAILED, EXIT_NOTHING_ROUTED, EXIT_SUCCEEDED, RunReport
from app.run import Progress, run_profiles
from app.settings import Settings
from models.contracts import FoundStructure, RadiographImage, RadiographResult
from models.errors import NoSpineFound
from operators.engines import ENGINES
from operators.steps import Pack
from tests.made_dicom import made_dx

LEVELS = ("C3", "C4", "C5", "C6", "C7")
SETTINGS = Settings(device="cpu", default_pack=("blocks",))


@dataclass(frozen=True)
class BlocksPack:
    """A pack for the engine below."""

    name: str = "blocks"
    version: str = "1"
    engine: str = "spinefm"
    digest: str = hashlib.sha256(b"blocks").hexdigest()
    accepts: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {"modality": ["CR", "DX"], "body_region": ["cervical", "lumbar"]}
    )


class BlocksEngine:
    """Takes every bright block for a vertebra, from the top; refuses fewer than three; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def segment(self, image: RadiographImage) -> RadiographResult:
        """Segment the blocks."""
        self.asked += 1
        blocks, count = ndimage.label(image.pixels > 0.8)
        if count < 3:
            raise NoSpineFound(f"{count} vertebrae in view; three neighbours are needed")
        if count > len(LEVELS):
            raise RuntimeError("more blocks than this engine can count")
        centres = ndimage.center_of_mass(blocks > 0, blocks, range(1, count + 1))
        structures = tuple(
            FoundStructure(number, LEVELS[number - 1], LEVELS[number - 1], 0.9, (float(x), float(y)))
            for number, (y, x) in enumerate(centres, 1)
        )
        return RadiographResult(
            blocks.astype(np.uint16),
            structures,
            "assumed",
            "blocks have no scale",
            ("numbering assumed",),
            {"look": 0.1},
        )


def blocks(count: int) -> np.ndarray:
    """Return a picture (240, 160) of so many bright blocks below each other on a darker column."""
    picture = np.full((240, 160), 0.1)
    picture[:, 80:120] = 0.4
    for place in range(count):
        top = 12 + place * 38
        picture[top : top + 24, 60:92] = 1
    return picture


@pytest.fixture
def engine() -> Iterator[BlocksEngine]:
    """Keep the blocks engine warm, as the worker keeps its networks."""
    engine = BlocksEngine()
    ENGINES.keep(BlocksPack(), "cpu", engine)
    yield engine
    ENGINES.clear()


def write(folder: Path, name: str, dataset: FileDataset) -> None:
    """Write an instance into the input folder."""
    folder.mkdir(exist_ok=True)
    dataset.save_as(folder / name, enforce_file_format=True)


def run(tmp_path: Path, packs: Sequence[Pack] = (BlocksPack(),)) -> RunReport:
    """Run over `in`, write to `out`."""
    return run_profiles(tmp_path / "in", {"standard": tmp_path / "out"}, settings=SETTINGS, packs=packs)


def files(folder: Path) -> dict[str, str]:
    """Return path → SHA-256 of the DICOM files and pictures below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".dcm", ".png")
    }


@pytest.mark.usefixtures("engine")
def test_a_lateral_radiograph_gets_segmentation_report_and_picture(tmp_path: Path) -> None:
    """design.md, section 5: what lies where, and what report.json says."""
    source = made_dx(blocks(5), spacing=(0.18, 0.18))
    write(tmp_path / "in", "image", source)

    report = run(tmp_path)

    content = json.loads((tmp_path / "out" / "report.json").read_text())
    (study,) = content["studies"]
    (series,) = study["series"]
    assert report.exit_code == EXIT_SUCCEEDED
    assert study["study_instance_uid"] == source.StudyInstanceUID
    assert (series["decision"], series["status"], series["pack"]) == ("spinefm", "succeeded", "blocks")
    assert [structure["label"] for structure in series["structures"]] == list(LEVELS)
    assert series["structures"][0]["centroid_px"] == [75.5, 23.5]
    assert series["structures"][0]["measurements"]["area"] == {
        "value": pytest.approx(24 * 32 * 0.18**2, abs=1e-3),
        "unit": "mm2",
    }
    assert "numbering assumed" in series["warnings"]
    assert series["timings_s"]["engine: look"] == 0.1
    datasets = [dcmread(tmp_path / "out" / output["path"]) for output in series["outputs"]]
    assert [dataset.Modality for dataset in datasets][:2] == ["SEG", "SR"]
    assert len(datasets) == 3
    for dataset, output in zip(datasets, series["outputs"], strict=True):
        assert dataset.StudyInstanceUID == source.StudyInstanceUID
        assert output["path"] == f"{dataset.StudyInstanceUID}/{dataset.SeriesInstanceUID}/{dataset.SOPInstanceUID}.dcm"
        assert output["sop_class_uid"] == dataset.SOPClassUID
    assert series["picture"] == f"{source.StudyInstanceUID}/{source.SeriesInstanceUID}.png"
    assert (tmp_path / "out" / series["picture"]).is_file()


@pytest.mark.usefixtures("engine")
def test_a_repeat_gives_the_same_files(tmp_path: Path) -> None:
    """Same input, same pack, same instances: a repeat cannot duplicate them."""
    write(tmp_path / "in", "image", made_dx(blocks(4)))
    run(tmp_path)
    first = files(tmp_path / "out")

    run(tmp_path)

    assert files(tmp_path / "out") == first
    assert len(first) == 4


@pytest.mark.usefixtures("engine")
def test_one_series_at_fault_does_not_stop_the_others(tmp_path: Path) -> None:
    """A refusal, a crash, broken pixels, a broken file and a skipped view lie beside a good radiograph."""
    write(tmp_path / "in", "good", made_dx(blocks(5), instance_number=1))
    write(tmp_path / "in", "refused", made_dx(blocks(1), instance_number=2))
    write(tmp_path / "in", "crash", made_dx(blocks(6), instance_number=3))
    cut = made_dx(blocks(5), instance_number=4)
    cut.PixelData = cut.PixelData[:1000]
    write(tmp_path / "in", "cut", cut)
    write(tmp_path / "in", "ap", made_dx(blocks(5), instance_number=5, view="AP", study="other"))
    (tmp_path / "in" / "notes.txt").write_text("no DICOM")

    report = run(tmp_path)

    assert {entry.status: entry.reason.split(":")[0] for entry in report.series} == {
        "succeeded": "lateral DX of the cervical spine",
        "refused": "refused",
        "failed": "failed while segmenting",
        "skipped": "skipped",
    }
    assert sorted(entry.status for entry in report.series) == ["failed", "failed", "refused", "skipped", "succeeded"]
    assert "three neighbours are needed" in next(e.reason for e in report.series if e.status == "refused")
    assert report.exit_code == EXIT_FAILED
    assert report.ignored_count == 1
    assert len(files(tmp_path / "out")) == 4


@pytest.mark.usefixtures("engine")
def test_a_result_is_whole_or_not_there(tmp_path: Path) -> None:
    """The picture cannot be written: Segmentation and report go too, and the reason is told."""
    source = made_dx(blocks(4))
    write(tmp_path / "in", "image", source)
    (tmp_path / "out" / source.StudyInstanceUID / f"{source.SeriesInstanceUID}.png" / "in the way").mkdir(parents=True)

    report = run(tmp_path)

    assert report.exit_code == EXIT_FAILED
    assert report.series[0].reason.startswith("failed while storing results: IsADirectoryError")
    assert report.series[0].outputs == ()
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [tmp_path / "out" / "report.json"]


def test_nothing_routed_is_told_by_the_exit_code(tmp_path: Path, engine: BlocksEngine) -> None:
    """Exit code 3, with the reason per Series; the engine is not asked."""
    write(tmp_path / "in", "ap", made_dx(blocks(5), view="AP"))

    report = run(tmp_path)

    assert report.exit_code == EXIT_NOTHING_ROUTED
    assert report.series[0].reason.startswith("skipped: DX with view")
    assert engine.asked == 0
    assert files(tmp_path / "out") == {}


def test_an_empty_folder_is_nothing_routed(tmp_path: Path) -> None:
    """No Series, no error."""
    (tmp_path / "in").mkdir()

    report = run(tmp_path)

    assert (report.series, report.exit_code) == ((), EXIT_NOTHING_ROUTED)


def test_the_engine_looks_once_for_several_profiles(tmp_path: Path, engine: BlocksEngine) -> None:
    """Each profile's folder holds its own Segmentation and a report that points at it."""
    write(tmp_path / "in", "image", made_dx(blocks(4)))
    folders = {"standard": tmp_path / "standard", "ohif": tmp_path / "ohif"}

    run_profiles(tmp_path / "in", folders, settings=SETTINGS, packs=[BlocksPack()])  # type: ignore[arg-type]

    found = {}
    for profile, folder in folders.items():
        (series,) = json.loads((folder / "report.json").read_text())["studies"][0]["series"]
        found[profile] = [dcmread(folder / output["path"]) for output in series["outputs"]]
    assert engine.asked == 1
    assert [datasets[0].SegmentationType for datasets in found.values()] == ["BINARY", "LABELMAP"]
    assert {d.SOPInstanceUID for d in found["standard"][:2]}.isdisjoint({d.SOPInstanceUID for d in found["ohif"][:2]})


@pytest.mark.usefixtures("engine")
def test_each_radiograph_of_a_series_gets_its_own_result(tmp_path: Path) -> None:
    """A CR series with two lateral images: two results, two pictures."""
    for number in (1, 2):
        dataset = made_dx(blocks(2 + number), modality="CR", instance_number=number)
        dataset.SeriesInstanceUID = "2.25.5"
        write(tmp_path / "in", str(number), dataset)

    report = run(tmp_path)

    assert [len(entry.structures) for entry in report.series] == [3, 4]
    assert len({output.path for entry in report.series for output in entry.outputs}) == 8


@pytest.mark.usefixtures("engine")
def test_own_results_are_not_taken_for_studies(tmp_path: Path) -> None:
    """What comes back from the PACS with the study is skipped."""
    write(tmp_path / "in", "image", made_dx(blocks(4)))
    run(tmp_path)

    again = run_profiles(tmp_path / "out", {"standard": tmp_path / "again"}, settings=SETTINGS, packs=[BlocksPack()])

    assert {entry.status for entry in again.series} == {"skipped"}
    assert all("a result of Spondyl itself" in entry.reason for entry in again.series)


@pytest.mark.usefixtures("engine")
def test_a_watcher_sees_the_progress(tmp_path: Path) -> None:
    """Once at the start, then after each Series."""
    for number in (1, 2):
        write(tmp_path / "in", str(number), made_dx(blocks(3), instance_number=number))
    seen: list[Progress] = []

    run_profiles(
        tmp_path / "in", {"standard": tmp_path / "out"}, settings=SETTINGS, packs=[BlocksPack()], progress=seen.append
    )

    assert [(progress.done, progress.total) for progress in seen] == [(0, 2), (1, 2), (2, 2)]
