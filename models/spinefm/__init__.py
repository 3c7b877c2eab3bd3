"""SpineFM: vertebrae in lateral radiographs (Simons & Papież, 2024), from the paper and its published weights.

`build_medsam` and `SpineFM` are loaded on first use, so that importing the package imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.spinefm.engine import SpineFM
    from models.spinefm.medsam import build_medsam

__all__ = ["SpineFM", "build_medsam"]

_HOMES = {"SpineFM": "models.spinefm.engine", "build_medsam": "models.spinefm.medsam"}


def __getattr__(name: str) -> object:
    """Import the engine or the builder when somebody asks for it (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
