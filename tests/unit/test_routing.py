"""Every Series gets a decision and a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import (
    DigitalXRayImageStorageForProcessing,
    MRImageStorage,
    MRSpectroscopyStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from operators.dicom.body_region import REGION_CODES, body_region
from operators.dicom.conditions import RoutesError
from operators.dicom.mr_acquisition import plane
from operators.dicom.mr_contrast import mr_contrast
from operators.dicom.routing import RoutingDecision, load_rules, route
from operators.dicom.series import SourceInstance, SourceSeries
from tests.made_dicom import made_dx

PIXELS = np.zeros((160, 140), np.uint16)
RULES = load_rules()


@dataclass(frozen=True)
class SomePack:
    """A pack as routing sees it."""

    name: str = "spinefm-phantom"
    engine: str = "spinefm"
    accepts: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {"modality": ["CR", "DX"], "body_region": ["cervical", "lumbar"]}
    )


def decide(dataset: FileDataset, packs: Sequence[SomePack] = (SomePack(),)) -> RoutingDecision:
    """Route one instance by the shipped rules."""
    return route(SourceSeries((SourceInstance(dataset, Path("x")),)), RULES, packs)


def header(**attributes: object) -> FileDataset:
    """Return a lateral cervical DX with some attributes changed; None leaves one out."""
    dataset = made_dx(PIXELS)
    for keyword, value in attributes.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


BARE: dict[str, object] = dict.fromkeys(
    (
        "BodyPartExamined",
        "AnatomicRegionSequence",
        "ViewCodeSequence",
        "ViewPosition",
        "PatientOrientation",
        "StudyDescription",
        "SeriesDescription",
    )
)
SAGITTAL = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]
MR: dict[str, object] = {
    "Modality": "MR",
    "SOPClassUID": MRImageStorage,
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
    "ImageOrientationPatient": SAGITTAL,
    "SliceThickness": "4.0",
    "ScanningSequence": "SE",
    "EchoTime": "100",
    "RepetitionTime": "3500",
    "BodyPartExamined": "LSPINE",
    "AnatomicRegionSequence": None,
    "ViewCodeSequence": None,
    "StudyDescription": None,
    "SeriesDescription": "t2_tse_sag",
}
LUMBAR: dict[str, object] = {"BodyPartExamined": "LSPINE", "AnatomicRegionSequence": None}

# What the header says → words of the sentence; engine spinefm.
ROUTED: dict[str, tuple[dict[str, object], str]] = {
    "lateral by code": ({}, "lateral DX of the cervical spine"),
    "lateral by position": ({"ViewCodeSequence": None}, "lateral DX of the cervical spine"),
    "lumbar": (LUMBAR, "lateral DX of the lumbar spine"),
    "CR": ({"Modality": "CR"}, "lateral CR of the cervical spine"),
    "view not told": ({"ViewCodeSequence": None, "ViewPosition": None}, "does not tell the view"),
    "nothing told": (BARE, "nothing in the header says"),
    "lateral, region not told": ({**BARE, "ViewPosition": "LL"}, "does not tell which part"),
    "body part left from another examination": (
        {"BodyPartExamined": "CHEST", "AnatomicRegionSequence": None, "StudyDescription": "L-SPINE LAT"},
        "lateral DX",
    ),
    "whole spine": ({**BARE, "BodyPartExamined": "SPINE", "ViewPosition": "LL"}, "does not tell which part"),
    "German": ({**BARE, "SeriesDescription": "HWS seitlich"}, "cervical spine"),
    "description for both views": ({**BARE, "SeriesDescription": "LSPINE AP/LAT"}, "lumbar spine"),
}


@pytest.mark.parametrize("case", ROUTED)
def test_what_may_be_a_lateral_spine_goes_to_spinefm(case: str) -> None:
    """Where the header leaves it open the engine looks, and refuses if it sees no spine."""
    attributes, words = ROUTED[case]

    decision = decide(header(**attributes))

    assert (decision.engine, decision.pack, decision.decision) == ("spinefm", "spinefm-phantom", "spinefm")
    assert words in decision.reason


def view_code(name: str) -> list[Dataset]:
    """Return a View Code Sequence of a code in pydicom's dictionary."""
    code = getattr(codes.SCT, name)
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, "SCT", code.meaning
    return [item]


# What the header says → the sentence begins so.
SKIPPED: dict[str, tuple[dict[str, object], str]] = {
    "AP by code": ({"ViewCodeSequence": view_code("AnteroPosteriorProjection")}, "skipped: DX with view antero-post"),
    "oblique by code": ({"ViewCodeSequence": view_code("LeftAnteriorObliqueProjection")}, "skipped: DX with view left"),
    "AP by position": ({"ViewCodeSequence": None, "ViewPosition": "AP"}, "skipped: DX with view AP; SpineFM needs a"),
    "PA by position": ({"ViewCodeSequence": None, "ViewPosition": "PA"}, "skipped: DX with view PA"),
    "decubitus": ({"ViewCodeSequence": None, "ViewPosition": "LLD"}, "skipped: DX with view LLD"),
    "AP by description": ({**BARE, "SeriesDescription": "L-SPINE AP"}, "skipped: DX described as a frontal"),
    "open mouth": ({**BARE, "SeriesDescription": "Dens open mouth"}, "skipped: DX described as a frontal"),
    "rows run sideways": (
        {"ViewCodeSequence": None, "ViewPosition": None, "PatientOrientation": ["L", "F"]},
        "skipped: DX whose rows run from one side",
    ),
    "hand": (
        {**BARE, "BodyPartExamined": "HAND"},
        "skipped: DX of the hand; SpineFM needs a lateral view of the cervical or lumbar spine",
    ),
    "lateral chest": ({**BARE, "BodyPartExamined": "CHEST", "ViewPosition": "LL"}, "skipped: DX of the chest"),
    "chest by description": ({**BARE, "StudyDescription": "Chest 2 views"}, "skipped: DX described as another part"),
    "thoracic": (
        {"BodyPartExamined": "TSPINE", "AnatomicRegionSequence": None},
        "skipped: lateral DX of the thoracic spine; no installed pack takes it (spinefm-phantom takes CR, DX of",
    ),
    "several frames": ({"NumberOfFrames": 12}, "skipped: DX of 12 frames"),
    "thumbnail": ({"Rows": 64}, "skipped: DX of 64 × 140 pixels"),
    "narrow": ({"Columns": 100}, "skipped: DX of 160 × 100 pixels"),
    "localizer": ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "skipped: DX ORIGINAL"),
    "raw": ({"SOPClassUID": DigitalXRayImageStorageForProcessing}, "skipped: DX for processing"),
    "secondary capture": ({"SOPClassUID": SecondaryCaptureImageStorage}, "skipped: DX as Secondary Capture"),
    "secondary capture, frames": (
        {"SOPClassUID": MultiFrameGrayscaleByteSecondaryCaptureImageStorage},
        "skipped: DX as Multi-frame Grayscale Byte Secondary Capture",
    ),
    "own result": ({"Manufacturer": "Spondyl", "Modality": "OT"}, "skipped: OT is a result of Spondyl itself"),
    "segmentation": ({"Modality": "SEG"}, "skipped: SEG holds no image"),
    "report": ({"Modality": "SR"}, "skipped: SR holds no image"),
    "presentation state": ({"Modality": "PR"}, "skipped: PR holds no image"),
    "key objects": ({"Modality": "KO"}, "skipped: KO holds no image"),
    "mammography": ({"Modality": "MG"}, "skipped: MG; no engine takes it"),
    "CT": ({"Modality": "CT"}, "skipped: CT; no engine takes it"),
    "no modality": ({"Modality": None}, "skipped: an object without a known Modality; no engine takes it"),
    "MR": ({**MR}, "skipped: sagittal T2w MR of the lumbar spine; no installed pack takes it"),
    "MR spectroscopy": ({**MR, "SOPClassUID": MRSpectroscopyStorage}, "skipped: MR as MR Spectroscopy Storage"),
    "MR localizer": ({**MR, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "skipped: MR, localizer"),
    "MR scout": ({**MR, "SeriesDescription": "Survey"}, "skipped: MR, described as a localizer"),
    "MR derived": (
        {**MR, "ImageType": ["DERIVED", "SECONDARY", "MPR"]},
        "skipped: MR DERIVED\\SECONDARY\\MPR, derived",
    ),
    "MR phase": (
        {**MR, "ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
        "skipped: MR ORIGINAL\\PRIMARY\\P\\ND, derived",
    ),
    "MR axial": (
        {**MR, "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "SliceThickness": "7.5"},
        "skipped: MR, axial, 7.5 mm slices; SPINEPS needs a sagittal plane",
    ),
    "MR coronal": ({**MR, "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "skipped: MR, coronal, 4.0 mm slices"),
    "MR oblique": (
        {**MR, "ImageOrientationPatient": [0.7071, 0.7071, 0, 0, 0, -1]},
        "skipped: MR, oblique, 4.0 mm slices; SPINEPS needs a sagittal plane",
    ),
    "MR without orientation": ({**MR, "ImageOrientationPatient": None}, "skipped: MR without Image Orientation"),
    "MR of the knee": (
        {**MR, "BodyPartExamined": "KNEE", "AnatomicRegionSequence": None},
        "skipped: MR of the knee; SPINEPS needs the spine",
    ),
    "MR of the brain by description": (
        {**MR, "BodyPartExamined": None, "AnatomicRegionSequence": None, "StudyDescription": "MR brain"},
        "skipped: MR described as another part of the body",
    ),
    "digitised film": ({"Modality": "RG"}, "skipped: lateral RG of the cervical spine; no installed pack takes it"),
}


@pytest.mark.parametrize("case", SKIPPED)
def test_what_no_engine_takes_is_skipped_with_a_sentence(case: str) -> None:
    """The sentence says what it is and what would have been taken."""
    attributes, beginning = SKIPPED[case]

    decision = decide(header(**attributes))

    assert (decision.engine, decision.pack, decision.decision) == (None, None, "skipped")
    assert decision.reason.startswith(beginning)


T2_PACK = {"modality": ["MR"], "plane": ["sagittal"], "contrast": ["T2w"]}


def test_mr_is_taken_as_soon_as_a_pack_accepts_it() -> None:
    """What is skipped for want of a pack is no rule: it follows from the packs."""
    decision = decide(header(**MR), [SomePack(), SomePack("spineps-t2w", "spineps", T2_PACK)])

    assert (decision.engine, decision.pack, decision.contrast) == ("spineps", "spineps-t2w", "T2w")
    assert decision.reason == "sagittal T2w MR of the lumbar spine"


def test_a_contrast_that_no_pack_takes_is_skipped_with_what_there_is() -> None:
    """Which pack takes which contrast is the pack's declaration."""
    decision = decide(header(**{**MR, "EchoTime": "10", "RepetitionTime": "550"}), [SomePack("p", "spineps", T2_PACK)])

    assert decision.reason == (
        "skipped: sagittal T1w MR of the lumbar spine; no installed pack takes it (p takes T2w MR of the whole spine)"
    )


@pytest.mark.parametrize("region", ["CSPINE", "TSPINE", "LSPINE", "SPINE"])
def test_every_station_of_the_spine_is_taken(region: str) -> None:
    """Cervical, thoracic, lumbar and whole."""
    attributes = {**MR, "BodyPartExamined": region, "AnatomicRegionSequence": None}

    assert decide(header(**attributes), [SomePack("p", "spineps", T2_PACK)]).engine == "spineps"


CONTRASTS: dict[str, tuple[dict[str, object], str]] = {
    "T2 TSE": ({"EchoTime": "100", "RepetitionTime": "3500"}, "T2w"),
    "T1 TSE": ({"EchoTime": "11", "RepetitionTime": "600"}, "T1w"),
    "STIR": ({"EchoTime": "60", "RepetitionTime": "4500", "InversionTime": "160"}, "STIR"),
    "T1 FLAIR": ({"EchoTime": "12", "RepetitionTime": "2200", "InversionTime": "860"}, "T1w"),
    "FLAIR": ({"EchoTime": "110", "RepetitionTime": "9000", "InversionTime": "2500"}, "other"),
    "T2 fat-suppressed": ({"EchoTime": "80", "RepetitionTime": "4000", "ScanOptions": "FS"}, "STIR"),
    "proton density": ({"EchoTime": "25", "RepetitionTime": "3000"}, "other"),
    "gradient echo": ({"EchoTime": "14", "RepetitionTime": "500", "ScanningSequence": "GR"}, "other"),
    "told by name": ({"EchoTime": None, "RepetitionTime": None, "SeriesDescription": "sag TIRM"}, "STIR"),
    "T2 by name": ({"EchoTime": None, "RepetitionTime": None, "SeriesDescription": "t2_tse_sag"}, "T2w"),
    "T2* by name": ({"EchoTime": None, "RepetitionTime": None, "SeriesDescription": "t2* medic"}, "other"),
    "measured outweighs described": (
        {"EchoTime": "10", "RepetitionTime": "500", "SeriesDescription": "t2 sag"},
        "T1w",
    ),
    "not told": ({"EchoTime": None, "RepetitionTime": None, "SeriesDescription": ""}, "other"),
}


@pytest.mark.parametrize("case", CONTRASTS)
def test_the_contrast_follows_from_the_acquisition(case: str) -> None:
    """Times first, names last."""
    attributes, contrast = CONTRASTS[case]

    assert mr_contrast(header(**{**MR, **attributes})) == contrast


def test_enhanced_mr_tells_plane_and_contrast_in_its_functional_groups() -> None:
    """PS3.3 C.7.6.16: orientation and echo stand in macros there."""
    dataset = header(**{**MR, "ImageOrientationPatient": None, "EchoTime": None})
    orientation, echo, groups = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = SAGITTAL
    echo.EffectiveEchoTime = 95.0
    groups.PlaneOrientationSequence, groups.MREchoSequence = [orientation], [echo]
    dataset.SharedFunctionalGroupsSequence = [groups]

    assert (plane(dataset), mr_contrast(dataset)) == ("sagittal", "T2w")


def test_without_packs_nothing_is_routed() -> None:
    """The sentence tells the administrator what is missing."""
    assert decide(header(), []).reason == "skipped: lateral DX of the cervical spine; no installed pack takes it"


def test_a_preferred_pack_is_taken_among_those_that_fit() -> None:
    """Several packs of one engine: the first preferred one that accepts the Series, else the first by name."""
    packs = [SomePack("b"), SomePack("a"), SomePack("c", accepts={"modality": ["CR"]})]
    series = SourceSeries((SourceInstance(header(), Path("x")),))

    chosen = {names: route(series, RULES, packs, preferred=names).pack for names in (("b",), ("c",), ("c", "b"), ())}

    assert chosen == {("b",): "b", ("c",): "a", ("c", "b"): "b", (): "a"}


def test_a_sentence_quotes_no_free_text() -> None:
    """Descriptions may name the patient."""
    secret = "Smith^John hand"
    for attributes in ({"SeriesDescription": secret}, {**BARE, "StudyDescription": secret}):
        assert "Smith" not in decide(header(**attributes)).reason


@settings(deadline=None, max_examples=30)
@given(
    modality=st.sampled_from(["CR", "DX", "RG", "MR", "CT", "", "XX"]),
    view=st.sampled_from(["", "LL", "AP", "LATERAL", "X 2"]),
    part=st.sampled_from(["", "CSPINE", "HAND", "L SPINE", "SPINE"]),
    description=st.text(st.characters(codec="ascii"), max_size=12, min_size=1),
)
def test_every_header_gets_a_decision_and_a_sentence(modality: str, view: str, part: str, description: str) -> None:
    """No header stops a run."""
    decision = decide(
        header(Modality=modality, ViewPosition=view, BodyPartExamined=part, SeriesDescription=description)
    )

    assert decision.reason
    assert (decision.engine is None) == decision.reason.startswith("skipped: ")


@pytest.mark.parametrize("keyword", ["Modality", "BodyPartExamined", "ViewPosition", "ImageType", "SeriesDescription"])
def test_a_sentence_quotes_nothing_that_the_standard_does_not_know(keyword: str) -> None:
    """Any attribute may hold a patient's name, markup or a megabyte."""
    for base in (BARE, MR):
        dataset = header(**base)
        dataset[Tag(keyword)] = DataElement(Tag(keyword), "UT", "Xqvornak[/bold]" * 5000)
        reason = decide(dataset).reason

        assert "Xqv" not in reason.title() and len(reason) < 300


REGIONS: dict[str, tuple[dict[str, object], str | None]] = {
    "code": ({"BodyPartExamined": "HAND"}, "cervical"),
    "body part": ({"AnatomicRegionSequence": None, "BodyPartExamined": "L SPINE"}, "lumbar"),
    "french": ({**BARE, "StudyDescription": "Rachis lombaire de profil"}, "lumbar"),
    "spanish": ({**BARE, "SeriesDescription": "Columna cervical lateral"}, "cervical"),
    "series before study": ({**BARE, "SeriesDescription": "C-Spine", "StudyDescription": "L-Spine"}, "cervical"),
    "two at once": ({**BARE, "StudyDescription": "cervical and lumbar spine"}, None),
    "none": (BARE, None),
}


@pytest.mark.parametrize("case", REGIONS)
def test_the_region_is_read_from_codes_then_body_part_then_descriptions(case: str) -> None:
    """The strictest source wins; two regions at once are none."""
    attributes, region = REGIONS[case]

    assert body_region(header(**attributes)) == region


def test_region_codes_are_those_of_the_dictionary() -> None:
    """PS3.16 CID 4031, looked up in pydicom's own."""
    for name, region in (("CervicalSpine", "cervical"), ("ThoracicSpine", "thoracic"), ("LumboSacralSpine", "lumbar")):
        assert REGION_CODES[getattr(codes.SCT, name).value] == region
    assert REGION_CODES[codes.SCT.LumbarSpine.value] == "lumbar"


BROKEN_RULES = {
    "rules:\n  - {name: a, when: {Modalty: DX}, skip: no}": "Modalty is no DICOM key",
    "rules:\n  - {name: a, when: {Modality: {like: DX}}, skip: no}": "like is no test",
    "rules:\n  - {name: a, when: {Modality: {matches: '('}}, skip: no}": "rule 'a'",
    "rules:\n  - {name: a, when: {}, engine: spinefm}": "either `skip`, or `engine` with `because`",
    "rules:\n  - {name: a, when: {}, skip: '{patient}'}": "rule 'a': 'patient'",
    "rules:\n  - {name: a, when: {}, skip: no, colour: red}": "colour means nothing",
    "rules:\n  - {name: a, when: {Rows: 3}, skip: no, kept: false}": "Modality, Manufacturer, SOPClassUID alone",
    "rules:\n  - {name: a, when: {Modality: DX}, skip: no}": "last rule must have no conditions",
    "rules: []": "last rule must have no conditions",
    "routes: 1": "rules",
    "rules: [": "head of manifests/routes.yaml",
}


@pytest.mark.parametrize("text", BROKEN_RULES)
def test_broken_rules_are_refused_when_they_are_read(text: str, tmp_path: Path) -> None:
    """The message names the file, the rule and the fault; no Series waits for it."""
    file = tmp_path / "routes.yaml"
    file.write_text(text)

    with pytest.raises(RoutesError, match=BROKEN_RULES[text].replace("(", r"\(")) as caught:
        load_rules(file)

    assert str(file) in str(caught.value)
