"""Model packs: a folder with `pack.json` and one safetensors file per network.

pack.json::

    {"name", "version", "engine",
     "accepts": {"modality": ["CR", "DX"], "body_region": ["cervical"]},
     "networks": {<network>: {"kind": …, hyper-parameters, patch sizes}},
     "walk": {engine's settings that no network owns},
     "label_table": {…},
     "provenance", "licence", "intended_use",
     "weights": {<network>: {"file": "segmenter.safetensors", "sha256": "…"}}}

A pack is verified whole before anybody uses it. This module imports no torch: listing packs is quick.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from models.errors import PackError

if TYPE_CHECKING:
    from torch import Tensor

DESCRIPTION = "pack.json"
TEXTS = ("name", "version", "engine", "provenance", "licence", "intended_use")
MAPPINGS = ("accepts", "networks")
OPTIONAL_MAPPINGS = ("walk", "label_table")
KNOWN = {*TEXTS, *MAPPINGS, *OPTIONAL_MAPPINGS, "weights"}


@dataclass(frozen=True)
class WeightsFile:
    """One network's weights: a `file` name inside the pack's folder and its `sha256`, lower-case hexadecimal."""

    file: str
    sha256: str


@dataclass(frozen=True)
class ModelPack:
    """A verified model pack.

    engine: which engine runs it (`spinefm`, `spineps`).
    accepts: `modality`, `body_region`, … → the values it was made for.
    networks: network → its kind, hyper-parameters and patch sizes, as its engine reads them.
    walk: what else the engine is to do its way; empty for the engine's defaults.
    label_table: names of what the networks answer, where the engine needs telling.
    weights: network → file and SHA-256.
    folder: where it lies.
    """

    name: str
    version: str
    engine: str
    accepts: Mapping[str, Sequence[str]]
    networks: Mapping[str, Mapping[str, Any]]
    walk: Mapping[str, Any]
    label_table: Mapping[str, Any]
    weights: Mapping[str, WeightsFile]
    provenance: str
    licence: str
    intended_use: str
    folder: Path

    @property
    def digest(self) -> str:
        """One SHA-256 over version, settings and weights: two packs that may answer differently differ in it."""
        settings = json.dumps([self.networks, self.walk, self.label_table], sort_keys=True)
        weights = (f"{network} {self.weights[network].sha256}" for network in sorted(self.weights))
        lines = [self.version, settings, *weights]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def weights_path(self, network: str) -> Path:
        """Path of a network's weights.

        Raises: PackError when the pack has no such network.
        """
        if network not in self.weights:
            raise PackError(f"pack {self.name} has no weights for {network!r}; it has {', '.join(self.weights)}")
        return self.folder / self.weights[network].file


def load_pack(folder: Path) -> ModelPack:
    """Read a pack's description and verify every weights file against its SHA-256.

    Raises: PackError naming the file, what is wrong with it and what was expected.
    """
    path = folder / DESCRIPTION
    body = _read(path)
    _check_schema(body, path)
    pack = ModelPack(
        **{key: body[key] for key in (*TEXTS, *MAPPINGS)},
        **{key: body.get(key, {}) for key in OPTIONAL_MAPPINGS},
        weights={network: WeightsFile(entry["file"], entry["sha256"]) for network, entry in body["weights"].items()},
        folder=folder,
    )
    for network, weights in pack.weights.items():
        _verify(pack.weights_path(network), weights.sha256)
    return pack


def discover_packs(folder: Path) -> tuple[ModelPack, ...]:
    """Load every pack that lies directly in a folder, by folder name; an absent folder holds none.

    Raises: PackError for the first pack that is broken.
    """
    return tuple(load_pack(path.parent) for path in sorted(folder.glob(f"*/{DESCRIPTION}")))


def write_pack(
    folder: Path,
    description: Mapping[str, Any],
    state_dicts: "Mapping[str, Mapping[str, Tensor]]",
    *,
    dtype: Literal["as_is", "float16"] = "as_is",
) -> ModelPack:
    """Write a pack and load it back.

    description: pack.json without `weights`.
    state_dicts: network → its state dict.
    dtype: `float16` halves the floating-point weights.

    Raises: PackError when the description lacks something.
    """
    import torch  # noqa: PLC0415  # listing packs must not load torch
    from safetensors.torch import save_file  # noqa: PLC0415

    target = folder / DESCRIPTION
    _check_schema({**description, "weights": {name: {"file": f"{name}.safetensors", "sha256": "0" * 64}
                                              for name in state_dicts}}, target)  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for network, state_dict in state_dicts.items():
        halve = dtype == "float16"
        tensors = {
            key: (value.to(torch.float16) if halve and value.is_floating_point() else value).contiguous().clone()
            for key, value in state_dict.items()
        }
        path = folder / f"{network}.safetensors"
        save_file(tensors, path)
        entries[network] = {"file": path.name, "sha256": sha256_of(path)}
    target.write_text(json.dumps({**description, "weights": entries}, indent=1) + "\n", encoding="utf-8")
    return load_pack(folder)


def read_weights(pack: ModelPack, network: str) -> "dict[str, Tensor]":
    """Read one network's state dict onto the CPU.

    Raises: PackError when the file is no safetensors file.
    """
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load_file  # noqa: PLC0415  # listing packs must not load torch

    path = pack.weights_path(network)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise PackError(f"{path} is no readable safetensors file ({error}): install the pack again") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, lower-case hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PackError(f"{path} is missing: a pack is a folder with {DESCRIPTION} and *.safetensors") from error
    except (OSError, ValueError) as error:
        raise PackError(f"{path} cannot be read ({error}): install the pack again") from error
    if not isinstance(body, dict):
        raise PackError(f"{path} holds no JSON object: install the pack again")
    return body


def _check_schema(body: Mapping[str, Any], path: Path) -> None:
    """Collect every fault of a description, so that one look mends them all."""
    faults = [f"{key!r} must be a text" for key in TEXTS if not isinstance(body.get(key), str) or not body.get(key)]
    faults += [f"{key!r} must be an object" for key in (*MAPPINGS, "weights") if not isinstance(body.get(key), Mapping)]
    faults += [f"{key!r} must be an object" for key in OPTIONAL_MAPPINGS if not isinstance(body.get(key, {}), Mapping)]
    faults += [f"{key!r} means nothing" for key in sorted(set(body) - KNOWN)]
    if not faults:
        faults += [
            f"accepts {key!r} must be a list of texts"
            for key, values in body["accepts"].items()
            if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values)
        ]
        faults += [f"network {name!r} must be an object" for name, network in body["networks"].items()
                   if not isinstance(network, Mapping)]  # fmt: skip
        faults += [fault for name, entry in body["weights"].items() if (fault := _entry_fault(name, entry))]
        if not body["weights"]:
            faults.append("'weights' names no file")
    if faults:
        raise PackError(f"{path}: {'; '.join(faults)}")


def _entry_fault(network: str, entry: Any) -> str | None:
    if not isinstance(entry, Mapping) or set(entry) != {"file", "sha256"}:
        return f"weights {network!r} must be an object of 'file' and 'sha256'"
    file, sha256 = entry["file"], entry["sha256"]
    # A pack may come from anywhere: its description must not reach outside its folder.
    if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
        return f"weights {network!r}: {file!r} is not the name of a safetensors file inside the pack"
    if not isinstance(sha256, str) or len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        return f"weights {network!r}: {sha256!r} is no SHA-256"
    return None


def _verify(path: Path, expected: str) -> None:
    try:
        found = sha256_of(path)
    except OSError as error:
        raise PackError(f"{path} cannot be read ({error}), expected SHA-256 {expected}: install it again") from error
    if found != expected:
        raise PackError(f"{path} has SHA-256 {found}, expected {expected}: install the pack again")
