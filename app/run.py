"""One run over a folder: what `spondyl run`, the MAP entry point and the node's worker share.

Series go through the DAG one after the other, radiographs one image at a time, so that memory stays flat and the
networks, once loaded, stay loaded.
"""

import os
import resource
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.logs import get_logger
from app.report import RunReport, SeriesReport, series_report
from app.settings import Settings
from app.version import software_version
from models.packs import discover_packs
from operators.dicom.identity import Profile
from operators.dicom.routing import load_rules
from operators.dicom.series import FolderIndex, InstanceError, SeriesFiles, index_folder
from operators.engines import ENGINES
from operators.outcome import SeriesOutcome, Target
from operators.steps import Pack, RunPlan

if TYPE_CHECKING:
    from app.application import SpineApplication

HOLOSCAN_STACK_BYTES = 32 << 20  # below it Holoscan warns that its schedulers may crash

log = get_logger()


@dataclass(frozen=True)
class Progress:
    """How far a run is: `done` of `total` Series (radiographs: images); `latest` is None at the start."""

    done: int
    total: int
    latest: SeriesReport | None


Watcher = Callable[[Progress], None]


def run_folder(
    input_folder: Path, output_folder: Path, *, settings: Settings, progress: Watcher | None = None
) -> RunReport:
    """Segment every Series in a folder that an installed pack takes, in the settings' result profile.

    Writes `<study>/<series>/<instance>.dcm`, `<study>/<series>.png` and `report.json` into the output folder.

    Args:
        input_folder: searched recursively; any file names.
        output_folder: made where it does not exist.
        settings: packs, device, default pack and result profile.
        progress: called at the start and after each Series.

    Raises:
        SpondylError: nothing can be run at all: no input folder, broken rules or packs.
    """
    return run_profiles(input_folder, {settings.result_profile: output_folder}, settings=settings, progress=progress)


def run_profiles(
    input_folder: Path,
    output_folders: Mapping[Profile, Path],
    *,
    settings: Settings,
    progress: Watcher | None = None,
    packs: Sequence[Pack] | None = None,
) -> RunReport:
    """Do as `run_folder` does, writing the results once per profile; the engine looks once.

    Args:
        input_folder: searched recursively.
        output_folders: result profile → its folder.
        settings: as for `run_folder`.
        progress: as for `run_folder`.
        packs: the installed packs; None finds them in the settings' folder.

    Raises:
        SpondylError: as for `run_folder`.
    """
    plan = RunPlan(
        rules=load_rules(),
        packs=tuple(discover_packs(settings.packs)) if packs is None else tuple(packs),
        preferred_packs=settings.default_pack,
        device=settings.device,
        engines=ENGINES,
        targets=tuple(Target(profile, folder) for profile, folder in output_folders.items()),
        software_version=software_version(),
    )
    index = index_folder(input_folder)
    report = _run_all(index, plan, progress or (lambda _: None))
    for profile, folder in output_folders.items():
        report.for_profile(profile).write(folder)
    return report


def _run_all(index: FolderIndex, plan: RunPlan, watch: Watcher) -> RunReport:
    views = [view for files in index.series for view in files.views()]
    entries: list[SeriesReport] = []
    faults = list(index.faults)
    watch(Progress(0, len(views), None))
    for done, view in enumerate(views, 1):
        try:
            entries.append(_run_one(view, plan))
        except InstanceError as error:  # it went away or broke since it was indexed
            faults.append((view.paths[0], str(error)))
        watch(Progress(done, len(views), entries[-1] if entries else None))
    return RunReport(plan.software_version, tuple(entries), index.ignored_count, tuple(faults), index.notes)


def _run_one(files: SeriesFiles, plan: RunPlan) -> SeriesReport:
    """Take one Series through the DAG."""
    outcomes = _through_dag(files, plan)
    if not outcomes:
        raise InstanceError(f"{files.paths[0]}: the DAG ended without an outcome; see the log")
    entry = series_report(outcomes[0])
    log.info(
        "series_done",
        study=entry.study_instance_uid,
        series=entry.series_instance_uid,
        decision=entry.decision,
        status=entry.status,
    )
    return entry


def _through_dag(files: SeriesFiles, plan: RunPlan) -> list[SeriesOutcome]:
    application = load_dag()(files=files, plan=plan)
    application.run()
    return application.outcomes


def load_dag() -> "type[SpineApplication]":
    """Import the DAG; Holoscan looks at its log level and at the stack limit when it is imported."""
    os.environ.setdefault("HOLOSCAN_LOG_LEVEL", "ERROR")
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY and soft < HOLOSCAN_STACK_BYTES:
        within = HOLOSCAN_STACK_BYTES if hard == resource.RLIM_INFINITY else min(HOLOSCAN_STACK_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_STACK, (within, hard))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Current stack size")  # where the hard limit forbids more
        from app.application import SpineApplication  # noqa: PLC0415  see above
    return SpineApplication
