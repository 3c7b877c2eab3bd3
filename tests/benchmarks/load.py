"""What a node carries: the peak of a hospital, times a factor, by C-STORE in and by C-STORE out, for some minutes.

    python -m tests.benchmarks.load --multiple 1 --minutes 10 --out load [--workers 1] [--without-networks] [--write]

The model is the peak hour of the peers: 120 radiographs and 25 MR series, at random moments. The studies are phantoms
under UIDs of their own; the node has the default packs and its own settings otherwise. Counted is the time from the
answer to the last instance of a study to the moment at which its job is delivered. Every result has to
arrive, once. `--without-networks` puts a picture of each instance in the place of its segmentation: what is left is the
cost of gateway, queue and delivery. `--write` puts tables and plot into docs/scaling.md.
"""

import argparse
import json
import math
import random
import re
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from app.delivery.receiver import Receiver
from app.delivery.send import send_folder
from app.jobs.job import FINAL_STATES, JobState
from app.jobs.queries import list_jobs
from app.jobs.queue import JobStatus, queue_of
from app.jobs.sent_instances import read_sent
from app.phantom import write_xray_study
from app.phantom_mr import write_mr_study
from app.serve import MODULES, Node
from app.work_settings import Workers
from models.contracts import BodyRegion
from tests.fault_site import FAULTY, children
from tests.made_dicom import made_uid
from tests.node import destination, gateway_port, node_settings, running_node

RADIOGRAPHS_AN_HOUR = 120
VOLUMES_AN_HOUR = 25
FIRST_SEED = 9_200_000  # of phantoms that no training has seen
RADIOGRAPH_KINDS, VOLUME_KINDS = 6, 3
SAMPLE_EVERY_S = 1.0
PATIENCE_S = 1800.0
DOCUMENT = Path(__file__).parents[2] / "docs" / "scaling.md"
PICTURE = DOCUMENT.parent / "images" / "load.png"


@dataclass(frozen=True)
class Sent:
    """A study that was sent: its kind, when (seconds since the epoch) it began to come, when its last instance came."""

    study: str
    kind: str
    began: float
    ended: float


@dataclass(frozen=True)
class Report:
    """What came of a run.

    waits_s: kind → seconds from the last instance to delivered, in the order of arrival, with its moment.
    work_s: kind → median of the seconds that the engine's step took.
    memory_mib: process → (seconds since the start, MiB resident).
    """

    multiple: float
    minutes: float
    workers: int
    sent: int
    delivered: int
    other: Mapping[str, int]
    lost: int
    doubled: int
    throughput_an_hour: float
    waits_s: Mapping[str, Sequence[tuple[float, float]]]
    work_s: Mapping[str, float]
    memory_mib: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Load:
    """What is asked of the node; `modules` are the programs of its processes."""

    multiple: float
    minutes: float
    workers: int
    modules: Mapping[str, str]


class Templates:
    """Phantoms that are sent again and again under new UIDs: drawing one takes longer than segmenting it."""

    def __init__(self, folder: Path) -> None:
        regions: tuple[BodyRegion, ...] = ("cervical", "lumbar")
        self._files: dict[str, list[list[Path]]] = {
            "radiograph": [
                [write_xray_study(folder / f"x{n}", FIRST_SEED + n, region=regions[n % 2])[0]]
                for n in range(RADIOGRAPH_KINDS)
            ],
            "MR": [_instances(folder / f"m{n}", FIRST_SEED + n) for n in range(VOLUME_KINDS)],
        }

    def write(self, kind: str, number: int, folder: Path) -> str:
        """Write one study to a folder and return its Study Instance UID."""
        folder.mkdir()
        study = made_uid("load", number)
        choices = self._files[kind]
        for file in choices[number % len(choices)]:
            dataset = _under_new_uids(dcmread(file), study, number)
            dataset.save_as(folder / f"{dataset.SOPInstanceUID}.dcm", enforce_file_format=True)
        return study


def _instances(folder: Path, seed: int) -> list[Path]:
    write_mr_study(folder, seed, region="lumbar", contrast="T2w")
    return sorted(file for file in folder.rglob("*.dcm") if dcmread(file, stop_before_pixels=True).Modality == "MR")


def _under_new_uids(dataset: FileDataset, study: str, number: int) -> FileDataset:
    dataset.StudyInstanceUID = study
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        if keyword in dataset:
            setattr(dataset, keyword, UID(made_uid("load", number, dataset[keyword].value)))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def run_load(load: Load, root: Path) -> Report:
    """Send studies at random moments and return what came of them."""
    templates = Templates(root / "phantoms")
    with Receiver(root / "pacs", "PACS") as pacs:
        settings = node_settings(root / "storage", destination(pacs.port)).model_copy(
            update={"workers": Workers(count=load.workers), "log_level": "warning"}
        )
        with running_node(settings, load.modules) as node:
            memory = MemoryWatch(node, load.workers)
            memory.start()
            sent = _send(node, templates, load, root)
            jobs = _wait_for(node, sent)
            memory.stop()
            return _report(sent, jobs, pacs, node, memory=memory, load=load)


def _send(node: Node, templates: Templates, load: Load, root: Path) -> list[Sent]:
    chance = random.Random(1)
    start, moment, number = time.time(), 0.0, 0
    futures = []
    (root / "studies").mkdir()
    with ThreadPoolExecutor(16) as pool:
        while True:
            moment += chance.expovariate(load.multiple * (RADIOGRAPHS_AN_HOUR + VOLUMES_AN_HOUR) / 3600)
            if moment > load.minutes * 60:
                break
            is_volume = chance.random() < VOLUMES_AN_HOUR / (RADIOGRAPHS_AN_HOUR + VOLUMES_AN_HOUR)
            kind, number = "MR" if is_volume else "radiograph", number + 1
            folder = root / "studies" / str(number)
            study = templates.write(kind, number, folder)
            time.sleep(max(0.0, start + moment - time.time()))
            futures.append(pool.submit(_send_one, node, folder, study, kind))
        return [future.result() for future in futures]


def _send_one(node: Node, folder: Path, study: str, kind: str) -> Sent:
    began = last = time.time()

    def note_time(_done: int, _total: int) -> None:
        nonlocal last
        last = time.time()

    port = gateway_port(node)
    outcomes = send_folder(folder, "127.0.0.1", port, calling="PACS", called="SPONDYL", progress=note_time)
    refused = [outcome.sentence for outcome in outcomes if outcome.fate != "stored"]
    if refused:
        raise RuntimeError(f"the node did not take a study: {refused[0]}")
    return Sent(study, kind, began, last)


def _wait_for(node: Node, sent: Sequence[Sent]) -> dict[str, JobStatus]:
    limit = time.time() + PATIENCE_S
    while time.time() < limit:
        jobs = {status.job.study_instance_uid: status for status in list_jobs(node.settings, limit=100_000)}
        if all(each.study in jobs and jobs[each.study].state in FINAL_STATES for each in sent):
            break
        time.sleep(1.0)
    return jobs


def _report(
    sent: Sequence[Sent],
    jobs: Mapping[str, JobStatus],
    pacs: Receiver,
    node: Node,
    *,
    memory: "MemoryWatch",
    load: Load,
) -> Report:
    start = min(each.began for each in sent)
    waits: dict[str, list[tuple[float, float]]] = {"radiograph": [], "MR": []}
    queue = queue_of(node.settings)
    other: dict[str, int] = {}
    lost = 0
    for each in sent:
        status = jobs.get(each.study)
        if status is None or status.state is not JobState.DELIVERED:
            word = status.state.value if status else "no job"
            other[word] = other.get(word, 0) + 1
            continue
        # its last step, not the job itself: of that SQLite keeps the second alone
        done = max(step.completed_at for step in queue.steps(status.job.job_id) if step.completed_at)
        waits[each.kind].append((each.ended - start, done.timestamp() - each.ended))
        lost += sum(result.sop_instance_uid not in pacs.counts for result in read_sent(node.layout, status.job.job_id))
    queue.close()
    delivered = sum(map(len, waits.values()))
    last = max((status.updated_at.timestamp() for status in jobs.values()), default=start)
    doubled = sum(count - 1 for count in pacs.counts.values())
    return Report(
        multiple=load.multiple,
        minutes=load.minutes,
        workers=load.workers,
        sent=len(sent),
        delivered=delivered,
        other=other,
        lost=lost,
        doubled=doubled,
        throughput_an_hour=delivered / (last - start) * 3600,
        waits_s=waits,
        work_s=_work(sent, jobs, node),
        memory_mib=memory.samples,
    )


def _work(sent: Sequence[Sent], jobs: Mapping[str, JobStatus], node: Node) -> dict[str, float]:
    """Return kind → median seconds of the engine's step."""
    seconds: dict[str, list[float]] = {}
    queue = queue_of(node.settings)
    for each in sent:
        if each.study in jobs:
            for step in queue.steps(jobs[each.study].job.job_id):
                if step.name == "infer" and step.started_at and step.completed_at:
                    took = (step.completed_at - step.started_at).total_seconds()
                    seconds.setdefault(each.kind, []).append(took)
    queue.close()
    return {kind: statistics.median(values) for kind, values in seconds.items()}


class MemoryWatch:
    """Samples what each process of a node holds."""

    def __init__(self, node: Node, workers: int) -> None:
        self.samples: dict[str, list[tuple[float, float]]] = {}
        self._node = node
        self._names = ["gateway", "dashboard", *(f"worker-{number + 1}" for number in range(workers))]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """Take the last sample."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        start = time.monotonic()
        while not self._stop.wait(SAMPLE_EVERY_S):
            for name in self._names:
                sign = self._node.sign(name)
                if sign is None:
                    continue
                self._sample(name, sign.process_id, time.monotonic() - start)
                for engine in children(sign.process_id) if name.startswith("worker") else ():
                    self._sample(name.replace("worker", "engine"), engine, time.monotonic() - start)

    def _sample(self, name: str, process_id: int, moment: float) -> None:
        try:
            pages = int(Path(f"/proc/{process_id}/statm").read_text("ascii").split()[1])
        except (FileNotFoundError, ProcessLookupError):
            return
        self.samples.setdefault(name, []).append((moment, pages * 4096 / (1 << 20)))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share (0–1) of the values lies."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


def table(report: Report) -> str:
    """Return the run as a table in Markdown."""
    lines = [
        f"{report.multiple:g} × the peak model for {report.minutes:g} minutes, {report.workers} worker(s): "
        f"{report.sent} studies sent, {report.delivered} delivered"
        + "".join(f", {count} {word}" for word, count in report.other.items())
        + f"; {report.lost} results lost, {report.doubled} doubled; {report.throughput_an_hour:.0f} studies an hour.",
        "",
        "| last instance to delivered | studies | p50 | p95 | p99 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind, waits in report.waits_s.items():
        if waits:
            values = [wait for _, wait in waits]
            shares = " | ".join(f"{percentile(values, share):.1f} s" for share in (0.5, 0.95, 0.99))
            lines.append(f"| {kind} | {len(values)} | {shares} |")
    lines += ["", "| memory | after a minute | at the end | highest |", "| --- | --- | --- | --- |"]
    for name, samples in report.memory_mib.items():
        early = next((mib for moment, mib in samples if moment >= 60), samples[0][1])
        highest = max(mib for _, mib in samples)
        lines.append(f"| {name} | {early:.0f} MiB | {samples[-1][1]:.0f} MiB | {highest:.0f} MiB |")
    return "\n".join(lines)


# Scenario → (radiographs, MR series) in its busiest hour; docs/scaling.md says how each was found.
SCENARIOS: Mapping[str, tuple[float, float]] = {
    "the peak model": (RADIOGRAPHS_AN_HOUR, VOLUMES_AN_HOUR),
    "a hospital group, 1,500 studies a day": (150, 75),
    "a national archive, 20 million studies in a year": (1830, 1140),
}
BUSY_SHARE = 0.7


def arithmetic(report: Report) -> str:
    """Return how many engines each scenario needs, from the seconds that this run has measured."""
    work = [report.work_s.get(kind, 0.0) for kind in ("radiograph", "MR")]
    lines = [
        f"With *t<sub>X</sub>* = {work[0]:.1f} s and *t<sub>M</sub>* = {work[1]:.1f} s, the medians of the run above:",
        "",
        "| in the busiest hour | radiographs | MR series | engines of this kind |",
        "| --- | --- | --- | --- |",
    ]
    for name, (radiographs, volumes) in SCENARIOS.items():
        engines = (radiographs * work[0] + volumes * work[1]) / 3600 / BUSY_SHARE
        lines.append(f"| {name} | {radiographs:g} | {volumes:g} | {max(1, math.ceil(engines))} ({engines:.1f}) |")
    return "\n".join(lines)


def put(document: Path, mark: str, text: str) -> None:
    """Put a text between the marks of a document."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    whole = document.read_text("utf-8")
    whole = re.sub(f"({begin}\n).*?({end})", lambda found: f"{found[1]}{text}\n{found[2]}", whole, flags=re.DOTALL)
    document.write_text(whole, "utf-8")


def draw(report: Report, picture: Path) -> None:
    """Draw waits and memory over time."""
    import matplotlib as mpl  # noqa: PLC0415  the run itself does not need it

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 7), sharex=True, layout="constrained")
    for kind, waits in report.waits_s.items():
        above.plot([moment / 60 for moment, _ in waits], [wait for _, wait in waits], ".", label=kind)
    above.set(ylabel="last instance to delivered, s", ylim=(0, None))
    above.set_title(f"{report.multiple:g} × (120 radiographs + 25 MR an hour), {report.workers} worker(s)")
    for name, samples in report.memory_mib.items():
        below.plot([moment / 60 for moment, _ in samples], [mib for _, mib in samples], label=name)
    below.set(xlabel="minutes", ylabel="resident memory, MiB", ylim=(0, None))
    for axes in (above, below):
        axes.legend(loc="upper right")
        axes.grid(alpha=0.3)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


def main() -> None:
    """Run the load and show it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--multiple", type=float, default=1.0)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="report.json and load.png go here")
    parser.add_argument("--without-networks", action="store_true")
    parser.add_argument("--write", action="store_true", help="also into docs/scaling.md")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="spondyl-load-") as root:
        modules = FAULTY if options.without_networks else MODULES
        report = run_load(Load(options.multiple, options.minutes, options.workers, modules), Path(root))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report.json").write_text(json.dumps(asdict(report), indent=1) + "\n", "utf-8")
    draw(report, options.out / "load.png")
    print(table(report))
    if options.write and options.without_networks:
        put(DOCUMENT, "machinery", table(report))
    elif options.write:
        put(DOCUMENT, "load", f"{table(report)}\n\n![Waits and memory under load](images/{PICTURE.name})")
        put(DOCUMENT, "arithmetic", arithmetic(report))
        draw(report, PICTURE)


if __name__ == "__main__":
    main()
