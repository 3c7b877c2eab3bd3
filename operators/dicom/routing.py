"""Which engine takes a Series: rules as data, a decision and a sentence for each Series.

The rules stand in `manifests/routes.yaml`, where their form is explained. What a rule cannot know is which packs are
installed: a Series whose engine has no pack that accepts it is skipped with a sentence that says so.
"""

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import yaml
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset
from pydicom.uid import UID

from models.contracts import BodyRegion, MrContrast
from operators.dicom.body_region import DESCRIPTIONS, body_part, body_region, described_part, other_body_part
from operators.dicom.conditions import (
    MANIFESTS,
    Condition,
    DerivedAttributes,
    RoutesError,
    conditions,
    number,
    read_rules,
    values_of,
)
from operators.dicom.mr_acquisition import plane
from operators.dicom.mr_contrast import contrast_is_told, mr_contrast
from operators.dicom.mr_frames import COMPONENTS
from operators.dicom.series import SourceSeries

RULES_FILE = MANIFESTS / "routes.yaml"
DERIVED: DerivedAttributes = {
    "BodyRegion": lambda dataset: body_region(dataset) or "none",
    "BodyPart": body_part,
    "DescribedPart": described_part,
    "Descriptions": lambda dataset: "\\".join(str(dataset.get(keyword) or "") for keyword in DESCRIPTIONS),
    "Plane": lambda dataset: plane(dataset) or "none",
    "Contrast": mr_contrast,
}

# What a sentence may quote of a header besides the codes of `_code_meanings`.
VIEW_POSITIONS = frozenset(
    ("AP", "PA", "LL", "RL", "LAT", "LATERAL", "RLD", "LLD", "RLO", "LLO", "RAO", "LAO", "RPO", "LPO")
    + ("OBL", "OBLIQUE", "FRONTAL", "AX", "AXIAL", "OM")
)
IMAGE_TYPES = COMPONENTS | {
    *("ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "LOCALIZER", "AXIAL", "OTHER", "NONE", "NORM", "ND", "DIXON"),
    *("MPR", "CPR", "REFORMATTED", "CSA MPR", "RESAMPLED", "MIP", "MINIP", "PROJECTION IMAGE", "COMPOSED", "VRT"),
    *("SCREENSAVE", "SUBTRACTION", "SUB", "DIFFUSION", "PERFUSION", "VELOCITY", "MAGNITUDE", "MIXED", "TRACE", "SWI"),
    *("T1_MAP", "T2_MAP", "T2_STAR_MAP", "FAT_FRACTION", "WATER_FRACTION", "FF", "PDFF", "REPORT", "GRAPHICS"),
}
PLACEHOLDERS = (
    *("modality", "sop_class", "view", "body_part", "region", "rows", "columns", "frames", "image_type"),
    *("component", "plane", "contrast", "thickness"),
)
TOLD_AT_ONCE = ("Modality", "Manufacturer", "SOPClassUID")  # what a gateway reads of an instance
CONTRAST_ADVICE = "; put T1, T2 or STIR into its Series Description"
CONTRAST_WORDS: Mapping[MrContrast, str] = {"T2w": "T2w", "T1w": "T1w", "STIR": "STIR", "other": "otherwise weighted"}


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


_Pack = TypeVar("_Pack", bound=RoutablePack)


@dataclass(frozen=True)
class Rule:
    """When all conditions hold, `engine` takes the Series, or none where it is None; `sentence` says why.

    is_kept: whether a gateway keeps such an instance; where not, it acknowledges and counts it.
    """

    name: str
    conditions: tuple[Condition, ...]
    engine: str | None
    sentence: str
    is_kept: bool = True

    def matches(self, dataset: Dataset) -> bool:
        """Tell whether every condition holds."""
        return all(condition.holds(dataset) for condition in self.conditions)


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
        rules = tuple(_rule(entry) for entry in read_rules(file))
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, re.error) as error:
        raise RoutesError(f"{file}: {error}; see the head of manifests/routes.yaml for the form of a rule") from error
    if not rules or rules[-1].conditions:
        raise RoutesError(f"{file}: the last rule must have no conditions, so that every series gets a decision")
    return rules


def discard_reason(rules: Iterable[Rule], identity: Dataset) -> str | None:
    """Return why a gateway need not keep an instance, in words, or None where it has to.

    Args:
        rules: from `load_rules`.
        identity: the attributes of `TOLD_AT_ONCE` that the instance has.
    """
    rule = next((rule for rule in rules if not rule.is_kept and rule.matches(identity)), None)
    return None if rule is None else f"skipped: {rule.sentence.format(**_facts(identity))}"


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
    of_engine = [pack for pack in packs if pack.engine == rule.engine]
    wanted = {"modality": series.modality, "body_region": region, "contrast": contrast, "plane": plane(dataset)}
    pack = fitting_pack(of_engine, wanted, preferred=preferred)
    if pack is None:
        sentence += CONTRAST_ADVICE if contrast and not contrast_is_told(dataset) else ""
        return RoutingDecision(None, None, f"skipped: {sentence}; {no_pack(of_engine)}", region, rule.name, contrast)
    return RoutingDecision(rule.engine, pack.name, sentence, region, rule.name, contrast)


def fitting_pack(
    packs: Iterable[_Pack], wanted: Mapping[str, str | None], *, preferred: Sequence[str] = ()
) -> _Pack | None:
    """Choose the pack that takes what is wanted: the first preferred one, else the first by name; None without one.

    wanted: keys of `RoutablePack.accepts` → value; None for what is not known, which every pack takes.
    """
    fitting = {pack.name: pack for pack in sorted(packs, key=lambda pack: pack.name) if _accepts(pack, wanted)}
    return next((fitting[name] for name in (*preferred, *fitting) if name in fitting), None)


def no_pack(packs: Iterable[RoutablePack]) -> str:
    """Say that no pack takes it, and what those take that there are."""
    offers = "; ".join(_offer(pack) for pack in sorted(packs, key=lambda pack: pack.name))
    return "no installed pack takes it" + (f" ({offers})" if offers else "")


def _accepts(pack: RoutablePack, wanted: Mapping[str, str | None]) -> bool:
    return all(value is None or value in pack.accepts.get(key, (value,)) for key, value in wanted.items())


def _offer(pack: RoutablePack) -> str:
    modalities, regions = pack.accepts.get("modality", ("any modality",)), pack.accepts.get("body_region", ("whole",))
    contrasts = f"{'/'.join(pack.accepts['contrast'])} " if "contrast" in pack.accepts else ""
    return f"{pack.name} takes {contrasts}{', '.join(modalities)} of the {' or '.join(regions)} spine"


def _rule(entry: Mapping[str, Any]) -> Rule:
    name = str(entry["name"])
    if unknown := set(entry) - {"name", "when", "engine", "because", "skip", "kept"}:
        raise ValueError(f"rule {name!r}: {', '.join(sorted(unknown))} means nothing")
    if ("skip" in entry) == ("engine" in entry) or ("engine" in entry) != ("because" in entry):
        raise ValueError(f"rule {name!r} needs either `skip`, or `engine` with `because`")
    is_kept = bool(entry.get("kept", True))
    if not is_kept and ("engine" in entry or set(entry["when"]) - set(TOLD_AT_ONCE) or not entry["when"]):
        raise ValueError(f"rule {name!r}: what is not kept is skipped, by {', '.join(TOLD_AT_ONCE)} alone")
    sentence = str(entry["because"] if "engine" in entry else entry["skip"])
    try:
        sentence.format(**dict.fromkeys(PLACEHOLDERS, ""))
        when = conditions(entry["when"], DERIVED)
    except (KeyError, ValueError, IndexError, re.error) as error:
        raise ValueError(f"rule {name!r}: {error}") from error
    return Rule(name, when, entry.get("engine"), sentence, is_kept)


def _contrast_word(dataset: Dataset) -> str:
    return CONTRAST_WORDS[mr_contrast(dataset)] if contrast_is_told(dataset) else "unknown-contrast"


def _facts(dataset: Dataset) -> dict[str, str]:
    """Return what a sentence may quote: numbers, and words that the standard or our own lists know.

    Nothing else of a header is repeated: a text may be long, hold markup, or name the patient.
    """
    uid = UID(next(iter(values_of(dataset, "SOPClassUID")), ""))
    thickness = number(next(iter(values_of(dataset, "SliceThickness")), ""))
    modality = _known(values_of(dataset, "Modality"), _code_meanings("cid33"))
    return {
        "modality": modality or "an object without a known Modality",
        "sop_class": uid.name if uid in UID_dictionary else "an unknown SOP class",
        "view": _view(dataset),
        "body_part": other_body_part(dataset) or "body",
        "region": body_region(dataset) or "unknown part of the",
        "rows": _whole(dataset, "Rows"),
        "columns": _whole(dataset, "Columns"),
        "frames": _whole(dataset, "NumberOfFrames"),
        "image_type": _known(values_of(dataset, "ImageType"), IMAGE_TYPES),
        "component": _known(values_of(dataset, "ComplexImageComponent"), IMAGE_TYPES).lower(),
        "plane": plane(dataset) or "no plane",
        "contrast": _contrast_word(dataset) if modality == "MR" else "",
        "thickness": "slices of unknown thickness" if thickness is None else f"{thickness:.1f} mm slices",
    }


@cache
def _code_meanings(context_group: str) -> Mapping[str, str]:
    """Return Code Value → Code Meaning of a context group of PS3.16: `cid33` the modalities, `cid4010` the views."""
    from pydicom.sr.codedict import codes  # noqa: PLC0415  its dictionary costs the gateway's start more than all else

    group = getattr(codes, context_group)
    return {getattr(group, name).value: getattr(group, name).meaning for name in group.dir()}


def _known(values: Iterable[str], words: Container[str]) -> str:
    return "\\".join(value.upper() for value in values if value.upper() in words)


def _view(dataset: Dataset) -> str:
    """Return the view by the standard's own words: of the code, else View Position."""
    meanings = _code_meanings("cid4010")
    meaning = next((meanings[value] for value in values_of(dataset, "ViewCodeSequence") if value in meanings), "")
    return meaning or _known(values_of(dataset, "ViewPosition"), VIEW_POSITIONS) or "unknown"


def _whole(dataset: Dataset, keyword: str) -> str:
    value = number(next(iter(values_of(dataset, keyword)), ""))
    return "?" if value is None else f"{value:.0f}"
