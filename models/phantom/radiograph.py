"""Lateral radiographs of the parametric spine, with known truth.

Three steps that training uses apart: `draw_scene` (who stands there and where the detector is),
`Layers` (path lengths per tissue), `expose` (what the detector and its processing make of them).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from models.contracts import BodyRegion
from models.phantom.anatomy import LEVEL_VALUE, LEVELS, Spine, draw_spine
from models.phantom.projection import DETECTOR_MM, FOCUS_MM, Field, Layers
from models.phantom.solids import body_truth
from models.phantom.surroundings import (
    draw_clutter,
    draw_head_and_neck,
    draw_soft_tissue,
    draw_trunk_bones,
    draw_vertebrae,
    noise,
)

Facing = Literal["left", "right"]
LANDMARKS = ("C2", "S1")
CUT = 255  # in a scene's labelmap: part of a vertebra that is not wholly in view


@dataclass(frozen=True)
class Scene:
    """A person before a detector: the spine and the tissue layers, still facing left, and the truth.

    labelmap: (rows, columns) uint8, values of `anatomy.LEVEL_VALUE`; CUT where the edge of the field cuts a body.
    centroids_px: level → (x, y), also of vertebrae that are cut by the edge of the field.
    body_size_px: level → square root of the drawn body's area in pixels.
    """

    spine: Spine
    layers: Layers
    labelmap: NDArray[np.uint8]
    centroids_px: Mapping[str, tuple[float, float]]
    body_size_px: Mapping[str, float]


@dataclass(frozen=True)
class RadiographPhantom:
    """A synthetic lateral radiograph as a modality would store it, and its truth.

    pixels: (rows, columns) uint16, `bits_stored` used; MONOCHROME1 means low values are dense.
    spacing_mm: (row, column) in the plane of the spine; imager_spacing_mm at the detector.
    labelmap: (rows, columns) uint8; `levels` maps its values to levels; only vertebrae wholly in view.
    centroids_px: level → (x, y) of the labelled area. landmarks_in_view: of C2 and S1.
    """

    pixels: NDArray[np.uint16]
    bits_stored: int
    photometric_interpretation: Literal["MONOCHROME1", "MONOCHROME2"]
    spacing_mm: tuple[float, float]
    imager_spacing_mm: tuple[float, float]
    body_region: BodyRegion
    facing: Facing
    labelmap: NDArray[np.uint8]
    levels: Mapping[int, str]
    centroids_px: Mapping[str, tuple[float, float]]
    landmarks_in_view: tuple[str, ...]
    findings: tuple[str, ...]


def draw_field(rng: np.random.Generator, spine: Spine, long_side: int) -> Field:
    """Where the detector is: usually the whole region, at times a narrower or shifted field."""
    cervical = spine.region == "cervical"
    height = spine.stature * (rng.uniform(150, 300) if cervical else rng.uniform(285, 470))
    if rng.random() < 0.06:
        height *= rng.uniform(0.6, 0.85)
    width = height * (rng.uniform(0.62, 1.1) if cervical else rng.uniform(0.45, 1.0))
    middle = spine["C5"] if cervical else spine["L3"]
    low = spine["C7"] if cervical else spine["S1"]
    place = np.array(
        [
            np.clip(rng.normal(0.48 if cervical else 0.56, 0.08), 0.27, 0.75) * width,
            np.clip(rng.normal(0.55 if cervical else 0.5, 0.06), 0.36, 0.7) * height,
        ]
    )
    origin = middle.centre[1:] - place
    overhang = low.centre[2] + low.size[2] * 0.6 - (origin[1] + height)
    if overhang > 0 and rng.random() < 0.85:
        origin[1] += overhang + 3
    pixel = max(height, width) / long_side
    return Field(
        (max(32, round(height / pixel)), max(32, round(width / pixel))), pixel, (float(origin[0]), float(origin[1]))
    )


def draw_scene(rng: np.random.Generator, region: BodyRegion, long_side: int) -> Scene:
    """Draw a person and a field of view, and sum the tissues along the rays.

    Args:
        rng: the only source of chance.
        region: "cervical" or "lumbar".
        long_side: rows or columns, whichever is more.
    """
    spine = draw_spine(rng, region)
    layers = Layers(draw_field(rng, spine, long_side))
    draw_vertebrae(layers, spine, rng)
    if region == "cervical":
        draw_head_and_neck(layers, spine, rng)
    else:
        draw_trunk_bones(layers, spine, rng)
    draw_soft_tissue(layers, spine, rng)
    draw_clutter(layers, spine.vertebrae[1].size[1], rng)
    labelmap = np.zeros(layers.field.shape, np.uint8)
    centroids, sizes = {}, {}
    rows, columns = layers.field.shape
    for vertebra in reversed(spine.vertebrae):
        if vertebra.level not in LEVEL_VALUE:
            continue
        x, uv = vertebra.to_phantom(0.0, body_truth(vertebra))
        outline = layers.field.project(uv, x)
        points = layers.field.to_pixels(outline)
        following = np.roll(points, -1, 0)
        cross = points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]  # shoelace formula
        x_mean, y_mean = ((points + following) * cross[:, None]).sum(0) / (3 * cross.sum())
        sizes[vertebra.level] = float(np.sqrt(abs(cross.sum()) / 2))
        centroids[vertebra.level] = (float(x_mean), float(y_mean))
        whole = (points > -0.5).all() and (points[:, 0] < columns - 0.5).all() and (points[:, 1] < rows - 0.5).all()
        labelmap[layers.mask(outline)] = LEVEL_VALUE[vertebra.level] if whole else CUT
    return Scene(spine, layers, labelmap, centroids, sizes)


def expose(
    planes: Mapping[str, NDArray[np.float32]], rng: np.random.Generator, *, breadth: float = 1.0
) -> NDArray[np.float32]:
    """Make an image of path lengths: attenuation, scatter, blur, noise, processing, window.

    Args:
        planes: layer name → (rows, columns) path length in mm.
        rng: the only source of chance.
        breadth: how far tissue weights and processing stray from the usual; training uses more than 1.

    Returns:
        (rows, columns) float32 in 0–1, dense tissue bright.
    """

    def gain(spread: float) -> float:
        return float(np.exp(rng.normal(0, spread * breadth)))

    bone = 0.045 * gain(0.25)
    line = 0.02 * gain(0.2) * (planes["soft"] + gain(0.4) * planes["shadow"] - gain(0.3) * planes["air"])
    line = np.maximum(line, 0) + bone * (
        planes["bodies"] + gain(0.25) * planes["arches"] + gain(0.35) * planes["bones"]
    )
    line = line * (1 + rng.uniform(0, 0.06) * breadth * noise(rng, line.shape, rng.uniform(1.5, 4)))
    line = ndimage.gaussian_filter(line, rng.uniform(0.4, 0.7 + 0.5 * breadth)) + 0.35 * planes["metal"]
    scatter = rng.uniform(0.02, 0.35)
    light = np.exp(-np.clip(line, 0, 9)).astype(np.float32)
    coarse = ndimage.gaussian_filter(light[::4, ::4], rng.uniform(4, 14))
    veil = ndimage.zoom(coarse, 4, order=1, grid_mode=True, mode="nearest")[: line.shape[0], : line.shape[1]]
    value = -np.log(light + scatter * veil + 1e-4)
    grain = np.exp(rng.uniform(-6.2, -3.9)) * breadth * np.exp(0.5 * np.clip(value - np.median(value), -2, 2.5))
    mottle = rng.standard_normal(line.shape).astype(np.float32)
    if rng.random() < 0.5:
        mottle = 1.6 * ndimage.gaussian_filter(mottle, rng.uniform(0.4, 0.9))
    value = value + grain * mottle
    if rng.random() < 0.6:
        value = value + rng.uniform(0.2, 1.6) * (value - ndimage.gaussian_filter(value, rng.uniform(3, 30)))
    return _window(value.astype(np.float32), rng, breadth)


def _window(value: NDArray[np.float32], rng: np.random.Generator, breadth: float) -> NDArray[np.float32]:
    low, high = np.percentile(
        value[::3, ::3], [rng.uniform(0.2, 3 + 9 * breadth), rng.uniform(98.5 - 4 * breadth, 99.9)]
    )
    scaled = (value - low) / max(float(high - low), 1e-3)
    if rng.random() < 0.35:
        scaled = 1 / (1 + np.exp(-(scaled - rng.uniform(0.35, 0.6)) * rng.uniform(3.5, 7)))
    return np.asarray(np.clip(scaled, 0, 1) ** np.exp(rng.normal(0, 0.25 * breadth)), np.float32)


def collimate(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Darken beyond a random shutter; (rows, columns) in 0–1, dense tissue bright. The middle stays free."""
    rows, columns = image.shape
    out = np.full_like(image, rng.choice([0.0, 0.0, 0.03, 1.0]))
    top, bottom = round(rows * rng.uniform(0, 0.06)), round(rows * rng.uniform(0.94, 1))
    left, right = round(columns * rng.uniform(0, 0.1)), round(columns * rng.uniform(0.9, 1))
    out[top:bottom, left:right] = image[top:bottom, left:right]
    return out


def mark(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Stamp a side marker or an annotation near the edge; (rows, columns) in 0–1."""
    rows, columns = image.shape
    tile = Image.fromarray(image)
    text = "".join(rng.choice(list("LRABCXKV0123456789/"), rng.integers(1, 7)))
    place = rng.choice([0.03, 0.85]) * columns + rng.uniform(0, 0.05) * columns, rng.uniform(0.03, 0.9) * rows
    ImageDraw.Draw(tile).text(
        place,
        text,
        fill=float(rng.choice([1.0, 0.9, 0.0])),
        font=ImageFont.load_default(size=max(9, int(rows * rng.uniform(0.02, 0.06)))),
    )
    return np.asarray(tile)


def radiograph_phantom(seed: int, *, region: BodyRegion | None = None, columns_limit: int = 2400) -> RadiographPhantom:
    """A synthetic lateral radiograph with its truth; the same seed gives the same image.

    Args:
        seed: chooses everything, the region too unless it is given.
        region: "cervical" or "lumbar".
        columns_limit: upper limit of the longer side in pixels.

    Returns:
        The stored pixels (0.1–0.6 mm), how they are to be read, and the truth on the same grid.
    """
    rng = np.random.default_rng([seed, 20])
    region = region or ("cervical" if rng.random() < 0.5 else "lumbar")
    scene = draw_scene(rng, region, 800)
    pixel = float(np.clip(rng.choice([0.1, 0.143, 0.15, 0.175, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6]), 0.1, 0.6))
    factor = min(scene.layers.field.pixel_mm / pixel, columns_limit / 800)
    image = expose(scene.layers.planes, rng, breadth=0.6)
    image = ndimage.zoom(image, factor, order=1, grid_mode=True, mode="nearest")
    image += rng.uniform(0.001, 0.008) * rng.standard_normal(image.shape).astype(np.float32)
    labelmap = _zoom_labels(scene, image.shape)
    image = collimate(image, rng) if rng.random() < 0.5 else image
    image = mark(image, rng)
    facing: Facing = "left" if rng.random() < 0.6 else "right"
    if facing == "right":
        image, labelmap = image[:, ::-1], labelmap[:, ::-1]
    bits = int(rng.choice([8, 10, 12, 14]))
    dark_is_dense = bool(rng.random() < 0.3)
    stored = np.clip(1 - image if dark_is_dense else image, 0, 1) * (2**bits - 1)
    spacing = scene.layers.field.pixel_mm / factor
    at_detector = spacing * FOCUS_MM / (FOCUS_MM - DETECTOR_MM)
    values = [int(v) for v in np.unique(labelmap) if v]
    centroids = {}
    for value in values:
        y, x = ndimage.center_of_mass(labelmap == value)
        centroids[LEVELS[value - 1]] = (float(x), float(y))
    return RadiographPhantom(
        pixels=np.ascontiguousarray(np.round(stored).astype(np.uint16)),
        bits_stored=bits,
        photometric_interpretation="MONOCHROME1" if dark_is_dense else "MONOCHROME2",
        spacing_mm=(spacing, spacing),
        imager_spacing_mm=(at_detector, at_detector),
        body_region=region,
        facing=facing,
        labelmap=np.ascontiguousarray(labelmap),
        levels={value: LEVELS[value - 1] for value in values},
        centroids_px=centroids,
        landmarks_in_view=tuple(level for level in LANDMARKS if level in centroids),
        findings=scene.spine.findings,
    )


def _zoom_labels(scene: Scene, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Draw the truth's labelmap on the enlarged grid (nearest pixel; outlines are far smoother than a pixel)."""
    rows = np.minimum(
        (np.arange(shape[0]) + 0.5) * scene.labelmap.shape[0] / shape[0], scene.labelmap.shape[0] - 1
    ).astype(int)
    columns = np.minimum(
        (np.arange(shape[1]) + 0.5) * scene.labelmap.shape[1] / shape[1], scene.labelmap.shape[1] - 1
    ).astype(int)
    labelmap = scene.labelmap[np.ix_(rows, columns)]
    return np.where(labelmap == CUT, 0, labelmap).astype(np.uint8)
