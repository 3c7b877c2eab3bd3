"""The runner of the real worker: the same run over a folder as `spondyl run`, with networks that stay loaded."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from app.jobs.admission import admitted_device
from app.jobs.results import ResultFault, RunAnswer, Runner
from app.logs import get_logger
from app.report import RunReport, SeriesReport, vertebra_labels
from app.run import load_dag, run_profiles
from app.settings import Settings
from models.device import reserve_memory
from models.errors import SpondylError
from models.packs import ModelPack, discover_packs
from operators.dicom.identity import Profile
from operators.engines import ENGINES

log = get_logger()


def engine_runner(settings: Settings) -> Runner:
    """Return the runner, its networks loaded.

    Args:
        settings: packs, device and default pack.
    """
    device = admitted_device(settings.device, settings.workers.gpu_memory_mib, reserve=reserve_memory, wait=time.sleep)
    settings = settings.model_copy(update={"device": device})
    packs = _warm_up(settings)

    def run(source: Path, targets: Mapping[str, Path]) -> RunAnswer:
        profiles = cast(Mapping[Profile, Path], targets)
        return answer_of(run_profiles(source, profiles, settings=settings, packs=packs))

    return run


def answer_of(report: RunReport) -> RunAnswer:
    """Return what a run over one series means for its job.

    A series of several radiographs counts as segmented if one of them was; the sentence tells of the others.

    Raises:
        ResultFault: a radiograph failed, and none was segmented.
    """
    views = report.series
    statuses = {view.status for view in views}
    sentence = "; ".join(_sentence(view) for view in views)
    faults = [fault for _, fault in report.faults]
    if "succeeded" in statuses:
        return RunAnswer("segmented", "; ".join((sentence, *faults)))
    if "failed" in statuses or faults or not views:
        raise ResultFault("; ".join(filter(None, (sentence, *faults))) or "no instance of the series can be read")
    return RunAnswer("refused" if "refused" in statuses else "skipped", sentence)


def _sentence(view: SeriesReport) -> str:
    if view.status != "succeeded":
        return view.reason
    labels = vertebra_labels(view.structures)
    span = f"{labels[0]} to {labels[-1]}" if len(labels) > 1 else "".join(labels)
    return f"{len(labels)} vertebrae: {span} (numbering: {view.numbering})"


def _warm_up(settings: Settings) -> tuple[ModelPack, ...] | None:
    """Load what the first series would wait for, and return the packs; None where each job has to say why not."""
    load_dag()
    try:
        packs = discover_packs(settings.packs)
        for pack in packs:
            if pack.name in settings.default_pack:
                ENGINES.engine_for(pack, settings.device)
                log.info("pack_loaded", pack=pack.name, digest=pack.digest[:12])
    except SpondylError as fault:
        log.error("pack_not_loaded", packs=settings.default_pack, reason=str(fault))
        return None
    return packs
