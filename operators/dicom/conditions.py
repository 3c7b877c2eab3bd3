"""Conditions on DICOM attributes, as the rules in `manifests/` state them; their form is explained in routes.yaml."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from models.errors import SpondylError
from operators.dicom.mr_acquisition import find_value, values_in

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
TESTS = ("matches", "unless", "at_least", "at_most", "present")

# A word that is no DICOM keyword → how it is worked out from a header.
DerivedAttributes = Mapping[str, Callable[[Dataset], str]]


class RoutesError(SpondylError):
    """The routing rules cannot be used; the message names the file, the rule and the fault."""


@dataclass(frozen=True)
class Condition:
    """A condition on one attribute; every part that is given must hold.

    read: the values of the attribute in a header, as text; an absent attribute has none.
    """

    keyword: str
    read: Callable[[Dataset], tuple[str, ...]]
    any_of: tuple[str, ...] = ()
    matches: re.Pattern[str] | None = None
    unless: re.Pattern[str] | None = None
    at_least: float | None = None
    at_most: float | None = None
    present: bool | None = None

    def holds(self, dataset: Dataset) -> bool:
        """Tell whether a header meets the condition."""
        values = self.read(dataset)
        text = "\\".join(values)
        numbers = [value for value in map(number, values) if value is not None]
        return (
            (not self.any_of or any(value.upper() in self.any_of for value in values))
            and (self.matches is None or bool(self.matches.search(text)))
            and (self.unless is None or not self.unless.search(text))
            and (self.at_least is None or any(value >= self.at_least for value in numbers))
            and (self.at_most is None or any(value <= self.at_most for value in numbers))
            and (self.present is None or self.present == bool(text))
        )


def conditions(when: Mapping[str, Any], derived: DerivedAttributes) -> tuple[Condition, ...]:
    """Return the conditions of a rule; all must hold.

    Raises:
        ValueError: a keyword or a test means nothing.
    """
    return tuple(_condition(keyword, test, derived) for keyword, test in when.items())


def read_rules(file: Path) -> list[Mapping[str, Any]]:
    """Return the entries of a file of rules.

    Raises:
        OSError, yaml.YAMLError, KeyError, TypeError: there are none to read.
    """
    return list(yaml.safe_load(file.read_text(encoding="utf-8"))["rules"])


def values_of(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of an attribute as text; of a sequence, the Code Value of each item."""
    value = find_value(dataset, keyword)
    if isinstance(value, Sequence):
        return tuple(str(item.get("CodeValue") or "").strip() for item in value)
    if value is None:
        return ()
    return tuple(str(part).strip() for part in values_in(value))


def number(text: str) -> float | None:
    """Return a Decimal or Integer String as a number, exponents and all; None for anything else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _condition(keyword: str, test: Any, derived: DerivedAttributes) -> Condition:
    if keyword not in derived and tag_for_keyword(keyword) is None:
        raise ValueError(f"{keyword} is no DICOM keyword")
    read = _reader(keyword, derived)
    if not isinstance(test, Mapping):
        values = test if isinstance(test, list) else [test]
        return Condition(keyword, read, any_of=tuple(str(value).upper() for value in values))
    if unknown := set(test) - set(TESTS):
        raise ValueError(f"{', '.join(sorted(map(str, unknown)))} is no test; there are {', '.join(TESTS)}")
    patterns = {key: re.compile(test[key], re.IGNORECASE) for key in ("matches", "unless") if key in test}
    return Condition(keyword, read, **{**test, **patterns})


def _reader(keyword: str, derived: DerivedAttributes) -> Callable[[Dataset], tuple[str, ...]]:
    derive = derived.get(keyword)
    return (lambda dataset: (derive(dataset),)) if derive else (lambda dataset: values_of(dataset, keyword))
