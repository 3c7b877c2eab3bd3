"""Preparation of a volume for the semantic network: range, bias field, padding; each step is the pack's to switch.

Source: Möller et al., "SPINEPS" (European Radiology 2024); Tustison et al., "N4ITK" (IEEE TMI 2010).
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.spineps.frame import Spacing

Volume = NDArray[np.float32]
TOP = 1500.0  # of the range that intensities are brought down to; weaker volumes keep theirs
FOREGROUND = 60.0  # what a voxel needs to count for the bias field
SPLINE_MM = 100.0  # between the control points of the bias field
SHRINK = 4  # the field is smooth: it is estimated on every fourth voxel and evaluated on all
ITERATIONS = (50, 50, 50, 50)
_ITK_THREADS = threading.Lock()


@dataclass(frozen=True)
class Preparation:
    """normalise: bring down to 0–1500; bias_correction: N4 before it; padding: voxels on each side, of the minimum."""

    normalise: bool = True
    bias_correction: bool = True
    padding: int = 4

    @staticmethod
    def of(settings: Mapping[str, Any]) -> "Preparation":
        """From the `preparation` of a pack's semantic entry; published packs have none and take every step."""
        return Preparation(**settings.get("preparation", {}))


def prepare(image: Volume, spacing: Spacing, steps: Preparation) -> Volume:
    """(P, I, R) → the same grid with `padding` voxels more on each side."""
    if steps.normalise:
        image = to_range(image)
    if steps.bias_correction:
        image = without_bias_field(image, spacing)
        image = to_range(image) if steps.normalise else image
    return np.pad(image, steps.padding, constant_values=float(image.min())) if steps.padding else image


def to_range(image: Volume) -> Volume:
    """Shift the minimum to 0 and scale the maximum down to 1500."""
    image = image - image.min()
    top = float(image.max())
    return image * np.float32(TOP / top) if top > TOP else image


@contextmanager
def _on_one_processor() -> Iterator[None]:
    """Let ITK use one thread: its sums follow their number, and one UID must have one content on every machine.

    Filters inside N4 heed the process' default only.
    """
    import SimpleITK  # noqa: PLC0415 - see without_bias_field

    with _ITK_THREADS:
        usual = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        try:
            yield
        finally:
            SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(usual)


def without_bias_field(image: Volume, spacing: Spacing) -> Volume:
    """Divide by the bias field of N4, estimated where there is foreground; outside its box nothing changes."""
    import SimpleITK  # noqa: PLC0415 - only packs that switch this step on pay for the import

    seen = [np.flatnonzero((image >= FOREGROUND).any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if any(len(along) == 0 for along in seen):
        return image
    box = tuple(slice(int(along[0]), int(along[-1]) + 1) for along in seen)
    whole = SimpleITK.GetImageFromArray(np.ascontiguousarray(image[box]))
    whole.SetSpacing(spacing[::-1])
    size = whole.GetSize()
    small = SimpleITK.Shrink(whole, [SHRINK if n >= 2 * SHRINK else 1 for n in size])
    spans = [max(1, int(np.ceil(n * mm / SPLINE_MM))) for n, mm in zip(size, spacing[::-1], strict=True)]
    with _on_one_processor():
        n4 = SimpleITK.N4BiasFieldCorrectionImageFilter()
        n4.SetMaximumNumberOfIterations(ITERATIONS)
        n4.SetConvergenceThreshold(1e-7)
        n4.SetNumberOfControlPoints([span + 3 for span in spans])
        n4.Execute(small)
        field = SimpleITK.GetArrayFromImage(SimpleITK.Exp(n4.GetLogBiasFieldAsImage(whole)))
    corrected = image.copy()
    corrected[box] /= field
    return corrected
