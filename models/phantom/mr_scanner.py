"""What a scanner makes of tissues: signals, partial volume, coil shading, ghosts, blur and Rician noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.contracts import MrContrast
from models.phantom.mr_surroundings import resized
from models.phantom.mr_tissues import Tissue, draw_signals

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Tissues:
    """What there is to scan.

    tissue, vertebra: (slices, planes, rows, columns) uint8: the planes of a slice are averaged by the scanner.
    slice_mm: distance between slices; pixel_mm: (row, column).
    """

    tissue: NDArray[np.uint8]
    vertebra: NDArray[np.uint8]
    slice_mm: float
    pixel_mm: tuple[float, float]


def scan(tissues: Tissues, rng: np.random.Generator, contrast: MrContrast) -> Volume:
    """Make an image of tissues.

    Args:
        tissues: what lies where.
        rng: the only source of chance.
        contrast: of the sequence; "other" has random signals.

    Returns:
        (slices, rows, columns) float32, not negative, tissue about 0–1.
    """
    signals = draw_signals(rng, contrast)
    per_vertebra = np.exp(rng.normal(0, rng.uniform(0, 0.14), 256)).astype(np.float32)
    table = np.repeat(signals[:, None], 256, 1)
    for tissue in (Tissue.MARROW, Tissue.SACRAL_MARROW):
        table[tissue] *= per_vertebra
    table[Tissue.NUCLEUS] *= np.exp(rng.normal(0, 0.25, 256)).astype(np.float32)
    texture = np.exp(rng.uniform(-3.5, -1.9)) * rng.uniform(0.3, 2, len(Tissue)).astype(np.float32)
    grain = rng.uniform(0.5, 1.8)
    slices, _, rows, columns = tissues.tissue.shape
    image = np.empty((slices, rows, columns), np.float32)
    for index in range(slices):
        plane = np.zeros((rows, columns), np.float32)
        rough = np.zeros((rows, columns), np.float32)
        for tissue, vertebra in zip(tissues.tissue[index], tissues.vertebra[index], strict=True):
            value = table[tissue, vertebra % 100]
            plane += value
            rough += value * texture[tissue]
        noise = ndimage.gaussian_filter(rng.standard_normal((rows, columns)).astype(np.float32), grain)
        image[index] = (plane + rough * noise / (noise.std() + 1e-6)) / tissues.tissue.shape[1]
    return _receive(image, tissues, rng)


def _receive(image: Volume, tissues: Tissues, rng: np.random.Generator) -> Volume:
    """Blur, shading, ghosts and noise."""
    if rng.random() < 0.25:  # chemical shift along the rows
        shift = int(rng.integers(-1, 2))
        image = image + np.float32(0.2) * (np.roll(image, shift, 1) - image)
    blur = rng.uniform(0.3, 1.0, 2) / np.clip(tissues.pixel_mm, 0.5, 1.2)
    if rng.random() < 0.12:
        blur = blur + rng.uniform(0, 0.9, 2)
    image = ndimage.gaussian_filter(image, (0, *np.clip(blur, 0.25, 1.7)))
    image = np.asarray(image * shading(image.shape, tissues, rng), np.float32)
    if rng.random() < 0.25:
        axis, step, strength = int(rng.integers(1, 3)), int(rng.integers(12, 80)), rng.uniform(0.02, 0.09)
        doubled = np.roll(image, step, axis) + np.float32(0.7) * np.roll(image, -step, axis)
        image = np.asarray(image + strength * doubled, np.float32)
    image = image / (np.percentile(image[:, ::2, ::2], 98) + 1e-6)
    if rng.random() < 0.3:
        image = image + np.float32(rng.uniform(0.2, 0.9)) * (image - ndimage.gaussian_filter(image, (0, 1.2, 1.2)))
    level = rng.uniform(0.0, 0.06) * (1 if rng.random() < 0.8 else 2)
    real, imaginary = (level * rng.standard_normal(image.shape).astype(np.float32) for _ in range(2))
    image = np.sqrt((np.maximum(image, 0) + real) ** 2 + imaginary**2)
    top = rng.uniform(0.9, 1.7)
    return np.asarray(np.clip(image, 0, top) ** rng.uniform(0.8, 1.25), np.float32)


def shading(shape: tuple[int, ...], tissues: Tissues, rng: np.random.Generator) -> Volume:
    """A smooth bias field times the fall-off of a surface coil in the table, (slices, rows, columns) about 1."""
    slices, rows, columns = shape
    coarse = rng.standard_normal((2, 4, 4)).astype(np.float32) * np.float32(rng.uniform(0, 0.35))
    ends = [np.exp(resized(plane, (rows, columns))) for plane in coarse]
    share = np.linspace(0, 1, slices, dtype=np.float32)[:, None, None]
    field = ends[0] * (1 - share) + ends[1] * share
    if rng.random() < 0.7:
        u = np.arange(columns, dtype=np.float32) * tissues.pixel_mm[1]
        coil = u.max() * rng.uniform(0.72, 0.95)
        falloff = np.exp(-np.abs(u - coil) / rng.uniform(60, 260)) + rng.uniform(0.05, 0.4)
        field = field * (falloff / falloff.max())[None, None, :].astype(np.float32)
    if rng.random() < 0.3:
        v = (np.arange(rows, dtype=np.float32) / rows - rng.uniform(0.3, 0.7)) * rng.uniform(0.8, 2.4)
        field = field * np.exp(-(v**2))[None, :, None]
    return np.asarray(field, np.float32)
