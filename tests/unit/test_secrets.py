"""Passwords, tokens and the address of a queue: in no file of the node, no message and no output of a command."""

import os
import traceback
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli import app
from app.delivery.channels import reach, store_at
from app.delivery.instances import read_instances
from app.peer_settings import WebDestination
from app.settings import Settings, SettingsError, as_file_and_environment, load_settings
from tests.made_dicom import made_dx

MARK = "XQSECRETZ"
AT = f":/{'/'}u:{MARK}@"  # in pieces: here a user's name would be read as that of a machine
QUEUE = f"postgresql{AT}127.0.0.1:1/queue"


@pytest.fixture(autouse=True)
def no_outer_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the settings of this machine out."""
    for name in [name for name in os.environ if name.startswith("SPONDYL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_settings_of_the_processes_lie_on_the_disk_without_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address of the queue goes by the environment; together they are the same settings."""
    settings = Settings(storage=tmp_path / "storage", queue_url=QUEUE)

    content, variables = as_file_and_environment(settings)
    without = as_file_and_environment(Settings())[1]
    file = tmp_path / "settings.json"
    file.write_bytes(content)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert MARK.encode() not in content
    assert load_settings(file) == settings
    assert without == {}


WEB = "destinations:\n  - {name: web, kind: stow-rs, "


@pytest.mark.parametrize(
    "text",
    [
        f"queue_url: mysql{AT}example.org/q",
        f"queue_url: postgresql{AT}example.org:port/q",
        f"queue_uri: postgresql{AT}example.org/q",
        f"password: {MARK}",
        WEB + f"url: 'https{AT}example.org/'}}",
        WEB + f"url: 'ftp{AT}example.org/'}}",
        WEB + f"url: 'https://example.org/', token: {MARK}}}",
        WEB + f"url: 'https://example.org/', user: 'a:{MARK}', password_file: p}}",
        f"node:\n  tls: {{key_passphrase: {MARK}}}",
        f"queue_url: [postgresql{AT}example.org/q",
        f"queue_url: postgresql{AT}example.org/q: more",
        f"{MARK}",
    ],
)
def test_no_fault_of_the_settings_quotes_a_secret(text: str, tmp_path: Path) -> None:
    """Wherever it stands, also where it does not belong; neither in the message nor in the traceback of a crash."""
    file = tmp_path / "app.yaml"
    file.write_text(f"{text}\n")

    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    output = CliRunner().invoke(app, ["check", "--config", str(file)])
    crash = "".join(traceback.format_exception(caught.value))

    assert MARK not in str(caught.value)
    assert MARK not in crash
    assert MARK not in output.output


def test_a_variable_that_cannot_be_read_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret may be in what is no JSON."""
    monkeypatch.setenv("SPONDYL_DESTINATIONS", f"[{{token: {MARK}")

    with pytest.raises(SettingsError, match="destinations") as caught:
        load_settings()

    assert MARK not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("token", [f"{MARK}\n{MARK}", f"{MARK}\0", f"{MARK}ä"])
def test_a_credential_that_cannot_be_sent_is_told_by_its_file(token: str, tmp_path: Path) -> None:
    """Two lines, a NUL, a letter outside of ASCII: libraries quote the value in their complaints."""
    file = tmp_path / "token"
    file.write_text(f"{token}\n", encoding="utf-8")
    made_dx(np.eye(8), study="secret").save_as(tmp_path / "instance.dcm", enforce_file_format=True)
    web = WebDestination(name="web", kind="stow-rs", url="http://127.0.0.1:1/dicom-web", token_file=file)

    (outcome,) = store_at(web, read_instances([tmp_path / "instance.dcm"]), calling_ae_title="SPONDYL")
    words = reach(web, calling_ae_title="SPONDYL")

    assert outcome.fate == "postponed"
    assert str(file) in outcome.sentence and str(file) in (words or "")
    assert MARK not in outcome.sentence + (words or "")
