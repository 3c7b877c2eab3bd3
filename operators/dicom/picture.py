"""The result as a picture for people: translucent masks, contours and level names on the radiograph.

Used for the Secondary Capture and for PNG files alike. Everything here is in pixels of the picture unless said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from models.contracts import FoundStructure
from operators.dicom import codes
from operators.dicom.provenance import plain_text

RGB = NDArray[np.uint8]

LONGEST_SIDE = 1600
SHORTEST_LONG_SIDE = 1100  # small radiographs are enlarged so that names stay readable
FILL_OPACITY = 0.30
CONTOUR_HALF_WIDTH = 1.25
FOOTER_INK = (205, 210, 218)
FOOTER_PAPER = (16, 18, 22)


@dataclass(frozen=True)
class Caption:
    """What the picture says beside the level names.

    footer: the line below, left; note: the same line, right, in amber, for doubts. The bundled font has the letters
        of the default repertoire; others are spelt with them.
    facing: the side that the patient faces; names stand in front of the bodies, where there is no bone to hide.
    """

    footer: str
    note: str = ""
    facing: Literal["left", "right"] | None = None


@dataclass(frozen=True)
class Mark:
    """How a Segment is drawn: its colour, and its name, where it has one, at the height of `row` of the labelmap."""

    segment_number: int
    label: str
    colour: tuple[int, int, int]
    row: float


def render_overlay(
    pixels: NDArray[np.float32], labelmap: NDArray[np.uint16], structures: Sequence[FoundStructure], caption: Caption
) -> RGB:
    """Return the picture of a radiograph, (rows, columns, 3), its long side between 1100 and 1600 pixels.

    Args:
        pixels: (rows, columns) in 0–1, dense tissue bright.
        labelmap: (rows, columns) on the same grid, 0 = background, else Segment Number.
        structures: what the labelmap holds.
        caption: footer, note and facing.
    """
    marks = [
        Mark(structure.segment_number, structure.label, codes.level_of(structure).colour, structure.centroid_px[1])
        for structure in structures
    ]
    return draw_panels(pixels, [(labelmap, marks)], caption)


def draw_panels(
    pixels: NDArray[np.float32], panels: Sequence[tuple[NDArray[np.uint16], Sequence[Mark]]], caption: Caption
) -> RGB:
    """Draw one image once per labelmap, side by side, above one footer.

    Args:
        pixels: (rows, columns) in 0–1.
        panels: labelmaps on the same grid, each with what it holds.
        caption: footer, note and facing.
    """
    rows, columns = pixels.shape
    bar = round(max(rows, columns) * 0.036)
    longest = max(rows + bar, columns)
    factor = min(max(longest, SHORTEST_LONG_SIDE), LONGEST_SIDE) / longest
    width, height = max(round(columns * factor), 1), max(round(rows * factor), 1)
    grey = Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    plain = np.asarray(grey.resize((width, height), Image.Resampling.LANCZOS), np.float32)[..., None].repeat(3, axis=2)
    sheet = Image.new("RGB", (width * len(panels), height))
    for index, (labelmap, marks) in enumerate(panels):
        sheet.paste(_panel(plain.copy(), labelmap, marks, factor, caption.facing), (index * width, 0))
    return np.asarray(_with_footer(sheet, caption, round(bar * factor)))


def _panel(
    canvas: NDArray[np.float32],
    labelmap: NDArray[np.uint16],
    marks: Sequence[Mark],
    factor: float,
    facing: str | None,
) -> Image.Image:
    boxes = ndimage.find_objects(labelmap)
    for mark in marks:
        box = boxes[mark.segment_number - 1] if mark.segment_number <= len(boxes) else None
        if box is not None:
            _paint(canvas, labelmap == mark.segment_number, box, mark.colour)
    picture = Image.fromarray(np.rint(np.clip(canvas, 0, 255)).astype(np.uint8))
    _write_names(picture, marks, boxes, factor, facing)
    return picture


def _paint(
    canvas: NDArray[np.float32], mask: NDArray[np.bool_], box: tuple[slice, ...], colour: tuple[int, int, int]
) -> None:
    """Blend one mask into the canvas: a translucent fill and a smooth contour, within a window around the mask."""
    height, width = canvas.shape[:2]
    scale = np.array([height / mask.shape[0], width / mask.shape[1]])
    margin = 6
    low = [max(side.start - margin, 0) for side in box]
    high = [min(side.stop + margin, size) for side, size in zip(box, mask.shape, strict=True)]
    part = mask[low[0] : high[0], low[1] : high[1]].astype(np.float32)
    first = np.floor(np.array(low) * scale).astype(int)
    last = np.minimum(np.ceil(np.array(high) * scale).astype(int), [height, width])
    # Pixel centres of the picture in the window's own index, so that the contour sits where the mask is.
    y, x = ((np.arange(first[axis], last[axis]) + 0.5) / scale[axis] - 0.5 - low[axis] for axis in (0, 1))
    soft = ndimage.gaussian_filter(part, 0.7) if scale.max() > 0.5 else part
    inside = ndimage.map_coordinates(soft, np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest") > 0.5
    if not inside.any():
        return
    distance = ndimage.distance_transform_edt(inside) + ndimage.distance_transform_edt(~inside) - 0.5
    contour = np.clip(CONTOUR_HALF_WIDTH + 0.5 - distance, 0, 1)
    opacity = np.maximum(inside * FILL_OPACITY, contour)[..., None]
    window = canvas[first[0] : last[0], first[1] : last[1]]
    window[...] = window * (1 - opacity) + np.array(colour, np.float32) * opacity


def _write_names(
    picture: Image.Image,
    marks: Sequence[Mark],
    boxes: Sequence[tuple[slice, ...] | None],
    factor: float,
    facing: str | None,
) -> None:
    """Write each level's name in front of its body, as large as its neighbours allow."""
    draw = ImageDraw.Draw(picture)
    heights = [np.ptp([box[0].start, box[0].stop]) * factor for box in boxes if box is not None]
    size = float(np.clip(0.55 * np.median(heights) if heights else 0, 14, max(picture.size) / 34))
    font = ImageFont.load_default(size)
    gap = round(size * 0.6)
    for mark in (named for named in marks if named.label):
        box = boxes[mark.segment_number - 1] if mark.segment_number <= len(boxes) else None
        if box is None:
            continue
        length = draw.textlength(mark.label, font)
        left, right = box[1].start * factor - gap, box[1].stop * factor + gap
        on_left = left - length >= 0 if facing != "right" else right + length > picture.width
        draw.text(
            (
                left if on_left else right,
                float(np.clip((mark.row + 0.5) * factor, size / 2, picture.height - size / 2)),
            ),
            mark.label,
            font=font,
            anchor="rm" if on_left else "lm",
            fill=mark.colour,
            stroke_width=max(round(size / 16), 1),
            stroke_fill=(0, 0, 0),
        )


def _with_footer(picture: Image.Image, caption: Caption, bar: int) -> Image.Image:
    """Return the picture with a dark bar below it that says what it is and what it is not for."""
    sheet = Image.new("RGB", (picture.width, picture.height + bar), FOOTER_PAPER)
    sheet.paste(picture, (0, 0))
    draw = ImageDraw.Draw(sheet)
    pad = bar // 2
    size = bar * 0.5
    room = picture.width - 2 * pad
    footer, note = plain_text(caption.footer), plain_text(caption.note)
    needed = max(draw.textlength(f"{footer}    {note}", ImageFont.load_default(size)), 1.0)
    font = ImageFont.load_default(size * min(1.0, room / needed))
    middle = picture.height + bar / 2
    draw.text((pad, middle), footer, font=font, anchor="lm", fill=FOOTER_INK)
    draw.text((picture.width - pad, middle), note, font=font, anchor="rm", fill=(255, 176, 0))
    return sheet
