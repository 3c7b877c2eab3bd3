"""The supervisor: starts the processes of a node, starts again those that die, ends them in order."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from app.jobs.layout import PRIVATE_FILE, StorageLayout, replace_durably
from app.jobs.process import LIFELINE, Sign, process_name, read_sign, stop_event
from app.jobs.shares import this_machine, worker_count
from app.logs import configure_logging, get_logger
from app.settings import SETTINGS_FILE_VARIABLE, Settings, as_file_and_environment, installed_root
from models.errors import SpondylError

Role = Literal["all", "gateway", "worker"]

# The kinds of processes and their programs, in the order of their start.
MODULES: Mapping[str, str] = MappingProxyType(
    {"gateway": "app.gateway.process", "worker": "app.jobs.worker", "dashboard": "app.dashboard.process"}
)
KINDS: Mapping[Role, tuple[str, ...]] = MappingProxyType(
    {"all": tuple(MODULES), "gateway": ("gateway", "dashboard"), "worker": ("worker",)}
)
START_PATIENCE_S = 300.0  # a worker that loads networks on a busy machine
ENDING_PATIENCE_S = 8.0  # then SIGKILL: orchestrators often wait ten seconds, and nothing durable is lost
LOOK_EVERY_S = 0.2
PRIVATE_UMASK = 0o077  # what the libraries of the processes write is for this user alone, too
# A process that dies at once is started again more and more slowly.
RESTART_PAUSES_S = (0.0, 1.0, 5.0, 15.0, 60.0)
STABLE_AFTER_S = 120.0
MOST_DEATHS_AT_START = 4  # a machine that is busy, or short of memory, may cost a process or two their start

log = get_logger()


class NodeNotStarted(SpondylError):
    """A process of the node did not come up; the message names it, its log line says why."""


class NodeRunsAlready(SpondylError):
    """A node of this name works on this storage folder; two of one name would take each other's work."""


@dataclass
class _Process:
    name: str
    module: str
    popen: subprocess.Popen[bytes]
    started_at: float
    deaths: int = 0
    start_again_at: float | None = None

    def let_go(self) -> None:
        """Close this end of the lifeline."""
        if self.popen.stdin is not None:
            self.popen.stdin.close()


@dataclass
class Node:
    """The processes of one node, run as children of this one.

    settings: what all of them get.
    quiet: send their logs to `storage/node.log` instead of standard error.
    modules: kind of process → the module that is its program.
    role: which kinds run here.
    """

    settings: Settings
    quiet: bool = False
    modules: Mapping[str, str] = field(default_factory=lambda: MODULES)
    role: Role = "all"
    _processes: dict[str, _Process] = field(default_factory=dict)
    _lock: int = -1

    @property
    def layout(self) -> StorageLayout:
        """Where the node keeps what."""
        return StorageLayout(self.settings.storage.resolve())

    def start(self, stop: threading.Event | None = None) -> None:
        """Start every process and wait until each says that it is ready; one that dies is started again.

        Args:
            stop: ends the waiting, with the processes as far as they are; the caller then calls `stop`.

        Raises:
            NodeRunsAlready: a node of this name works on this storage folder.
            NodeNotStarted: one died again and again, or did not become ready in time; the others are stopped.
        """
        self.layout.create()
        self._take_name()
        for name, module in self._programs():
            (self.layout.heartbeats / process_name(self.settings, name)).unlink(missing_ok=True)
            self._processes[name] = self._spawn(name, module)
        limit = time.monotonic() + START_PATIENCE_S
        stopping = stop or threading.Event()
        while waiting := [name for name in self._processes if self.sign(name) is None]:
            for name, process in tuple(self._processes.items()):
                self._look_after(name, process)
            hopeless = [name for name in waiting if self._processes[name].deaths >= MOST_DEATHS_AT_START]
            if hopeless or time.monotonic() > limit:
                self.stop()
                raise NodeNotStarted(f"{(hopeless or waiting)[0]} did not start; its log line says why")
            if stopping.wait(LOOK_EVERY_S / 4):
                return

    def sign(self, name: str) -> Sign | None:
        """Return the sign of life that a process of this node (`gateway`, `worker-1`) has given, or None."""
        sign = read_sign(self.layout, process_name(self.settings, name))
        process = self._processes.get(name)
        return sign if sign is not None and process is not None and sign.process_id == process.popen.pid else None

    def watch(self, stop: threading.Event) -> None:
        """Start again whatever dies, until `stop` is set."""
        while not stop.wait(LOOK_EVERY_S):
            for name, process in self._processes.items():
                self._look_after(name, process)

    def stop(self) -> None:
        """End the processes: politely, then not."""
        popens = [process.popen for process in self._processes.values()]
        for popen in popens:
            popen.terminate()
        limit = time.monotonic() + ENDING_PATIENCE_S
        for popen in popens:
            try:
                popen.wait(max(0.0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()
        for process in self._processes.values():
            process.let_go()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_name(self) -> None:
        name = process_name(self.settings, "lock")
        self._lock = os.open(self.layout.heartbeats / f".{name}", os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = -1
            called = f"called {self.settings.node_name}" if self.settings.node_name else "without a name"
            reason = f"a node {called} works on {self.layout.root} already; stop it, or set node_name to another name"
            raise NodeRunsAlready(reason) from None

    def _programs(self) -> Iterator[tuple[str, str]]:
        """Yield name and program of each process of this node."""
        for kind in KINDS[self.role]:
            names = [kind]
            if kind == "worker":
                count = worker_count(self.settings, this_machine())
                names = [f"worker-{number}" for number in range(1, count + 1)]
            yield from ((name, self.modules[kind]) for name in names)

    def _look_after(self, name: str, process: _Process) -> None:
        now = time.monotonic()
        if process.popen.poll() is None:
            return
        if process.start_again_at is None:
            process.let_go()
            deaths = 1 if now - process.started_at > STABLE_AFTER_S else process.deaths + 1
            pause = RESTART_PAUSES_S[min(deaths, len(RESTART_PAUSES_S)) - 1]
            log.error("process_died", name=name, exit_status=process.popen.returncode, deaths=deaths, pause_s=pause)
            process.deaths, process.start_again_at = deaths, now + pause
        if now >= process.start_again_at:
            self._processes[name] = self._spawn(name, process.module, deaths=process.deaths)

    def _spawn(self, name: str, module: str, *, deaths: int = 0) -> _Process:
        # The settings in force, whatever made them: file, environment or the caller.
        file = self.layout.root / f"{process_name(self.settings, 'settings')}.json"
        content, variables = as_file_and_environment(self.settings)
        replace_durably(file, content)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SPONDYL_")}
        environment |= variables
        environment[SETTINGS_FILE_VARIABLE] = str(file)
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, (str(installed_root()), environment.get("PYTHONPATH")))
        )
        environment.setdefault("HOLOSCAN_LOG_LEVEL", "ERROR")
        command = [sys.executable, "-m", module, name, LIFELINE]
        log_file = self.layout.root / "node.log"
        log_file.touch(mode=PRIVATE_FILE)
        with log_file.open("ab") if self.quiet else nullcontext() as errors:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=environment,
                umask=PRIVATE_UMASK,
            )
        return _Process(name, module, popen, time.monotonic(), deaths)


def serve(settings: Settings, *, role: Role = "all", announce: Callable[[str], None] = print) -> int:
    """Run the node until SIGTERM or SIGINT.

    Args:
        settings: of the node.
        role: `all`, or the part that this machine has: `gateway` (with the page) or `worker`.
        announce: told one line as soon as the node listens.

    Returns:
        0 after an orderly end.

    Raises:
        NodeRunsAlready: a node of this name works on this storage folder.
        NodeNotStarted: a process did not come up.
    """
    stop = stop_event()
    configure_logging(settings.log_level, process=process_name(settings, "supervisor"))
    node = Node(settings, role=role)
    try:
        node.start(stop)
        if not stop.is_set():
            announce(listening_line(node))
        node.watch(stop)
    finally:
        node.stop()
    return 0


def listening_line(node: Node) -> str:
    """Return where a node that has started listens, in one line."""
    gateway, dashboard = node.sign("gateway"), node.sign("dashboard")
    title = node.settings.node.ae_title
    if node.role == "worker":
        return f"{title}: workers are ready; files in {node.layout.root}; Ctrl-C ends them"
    where = f"{gateway.host}:{gateway.port}" if gateway else "nowhere"
    page = f"http://{dashboard.host}:{dashboard.port}/" if dashboard else "nowhere"
    return f"{title} listens at {where}; page at {page}; files in {node.layout.root}; Ctrl-C ends it"
