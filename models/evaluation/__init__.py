"""Measures of a segmentation against its reference: arrays in, numbers out, in any number of dimensions.

Three steps, a module each:

- `pairing`: which predicted structure answers for which reference structure, and with what overlap;
- `surfaces`: how far the two surfaces of such a pair lie apart;
- `summary`: what that says about an image, a level and a whole data set.
"""

from models.evaluation.pairing import IDENTIFIED_DICE, Pair, dice, pair_structures
from models.evaluation.summary import (
    ImageScore,
    LevelSummary,
    StructureScore,
    Summary,
    score_image,
    summarise,
)
from models.evaluation.surfaces import SurfaceDistance, surface_distance

__all__ = [
    "IDENTIFIED_DICE",
    "ImageScore",
    "LevelSummary",
    "Pair",
    "StructureScore",
    "Summary",
    "SurfaceDistance",
    "dice",
    "pair_structures",
    "score_image",
    "summarise",
    "surface_distance",
]
