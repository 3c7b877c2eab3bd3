"""One sagittal plane of an MR phantom, painted part by part.

A plane is painted into one integer image; each pixel carries tissue, structure and vertebra at once, so that what
is drawn and what is true cannot differ.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.phantom.mr_tissues import Tissue
from models.phantom.solids import Outline

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
    _image: Image.Image = field(init=False)
    _pen: ImageDraw.ImageDraw = field(init=False)

    def __post_init__(self) -> None:
        self._image = Image.fromarray(self.background.astype(np.int32))
        self._pen = ImageDraw.Draw(self._image)

    def fill(self, uv: Outline, tissue: Tissue, structure: int = 0, vertebra: int = 0) -> None:
        """Paint a closed outline (n, 2) in mm; what lies outside the plane costs nothing."""
        points = self._in_view(uv)
        if points is not None:
            self._pen.polygon(points, fill=tissue * TISSUE + structure * STRUCTURE + vertebra * VERTEBRA)

    def stroke(self, uv: Outline, width_mm: float, tissue: Tissue, structure: int = 0, vertebra: int = 0) -> None:
        """Paint an open line (n, 2) in mm, at least a pixel wide."""
        points = self._in_view(uv)
        if points is not None:
            value = tissue * TISSUE + structure * STRUCTURE + vertebra * VERTEBRA
            self._pen.line(points, fill=value, width=max(1, round(width_mm / self.grid.mm)), joint="curve")

    def bone(self, uv: Outline, cortex_mm: float, marrow: Tissue, structure: int = 0, vertebra: int = 0) -> None:
        """Paint a closed outline as bone: a dark rim of `cortex_mm` around marrow."""
        self.fill(uv, Tissue.CORTEX, structure, vertebra)
        centre = uv.mean(0)
        reach = np.linalg.norm(uv - centre, axis=1).mean()
        if reach > 1.3 * cortex_mm:
            self.fill(centre + (uv - centre) * (1 - cortex_mm / reach), marrow, structure, vertebra)

    def void(self, uv: Outline) -> None:
        """Take the signal from a closed outline (n, 2) in mm and leave what is true there."""
        points = self._in_view(uv)
        if points is None:
            return
        mask = Image.new("L", self._image.size)
        ImageDraw.Draw(mask).polygon(points, fill=1)
        painted = np.asarray(self._image)
        dark = np.where(np.asarray(mask) > 0, painted - painted % STRUCTURE + Tissue.METAL, painted)
        self._image = Image.fromarray(dark.astype(np.int32))
        self._pen = ImageDraw.Draw(self._image)

    def numbers(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """Return tissue, structure and vertebra of each pixel, each (rows, columns) uint8."""
        painted = np.asarray(self._image)
        return (
            (painted % STRUCTURE).astype(np.uint8),
            (painted // STRUCTURE % STRUCTURE).astype(np.uint8),
            (painted // VERTEBRA).astype(np.uint8),
        )

    def _in_view(self, uv: Outline) -> list[tuple[float, float]] | None:
        points = self.grid.to_pixels(uv)
        rows, columns = self.grid.shape
        low, high = points.min(0), points.max(0)
        if high[0] < -1 or high[1] < -1 or low[0] > columns or low[1] > rows:
            return None
        return [(float(x), float(y)) for x, y in points]
