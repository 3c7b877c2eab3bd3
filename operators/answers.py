"""What an engine answered for a Series, complete with what it looked at: the writers need nothing else."""

from dataclasses import dataclass
from typing import TypeAlias

from pydicom.dataset import Dataset

from models.contracts import RadiographImage, RadiographResult, SpineVolume, VolumeResult
from models.spinefm.morphometry import SpineMorphometry
from models.spineps.morphometry import VolumeMorphometry
from operators.dicom.identity import AlgorithmIdentity
from operators.dicom.volume import SliceStack


@dataclass(frozen=True)
class RadiographAnswer:
    """SpineFM on a radiograph. source: the one instance; spacing_source: a sentence on where millimetres come from."""

    source: tuple[Dataset, ...]
    image: RadiographImage
    result: RadiographResult
    morphometry: SpineMorphometry
    algorithm: AlgorithmIdentity
    spacing_source: str


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
