"""One sagittal plane of an MR phantom, painted part by part.

A plane is painted into one integer image; each pixel carries tissue, structure and vertebra at once, so that what
is drawn and what is true cannot differ. A pixel belongs to an outline when its centre does, so that nothing grows or
shrinks with the size of the pixels.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon

from models.phantom.mr_tissues import Tissue
from models.phantom.solids import Outline, moved_aside

TISSUE, STRUCTURE, VERTEBRA = 1, 256, 65536  # places of the three numbers in a pixel


@dataclass(frozen=True)
class PlaneGrid:
    """Where a plane's pixels lie in the phantom: shape (rows, columns); pixel_mm (row, column); origin (u, v) in mm."""

    shape: tuple[int, int]
    pixel_mm: tuple[float, float]
    origin: tuple[float, float]

    def to_pixels(self, uv: Outline) -> NDArray[np.float64]:
        """(n, 2) of (u, v) in mm → (n, 2) of (x, y) pixel positions."""
        return (np.asarray(uv) - self.origin) / (self.pixel_mm[1], self.pixel_mm[0])

    @property
    def mm(self) -> float:
        """The mean size of a pixel."""
        return (self.pixel_mm[0] + self.pixel_mm[1]) / 2


@dataclass
class Plane:
    """A plane at `x` mm being painted over a background of tissues (rows, columns) uint8."""

    grid: PlaneGrid
    x: float
    background: NDArray[np.uint8]
    _painted: NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        self._painted = self.background.astype(np.int32)

    def fill(self, uv: Outline, tissue: Tissue, structure: int = 0, vertebra: int = 0) -> None:
        """Paint a closed outline (n, 2) in mm; what lies outside the plane costs nothing."""
        inside = self._inside(uv)
        if inside is not None:
            self._painted[inside] = tissue * TISSUE + structure * STRUCTURE + vertebra * VERTEBRA

    def stroke(self, uv: Outline, width_mm: float, tissue: Tissue, structure: int = 0, vertebra: int = 0) -> None:
        """Paint an open line (n, 2) in mm, at least a pixel wide."""
        line = np.asarray(uv, float)
        half = max(width_mm, self.grid.mm) / 2
        outline = np.concatenate([moved_aside(line, -half), moved_aside(line, half)[::-1]])
        self.fill(outline, tissue, structure, vertebra)

    def bone(self, uv: Outline, cortex_mm: float, marrow: Tissue, structure: int = 0, vertebra: int = 0) -> None:
        """Paint a closed outline as bone: a dark rim of `cortex_mm` around marrow."""
        self.fill(uv, Tissue.CORTEX, structure, vertebra)
        centre = uv.mean(0)
        reach = np.linalg.norm(uv - centre, axis=1).mean()
        if reach > 1.3 * cortex_mm:
            self.fill(centre + (uv - centre) * (1 - cortex_mm / reach), marrow, structure, vertebra)

    def void(self, uv: Outline) -> None:
        """Take the signal from a closed outline (n, 2) in mm and leave what is true there."""
        inside = self._inside(uv)
        if inside is not None:
            painted = self._painted[inside]
            self._painted[inside] = painted - painted % STRUCTURE + Tissue.METAL

    def numbers(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """Return tissue, structure and vertebra of each pixel, each (rows, columns) uint8."""
        return (
            (self._painted % STRUCTURE).astype(np.uint8),
            (self._painted // STRUCTURE % STRUCTURE).astype(np.uint8),
            (self._painted // VERTEBRA).astype(np.uint8),
        )

    def _inside(self, uv: Outline) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
        """Rows and columns of the pixels whose centres lie in an outline; None where it is out of view."""
        points = self.grid.to_pixels(uv)
        rows, columns = self.grid.shape
        low, high = points.min(0), points.max(0)
        if high[0] < 0 or high[1] < 0 or low[0] > columns or low[1] > rows:
            return None
        found: tuple[NDArray[np.intp], NDArray[np.intp]] = polygon(points[:, 1], points[:, 0], self.grid.shape)
        return found
