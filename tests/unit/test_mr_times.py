"""Times that no acquisition has count as absent; Dixon pictures are what their headers or names say."""

import math
import sys

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.multival import MultiValue

from operators.dicom.mr_contrast import contrast_is_told, mr_contrast
from operators.dicom.mr_times import acquisition_time
from tests.made_mr import made_enhanced_mr, made_mr

VOXELS = np.zeros((7, 8, 9), np.uint16)
NOTHING: dict[str, object] = {"EchoTime": None, "RepetitionTime": None}
LARGEST = sys.float_info.max


def mr(**attributes: object) -> FileDataset:
    """A T2 TSE of TE 100 ms and TR 3500 ms with some attributes changed."""
    return made_mr(VOXELS, **attributes)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attributes", "keyword", "expected"),
    [
        ({"EchoTime": "-1.0"}, "EchoTime", ""),
        ({"EchoTime": "0"}, "EchoTime", ""),
        ({"EchoTime": "0.1212", "RepetitionTime": "2.61"}, "EchoTime", ""),
        ({"EchoTime": "0.1212", "RepetitionTime": "2.61"}, "RepetitionTime", ""),
        ({"EchoTime": "0.1212", "RepetitionTime": None}, "EchoTime", ""),
        ({"RepetitionTime": "2.61"}, "RepetitionTime", ""),
        ({"RepetitionTime": "2.61"}, "EchoTime", "100"),
        ({"EchoTime": "0.05", "RepetitionTime": "5", "ScanningSequence": "GR"}, "EchoTime", "0.05"),
        ({"InversionTimes": [165.0, LARGEST]}, "InversionTime", "165"),
        ({"InversionTimes": [LARGEST, 165.0]}, "InversionTime", "165"),
        ({"InversionTimes": [math.nan, -1.0]}, "InversionTime", ""),
        ({"InversionTime": "0.165"}, "InversionTime", ""),
        ({"EchoTime": MultiValue(str, ["0", "98"])}, "EchoTime", "98"),
        ({"EchoTime": "0", "EffectiveEchoTime": 98.0}, "EchoTime", "98"),
        ({"EffectiveEchoTime": LARGEST, "EchoTime": None}, "EchoTime", ""),
    ],
)
def test_a_time_is_believed_where_an_acquisition_can_have_it(
    attributes: dict[str, object], keyword: str, expected: str
) -> None:
    """The first such value, wherever it stands."""
    assert acquisition_time(mr(**attributes), keyword) == expected


CONTRASTS: dict[str, tuple[dict[str, object], str]] = {
    "fast spin echo is no fat suppression": ({**NOTHING, "SeriesDescription": "SAG T2 FSE"}, "T2w"),
    "FRFSE": ({**NOTHING, "SeriesDescription": "T2 FRFSE"}, "T2w"),
    "fast spin echo with fat suppression": ({**NOTHING, "SeriesDescription": "SAG T2 FSE FS"}, "STIR"),
    "fat-suppressed T2 without times": ({**NOTHING, "SeriesDescription": "t2fs_sag"}, "STIR"),
    "inspiration": ({"SeriesDescription": "t2 sag inspiration"}, "T2w"),
    "seconds, described": ({"EchoTime": "0.012", "RepetitionTime": "0.6", "SeriesDescription": "sag T2"}, "T2w"),
    "T2 in seconds": ({"EchoTime": "0.1212", "RepetitionTime": "2.61"}, "T2w"),
    "T1 in seconds": ({"EchoTime": "0.012", "RepetitionTime": "0.6"}, "T1w"),
    "STIR in seconds": ({"EchoTime": "0.06", "RepetitionTime": "4.5", "InversionTime": "0.165"}, "STIR"),
    "-1, described": ({"EchoTime": "-1.0", "RepetitionTime": None, "SeriesDescription": "T2 sag"}, "T2w"),
    "list of inversion times": ({"EchoTime": "60", "InversionTimes": [165.0, LARGEST]}, "STIR"),
    "Philips fat": ({"ImageType": ["ORIGINAL", "PRIMARY", "F", "F", "DERIVED"]}, "other"),
    "Philips opposed": ({"ImageType": ["ORIGINAL", "PRIMARY", "OP", "OP", "DERIVED"]}, "other"),
    "Philips water": ({"ImageType": ["ORIGINAL", "PRIMARY", "W", "W", "DERIVED"]}, "STIR"),
    "Philips in phase": ({"ImageType": ["ORIGINAL", "PRIMARY", "IP", "IP", "DERIVED"]}, "T2w"),
    "GE fat": ({"SeriesDescription": "FAT: Sag T2 FSE IDEAL"}, "other"),
    "GE water": ({"SeriesDescription": "WATER: Sag T2 FSE IDEAL"}, "STIR"),
    "GE in phase": ({"SeriesDescription": "InPhase: Sag T2 FSE IDEAL"}, "T2w"),
    "GE opposed": ({"SeriesDescription": "OutPhase: Sag T2 FSE IDEAL"}, "other"),
    "Siemens fat": ({"SeriesDescription": "t2_tse_dixon_sag_F"}, "other"),
    "Siemens water": ({"SeriesDescription": "t2_tse_dixon_sag_W"}, "STIR"),
    "Siemens opposed": ({"SeriesDescription": "t2_tse_dixon_sag_opp"}, "other"),
    "Siemens in phase": ({"SeriesDescription": "t2_tse_dixon_sag_in"}, "T2w"),
    "Philips water, described": ({"SeriesDescription": "T2 mDIXON W"}, "STIR"),
    "water without times": ({**NOTHING, "SeriesDescription": "T2 mDIXON W"}, "STIR"),
    "T2-weighted is no water": ({"SeriesDescription": "sag_T2_W"}, "T2w"),
}


@pytest.mark.parametrize("case", CONTRASTS)
def test_the_contrast_is_that_of_the_picture(case: str) -> None:
    """From a T2 TSE of TE 100 ms and TR 3500 ms."""
    attributes, contrast = CONTRASTS[case]

    assert mr_contrast(mr(**attributes)) == contrast


def test_what_tells_nothing_is_said_to_tell_nothing() -> None:
    """The sentence then says what to do."""
    assert contrast_is_told(mr())
    assert not contrast_is_told(mr(**NOTHING, SeriesDescription="NIfTI conversion"))


def test_attributes_inside_private_sequences_are_not_the_images() -> None:
    """PS3.5 7.8: what a private sequence holds has no meaning outside it."""
    dataset = made_enhanced_mr(VOXELS)
    own = Dataset()
    own.EchoTime, own.RepetitionTime, own.ScanningSequence, own.BodyPartExamined = "5", "20", "GR", "KNEE"
    for group in (*dataset.PerFrameFunctionalGroupsSequence, *dataset.SharedFunctionalGroupsSequence):
        group.add_new((0x2005, 0x0014), "LO", "Philips MR Imaging DD 005")
        group.add_new((0x2005, 0x140F), "SQ", [own])

    assert acquisition_time(dataset, "EchoTime") == "100"
    assert acquisition_time(dataset, "RepetitionTime") == ""
