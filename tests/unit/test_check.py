"""`spondyl check`: each thing that a node needs is looked at, and what is wrong is said with what to do."""

import socket
from pathlib import Path

import pytest

from app.check import EXIT_FAULTY, Finding, check_node, run_checks
from app.delivery.receiver import Receiver
from app.jobs.layout import StorageLayout
from app.jobs.process import Heartbeat, process_name
from app.settings import Settings
from tests.node import destination, node_settings


def findings(settings: Settings) -> dict[str, Finding]:
    """Return what `check` finds, by subject."""
    return {finding.subject: finding for finding in check_node(settings)}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the settings of a node that never ran."""
    return node_settings(tmp_path / "storage")


def test_the_shipped_packs_and_a_free_machine_are_sound(settings: Settings) -> None:
    """What is left to say is that results go nowhere."""
    found = findings(settings)

    assert [each.subject for each in found.values() if not each.sound] == ["destinations"]
    assert {"pack spinefm-phantom", "pack spineps-phantom", "port of the gateway", "storage"} <= set(found)


def test_a_default_pack_that_is_not_there_is_named(settings: Settings) -> None:
    """With it missing, every study would be skipped."""
    found = findings(settings.model_copy(update={"default_pack": ("spinefm-phantom", "nobodys")}))

    assert not found["default pack"].sound
    assert found["default pack"].words.startswith("nobodys is not among the sound packs")


def test_a_port_that_another_program_holds_is_a_fault(settings: Settings) -> None:
    """The node could not start."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        node = settings.node.model_copy(update={"port": other.getsockname()[1]})
        found = findings(settings.model_copy(update={"node": node}))

    assert not found["port of the gateway"].sound
    assert found["port of the dashboard"].sound


@pytest.mark.parametrize("node_name", ["", "north"])
def test_a_port_that_this_node_itself_holds_is_none(settings: Settings, node_name: str) -> None:
    """Also where several nodes share the folder."""
    settings = settings.model_copy(update={"node_name": node_name})
    layout = StorageLayout(settings.storage)
    layout.create()
    with socket.create_server(("127.0.0.1", 0)) as own:
        host, port = own.getsockname()
        heartbeat = Heartbeat(layout, process_name(settings, "gateway"), host=host, port=port)
        heartbeat.start()
        node = settings.node.model_copy(update={"port": port})
        found = findings(settings.model_copy(update={"node": node}))
        heartbeat.stop()

    assert found["port of the gateway"] == Finding("port of the gateway", True, f"this node listens at {host}:{port}")


def test_a_disk_below_the_mark_of_the_settings_is_a_fault(settings: Settings) -> None:
    """The mark is the one at which the gateway declines instances."""
    limits = settings.node.limits.model_copy(update={"minimum_free_mib": 1 << 40})
    node = settings.node.model_copy(update={"limits": limits})

    found = findings(settings.model_copy(update={"node": node}))

    assert not found["storage"].sound
    assert found["storage"].to_do == f"make room: below {1 << 40} MiB the node takes no study"


def test_a_destination_that_answers_is_sound_and_one_that_is_away_is_not(settings: Settings, tmp_path: Path) -> None:
    """The verb ends with a status that a script can use."""
    with Receiver(tmp_path / "gone", "PACS") as gone:
        away = destination(gone.port, name="away")
    with Receiver(tmp_path / "pacs", "PACS") as pacs:
        there = destination(pacs.port, name="there")
        found = findings(settings.model_copy(update={"destinations": (there, away)}))
        status = run_checks(settings.model_copy(update={"destinations": (away,)}))

    assert found["destination there"].sound
    assert "cannot be reached" in found["destination away"].words
    assert status == EXIT_FAULTY
