"""The tools of the MAP: what is shown, copied and started, by the words that follow the image's name."""

import json
from pathlib import Path

import pytest

from app.map_tools import USAGE, ToolError, command, extract, main, show


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return the variables of a small image."""
    image = tmp_path / "image"
    for folder in ("app/app/__pycache__", "models/mine", "docs", "etc"):
        (image / folder).mkdir(parents=True)
    (image / "app/app/__main__.py").write_text("print(1)\n")
    (image / "app/app/__pycache__/x.pyc").touch()
    (image / "models/mine/pack.json").write_text("{}")
    (image / "docs/README.md").write_text("# Spondyl\n")
    (image / "etc/app.json").write_text(json.dumps({"command": '["python3", "-m", "app"]'}))
    (image / "etc/service.json").write_text(json.dumps({"command": '["spondyl", "serve"]'}))
    (image / "etc/pkg.json").write_text('{"models": {}}')
    (image / "app.yaml").write_text("device: cpu\n")
    paths = {
        "HOLOSCAN_APPLICATION": "app",
        "HOLOSCAN_MODEL_PATH": "models",
        "HOLOSCAN_DOCS_PATH": "docs",
        "HOLOSCAN_CONFIG_PATH": "app.yaml",
        "HOLOSCAN_APP_MANIFEST_PATH": "etc/app.json",
        "HOLOSCAN_PKG_MANIFEST_PATH": "etc/pkg.json",
    }
    return {name: str(image / path) for name, path in paths.items()}


@pytest.mark.parametrize(
    ("words", "started"),
    [
        ([], ["python3", "-m", "app"]),
        (["serve"], ["spondyl", "serve"]),
        (["serve", "--role", "worker"], ["spondyl", "serve", "--role", "worker"]),
        (["spondyl", "models", "list"], ["spondyl", "models", "list"]),
    ],
)
def test_words_start_a_program(words: list[str], started: list[str], environment: dict[str, str]) -> None:
    """None starts the application, `serve` the node, `spondyl` any verb; the programs are those of the manifests."""
    assert command(words, environment) == started


def test_an_unknown_word_starts_nothing(environment: dict[str, str]) -> None:
    """A misspelt tool must not begin to segment."""
    with pytest.raises(ToolError, match="there is no command 'shwo'; `help` shows"):
        command(["shwo"], environment)


def test_show_prints_app_and_package(environment: dict[str, str]) -> None:
    """Each under a heading; a name chooses one, and a foreign name is refused."""
    assert show("pkg", environment).splitlines()[1] == '{"models": {}}'
    assert show(None, environment) == f"{show('app', environment)}\n{show('pkg', environment)}"
    with pytest.raises(ToolError, match="no manifest 'map'; there are app, pkg, service"):
        show("map", environment)


def test_extract_copies_all_four_to_an_empty_mount(environment: dict[str, str], tmp_path: Path) -> None:
    """Without what Python has left there."""
    export = tmp_path / "export"
    export.mkdir()

    extract(export, environment)

    copied = {str(file.relative_to(export)) for file in export.rglob("*") if file.is_file()}
    assert copied == {
        "app/app/__main__.py",
        "config/app.json",
        "config/pkg.json",
        "config/app.yaml",
        "models/mine/pack.json",
        "docs/README.md",
    }


def test_extract_copies_only_what_is_mounted(environment: dict[str, str], tmp_path: Path) -> None:
    """A mount at `models` alone gets the packs alone."""
    (tmp_path / "export" / "models").mkdir(parents=True)

    assert extract(tmp_path / "export", environment) == [f"models: {tmp_path / 'export' / 'models'}"]

    assert [each.name for each in (tmp_path / "export").iterdir()] == ["models"]


def test_extract_says_what_to_mount(environment: dict[str, str], tmp_path: Path) -> None:
    """Nothing is mounted, or what is mounted is no folder that can be written."""
    with pytest.raises(ToolError, match="mount a folder at"):
        extract(tmp_path / "export", environment)
    (tmp_path / "export" / "config").mkdir(parents=True)
    (tmp_path / "export" / "config" / "app.json").mkdir()

    with pytest.raises(ToolError, match="config cannot be written by user"):
        extract(tmp_path / "export", environment)


def test_tools_print_and_tell_faults(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """`env` and `help` print; a fault is one line on standard error, and exit code 2."""
    assert main(["env"], environment) == 0
    assert f"HOLOSCAN_CONFIG_PATH={environment['HOLOSCAN_CONFIG_PATH']}" in capsys.readouterr().out.splitlines()
    assert main(["help"], environment) == 0
    assert capsys.readouterr().out == USAGE

    assert main(["shwo"], environment) == 2
    assert capsys.readouterr().err.startswith("spondyl: there is no command")
