"""The image as a container engine runs it: user 1000, a read-only root, and for the one-shot life no network at all.

`./run image --check` builds and mounts the image and runs these tests; without it there is nothing to look at.
"""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom import dcmread

from app.delivery.send import send_folder
from app.demo import STUDIES
from app.manifest import application_manifest, package_manifest, read_map_part, service_manifest
from app.settings import installed_packs
from tests.conftest import ROOT
from tests.container.container import Container, Image, Mount
from tests.node import wait_for
from tests.peers import free_port, running_pacs

USER = 1000
INPUT, OUTPUT, WORK = "/var/holoscan/input", "/var/holoscan/output", "/var/holoscan/work"
EXPORT = "/var/run/holoscan/export"
GREEN_WITHIN_S = 300.0  # from the start of the container to the first 200 of /readyz, on a busy machine
ENDED_WITHIN_S = 20.0  # from SIGTERM to the end of the container
PATIENCE_S = 600.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("IMAGE_ROOT" not in os.environ, reason="no image is mounted: ./run image --check mounts one"),
]


@pytest.fixture(scope="module")
def image() -> Image:
    """Return the image that is mounted."""
    return Image.read(Path(os.environ["IMAGE_ROOT"]), Path(os.environ["IMAGE_CONFIG"]))


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a synthetic radiograph and a synthetic MR study, readable by everybody."""
    folder = tmp_path_factory.mktemp("studies")
    for study in STUDIES:
        study.write(folder / study.name, study.seed)
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return a folder that belongs to the image's user."""
    folder = tmp_path / "own"
    folder.mkdir()
    os.chown(folder, USER, USER)
    return folder


def digests(folder: Path) -> dict[str, str]:
    """Return file → SHA-256, but for report.json."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "report.json"]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def report(folder: Path) -> dict[str, Any]:
    """Return report.json without the seconds that everything took, the one thing in it that no two runs share."""
    content: dict[str, Any] = json.loads((folder / "report.json").read_text())
    for study in content["studies"]:
        for series in study["series"]:
            assert series.pop("timings_s")
    return content


@pytest.mark.parametrize(
    ("name", "modalities"), [("radiograph", ["OT", "SEG", "SR"]), ("mr", ["OT", "SEG", "SEG", "SR"])]
)
def test_one_shot_gives_bit_by_bit_what_the_command_gives_outside(
    name: str, modalities: list[str], image: Image, studies: Path, own: Path
) -> None:
    """Exit code 0; SEG, SR, SC and pictures are the same files, and report.json is the same but for the seconds."""
    outside = own.parent / "outside"
    command = [str(Path(sys.executable).with_name("spondyl")), "run", str(studies / name), str(outside)]
    subprocess.run(command, check=True, capture_output=True)

    outcome = image.run(mounts=[Mount(studies / name, INPUT), Mount(own, OUTPUT, writable=True)])

    assert outcome.returncode == 0, outcome.stderr
    assert digests(own) == digests(outside)
    assert report(own) == report(outside)
    results = [dcmread(file, stop_before_pixels=True).Modality for file in own.rglob("*.dcm")]
    assert sorted(results) == modalities
    assert {file.stat().st_uid for file in own.rglob("*")} == {USER}
    taken = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10  # the largest process so far, in or outside
    print(f"largest process: {taken >> 20} MiB")
    assert taken < int(read_map_part(ROOT / "app.yaml").resources.memory.removesuffix("Gi")) << 30


def test_the_root_is_read_only_and_the_user_is_nobody_special(image: Image) -> None:
    """What the other tests show holds under these conditions."""
    words = "import os; print(os.getuid(), os.getgid(), os.getgroups()); open('/opt/holoscan/app/x', 'w')"

    outcome = image.run("-c", words, entrypoint=["python3"])

    assert outcome.stdout == "1000 1000 []\n"
    assert "Read-only file system" in outcome.stderr


def test_no_compiler_is_inside(image: Image) -> None:
    """Nor anything else that only the building needs."""
    tools = ("cc", "gcc", "g++", "clang", "make", "ld", "uv", "pytest", "ruff", "mypy")
    folders = image.environment["PATH"].split(":")

    assert [name for name in tools for folder in folders if (image.root / folder[1:] / name).exists()] == []


def test_packs_and_code_lie_apart(image: Image) -> None:
    """Only packs in the model folder, and no pack among the code."""
    models = image.root / "opt" / "holoscan" / "models"

    assert {each.name for each in models.iterdir()} == {
        each.name for each in installed_packs().iterdir() if each.is_dir()
    }
    assert not list(models.rglob("*.py"))
    assert not list((image.root / "opt" / "holoscan" / "app").rglob("pack.json"))


def test_show_prints_the_manifests(image: Image) -> None:
    """What the code makes of app.yaml, and the same under both folders of /etc."""
    part = read_map_part(ROOT / "app.yaml")
    wanted = {
        "app": application_manifest(part.application, sdk_version="4.0.0"),
        "pkg": package_manifest(part, packs=installed_packs()),
        "service": service_manifest(part.application, sdk_version="4.0.0"),
    }

    for name, manifest in wanted.items():
        heading, _, shown = image.run("show", name).stdout.partition("\n")
        assert f" {name}.json " in heading
        assert json.loads(shown) == manifest
        for folder in ("holoscan", "monai"):
            assert json.loads((image.root / "etc" / folder / f"{name}.json").read_text()) == manifest
    assert image.run("show").stdout == image.run("show", "app").stdout + image.run("show", "pkg").stdout


def test_extract_copies_everything_to_one_mount(image: Image, own: Path) -> None:
    """Mounted at the export folder itself: app, config, models and docs."""
    outcome = image.run("extract", mounts=[Mount(own, EXPORT, writable=True)])

    assert outcome.returncode == 0, outcome.stderr
    assert {each.name for each in own.iterdir()} == {"app", "config", "models", "docs"}
    assert {each.name for each in (own / "config").iterdir()} == {"app.json", "pkg.json", "app.yaml"}
    assert (own / "app" / "app" / "__main__.py").is_file()
    assert digests(own / "models") == digests(image.root / "opt" / "holoscan" / "models")
    assert (own / "docs" / "README.md").read_bytes() == (ROOT / "README.md").read_bytes()


@pytest.mark.parametrize("name", ["app", "config", "models", "docs"])
def test_extract_copies_what_is_mounted(name: str, image: Image, own: Path) -> None:
    """Mounted at one of the four: that one alone."""
    outcome = image.run("extract", mounts=[Mount(own, f"{EXPORT}/{name}", writable=True)])

    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == f"{name}: {EXPORT}/{name}\n"
    assert any(own.iterdir())


def test_env_and_help_are_there(image: Image) -> None:
    """All HOLOSCAN_* variables, and what there is to be typed."""
    printed = dict(line.split("=", 1) for line in image.run("env").stdout.splitlines())

    assert {
        name: value for name, value in image.environment.items() if name.startswith("HOLOSCAN_")
    }.items() <= printed.items()
    assert "extract" in image.run("help").stdout


@pytest.mark.parametrize("words", [["extract"], ["shwo"], ["show", "map"]])
def test_a_tool_that_cannot_says_why(words: list[str], image: Image) -> None:
    """One line on standard error, and exit code 2."""
    outcome = image.run(*words)

    assert outcome.returncode == 2
    assert len(outcome.stderr.splitlines()) == 1


def refusals(own: Path) -> dict[str, tuple[list[str], list[Mount], str]]:
    """Return what is wrong → (command, mounts, beginning of the sentence)."""
    empty = own / "empty"
    empty.mkdir()
    pack = own / "packs" / "spinefm-phantom"
    shutil.copytree(installed_packs() / pack.name, pack)
    with (pack / "detector.safetensors").open("r+b") as weights:
        weights.write(b"\1")
    (own / "foreign").mkdir()  # it belongs to root
    settings = own / "app.yaml"
    slip = f"{'x' * 64}.example.org"
    settings.write_text(f"destinations: [{{name: pacs, ae_title: PACS, host: {slip}, port: 104}}]\n")
    work = own / "work"
    work.mkdir()
    os.chown(work, USER, USER)
    writable = Mount(work, OUTPUT, writable=True)
    storage = Mount(work, WORK, writable=True)
    return {
        "no model pack": (
            [],
            [Mount(empty, "/opt/holoscan/models"), writable],
            "no model pack is in /opt/holoscan/models",
        ),
        "wrong digest": (
            [],
            [Mount(pack.parent, "/opt/holoscan/models"), writable],
            "/opt/holoscan/models/spinefm-phantom",
        ),
        "unwritable output": (
            [],
            [Mount(own / "foreign", OUTPUT, writable=True)],
            f"{OUTPUT} cannot be written by user",
        ),
        "no model pack for the node": (
            ["serve"],
            [Mount(empty, "/opt/holoscan/models"), storage],
            "no model pack is in",
        ),
        "unwritable work folder": (["serve"], [], f"{WORK}/spondyl-data cannot be written by user 1000"),
        "unknown destination": (
            ["serve"],
            [Mount(settings, "/var/holoscan/app.yaml"), storage],
            "destination pacs is at x",
        ),
    }


def test_a_container_that_cannot_start_says_why_in_one_sentence(image: Image, own: Path, studies: Path) -> None:
    """Exit code 2 and one line, before anything heavy has been loaded."""
    for what, (words, mounts, beginning) in refusals(own).items():
        outcome = image.run(*words, mounts=[*mounts, Mount(studies, INPUT)])

        assert outcome.returncode == 2, what
        (line,) = outcome.stderr.splitlines()
        assert line.startswith(f"spondyl: {beginning}"), what
        print(f"{what}: {line}")


@pytest.fixture
def ports() -> dict[str, str]:
    """Return variables that put the node at free ports of this machine, whose network it shares."""
    return {"SPONDYL_NODE__PORT": str(free_port()), "SPONDYL_DASHBOARD__PORT": str(free_port())}


@pytest.fixture
def service(image: Image, own: Path, ports: dict[str, str]) -> Iterator[tuple[Container, int]]:
    """Run the node in a container beside an Orthanc and return both, as soon as its readiness is green."""
    port = int(ports["SPONDYL_NODE__PORT"])
    with running_pacs(own.parent / "pacs", node_port=port) as pacs:
        settings = own.parent / "app.yaml"
        destination = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs.dicom_port}
        settings.write_text(json.dumps({"destinations": [destination]}))
        mounts = [Mount(own, WORK, writable=True), Mount(settings, "/var/holoscan/app.yaml")]
        container = image.start(["serve"], mounts=mounts, environment=ports, network=True)
        try:
            yield container, pacs.http_port
        finally:
            container.kill()


def answers(url: str) -> bool:
    """Tell whether a probe is green."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@pytest.mark.peers("Orthanc")
def test_the_service_takes_delivers_and_ends_in_order(
    service: tuple[Container, int], ports: dict[str, str], studies: Path
) -> None:
    """Green within the stated time; studies in by C-STORE, results at Orthanc; SIGTERM ends it with 0, in time."""
    container, http_port = service
    page = f"http://127.0.0.1:{ports['SPONDYL_DASHBOARD__PORT']}"
    began = time.monotonic()
    wait_for(
        lambda: answers(f"{page}/readyz") or container.popen.poll() is not None, "readiness", patience_s=GREEN_WITHIN_S
    )
    print(f"green after {time.monotonic() - began:.1f} s")
    assert answers(f"{page}/healthz")

    outcomes = send_folder(studies, "127.0.0.1", int(ports["SPONDYL_NODE__PORT"]), calling="MODALITY", called="SPONDYL")
    assert {outcome.fate for outcome in outcomes} == {"stored"}
    wait_for(
        lambda: stored_modalities(http_port) == ["OT", "OT", "SEG", "SEG", "SEG", "SR", "SR"],
        "results",
        patience_s=PATIENCE_S,
    )
    print(f"delivered after {time.monotonic() - began:.1f} s")
    began = time.monotonic()
    ended = container.terminate()
    took = time.monotonic() - began

    print(f"ended {took:.1f} s after SIGTERM")
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert took < ENDED_WITHIN_S
    events = [json.loads(line)["event"] for line in ended.stderr.splitlines() if line.startswith("{")]
    assert {"gateway_stopped", "dashboard_stopped"} <= set(events)


def stored_modalities(http_port: int) -> list[str]:
    """Return the Modality of every series that the PACS holds, sorted."""
    with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/series?expand", timeout=60) as answer:
        return sorted(each["MainDicomTags"]["Modality"] for each in json.load(answer))


@pytest.mark.peers("Orthanc")
def test_the_modality_of_the_demonstration_stores_its_studies(image: Image, own: Path) -> None:
    """What the compose file lets it do, word for word but for the address of the PACS."""
    modality = yaml.safe_load((ROOT / "manifests" / "compose" / "compose.yaml").read_text())["services"]["modality"]
    with running_pacs(own.parent / "pacs", node_port=free_port()) as pacs:
        (script,) = modality["command"]
        assert "--host pacs --port 4242" in script
        words = [script.replace("--host pacs --port 4242", f"--host 127.0.0.1 --port {pacs.dicom_port}")]

        outcome = image.run(
            *words,
            entrypoint=modality["entrypoint"],
            working_folder=modality["working_dir"],
            mounts=[Mount(own, WORK, writable=True)],
            network=True,
        )

        assert outcome.returncode == 0, outcome.stderr
        assert stored_modalities(pacs.http_port) == ["DX", "MR"]
