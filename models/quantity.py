"""Values with their units, and the angles between end-plates that both engines measure."""

from dataclasses import dataclass
from typing import Literal

Unit = Literal["mm", "mm2", "mm3", "px", "px2", "deg", "ratio", "percent", "count"]


@dataclass(frozen=True)
class Quantity:
    """A measured value with its unit."""

    value: float
    unit: Unit


@dataclass(frozen=True)
class Lordosis:
    """The angle between an end-plate of the upper and one of the lower level, positive where the spine is lordotic."""

    upper_level: str
    lower_level: str
    angle: Quantity
