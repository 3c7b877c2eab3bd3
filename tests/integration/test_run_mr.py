"""An MR study through the Holoscan DAG: both Segmentations, report and picture, by an engine that knows the answer."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import UID
from scipy import ndimage

from app.report import EXIT_SUCCEEDED, RunReport
from app.run import run_profiles
from app.settings import Settings
from models.contracts import SpineVolume, VolumeResult
from models.errors import NoSpineFound
from operators.engines import ENGINES
from tests.made_mr import SAGITTAL, made_enhanced_mr, made_mr
from tests.made_volume import VERTEBRA_BOXES, made_result, made_voxels

SETTINGS = Settings(device="cpu")
AXIAL = np.array([[0, 0, 1.0, 0], [0, 1.0, 0, 0], [5.0, 0, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True)
class BoxesPack:
    """A pack for the engine below."""

    name: str = "boxes"
    version: str = "1"
    engine: str = "spineps"
    digest: str = hashlib.sha256(b"boxes").hexdigest()
    accepts: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {"modality": ["MR"], "plane": ["sagittal"], "contrast": ["T2w"]}
    )


class BoxesEngine:
    """Answers what was drawn into the volume, whichever way its slices were counted; keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[SpineVolume] = []

    def segment(self, volume: SpineVolume) -> VolumeResult:
        """Find the boxes."""
        self.seen.append(volume)
        _, count = ndimage.label(ndimage.binary_opening(volume.voxels > 400, iterations=1))
        if count != len(VERTEBRA_BOXES):
            raise NoSpineFound("no boxes are in view")
        return made_result(volume.affine)


@pytest.fixture
def engine() -> Iterator[BoxesEngine]:
    """Keep the engine warm, as the worker keeps its networks."""
    engine = BoxesEngine()
    ENGINES.keep(BoxesPack(), "cpu", engine)
    yield engine
    ENGINES.clear()


def write(folder: Path, datasets: Sequence[FileDataset]) -> None:
    """Write instances into the input folder."""
    folder.mkdir(exist_ok=True)
    for dataset in datasets:
        dataset.save_as(folder / f"{dataset.SOPInstanceUID}", enforce_file_format=True)


def run(tmp_path: Path) -> RunReport:
    """Run over `in`, write both profiles."""
    targets = {"standard": tmp_path / "standard", "ohif": tmp_path / "ohif"}
    return run_profiles(tmp_path / "in", targets, settings=SETTINGS, packs=[BoxesPack()])  # type: ignore[arg-type]


def entry(folder: Path) -> dict:  # type: ignore[type-arg]
    """Return what report.json says of the only Series."""
    (study,) = json.loads((folder / "report.json").read_text())["studies"]
    (series,) = study["series"]
    return dict(series)


def symmetric_voxels() -> np.ndarray:
    """Return a volume in which both ways to count the slices give the same."""
    voxels = made_voxels()
    return np.maximum(voxels, voxels[::-1])


@pytest.mark.parametrize("enhanced", [False, True], ids=["an instance per slice", "Enhanced MR"])
def test_a_sagittal_series_gets_two_segmentations_a_report_and_a_picture(
    tmp_path: Path, engine: BoxesEngine, enhanced: bool
) -> None:
    """design.md, section 6: all in the study of the source, each a Series of its own, in each profile."""
    voxels = symmetric_voxels()
    source = [made_enhanced_mr(voxels)] if enhanced else made_mr(voxels)
    if enhanced:
        source[0].EchoTime, source[0].RepetitionTime = "100", "3500"
    write(tmp_path / "in", source)

    report = run(tmp_path)

    assert report.exit_code == EXIT_SUCCEEDED, [series.reason for series in report.series]
    assert len(engine.seen) == 1
    for profile in ("standard", "ohif"):
        series = entry(tmp_path / profile)
        outputs = [dcmread(tmp_path / profile / output["path"]) for output in series["outputs"]]
        assert [dataset.Modality for dataset in outputs] == ["SEG", "SEG", "SR", "OT"]
        assert {dataset.StudyInstanceUID for dataset in outputs} == {source[0].StudyInstanceUID}
        assert len({dataset.SeriesInstanceUID for dataset in outputs}) == 4
        assert (tmp_path / profile / series["picture"]).is_file()


@pytest.mark.usefixtures("engine")
def test_the_report_lists_the_structures_of_both_segmentations(tmp_path: Path) -> None:
    """Label, kind, place in the patient and measurements; `segmentation` tells where a Segment Number counts."""
    write(tmp_path / "in", made_mr(symmetric_voxels()))

    run(tmp_path)

    series = entry(tmp_path / "standard")
    expected = made_result(np.asarray(_stack_affine()))
    found = {structure["label"]: structure for structure in series["structures"]}
    assert (series["decision"], series["pack"], series["contrast"]) == ("spineps", "boxes", "T2w")
    assert [s["label"] for s in series["structures"] if s["segmentation"] == "vertebrae"] == ["L4", "L4/L5", "L5"]
    for structure in (*expected.vertebrae, *expected.substructures):
        own = found[structure.label]
        assert own["segment_number"] == structure.segment_number
        assert own["centroid_lps_mm"] == pytest.approx(structure.centroid_lps_mm, abs=1e-3)
        assert own["measurements"]["volume"] == {"value": pytest.approx(structure.volume_mm3), "unit": "mm3"}
    assert found["L4"]["kind"] == "vertebra"
    assert "the lowest disc is faint" in series["warnings"]


@pytest.mark.usefixtures("engine")
def test_each_station_and_no_other_plane_is_processed(tmp_path: Path) -> None:
    """A study of two sagittal stations, an axial Series, another contrast and an empty station."""
    stations = [made_mr(symmetric_voxels(), series=number) for number in (1, 2)]
    axial = made_mr(symmetric_voxels(), AXIAL, series=3)
    t1 = made_mr(symmetric_voxels(), series=4, EchoTime="10", RepetitionTime="550")
    empty = made_mr(np.zeros((7, 24, 20), np.uint16), series=5)
    for number, datasets in enumerate((*stations, axial, t1, empty)):
        for index, dataset in enumerate(datasets):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.{number + 1}{index}")
        write(tmp_path / "in", datasets)

    report = run(tmp_path)

    reasons = {series.series_instance_uid: series.reason for series in report.series}
    assert [reasons[datasets[0].SeriesInstanceUID] for datasets in (*stations, axial, t1, empty)] == [
        "sagittal T2w MR of the lumbar spine",
        "sagittal T2w MR of the lumbar spine",
        "skipped: MR, axial, 5.0 mm slices; SPINEPS needs a sagittal plane",
        "skipped: sagittal T1w MR of the lumbar spine; no installed pack takes it "
        "(boxes takes T2w MR of the whole spine)",
        "refused: no boxes are in view",
    ]
    assert len({output.path for series in report.series for output in series.outputs}) == 2 * (4 * 2 - 1) + 2


@pytest.mark.usefixtures("engine")
def test_a_repeat_gives_the_same_instances(tmp_path: Path) -> None:
    """Same input, same pack: nothing is duplicated, whatever the order of arrival."""
    datasets = made_mr(symmetric_voxels())
    write(tmp_path / "in", datasets)
    first = run(tmp_path)
    digests = _digests(tmp_path)
    for number, file in enumerate(sorted((tmp_path / "in").iterdir(), reverse=True)):
        file.rename(tmp_path / "in" / f"{number}")

    again = run(tmp_path)

    assert [series.outputs for series in again.series] == [series.outputs for series in first.series]
    assert _digests(tmp_path) == digests


def _digests(tmp_path: Path) -> dict[Path, str]:
    files = sorted(tmp_path.glob("[so]*/**/*.dcm"))
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _stack_affine() -> list[list[float]]:
    """The made Series counted along rows × columns, which point to the right: from its last slice to its first."""
    affine = SAGITTAL.copy()
    affine[:3, 3] += 6 * affine[:3, 0]
    affine[:3, 0] *= -1
    return affine.tolist()  # type: ignore[no-any-return]
