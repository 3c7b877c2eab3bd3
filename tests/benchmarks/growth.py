"""How the cost of gateway, queue and delivery grows with studies, slices and nodes, in processor time.

    python -m tests.benchmarks.growth [--write]

Processor time is counted for each process, so that other work on the machine does not matter much. The networks are
left out: a picture of each instance stands in for their results, and goes back to an archive by C-STORE as those would.
What an idle node takes is counted apart and subtracted. `--write` puts the tables into docs/scaling.md.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from app.serve import Node, Role
from app.settings import Settings
from app.work_settings import Workers
from tests.benchmarks.load import DOCUMENT, put
from tests.fault_site import FAULTY, Archive, FaultSite, children
from tests.made_mr import made_mr
from tests.node import destination, node_settings
from tests.postgres import running_postgres

BLOCK, BLOCKS = 100, 3  # radiographs
SLICES, SERIES, EDGE = (5, 20, 80, 320), 6, 256
NODES, STUDIES = (1, 2, 4), 60
IDLE_S = 10.0
SENDERS = 4
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
ROLES = ("gateway", "worker", "database")


@dataclass(frozen=True)
class Group:
    """Nodes that work together, and their database where it has processes of its own."""

    nodes: Sequence[Node]
    database: int | None
    site: FaultSite

    def seconds(self) -> dict[str, float]:
        """Return role → processor time so far, in seconds; a worker's engine, which only paints, is not counted."""
        spent = dict.fromkeys(ROLES, 0.0)
        for node in self.nodes:
            for role, name in (("gateway", "gateway"), ("worker", "worker-1")):
                sign = node.sign(name)
                spent[role] += _seconds(sign.process_id) if sign is not None else 0.0
        if self.database is not None:
            spent["database"] = sum(map(_seconds, (self.database, *children(self.database))))
        return spent


def _seconds(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / TICKS_A_SECOND


@contextmanager
def running_group(root: Path, workers: int, *, postgres: bool) -> Iterator[Group]:
    """Run one node with the embedded queue, or a gateway and so many nodes of one worker on PostgreSQL."""
    for name in ("studies", "gate"):
        (root / name).mkdir(parents=True)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("CAPTURE_GATE", str(root / "gate"))
        patch.setenv("HOSTILE_LOG", str(root / "gate"))
        archive = stack.enter_context(Archive(root / "pacs", "PACS"))
        settings = node_settings(root / "storage", destination(archive.port))
        settings = settings.model_copy(update={"log_level": "warning", "workers": Workers(count=1)})
        roles: list[tuple[str, Role]] = [("", "all")]
        database = None
        if postgres:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="postgres-"))) / "cluster"
            settings = settings.model_copy(update={"queue_url": stack.enter_context(running_postgres(folder)).url})
            database = int((folder / "data" / "postmaster.pid").read_text("ascii").split()[0])
            roles = [("gateway", "gateway"), *((f"worker{number}", "worker") for number in range(workers))]
        nodes = [stack.enter_context(_running(settings, name, role)) for name, role in roles]
        yield Group(nodes, database, FaultSite(nodes[0], archive, root / "studies"))
        archive.ended = True


@contextmanager
def _running(settings: Settings, name: str, role: Role) -> Iterator[Node]:
    node = Node(settings.model_copy(update={"node_name": name}), quiet=True, modules=FAULTY, role=role)
    node.start()
    try:
        yield node
    finally:
        node.stop()


def idle_cost(group: Group) -> dict[str, float]:
    """Return role → seconds of processor time in a second without work."""
    before, began = group.seconds(), time.monotonic()
    time.sleep(IDLE_S)
    after, took = group.seconds(), time.monotonic() - began
    return {role: (after[role] - before[role]) / took for role in ROLES}


def cost(group: Group, idle: Mapping[str, float], studies: Sequence[list[FileDataset]]) -> dict[str, float]:
    """Send studies, wait until all are delivered, and return role → milliseconds of processor time for each."""
    before, began = group.seconds(), time.monotonic()
    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(group.site.route, studies))
    for study in studies:
        if group.site.outcome(study) != "delivered once":
            raise RuntimeError(group.site.story(study[0]))
    after, took = group.seconds(), time.monotonic() - began
    return {role: (after[role] - before[role] - idle[role] * took) / len(studies) * 1000 for role in ROLES}


def row(title: str, values: Mapping[str, float], *, roles: Sequence[str] = ROLES) -> str:
    """Return a row of a table, of milliseconds."""
    return " | ".join((f"| {title}", *(f"{max(0.0, values[role]):.0f}" for role in roles))) + " |"


def by_studies(root: Path) -> str:
    """Return the cost of a radiograph on a node that has had more and more of them."""
    lines = ["| radiographs | gateway, ms each | worker, ms each |", "| --- | --- | --- |"]
    with running_group(root, 1, postgres=False) as group:
        idle = idle_cost(group)
        for block in range(BLOCKS):
            studies = [[group.site.radiograph()] for _ in range(BLOCK)]
            title = f"{block * BLOCK + 1} to {(block + 1) * BLOCK}"
            lines.append(row(title, cost(group, idle, studies), roles=ROLES[:2]))
    return "\n".join(lines)


def by_slices(root: Path) -> str:
    """Return the cost of an MR series by the number of its slices."""
    lines = ["| slices | gateway, ms a series | worker, ms a series |", "| --- | --- | --- |"]
    with running_group(root, 1, postgres=False) as group:
        idle = idle_cost(group)
        for count in SLICES:
            voxels = np.zeros((count, EDGE, EDGE), np.uint16)
            studies = [made_mr(voxels, study=f"{count} slices, {n}", BodyPartExamined="LSPINE") for n in range(SERIES)]
            lines.append(row(str(count), cost(group, idle, studies), roles=ROLES[:2]))
    return "\n".join(lines)


def by_nodes(root: Path) -> str:
    """Return the cost of a radiograph in groups of more and more worker nodes, and what a second without work costs."""
    head = [f"{role}, ms each" for role in ROLES] + ["idle: workers, ms a second", "idle: database, ms a second"]
    lines = ["| worker nodes | " + " | ".join(head) + " |", "| --- " * (len(head) + 1) + "|"]
    for count in NODES:
        with running_group(root / str(count), count, postgres=True) as group:
            idle = idle_cost(group)
            values = cost(group, idle, [[group.site.radiograph()] for _ in range(STUDIES)])
        still = f" {idle['worker'] * 1000:.0f} | {idle['database'] * 1000:.0f} |"
        lines.append(row(str(count), values) + still)
    return "\n".join(lines)


TABLES: Mapping[str, Callable[[Path], str]] = {"studies": by_studies, "slices": by_slices, "nodes": by_nodes}


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="also into docs/scaling.md")
    parser.add_argument("--only", choices=TABLES, nargs="*", default=list(TABLES))
    options = parser.parse_args()
    for name in options.only:
        with TemporaryDirectory(prefix="spondyl-growth-") as root:
            text = TABLES[name](Path(root) / name)
        print(f"{name}\n{text}", flush=True)
        if options.write:
            put(DOCUMENT, f"growth by {name}", text)


if __name__ == "__main__":
    main()
