"""`spondyl demo`: the main job on this machine, with a real node and synthetic studies."""

import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from rich.console import Console
from rich.table import Table

from app.delivery.destinations import Fate, needed_profiles
from app.delivery.receiver import Receiver
from app.delivery.send import send_folder
from app.jobs.job import FINAL_STATES, JobState
from app.jobs.queries import list_jobs
from app.jobs.queue import JobStatus
from app.phantom import write_xray_study
from app.report import REPORT_NAME
from app.serve import Node, listening_line
from app.settings import Dashboard, Destination, Settings
from models.contracts import BodyRegion
from models.errors import SpondylError

# (body region, seed): easily read, and no network was trained on them; docs/accuracy.md has the average ones.
STUDIES: Sequence[tuple[BodyRegion, int]] = (("cervical", 9_000_011), ("lumbar", 9_000_009))
PATIENCE_S = 300.0
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
        out: gets `studies/`, `results/<Study Instance UID>/*.dcm`, `<region>.png` and `report.json`.
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
            names = _send_studies(out / "studies", node, console)
            rows = _collect(_wait_for_jobs(node, names), names, node, out)
        finally:
            node.stop()
            _keep_log(node, out)
    _show(rows, out, console)
    return 0 if all(row.status.state is JobState.DELIVERED for row in rows) else 1


def _demo_settings(settings: Settings, scratch: Path, receiver: Receiver) -> Settings:
    destination = Destination(name=DESTINATION, ae_title=receiver.ae_title, host="127.0.0.1", port=receiver.port)
    return settings.model_copy(
        update={
            "node": settings.node.model_copy(update={"host": "127.0.0.1", "port": 0}),
            "dashboard": Dashboard(host="127.0.0.1", port=0),
            "storage": scratch / "storage",
            "packs": settings.packs.resolve(),
            "destinations": (destination,),
        }
    )


def _send_studies(folder: Path, node: Node, console: Console) -> Mapping[str, str]:
    """Write the studies and send them; return Study Instance UID → its name here."""
    gateway = node.sign("gateway")
    if gateway is None or gateway.host is None or gateway.port is None:
        raise DemoFault("the gateway has gone before the studies were sent; node.log says why")
    called = node.settings.node.ae_title
    names: dict[str, str] = {}
    for region, seed in STUDIES:
        radiograph, *_ = write_xray_study(folder / region, seed, region=region)
        names[str(dcmread(radiograph, specific_tags=["StudyInstanceUID"]).StudyInstanceUID)] = region
        for outcome in send_folder(radiograph, gateway.host, gateway.port, calling="DEMO", called=called):
            if outcome.fate != Fate.STORED:
                raise DemoFault(f"the node did not take the {region} study: {outcome.sentence}")
        console.print(f"sent a {region} radiograph by C-STORE (phantom, seed {seed})")
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
        labels = [str(structure["label"]) for structure in structures]
        levels = f"{labels[0]} to {labels[-1]} ({len(labels)})" if labels else row.status.sentence
        confidence = f"≥ {min(structure['confidence'] for structure in structures):.2f}" if structures else "–"
        seconds = (row.status.updated_at - row.status.created_at).total_seconds()
        series = f"…{row.status.job.series_instance_uid[-8:]}"
        table.add_row(row.name, series, row.status.state, levels, confidence, f"{seconds:.1f} s")
    console.print(table)
    pictures = [str(picture) for picture in sorted(out.glob("*.png"))]
    console.print(f"pictures: {', '.join(pictures) or 'none'}")
    console.print(f"results:  {out / 'results'} (DICOM SEG, SR and SC as received)\nreport:   {out / REPORT_NAME}")


def _keep_log(node: Node, out: Path) -> None:
    log = node.layout.root / "node.log"
    if log.is_file():
        shutil.copyfile(log, out / "node.log")
