"""Which part of the spine a header names, by code, by Body Part Examined, and last by description.

Body Part Examined has Defined Terms, not Enumerated Values (PS3.3 C.7.3.1.1.1), so that consoles send words of their
own: the words stand in `manifests/body_parts.yaml`. A word that is not there says nothing.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import yaml
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from models.contracts import BodyRegion
from operators.dicom.conditions import MANIFESTS
from operators.dicom.mr_acquisition import find_value, readable

PARTS_FILE = MANIFESTS / "body_parts.yaml"
Part = Literal["spine", "other", "unknown", "none"]

# PS3.16 CID 4031: SCT code, SRT code.
REGION_CODES: dict[str, BodyRegion] = {
    "122494005": "cervical",
    "T-11501": "cervical",
    "122495006": "thoracic",
    "T-11502": "thoracic",
    "122496007": "lumbar",
    "T-11503": "lumbar",
    "1217253001": "lumbar",  # lumbo-sacral spine
    "297173004": "lumbar",
}
LONGEST_QUOTED = 24  # letters of a body part
DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "StudyDescription", "RequestedProcedureDescription")
# Letters that Unicode does not take apart into a letter and an accent.
_LETTERS = str.maketrans(
    {"ß": "ss", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "AE", "ł": "l", "Ł": "L", "œ": "oe", "Œ": "OE"}
)


@dataclass(frozen=True)
class _RegionWords:
    """Patterns for one part of the spine; see the head of the file for what each is."""

    words: re.Pattern[str]
    adjectives: re.Pattern[str]
    alone: re.Pattern[str]
    unless: re.Pattern[str]


@dataclass(frozen=True)
class _Vocabulary:
    """Everything in `body_parts.yaml`."""

    regions: Mapping[BodyRegion, _RegionWords]
    spine: re.Pattern[str]
    other: re.Pattern[str]
    other_told: re.Pattern[str]

    def names_spine(self, text: str) -> bool:
        """Tell whether plain text names the spine or a part of it by a word that means nothing else."""
        return bool(self.spine.search(text)) or any(own.words.search(text) for own in self.regions.values())


def body_region(dataset: Dataset) -> BodyRegion | None:
    """Return the part of the spine that the header names, or None where it names none or several."""
    for item in _anatomic_regions(dataset):
        if region := REGION_CODES.get(str(readable(item, "CodeValue") or "")):
            return region
    vocabulary = _vocabulary()
    told = _told(dataset)
    part = body_part(dataset)
    if part == "spine" and (named := list(_told_regions(told, vocabulary))):
        return named[0] if len(named) == 1 else None
    texts = [plain_words(str(readable(dataset, keyword) or "")) for keyword in DESCRIPTIONS]
    near = " ".join((told, *texts))
    for text in texts:
        if named := list(_described_regions(text, near, part, vocabulary)):
            return named[0] if len(named) == 1 else None
    return None


def _anatomic_regions(dataset: Dataset) -> Iterable[Dataset]:
    items = find_value(dataset, "AnatomicRegionSequence")  # Enhanced MR: in its Frame Anatomy
    return items if isinstance(items, Sequence) else ()


def body_part(dataset: Dataset) -> Part:
    """Return what Body Part Examined and the anatomic region name: the spine, another part, or nothing known."""
    vocabulary = _vocabulary()
    told = _told(dataset)
    if not told.strip():
        return "none"
    if vocabulary.names_spine(told):
        return "spine"
    if vocabulary.other.search(told) or vocabulary.other_told.search(told):
        return "other"
    return "spine" if any(_told_regions(told, vocabulary)) else "unknown"


def other_body_part(dataset: Dataset) -> str:
    """Return the words for another part of the body that a header names, from the list of them; empty without one.

    The header's own text is never quoted: anything may stand in it.
    """
    vocabulary = _vocabulary()
    descriptions = (plain_words(str(readable(dataset, keyword) or "")) for keyword in DESCRIPTIONS)
    found = vocabulary.other_told.search(_told(dataset))
    for text in (_told(dataset), *descriptions):
        found = vocabulary.other.search(text) or found
        if found:
            return found.group().lower()[:LONGEST_QUOTED]
    return ""


def described_part(dataset: Dataset) -> Part:
    """Return what the descriptions name: the spine, another part, or nothing known."""
    vocabulary = _vocabulary()
    text = " ".join(plain_words(str(readable(dataset, keyword) or "")) for keyword in DESCRIPTIONS)
    if not text.strip():
        return "none"
    if vocabulary.names_spine(text):
        return "spine"
    return "other" if vocabulary.other.search(text) else "unknown"


def plain_words(text: str) -> str:
    """Return the words of a text in capitals, without accents, one space around each.

    >>> plain_words("Wirbelsäule, LWS/seitl."), plain_words("t2_tse_sag_HWS")
    (' WIRBELSAULE LWS SEITL ', ' T2 TSE SAG HWS ')
    """
    letters = unicodedata.normalize("NFKD", text.translate(_LETTERS))
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter)).upper()
    return f" {' '.join(re.findall('[A-Z0-9]+', plain))} "


def _told(dataset: Dataset) -> str:
    meanings = [str(readable(item, "CodeMeaning") or "") for item in _anatomic_regions(dataset)]
    return plain_words(" ".join((str(find_value(dataset, "BodyPartExamined") or ""), *meanings)))


def _told_regions(told: str, vocabulary: _Vocabulary) -> Iterator[BodyRegion]:
    for region, own in vocabulary.regions.items():
        if own.words.search(told) or (own.adjectives.search(told) and not own.unless.search(told)):
            yield region


def _described_regions(text: str, near: str, part: Part, vocabulary: _Vocabulary) -> Iterator[BodyRegion]:
    """Yield the regions that a description names; by `near`, all that the header says, an adjective is doubted."""
    names_spine = bool(vocabulary.spine.search(text))
    for region, own in vocabulary.regions.items():
        beside = names_spine and own.adjectives.search(text) and not own.unless.search(text)
        alone = part != "other" and own.alone.search(text) and not own.unless.search(near)
        alone = alone and not vocabulary.other.search(near)
        if own.words.search(text) or beside or alone:
            yield region


@cache
def _vocabulary() -> _Vocabulary:
    content = yaml.safe_load(PARTS_FILE.read_text(encoding="utf-8"))
    regions = {
        region: _RegionWords(**{name: _pattern(words) for name, words in content["regions"][region].items()})
        for region in get_args(BodyRegion)
    }
    return _Vocabulary(regions, *(_pattern(content[name]) for name in ("spine", "other", "other_told")))


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern for any of the words as whole words of plain text; none of them matches nothing."""
    spelt = (re.escape(word).replace(r"\*", "[A-Z]*").replace(r"\ ", " ?") for word in words)
    return re.compile(rf"(?<= )(?:{'|'.join(spelt) or '(?!)'})(?= )")
