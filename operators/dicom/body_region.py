"""Which part of the spine a header names, by code, by Body Part Examined, and last by description."""

import re
from collections.abc import Mapping
from typing import Any

from pydicom.dataset import Dataset

from models.contracts import BodyRegion
from operators.dicom.mr_acquisition import find_value

# PS3.16 CID 4031, PS3.16 Annex L: (SCT code, SRT code, Body Part Examined …); technicians' spellings after those.
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
REGION_BODY_PARTS: dict[str, BodyRegion] = {
    "CSPINE": "cervical",
    "CERVICALSPINE": "cervical",
    "CERVICAL": "cervical",
    "NECK": "cervical",
    "HWS": "cervical",
    "TSPINE": "thoracic",
    "THORACICSPINE": "thoracic",
    "DSPINE": "thoracic",
    "BWS": "thoracic",
    "LSPINE": "lumbar",
    "LUMBARSPINE": "lumbar",
    "LUMBAR": "lumbar",
    "LSSPINE": "lumbar",
    "LUMBOSACRALSPINE": "lumbar",
    "LWS": "lumbar",
}
# English, German, French, Spanish, Italian and Portuguese words that technicians type. Underscores and digits part
# words too: t2_tse_sag_HWS.
_FROM, _TO = "(?<![a-z])", "(?![a-z])"
_WORDS: Mapping[BodyRegion, str] = {
    "cervical": r"<c[\W_]?spine>|cervic|<hws>|halswirbel",
    "thoracic": r"<[td][\W_]?spine>|thorac\w*[\W_]+spine|<bws>|brustwirbel|dorsal",
    "lumbar": r"<l[\W_]?s?[\W_]?spine>|lumb|lomb|<lws>|lendenwirbel",
}
REGION_WORDS: tuple[tuple[BodyRegion, re.Pattern[str]], ...] = tuple(
    (region, re.compile(words.replace("<", _FROM).replace(">", _TO), re.IGNORECASE)) for region, words in _WORDS.items()
)
DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "StudyDescription", "RequestedProcedureDescription")


def body_region(dataset: Dataset) -> BodyRegion | None:
    """Return the part of the spine that the header names, or None where it names none or several."""
    regions: Any = find_value(dataset, "AnatomicRegionSequence")  # Enhanced MR: in its Frame Anatomy
    for item in regions or ():
        if region := REGION_CODES.get(str(item.get("CodeValue") or "")):
            return region
    part = re.sub(r"[\W_]", "", str(dataset.get("BodyPartExamined") or "")).upper()
    if part in REGION_BODY_PARTS:
        return REGION_BODY_PARTS[part]
    for keyword in DESCRIPTIONS:
        text = str(dataset.get(keyword) or "")
        named = [region for region, words in REGION_WORDS if words.search(text)]
        if named:
            return named[0] if len(named) == 1 else None
    return None
