"""A real node for tests: the processes of `spondyl serve` on free ports, with the capturing worker or the real one."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.jobs.job import FINAL_STATES
from app.jobs.queries import list_jobs
from app.jobs.queue import JobStatus, QueueUnavailable
from app.serve import MODULES, Node, Role
from app.settings import Dashboard, Destination, Settings, WebDestination
from app.settings import Node as NodeSettings

CAPTURING = {**MODULES, "worker": "tests.capture_worker"}
PATIENCE_S = 120.0


def node_settings(storage: Path, *destinations: Destination | WebDestination, port: int = 0) -> Settings:
    """Return the settings of a node on free ports of this machine."""
    return Settings(
        node=NodeSettings(port=port),
        dashboard=Dashboard(port=0),
        storage=storage,
        destinations=destinations,
    )


def destination(port: int, *, name: str = "pacs", ae_title: str = "PACS", profile: str = "standard") -> Destination:
    """Return a destination on this machine."""
    return Destination(
        name=name,
        ae_title=ae_title,
        host="127.0.0.1",
        port=port,
        profile=profile,  # type: ignore[arg-type]
        proof="none",
    )


@contextmanager
def running_node(settings: Settings, modules: Mapping[str, str] = CAPTURING, *, role: Role = "all") -> Iterator[Node]:
    """Run a node, or the part of one that a role names; its log is `node.log` in the storage folder."""
    node = Node(settings, quiet=True, modules=modules, role=role)
    node.start()
    stop = threading.Event()
    watch = threading.Thread(target=node.watch, args=(stop,))
    watch.start()
    try:
        yield node
    finally:
        stop.set()
        watch.join()
        node.stop()


def gateway_port(node: Node) -> int:
    """Return the port of the Storage SCP."""
    sign = node.sign("gateway")
    assert sign is not None and sign.port is not None
    return sign.port


def wait_for(condition: Callable[[], bool], what: str, *, patience_s: float = PATIENCE_S) -> None:
    """Wait for other processes until a condition holds."""
    limit = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < limit, f"in vain: {what}"
        time.sleep(0.02)


def jobs_of(node: Node) -> tuple[JobStatus, ...]:
    """Return the node's jobs, youngest first."""
    try:
        return list_jobs(node.settings, limit=10_000)
    except QueueUnavailable:
        return ()


def ended_jobs(node: Node, count: int) -> tuple[JobStatus, ...]:
    """Wait until so many jobs have ended and return them, youngest first."""
    wait_for(lambda: sum(status.state in FINAL_STATES for status in jobs_of(node)) >= count, f"{count} ended jobs")
    return tuple(status for status in jobs_of(node) if status.state in FINAL_STATES)
