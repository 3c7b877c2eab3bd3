"""Where a structure lies in a frame, as a polygon that a report can point at (PS3.3 C.18.6, Spatial Coordinates).

Coordinates are (column, row) with (0, 0) at the upper left *corner* of the upper left pixel, whose centre is (0.5, 0.5)
(PS3.3 C.10.5.1.2, C.18.6.1.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom import sr
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import approximate_polygon, find_contours

from operators.dicom import codes

Points = NDArray[np.float64]

TOLERANCE_PX = 0.7  # by which a polygon may leave the edge of its mask: less than the steps of the pixel grid
MOST_POINTS = 64


@dataclass(frozen=True)
class Outline:
    """A structure in one frame.

    frame: index of the frame in the labelmap. points: (n, 2) columns and rows, the last point equal to the first.
    centre: (column, row) of the part that the points go round.
    """

    frame: int
    points: Points
    centre: tuple[float, float]


def outlines_of(labelmap: NDArray[np.uint16]) -> dict[int, Outline]:
    """Return by Segment Number where each Segment lies in its middle frame.

    The middle frame is the one nearest to the Segment's centre of mass that holds some of it. Of several parts in it
    the largest is outlined.

    Args:
        labelmap: (frames, rows, columns), 0 = background, else Segment Number.
    """
    found = {}
    for number, box in enumerate(ndimage.find_objects(labelmap), start=1):
        if box is None:
            continue
        mask = labelmap[box] == number
        counts = mask.sum(axis=(1, 2))
        middle = counts @ np.arange(len(counts)) / counts.sum()
        held = np.flatnonzero(counts)
        frame = int(held[np.argmin(np.abs(held - middle))])
        part = _largest(mask[frame])
        corner = np.array([box[2].start, box[1].start], np.float64)
        rows, columns = np.nonzero(part)
        column, row = np.array([columns.mean(), rows.mean()]) + corner + 0.5
        found[number] = Outline(box[0].start + frame, polygon_of(part) + corner, (float(column), float(row)))
    return found


def polygon_of(part: NDArray[np.bool_]) -> Points:
    """Return the outer edge of a connected part, simplified: (n, 2) columns and rows, closed.

    Args:
        part: (rows, columns).
    """
    contours = find_contours(np.pad(part, 1).astype(np.float64), 0.5)
    contour = max(contours, key=_area)
    tolerance, polygon = TOLERANCE_PX, approximate_polygon(contour, TOLERANCE_PX)
    while len(polygon) > MOST_POINTS:
        tolerance *= 1.5
        polygon = approximate_polygon(contour, tolerance)
    if len(polygon) < 4:  # so small that it would be a line
        polygon = contour
    # Rows first, and the centre of the padded corner's pixel is 0: from there to the corner of the first own pixel.
    return np.asarray(polygon[:, ::-1] - 0.5, np.float64)


def centres_of(outlines: Iterable[Outline]) -> tuple[int, Points]:
    """Return the centres of structures (n, 2), and the frame that most of them are outlined in."""
    places = list(outlines)
    frames = Counter(outline.frame for outline in places)
    frame = min(frames, key=lambda index: (-frames[index], index))
    return frame, np.array([outline.centre for outline in places], np.float64)


def coordinates(
    kind: sr.GraphicTypeValues, points: Points, image: sr.SourceImageForRegion
) -> sr.CoordinatesForMeasurement:
    """Return a content item (INFERRED FROM, SCOORD) that points at a place in an image (PS3.16 TID 300, TID 320).

    Args:
        kind: what the points are.
        points: (n, 2) columns and rows.
        image: the frame that they lie in.
    """
    return sr.CoordinatesForMeasurement(
        graphic_type=kind, graphic_data=points, source_image=image, purpose=codes.SOURCE_OF_MEASUREMENT
    )


@dataclass(frozen=True)
class Places:
    """Where the Segments of a result lie. outlines: by Segment Number; images: what the frames of the labelmap are."""

    outlines: Mapping[int, Outline]
    images: Sequence[sr.SourceImageForRegion]

    def of_segment(self, number: int) -> sr.CoordinatesForMeasurement:
        """Return where a Segment is."""
        outline = self.outlines[number]
        return coordinates(sr.GraphicTypeValues.POLYLINE, outline.points, self.images[outline.frame])

    def of_centres(self, numbers: Sequence[int]) -> sr.CoordinatesForMeasurement:
        """Return the centres of Segments; OHIF writes no text beside several points."""
        frame, points = centres_of(self.outlines[number] for number in numbers)
        return coordinates(sr.GraphicTypeValues.MULTIPOINT, points, self.images[frame])


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    parts, count = ndimage.label(mask)
    return mask if count < 2 else parts == int(np.argmax(np.bincount(parts.ravel())[1:])) + 1


def _area(contour: Points) -> float:
    x, y = contour.T
    return abs(float(x[:-1] @ y[1:] - x[1:] @ y[:-1])) / 2
