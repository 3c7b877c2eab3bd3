"""The manifests of the MAP (MONAI Application Package 1.0), made from app.yaml and the packages that are installed.

app.json says how the application is started, pkg.json what it needs. service.json is app.json for the other life of
the same image: the node that listens, with the probes by which a platform sees that it lives.

`python -m app.manifest FOLDER` writes the three.
"""

import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.settings import MAP_SECTIONS, SETTINGS_FILE_NAME, installed_packs, installed_root
from models.errors import SpondylError
from models.packs import DESCRIPTION

API_VERSION = "1.0.0"
SDK = "monai-deploy"
SDK_PACKAGE = "monai-deploy-app-sdk"

WORKING_DIRECTORY = "/var/holoscan"
APPLICATION_ROOT = "/opt/holoscan/app"
MODEL_ROOT = "/opt/holoscan/models"
# As the specification has them: input and output are relative to the working directory.
INPUT = "input/"
OUTPUT = "output/"
ENVIRONMENT: Mapping[str, str] = {
    "HOLOSCAN_APPLICATION": APPLICATION_ROOT,
    "HOLOSCAN_INPUT_PATH": INPUT,
    "HOLOSCAN_OUTPUT_PATH": OUTPUT,
    "HOLOSCAN_WORKDIR": WORKING_DIRECTORY,
    "HOLOSCAN_MODEL_PATH": MODEL_ROOT,
    "HOLOSCAN_CONFIG_PATH": f"{WORKING_DIRECTORY}/{SETTINGS_FILE_NAME}",
    "HOLOSCAN_APP_MANIFEST_PATH": "/etc/holoscan/app.json",
    "HOLOSCAN_PKG_MANIFEST_PATH": "/etc/holoscan/pkg.json",
    "HOLOSCAN_DOCS_PATH": "/opt/holoscan/docs",
    "HOLOSCAN_LOGS_PATH": f"{WORKING_DIRECTORY}/logs",
}
PLATFORM_CONFIG = "dgpu"  # a discrete GPU, where there is one

Quantity = Annotated[str, Field(pattern=r"^[1-9]\d*(Ki|Mi|Gi)$")]
Command = Annotated[tuple[str, ...], Field(min_length=1)]


class ManifestError(SpondylError):
    """app.yaml does not say what a MAP needs; the message names what is wrong in it."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Probe(_Part):
    """A question by HTTP GET that is answered with 200 as long as all is well; times in seconds."""

    path: Annotated[str, Field(pattern=r"^/")]
    port: Annotated[int, Field(ge=1, le=65535)]
    initialDelaySeconds: Annotated[int, Field(ge=0)]  # noqa: N815  the specification's names
    periodSeconds: Annotated[int, Field(ge=1)]  # noqa: N815
    timeoutSeconds: Annotated[int, Field(ge=1)]  # noqa: N815
    failureThreshold: Annotated[int, Field(ge=1)]  # noqa: N815


class Service(_Part):
    """How the node is started in a container, and how it is asked for its health."""

    command: Command
    readiness: Probe
    liveness: Probe


class Application(_Part):
    """How the application is called and started; timeout in seconds, 0 for none."""

    title: Annotated[str, Field(min_length=1)]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+([a-z.+-][\w.+-]*)?$")]
    command: Command
    timeout: Annotated[int, Field(ge=0)] = 0
    input_formats: Annotated[tuple[str, ...], Field(alias="input-formats")]
    output_formats: Annotated[tuple[str, ...], Field(alias="output-formats")]
    service: Service


class Resources(_Part):
    """What one study needs: cores, GPUs, and memory in binary units."""

    cpu: Annotated[int | float, Field(gt=0)]
    gpu: Annotated[int, Field(ge=0)]
    memory: Quantity
    gpuMemory: Annotated[str, Field(pattern=r"^\d+(Ki|Mi|Gi)$")]  # noqa: N815  the specification's names
    sharedMemory: Quantity  # noqa: N815


class MapPart(_Part):
    """The part of app.yaml that a container platform reads."""

    application: Application
    resources: Resources


def read_map_part(file: Path) -> MapPart:
    """Read the MAP's part of a settings file.

    Raises:
        ManifestError: the file is not YAML, or the part lacks something or has something strange.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        return MapPart.model_validate({key: content[key] for key in MAP_SECTIONS if key in content})
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ManifestError(f"{file} makes no MAP: {faults}") from error
    except (OSError, yaml.YAMLError, TypeError, AttributeError) as error:
        raise ManifestError(f"{file} makes no MAP: {error}") from error


def application_manifest(application: Application, *, sdk_version: str) -> dict[str, Any]:
    """Return app.json of the one-shot life: who starts it waits for its end, so that it has no probes.

    Args:
        application: from app.yaml.
        sdk_version: of the MONAI Deploy App SDK.
    """
    return {
        "apiVersion": API_VERSION,
        "command": json.dumps(application.command),  # a list in a string, as the specification has it
        "environment": dict(ENVIRONMENT),
        "input": {"path": INPUT, "formats": list(application.input_formats)},
        "liveness": None,
        "output": {"path": OUTPUT, "formats": list(application.output_formats)},
        "readiness": None,
        "sdk": SDK,
        "sdkVersion": sdk_version,
        "timeout": application.timeout,
        "version": application.version,
        "workingDirectory": WORKING_DIRECTORY,
    }


def service_manifest(application: Application, *, sdk_version: str) -> dict[str, Any]:
    """Return app.json of the service life, with its probes; arguments as for `application_manifest`."""
    service = application.service
    return application_manifest(application, sdk_version=sdk_version) | {
        "type": "service",
        "command": json.dumps(service.command),
        "timeout": 0,  # a service has no end of its own
        "readiness": {"type": "http-get", **service.readiness.model_dump()},
        "liveness": {"type": "http-get", **service.liveness.model_dump()},
    }


def package_manifest(part: MapPart, *, packs: Path) -> dict[str, Any]:
    """Return pkg.json.

    Args:
        part: from app.yaml.
        packs: folder of the packs that go into the package.
    """
    names = sorted(path.parent.name for path in packs.glob(f"*/{DESCRIPTION}"))
    return {
        "apiVersion": API_VERSION,
        "applicationRoot": APPLICATION_ROOT,
        "modelRoot": MODEL_ROOT,
        "models": {name: f"{MODEL_ROOT}/{name}" for name in names},
        "resources": part.resources.model_dump(),
        "version": part.application.version,
        "platformConfig": PLATFORM_CONFIG,
    }


def write_manifests(folder: Path, *, packs: Path | None = None) -> None:
    """Write app.json, pkg.json and service.json of this installation.

    Args:
        folder: made where it does not exist.
        packs: that go into the package; None for those shipped with the code.

    Raises:
        ManifestError: app.yaml does not say what a MAP needs.
    """
    part = read_map_part(installed_root() / SETTINGS_FILE_NAME)
    sdk_version = version(SDK_PACKAGE)
    manifests = {
        "app.json": application_manifest(part.application, sdk_version=sdk_version),
        "pkg.json": package_manifest(part, packs=packs or installed_packs()),
        "service.json": service_manifest(part.application, sdk_version=sdk_version),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, manifest in manifests.items():
        (folder / name).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Write the manifests into the folder that is named; `FOLDER PACKS` describes other packs than the shipped ones."""
    folder, *packs = map(Path, arguments)
    try:
        write_manifests(folder, packs=packs[0] if packs else None)
    except SpondylError as error:
        print(f"spondyl: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
