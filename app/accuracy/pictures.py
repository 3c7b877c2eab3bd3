"""Overlays: what was found in colour, the truth as a white line."""

import colorsys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from models.contracts import RadiographImage, RadiographResult
from models.errors import SpondylError

PICTURE_ROWS = 640
_GOLDEN_RATIO = 0.618


class PictureFolderError(SpondylError):
    """Pictures of images that must not be published were asked for inside the project; name a folder elsewhere."""


def refuse_inside_checkout(folder: Path, checkout: Path) -> None:
    """Keep pictures of real images out of the project.

    Raises:
        PictureFolderError: the folder lies in the checkout.
    """
    if folder.resolve().is_relative_to(checkout.resolve()):
        raise PictureFolderError(
            f"{folder} is inside {checkout}: pictures of real images stay out of the project, give a folder elsewhere"
        )


def overlay(image: RadiographImage, result: RadiographResult | None, truth: NDArray[np.integer]) -> Image.Image:
    """Draw an image with what was found and the truth.

    truth: (rows, columns) labelmap on the grid of the image.

    Returns:
        RGB of PICTURE_ROWS rows: found structures tinted, with their names beside them; the truth's outline in white.
    """
    scale = PICTURE_ROWS / image.pixels.shape[0]
    size = max(1, round(image.pixels.shape[1] * scale)), PICTURE_ROWS
    grey = np.asarray(Image.fromarray((image.pixels * 255).astype(np.uint8)).resize(size, Image.Resampling.BOX), float)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    found = _resized(result.labelmap, size) if result else np.zeros(size[::-1], np.uint16)
    for number in np.unique(found[found != 0]):
        rgb[found == number] = 0.6 * rgb[found == number] + 0.4 * _colour(int(number))
    outline = _resized(truth, size)
    rgb[(outline != ndimage.minimum_filter(outline, 3)) | (outline != ndimage.maximum_filter(outline, 3))] = 255
    picture = Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for structure in result.structures if result else ():
        x, y = (value * scale for value in structure.centroid_px)
        draw.text((x, y), structure.label, fill=(255, 255, 0), anchor="mm", stroke_width=2, stroke_fill=(0, 0, 0))
    return picture


def _resized(labelmap: NDArray[np.integer], size: tuple[int, int]) -> NDArray[np.integer]:
    columns, rows = size
    row = (np.arange(rows) * labelmap.shape[0] // rows)[:, None]
    column = (np.arange(columns) * labelmap.shape[1] // columns)[None, :]
    resized: NDArray[np.integer] = labelmap[row, column]
    return resized


def _colour(number: int) -> NDArray[np.float64]:
    """Neighbours of well separated hues."""
    return 255 * np.array(colorsys.hsv_to_rgb(number * _GOLDEN_RATIO % 1, 0.9, 1.0))
