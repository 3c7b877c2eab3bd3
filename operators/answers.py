"""What an engine answered for a Series, complete with what it looked at: the writers need nothing else."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.contracts import RadiographImage, RadiographResult, SpineVolume, VolumeResult
from models.spinefm.morphometry import SpineMorphometry
from models.spineps.morphometry import VolumeMorphometry
from operators.dicom.identity import AlgorithmIdentity
from operators.dicom.upright_view import UprightView
from operators.dicom.volume import SliceStack


@dataclass(frozen=True)
class RadiographAnswer:
    """SpineFM on a radiograph.

    source: the one instance.
    image: what the engine looked at: upright, with square pixels.
    view_labelmap: (rows, columns) of that image; Segment Number per pixel.
    result: on the grid of the source.
    spacing_mm: calibrated (row, column) spacing of the source, or None; spacing_source: where it comes from, in words.
    """

    source: tuple[Dataset, ...]
    image: RadiographImage
    view: UprightView
    view_labelmap: NDArray[np.uint16]
    result: RadiographResult
    morphometry: SpineMorphometry
    algorithm: AlgorithmIdentity
    spacing_mm: tuple[float, float] | None
    spacing_source: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class VolumeAnswer:
    """SPINEPS on an MR Series. stack: the frames that were segmented; notes: about what was not taken, and why."""

    stack: SliceStack
    volume: SpineVolume
    result: VolumeResult
    morphometry: VolumeMorphometry
    algorithm: AlgorithmIdentity
    notes: tuple[str, ...] = ()


Answer: TypeAlias = RadiographAnswer | VolumeAnswer
