"""Width of the vertebral canal, across its own axis.

Lengths are integrals of the mask's occupancy along a line, interpolated between voxels, and so finer than a voxel.
Frame: (P, I, R) in mm.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.spineps.frame import Spacing

CORD, CANAL = 60, 61
STEP_MM = 0.1
REACH_MM = 60.0  # how far behind a body's centre its canal is looked for
AXIS_MM = 12.0  # above and below, over which the canal's direction is taken
LEAST_MM = 3.0
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Canal:
    """The canal with its cord: occupancy 0–1 (P, I, R) in a box, the box's first voxel, spacing in mm."""

    occupancy: NDArray[np.float32]
    origin: Points
    spacing: Spacing

    @staticmethod
    def of(subregions: NDArray[np.uint8], spacing: Spacing) -> "Canal":
        """Take cord and canal from SPINEPS' structures."""
        inside = (subregions == CORD) | (subregions == CANAL)
        boxes = ndimage.find_objects(inside.astype(np.uint8))
        if not boxes:
            return Canal(np.zeros((1, 1, 1), np.float32), np.zeros(3), spacing)
        origin = np.array([s.start - 1 for s in boxes[0]], float)
        return Canal(np.pad(inside[boxes[0]].astype(np.float32), 1), origin, spacing)

    def measure_behind(self, centre: Points, backwards: Points) -> tuple[float, float] | None:
        """Measure the canal behind a body.

        centre: (P, I, R) mm of the body; backwards: (P, I) unit vector along its depth.

        Returns:
            Antero-posterior diameter in mm and cross-sectional area in mm², or None where no canal is found.
        """
        ray = centre + np.arange(0, REACH_MM, STEP_MM)[:, None] * np.array([*backwards, 0.0])
        run = _first_run(self._sample(ray) > 0.5)
        if run is None or (run.stop - run.start) * STEP_MM < LEAST_MM:
            return None
        middle = ray[run].mean(0)
        across = self._across(middle, backwards)
        chords = self._chords(middle, across)
        middle_chord = chords[len(chords) // 2]
        return (float(middle_chord), float(chords.sum()) * self.spacing[2]) if middle_chord >= LEAST_MM else None

    def _across(self, middle: Points, backwards: Points) -> Points:
        """The direction in the slice that is at right angles to the canal's course, pointing to the back."""
        ends = []
        for shift in (-AXIS_MM, AXIS_MM):
            along = np.array([-backwards[1], backwards[0]]) * shift
            line = middle + np.array([*along, 0.0]) + np.arange(-15, 15, STEP_MM)[:, None] * np.array([*backwards, 0.0])
            run = _nearest_run(self._sample(line) > 0.5)
            ends.append(None if run is None else line[run].mean(0)[:2])
        if ends[0] is None or ends[1] is None:
            return backwards
        course = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
        across = np.array([course[1], -course[0]])
        return np.asarray(across * np.sign(across @ backwards))

    def _chords(self, middle: Points, across: Points) -> Points:
        """Length of the chord through the canal in each slice, the slice through `middle` in the middle."""
        count = int(np.ceil(20.0 / self.spacing[2]))
        line = np.arange(-20, 20, STEP_MM)[:, None] * np.array([*across, 0.0])
        chords = []
        for offset in range(-count, count + 1):
            values = self._sample(middle + line + np.array([0.0, 0.0, offset * self.spacing[2]]))
            run = _nearest_run(values > 0.05)
            chords.append(0.0 if run is None else float(values[run].sum()) * STEP_MM)
        return np.array(chords)

    def _sample(self, points_mm: Points) -> NDArray[np.float32]:
        places = points_mm / self.spacing - self.origin
        places[:, 2] = np.rint(places[:, 2])  # slices are thick: within one nothing is known of the course
        return np.asarray(ndimage.map_coordinates(self.occupancy, places.T, order=1), np.float32)


def _runs(inside: NDArray[np.bool_]) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _first_run(inside: NDArray[np.bool_]) -> slice | None:
    return next(iter(_runs(inside)), None)


def _nearest_run(inside: NDArray[np.bool_]) -> slice | None:
    """The run that holds the middle of the line, or lies nearest to it."""
    middle = len(inside) // 2
    return min(_runs(inside), key=lambda run: max(run.start - middle, middle - run.stop, 0), default=None)
