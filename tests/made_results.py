"""What an engine answers for a small made radiograph: four bodies in a gentle lordosis, the last without a level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from skimage.draw import polygon2mask

from models.contracts import FoundStructure
from operators.dicom.identity import AlgorithmIdentity
from tests.made_dicom import made_dx

ROWS, COLUMNS = 201, 163  # odd, so that packed frames do not start on whole bytes
ALGORITHM = AlgorithmIdentity("spinefm-test", "1.2.0", "ab" * 32, "0.1.0")
LEVELS = ("C3", "C4", "C5", None)
CENTRES_XY = ((80.0, 40.0), (76.0, 78.0), (77.0, 116.0), (82.0, 154.0))
TILTS_DEG = (-6.0, -2.0, 2.0, 6.0)
SIZE_WH = (36.0, 28.0)


def box(centre_xy: tuple[float, float], tilt_deg: float, size_wh: tuple[float, float]) -> NDArray[np.float64]:
    """Return the corners (x, y) of a turned rectangle, clockwise from the upper left on the screen."""
    tilt = np.deg2rad(tilt_deg)
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * size_wh
    return np.asarray(corners @ turn.T + centre_xy, np.float64)


def made_labelmap() -> NDArray[np.uint16]:
    """Return the labelmap (rows, columns)."""
    labelmap = np.zeros((ROWS, COLUMNS), np.uint16)
    for number, (centre, tilt) in enumerate(zip(CENTRES_XY, TILTS_DEG, strict=True), start=1):
        labelmap[polygon2mask(labelmap.shape, box(centre, tilt, SIZE_WH)[:, ::-1])] = number
    return labelmap


def made_structures() -> tuple[FoundStructure, ...]:
    """Return the structures, their centroids taken from the labelmap."""
    labelmap = made_labelmap()
    found = []
    for number, level in enumerate(LEVELS, start=1):
        rows, columns = np.nonzero(labelmap == number)
        centroid = (float(columns.mean()), float(rows.mean()))
        found.append(FoundStructure(number, level or f"vertebra {number}", level, 0.9 - number / 10, centroid))
    return tuple(found)


def made_source(**attributes: object) -> FileDataset:
    """Return the radiograph: bodies bright on a ramp; keywords as for `made_dx`."""
    ramp = np.linspace(0.2, 0.5, COLUMNS, dtype=np.float32)[None, :].repeat(ROWS, axis=0)
    return made_dx(np.where(made_labelmap() > 0, 0.8, ramp), **attributes)  # type: ignore[arg-type]
