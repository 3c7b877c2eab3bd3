"""What is missing is told before anything starts, in one sentence that says what to do."""

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

import app.__main__ as entry_point
from app.cli import main as spondyl
from app.delivery.hosts import is_unknown
from app.preflight import FolderUnwritable, UnknownDestination, check_one_shot, check_service
from app.settings import Destination, Settings, installed_packs
from models.errors import PackError

NO_SUCH_NAME = f"{'x' * 64}.example.org"  # a label has at most 63 characters (RFC 1035)


@pytest.fixture(autouse=True)
def no_outer_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test starts in an empty folder without variables of a container."""
    for name in [name for name in os.environ if name.startswith(("SPONDYL_", "HOLOSCAN_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def unwritable(tmp_path: Path) -> Path:
    """Return a folder that not even root can write: its parent is a file."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "output"


def destination(host: str) -> Destination:
    """Return a destination on a machine."""
    return Destination(name="pacs", ae_title="PACS", host=host, port=104)


def test_without_packs_nothing_starts(tmp_path: Path) -> None:
    """An empty folder in the place of the packs would skip every study."""
    settings = Settings(packs=tmp_path, storage=tmp_path / "storage")

    with pytest.raises(PackError, match=r"no model pack is in .*: mount a folder of packs there"):
        check_one_shot(settings, tmp_path)
    with pytest.raises(PackError, match="no model pack is in"):
        check_service(settings)


def test_a_pack_with_another_digest_stops_the_node(tmp_path: Path) -> None:
    """One byte of the weights is another: the node does not start, and says which file and which hashes."""
    shutil.copytree(installed_packs() / "spinefm-phantom", tmp_path / "packs" / "spinefm-phantom")
    weights = tmp_path / "packs" / "spinefm-phantom" / "point_predictor.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    with pytest.raises(PackError, match=r"point_predictor\.safetensors.*[0-9a-f]{64}.*[0-9a-f]{64}"):
        check_service(Settings(packs=tmp_path / "packs", storage=tmp_path / "storage"))


def test_a_folder_that_cannot_be_written_is_named(unwritable: Path) -> None:
    """The results, or the inbox, would have no place."""
    with pytest.raises(FolderUnwritable, match=rf"output cannot be written by user {os.getuid()}"):
        check_one_shot(Settings(), unwritable)
    with pytest.raises(FolderUnwritable, match="mount a folder there that belongs to"):
        check_service(Settings(storage=unwritable))


def test_a_destination_that_no_name_service_knows_stops_the_node(tmp_path: Path) -> None:
    """A slip in app.yaml is told at once, not after the first study."""
    settings = Settings(storage=tmp_path, destinations=(destination(NO_SUCH_NAME),))

    with pytest.raises(UnknownDestination, match=r"destination pacs is at x+\.example\.org, a name that nobody knows"):
        check_service(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_what_is_only_down_does_not_stop_the_node(host: str, tmp_path: Path) -> None:
    """Nothing listens there, and the node starts nevertheless: results are delivered when somebody does."""
    check_service(Settings(storage=tmp_path, destinations=(destination(host),)))


def test_an_unknown_name_is_told_from_a_name_service_that_is_away() -> None:
    """Top-level domain invalid has no names (RFC 2606)."""
    try:
        socket.getaddrinfo("spondyl.invalid", None)
    except socket.gaierror as fault:
        if fault.errno == socket.EAI_AGAIN:
            pytest.skip("no name service can be asked here")

    assert is_unknown("spondyl.invalid")
    assert not is_unknown("localhost")


def test_the_one_shot_life_says_it_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line on standard error, and nothing heavy was loaded."""
    monkeypatch.setenv("HOLOSCAN_INPUT_PATH", str(tmp_path))
    monkeypatch.setenv("HOLOSCAN_OUTPUT_PATH", str(tmp_path / "out"))
    monkeypatch.setenv("SPONDYL_PACKS", str(tmp_path))

    assert entry_point.main() == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"spondyl: no model pack is in {tmp_path}")


def test_the_service_says_it_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and one line, as `docker logs` shows it."""
    monkeypatch.setenv("SPONDYL_PACKS", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["spondyl", "serve"])

    with pytest.raises(SystemExit) as ended:
        spondyl()

    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("spondyl: no model pack")
