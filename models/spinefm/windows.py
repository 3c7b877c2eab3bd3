"""Tall radiographs: stitched ones, slot scans of the whole spine, in which a vertebra is few pixels from afar.

A detector that shrinks the whole image is trained on views that are 10 to 21 bodies high. A taller image is searched
in windows of such heights, and each stretch of the spine that shows up is segmented in a view of its own.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.contracts import RadiographImage, RadiographResult
from models.spinefm.detection import Detection
from models.spinefm.views import Field

Detect = Callable[[NDArray[np.float32]], Iterable[Detection]]

# Single exposures are at most 430 mm high; views of training, 540 mm.
TALL_MM = 600.0
TALL_BODIES = 26.0  # an image of more body sizes was taller than all of training, whatever its pixels measure
TALL_ASPECT = 1.8  # rows by columns, where nothing tells a size
WINDOWS_MM = (450.0, 320.0, 220.0)
# Of an uncalibrated image of 600 mm, or of a whole body of 1.9 m: some of these shares are as high as those windows.
WINDOW_SHARES = (0.55, 0.36, 0.24, 0.16)
BODY_SHARES = (1 / 24, 1 / 7)  # of a window's edge: sizes of bodies that are believed in it
SAME_BODY = 0.6  # of a body's size: detections nearer to each other are of one body
NEIGHBOURS = 2.0  # body sizes between the centres of two that belong to one stretch
SIMILAR = 1.8  # neighbours' sizes differ by no more than this factor
FEWEST = 3  # detections make a stretch
TELLING = 5  # as many tell how large bodies are in the image, and so how small those of the neck can be:
NECK = 6.0  # a window of so many of these body sizes is as small as any that shows them
MOST_STRETCHES = 8  # are segmented
MARGIN, LEAST_HEIGHT, MOST_HEIGHT, LEAST_WIDTH = 4.0, 13.0, 20.0, 12.0  # of a stretch's view, in body sizes
LONG = 1.3  # a stretch is segmented in several views where it is longer than one by more


def may_be_tall(image: RadiographImage, found: RadiographResult | None) -> bool:
    """Whether an image is higher than the views that networks are trained on.

    found: what was found in it from afar, or None.
    """
    rows, columns = image.pixels.shape
    if image.spacing_mm is not None:
        return bool(rows * image.spacing_mm[0] > TALL_MM)
    if found is None:
        return bool(rows > TALL_ASPECT * columns)
    areas = np.bincount(found.labelmap.ravel())[1:]
    return bool(rows > TALL_BODIES * math.sqrt(float(np.median(areas))))


def stretches(image: RadiographImage, detect: Detect, *, min_score: float) -> list[tuple[Detection, ...]]:
    """Return the stretches of spine that are seen in the windows of an image, the surest first, from the top each.

    detect: finds vertebrae in (rows, columns) of a window. min_score: above which a detection counts.
    """
    found: list[tuple[Detection, ...]] = []
    for edge in _edges(image):
        if edge < NECK * max((_size(stretch) for stretch in found if len(stretch) >= TELLING), default=0.0):
            break
        low, high = (share * edge for share in BODY_SHARES)
        seen = [
            detection
            for window in _windows(image.pixels.shape, edge)
            for detection in _looked(image.pixels, window, detect)
            if detection.score > min_score and low <= detection.size_px <= high
        ]
        found += _chained(_once_each(seen))
    return sorted(found, key=lambda stretch: -sum(detection.score for detection in stretch))[:MOST_STRETCHES]


def views_of(stretch: Sequence[Detection], shape: tuple[int, ...]) -> list[Field]:
    """The views, within an image of (rows, columns), in which a stretch is segmented: one, or several of a long one."""
    size = _size(stretch)
    centroids = np.array([detection.centroid_px for detection in stretch])
    top, bottom = centroids[:, 1].min() - MARGIN * size, centroids[:, 1].max() + MARGIN * size
    height = float(np.clip(bottom - top, LEAST_HEIGHT * size, MOST_HEIGHT * size))
    count = math.ceil(2 * (bottom - top) / height - 1) if bottom - top > LONG * height else 1
    middles = np.linspace(top + height / 2, bottom - height / 2, count) if count > 1 else [(top + bottom) / 2]
    views = []
    for middle in middles:
        inside = centroids[np.abs(centroids[:, 1] - middle) <= height / 2]
        x = inside[:, 0] if len(inside) else centroids[:, 0]
        width = max(float(np.ptp(x)) + 2 * MARGIN * size, LEAST_WIDTH * size)
        views.append(_clipped((float(x.min() + x.max()) / 2, float(middle)), width, height, shape))
    return views


def _size(stretch: Sequence[Detection]) -> float:
    return float(np.median([detection.size_px for detection in stretch]))


def _clipped(centre: tuple[float, float], width: float, height: float, shape: tuple[int, ...]) -> Field:
    """A field of the wanted size around (x, y), moved into an image of (rows, columns) and cut to it."""
    (left, columns), (top, rows) = (
        (int(np.clip(middle - length / 2, 0, max(0, limit - length))), int(min(length, limit)))
        for middle, length, limit in zip(centre, (width, height), shape[::-1], strict=True)
    )
    return Field(top, left, rows, columns)


def _edges(image: RadiographImage) -> list[float]:
    if image.spacing_mm is None:
        return [share * image.pixels.shape[0] for share in WINDOW_SHARES]
    return [edge / image.spacing_mm[0] for edge in WINDOWS_MM]


def _windows(shape: tuple[int, ...], edge: float) -> Iterator[Field]:
    """Squares of `edge` pixels that overlap by half; as narrow as the image where that is little wider."""
    rows, columns = (_starts(length, edge) for length in shape)
    for top, height in rows:
        for left, width in columns:
            yield Field(top, left, height, width)


def _starts(length: int, edge: float) -> list[tuple[int, int]]:
    """(first pixel, number of pixels) of the windows along an axis."""
    if length <= 1.25 * edge:
        return [(0, length)]
    size = round(edge)
    return [(round(first), size) for first in np.linspace(0, length - size, math.ceil(2 * (length - size) / size) + 1)]


def _looked(pixels: NDArray[np.float32], window: Field, detect: Detect) -> Iterator[Detection]:
    part = pixels[window.top : window.top + window.rows, window.left : window.left + window.columns]
    for detection in detect(part):
        x, y = detection.centroid_px
        yield Detection(detection.score, (x + window.left, y + window.top), detection.size_px, detection.kind)


def _once_each(seen: Sequence[Detection]) -> list[Detection]:
    """Of the detections of one body in several windows the surest, from the top of the image."""
    kept: list[Detection] = []
    for detection in sorted(seen, key=lambda d: -d.score):
        if all(math.dist(detection.centroid_px, k.centroid_px) > SAME_BODY * k.size_px for k in kept):
            kept.append(detection)
    return sorted(kept, key=lambda d: d.centroid_px[1])


def _chained(detections: Sequence[Detection]) -> list[tuple[Detection, ...]]:
    """Part detections, from the top, into stretches of neighbours of similar size."""
    group = list(range(len(detections)))
    for i, one in enumerate(detections):
        for j, other in enumerate(detections[:i]):
            small, large = sorted((one.size_px, other.size_px))
            near = math.dist(one.centroid_px, other.centroid_px) <= NEIGHBOURS * large
            if near and large <= SIMILAR * small and group[i] != group[j]:
                old, new = group[i], group[j]
                group = [new if number == old else number for number in group]
    members = [tuple(d for d, number in zip(detections, group, strict=True) if number == one) for one in set(group)]
    return [stretch for stretch in members if len(stretch) >= FEWEST]
