"""The supervisor: starts the processes of a node, starts again those that die, ends them in order."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType

from app.jobs.layout import StorageLayout, write_durably
from app.jobs.process import LIFELINE, Sign, read_sign, stop_event
from app.logs import configure_logging, get_logger
from app.settings import SETTINGS_FILE_VARIABLE, Settings, installed_root
from models.errors import SpondylError

MODULES: Mapping[str, str] = MappingProxyType(
    {"gateway": "app.gateway.process", "worker": "app.jobs.worker", "dashboard": "app.dashboard.process"}
)
START_PATIENCE_S = 300.0  # a worker that loads networks on a busy machine
ENDING_PATIENCE_S = 15.0
LOOK_EVERY_S = 0.2
# A process that dies at once is started again more and more slowly.
RESTART_PAUSES_S = (0.0, 1.0, 5.0, 15.0, 60.0)
STABLE_AFTER_S = 120.0

log = get_logger()


class NodeNotStarted(SpondylError):
    """A process of the node did not come up; the message names it, its log line says why."""


@dataclass
class _Process:
    name: str
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
    modules: process → the module that is its program; in the order of their start.
    """

    settings: Settings
    quiet: bool = False
    modules: Mapping[str, str] = field(default_factory=lambda: MODULES)
    _processes: dict[str, _Process] = field(default_factory=dict)

    @property
    def layout(self) -> StorageLayout:
        """Where the node keeps what."""
        return StorageLayout(self.settings.storage.resolve())

    def start(self) -> None:
        """Start every process and wait until each says that it is ready.

        Raises:
            NodeNotStarted: one ended or did not become ready in time; the others are stopped.
        """
        self.layout.create()
        for name in self.modules:
            (self.layout.heartbeats / name).unlink(missing_ok=True)
            self._processes[name] = self._spawn(name)
        limit = time.monotonic() + START_PATIENCE_S
        while any(self.sign(name) is None for name in self.modules):
            ended = [name for name, process in self._processes.items() if process.popen.poll() is not None]
            if ended or time.monotonic() > limit:
                self.stop()
                raise NodeNotStarted(f"{ended[0] if ended else 'a process'} did not start; its log line says why")
            time.sleep(LOOK_EVERY_S / 4)

    def sign(self, name: str) -> Sign | None:
        """Return the sign of life that the process of this node has given, or None."""
        sign = read_sign(self.layout, name)
        return sign if sign is not None and sign.process_id == self._processes[name].popen.pid else None

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
            self._processes[name] = self._spawn(name, deaths=process.deaths)

    def _spawn(self, name: str, *, deaths: int = 0) -> _Process:
        # The settings in force, whatever made them: file, environment or the caller.
        file = self.layout.root / "settings.json"
        write_durably(file, self.settings.model_dump_json().encode())
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SPONDYL_")}
        environment[SETTINGS_FILE_VARIABLE] = str(file)
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, (str(installed_root()), environment.get("PYTHONPATH")))
        )
        environment.setdefault("HOLOSCAN_LOG_LEVEL", "ERROR")
        command = [sys.executable, "-m", self.modules[name], LIFELINE]
        with (self.layout.root / "node.log").open("ab") if self.quiet else nullcontext() as errors:
            popen = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, env=environment
            )
        return _Process(name, popen, time.monotonic(), deaths)


def serve(settings: Settings, *, announce: Callable[[str], None] = print) -> int:
    """Run the node until SIGTERM or SIGINT.

    Args:
        settings: of the node.
        announce: told one line as soon as the node listens.

    Returns:
        0 after an orderly end.

    Raises:
        NodeNotStarted: a process did not come up.
    """
    stop = stop_event()
    configure_logging(settings.log_level, process="supervisor")
    node = Node(settings)
    node.start()
    try:
        announce(listening_line(node))
        node.watch(stop)
    finally:
        node.stop()
    return 0


def listening_line(node: Node) -> str:
    """Return where a node that has started listens, in one line."""
    gateway, dashboard = node.sign("gateway"), node.sign("dashboard")
    title = node.settings.node.ae_title
    where = f"{gateway.host}:{gateway.port}" if gateway else "nowhere"
    page = f"http://{dashboard.host}:{dashboard.port}/" if dashboard else "nowhere"
    return f"{title} listens at {where}; page at {page}; files in {node.layout.root}; Ctrl-C ends it"
