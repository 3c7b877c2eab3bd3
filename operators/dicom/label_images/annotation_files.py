"""The annotation files of the two data sets that SpineFM was published on.

**CSXA** (Ran et al., Cervical Spine X-ray Atlas, Scientific Data 2024): a JSON file per radiograph as the
annotation tool LabelMe writes it. `shapes` is a list of items with a `label` and `points` [[x, y], …];
`imageHeight` and `imageWidth` give the grid. The atlas marks 23 key points, named `C3 top left`, `C3 top right`,
`C3 bottom left`, `C3 bottom right` and so on to C7; of C2 only `C2 centroid` and its two bottom corners, so C2 has no
area. A body is the quadrilateral of its corners. Outlines (label = level, three points or more) are read as well.

**NHANES II** (National Library of Medicine): the library says that vertebra coordinates of some 600 of the
radiographs exist as ASCII text, and no more could be found. Assumed here: a line is a level followed by x and y
(`C3 512 640`), or a level alone that holds for the lines of x and y below it; blanks, tabs, commas or semicolons part
them, `#` starts a comment. The grid is that of the radiograph of the same name beside the file, or else the one
that the library gives for the region.

Frames: (x, y) = (column, row), 0-based, pixel centres at whole numbers; a pixel belongs to an outline when its centre
lies inside.
"""

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage.draw import polygon

from operators.dicom.label_images.contracts import LabelImage, LabelImageError, canonical_level

Point = tuple[float, float]

CORNERS = ("top left", "top right", "bottom right", "bottom left")
"""The key points that bound a body in CSXA, in the order of its outline."""
CSXA_WITHOUT_AREA = frozenset({"C2"})
"""Levels of which CSXA marks only a part of the outline."""
NHANES_GRID: Mapping[str, tuple[int, int]] = {"C": (1755, 1463), "L": (2487, 2048)}
"""(rows, columns) of the digitised films by the first letter of their levels (NLM, digitisation of NHANES II)."""

_RADIOGRAPH_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
_LEVEL = re.compile(r"[CTLS][1-9]\d?")
_COLUMNS = re.compile(r"[\s,;]+")


def is_csxa(path: Path) -> bool:
    """Whether a JSON file looks like an annotation of LabelMe."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def is_nhanes(path: Path) -> bool:
    """Whether the first line of a text file that is no comment starts with a level."""
    lines = (line.partition("#")[0] for line in path.read_text(encoding="ascii", errors="replace").splitlines())
    first = next((line for line in lines if line.strip()), "")
    return _LEVEL.fullmatch(canonical_level(_COLUMNS.split(first.strip())[0])) is not None


def read_csxa(path: Path) -> LabelImage:
    """Read an annotation of CSXA: key points at the corners, or outlines.

    Raises:
        LabelImageError: not that format, an unknown label, a missing corner, or a point outside the image.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        grid = int(content["imageHeight"]), int(content["imageWidth"])
        marked = _marked_points(path, content["shapes"])
    except (ValueError, KeyError, TypeError) as error:
        raise LabelImageError(
            f"{path} is no annotation of CSXA: JSON with `shapes` (each a `label` and `points`), `imageHeight` and "
            f"`imageWidth` was expected"
        ) from error
    outlines = {level: points[""] for level, points in marked.items() if "" in points}
    for level in marked.keys() - outlines.keys():
        missing = [corner for corner in CORNERS if corner not in marked[level]]
        if not missing:
            outlines[level] = [marked[level][corner][0] for corner in CORNERS]
        elif level not in CSXA_WITHOUT_AREA:
            raise LabelImageError(f"{path}: {level} has no point {missing[0]!r}; all four corners were expected")
    return _drawn(path, outlines, grid)


def read_nhanes(path: Path) -> LabelImage:
    """Read vertebra coordinates of an NHANES II radiograph.

    Points in the order of the outline are taken as they are; where the lines between them would cross, as with
    landmarks in the order of a measurement protocol, they are taken by their angle around their centre.

    Raises:
        LabelImageError: not the assumed format, fewer than three points, or a point outside the image.
    """
    outlines: dict[str, list[Point]] = {}
    level = None
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), start=1):
        columns = [column for column in _COLUMNS.split(line.partition("#")[0]) if column]
        if columns and _LEVEL.fullmatch(canonical_level(columns[0])):
            level = canonical_level(columns.pop(0))
        if columns:
            outlines.setdefault(level or "", []).append(_coordinates(path, number, level, columns))
    if not outlines:
        raise LabelImageError(f"{path} holds no vertebra coordinates; lines such as `C3 512 640` were expected")
    ordered = {level: _outline(points) for level, points in outlines.items()}
    return _drawn(path, ordered, _nhanes_grid(path, next(iter(ordered))))


def _marked_points(path: Path, shapes: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[Point]]]:
    """The points of every level by place: a corner, `centroid`, or "" for an outline."""
    marked: dict[str, dict[str, list[Point]]] = {}
    for shape in shapes:
        level, _, place = str(shape["label"]).strip().partition(" ")
        level = canonical_level(level)
        if not _LEVEL.fullmatch(level) or place not in (*CORNERS, "centroid", ""):
            raise LabelImageError(
                f"{path}: the label {shape['label']!r} is unknown; a corner (`C3 top left`) or an outline (`C3`) "
                f"was expected"
            )
        places = marked.setdefault(level, {})
        if place in places:
            raise LabelImageError(f"{path}: {shape['label']!r} is marked twice")
        places[place] = [(float(x), float(y)) for x, y in shape["points"]]
    return marked


def _coordinates(path: Path, number: int, level: str | None, columns: Sequence[str]) -> Point:
    try:
        x, y = (float(column) for column in columns)
    except ValueError:
        level = None
    if level is None:
        raise LabelImageError(f"{path}, line {number}: a level with x and y (`C3 512 640`) was expected")
    return x, y


def _nhanes_grid(path: Path, level: str) -> tuple[int, int]:
    for suffix in _RADIOGRAPH_SUFFIXES:
        beside = path.with_suffix(suffix)
        if beside.is_file():
            with Image.open(beside) as picture:
                return picture.height, picture.width
    if level[0] not in NHANES_GRID:
        raise LabelImageError(f"{path}: put the radiograph beside it, the grid of a film of {level} is not known")
    return NHANES_GRID[level[0]]


def _outline(points: Sequence[Point]) -> list[Point]:
    """The points in an order in which their polygon does not cross itself."""
    if not _crosses_itself(points):
        return list(points)
    x, y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    return sorted(points, key=lambda point: math.atan2(point[1] - y, point[0] - x))


def _crosses_itself(points: Sequence[Point]) -> bool:
    edges = list(zip(points, [*points[1:], points[0]], strict=True))
    return any(_cross(first, second) for first, second in itertools.combinations(edges, 2))


def _cross(first: tuple[Point, Point], second: tuple[Point, Point]) -> bool:
    """Whether two line segments cross in their inner parts."""
    return all(_side(one, other[0]) * _side(one, other[1]) < 0 for one, other in ((first, second), (second, first)))


def _side(line: tuple[Point, Point], point: Point) -> float:
    (ax, ay), (bx, by) = line
    return (bx - ax) * (point[1] - ay) - (by - ay) * (point[0] - ax)


def _drawn(path: Path, outlines: Mapping[str, Sequence[Point]], grid: tuple[int, int]) -> LabelImage:
    """Fill the outlines on the grid, in the order of their names; a pixel that two claim goes to the first."""
    labelmap = np.zeros(grid, np.uint16)
    levels: dict[int, str] = {}
    overlapping = 0
    for number, level in enumerate(sorted(outlines), start=1):
        points = np.array(outlines[level], float)
        if len(points) < 3:
            raise LabelImageError(f"{path}: {level} has {len(points)} points; an outline needs three")
        if points.min() < -0.5 or (points > np.array(grid[::-1]) + 0.5).any():
            raise LabelImageError(f"{path}: {level} lies outside its image of {grid[1]} × {grid[0]} pixels")
        rows, columns = polygon(points[:, 1], points[:, 0], shape=grid)
        free = labelmap[rows, columns] == 0
        overlapping += int(np.count_nonzero(~free))
        labelmap[rows[free], columns[free]] = number
        levels[number] = level
    return LabelImage(labelmap, levels, overlapping=overlapping)
