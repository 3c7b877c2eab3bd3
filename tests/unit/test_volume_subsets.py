"""One MR Series, several stacks: told apart by what headers say, or by nothing and then not at all."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.multival import MultiValue

from operators.dicom.volume import VolumeError, VolumePlan, plan_volumes, read_volume
from tests.made_mr import SAGITTAL, made_enhanced_mr, made_mr, series_of

SHAPE = (7, 10, 12)
FIRST = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.uint16)
SECOND = FIRST + np.uint16(1000)


def again(datasets: list[FileDataset]) -> list[FileDataset]:
    """The same slices as instances of their own, with higher numbers."""
    for dataset in datasets:
        dataset.InstanceNumber += 100
        dataset.SOPInstanceUID += ".1"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return datasets


def marked(datasets: list[FileDataset], attributes: Mapping[str, object]) -> list[FileDataset]:
    """The same instances with attributes set in each."""
    for dataset in datasets:
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
    return datasets


def interleaved(first: list[FileDataset], second: list[FileDataset]) -> list[FileDataset]:
    """Slices of two stacks in turn, the second of each pair first."""
    return [dataset for pair in zip(second, first, strict=True) for dataset in pair]


def planned(datasets: list[FileDataset], folder: Path) -> VolumePlan:
    """Plan the volumes of instances as they lie on disk."""
    return plan_volumes(series_of(datasets, folder))


def voxels_of(plan: VolumePlan, index: int = 0) -> NDArray[np.float32]:
    """Read a stack; slices run along rows × columns, against those that were made."""
    return read_volume(plan.stacks[index], contrast="T2w").voxels[::-1]


@pytest.mark.parametrize(
    ("taken", "other", "name"),
    [
        ({"EchoTime": "98"}, {"EchoTime": "20"}, "echo time 98"),
        ({"EchoTime": "98"}, {"EchoTime": "320"}, "echo time 98"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "SE"]}, {"ImageType": ["ORIGINAL", "PRIMARY", "P", "SE"]}, "M"),
        ({"ImageType": ["DERIVED", "PRIMARY", "WATER"]}, {"ImageType": ["DERIVED", "PRIMARY", "FAT"]}, "WATER"),
        ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}, "time point 1"),
        ({"DiffusionBValue": 0.0}, {"DiffusionBValue": 800.0}, "b-value 0"),
        ({"InversionTime": "160"}, {"InversionTime": "800"}, "inversion time 160"),
    ],
)
def test_what_differs_between_stacks_takes_them_apart(
    tmp_path: Path, taken: dict[str, object], other: dict[str, object], name: str
) -> None:
    """Each stack is whole by itself, and a rule says which is taken."""
    plan = planned(interleaved(marked(made_mr(FIRST), taken), again(marked(made_mr(SECOND), other))), tmp_path)

    assert len(plan.stacks) == 2
    np.testing.assert_array_equal(voxels_of(plan), FIRST)
    np.testing.assert_array_equal(voxels_of(plan, 1), SECOND)
    assert name in plan.chosen.sentence
    assert plan.notes[-1].startswith(f"the series holds 2 volumes: {plan.chosen.sentence} was taken, not ")


@pytest.mark.parametrize(
    ("keyword", "values", "name"),
    [
        ("ImageType", (["ORIGINAL", "PRIMARY", "M", "ND"], ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]), "image type"),
        ("EchoNumbers", (1, 2), "echo"),
        ("AcquisitionNumber", (1, 2), "acquisition"),
        ("FlipAngle", ("15", "90"), "flip angle"),
        ("AcquisitionTime", ("120000", "121500.5"), "acquisition time"),
    ],
)
def test_repeated_positions_are_told_apart_by_their_header(
    tmp_path: Path, keyword: str, values: tuple[object, object], name: str
) -> None:
    """Traits that may also differ within one stack count only where positions repeat."""
    datasets = interleaved(
        marked(made_mr(FIRST), {keyword: values[0]}), again(marked(made_mr(SECOND), {keyword: values[1]}))
    )
    for number, dataset in zip((3, 9, 1, 4, 12, 7, 5, 14, 2, 8, 6, 11, 13, 10), datasets, strict=True):
        dataset.InstanceNumber = number

    plan = planned(datasets, tmp_path)

    assert plan.notes[0] == f"positions repeat: 2 sets of slices were told apart by their {name}"
    stacks = [voxels_of(plan, index) for index in range(2)]
    assert sorted(stack.min() for stack in stacks) == [0, 1000]
    for stack in stacks:
        np.testing.assert_array_equal(stack, FIRST if stack.min() == 0 else SECOND)


@pytest.mark.parametrize("keyword", ["AcquisitionNumber", "AcquisitionTime"])
def test_traits_that_differ_within_one_stack_do_not_take_it_apart(tmp_path: Path, keyword: str) -> None:
    """Interleaved slices come from several acquisitions, each slice at a time of its own."""
    datasets = made_mr(FIRST)
    for index, dataset in enumerate(datasets):
        setattr(dataset, keyword, str(120000 + index % 2))

    plan = planned(datasets, tmp_path)

    assert plan.notes == ()
    np.testing.assert_array_equal(voxels_of(plan), FIRST)


def test_two_patients_under_one_series_uid_make_no_volume(tmp_path: Path) -> None:
    """Slices of two people must never meet in a network; who they are is not said."""
    datasets = made_mr(FIRST)
    for dataset in datasets[3:]:
        dataset.PatientID = "Somebody-Else"

    with pytest.raises(VolumeError, match="slices of 2 patients .* under one Series Instance UID") as fault:
        planned(datasets, tmp_path)
    assert "Somebody" not in str(fault.value)


def test_half_stacks_are_not_taken_for_repetitions(tmp_path: Path) -> None:
    """Odd and even slices from acquisitions 1 and 2, then all again from 3 and 4: no halves."""
    slices = np.arange(14 * 4, dtype=np.uint16).reshape(14, 2, 2)
    first, second = made_mr(slices), again(made_mr(slices + np.uint16(1000)))
    for index in range(len(slices)):
        first[index].AcquisitionNumber, second[index].AcquisitionNumber = 1 + index % 2, 3 + index % 2

    plan = planned([*first, *second], tmp_path)

    assert [stack.shape[0] for stack in plan.stacks] == [14, 14]
    np.testing.assert_array_equal(voxels_of(plan), slices)


def test_a_slice_acquired_again_is_told_apart_from_the_whole_stack(tmp_path: Path) -> None:
    """By its Acquisition Number, although its own number is lower."""
    datasets = made_mr(FIRST, AcquisitionNumber=2)
    extra = again(made_mr(SECOND, AcquisitionNumber=1))[2]
    extra.InstanceNumber = 0

    plan = planned([extra, *datasets], tmp_path)

    np.testing.assert_array_equal(voxels_of(plan), FIRST)
    assert plan.notes[-1] == "1 frame(s) were left out: 1 slice in one plane, 5 are needed"


def test_repetitions_that_are_numbered_slice_by_slice_are_told_apart(tmp_path: Path) -> None:
    """1 and 2 at the first place, 3 and 4 at the second."""
    first, second = made_mr(FIRST), again(made_mr(SECOND))
    for index, (one, other) in enumerate(zip(first, second, strict=True)):
        one.InstanceNumber, other.InstanceNumber = 2 * index + 1, 2 * index + 2

    plan = planned(interleaved(first, second), tmp_path)

    np.testing.assert_array_equal(voxels_of(plan), FIRST)
    np.testing.assert_array_equal(voxels_of(plan, 1), SECOND)


def test_repetitions_that_nothing_tells_apart_make_no_volume(tmp_path: Path) -> None:
    """To take the lower number at each place would mix two acquisitions."""
    datasets = interleaved(made_mr(FIRST), again(made_mr(SECOND)))
    for number, dataset in zip((3, 9, 1, 4, 12, 7, 5, 14, 2, 8, 6, 11, 13, 10), datasets, strict=True):
        dataset.InstanceNumber = number

    with pytest.raises(VolumeError, match="every slice is there 2 times, and nothing tells which belong together"):
        planned(datasets, tmp_path)


def test_many_repeated_positions_make_no_volume(tmp_path: Path) -> None:
    """Two incomplete acquisitions that overlap are not one."""
    with pytest.raises(VolumeError, match="3 of 7 positions repeat, and nothing tells which frames belong together"):
        planned([*made_mr(FIRST)[:5], *again(made_mr(SECOND))[2:]], tmp_path)


def test_frames_of_another_frame_of_reference_are_no_slices_of_a_stack(tmp_path: Path) -> None:
    """Positions are comparable only within one."""
    datasets = made_mr(FIRST)
    for dataset in datasets[5:]:
        dataset.FrameOfReferenceUID += ".1"

    assert planned(datasets, tmp_path).chosen.shape == (5, 10, 12)


def test_two_enhanced_images_are_two_volumes(tmp_path: Path) -> None:
    """The same places in two multi-frame instances; a frame number counts within its own."""
    first, second = made_enhanced_mr(FIRST, order=[3, 1, 0, 2, 6, 5, 4]), made_enhanced_mr(SECOND)
    again([second])

    plan = planned([second, first], tmp_path)

    assert len(plan.stacks) == 2
    for index in range(2):
        assert len(plan.stacks[index].datasets) == 1
        stack = (voxels_of(plan, index) + 5) / 2
        np.testing.assert_array_equal(stack, FIRST if stack.min() == 0 else SECOND)


def test_phase_frames_among_enhanced_ones_are_left_aside(tmp_path: Path) -> None:
    """Complex Image Component stands in the frame's own type, and phase may come first."""
    dataset = made_enhanced_mr(np.concatenate([SECOND, FIRST]))
    for index, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        frame_type = Dataset()
        frame_type.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        frame_type.ComplexImageComponent = "PHASE" if index < len(SECOND) else "MAGNITUDE"
        groups.MRImageFrameTypeSequence = [frame_type]
        same_place = dataset.PerFrameFunctionalGroupsSequence[index % len(SECOND)]
        groups.PlanePositionSequence = same_place.PlanePositionSequence

    plan = planned([dataset], tmp_path)

    np.testing.assert_array_equal(voxels_of(plan), FIRST * 2.0 - 5)
    assert "component PHASE" in plan.notes[0]


def test_more_slices_are_taken_before_a_better_echo(tmp_path: Path) -> None:
    """A whole stack, then its contrast."""
    plan = planned([*made_mr(FIRST, EchoTime="20"), *again(made_mr(SECOND[:5], EchoTime="100"))], tmp_path)

    assert plan.chosen.shape == SHAPE
    assert plan.chosen.sentence == "7 slices (image type M, echo time 20)"


def test_echoes_among_enhanced_frames_are_two_volumes(tmp_path: Path) -> None:
    """The frame's own MR Echo macro goes before the shared one."""
    dataset = made_enhanced_mr(np.concatenate([SECOND, FIRST]))
    for index, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        if index < len(SECOND):
            echo = Dataset()
            echo.EffectiveEchoTime = 20.0
            groups.MREchoSequence = [echo]
        same_place = dataset.PerFrameFunctionalGroupsSequence[index % len(SECOND)]
        groups.PlanePositionSequence = same_place.PlanePositionSequence

    plan = planned([dataset], tmp_path)

    assert [stack.sentence for stack in plan.stacks] == [
        "7 slices (stack 1, echo time 100)",
        "7 slices (stack 1, echo time 20)",
    ]
    np.testing.assert_array_equal(voxels_of(plan), FIRST * 2.0 - 5)


def test_frames_without_pixels_and_pixels_without_a_place_are_left_out(tmp_path: Path) -> None:
    """An Enhanced MR Image whose Number of Frames and functional groups disagree."""
    more, fewer = made_enhanced_mr(FIRST), made_enhanced_mr(FIRST)
    more.NumberOfFrames = 6
    del fewer.PerFrameFunctionalGroupsSequence[6]

    for dataset, reason in (
        (more, "a place, but beyond the Number of Frames,"),
        (fewer, "no Image Position (Patient)"),
    ):
        plan = planned([dataset], tmp_path)

        assert plan.chosen.shape == (6, 10, 12)
        assert plan.notes == (f"1 frame(s) with {reason} were left out: {dataset.SOPInstanceUID} frame 7",)


def test_a_rescale_slope_of_nothing_is_none(tmp_path: Path) -> None:
    """It would make an empty volume of a good one."""
    np.testing.assert_array_equal(voxels_of(planned(made_mr(FIRST, rescale=(0.0, 0.0)), tmp_path)), FIRST)


def _without_spacing(dataset: FileDataset) -> None:
    del dataset.PixelSpacing


def _coloured(dataset: FileDataset) -> None:
    dataset.PhotometricInterpretation = "RGB"


def _askew(dataset: FileDataset) -> None:
    dataset.ImageOrientationPatient = MultiValue(float, [0, 1, 0, 0, 0.7, -0.7])


def _looked_up(dataset: FileDataset) -> None:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType, table.LUTData = [2, 0, 16], "US", [0, 1]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    dataset.ModalityLUTSequence = [table]


def _many_frames(dataset: FileDataset) -> None:
    dataset.NumberOfFrames = 2


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_without_spacing, "no Pixel Spacing"),
        (_coloured, "colours, which no MR acquisition has"),
        (_askew, "an Image Orientation .Patient. that is no pair of directions at right angles"),
        (_looked_up, "a Modality LUT, which no MR acquisition has"),
        (_many_frames, "several frames in one instance, but no place for each"),
    ],
)
def test_a_series_of_frames_that_are_no_slices_makes_no_volume(
    tmp_path: Path, spoil: Callable[[FileDataset], None], reason: str
) -> None:
    """The sentence says what they lack, once for all of them, and names the first few."""
    datasets = made_mr(FIRST)
    for dataset in datasets:
        spoil(dataset)

    with pytest.raises(VolumeError, match=rf"7 frame\(s\) with {reason},? were left out: .* and 4 more"):
        planned(datasets, tmp_path)


@pytest.mark.parametrize(("bits", "signed"), [(16, False), (12, False), (16, True)])
def test_inverted_greys_are_turned_back(tmp_path: Path, bits: int, signed: bool) -> None:
    """PS3.3 C.7.6.3.1.2: of MONOCHROME1 the lowest value is white."""
    stored = (-1 - FIRST.astype(np.int16)) if signed else ((1 << bits) - 1 - FIRST).astype(np.uint16)

    plan = planned(
        made_mr(stored, PhotometricInterpretation="MONOCHROME1", BitsStored=bits, HighBit=bits - 1), tmp_path
    )

    np.testing.assert_array_equal(voxels_of(plan), FIRST)
    assert "MONOCHROME1" in plan.notes[0]


VARYING: dict[str, list[object]] = {
    "EchoTime": ["121.2", "121.21"],
    "InversionTime": ["150", "190", "230"],
    "TemporalPositionIdentifier": [1, 2, 3, 4, 5, 6, 7],
    "StackID": ["1", "2"],
    "DiffusionBValue": [0.0, 50.0],
}


@pytest.mark.parametrize("keyword", VARYING)
def test_what_varies_without_any_place_being_there_twice_tells_nothing_apart(tmp_path: Path, keyword: str) -> None:
    """Half of the slices, twice as far apart, would be passed off as the volume."""
    datasets = made_mr(FIRST)
    for index, dataset in enumerate(datasets):
        setattr(dataset, keyword, VARYING[keyword][index % len(VARYING[keyword])])

    plan = planned(datasets, tmp_path)

    assert (len(plan.stacks), plan.notes) == (1, ())
    np.testing.assert_array_equal(voxels_of(plan), FIRST)


def test_a_missing_slice_is_not_explained_away_by_an_echo_time(tmp_path: Path) -> None:
    """Of interleaved slices with two echo times, one lost: the halves are no volumes."""
    datasets = made_mr(np.arange(13 * 4, dtype=np.uint16).reshape(13, 2, 2))
    for index, dataset in enumerate(datasets):
        dataset.EchoTime = "100" if index % 2 else "110"

    with pytest.raises(VolumeError, match="1 slice.s. missing"):
        planned([*datasets[:5], *datasets[6:]], tmp_path)


def test_echoes_that_jitter_are_two_volumes_and_no_more(tmp_path: Path) -> None:
    """A hundredth of a millisecond is what the scanner measured; 80 ms are another echo."""
    first, second = made_mr(FIRST), again(made_mr(SECOND))
    for index in range(len(FIRST)):
        first[index].EchoTime, second[index].EchoTime = f"{98 + index % 2 / 100}", f"{20 + index % 3 / 100}"

    plan = planned(interleaved(first, second), tmp_path)

    assert [stack.shape[0] for stack in plan.stacks] == [7, 7]
    np.testing.assert_array_equal(voxels_of(plan), FIRST)


def test_time_points_are_told_apart_although_inversion_times_vary_too(tmp_path: Path) -> None:
    """Each slice has an inversion time of its own at each time point."""
    first = marked(made_mr(FIRST), {"TemporalPositionIdentifier": 1})
    second = marked(again(made_mr(SECOND)), {"TemporalPositionIdentifier": 2})
    for index, dataset in enumerate([*first, *second]):
        dataset.InversionTime = f"{150 + 20 * index}"

    plan = planned([*first, *second], tmp_path)

    assert [stack.shape[0] for stack in plan.stacks] == [7, 7]


def test_stacks_beside_each_other_stay_two(tmp_path: Path) -> None:
    """Left and right, by Stack ID, with a gap between: nothing is missing."""
    left, right = SAGITTAL.copy(), SAGITTAL.copy()
    right[0, 3] += 90
    datasets = [*made_mr(FIRST, left, StackID="1"), *again(made_mr(SECOND, right, StackID="2"))]

    assert [stack.shape[0] for stack in planned(datasets, tmp_path).stacks] == [7, 7]


def test_stations_within_one_multi_frame_image_are_named(tmp_path: Path) -> None:
    """They are not positions that repeat."""
    lower = SAGITTAL.copy()
    lower[2, 3] -= 250
    dataset = made_enhanced_mr(np.concatenate([FIRST, SECOND]))
    both = (*made_enhanced_mr(FIRST).PerFrameFunctionalGroupsSequence,)
    both += (*made_enhanced_mr(SECOND, lower).PerFrameFunctionalGroupsSequence,)
    for groups, placed in zip(dataset.PerFrameFunctionalGroupsSequence, both, strict=True):
        groups.PlanePositionSequence = placed.PlanePositionSequence

    plan = planned([dataset], tmp_path)

    assert [stack.shape[0] for stack in plan.stacks] == [7, 7]
    assert "station 1 of 2" in plan.notes[-1] and "station 2 of 2" in plan.notes[-1]


ORIGINS: dict[str, tuple[dict[str, object], str]] = {
    "DERIVED": ({"ImageType": ["DERIVED", "PRIMARY", "M", "ND"]}, "the images are marked as derived"),
    "lossy": ({"LossyImageCompression": "01"}, "the images were compressed with loss"),
    "no space": (
        {"FrameOfReferenceUID": None},
        "the series has no Frame of Reference UID: one was made from its Series Instance UID, for its results",
    ),
}


@pytest.mark.parametrize("case", ORIGINS)
def test_what_a_reader_should_know_of_the_images_is_said(tmp_path: Path, case: str) -> None:
    """Taken all the same."""
    attributes, sentence = ORIGINS[case]

    assert planned(made_mr(FIRST, **attributes), tmp_path).notes == (sentence,)  # type: ignore[arg-type]


def test_the_code_of_a_derivation_is_said_and_nobodys_words(tmp_path: Path) -> None:
    """Code Meanings of a site are free text."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113040", "DCM", "Smith^John compressed"
    plan = planned(made_mr(FIRST, ImageType=["DERIVED", "PRIMARY"], DerivationCodeSequence=[code]), tmp_path)

    assert plan.notes == ("the images are marked as derived (113040 DCM)",)


def test_slices_far_apart_are_a_localizer(tmp_path: Path) -> None:
    """Whatever the header calls it."""
    affine = np.array([[15.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])

    with pytest.raises(VolumeError, match="neighbouring slices lie 15.0 mm apart, more than 10 mm"):
        planned(made_mr(FIRST, affine), tmp_path)


def test_slices_with_and_without_rescale_make_no_volume(tmp_path: Path) -> None:
    """Their values are not of one scale."""
    datasets = [*made_mr(FIRST, rescale=(2.0, 0.0))[:3], *made_mr(FIRST)[3:]]

    with pytest.raises(VolumeError, match="some of its slices have a Rescale Slope, others none"):
        planned(datasets, tmp_path)


def test_each_slice_is_rescaled_by_its_own_slope(tmp_path: Path) -> None:
    """Scanners scale each slice to its own maximum."""
    datasets = [made_mr(FIRST, rescale=(index + 1.0, 0.0))[index] for index in range(len(FIRST))]

    expected = FIRST * (np.arange(len(FIRST)) + 1.0)[:, None, None]

    np.testing.assert_allclose(voxels_of(planned(datasets, tmp_path)), expected)


@pytest.mark.parametrize(("lowest", "signal"), [(-300, -300), (40, 0)])
def test_padding_is_no_signal(tmp_path: Path, lowest: int, signal: int) -> None:
    """Pixel Padding Value lies far from any tissue: 0 takes its place, or the lowest value where some are below."""
    stored = FIRST.astype(np.int16) + lowest
    stored[:, 0] = -32768
    datasets = made_mr(stored, PixelPaddingValue=-32768)

    read = voxels_of(planned(datasets, tmp_path))

    stored[:, 0] = signal if lowest > 0 else stored[:, 1:].min()
    np.testing.assert_array_equal(read, stored)


def test_nothing_but_padding_is_refused(tmp_path: Path) -> None:
    """An empty volume has no result."""
    plan = planned(made_mr(np.zeros_like(FIRST), PixelPaddingValue=0), tmp_path)

    with pytest.raises(VolumeError, match="padding from end to end"):
        voxels_of(plan)
