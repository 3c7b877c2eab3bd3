"""Where the walk begins: three neighbouring vertebrae out of the detections.

A line y = m·x + b is fitted through the centroids by least squares; their feet on it, by y, give the order from the
top. Of all runs of three neighbours the one with the highest mean score is taken, the first of equals.

Source: Simons & Papież, "SpineFM" (2024): initialisation.
"""

import math
from collections.abc import Sequence

import numpy as np

from models.spinefm.detection import Detection

Triple = tuple[Detection, Detection, Detection]


def order_along_spine(detections: Sequence[Detection]) -> tuple[Detection, ...]:
    """Order detections from the top of the image downwards, along the line through them."""
    if len(detections) < 2:
        return tuple(detections)
    x, y = np.array([detection.centroid_px for detection in detections], dtype=np.float64).T
    if np.ptp(x) == 0:  # no slope fits a vertical line, but there the order is plain
        foot_y = y
    else:
        slope, intercept = np.linalg.lstsq(np.stack([x, np.ones_like(x)], axis=1), y, rcond=None)[0]
        foot_x = (x + slope * (y - intercept)) / (1 + slope**2)
        foot_y = slope * foot_x + intercept
    return tuple(detections[index] for index in np.argsort(foot_y, kind="stable"))


def order_downwards(detections: Sequence[Detection]) -> tuple[Detection, ...]:
    """Order detections along the direction in which they spread most, from the top of the image.

    Where a spine is nearly upright and bent, no line y = m·x + b fits it and `order_along_spine` mixes them up.
    """
    points = np.array([detection.centroid_px for detection in detections], dtype=np.float64).reshape(-1, 2)
    if len(points) < 2:
        return tuple(detections)
    axis = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][0]
    along = points @ (axis if axis[1] > 0 else -axis)
    return tuple(detections[index] for index in np.argsort(along, kind="stable"))


def runs_of_three(ordered: Sequence[Detection]) -> tuple[Triple, ...]:
    """All runs of three neighbours, the one with the highest mean score first."""
    runs = [(ordered[i], ordered[i + 1], ordered[i + 2]) for i in range(len(ordered) - 2)]
    return tuple(sorted(runs, key=lambda run: -sum(detection.score for detection in run) / 3))


def choose_start(detections: Sequence[Detection]) -> Triple | None:
    """Choose the three detections that the published method starts from, or None where there are fewer."""
    runs = runs_of_three(order_along_spine(detections))
    return runs[0] if runs else None


def turn_degrees(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    """By how much the way a → b → c turns at b: 0 straight on, 180 back. Points (x, y)."""
    first = math.atan2(b[1] - a[1], b[0] - a[0])
    second = math.atan2(c[1] - b[1], c[0] - b[0])
    return abs((math.degrees(second - first) + 180) % 360 - 180)


def is_one_line(points: Sequence[tuple[float, float]], max_turn_degrees: float) -> bool:
    """Tell whether a chain of (x, y) points never turns by more than `max_turn_degrees`."""
    return all(turn_degrees(*points[i : i + 3]) <= max_turn_degrees for i in range(len(points) - 2))
