"""The command lines of the manifests, run: gateway role, worker role, and both; and starts that do not go smoothly."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import yaml

import app.serve
from app.delivery.send import send_folder
from app.jobs import layout
from app.jobs.job import FINAL_STATES
from app.jobs.layout import StorageLayout
from app.jobs.process import Sign, read_sign
from app.jobs.queries import list_jobs
from app.jobs.queue import QueueUnavailable
from app.serve import Node, NodeNotStarted
from app.settings import Dashboard, Settings
from app.settings import Node as NodeSettings
from tests.made_dicom import made_dx
from tests.node import CAPTURING, node_settings, wait_for
from tests.postgres import program, running_postgres

pytestmark = pytest.mark.slow
COMMAND = Path(sys.executable).with_name("spondyl")
ENDING_S = 10.0  # an orchestrator's patience with SIGTERM


def container_of(manifest: Path, name: str) -> dict[str, Any]:
    """Return a container of a Kubernetes manifest by its name."""
    documents = yaml.safe_load_all(manifest.read_text())
    pods = [document["spec"]["template"]["spec"] for document in documents if "template" in document.get("spec", {})]
    (found,) = [each for pod in pods for each in pod["containers"] if each["name"] == name]
    return dict(found)


@contextmanager
def served(arguments: Sequence[str], storage: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `spondyl` with the arguments of a manifest on free ports, and end it as an orchestrator does."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("SPONDYL_")}
    own |= {"SPONDYL_STORAGE": str(storage), "SPONDYL_NODE__PORT": "0", "SPONDYL_DASHBOARD__PORT": "0"}
    process = subprocess.Popen([COMMAND, *arguments], env=own | environment, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(timeout=60) == 0
        assert time.monotonic() - began < ENDING_S


def wait_for_sign(storage: Path, name: str) -> Sign:
    """Wait until a process of a node says that it is ready."""
    layout = StorageLayout(storage)
    wait_for(lambda: layout.heartbeats.is_dir() and read_sign(layout, name) is not None, f"a sign of {name}")
    sign = read_sign(layout, name)
    assert sign is not None
    return sign


def route_one(sign: Sign, folder: Path) -> None:
    """Send a radiograph without a spine."""
    folder.mkdir()
    made_dx(np.eye(256)).save_as(folder / "1.dcm", enforce_file_format=True)
    assert sign.host is not None and sign.port is not None
    (outcome,) = send_folder(folder, sign.host, sign.port, calling="PACS", called="SPONDYL")
    assert outcome.fate == "stored"


def wait_for_end(settings: Settings) -> None:
    """Wait until the one job has ended."""

    def ended() -> bool:
        try:
            return any(status.state in FINAL_STATES for status in list_jobs(settings))
        except QueueUnavailable:
            return False

    wait_for(ended, "the job has ended")


@pytest.mark.skipif(
    program("initdb") is None and os.environ.get("CI") != "true",
    reason="no PostgreSQL is installed (`bash .ci/run` installs the peers)",
)
def test_the_command_lines_of_kubernetes_make_a_node(repository: Path, tmp_path: Path) -> None:
    """Gateway and worker are pods of their own that share a folder and a PostgreSQL; probes are answered."""
    manifests = repository / "manifests" / "kubernetes"
    gateway = container_of(manifests / "50-gateway.yaml", "gateway")
    worker = container_of(manifests / "60-worker.yaml", "worker")
    storage = tmp_path / "storage"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postgres-")))
        url = stack.enter_context(running_postgres(folder / "cluster")).url
        shared = {"SPONDYL_QUEUE_URL": url, "SPONDYL_WORKERS__COUNT": "1"}
        stack.enter_context(served(worker["args"], storage, SPONDYL_NODE_NAME="pod-w", **shared))
        stack.enter_context(served(gateway["args"], storage, SPONDYL_NODE_NAME="pod-g", **shared))
        page = wait_for_sign(storage, "pod-g.dashboard")
        with urlopen(f"http://{page.host}:{page.port}{gateway['readinessProbe']['httpGet']['path']}") as answer:
            assert answer.status == 200
        wait_for_sign(storage, "pod-w.worker-1")
        probe = subprocess.run(
            worker["startupProbe"]["exec"]["command"],
            env={**os.environ, "SPONDYL_STORAGE": str(storage), "SPONDYL_NODE_NAME": "pod-w"},
            check=False,
        )
        assert probe.returncode == 0
        route_one(wait_for_sign(storage, "pod-g.gateway"), tmp_path / "study")
        wait_for_end(Settings(storage=storage, queue_url=url))

        assert read_sign(StorageLayout(storage), "pod-g.worker-1") is None
        assert read_sign(StorageLayout(storage), "pod-w.gateway") is None


def test_the_command_line_of_compose_makes_a_node(repository: Path, tmp_path: Path) -> None:
    """All of it in one container."""
    compose = yaml.safe_load((repository / "manifests" / "compose" / "compose.yaml").read_text())
    storage = tmp_path / "storage"
    with served(compose["services"]["node"]["command"], storage):
        route_one(wait_for_sign(storage, "gateway"), tmp_path / "study")
        wait_for_end(Settings(storage=storage))
        page = wait_for_sign(storage, "dashboard")
        with urlopen(f"http://{page.host}:{page.port}/readyz") as answer:
            assert answer.read() == b"ready\n"
        documented = str(layout.__doc__)
        for entry in storage.iterdir():
            assert f"\n  {entry.name}" in documented or entry.name.startswith("queue.sqlite"), entry.name


def test_sigterm_is_heard_while_the_node_starts(tmp_path: Path) -> None:
    """The networks take seconds to load; an orchestrator that changes its mind does not wait for them."""
    storage = tmp_path / "storage"
    with served(["serve"], storage):
        wait_for((storage / "settings.json").is_file, "the first process is started")


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the file that says how often a worker dies, with short pauses between its starts."""
    monkeypatch.setenv("DEATHS", str(tmp_path / "deaths"))
    monkeypatch.setattr(app.serve, "RESTART_PAUSES_S", (0.0,))
    return tmp_path / "deaths"


def _node(tmp_path: Path) -> Node:
    settings = node_settings(tmp_path / "storage").model_copy(
        update={"node": NodeSettings(port=0), "dashboard": Dashboard(port=0)}
    )
    return Node(settings, quiet=True, modules={**CAPTURING, "worker": "tests.dying_worker"}, role="worker")


def test_a_child_that_dies_before_all_are_ready_is_started_again(dying: Path, tmp_path: Path) -> None:
    """On a busy machine, or one that is short of memory for a moment, the node starts all the same."""
    dying.write_text("2")
    node = _node(tmp_path)

    node.start()
    try:
        assert node.sign("worker-1") is not None
        assert dying.read_text() == "0"
    finally:
        node.stop()


def test_a_child_that_dies_again_and_again_ends_the_start(dying: Path, tmp_path: Path) -> None:
    """Waiting would not mend it; the message names the process."""
    dying.write_text("99")

    with pytest.raises(NodeNotStarted, match="worker-1 did not start; its log line says why"):
        _node(tmp_path).start(threading.Event())
