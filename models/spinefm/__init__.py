"""SpineFM: vertebrae in lateral radiographs (Simons & Papież, 2024), from the paper and its published weights.

`build_medsam` and `SpineFM` are loaded on first use, so that importing the package imports no torch.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.spinefm.engine import SpineFM
    from models.spinefm.medsam import build_medsam

__all__ = ["SpineFM", "build_medsam"]


def __getattr__(name: str) -> object:
    """Import the engine or the builder when somebody asks for it (PEP 562)."""
    if name == "build_medsam":
        from models.spinefm.medsam import build_medsam

        return build_medsam
    if name == "SpineFM":
        from models.spinefm.engine import SpineFM

        return SpineFM
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
