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
SHIFTS_MM = np.linspace(-3.0, 3.0, 7)  # of the lines across the canal, along its course
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
        across, upright = self._across(middle, backwards)
        along = np.array([-across[1], across[0], 0.0])
        # Neighbouring lines meet the voxels' borders elsewhere: their mean is finer than one.
        chords = np.mean([self._chords(middle + shift * along, across) for shift in SHIFTS_MM], axis=0)
        if chords.max() < LEAST_MM:
            return None
        diameter = _at(float(np.average(np.arange(len(chords)), weights=chords)), chords)
        return (diameter, float(chords.sum()) * self.spacing[2] * upright) if diameter >= LEAST_MM else None

    def _across(self, middle: Points, backwards: Points) -> tuple[Points, float]:
        """Across the canal's course.

        Returns:
            The direction in the slice at right angles to the course, pointing to the back; and the cosine by which
            a cross-section at right angles to a course that leaves the slice is smaller than one along that direction.
        """
        ends = []
        for shift in (-AXIS_MM, AXIS_MM):
            start = middle + np.array([-backwards[1], backwards[0], 0.0]) * shift
            line = start + np.arange(-15, 15, STEP_MM)[:, None] * np.array([*backwards, 0.0])
            run = _nearest_run(self._sample(line) > 0.5)
            if run is None:
                return backwards, 1.0
            centre = line[run].mean(0)
            chords = self._chords(centre, backwards)
            lateral = np.average(np.arange(len(chords)) - len(chords) // 2, weights=chords + 1e-9)
            ends.append(centre + [0.0, 0.0, float(lateral) * self.spacing[2]])
        course = ends[1] - ends[0]
        flat = course[:2] / np.linalg.norm(course[:2])
        across = np.array([flat[1], -flat[0]])
        return np.asarray(across * np.sign(across @ backwards)), float(
            np.linalg.norm(course[:2]) / np.linalg.norm(course)
        )

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


def _at(place: float, chords: Points) -> float:
    """The chord between slices, on the parabola through the three nearest: a canal is round."""
    nearest = int(np.clip(round(place), 1, len(chords) - 2))
    before, own, after = chords[nearest - 1 : nearest + 2]
    off = place - nearest
    return float(own + off * (after - before) / 2 + off**2 * ((before + after) / 2 - own))


def _runs(inside: NDArray[np.bool_]) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _first_run(inside: NDArray[np.bool_]) -> slice | None:
    return next(iter(_runs(inside)), None)


def _nearest_run(inside: NDArray[np.bool_]) -> slice | None:
    """The run that holds the middle of the line, or lies nearest to it."""
    middle = len(inside) // 2
    return min(_runs(inside), key=lambda run: max(run.start - middle, middle - run.stop, 0), default=None)
