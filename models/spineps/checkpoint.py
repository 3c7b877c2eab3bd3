"""Checkpoints from outside, opened without running what is in them.

PyTorch Lightning and nnU-Net put more into a checkpoint than tensors: options, NumPy scalars, the state of loggers.
Whatever is no tensor and no plain container becomes an `Inert`: an object that remembers its arguments and attributes
and can do nothing. No class or function that the file names is ever imported.
"""

import pickle  # noqa: TID251  # its errors only: what torch.load(weights_only=True) raises at a foreign pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from models.errors import PackError

# What has no business in a checkpoint. It would come to nothing here, but a file with it is no file to trust.
REFUSED_MODULES = frozenset(
    ["builtins", "code", "ctypes", "importlib", "multiprocessing", "nt", "os", "pickle", "posix", "pty", "pydoc"]
    + ["runpy", "shutil", "signal", "socket", "subprocess", "sys", "tempfile", "threading", "urllib", "webbrowser"]
)
HARMLESS = frozenset({"builtins.dict", "builtins.getattr", "builtins.list", "builtins.slice", "builtins.tuple"})
DICTIONARIES = frozenset(
    {
        "builtins.dict",
        "collections.defaultdict",
        "lightning_fabric.utilities.data.AttributeDict",
        "pytorch_lightning.utilities.parsing.AttributeDict",
    }
)
UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
)


class Inert:
    """Stands for an object of a class that is not imported; its attributes are those of the stored state."""

    def __new__(cls, *arguments: object, **_: object) -> "Inert":
        """Keep the arguments, do nothing with them."""
        self = super().__new__(cls)
        self.__dict__["inert_arguments"] = arguments
        return self

    def __init__(self, *_: object, **__: object) -> None:
        """Take what the stored call gives."""

    def __setstate__(self, state: object) -> None:
        """Take over the stored attributes."""
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            if isinstance(part, dict):
                self.__dict__.update({str(key): value for key, value in part.items()})


class PlainDictionary:
    """Stands for the subclasses of dict; what comes out is a plain one."""

    def __new__(cls, *_: object) -> dict[Any, Any]:  # type: ignore[misc]  # the unpickler fills a plain dict only
        """Give an empty dictionary to fill."""
        return {}


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Read a checkpoint of torch.save onto the CPU: tensors and plain containers as they are, all else as `Inert`.

    Raises: PackError naming the file, and what in it is refused.
    """
    try:
        foreign = get_unsafe_globals_in_checkpoint(path)
        refused = sorted(name for name in foreign if _is_refused(name))
        if refused:
            raise PackError(f"{path} names {', '.join(refused[:3])}, which no checkpoint needs: it is not opened")
        with safe_globals([(_stand_in(name), name) for name in foreign]):
            body = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        first = str(error).partition("\n")[0]
        raise PackError(f"{path} cannot be opened safely ({first}): unpack the release again") from error
    if not isinstance(body, Mapping):
        raise PackError(f"{path} holds no dictionary; expected a checkpoint of nnU-Net or PyTorch Lightning")
    return body


def state_dict_of(checkpoint: Mapping[str, Any], key: str, path: Path, *, prefix: str = "") -> dict[str, Tensor]:
    """Take a network's state dict out of a checkpoint, those entries that begin with `prefix`, without it.

    Raises: PackError when there is none under `key`.
    """
    body = checkpoint.get(key)
    if not isinstance(body, Mapping) or not all(isinstance(value, Tensor) for value in body.values()):
        held = ", ".join(map(str, checkpoint)) or "nothing"
        raise PackError(f"{path} holds no state dict under {key!r}; it has {held}")
    bare = {str(name).removeprefix("module.").removeprefix("_orig_mod."): value for name, value in body.items()}
    return {name.removeprefix(prefix): value for name, value in bare.items() if name.startswith(prefix)}


def attribute(holder: object, name: str, default: Any) -> Any:
    """Read an option from where trainings keep them: a dictionary, or an object that came in as `Inert`."""
    value = holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
    return default if value is None or isinstance(value, Inert) else value


def _is_refused(name: str) -> bool:
    return name.partition(".")[0] in REFUSED_MODULES and name not in HARMLESS


def _stand_in(name: str) -> type:
    """Make a class that answers to the stored name."""
    return PlainDictionary if name in DICTIONARIES else type(name.rpartition(".")[2], (Inert,), {})
