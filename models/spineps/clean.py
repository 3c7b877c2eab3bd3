"""What the semantic phase leaves behind is cleaned: specks, what lies apart from the spine, holes.

Volumes are in mm³ and lengths in mm: the published counts of voxels at the reference spacing of 0.75×0.75×1.65 mm.
Source: Möller et al., "SPINEPS" (European Radiology 2024), post-processing of the first phase.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.spineps.frame import Spacing

Labels = NDArray[np.uint8]
REFERENCE_MM = (0.75, 0.75, 1.65)
VOXEL_MM3 = float(np.prod(REFERENCE_MM))
SPECK_MM3 = 30 * VOXEL_MM3
MARGIN_MM = 4 * min(REFERENCE_MM)
SPECKLED = (41, 42, 43, 44, 45, 46, 47, 48, 49, 61, 100)
HOLLOW = (49, 61, 100, 60)
FACES, ALL = ndimage.generate_binary_structure(3, 1), ndimage.generate_binary_structure(3, 3)
Box = tuple[slice, slice, slice]


def voxels_of(volume_mm3: float, spacing: Spacing) -> int:
    """A volume as a number of voxels, at least one."""
    return max(1, round(volume_mm3 / float(np.prod(spacing))))


def clean_subregions(labels: Labels, spacing: Spacing) -> Labels:
    """(P, I, R) in SPINEPS' labels → the same, cleaned."""
    labels = without_specks(labels, SPECKLED, voxels_of(SPECK_MM3, spacing))
    return fill_holes(without_outliers(labels, spacing), HOLLOW)


def without_specks(labels: Labels, of: tuple[int, ...], least: int) -> Labels:
    """Delete components of a structure with fewer than `least` voxels; voxels touch by their faces."""
    cleaned = labels.copy()
    boxes = ndimage.find_objects(labels)
    for label in of:
        box = boxes[label - 1] if label <= len(boxes) else None
        if box is None:
            continue
        components, _ = ndimage.label(labels[box] == label, FACES)
        small = np.bincount(components.ravel()) < least
        small[0] = False
        cleaned[box][small[components]] = 0
    return cleaned


def without_outliers(labels: Labels, spacing: Spacing) -> Labels:
    """Keep the largest component, and what its surroundings reach along the spine from part to part."""
    components, count = ndimage.label(labels > 0, ALL)
    if count < 2:
        return labels
    margin = int(np.ceil(MARGIN_MM / min(spacing)))
    boxes = [_grown(box, margin, labels.shape) for box in ndimage.find_objects(components)]
    kept = [int(np.bincount(components.ravel())[1:].argmax())]
    changed = True
    while changed:
        changed = False
        for number in sorted(set(range(count)) - set(kept)):
            if any(_touch(boxes[known], boxes[number], margin) for known in kept):
                kept.append(number)
                changed = True
    keep = np.zeros(count + 1, bool)
    keep[[number + 1 for number in kept]] = True
    return np.where(keep[components], labels, 0).astype(labels.dtype)


def _grown(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    p, i, r = (slice(max(0, s.start - margin), min(n, s.stop + margin)) for s, n in zip(box, shape, strict=True))
    return p, i, r


def _touch(known: Box, other: Box, margin: int) -> bool:
    """Whether boxes overlap; along the spine (I) a gap of the margin is allowed."""
    slack = (0, margin, 0)
    return all(a.start - s < b.stop and b.start < a.stop + s for a, b, s in zip(known, other, slack, strict=True))


def fill_holes(labels: Labels, of: tuple[int, ...]) -> Labels:
    """Fill what a structure encloses on all sides, where no other structure lies."""
    filled = labels.copy()
    boxes = ndimage.find_objects(labels)
    for label in of:
        box = boxes[label - 1] if label <= len(boxes) else None
        if box is None:
            continue
        inside = ndimage.binary_fill_holes(labels[box] == label)
        part = filled[box]
        part[inside & (part == 0)] = label
    return filled
