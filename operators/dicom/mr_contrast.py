"""Which contrast an MR Series has: rules as data, in `manifests/mr_contrasts.yaml`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args

import yaml
from pydicom.dataset import Dataset

from models.contracts import MrContrast
from operators.dicom.conditions import (
    MANIFESTS,
    Condition,
    DerivedAttributes,
    RoutesError,
    conditions,
    read_rules,
)
from operators.dicom.mr_times import PLAUSIBLE_MS, acquisition_time, time_told_in_seconds

CONTRASTS_FILE = MANIFESTS / "mr_contrasts.yaml"
TIMES: DerivedAttributes = {
    **{keyword: partial(acquisition_time, keyword=keyword) for keyword in PLAUSIBLE_MS},
    **{f"{keyword}InSeconds": partial(time_told_in_seconds, keyword=keyword) for keyword in PLAUSIBLE_MS},
}


@dataclass(frozen=True)
class ContrastRule:
    """When all conditions hold, an MR Series has this contrast."""

    name: str
    conditions: tuple[Condition, ...]
    contrast: MrContrast


@cache
def load_contrasts(file: Path = CONTRASTS_FILE) -> tuple[ContrastRule, ...]:
    """Read and check the rules that tell contrasts apart.

    Raises:
        RoutesError: the file is missing or a rule is malformed.
    """
    try:
        rules = tuple(_rule(entry) for entry in read_rules(file))
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, re.error) as error:
        raise RoutesError(f"{file}: {error}; see its head for the form of a rule") from error
    if not rules or rules[-1].conditions:
        raise RoutesError(f"{file}: the last rule must have no conditions, so that every series has a contrast")
    return rules


def mr_contrast(dataset: Dataset) -> MrContrast:
    """Return the contrast that a header of MR tells."""
    return _deciding(dataset).contrast


def contrast_is_told(dataset: Dataset) -> bool:
    """Tell whether anything in a header of MR speaks of its contrast."""
    return bool(_deciding(dataset).conditions)


def _deciding(dataset: Dataset) -> ContrastRule:
    return next(rule for rule in load_contrasts() if all(condition.holds(dataset) for condition in rule.conditions))


def _rule(entry: Mapping[str, Any]) -> ContrastRule:
    name, contrast = str(entry["name"]), entry["contrast"]
    if contrast not in get_args(MrContrast):
        raise ValueError(f"rule {name!r}: {contrast!r} is no contrast; there are {', '.join(get_args(MrContrast))}")
    return ContrastRule(name, conditions(entry["when"], TIMES), contrast)
