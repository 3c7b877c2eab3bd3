"""A radiograph as the engine looks at it: upright and with square pixels, and the way back to the source's grid.

Consoles store laterals turned by a quarter and say so in Patient Orientation (PS3.3 C.7.6.1.1.1); digitisers and some
detectors have pixels that are wider than high. Angles and pictures are those of the patient only in this view.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.contracts import FoundStructure, RadiographImage, RadiographResult
from operators.dicom.bounds import MOST_PIXELS
from operators.dicom.conditions import values_of

# Patient Orientation (direction of rows, direction of columns), by their first letters → quarter turns clockwise that
# make the columns run towards the feet. Rows towards left or right are no lateral, and are not turned.
QUARTER_TURNS: Mapping[tuple[str, ...], int] = {
    ("F", "A"): 1,
    ("F", "P"): 1,
    ("A", "H"): 2,
    ("P", "H"): 2,
    ("H", "A"): 3,
    ("H", "P"): 3,
}
OPPOSITE = {"A": "P", "P": "A", "F": "H", "H": "F", "L": "R", "R": "L"}
AXES = ("rows", "columns")
SQUARE = 1e-3  # aspect ratios nearer to 1 are 1
PLAUSIBLE_ASPECT = (0.2, 5.0)


@dataclass(frozen=True)
class UprightView:
    """How a radiograph is turned and stretched for the engine.

    quarter_turns: clockwise, 0 to 3.
    aspect: height of a source pixel by its width.
    grid: (rows, columns) of the source.
    orientation: Patient Orientation of the view: two directions, or as many as the header has where that is unusual.
    """

    quarter_turns: int
    aspect: float
    grid: tuple[int, int]
    orientation: tuple[str, ...] = ()

    @property
    def is_source(self) -> bool:
        """Whether the view is the source itself."""
        return self.quarter_turns == 0 and self.aspect == 1.0

    @property
    def picture_orientation(self) -> tuple[str, ...]:
        """Patient Orientation of the view for an image made of it: both directions or none (PS3.3 C.7.6.1.1.1)."""
        return self.orientation if len(self.orientation) == len(AXES) else ()

    @property
    def note(self) -> str:
        """What was done, in words; empty where nothing was."""
        done = []
        if self.quarter_turns:
            done.append(f"turned by {90 * self.quarter_turns} degrees, as Patient Orientation says")
        if self.aspect != 1:
            done.append(f"brought to square pixels (its own are {self.aspect:.3g} times as high as wide)")
        return f"for the engine and the picture the image was {' and '.join(done)}" if done else ""

    def image(self, source: RadiographImage) -> RadiographImage:
        """Return the view of an image (rows, columns); spacing_mm is that of the view, one number twice."""
        if self.is_source:
            return source
        square = np.ascontiguousarray(np.rot90(self._stretched(source.pixels), -self.quarter_turns))
        spacing = None if source.spacing_mm is None else (min(source.spacing_mm),) * 2
        return replace(source, pixels=square, spacing_mm=spacing)

    def on_source_grid(self, result: RadiographResult) -> RadiographResult:
        """Return a result of the view on the grid of the source: labelmap and centroids."""
        if self.is_source:
            return result
        upright = np.rot90(result.labelmap, self.quarter_turns)
        rows, columns = (
            np.minimum(((np.arange(count) + 0.5) * size / count).astype(int), size - 1)
            for count, size in zip(self.grid, upright.shape, strict=True)
        )
        labelmap = np.ascontiguousarray(upright[np.ix_(rows, columns)])
        structures = tuple(_with_centroid(structure, labelmap) for structure in result.structures)
        return replace(result, labelmap=labelmap, structures=structures)

    def _stretched(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return pixels at the smaller side of a source pixel along both axes, linearly interpolated."""
        rows, columns = self.grid
        if self.aspect == 1:
            return pixels
        if self.aspect > 1:
            return _resampled(pixels, round(rows * self.aspect))
        return _resampled(pixels.T, round(columns / self.aspect)).T


def upright_view(dataset: Dataset, spacing_mm: tuple[float, float] | None) -> UprightView:
    """Return how to look at a radiograph.

    Args:
        dataset: its header.
        spacing_mm: calibrated (row, column) spacing; else the header's other attributes tell the aspect ratio.
    """
    told = [value.upper() for value in values_of(dataset, "PatientOrientation")]
    directions = tuple(told) if all(told) else ()
    turns = QUARTER_TURNS.get(tuple(letters[0] for letters in directions), 0)
    grid = (int(dataset.Rows), int(dataset.Columns))
    aspect = _aspect(dataset, spacing_mm)
    if grid[0] * grid[1] * max(aspect, 1 / aspect) > MOST_PIXELS:
        aspect = 1.0
    return UprightView(turns, aspect, grid, _turned(directions, turns))


def _turned(directions: tuple[str, ...], turns: int) -> tuple[str, ...]:
    for _ in range(turns):  # clockwise: what ran down the columns runs against the rows
        row, column = directions
        directions = ("".join(OPPOSITE.get(letter, letter) for letter in column), row)
    return directions


def _aspect(dataset: Dataset, spacing_mm: tuple[float, float] | None) -> float:
    """Return the height of a pixel by its width (PS3.3 10.7.1.3 and C.7.6.3.1.7: vertical first, then horizontal)."""
    attributes = (values_of(dataset, key) for key in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"))
    for values in (spacing_mm or (), *attributes):
        try:
            height, width = map(float, values)
            aspect = height / width
        except (ValueError, ZeroDivisionError):
            continue
        if PLAUSIBLE_ASPECT[0] <= aspect <= PLAUSIBLE_ASPECT[1]:
            return 1.0 if abs(aspect - 1) <= SQUARE else aspect
    return 1.0


def _resampled(pixels: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return so many rows of an image, linearly interpolated between the centres of its own."""
    places = np.clip((np.arange(count) + 0.5) * len(pixels) / count - 0.5, 0, len(pixels) - 1)
    above = np.minimum(places.astype(int), max(len(pixels) - 2, 0))
    weights = (places - above).astype(np.float32)[:, None]
    below = np.minimum(above + 1, len(pixels) - 1)
    return np.asarray(pixels[above] * (1 - weights) + pixels[below] * weights, np.float32)


def _with_centroid(structure: FoundStructure, labelmap: NDArray[np.uint16]) -> FoundStructure:
    rows, columns = np.nonzero(labelmap == structure.segment_number)
    return replace(structure, centroid_px=(float(columns.mean()), float(rows.mean())))
