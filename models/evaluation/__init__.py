"""Measures of a segmentation against its reference: arrays in, numbers out, in any number of dimensions.

Three steps, a module each, and what volumes need on top:

- `pairing`: which predicted structure answers for which reference structure, and with what overlap;
- `surfaces`: how far the two surfaces of such a pair lie apart;
- `summary`: what that says about an image, a level and a whole data set;
- `naming`: whether the names of a case are right, doubted or confidently wrong;
- `panoptic`: how well instances are recognised and outlined;
- `volumes`: the scores of a volume by kind of structure, and of a data set of volumes;
- `significance`: whether two sets of results on the same images differ.
"""

from models.evaluation.naming import Naming, count_namings, judge_naming, naming_sentence
from models.evaluation.pairing import IDENTIFIED_DICE, Pair, dice, pair_structures
from models.evaluation.panoptic import PanopticCounts, count_matches, total_counts
from models.evaluation.significance import PairedDifference, paired_difference
from models.evaluation.summary import (
    ImageScore,
    LevelSummary,
    StructureScore,
    Summary,
    score_image,
    summarise,
)
from models.evaluation.surfaces import SurfaceDistance, surface_distance
from models.evaluation.volumes import (
    BODY,
    CANAL,
    CANAL_WITH_CORD,
    CORD,
    DISC,
    END_PLATE,
    INSTANCE_KINDS,
    SACRUM,
    VERTEBRA,
    KindScore,
    KindSummary,
    LabelledVolume,
    VolumeScore,
    VolumesSummary,
    kind_of,
    parts_of,
    score_kind,
    sorted_kinds,
    split_kinds,
    summarise_volumes,
    take_kind,
)

__all__ = [
    "Naming",
    "count_namings",
    "judge_naming",
    "naming_sentence",
    "BODY",
    "CANAL",
    "CANAL_WITH_CORD",
    "CORD",
    "DISC",
    "END_PLATE",
    "IDENTIFIED_DICE",
    "INSTANCE_KINDS",
    "SACRUM",
    "VERTEBRA",
    "ImageScore",
    "KindScore",
    "KindSummary",
    "LabelledVolume",
    "LevelSummary",
    "Pair",
    "PairedDifference",
    "PanopticCounts",
    "StructureScore",
    "Summary",
    "SurfaceDistance",
    "VolumeScore",
    "VolumesSummary",
    "count_matches",
    "dice",
    "kind_of",
    "pair_structures",
    "paired_difference",
    "parts_of",
    "score_image",
    "score_kind",
    "sorted_kinds",
    "split_kinds",
    "summarise",
    "summarise_volumes",
    "surface_distance",
    "take_kind",
    "total_counts",
]
