"""Which engine takes a Series: rules as data, a decision and a sentence for each Series.

The rules stand in `manifests/routes.yaml`, where their form is explained. What a rule cannot know is which packs are
installed: a Series whose engine has no pack that accepts it is skipped with a sentence that says so.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, get_args

import yaml
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence

from models.contracts import BodyRegion, MrContrast
from models.errors import SpondylError
from operators.dicom.body_region import DESCRIPTIONS, body_region
from operators.dicom.mr_acquisition import find_value, plane
from operators.dicom.series import SourceSeries

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
RULES_FILE, CONTRASTS_FILE = MANIFESTS / "routes.yaml", MANIFESTS / "mr_contrasts.yaml"
DERIVED: Mapping[str, Callable[[Dataset], str]] = {
    "BodyRegion": lambda dataset: body_region(dataset) or "none",
    "Descriptions": lambda dataset: "\\".join(str(dataset.get(keyword) or "") for keyword in DESCRIPTIONS),
    "Plane": lambda dataset: plane(dataset) or "none",
    "Contrast": lambda dataset: mr_contrast(dataset),  # noqa: PLW0108 - defined below
}
TESTS = ("matches", "unless", "at_least", "at_most", "present")
PLACEHOLDERS = (
    *("modality", "sop_class", "view", "body_part", "region", "rows", "columns", "frames", "image_type"),
    *("component", "plane", "contrast", "thickness"),
)
CONTRAST_WORDS: Mapping[MrContrast, str] = {"T2w": "T2w", "T1w": "T1w", "STIR": "STIR", "other": "otherwise weighted"}


class RoutesError(SpondylError):
    """The routing rules cannot be used; the message names the file, the rule and the fault."""


class RoutablePack(Protocol):
    """What routing needs to know of a model pack."""

    @property
    def name(self) -> str:
        """Name of the pack."""

    @property
    def engine(self) -> str:
        """The engine that runs it: `spinefm`, `spineps`."""

    @property
    def accepts(self) -> Mapping[str, Sequence[str]]:
        """What it takes: `modality`, `body_region`, `plane`, `contrast` → values; a missing key accepts any."""


@dataclass(frozen=True)
class Condition:
    """A condition on one attribute; every part that is given must hold."""

    keyword: str
    any_of: tuple[str, ...] = ()
    matches: re.Pattern[str] | None = None
    unless: re.Pattern[str] | None = None
    at_least: float | None = None
    at_most: float | None = None
    present: bool | None = None

    def holds(self, dataset: Dataset) -> bool:
        """Tell whether a data set meets the condition; an absent attribute has no values."""
        values = _values(dataset, self.keyword)
        text = "\\".join(values)
        numbers = [number for value in values if (number := _number(value)) is not None]
        return (
            (not self.any_of or any(value.upper() in self.any_of for value in values))
            and (self.matches is None or bool(self.matches.search(text)))
            and (self.unless is None or not self.unless.search(text))
            and (self.at_least is None or any(number >= self.at_least for number in numbers))
            and (self.at_most is None or any(number <= self.at_most for number in numbers))
            and (self.present is None or self.present == bool(text))
        )


@dataclass(frozen=True)
class Rule:
    """When all conditions hold, `engine` takes the Series, or none where it is None; `sentence` says why."""

    name: str
    conditions: tuple[Condition, ...]
    engine: str | None
    sentence: str

    def matches(self, dataset: Dataset) -> bool:
        """Tell whether every condition holds."""
        return all(condition.holds(dataset) for condition in self.conditions)


@dataclass(frozen=True)
class ContrastRule:
    """When all conditions hold, an MR Series has this contrast."""

    name: str
    conditions: tuple[Condition, ...]
    contrast: MrContrast


@dataclass(frozen=True)
class RoutingDecision:
    """What becomes of a Series.

    engine, pack: names; both None where the Series is skipped.
    reason: the sentence for the report; begins with `skipped: ` where it is.
    body_region: what the header names.
    rule: the name of the rule that decided.
    contrast: of an MR Series, else None.
    """

    engine: str | None
    pack: str | None
    reason: str
    body_region: BodyRegion | None
    rule: str
    contrast: MrContrast | None = None

    @property
    def decision(self) -> str:
        """The engine, or `skipped`."""
        return self.engine or "skipped"


def load_rules(file: Path = RULES_FILE) -> tuple[Rule, ...]:
    """Read and check the rules.

    Raises:
        RoutesError: the file is missing or a rule is malformed.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        rules = tuple(_rule(entry) for entry in content["rules"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, re.error) as error:
        raise RoutesError(f"{file}: {error}; see the head of manifests/routes.yaml for the form of a rule") from error
    if not rules or rules[-1].conditions:
        raise RoutesError(f"{file}: the last rule must have no conditions, so that every series gets a decision")
    return rules


def route(
    series: SourceSeries,
    rules: Sequence[Rule],
    packs: Iterable[RoutablePack],
    *,
    preferred: Sequence[str] = (),
    header: Dataset | None = None,
) -> RoutingDecision:
    """Decide on a Series by one header.

    Args:
        series: the Series; a radiograph is routed by itself (`SeriesFiles.views`).
        rules: from `load_rules`; the first that matches decides.
        packs: the installed packs.
        preferred: names of packs: the first of them that accepts the Series, else the first pack by name.
        header: what decides; None takes that of the first instance.
    """
    dataset = series.datasets[0] if header is None else header
    rule = next(rule for rule in rules if rule.matches(dataset))
    region = body_region(dataset)
    contrast = mr_contrast(dataset) if series.modality == "MR" else None
    sentence = rule.sentence.format(**_facts(dataset))
    if rule.engine is None:
        return RoutingDecision(None, None, f"skipped: {sentence}", region, rule.name, contrast)
    of_engine = sorted((pack for pack in packs if pack.engine == rule.engine), key=lambda pack: pack.name)
    wanted = {"modality": series.modality, "body_region": region, "contrast": contrast, "plane": plane(dataset)}
    fitting = [pack.name for pack in of_engine if _accepts(pack, wanted)]
    if not fitting:
        offers = "; ".join(_offer(pack) for pack in of_engine)
        reason = f"skipped: {sentence}; no installed pack takes it" + (f" ({offers})" if offers else "")
        return RoutingDecision(None, None, reason, region, rule.name, contrast)
    name = next((name for name in preferred if name in fitting), fitting[0])
    return RoutingDecision(rule.engine, name, sentence, region, rule.name, contrast)


@cache
def load_contrasts(file: Path = CONTRASTS_FILE) -> tuple[ContrastRule, ...]:
    """Read and check the rules that tell contrasts apart.

    Raises:
        RoutesError: the file is missing or a rule is malformed.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        rules = tuple(_contrast_rule(entry) for entry in content["rules"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, re.error) as error:
        raise RoutesError(f"{file}: {error}; see its head for the form of a rule") from error
    if not rules or rules[-1].conditions:
        raise RoutesError(f"{file}: the last rule must have no conditions, so that every series has a contrast")
    return rules


def mr_contrast(dataset: Dataset) -> MrContrast:
    """Return the contrast of an MR Series by the header of its first instance."""
    rules = load_contrasts()
    return next(rule for rule in rules if all(condition.holds(dataset) for condition in rule.conditions)).contrast


def _contrast_rule(entry: Mapping[str, Any]) -> ContrastRule:
    name, contrast = str(entry["name"]), entry["contrast"]
    if contrast not in get_args(MrContrast):
        raise ValueError(f"rule {name!r}: {contrast!r} is no contrast; there are {', '.join(get_args(MrContrast))}")
    return ContrastRule(name, tuple(_condition(keyword, test) for keyword, test in entry["when"].items()), contrast)


def _accepts(pack: RoutablePack, wanted: Mapping[str, str | None]) -> bool:
    return all(value is None or value in pack.accepts.get(key, (value,)) for key, value in wanted.items())


def _offer(pack: RoutablePack) -> str:
    modalities, regions = pack.accepts.get("modality", ("any modality",)), pack.accepts.get("body_region", ("whole",))
    contrasts = f"{'/'.join(pack.accepts['contrast'])} " if "contrast" in pack.accepts else ""
    return f"{pack.name} takes {contrasts}{', '.join(modalities)} of the {' or '.join(regions)} spine"


def _rule(entry: Mapping[str, Any]) -> Rule:
    name = str(entry["name"])
    if unknown := set(entry) - {"name", "when", "engine", "because", "skip"}:
        raise ValueError(f"rule {name!r}: {', '.join(sorted(unknown))} means nothing")
    if ("skip" in entry) == ("engine" in entry) or ("engine" in entry) != ("because" in entry):
        raise ValueError(f"rule {name!r} needs either `skip`, or `engine` with `because`")
    sentence = str(entry["because"] if "engine" in entry else entry["skip"])
    try:
        sentence.format(**dict.fromkeys(PLACEHOLDERS, ""))
        conditions = tuple(_condition(keyword, test) for keyword, test in entry["when"].items())
    except (KeyError, ValueError, IndexError, re.error) as error:
        raise ValueError(f"rule {name!r}: {error}") from error
    return Rule(name, conditions, entry.get("engine"), sentence)


def _condition(keyword: str, test: Any) -> Condition:
    if keyword not in DERIVED and tag_for_keyword(keyword) is None:
        raise ValueError(f"{keyword} is no DICOM keyword")
    if not isinstance(test, Mapping):
        values = test if isinstance(test, list) else [test]
        return Condition(keyword, any_of=tuple(str(value).upper() for value in values))
    if unknown := set(test) - set(TESTS):
        raise ValueError(f"{', '.join(sorted(map(str, unknown)))} is no test; there are {', '.join(TESTS)}")
    patterns = {key: re.compile(test[key], re.IGNORECASE) for key in ("matches", "unless") if key in test}
    return Condition(keyword, **{**test, **patterns})


def _values(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of an attribute as text; of a sequence, the Code Value of each item."""
    if keyword in DERIVED:
        return (DERIVED[keyword](dataset),)
    value = find_value(dataset, keyword)
    if isinstance(value, DicomSequence):
        return tuple(str(item.get("CodeValue") or "").strip() for item in value)
    if value is None:
        return ()
    values = value if isinstance(value, MultiValue) else (value,)
    return tuple(str(part).strip() for part in values)


def _number(text: str) -> float | None:
    """Return a Decimal or Integer String as a number, exponents and all; None for anything else."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _facts(dataset: Dataset) -> dict[str, str]:
    """Return what a sentence may quote: coded and numeric attributes only, never free text."""

    def code_meaning(keyword: str) -> str:
        items = find_value(dataset, keyword)
        return str(items[0].get("CodeMeaning") or "") if isinstance(items, DicomSequence) else ""

    uid = dataset.get("SOPClassUID")
    thickness = _number(next(iter(_values(dataset, "SliceThickness")), ""))
    part = code_meaning("AnatomicRegionSequence") or str(dataset.get("BodyPartExamined") or "")
    return {
        "modality": str(dataset.get("Modality") or "an object without Modality"),
        "sop_class": uid.name if uid else "an unknown SOP class",
        "view": code_meaning("ViewCodeSequence") or str(dataset.get("ViewPosition") or "unknown"),
        "body_part": part.lower() or "body",
        "region": body_region(dataset) or "unknown part of the",
        "rows": str(dataset.get("Rows", "?")),
        "columns": str(dataset.get("Columns", "?")),
        "frames": str(dataset.get("NumberOfFrames") or 1),
        "image_type": "\\".join(_values(dataset, "ImageType")),
        "component": "\\".join(_values(dataset, "ComplexImageComponent")).lower(),
        "plane": plane(dataset) or "no plane",
        "contrast": CONTRAST_WORDS[mr_contrast(dataset)] if dataset.get("Modality") == "MR" else "",
        "thickness": "slices of unknown thickness" if thickness is None else f"{thickness:.1f} mm slices",
    }
