"""`spondyl check`: is everything that a node needs in place, and what is to be done where it is not."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rich.console import Console
from rich.table import Table

from app.cells import cell
from app.delivery.channels import proof_fault, reach
from app.delivery.result_classes import (
    RESULT_CLASSES,
    binary_instead,
    class_name,
    needs_binary,
    refused_classes,
)
from app.gateway.ports import port_fault
from app.jobs.comparison import compare, told
from app.jobs.layout import StorageLayout
from app.jobs.process import Sign, process_name, read_sign
from app.jobs.queue import QueueUnavailable, queue_of
from app.peer_settings import Destination, WebDestination
from app.settings import Settings
from models.errors import SpondylError
from models.packs import load_pack

EXIT_SOUND = 0
EXIT_FAULTY = 1

PROOF_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "auto": "asked for, by what it offers",
        "storage-commitment": "asked for, by Storage Commitment",
        "c-find": "asked for, by C-FIND",
        "qido-rs": "asked for, by QIDO-RS",
        "none": "believed",
    }
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    to_do: what to do about it; empty where it is sound.
    """

    subject: str
    sound: bool
    words: str
    to_do: str = ""


def run_checks(settings: Settings) -> int:
    """Look at everything, print a table, and return 0 where all is sound, else 1."""
    findings = list(check_node(settings))
    table = Table("", "what", "found", "to do", box=None, header_style="bold")
    for finding in findings:
        mark = "[green]✓[/]" if finding.sound else "[red]✗[/]"
        table.add_row(mark, cell(finding.subject), cell(finding.words), cell(finding.to_do))
    Console(soft_wrap=True).print(table)
    return EXIT_SOUND if all(finding.sound for finding in findings) else EXIT_FAULTY


def check_node(settings: Settings) -> Iterator[Finding]:
    """Look at packs, ports, storage, destinations and the accelerator, and tell of each."""
    yield from _packs(settings)
    layout = StorageLayout(settings.storage.resolve())
    for process, address in (("gateway", settings.node), ("dashboard", settings.dashboard)):
        sign = read_sign(layout, process_name(settings, process))
        yield _port(f"port of the {process}", sign, address.host, address.port)
    yield _storage(layout.root, settings.node.limits.minimum_free_mib)
    yield from _queue(settings, layout)
    yield from _destinations(settings)
    yield _device(settings)


def _packs(settings: Settings) -> Iterator[Finding]:
    names = set()
    for folder in sorted(path.parent for path in settings.packs.glob("*/pack.json")):
        try:
            pack = load_pack(folder)
        except SpondylError as fault:
            yield Finding(f"pack {folder.name}", False, str(fault), "install or import it again")
        else:
            names.add(pack.name)
            yield Finding(f"pack {pack.name}", True, f"{pack.version}, {pack.engine}, hashes verified")
    for missing in (name for name in settings.default_pack if name not in names):
        words = f"{missing} is not among the sound packs of {settings.packs}"
        yield Finding("default pack", False, words, "set default_pack, or install that pack")


def _port(subject: str, sign: Sign | None, host: str, port: int) -> Finding:
    if sign is not None:
        return Finding(subject, True, f"this node listens at {sign.host}:{sign.port}")
    fault = port_fault(host, port)
    if fault is None:
        return Finding(subject, True, f"{host}:{port} is free")
    return Finding(subject, False, fault, "stop the other program, or choose another port in app.yaml")


def _storage(root: Path, minimum_free_mib: int) -> Finding:
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    free_mib = shutil.disk_usage(existing).free >> 20
    words = f"{free_mib / 1024:.1f} GiB free in {root}"
    if free_mib >= minimum_free_mib:
        return Finding("storage", True, words)
    return Finding("storage", False, words, f"make room: below {minimum_free_mib} MiB the node takes no study")


def _queue(settings: Settings, layout: StorageLayout) -> Iterator[Finding]:
    """Compare the job folders with the queue."""
    jobs = sum(1 for _ in layout.jobs.iterdir()) if layout.jobs.is_dir() else 0
    queue = queue_of(settings)
    try:
        found = compare(layout, queue) if layout.jobs.is_dir() else None
    except QueueUnavailable as fault:
        if not jobs and not settings.queue_url:
            yield Finding("queue", True, "none yet: the node makes it when it starts")
            return
        to_do = "start the database; where it is lost, the node makes a new one and queues the jobs again"
        yield Finding("queue", False, f"{fault} ({jobs} jobs have folders)", to_do)
        return
    finally:
        queue.close()
    if found is None or not (found.missing or found.odd):
        yield Finding("queue", True, f"{jobs} job folders; the queue knows what is to be done")
    if found is not None and found.missing:
        words = f"{len(found.missing)} jobs have folders and are not in the queue"
        yield Finding("queue", False, words, "start the node: it queues them again")
    for words in told(found.odd) if found is not None else ():
        yield Finding("queue", False, words, "see docs/reliability.md, A lost or restored queue")


def _destinations(settings: Settings) -> Iterator[Finding]:
    if not settings.destinations:
        yield Finding("destinations", False, "none: results stay in the storage folder", "name your PACS in app.yaml")
    for destination in settings.destinations:
        subject = f"destination {destination.name}"
        fault = reach(destination, calling_ae_title=settings.node.ae_title)
        if fault is not None:
            yield Finding(subject, False, fault, "start it, or mend its entry in app.yaml")
            continue
        yield _proof(destination, subject, settings.node.ae_title)
        if isinstance(destination, Destination):
            yield _results(destination, f"results for {destination.name}", settings.node.ae_title)


def _proof(destination: Destination | WebDestination, subject: str, calling_ae_title: str) -> Finding:
    unproven = proof_fault(destination, calling_ae_title=calling_ae_title)
    if unproven is not None:
        to_do = "let it answer those, or set proof: none; nothing is purged unproven"
        return Finding(subject, False, unproven, to_do)
    return Finding(subject, True, f"{destination.where} answers; results kept there: {PROOF_WORDS[destination.proof]}")


def _results(destination: Destination, subject: str, calling_ae_title: str) -> Finding:
    """Propose the SOP classes of results, and name those that are refused."""
    try:
        refused = refused_classes(destination, calling_ae_title=calling_ae_title)
    except SpondylError as fault:
        return Finding(subject, False, str(fault), "start it, or mend its entry in app.yaml")
    needed = RESULT_CLASSES["standard" if needs_binary(refused) else destination.profile]
    names = ", ".join(class_name(each) for each in needed if each in refused)
    if names:
        words = f"{destination.ae_title} refuses {names}"
        return Finding(subject, False, words, f"let {destination.ae_title} accept it: such results fail there")
    if needs_binary(refused) and destination.profile == "ohif":
        return Finding(subject, True, binary_instead(destination), "for OHIF let it accept that class")
    return Finding(subject, True, f"{destination.ae_title} accepts {', '.join(class_name(each) for each in needed)}")


def _device(settings: Settings) -> Finding:
    # The driver's device files: asking torch would take seconds, and only the worker may load it.
    count = len(list(Path("/dev").glob("nvidia[0-9]*")))
    if count:
        return Finding("accelerator", True, f"{count} NVIDIA GPU; device is {settings.device}")
    if settings.device.startswith("cuda"):
        return Finding(
            "accelerator", False, f"device is {settings.device}; no GPU is here", "set device to auto or cpu"
        )
    return Finding("accelerator", True, "no GPU: the networks run on the processor")
