"""The settings: what wins, what is refused, and that all faults come together."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings import Destination, Node, Settings, SettingsError, installed_packs, load_settings

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def no_outer_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test starts in an empty folder without SPONDYL_* variables."""
    for name in [name for name in os.environ if name.startswith("SPONDYL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a settings file."""

    def _write(text: str) -> Path:
        path = tmp_path / "settings.yaml"
        path.write_text(text)
        return path

    return _write


def test_an_empty_file_gives_the_defaults(write: Write) -> None:
    """Every setting has a default that works on one machine."""
    settings = load_settings(write(""))

    assert settings == Settings()
    assert settings.node == Node(ae_title="SPONDYL", host="127.0.0.1", port=11112)
    assert settings.packs == installed_packs()
    assert (settings.dashboard.host, settings.dashboard.port) == ("127.0.0.1", 8080)


def test_the_shipped_file_states_the_defaults() -> None:
    """What app.yaml says is what holds without it."""
    assert load_settings(installed_packs().parent.parent / "app.yaml") == Settings()


@pytest.mark.parametrize("written", ["spineps-t2w", "[spineps-t2w]"])
def test_one_preferred_pack_or_several_can_be_named(
    written: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name, a list, or names with commas between them in the environment."""
    assert load_settings(write(f"default_pack: {written}")).default_pack == ("spineps-t2w",)

    monkeypatch.setenv("SPONDYL_DEFAULT_PACK", "spinefm-phantom, spineps-t1w")

    assert load_settings(write("")).default_pack == ("spinefm-phantom", "spineps-t1w")
    with pytest.raises(SettingsError, match=r"default_pack\.0"):
        monkeypatch.setenv("SPONDYL_DEFAULT_PACK", "")
        load_settings(write(""))


def test_the_environment_wins_over_the_file_value_by_value(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """SPONDYL_NODE__PORT replaces the port and leaves the file's AE title."""
    file = write("node: {ae_title: SPINE, port: 4000}\nlog_level: debug\n")
    monkeypatch.setenv("SPONDYL_NODE__PORT", "4001")

    settings = load_settings(file)

    assert settings.node == Node(ae_title="SPINE", port=4001)
    assert settings.log_level == "debug"


def test_the_file_named_by_the_environment_is_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """SPONDYL_CONFIG names the settings file."""
    monkeypatch.setenv("SPONDYL_CONFIG", str(write("device: cpu")))

    assert load_settings().device == "cpu"


def test_destinations_keep_their_order_and_profile(write: Write) -> None:
    """A destination is read with its defaults: C-STORE, profile standard."""
    file = write(
        "destinations:\n"
        "  - {name: pacs, ae_title: ORTHANC, host: 10.0.0.1, port: 4242, profile: ohif}\n"
        "  - {name: archive, ae_title: ARCHIVE, host: 10.0.0.2, port: 104}\n"
    )

    assert load_settings(file).destinations == (
        Destination(name="pacs", ae_title="ORTHANC", host="10.0.0.1", port=4242, profile="ohif"),
        Destination(name="archive", ae_title="ARCHIVE", host="10.0.0.2", port=104, profile="standard"),
    )


def test_all_faults_are_reported_together(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """One round mends a file: each fault has its own line with its place."""
    file = write("node: {ae_title: MUCH_TOO_LONG_A_TITLE, port: 70000}\ncolour: red\n")
    monkeypatch.setenv("SPONDYL_DASHBOARD__PROT", "1")

    with pytest.raises(SettingsError, match="4 fault") as caught:
        load_settings(file)

    for place in ("node.ae_title: an AE title has 1 to 16", "node.port", "colour", "dashboard.prot"):
        assert place in str(caught.value)


FAULTS = {
    "destinations: [{name: me, ae_title: SPONDYL, host: 127.0.0.1, port: 11112}]": "is this node itself",
    "destinations: [{name: a, ae_title: A, host: a, port: 1}, {name: a, ae_title: B, host: b, port: 1}]": "twice",
    "destinations: [{name: a, ae_title: A, host: a, port: 1, profile: weasis}]": "destinations.0.profile",
    "device: tpu": "device",
    "- 1": "cannot be read",
    "node: [": "cannot be read",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_faulty_file_is_refused_with_its_name(text: str, write: Write) -> None:
    """A fault names the file and the setting."""
    file = write(text)

    with pytest.raises(SettingsError, match=FAULTS[text]) as caught:
        load_settings(file)

    assert str(file) in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A named settings file must be there; the defaults would silently be others."""
    with pytest.raises(SettingsError, match="does not exist"):
        load_settings(tmp_path / "none.yaml")
    monkeypatch.setenv("SPONDYL_CONFIG", str(tmp_path / "none.yaml"))
    with pytest.raises(SettingsError, match="is no file"):
        load_settings()


def test_settings_cannot_be_changed() -> None:
    """Settings are read once and frozen."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().device = "cpu"
