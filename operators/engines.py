"""Warm engines: one per pack and device in a process, loaded at first need and kept.

Reading the weights takes longer than a radiograph, so a worker reads them once. A pack is known by the digest of its
weights: another pack under the same name is another engine.
"""

import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from models.errors import PackError


class Engine(Protocol):
    """Segments one radiograph or volume."""

    def segment(self, image: Any, /) -> Any:
        """Return what was found, or raise EngineRefusal."""


class EnginePack(Protocol):
    """What the cache needs to know of a model pack."""

    @property
    def name(self) -> str:
        """Name of the pack."""

    @property
    def engine(self) -> str:
        """The engine that runs it."""

    @property
    def digest(self) -> str:
        """SHA-256 over the pack's weights."""


# Engine → (module, class). Imported at first need: the networks take seconds to import.
ENGINE_CLASSES = {"spinefm": ("models.spinefm.engine", "SpineFM"), "spineps": ("models.spineps.engine", "SPINEPS")}


class EngineCache:
    """Engines of this process by engine, pack digest and device."""

    def __init__(self) -> None:
        self._engines: dict[tuple[str, str, str], Engine] = {}
        self._lock = threading.Lock()

    def engine_for(self, pack: EnginePack, device: str) -> Engine:
        """Return the engine that runs a pack, loading it if need be.

        Raises:
            PackError: no engine runs this pack, or the pack is broken.
        """
        key = (pack.engine, pack.digest, device)
        with self._lock:  # two threads must not load the same weights
            if key not in self._engines:
                self._engines[key] = _load(pack, device)
            return self._engines[key]

    def keep(self, pack: EnginePack, device: str, engine: Engine) -> None:
        """Put an engine that was made elsewhere into the cache."""
        with self._lock:
            self._engines[pack.engine, pack.digest, device] = engine

    def clear(self) -> None:
        """Forget all engines and free their memory."""
        with self._lock:
            self._engines.clear()


ENGINES = EngineCache()


def _load(pack: EnginePack, device: str) -> Engine:
    if pack.engine not in ENGINE_CLASSES:
        raise PackError(f"pack {pack.name} wants the engine {pack.engine!r}; there are {', '.join(ENGINE_CLASSES)}")
    module, name = ENGINE_CLASSES[pack.engine]
    build: Callable[..., Engine] = getattr(import_module(module), name)
    return build(pack, device=device)
