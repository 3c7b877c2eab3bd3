"""Which part of the body a header names: words of consoles and technicians, in their languages and abbreviations."""

import warnings

import pytest
from pydicom.dataset import Dataset

from operators.dicom.body_region import body_part, body_region, described_part


def header(**attributes: str) -> Dataset:
    """Return a header of these attributes, whatever their VR allows."""
    dataset = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # longer than a CS, as consoles have it
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
    return dataset


REGIONS = {
    "cervical": "CSPINE|C-SPINE|HWS LAT|Halswirbelsäule|RACHIS CERVICAL|RACHIS CERV.|COLUNA CERVICAL|COLONNA CERVICALE"
    "|HALSRYGG|CWK|CERVICALE WERVELKOLOM|KRĘGOSŁUP SZYJNY|KAULARANKA|NECK|CERVICOTHORACIC",
    "thoracic": "TSPINE|T_SPINE|BWS|Brustwirbelsäule|RACHIS DORSAL|COLUMNA DORSAL|COLUNA TORÁCICA|BRÖSTRYGG"
    "|KRĘGOSŁUP PIERSIOWY|THORACIC|THORACIC SPINE|BORSTWERVELS",
    "lumbar": "LSPINE|LUMBAR SPINE|LWS SEITL.|LUMBO-SACRAL|LANDRYGG|LÄNDRYGG|Lendenwirbelsäule|RACHIS LOMBAIRE"
    "|COLUNA LOMBAR|LSSPINE|COLUMNA LUMBAR|COLONNA LOMBO SACRALE|LENDENWERVELS|KRĘGOSŁUP L-S|ODC. LĘDŹWIOWY"
    "|LANNERANKA|LENDERYGG|L.S. SPINE",
}


@pytest.mark.parametrize(
    ("region", "word"), [(region, word) for region in REGIONS for word in REGIONS[region].split("|")]
)
def test_a_body_part_in_any_language_names_its_part_of_the_spine(region: str, word: str) -> None:
    """Body Part Examined has Defined Terms, not Enumerated Values (PS3.3 C.7.3.1.1.1)."""
    dataset = header(BodyPartExamined=word)

    assert (body_part(dataset), body_region(dataset)) == ("spine", region)


@pytest.mark.parametrize(
    "word",
    ["SPINE", "WSPINE", "Wirbelsäule", "WS", "RACHIS", "COLUNA", "WERVELKOLOM", "RYGG", "TLSPINE", "CTSPINE", "SACRUM"],
)
def test_the_spine_without_its_part_is_the_spine(word: str) -> None:
    """The engine sees which part it is."""
    dataset = header(BodyPartExamined=word)

    assert (body_part(dataset), body_region(dataset)) == ("spine", None)


@pytest.mark.parametrize("word", ["UNK", "DEFAULT", "ANY", "UNKNOWN", "OTHER", "WHOLEBODY", "X1", "BACK", "Ganzkörper"])
def test_a_word_that_nobody_knows_says_nothing(word: str) -> None:
    """The engine decides."""
    dataset = header(BodyPartExamined=word)

    assert (body_part(dataset), body_region(dataset)) == ("unknown", None)


@pytest.mark.parametrize(
    "word",
    [
        *("PELVIS", "HEAD", "BRAIN", "KNEE", "KNIE LI.", "GENOU", "RODILLA", "Schädel", "ABDOMEN", "CHEST", "THORAX"),
        *("HAND", "MAIN DROITE", "SHOULDER", "UTERUS", "BREAST", "Hüfte", "TÊTE", "CERVICAL CANCER", "LUMBRICAL"),
        *("KOLANO", "THORACIC AORTA"),
    ],
)
def test_another_part_is_another_part(word: str) -> None:
    """And what is said of it there names no spine."""
    dataset = header(BodyPartExamined=word, StudyDescription="cervical dorsal")

    assert (body_part(dataset), body_region(dataset)) == ("other", None)


@pytest.mark.parametrize(
    "text",
    [
        "CERVICAL CANCER STAGING",
        "MR cervical carcinoma",
        "dorsal ganglion",
        "LUMBRICAL muscle",
        "wrist dorsal",
        "cervical lymph nodes",
    ]
    + ["thoracic aorta", "dorsalis pedis", "inspiration", "plumbing"],
)
@pytest.mark.parametrize("told", ["", "PELVIS", "HAND"])
def test_words_that_only_sound_like_the_spine_name_no_part_of_it(text: str, told: str) -> None:
    """Words are matched whole, and with what stands near them."""
    dataset = header(StudyDescription=text, **({"BodyPartExamined": told} if told else {}))

    assert body_region(dataset) is None
    assert described_part(dataset) != "spine"


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("MRI CERVICAL WO CONTRAST", "cervical"),
        ("t2_tse_sag_HWS", "cervical"),
        ("MRT LWS nativ", "lumbar"),
        ("Rachis lombaire de profil", "lumbar"),
        ("Columna dorsal", "thoracic"),
        ("T-SPINE", "thoracic"),
        ("IRM lombaire", "lumbar"),
    ],
)
def test_a_description_names_the_region_where_no_body_part_does(text: str, region: str) -> None:
    """As technicians type it."""
    assert body_region(header(StudyDescription=text, BodyPartExamined="DEFAULT")) == region


def test_a_description_that_names_the_spine_outweighs_a_body_part_that_was_left_set() -> None:
    """An adjective alone does not."""
    assert body_region(header(BodyPartExamined="HEAD", StudyDescription="MRI cervical spine")) == "cervical"
    assert body_region(header(BodyPartExamined="HEAD", StudyDescription="MRI cervical")) is None
