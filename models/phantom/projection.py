"""Lateral projection: sections of solids summed along the ray into layers of path length.

A layer is (rows, columns) float32, in mm of the layer's tissue along the ray (times its relative density).
The beam diverges from a point, so that what lies nearer the tube is drawn larger: rims of one body come out
double, as on film.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.phantom.anatomy import Vertebra
from models.phantom.solids import Outline, Section

LAYERS = ("bodies", "arches", "bones", "metal", "soft", "shadow", "air")
FOCUS_MM = 1500.0  # focus to detector
DETECTOR_MM = 250.0  # middle of the patient to detector


@dataclass(frozen=True)
class Field:
    """The detector's view of the phantom.

    shape: (rows, columns); pixel_mm: size of a pixel in the plane of the spine (the phantom's mm);
    origin: (u, v) of the middle of the upper left pixel.
    """

    shape: tuple[int, int]
    pixel_mm: float
    origin: tuple[float, float]

    def to_pixels(self, uv: Outline) -> NDArray[np.float64]:
        """(n, 2) of (u, v) in mm → (n, 2) of (x, y) pixel positions."""
        return (np.asarray(uv) - self.origin) / self.pixel_mm

    @property
    def centre(self) -> NDArray[np.float64]:
        """(u, v) in mm of the central ray."""
        rows, columns = self.shape
        return np.array(self.origin) + np.array([columns - 1, rows - 1]) * self.pixel_mm / 2

    def project(self, uv: Outline, x: float) -> NDArray[np.float64]:
        """Points (n, 2) at depth `x` → the plane of the spine, drawn by the diverging beam."""
        source = FOCUS_MM - DETECTOR_MM
        return self.centre + (np.asarray(uv) - self.centre) * (source / (source - x))


@dataclass
class Layers:
    """Path lengths by tissue, to be exposed; `field` says where the pixels lie."""

    field: Field
    planes: dict[str, NDArray[np.float32]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in LAYERS:
            self.planes.setdefault(name, np.zeros(self.field.shape, np.float32))

    def _window(self, points: NDArray[np.float64], pad: int) -> tuple[slice, slice, NDArray[np.float64]] | None:
        low = np.maximum(np.floor(points.min(0)).astype(int) - pad, 0)
        high = np.minimum(np.ceil(points.max(0)).astype(int) + pad + 1, np.array(self.field.shape[::-1]))
        if (high - low < 1).any():
            return None
        return slice(low[1], high[1]), slice(low[0], high[0]), points - low

    def fill(self, layer: str, uv: Outline, inside: float, rim: float = 0.0, rim_mm: float = 0.0) -> None:
        """Add `inside` within a closed outline (n, 2) in mm of the spine's plane, `rim` more along its edge."""
        width = max(1, round(rim_mm / self.field.pixel_mm)) if rim else 0
        window = self._window(self.field.to_pixels(uv), width)
        if window is None:
            return
        rows, columns, points = window
        tile = Image.new("L", (columns.stop - columns.start, rows.stop - rows.start))
        pen = ImageDraw.Draw(tile)
        corners = [tuple(p) for p in points]
        pen.polygon(corners, fill=1)
        if rim:
            pen.line([*corners, corners[0]], fill=2, width=width, joint="curve")
        self.planes[layer][rows, columns] += np.array([0, inside, inside + rim], np.float32)[np.asarray(tile)]

    def stroke(self, layer: str, uv: Outline, width_mm: float, value: float) -> None:
        """Add `value` along an open line (n, 2) in mm."""
        width = max(1, round(width_mm / self.field.pixel_mm))
        window = self._window(self.field.to_pixels(uv), width + 1)
        if window is None:
            return
        rows, columns, points = window
        tile = Image.new("L", (columns.stop - columns.start, rows.stop - rows.start))
        ImageDraw.Draw(tile).line([tuple(p) for p in points], fill=1, width=width, joint="curve")
        self.planes[layer][rows, columns] += np.float32(value) * np.asarray(tile)

    def add_sections(self, layer: str, vertebra: Vertebra, sections: Iterable[Section], cortex_density: float) -> None:
        """Project a vertebra's sections into a layer: cancellous bone inside, cortex along the rim."""
        for section in sections:
            x, uv = vertebra.to_phantom(section.x, section.outline)
            self.fill(
                layer,
                self.field.project(uv, x),
                section.thickness * section.density,
                section.thickness * cortex_density,
                section.cortex,
            )

    def mask(self, uv: Outline) -> NDArray[np.bool_]:
        """The pixels within a closed outline (n, 2) in mm of the spine's plane."""
        rows, columns = self.field.shape
        tile = Image.new("L", (columns, rows))
        ImageDraw.Draw(tile).polygon([tuple(p) for p in self.field.to_pixels(uv)], fill=1)
        return np.asarray(tile) > 0
