"""PNG and NPZ label maps, with the table that names their values."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from operators.dicom.label_images.contracts import LabelImage, LabelImageError, canonical_level

LEVEL_OF_VALUE: Mapping[int, str] = (
    {number: f"C{number}" for number in range(1, 8)}
    | {number + 7: f"T{number}" for number in range(1, 13)}
    | {number + 19: f"L{number}" for number in range(1, 7)}
    | {26: "S1", 28: "T13"}
)
"""The numbering of public vertebra data sets (VerSe 2020): C1–C7, T1–T12, L1–L6 in one count; 26 is the sacrum."""

_LABEL_MODES = frozenset({"1", "L", "P", "I", "I;16"})
"""Pillow's modes with one whole number per pixel; a palette's index is that number."""


def read_png(path: Path) -> LabelImage:
    """Read a PNG of one channel whose values are named by `<stem>.json` beside it, or else by LEVEL_OF_VALUE.

    Raises:
        LabelImageError: no PNG, a colour picture, or values that nothing names.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode not in _LABEL_MODES:
                raise LabelImageError(f"{path} is a picture of mode {picture.mode}; a label map has one channel")
            labelmap = np.asarray(picture)
    except UnidentifiedImageError as error:
        raise LabelImageError(f"{path} is no PNG") from error
    levels = read_levels_beside(path)
    return _label_image(path, labelmap, LEVEL_OF_VALUE if levels is None else levels)


def read_npz(path: Path) -> LabelImage:
    """Read the array `labelmap` of an NPZ file.

    Its values are named by the array `levels` (a JSON text: value → level), by `<stem>.json` beside it, or
    else, because nobody knows better, `structure 1` … . The array `spacing_mm`, where present, is in axis order.

    Raises:
        LabelImageError: no NPZ, no `labelmap` of whole numbers in it, or values that the table does not name.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "labelmap" not in arrays:
                raise LabelImageError(f"{path} holds {sorted(arrays)}; the array `labelmap` was expected")
            labelmap = arrays["labelmap"]
            levels = _table(path, json.loads(str(arrays["levels"]))) if "levels" in arrays else None
            spacing = tuple(float(size) for size in arrays["spacing_mm"]) if "spacing_mm" in arrays else None
    except (OSError, ValueError) as error:
        raise LabelImageError(f"{path} is no NPZ file that can be read: {error}") from error
    if levels is None:
        levels = read_levels_beside(path)
    if levels is None:
        levels = {int(value): f"structure {value}" for value in np.unique(labelmap) if value != 0}
    return _label_image(path, labelmap, levels, spacing_mm=spacing)


def read_levels_beside(path: Path) -> Mapping[int, str] | None:
    """Read the table of levels in `<stem>.json` beside a label map; None where there is no such file.

    The file holds `{"levels": {"3": "C3", …}}`, or that inner object alone.

    Raises:
        LabelImageError: the file is no such table.
    """
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LabelImageError(f"{beside} is no JSON: {error}") from error
    return _table(beside, content.get("levels", content) if isinstance(content, dict) else content)


def _table(path: Path, content: object) -> Mapping[int, str]:
    if isinstance(content, dict) and all(
        isinstance(key, str) and key.isdecimal() and isinstance(level, str) for key, level in content.items()
    ):
        return {int(key): canonical_level(level) for key, level in content.items()}
    raise LabelImageError(f'{path} names no levels: {{"levels": {{"3": "C3", …}}}} was expected')


def _label_image(
    path: Path,
    labelmap: NDArray[np.generic],
    levels: Mapping[int, str],
    *,
    spacing_mm: tuple[float, ...] | None = None,
) -> LabelImage:
    if not (np.issubdtype(labelmap.dtype, np.integer) or labelmap.dtype == np.bool_) or labelmap.ndim not in (2, 3):
        raise LabelImageError(
            f"{path} holds {labelmap.dtype} in {labelmap.ndim} dimensions; whole numbers in 2 or 3 were expected"
        )
    values = [int(value) for value in np.unique(labelmap) if value != 0]
    nameless = [value for value in values if value not in levels]
    if nameless:
        shown = ", ".join(map(str, nameless[:5])) + (" …" if len(nameless) > 5 else "")
        raise LabelImageError(f"{path} holds values that no level is known for: {shown}; name them in {path.stem}.json")
    return LabelImage(labelmap.astype(np.uint16), {value: levels[value] for value in values}, spacing_mm)
