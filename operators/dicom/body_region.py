"""Which part of the spine a header names, by code, by Body Part Examined, and last by description."""

import re

from pydicom.dataset import Dataset

from models.contracts import BodyRegion

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
# English, German, French, Spanish, Italian and Portuguese words that technicians type.
REGION_WORDS: tuple[tuple[BodyRegion, re.Pattern[str]], ...] = (
    ("cervical", re.compile(r"\bc[\W_]?spine\b|cervic|\bhws\b|halswirbel", re.IGNORECASE)),
    ("thoracic", re.compile(r"\b[td][\W_]?spine\b|thorac\w*[\W_]+spine|\bbws\b|brustwirbel|dorsal", re.IGNORECASE)),
    ("lumbar", re.compile(r"\bl[\W_]?s?[\W_]?spine\b|lumb|lomb|\blws\b|lendenwirbel", re.IGNORECASE)),
)
DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "StudyDescription", "RequestedProcedureDescription")


def body_region(dataset: Dataset) -> BodyRegion | None:
    """Return the part of the spine that the header names, or None where it names none or several."""
    for item in dataset.get("AnatomicRegionSequence") or ():
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
