"""What the image is built from and deployed with: valid by its own schema, and in step with the code."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.manifest import ENVIRONMENT, WORKING_DIRECTORY, Application, read_map_part
from app.settings import load_settings
from tests import oracles
from tests.architecture.gates import ROOT

MANIFESTS = ROOT / "manifests"
COMPOSE = MANIFESTS / "compose" / "compose.yaml"
KUBERNETES = sorted((MANIFESTS / "kubernetes").glob("*.yaml"))
DOCKERFILE = (ROOT / "Dockerfile").read_text()
IMAGE = re.compile(r"\bspondyl:\d[\w.-]*")
COMPOSE_SCHEMA = ("check-jsonschema", "--builtin-schema", "vendor.compose-spec")
KUBERNETES_SCHEMA = ("kubernetes-validate", "--strict")
# file → words of it, their replacement that the schema must not accept, and what it says
COMPOSE_FAULTS = {
    "a misspelt key": ("    read_only: true\n", "    readonly: true\n", "readonly"),
    "a value of another type": ("cap_drop: [ALL]", "cap_drop: ALL", "cap_drop"),
    "an unknown condition": ("condition: service_healthy", "condition: service_happy", "service_happy"),
}
KUBERNETES_FAULTS = {
    "a misspelt key": ("60-worker.yaml", "readOnlyRootFilesystem", "readonlyRootFilesystem", "readonlyRootFilesystem"),
    "a value of another type": ("50-gateway.yaml", "port: 11112", "port: eleven", "eleven"),
    "a field that lacks": (
        "60-worker.yaml",
        "  selector:\n    matchLabels: {app.kubernetes.io/name: spondyl-worker}\n",
        "",
        "'selector' is a required property",
    ),
    "an item that lacks its name": ("40-queue.yaml", "- name: postgresql", "- image: postgresql", "name"),
}


@pytest.fixture
def no_outer_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the settings of whoever runs the tests out."""
    for name in [name for name in os.environ if name.startswith("SPONDYL_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def application() -> Application:
    """Return what app.yaml says of the application."""
    return read_map_part(ROOT / "app.yaml").application


def documents() -> list[dict[str, Any]]:
    """Return every Kubernetes object."""
    return [document for file in KUBERNETES for document in yaml.safe_load_all(file.read_text())]


def containers() -> list[dict[str, Any]]:
    """Return every container of Kubernetes that runs our image."""
    pods = [document["spec"]["template"]["spec"] for document in documents() if document["kind"] == "StatefulSet"]
    return [each for pod in pods for each in pod["containers"] if IMAGE.match(each["image"])]


def test_the_compose_file_is_valid() -> None:
    """By the schema of the Compose Specification."""
    outcome = oracles.ask(*COMPOSE_SCHEMA, COMPOSE)

    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize("fault", COMPOSE_FAULTS)
def test_the_schema_of_compose_is_red(fault: str, tmp_path: Path) -> None:
    """The same file with one fault is refused, and the fault named."""
    old, new, complaint = COMPOSE_FAULTS[fault]
    assert old in COMPOSE.read_text()
    planted = tmp_path / "compose.yaml"
    planted.write_text(COMPOSE.read_text().replace(old, new))

    outcome = oracles.ask(*COMPOSE_SCHEMA, planted)

    assert outcome.returncode == 1
    assert complaint in outcome.stdout


def test_the_kubernetes_objects_are_valid() -> None:
    """Each by the schema of its kind, and without a field that the schema does not know."""
    outcome = oracles.ask(*KUBERNETES_SCHEMA, *KUBERNETES)

    assert outcome.returncode == 0, outcome.stdout
    assert outcome.stdout.count("passed") == len(documents())


@pytest.mark.parametrize("fault", KUBERNETES_FAULTS)
def test_the_schemas_of_kubernetes_are_red(fault: str, tmp_path: Path) -> None:
    """The same file with one fault is refused, and the fault named."""
    name, old, new, complaint = KUBERNETES_FAULTS[fault]
    text = (MANIFESTS / "kubernetes" / name).read_text()
    assert old in text
    planted = tmp_path / name
    planted.write_text(text.replace(old, new, 1))

    outcome = oracles.ask(*KUBERNETES_SCHEMA, planted)

    assert outcome.returncode != 0
    assert complaint in outcome.stdout + outcome.stderr


def test_every_file_names_the_image_of_this_version(application: Application) -> None:
    """A new version is deployed with the files that came with it."""
    files = [file for file in MANIFESTS.rglob("*") if file.is_file()]

    named = {image for file in files for image in IMAGE.findall(file.read_text())}

    assert named == {f"spondyl:{application.version}"}


@pytest.mark.usefixtures("no_outer_settings")
def test_the_settings_in_the_files_can_be_read(tmp_path: Path) -> None:
    """What is mounted as app.yaml is one; it names the PACS that results go to."""
    (settings,) = [each["data"]["app.yaml"] for each in documents() if each["kind"] == "ConfigMap"]
    (tmp_path / "app.yaml").write_text(settings)

    for file in (tmp_path / "app.yaml", MANIFESTS / "compose" / "node.yaml"):
        assert [destination.name for destination in load_settings(file).destinations] == ["pacs"]


@pytest.mark.usefixtures("no_outer_settings")
def test_the_variables_in_the_files_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable would be let pass by the node, and change nothing."""
    written = {each["name"]: each.get("value", "north") for container in containers() for each in container["env"]}
    written |= yaml.safe_load(COMPOSE.read_text())["services"]["node"]["environment"]
    empty = ROOT / "manifests" / "compose" / "node.yaml"

    for name, value in written.items():
        if not name.startswith("SPONDYL_"):
            assert f"$({name})" in written["SPONDYL_QUEUE_URL"]
            continue
        before = load_settings(empty)
        monkeypatch.setenv(name, value)

        assert load_settings(empty) != before, f"{name} changes nothing"


def test_the_containers_are_confined() -> None:
    """No root, a read-only root file system, no capabilities: in Kubernetes and in the compose file."""
    node = yaml.safe_load(COMPOSE.read_text())["services"]["node"]

    assert (node["user"], node["read_only"], node["cap_drop"]) == ("1000:1000", True, ["ALL"])
    assert len(containers()) == 2
    for container in containers():
        confined = container["securityContext"]
        assert (confined["readOnlyRootFilesystem"], confined["allowPrivilegeEscalation"]) == (True, False)
        assert confined["capabilities"] == {"drop": ["ALL"]}


def test_probes_are_where_app_yaml_says(application: Application) -> None:
    """The gateway is asked at the path and the port of the manifest's liveness."""
    (gateway,) = [each for each in containers() if each["name"] == "gateway"]
    ports = {each["name"]: each["containerPort"] for each in gateway["ports"]}
    asked = gateway["livenessProbe"]["httpGet"]

    assert (asked["path"], ports[asked["port"]]) == (
        application.service.liveness.path,
        application.service.liveness.port,
    )


def test_what_the_compose_file_mounts_is_there() -> None:
    """Docker would make an empty folder in its place."""
    services = yaml.safe_load(COMPOSE.read_text())["services"].values()

    mounted = [each["source"] for service in services for each in service.get("volumes", []) if each["type"] == "bind"]

    assert len(mounted) == 3
    assert all((COMPOSE.parent / source).is_file() for source in mounted)


def test_the_workflow_holds_together() -> None:
    """Tasks go to tasks that there are, and use what earlier ones leave; the AE titles are those of the docs."""
    workflow = json.loads((MANIFESTS / "workflow_manager" / "spondyl.json").read_text())
    tasks = {task["id"]: task for task in workflow["tasks"]}

    assert {each["name"] for task in tasks.values() for each in task.get("task_destinations", [])} == {
        "spondyl",
        "export",
    }
    assert {"spondyl", "export"} <= set(tasks)
    (left,) = tasks["spondyl"]["artifacts"]["output"]
    (used,) = tasks["export"]["artifacts"]["input"]
    assert used["value"] == f"{{{{ context.executions.spondyl.artifacts.{left['name']} }}}}"
    assert workflow["informatics_gateway"]["ae_title"] == "SPONDYL"
    assert [each["name"] for each in tasks["export"]["export_destinations"]] == ["PACS"]


def test_the_workflow_mounts_what_the_image_reads() -> None:
    """The variables of the task are those of the image, and so are their folders."""
    workflow = json.loads((MANIFESTS / "workflow_manager" / "spondyl.json").read_text())
    (task,) = [task for task in workflow["tasks"] if task["type"] == "docker"]

    given = {name.removeprefix("env_"): value for name, value in task["args"].items() if name.startswith("env_")}

    assert {name: Path(value) for name, value in given.items()} == {
        name: Path(image_environment()[name]) for name in given
    }


def test_the_rule_for_mercure_uses_the_module() -> None:
    """One module, one rule that sends to it, and neither asks for root."""
    entry = json.loads((MANIFESTS / "mercure" / "spondyl.json").read_text())

    assert set(entry["modules"]) == {rule["processing_module"] for rule in entry["rules"].values()}
    assert not entry["modules"]["spondyl"]["requires_root"]


def test_the_images_environment_is_that_of_the_manifest() -> None:
    """Input and output are relative to the working directory in app.json, and whole paths in the image."""
    environment = image_environment()

    wanted = {name: os.path.normpath(Path(WORKING_DIRECTORY, value)) for name, value in ENVIRONMENT.items()}

    assert {name: environment.get(name) for name in wanted} == wanted


def test_the_images_labels_are_those_of_the_software(application: Application) -> None:
    """OCI's title and version, and the versions of what the packager names."""
    labels = dict(re.findall(r"((?:org\.)[\w.-]+)=\"([^\"]*)\"", DOCKERFILE))
    lock = (ROOT / "requirements.lock").read_text()

    assert labels["org.opencontainers.image.title"] == application.title
    assert labels["org.opencontainers.image.version"] == application.version
    assert f"\nholoscan-cu13=={labels['org.nvidia.holoscan']} " in lock
    assert f"\nmonai-deploy-app-sdk=={labels['org.monai.deploy.app-sdk']} " in lock
    assert image_environment()["HOLOSCAN_VERSION"] == labels["org.nvidia.holoscan"]


def test_the_builder_gets_what_the_dockerfile_copies() -> None:
    """`.dockerignore` leaves everything out but what it names."""
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    copied = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if re.match(r"COPY (?!--from)", line)]

    assert {name for names in copied for name in names} == let_in


def image_environment() -> dict[str, str]:
    """Return the variables of the image's last stage."""
    (block,) = re.findall(r"^ENV (HOLOSCAN_(?:.*\\\n)*.*)$", DOCKERFILE.rpartition("\nFROM ")[2], re.MULTILINE)
    return dict(word.split("=", 1) for word in block.replace("\\\n", " ").split())
