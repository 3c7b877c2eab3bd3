"""Outcomes after the engine, made without one: what the writers get of a radiograph and of a volume."""

from collections.abc import Callable
from pathlib import Path

from pydicom.dataset import FileDataset

from models.contracts import RadiographImage, RadiographResult
from models.spinefm.morphometry import measure_spine
from models.spineps.morphometry import measure_volume
from operators.answers import Answer, RadiographAnswer, VolumeAnswer
from operators.dicom.pixels import radiograph_image, spacing_source
from operators.dicom.routing import RoutingDecision
from operators.dicom.series import SourceInstance, SourceSeries
from operators.dicom.upright_view import upright_view
from operators.dicom.volume import plan_volumes, read_volume
from operators.engines import EngineCache
from operators.outcome import SeriesOutcome, Target
from operators.steps import RunPlan
from tests.made_mr import made_mr, series_of
from tests.made_results import ALGORITHM, made_labelmap, made_source, made_structures
from tests.made_volume import ALGORITHM as VOLUME_ALGORITHM
from tests.made_volume import made_result_on, made_voxels

Change = Callable[[FileDataset], None]


def radiograph_outcome(folder: Path, change: Change) -> tuple[SeriesOutcome, RunPlan]:
    """Return the outcome of a radiograph whose header was changed after it was read, and the plan of its run."""
    dataset = made_source()
    image = RadiographImage(radiograph_image(dataset).pixels)
    change(dataset)
    result = RadiographResult(made_labelmap(), made_structures(), "landmark", "made")
    measured = measure_spine(result.labelmap, result.structures, spacing_mm=None, facing="right", pixels=image.pixels)
    answer = RadiographAnswer(
        source=(dataset,),
        image=image,
        view=upright_view(dataset, None),
        view_labelmap=result.labelmap,
        result=result,
        morphometry=measured,
        algorithm=ALGORITHM,
        spacing_mm=None,
        spacing_source=spacing_source(dataset),
    )
    series = SourceSeries((SourceInstance(dataset, folder / "1.dcm"),))
    return _outcome(series, answer), _plan(folder)


def volume_outcome(folder: Path, change: Change) -> tuple[SeriesOutcome, RunPlan]:
    """Return the outcome of an MR Series each of whose headers was changed after it was read, and the plan."""
    datasets = made_mr(made_voxels())
    series = series_of(datasets, folder)
    stack = plan_volumes(series).chosen
    volume = read_volume(stack, contrast="T2w")
    for dataset in datasets:
        change(dataset)
    result = made_result_on(stack)
    answer = VolumeAnswer(stack, volume, result, measure_volume(result, volume.affine), VOLUME_ALGORITHM)
    return _outcome(series, answer), _plan(folder)


def _outcome(series: SourceSeries, answer: Answer) -> SeriesOutcome:
    decision = RoutingDecision("made", "made", "made", None, "made")
    return SeriesOutcome(series, decision, "succeeded", "made", answer=answer)


def _plan(folder: Path) -> RunPlan:
    return RunPlan((), (), (), "cpu", EngineCache(), (Target("standard", folder),), "1")
