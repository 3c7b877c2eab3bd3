"""The MAP's manifests: what the packager makes of the same app.yaml, and what an app.yaml must say."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from app.manifest import (
    ManifestError,
    MapPart,
    application_manifest,
    main,
    package_manifest,
    read_map_part,
    service_manifest,
)
from app.settings import installed_packs, installed_root
from app.version import software_version
from tests import oracles

APP_YAML = installed_root() / "app.yaml"
# Where we differ from the packager's own code, and why.
DIFFERENCES: dict[str, dict[str, Any]] = {
    "app.json": {
        # It would start a folder, `python3 /opt/holoscan/app`; ours holds several packages, and `app` is one of them.
        "command": '["python3", "-m", "app"]',
        # These two it takes from its command line.
        "sdk": "monai-deploy",
        "sdkVersion": version("monai-deploy-app-sdk"),
    },
    "pkg.json": {"platformConfig": "dgpu"},  # the same
}


@pytest.fixture(scope="module")
def part() -> MapPart:
    """Return the MAP's part of the shipped app.yaml."""
    return read_map_part(APP_YAML)


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Return a function that writes an app.yaml with other words in the place of some."""

    def _written(old: str, new: str) -> Path:
        text = APP_YAML.read_text()
        assert old in text
        file = tmp_path / "app.yaml"
        file.write_text(text.replace(old, new))
        return file

    return _written


def packagers(configuration: Path) -> dict[str, Any]:
    """Return what the packager's code makes of a configuration."""
    outcome = oracles.ask("python", "tests/oracles/packager.py", "app", configuration, installed_packs())
    assert outcome.returncode == 0, outcome.stderr
    return dict(json.loads(outcome.stdout))


def ours(part: MapPart) -> dict[str, Any]:
    """Return what this code makes of a part of app.yaml."""
    return {
        "app.json": application_manifest(part.application, sdk_version=version("monai-deploy-app-sdk")),
        "pkg.json": package_manifest(part, packs=installed_packs()),
    }


def test_the_manifests_are_those_of_the_packager(part: MapPart) -> None:
    """Key by key what `holoscan package` writes, but for the differences that are named."""
    theirs = packagers(APP_YAML)

    assert ours(part) == {name: theirs[name] | DIFFERENCES[name] for name in theirs}
    for name, different in DIFFERENCES.items():
        assert all(theirs[name][key] != value for key, value in different.items()), "a difference that is none"


def test_the_comparison_can_be_red(part: MapPart, written: Any) -> None:
    """Another app.yaml gives the packager another manifest, and not ours."""
    theirs = packagers(written("memory: ", "memory: 1"))

    assert ours(part)["pkg.json"] != theirs["pkg.json"] | DIFFERENCES["pkg.json"]


def test_title_and_version_are_those_of_the_software(part: MapPart) -> None:
    """One version, whoever asks."""
    assert (part.application.title, part.application.version) == ("Spondyl", software_version())


def test_who_needs_no_gpu_asks_for_no_memory_of_one(part: MapPart) -> None:
    """Else a platform would keep the image from a machine that can run it."""
    assert (part.resources.gpu, part.resources.gpuMemory) == (0, "0Gi")


def test_the_service_has_probes_and_a_type(part: MapPart) -> None:
    """The other life of the image starts the node and names where its health can be asked for."""
    manifest = service_manifest(part.application, sdk_version="4.0.0")

    assert manifest["type"] == "service"
    assert json.loads(manifest["command"]) == ["spondyl", "serve"]
    assert (manifest["readiness"]["path"], manifest["liveness"]["path"]) == ("/readyz", "/healthz")
    assert {manifest[probe]["type"] for probe in ("readiness", "liveness")} == {"http-get"}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("title: Spondyl", "title: ''", "application.title"),
        ("version: 0.1.0", "version: latest", "application.version"),
        ("  memory: ", "  memory: 4G # ", "resources.memory"),
        ("  gpu: 0", "  gpus: 0", "resources.gpu.*resources.gpus"),
        ("path: /healthz", "path: healthz", "application.service.liveness.path"),
        ("application:", "applications:", "application: Field required"),
        ("resources: ", "resources: {", "makes no MAP"),
    ],
)
def test_a_fault_in_app_yaml_is_named(old: str, new: str, complaint: str, written: Any) -> None:
    """A manifest is whole or not written at all."""
    file = written(old, new)

    with pytest.raises(ManifestError, match=complaint):
        read_map_part(file)


def test_the_command_writes_all_three(tmp_path: Path) -> None:
    """`python -m app.manifest FOLDER PACKS` is what the image is built with."""
    packs = tmp_path / "packs"
    (packs / "mine").mkdir(parents=True)
    (packs / "mine" / "pack.json").write_text("{}")

    assert main([str(tmp_path / "etc"), str(packs)]) == 0

    made = {file.name: json.loads(file.read_text()) for file in (tmp_path / "etc").iterdir()}
    assert set(made) == {"app.json", "pkg.json", "service.json"}
    assert made["pkg.json"]["models"] == {"mine": "/opt/holoscan/models/mine"}
