"""`spondyl demo`: the main job on this machine, with a real node and synthetic studies."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from rich.console import Console
from rich.table import Table

from app.cells import cell
from app.delivery.destinations import Fate, needed_profiles
from app.delivery.receiver import Receiver
from app.delivery.send import send_folder
from app.jobs.job import FINAL_STATES, JobState
from app.jobs.queries import list_jobs
from app.jobs.queue import JobStatus
from app.phantom import write_xray_study
from app.phantom_mr import write_mr_study
from app.report import REPORT_NAME, vertebra_labels
from app.serve import Node, listening_line
from app.settings import Assembly, Dashboard, Destination, Settings
from models.errors import SpondylError
from models.packs import discover_packs


@dataclass(frozen=True)
class DemoStudy:
    """A study that the demonstration sends where a pack of its engine is installed.

    name: of its files. words: of the console. write: (folder, seed) → its files, the truth beside the instances.
    """

    name: str
    words: str
    engine: str
    seed: int
    write: Callable[[Path, int], tuple[Path, ...]]


# Easily read, and no network was trained on these seeds; docs/accuracy.md has the average ones.
STUDIES: Sequence[DemoStudy] = (
    DemoStudy(
        "radiograph",
        "a cervical radiograph",
        "spinefm",
        9_000_011,
        lambda folder, seed: write_xray_study(folder, seed, region="cervical"),
    ),
    DemoStudy(
        "mr",
        "a sagittal lumbar T2w MR",
        "spineps",
        9_000_001,
        lambda folder, seed: write_mr_study(folder, seed, region="lumbar", contrast="T2w"),
    ),
)
PATIENCE_S = 600.0
QUIET_S = 1.0  # an MR study comes on one association here: nothing more is to be waited for
LOOK_EVERY_S = 0.1
DESTINATION = "demo"


class DemoFault(SpondylError):
    """The demonstration did not come to its end; the message says at which point."""


@dataclass(frozen=True)
class _Row:
    name: str
    status: JobStatus
    series: tuple[Mapping[str, Any], ...]


def run_demo(out: Path, settings: Settings) -> int:
    """Start a node, send it studies, receive the results, and show what came of it.

    Args:
        out: gets `studies/`, `results/<Study Instance UID>/*.dcm`, `<study>.png` and `report.json`.
        settings: packs and device are taken from them; ports, storage and destinations are the demo's own.

    Returns:
        0 where every study was segmented and delivered, else 1.

    Raises:
        SpondylError: the node did not start or did not take the studies.
    """
    console = Console(soft_wrap=True, highlight=False)
    out.mkdir(parents=True, exist_ok=True)
    for stale in ("studies", "results"):
        shutil.rmtree(out / stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="spondyl-demo-") as scratch, Receiver(out / "results", "DEMO") as receiver:
        node = Node(_demo_settings(settings, Path(scratch), receiver), quiet=True)
        try:
            console.print("starting the node …")
            node.start()
            console.print(listening_line(node).removesuffix("; Ctrl-C ends it"))
            names = _send_studies(_studies(settings, console), out / "studies", node, console)
            rows = _collect(_wait_for_jobs(node, names), names, node, out)
        finally:
            node.stop()
            _keep_log(node, out)
    _show(rows, out, console)
    return 0 if all(row.status.state is JobState.DELIVERED for row in rows) else 1


def _demo_settings(settings: Settings, scratch: Path, receiver: Receiver) -> Settings:
    destination = Destination(
        name=DESTINATION, ae_title=receiver.ae_title, host="127.0.0.1", port=receiver.port, proof="none"
    )
    return settings.model_copy(
        update={
            "node": settings.node.model_copy(update={"host": "127.0.0.1", "port": 0}),
            "dashboard": Dashboard(host="127.0.0.1", port=0),
            "storage": scratch / "storage",
            "packs": settings.packs.resolve(),
            "assembly": Assembly(quiet_s=QUIET_S),
            "destinations": (destination,),
        }
    )


def _studies(settings: Settings, console: Console) -> Sequence[DemoStudy]:
    """Return the studies for which there is a pack; tell of the others."""
    engines = {pack.engine for pack in discover_packs(settings.packs)}
    for study in STUDIES:
        if study.engine not in engines:
            console.print(f"no pack for {study.engine} is installed: {study.words} is left out")
    return [study for study in STUDIES if study.engine in engines]


def _send_studies(studies: Sequence[DemoStudy], folder: Path, node: Node, console: Console) -> Mapping[str, str]:
    """Write the studies and send them; return Study Instance UID → its name here."""
    gateway = node.sign("gateway")
    if gateway is None or gateway.host is None or gateway.port is None:
        raise DemoFault("the gateway has gone before the studies were sent; node.log says why")
    called = node.settings.node.ae_title
    names: dict[str, str] = {}
    for study in studies:
        first, *_ = study.write(folder / study.name, study.seed)
        names[str(dcmread(first, specific_tags=["StudyInstanceUID"]).StudyInstanceUID)] = study.name
        outcomes = send_folder(folder / study.name, gateway.host, gateway.port, calling="DEMO", called=called)
        for outcome in outcomes:
            if outcome.fate != Fate.STORED:
                raise DemoFault(f"the node did not take {study.words}: {outcome.sentence}")
        count = "" if len(outcomes) == 1 else f"{len(outcomes)} slices, "
        console.print(f"sent {study.words} by C-STORE ({count}phantom, seed {study.seed})")
    return names


def _wait_for_jobs(node: Node, names: Mapping[str, str]) -> tuple[JobStatus, ...]:
    """Wait until the job of every study has ended, and return them in the order of the studies."""
    limit = time.monotonic() + PATIENCE_S
    while time.monotonic() < limit:
        by_study = {status.job.study_instance_uid: status for status in list_jobs(node.settings)}
        if all(uid in by_study and by_study[uid].state in FINAL_STATES for uid in names):
            return tuple(by_study[uid] for uid in names)
        time.sleep(LOOK_EVERY_S)
    raise DemoFault(f"the studies were not through after {PATIENCE_S:.0f} s; node.log says how far they came")


def _collect(statuses: Sequence[JobStatus], names: Mapping[str, str], node: Node, out: Path) -> tuple[_Row, ...]:
    """Copy the pictures, write one report over all studies, and return what the table shows."""
    rows: list[_Row] = []
    studies: list[Mapping[str, Any]] = []
    for status in statuses:
        name = names[status.job.study_instance_uid]
        output = node.layout.job_output(status.job.job_id, needed_profiles(node.settings.destinations)[0])
        for picture in sorted(output.rglob("*.png")):
            shutil.copyfile(picture, out / f"{name}.png")
        report = output / REPORT_NAME
        content = json.loads(report.read_text("utf-8"))["studies"] if report.is_file() else []
        studies.extend(content)
        rows.append(_Row(name, status, tuple(entry for study in content for entry in study["series"])))
    (out / REPORT_NAME).write_text(json.dumps({"studies": studies}, indent=1) + "\n", "utf-8")
    return tuple(rows)


def _show(rows: Sequence[_Row], out: Path, console: Console) -> None:
    table = Table("study", "series", "state", "levels found", "confidence", "time", box=None, header_style="bold")
    for row in rows:
        structures = [structure for entry in row.series for structure in entry["structures"]]
        labels = vertebra_labels(structures)
        levels = f"{labels[0]} to {labels[-1]} ({len(labels)})" if labels else row.status.sentence
        sure = [structure["confidence"] for structure in structures if structure["kind"] == "vertebra"]
        confidence = f"≥ {min(sure):.2f}" if sure else "–"
        seconds = (row.status.updated_at - row.status.created_at).total_seconds()
        series = f"…{row.status.job.series_instance_uid[-8:]}"
        table.add_row(*map(cell, (row.name, series, row.status.state, levels, confidence, f"{seconds:.1f} s")))
    console.print(table)
    pictures = [str(picture) for picture in sorted(out.glob("*.png"))]
    console.print(cell(f"pictures: {', '.join(pictures) or 'none'}"))
    results = f"results:  {out / 'results'} (DICOM SEG, SR and SC as received)\nreport:   {out / REPORT_NAME}"
    console.print(cell(results))


def _keep_log(node: Node, out: Path) -> None:
    log = node.layout.root / "node.log"
    if log.is_file():
        shutil.copyfile(log, out / "node.log")
