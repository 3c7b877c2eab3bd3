"""Several nodes on one folder and one PostgreSQL: each study once, and a dead node's work is taken over."""

import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset

from app.jobs.history import read_history
from app.jobs.job import JobState
from app.serve import Node, NodeRunsAlready, Role
from app.settings import Assembly, Settings
from app.work_settings import Workers
from tests.fault_site import FAULTY, Archive, FaultSite
from tests.node import destination, gateway_port, node_settings, wait_for
from tests.postgres import PostgresServer, program, running_postgres

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        program("initdb") is None and os.environ.get("CI") != "true",
        reason="no PostgreSQL is installed (`bash .ci/run` installs the peers)",
    ),
]


@dataclass
class Group:
    """Two gateways and three workers that share a folder and a queue.

    north, south: gateways. east: a node of two workers; west: of one.
    """

    north: Node
    south: Node
    east: Node
    west: Node
    postgres: PostgresServer
    site: FaultSite


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """Run the nodes."""
    root = tmp_path_factory.mktemp("group")
    for name in ("studies", "gate"):
        (root / name).mkdir()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("CAPTURE_GATE", str(root / "gate"))
        patch.setenv("HOSTILE_LOG", str(root / "gate"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postgres-")))
        postgres = stack.enter_context(running_postgres(folder / "cluster"))
        archive = stack.enter_context(Archive(root / "pacs", "PACS"))
        base = node_settings(root / "storage", destination(archive.port)).model_copy(
            update={"assembly": Assembly(quiet_s=3.0), "queue_url": postgres.url}
        )
        roles: dict[str, tuple[Role, int]] = {
            "east": ("worker", 2),
            "west": ("worker", 1),
            "north": ("gateway", 1),
            "south": ("gateway", 1),
        }
        nodes = {name: _node(base, name, role, count) for name, (role, count) in roles.items()}
        for node in nodes.values():
            stack.callback(node.stop)
        with ThreadPoolExecutor() as pool:  # at the same time, as machines do
            list(pool.map(Node.start, nodes.values()))
        yield Group(**nodes, postgres=postgres, site=FaultSite(nodes["north"], archive, root / "studies"))
        archive.ended = True


def _node(base: Settings, name: str, role: Role, count: int) -> Node:
    """Return a part of the group; nobody starts again what dies here."""
    settings = base.model_copy(update={"node_name": name, "workers": Workers(count=count)})
    return Node(settings, quiet=True, modules=FAULTY, role=role)


def route(group: Group, datasets: list[FileDataset], node: Node) -> None:
    """Send a series to one of the gateways."""
    site = FaultSite(node, group.site.archive, group.site.folder)
    site.route(datasets)


def executors(group: Group) -> Counter[str]:
    """Return how many series each worker has begun."""
    events: Counter[str] = Counter()
    for history in group.north.layout.jobs.glob("*/history.jsonl"):
        for line in history.read_text().splitlines():
            if '"engine_began"' in line:
                events[line.partition('"worker": "')[2].partition('"')[0]] += 1
    return events


def test_studies_by_two_gateways_are_shared_by_three_workers_each_once(group: Group) -> None:
    """Half of them are sent to both gateways, as by two archives at the same time."""
    studies = [group.site.volume() if number % 2 else [group.site.radiograph()] for number in range(12)]
    threads = [threading.Thread(target=route, args=(group, study, group.north)) for study in studies]
    threads += [threading.Thread(target=route, args=(group, study, group.south)) for study in studies[::2]]
    gate = group.site.folder.parent / "gate"
    (gate / "hold").touch()  # a worker that was quicker to start would do them all
    for thread in threads:
        thread.start()
    wait_for(lambda: len(executors(group)) == 3, "each worker has begun one", patience_s=120)
    (gate / "hold").unlink()
    for thread in threads:
        thread.join()

    assert [group.site.outcome(study) for study in studies] == ["delivered once"] * len(studies)
    assert [len(group.site.jobs(study[0])) for study in studies] == [1] * len(studies)
    assert sum(executors(group).values()) == len(studies)
    assert set(executors(group)) == {"east.worker-1", "east.worker-2", "west.worker-1"}


def test_a_series_whose_associations_end_at_two_gateways_is_one_job(group: Group) -> None:
    """A load balancer deals out associations, not series."""
    slices = group.site.volume(8)
    halves = ((slices[:4], group.north), (slices[4:], group.south))
    threads = [threading.Thread(target=route, args=(group, half, node)) for half, node in halves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert group.site.outcome(slices) == "delivered once"
    assert group.site.jobs(slices[0])[-1].job.instance_count == 8


def test_a_second_node_of_the_same_name_does_not_start(group: Group) -> None:
    """It would take the work of the first for its own."""
    twin = Node(group.east.settings, quiet=True, modules=FAULTY, role="worker")

    with pytest.raises(NodeRunsAlready, match="a node called east works on .* already"):
        twin.start()


def test_the_queue_may_be_away_for_a_while(group: Group) -> None:
    """Studies are taken meanwhile, for the inbox needs no database; they are worked on when it is back."""
    group.postgres.stop(mode="immediate")
    study = group.site.volume()
    route(group, study, group.south)
    time.sleep(2)
    group.postgres.start()

    assert group.site.outcome(study) == "delivered once"


def test_a_worker_that_was_frozen_and_wakes_up_doubles_nothing(group: Group) -> None:
    """A suspended machine counts as dead; its study is another's by the time it goes on."""
    gate = group.site.folder.parent / "gate"
    (gate / "hold").touch()
    study = [group.site.radiograph()]
    route(group, study, group.north)
    wait_for(lambda: bool(list(gate.glob(f"begun-*{study[0].SOPInstanceUID}"))), "the engine has begun")
    (job,) = group.site.jobs(study[0])
    began = [event for event in read_history(group.north.layout, job.job.job_id) if event.word == "engine_began"]
    node, _, name = str(began[0].details["worker"]).partition(".")
    sign = {"east": group.east, "west": group.west}[node].sign(name)
    assert sign is not None

    os.kill(sign.process_id, signal.SIGSTOP)
    try:
        wait_for(lambda: len(list(gate.glob(f"begun-*{study[0].SOPInstanceUID}"))) == 2, "another takes it over")
        (gate / "hold").unlink()
        assert group.site.outcome(study) == "delivered once"
    finally:
        os.kill(sign.process_id, signal.SIGCONT)
    later = [group.site.radiograph() for _ in range(4)]
    for dataset in later:
        route(group, [dataset], group.north)

    assert [group.site.outcome([dataset]) for dataset in later] == ["delivered once"] * 4
    assert group.site.outcome(study) == "delivered once"
    assert len(group.site.jobs(study[0])) == 1


def test_the_work_of_a_dead_node_is_taken_over_by_the_others(group: Group) -> None:
    """SIGKILL to a whole node of workers, engine and delivery under way, and to a gateway; none of them comes back."""
    gate = group.site.folder.parent / "gate"
    (gate / "hold").touch()
    studies = [[group.site.radiograph()] for _ in range(3)]
    for study in studies:
        route(group, study, group.south)
    wait_for(lambda: sum(bool(list(gate.glob(f"begun-*{study[0].SOPInstanceUID}"))) for study in studies) == 3, "begun")
    waiting = group.site.volume(7)
    del waiting[3]  # so that the dead gateway has it in its inbox
    route(group, waiting, group.north)
    assert gateway_port(group.north)

    for node, name in ((group.west, "worker-1"), (group.north, "gateway")):
        sign = node.sign(name)
        assert sign is not None
        os.kill(sign.process_id, signal.SIGKILL)
    (gate / "hold").unlink()

    for study in (*studies, waiting):
        assert group.site.outcome(study) == "delivered once"
        assert group.site.jobs(study[0])[-1].state is JobState.DELIVERED
    assert executors(group)["west.worker-1"] >= 1
