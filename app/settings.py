"""The settings of a node: read once, frozen, and the only reader of app.yaml and the environment.

What wins, from the top: `SPONDYL_*` environment variables (two underscores go a level deeper:
`SPONDYL_NODE__PORT=11113`), then the settings file, then the defaults below. The settings file is the
one named by `SPONDYL_CONFIG`, else `app.yaml` in the working directory, else the one shipped with the code.

Every fault is reported at once, a line each, so that a file is mended in one round.
"""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UnreadableVariable

import models
from app.peer_settings import DESTINATION_KINDS, AccessRule, Destination, Limits, ServerTls, WebDestination, kind_of
from app.setting_types import AETitle, Folder, Host, OwnPort
from app.setting_types import Frozen as _Frozen
from app.work_settings import Assembly, NodeName, QueueUrl, Retention, Workers, spread
from models.errors import SpondylError

# what others take from here
__all__ = ["Assembly", "Destination", "Retention", "Settings", "WebDestination", "Workers", "load_settings"]

SETTINGS_FILE_VARIABLE = "SPONDYL_CONFIG"
SETTINGS_FILE_NAME = "app.yaml"
# What a container platform reads in the same file (app/manifest.py); the node has no use for it.
MAP_SECTIONS = ("application", "resources")
# In the name of a setting: its value is never shown. Addresses may hold a password.
SECRET_WORDS = ("password", "passphrase", "token", "secret", "credential", "user", "key", "url")
# Handed to the processes of a node by their environment, since `settings.json` lies on a disk.
SECRET_SETTINGS = ("queue_url",)


class SettingsError(SpondylError):
    """The settings cannot be used; the message lists every fault: mend them in app.yaml or the environment."""


def installed_root() -> Path:
    """Return the folder that holds app.yaml, manifests and the rooms of this installation."""
    return Path(models.__file__).resolve().parent.parent


def installed_packs() -> Path:
    """Return the folder of the packs shipped with this installation (never the `models` source folder itself)."""
    return Path(models.__file__).resolve().parent / "packs"


def _names(value: object) -> object:
    """One name, or several with commas between them, as environment variables have them."""
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


PackName = Annotated[str, Field(min_length=1)]
AnyDestination = Annotated[
    Annotated[Destination, Tag("c-store")] | Annotated[WebDestination, Tag("stow-rs")], Discriminator(kind_of)
]


class Node(_Frozen):
    """The Storage SCP of this node; port 0 takes any free port.

    tls: TLS with client certificates; None: the plain protocol.
    access: who may send, a rule per called AE title; empty: whoever reaches the port, under any called title.
    sop_classes: UIDs of the SOP Classes taken; empty: every Storage SOP Class.
    """

    ae_title: AETitle = "SPONDYL"
    host: Host = "127.0.0.1"
    port: OwnPort = 11112
    tls: ServerTls | None = None
    access: tuple[AccessRule, ...] = ()
    sop_classes: tuple[Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")], ...] = ()
    limits: Limits = Limits()


class Dashboard(_Frozen):
    """The web page, /metrics and /healthz; port 0 takes any free port.

    host_names: names under which it is reached besides IP addresses, localhost and this machine's own name.
    """

    host: Host = "127.0.0.1"
    port: OwnPort = 8080
    host_names: tuple[Host, ...] = ()


class Settings(BaseSettings):
    """All settings of a node.

    storage: folder of the inbox, the queue's database and the results.
    packs: folder of model packs, one folder each.
    default_pack: name of the pack, or names of the packs, to prefer where several accept a series.
    device: `auto` takes an accelerator where there is one.
    node_name: of this one among the nodes that share a storage folder; empty where there is only one.
    queue_url: the PostgreSQL that nodes share; None takes the embedded queue in the storage folder.
    result_profile: how `run` encodes Segmentations; the node encodes for each destination's own profile.
    """

    # Unknown SPONDYL_* variables are let pass: Kubernetes injects some for every service called spondyl.
    model_config = SettingsConfigDict(env_prefix="SPONDYL_", env_nested_delimiter="__", frozen=True, extra="forbid")

    node: Node = Node()
    storage: Folder = Path("spondyl-data")
    destinations: tuple[AnyDestination, ...] = ()
    packs: Folder = Field(default_factory=installed_packs)
    default_pack: Annotated[tuple[PackName, ...], NoDecode, BeforeValidator(_names)] = (
        "spinefm-phantom",
        "spineps-phantom",
    )
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    result_profile: Literal["standard", "ohif"] = "standard"
    assembly: Assembly = Assembly()
    retention: Retention = Retention()
    workers: Annotated[Workers, BeforeValidator(spread)] = Workers()
    node_name: NodeName = ""
    queue_url: QueueUrl | None = None
    dashboard: Dashboard = Dashboard()
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _destinations_are_distinct_and_foreign(self) -> Self:
        repeated = sorted(name for name, count in Counter(d.name for d in self.destinations).items() if count > 1)
        if repeated:
            raise ValueError(f"destination names are used twice: {', '.join(repeated)}; give each its own")
        here = (self.node.ae_title, self.node.host, self.node.port)
        peers = [d for d in self.destinations if isinstance(d, Destination)]
        loops = [d.name for d in peers if (d.ae_title, d.host, d.port) == here]
        if loops:
            raise ValueError(f"destination {', '.join(loops)} is this node itself; results would come back as input")
        return self


class _NodePart(YamlConfigSettingsSource):
    """What the settings file says to the node."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        return {key: value for key, value in super()._read_file(file_path).items() if key not in MAP_SECTIONS}


def as_file_and_environment(settings: Settings) -> tuple[bytes, dict[str, str]]:
    """Return settings for another process: the content of a settings file without a secret, and variables with them."""
    variables = {f"SPONDYL_{name.upper()}": getattr(settings, name) for name in SECRET_SETTINGS}
    content = settings.model_dump_json(exclude=set(SECRET_SETTINGS)).encode()
    return content, {name: str(value) for name, value in variables.items() if value is not None}


def settings_file() -> Path | None:
    """Return the settings file in force, or None where there is none.

    Raises:
        SettingsError: `SPONDYL_CONFIG` names a file that is not there.
    """
    named = os.environ.get(SETTINGS_FILE_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise SettingsError(f"{SETTINGS_FILE_VARIABLE} names {named}, which is no file")
        return Path(named)
    for folder in (Path.cwd(), installed_root()):
        if (folder / SETTINGS_FILE_NAME).is_file():
            return folder / SETTINGS_FILE_NAME
    return None


def load_settings(file: Path | None = None) -> Settings:
    """Read the settings once, from the file and the environment.

    Args:
        file: the settings file; None looks for it (see the module's docstring).

    Raises:
        SettingsError: with every fault, a line each.
    """
    source = file if file is not None else settings_file()
    if source is not None and not source.is_file():
        raise SettingsError(f"the settings file {source} does not exist")

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the base class names it; none is read
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  likewise
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, _NodePart(settings_cls, yaml_file=source)

    try:
        return Settings.model_construct(**dict(FromFile()))
    except ValidationError as error:
        raise SettingsError(_sentences(error, source)) from None  # its own words quote every value
    except yaml.MarkedYAMLError as error:  # told by its place: the lines that the reader quotes may hold a secret
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"the settings cannot be read ({source}{place}): {error.problem or 'no YAML'}") from None
    except UnreadableVariable as error:  # pydantic-settings names the variable and not its value
        raise SettingsError(f"the settings cannot be read ({source or 'environment'}): {error}") from None
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        words = f"{type(error).__name__}; is it a mapping of keys and values?"
        raise SettingsError(f"the settings cannot be read ({source or 'environment'}): {words}") from None


def _sentences(error: ValidationError, source: Path | None) -> str:
    """Return every fault, a line each: where it is, what is wrong, what stands there."""
    faults = error.errors(include_url=False)
    lines = [f"{len(faults)} fault(s) in the settings ({source or 'no file'} and SPONDYL_* variables):"]
    for fault in faults:
        # pydantic puts the kind of a destination behind its number; the file has no such level
        where = ".".join(str(part) for part in fault["loc"] if part not in DESTINATION_KINDS) or "settings"
        value = f" (here: {fault['input']!r})" if _may_be_shown(fault) else ""
        lines.append(f"  {where}: {fault['msg'].removeprefix('Value error, ')}{value}")
    return "\n".join(lines)


def _may_be_shown(fault: Any) -> bool:
    """Say whether the value of a fault can hold no secret: not in an address, nor under a key that nobody knows."""
    key = str(fault["loc"][-1] if fault["loc"] else "")
    is_plain = isinstance(fault["input"], (str, int, float)) and fault["type"] != "extra_forbidden"
    return is_plain and not any(word in key for word in SECRET_WORDS) and "@" not in str(fault["input"])


@dataclass(frozen=True)
class MapFolders:
    """The folders that a MAP runner mounts; None where its variable is not set."""

    input: Path | None
    output: Path | None
    model: Path | None


def map_folders() -> MapFolders:
    """Read HOLOSCAN_INPUT_PATH, HOLOSCAN_OUTPUT_PATH and HOLOSCAN_MODEL_PATH."""
    named = {key: os.environ.get(f"HOLOSCAN_{key.upper()}_PATH") for key in ("input", "output", "model")}
    return MapFolders(**{key: Path(value) if value else None for key, value in named.items()})


def with_packs_of(settings: Settings, folder: Path | None) -> Settings:
    """Return settings whose packs are those that a MAP runner mounted, or unchanged where it mounted none."""
    if folder is None or not any(folder.glob("*/pack.json")):
        return settings
    return settings.model_copy(update={"packs": folder})
