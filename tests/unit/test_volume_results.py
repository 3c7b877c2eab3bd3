"""Results of an MR volume: two Segmentations in the source's geometry, a report that points at one, a picture."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.quantity import Quantity
from models.spineps.morphometry import CanalMeasures, DiscMeasures, VertebraMeasures, VolumeMorphometry
from operators.dicom.errors import ResultError
from operators.dicom.identity import Profile
from operators.dicom.picture import Caption
from operators.dicom.verify import encode, verify_report
from operators.dicom.volume import SliceStack, plan_volumes, read_volume
from operators.dicom.volume_picture import render_volume
from operators.dicom.volume_report import build_volume_report
from operators.dicom.volume_segmentation import VolumeSegmentations, build_volume_segmentations
from operators.dicom.volume_verify import centroids_lps, verify_volume_segmentation
from tests.made_dicom import made_uid
from tests.made_mr import SAGITTAL, made_enhanced_mr, series_of
from tests.made_volume import ALGORITHM, DISC_BOX, VERTEBRA_BOXES, made_result_on, made_stack, made_voxels

PROFILES: tuple[Profile, ...] = ("standard", "ohif")
MORPHOMETRY = VolumeMorphometry(
    vertebrae=(
        VertebraMeasures(1, "L4", Quantity(100.0, "mm3"), anterior_height=Quantity(27.5, "mm")),
        VertebraMeasures(3, "L5", Quantity(100.0, "mm3"), listhesis_offset=Quantity(2.25, "mm")),
    ),
    discs=(DiscMeasures(2, "L4/L5", Quantity(50.0, "mm3"), Quantity(9.5, "mm"), Quantity(0.27, "ratio")),),
    canal=(CanalMeasures("L4", Quantity(15.5, "mm"), Quantity(210.0, "mm2")),),
    lordoses=(),
    warnings=("L5 is cut by the field of view",),
)


def build(stack: SliceStack, profile: Profile = "standard") -> VolumeSegmentations:
    """Both Segmentations of the made result."""
    return build_volume_segmentations(made_result_on(stack), stack, algorithm=ALGORITHM, profile=profile)


def held_against_the_engine(stack: SliceStack, profile: Profile) -> None:
    """Centroids from the Segmentation's own geometry against those of the engine."""
    result, built = made_result_on(stack), build(stack, profile)
    for segmentation, structures in ((built.vertebrae, result.vertebrae), (built.substructures, result.substructures)):
        _, centroids = centroids_lps(segmentation)
        for structure in structures:
            np.testing.assert_allclose(centroids[structure.segment_number], structure.centroid_lps_mm, atol=2e-3)


@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_a_labelmap_goes_out_with_the_geometry_it_came_in_with(
    tmp_path: Path, axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    """All 48 axis-aligned orientations of slices, rows and columns."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(axes)] * np.array([4.0, 1.0, 0.7]) * signs
    affine[:3, 3] = (5, -70, 110)

    held_against_the_engine(made_stack(tmp_path, affine), "ohif")


@settings(deadline=None, max_examples=15)
@given(turns=st.tuples(*[st.floats(-0.6, 0.6)] * 3), profile=st.sampled_from(PROFILES))
def test_oblique_labelmaps_go_out_where_they_came_in(
    tmp_path_factory: pytest.TempPathFactory, turns: tuple[float, float, float], profile: Profile
) -> None:
    """Turned about all three axes."""
    matrix = np.eye(3)
    for axis, angle in enumerate(turns):
        c, s = np.cos(angle), np.sin(angle)
        matrix = np.roll(np.roll(np.array([[1, 0, 0], [0, c, -s], [0, s, c]]), axis, 0), axis, 1) @ matrix
    affine = SAGITTAL.copy()
    affine[:3, :3] = matrix @ affine[:3, :3]

    held_against_the_engine(made_stack(tmp_path_factory.mktemp("oblique"), affine), profile)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("enhanced", [False, True])
def test_both_segmentations_pass_the_last_look(tmp_path: Path, profile: Profile, enhanced: bool) -> None:
    """From single frames and from Enhanced MR; decoded from their bytes they are the labelmaps."""
    stack = made_stack(tmp_path, enhanced=enhanced)
    result, built = made_result_on(stack), build(stack, profile)

    verify_volume_segmentation(encode(built.vertebrae), result.vertebra_labelmap, stack, result.vertebrae)
    verify_volume_segmentation(encode(built.substructures), result.subregion_labelmap, stack, result.substructures)


def test_the_two_lie_in_series_of_their_own_in_the_source_study(tmp_path: Path) -> None:
    """OHIF shows only the last Segmentation of a Series; a repeat gives the same identifiers."""
    stack = made_stack(tmp_path)
    first, again, other = build(stack), build(stack), build(stack, "ohif")

    source = stack.datasets[0]
    assert first.vertebrae.SeriesInstanceUID != first.substructures.SeriesInstanceUID
    assert first.vertebrae.SeriesNumber != first.substructures.SeriesNumber
    for one, same, another in (
        (first.vertebrae, again.vertebrae, other.vertebrae),
        (first.substructures, again.substructures, other.substructures),
    ):
        assert one.StudyInstanceUID == source.StudyInstanceUID
        assert one.FrameOfReferenceUID == source.FrameOfReferenceUID
        assert encode(one) == encode(same)
        assert one.SOPInstanceUID != another.SOPInstanceUID


def test_segments_are_named_by_level_and_coded(tmp_path: Path) -> None:
    """Vertebra, disc, structure; left and right as a modifier."""
    built = build(made_stack(tmp_path))

    vertebrae = {
        item.SegmentLabel: item.SegmentedPropertyTypeCodeSequence[0] for item in built.vertebrae.SegmentSequence
    }
    assert {label: code.CodeValue for label, code in vertebrae.items()} == {
        "L4": "11994002",
        "L4/L5": "84020006",
        "L5": "49668003",
    }
    structures = [item.SegmentLabel for item in built.substructures.SegmentSequence]
    assert structures == ["vertebral arch", "vertebral body", "spinal canal", "intervertebral disc"]


def test_each_frame_points_at_the_slice_it_lies_on(tmp_path: Path) -> None:
    """Derivation Image: the source instance with the same position."""
    stack = made_stack(tmp_path)
    positions = {str(d.SOPInstanceUID): [float(x) for x in d.ImagePositionPatient] for d in stack.datasets}

    for groups in build(stack).vertebrae.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        own = [float(x) for x in groups.PlanePositionSequence[0].ImagePositionPatient]
        assert positions[source.ReferencedSOPInstanceUID] == pytest.approx(own, abs=1e-3)


def test_a_frame_of_enhanced_mr_is_pointed_at_by_its_number(tmp_path: Path) -> None:
    """One instance, many frames."""
    built = build(made_stack(tmp_path, enhanced=True))

    numbers = {
        int(groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber)
        for groups in built.vertebrae.PerFrameFunctionalGroupsSequence
    }
    assert numbers == {2, 3, 4, 5, 6}


def test_slice_spacing_is_that_of_the_positions_whatever_the_scanner_wrote(tmp_path: Path) -> None:
    """Some write the gap between slices there, some nothing; Slice Thickness stays the scanner's own."""
    wrong = made_stack(tmp_path / "wrong", attributes={"SpacingBetweenSlices": "0.4", "SliceThickness": "3.6"})
    absent = made_stack(tmp_path / "absent", attributes={"SliceThickness": None})

    for stack, thickness in ((wrong, 3.6), (absent, 4.0), (made_stack(tmp_path / "enhanced", enhanced=True), 4.0)):
        for segmentation in (build(stack).vertebrae, build(stack, "ohif").substructures):
            measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
            assert float(measures.SpacingBetweenSlices) == 4.0
            assert float(measures.SliceThickness) == thickness
            assert [float(value) for value in measures.PixelSpacing] == [1.0, 1.0]


@pytest.mark.parametrize("profile", PROFILES)
def test_an_anonymised_source_gives_empty_attributes_instead_of_a_failure(tmp_path: Path, profile: Profile) -> None:
    """What the anonymiser took stays away; identity and place do not need it."""
    gone = ("PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "StudyTime", "PositionReferenceIndicator")
    stack = made_stack(tmp_path, attributes=dict.fromkeys(gone))

    for segmentation in (build(stack, profile).vertebrae, build(stack, profile).substructures):
        assert not segmentation.PatientBirthDate
        assert not segmentation.PositionReferenceIndicator


def test_the_other_echo_of_enhanced_mr_is_not_pointed_at(tmp_path: Path) -> None:
    """Two echoes at every place: the frames of one were segmented, and only those are the source."""
    dataset = made_enhanced_mr(np.concatenate([made_voxels()] * 2))
    for index, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        echo, first = Dataset(), dataset.PerFrameFunctionalGroupsSequence[index % 7]
        echo.EffectiveEchoTime = 20.0 if index < 7 else 100.0
        groups.MREchoSequence, groups.PlanePositionSequence = [echo], first.PlanePositionSequence
    del dataset.SharedFunctionalGroupsSequence[0].MREchoSequence
    stack = plan_volumes(series_of([dataset], tmp_path)).chosen
    result = made_result_on(stack)

    for profile in PROFILES:
        built = build(stack, profile)

        verify_volume_segmentation(encode(built.vertebrae), result.vertebra_labelmap, stack, result.vertebrae)
        pointed_at = {
            int(groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber)
            for groups in built.vertebrae.PerFrameFunctionalGroupsSequence
        }
        assert pointed_at == {9, 10, 11, 12, 13}


def test_a_source_without_a_frame_of_reference_gets_one_of_its_own(tmp_path: Path) -> None:
    """Made from the Series' UID: both Segmentations lie in it, and the same input gives the same one."""
    spaces = set()
    for name in ("once", "again"):
        stack = made_stack(
            tmp_path / name, attributes={"FrameOfReferenceUID": None, "PositionReferenceIndicator": None}
        )
        built = build(stack)
        spaces |= {built.vertebrae.FrameOfReferenceUID, built.substructures.FrameOfReferenceUID}
        assert "FrameOfReferenceUID" not in stack.datasets[0]

    assert len(spaces) == 1
    assert next(iter(spaces)).startswith("2.25.")


def test_a_source_of_two_frames_of_reference_is_refused(tmp_path: Path) -> None:
    """The patient has moved between slices."""
    two = made_stack(tmp_path / "two")
    two.datasets[3].FrameOfReferenceUID = made_uid("another place")

    with pytest.raises(ResultError, match="has 2 Frames of Reference"):
        build(two)


def test_nothing_found_and_foreign_grids_are_refused(tmp_path: Path) -> None:
    """An empty Segmentation is never sent."""
    stack = made_stack(tmp_path)
    result = made_result_on(stack)

    for wrong, message in (
        (replace(result, vertebrae=()), "nothing was segmented"),
        (replace(result, vertebra_labelmap=result.vertebra_labelmap[1:]), "labelmap of"),
        (replace(result, vertebrae=result.vertebrae[:2]), "labelmap for series .* holds"),
    ):
        with pytest.raises(ResultError, match=message):
            build_volume_segmentations(wrong, stack, algorithm=ALGORITHM)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_report_has_a_group_per_segment_with_what_was_measured(tmp_path: Path, profile: Profile) -> None:
    """TID 1411 groups that point at Segments, a group for the whole spine, doubts as comments."""
    stack = made_stack(tmp_path)
    segmentation = build(stack, profile).vertebrae
    report = build_volume_report(
        MORPHOMETRY, made_result_on(stack), stack, segmentation=segmentation, algorithm=ALGORITHM, profile=profile
    )

    verify_report(encode(report), stack.datasets, segmentation)
    values = {
        (str(item.ConceptNameCodeSequence[0].CodeValue), float(item.MeasuredValueSequence[0].NumericValue))
        for item in _all_items(report)
        if item.ValueType == "NUM"
    }
    assert {
        ("HEIGHT-A", 27.5),
        ("LISTHESIS", 2.25),
        ("DISC-HEIGHT", 9.5),
        ("DISC-INDEX", 0.27),
        ("CANAL-AP", 15.5),
        ("CANAL-AREA", 210.0),
    } <= values
    texts = {str(item.TextValue) for item in _all_items(report) if item.ValueType == "TEXT"}
    assert {"the lowest disc is faint", "L5 is cut by the field of view"} <= texts
    segments = {
        int(number)
        for item in _all_items(report)
        if item.ValueType == "IMAGE" and "ReferencedSegmentNumber" in item.ReferencedSOPSequence[0]
        for number in np.atleast_1d(item.ReferencedSOPSequence[0].ReferencedSegmentNumber)
    }
    assert segments == {1, 2, 3}


def test_each_group_of_the_report_on_a_volume_points_at_its_middle_slice(tmp_path: Path) -> None:
    """The body of a vertebra, not its arch; canal values stand in the group of their level."""
    stack = made_stack(tmp_path)
    segmentation = build(stack, "standard").vertebrae
    report = build_volume_report(
        MORPHOMETRY, made_result_on(stack), stack, segmentation=segmentation, algorithm=ALGORITHM
    )
    groups = [item.ContentSequence for item in report.ContentSequence[-1].ContentSequence]
    library = next(item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "111028")

    names = [[str(item.TextValue) for item in group if item.ValueType == "TEXT"][-1] for group in groups[:-1]]
    assert names == ["L4", "L4/L5", "L5"]
    boxes = (VERTEBRA_BOXES["L4"], DISC_BOX, VERTEBRA_BOXES["L5"])
    for group, (slices, rows, columns) in zip(groups[:-1], boxes, strict=True):
        place = next(item for item in _below(group) if item.ValueType == "SCOORD")
        points = np.array(place.GraphicData, float).reshape(-1, 2)
        assert points.min(0).tolist() == pytest.approx([columns.start, rows.start], abs=0.5)
        assert points.max(0).tolist() == pytest.approx([columns.stop, rows.stop], abs=0.5)
        frame = stack.frames[(slices.start + slices.stop - 1) // 2]
        reference = place.ContentSequence[0].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == frame.instance.sop_instance_uid
    concepts = [{str(item.ConceptNameCodeSequence[0].CodeValue) for item in _below(group)} for group in groups]
    assert ["CANAL-AP" in found for found in concepts] == [True, False, False, False]
    assert ["COUNT" in found for found in concepts] == [False, False, False, True]
    images = [item for item in library.ContentSequence[0].ContentSequence if item.ValueType == "IMAGE"]
    assert len(images) == len(stack.frames)


def _below(items: Sequence[Dataset]) -> list[Dataset]:
    return [each for item in items for each in (item, *_below(item.get("ContentSequence", [])))]


@pytest.mark.parametrize(
    "wrong",
    [
        replace(MORPHOMETRY, discs=(replace(MORPHOMETRY.discs[0], segment_number=3),)),
        replace(MORPHOMETRY, vertebrae=(replace(MORPHOMETRY.vertebrae[0], segment_number=9),)),
        replace(MORPHOMETRY, canal=(replace(MORPHOMETRY.canal[0], label="T1"),)),
    ],
    ids=["another number", "no such number", "no such level"],
)
def test_measurements_of_other_structures_are_refused(tmp_path: Path, wrong: VolumeMorphometry) -> None:
    """A height of L4 must not stand at L5."""
    stack = made_stack(tmp_path)

    with pytest.raises(ResultError, match="which are no Segments of their number and label"):
        build_volume_report(
            wrong, made_result_on(stack), stack, segmentation=build(stack).vertebrae, algorithm=ALGORITHM
        )


def _all_items(dataset: Dataset) -> list[Dataset]:
    items = list(dataset.get("ContentSequence") or [])
    return items + [below for item in items for below in _all_items(item)]


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, 1, -1)])
def test_the_picture_is_the_same_however_the_stack_was_stored(tmp_path: Path, signs: tuple[int, ...]) -> None:
    """Head up, facing left: bodies left of the canal, L4 above L5, whichever way rows and columns run."""
    affine = SAGITTAL.copy()
    affine[:3, :3] = affine[:3, :3] * signs
    stack = made_stack(tmp_path, affine)
    result = made_result_on(stack)

    picture = render_volume(read_volume(stack, contrast="T2w"), result, Caption("made"))

    half = picture.shape[1] // 2
    upwards = signs[1] > 0
    colours = {"L4": (0x3D, 0xDC, 0x97), "L5": (0xFF, 0x5C, 0x8A)}
    rows = {level: _where(picture[:, :half], colour)[0] for level, colour in colours.items()}
    assert (rows["L4"] < rows["L5"]) == upwards
    canal, body = (_where(picture[:, half:], colour)[1] for colour in ((0x38, 0xD6, 0xE8), (0x4E, 0x9B, 0xFF)))
    assert (body < canal) == (signs[2] > 0)


def test_a_spine_that_leaves_the_middle_slice_stays_in_the_picture(tmp_path: Path) -> None:
    """Scoliosis: L4 lies in the first slices and L5 in the last, so that no plane of the stack shows both."""
    stack = made_stack(tmp_path, SAGITTAL @ np.diag([1, 10, 10, 1]))
    result = made_result_on(stack)
    labelmaps = []
    for labelmap in (result.vertebra_labelmap, result.subregion_labelmap):
        curved = np.zeros_like(labelmap)
        curved[:2, :10], curved[-2:, 11:] = labelmap[3, :10], labelmap[3, 11:]
        labelmaps.append(curved)
    result = replace(result, vertebra_labelmap=labelmaps[0], subregion_labelmap=labelmaps[1])

    picture = render_volume(read_volume(stack, contrast="T2w"), result, Caption("made"))

    for colour in ((0x3D, 0xDC, 0x97), (0xFF, 0x5C, 0x8A)):
        assert _where(picture[:, : picture.shape[1] // 2], colour).shape == (2,)


def _where(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.float64]:
    """Mean (row, column) of the contour drawn in a colour."""
    near = np.abs(picture.astype(int) - colour).sum(-1) < 12
    assert near.any()
    return np.asarray(np.argwhere(near).mean(0), np.float64)
