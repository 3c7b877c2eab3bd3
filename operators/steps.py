"""The steps of the DAG up to the engine's answer, as plain functions: each returns a SeriesOutcome."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pydicom.dataset import Dataset

from models.contracts import RadiographResult, VolumeResult
from models.spinefm.morphometry import measure_spine
from models.spineps.morphometry import measure_volume
from operators.answers import Answer, RadiographAnswer, VolumeAnswer
from operators.dicom.identity import AlgorithmIdentity
from operators.dicom.pixels import facing, radiograph_image, spacing_source
from operators.dicom.routing import Rule, route
from operators.dicom.series import SourceSeries
from operators.dicom.source_notes import processing_notes
from operators.dicom.upright_view import upright_view
from operators.dicom.volume import VolumeError, plan_volumes, read_volume
from operators.engines import EngineCache
from operators.outcome import SeriesOutcome, Target


class Pack(Protocol):
    """What a run needs to know of a model pack."""

    @property
    def name(self) -> str:
        """Name of the pack."""

    @property
    def version(self) -> str:
        """Version of the pack."""

    @property
    def engine(self) -> str:
        """The engine that runs it."""

    @property
    def digest(self) -> str:
        """SHA-256 over the weights."""

    @property
    def accepts(self) -> Mapping[str, Sequence[str]]:
        """What it takes; see `operators.dicom.routing.RoutablePack`."""


@dataclass(frozen=True)
class RunPlan:
    """What holds for every Series of a run.

    packs: the installed packs. preferred_packs: names, where several packs accept a Series.
    engines: where warm engines are kept. targets: where results go, one per profile.
    """

    rules: tuple[Rule, ...]
    packs: tuple[Pack, ...]
    preferred_packs: tuple[str, ...]
    device: str
    engines: EngineCache
    targets: tuple[Target, ...]
    software_version: str

    def pack(self, name: str) -> Pack:
        """Return an installed pack by its name."""
        return next(pack for pack in self.packs if pack.name == name)


def decide(series: SourceSeries, plan: RunPlan, *, view_number: int = 1) -> SeriesOutcome:
    """Route a Series; the outcome is `skipped`, or `succeeded` so far.

    An MR Series may hold several stacks: the one that would be segmented decides. A Series of which no volume can be
    made is skipped: that is known before anything is decoded.
    """
    header, fault = _header(series)
    decision = route(series, plan.rules, plan.packs, preferred=plan.preferred_packs, header=header)
    if decision.engine is None and series.fault:
        decision = replace(decision, reason=f"{decision.reason}; {series.fault}")
    elif decision.engine == "spineps" and (series.fault or fault is not None):
        reason = f"skipped: {decision.reason}; {series.fault or fault}"
        decision = replace(decision, engine=None, pack=None, reason=reason)
    status = "skipped" if decision.engine is None else "succeeded"
    return SeriesOutcome(series, decision, status, decision.reason, view_number)  # type: ignore[arg-type]


def _header(series: SourceSeries) -> tuple[Dataset | None, VolumeError | None]:
    """Return the header of an MR Series' best stack, or why there is none."""
    if series.modality != "MR":
        return None, None
    try:
        return plan_volumes(series).chosen.header, None
    except VolumeError as fault:
        return None, fault


def segment_radiograph(outcome: SeriesOutcome, plan: RunPlan) -> SeriesOutcome:
    """Read the pixels, ask the engine, measure what it found.

    Raises:
        PixelError: the pixels cannot be used.
        EngineRefusal: the engine declines to answer.
    """
    dataset = outcome.series.instances[0].with_pixels()
    as_stored = radiograph_image(dataset)
    view = upright_view(dataset, as_stored.spacing_mm)
    image = view.image(as_stored)
    pack = plan.pack(outcome.decision.pack or "")
    found: RadiographResult = plan.engines.engine_for(pack, plan.device).segment(image)
    measured = measure_spine(
        found.labelmap,
        found.structures,
        spacing_mm=image.spacing_mm,
        facing=facing(view.orientation),
        pixels=image.pixels,
    )
    result = view.on_source_grid(found)
    notes = tuple(filter(None, (view.note, *processing_notes(dataset))))
    answer = RadiographAnswer(
        source=tuple(outcome.series.datasets),
        image=image,
        view=view,
        view_labelmap=found.labelmap,
        result=result,
        morphometry=measured,
        algorithm=_algorithm(pack, plan),
        spacing_mm=as_stored.spacing_mm,
        spacing_source=spacing_source(dataset),
        notes=notes,
    )
    return _answered(outcome, answer, (*notes, *result.warnings, *measured.warnings))


def segment_volume(outcome: SeriesOutcome, plan: RunPlan) -> SeriesOutcome:
    """Read the stack of an MR Series, ask the engine, measure what it found.

    Raises:
        VolumeError: the Series makes no volume, or a frame cannot be decoded.
        EngineRefusal: the engine declines to answer.
    """
    planned = plan_volumes(outcome.series)
    decision = outcome.decision
    volume = read_volume(planned.chosen, contrast=decision.contrast or "other", body_region=decision.body_region)
    pack = plan.pack(decision.pack or "")
    result: VolumeResult = plan.engines.engine_for(pack, plan.device).segment(volume)
    measured = measure_volume(result, volume.affine)
    answer = VolumeAnswer(planned.chosen, volume, result, measured, _algorithm(pack, plan), planned.notes)
    return _answered(outcome, answer, (*planned.notes, *result.warnings, *measured.warnings))


def _algorithm(pack: Pack, plan: RunPlan) -> AlgorithmIdentity:
    return AlgorithmIdentity(pack.name, pack.version, pack.digest, plan.software_version)


def _answered(outcome: SeriesOutcome, answer: Answer, warnings: tuple[str, ...]) -> SeriesOutcome:
    timings = {f"engine: {phase}": seconds for phase, seconds in answer.result.timings_s.items()}
    return replace(
        outcome,
        answer=answer,
        warnings=(*outcome.warnings, *warnings),
        timings_s={**outcome.timings_s, **timings},
    )
