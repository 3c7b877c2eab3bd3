"""A Segmentation holds the engine's labelmap, points at its source, and is the same whenever it is built."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from operators.dicom.errors import ResultError
from operators.dicom.identity import Profile
from operators.dicom.segmentation import build_segmentation
from operators.dicom.verify import encode, macro
from tests.made_results import ALGORITHM, made_labelmap, made_source, made_structures

PROFILES: tuple[Profile, ...] = ("standard", "ohif")
TYPE_2_ATTRIBUTES = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
ANONYMISED = (*TYPE_2_ATTRIBUTES, "SpecificCharacterSet", "ContentDate", "ContentTime", "SeriesDate", "SeriesNumber",
              "AcquisitionDate", "Manufacturer")  # fmt: skip


def built(profile: Profile = "standard", *, source: Dataset | None = None, **keywords: Any) -> Dataset:
    """Build the Segmentation of the made radiograph and read it back from its bytes."""
    dataset = made_source() if source is None else source
    result = build_segmentation(
        made_labelmap(), [dataset], made_structures(), algorithm=ALGORITHM, profile=profile, **keywords
    )
    return dcmread(BytesIO(encode(result)))


@pytest.mark.parametrize("profile", PROFILES)
def test_the_labelmap_comes_back_pixel_for_pixel(profile: Profile) -> None:
    """Whatever the encoding, a reader that knows nothing of us gets the engine's labelmap."""
    source = made_source()

    segmentation = hd.seg.Segmentation.from_dataset(built(profile, source=source))
    pixels = segmentation.get_pixels_by_source_instance([source.SOPInstanceUID], combine_segments=True)

    np.testing.assert_array_equal(pixels[0], made_labelmap())


def test_each_profile_has_its_sop_class_and_number_of_frames() -> None:
    """`standard` is BINARY with a frame per Segment, `ohif` is a label map of one frame."""
    standard, ohif = built("standard"), built("ohif")

    assert (standard.SOPClassUID, standard.SegmentationType, standard.NumberOfFrames) == (
        "1.2.840.10008.5.1.4.1.1.66.4", "BINARY", 4,
    )  # fmt: skip
    assert (ohif.SOPClassUID, ohif.SegmentationType, ohif.NumberOfFrames) == (
        "1.2.840.10008.5.1.4.1.1.66.7", "LABELMAP", 1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("patient_orientation", "cosines"),
    [(("A", "F"), [0, -1, 0, 0, 0, -1]), (("P", "F"), [0, 1, 0, 0, 0, -1]), (("AR", "FP"), [0, -1, 0, 0, 0, -1])],
)
def test_the_standard_profile_lies_in_the_plane_that_patient_orientation_tells(
    patient_orientation: tuple[str, str], cosines: list[int]
) -> None:
    """PS3.3 C.7.6.1.1.1; readers of volumes ask for plane, position, spacing, a space and its dimension."""
    segmentation = built("standard", source=made_source(patient_orientation=patient_orientation), spacing_mm=(0.2, 0.1))

    shared = segmentation.SharedFunctionalGroupsSequence[0]
    measures = shared.PixelMeasuresSequence[0]
    assert list(shared.PlaneOrientationSequence[0].ImageOrientationPatient) == cosines
    assert (list(measures.PixelSpacing), measures.SliceThickness, measures.SpacingBetweenSlices) == ([0.2, 0.1], 1, 1)
    frames = segmentation.PerFrameFunctionalGroupsSequence
    assert [list(macro(frame, shared, "PlanePositionSequence").ImagePositionPatient) for frame in frames] == [
        [0, 0, 0]
    ] * 4
    pointers = [item.DimensionIndexPointer for item in segmentation.DimensionIndexSequence]
    assert pointers == [Tag("ReferencedSegmentNumber"), Tag("ImagePositionPatient")]
    assert [list(frame.FrameContentSequence[0].DimensionIndexValues) for frame in frames] == [
        [number, 1] for number in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize("patient_orientation", [None, ("A", "P"), ("A", "X")])
def test_the_standard_profile_invents_no_plane(patient_orientation: tuple[str, str] | None) -> None:
    """PS3.3 A.51: without Frame of Reference there is no Pixel Measures, no plane; a nominal one would be false."""
    source = made_source(modality="CR", patient_orientation=None)
    if patient_orientation:
        source.PatientOrientation = [*patient_orientation]

    segmentation = built("standard", source=source)

    assert "FrameOfReferenceUID" not in segmentation
    shared = segmentation.get("SharedFunctionalGroupsSequence") or [Dataset()]
    assert "PixelMeasuresSequence" not in shared[0]
    assert "PlaneOrientationSequence" not in shared[0]


def test_each_radiograph_lies_in_a_space_of_its_own() -> None:
    """The same for a repeat, another for another image: nothing may be laid over it but its own results."""
    one, again, other = (built(source=made_source(instance_number=number)) for number in (1, 1, 2))

    assert one.FrameOfReferenceUID == again.FrameOfReferenceUID != other.FrameOfReferenceUID


@pytest.mark.parametrize(("spacing_mm", "stored"), [(None, [1, 1]), ((0.15, 0.1), [0.15, 0.1])])
def test_the_ohif_profile_has_the_two_macros_that_ohif_reads(
    spacing_mm: tuple[float, float] | None, stored: list[float]
) -> None:
    """Pixel Measures hold the calibrated spacing, or one unit a pixel; the plane is the nominal one."""
    shared = built("ohif", spacing_mm=spacing_mm).SharedFunctionalGroupsSequence[0]

    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == stored
    assert list(shared.PlaneOrientationSequence[0].ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_vertebra_is_a_segment_with_code_label_algorithm_and_colour(profile: Profile) -> None:
    """A Segment tells level, algorithm and colour without any other file."""
    segments = [item for item in built(profile).SegmentSequence if item.SegmentNumber > 0]

    assert [item.SegmentLabel for item in segments] == ["C3", "C4", "C5", "vertebra 4"]
    assert [item.SegmentedPropertyTypeCodeSequence[0].CodeValue for item in segments] == [
        "113205007", "5329002", "36978003", "51282000",
    ]  # fmt: skip
    for item in segments:
        algorithm = item.SegmentationAlgorithmIdentificationSequence[0]
        assert item.SegmentAlgorithmType == "AUTOMATIC"
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("spinefm-test", "1.2.0")
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
        assert item.TrackingID == item.SegmentLabel
    assert len({item.TrackingUID for item in segments}) == 4
    colours = [tuple(item.RecommendedDisplayCIELabValue) for item in segments]
    assert all(upper != lower for upper, lower in pairwise(colours))


@pytest.mark.parametrize("profile", PROFILES)
def test_series_and_frames_point_at_the_source_instance(profile: Profile) -> None:
    """OHIF reads Referenced Series; per frame there is derivation, purpose and Spatial Locations Preserved."""
    source = made_source()
    segmentation = built(profile, source=source)

    series = segmentation.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        derivation = frame.DerivationImageSequence[0]
        image = derivation.SourceImageSequence[0]
        assert derivation.DerivationCodeSequence[0].CodeValue == "113076"
        assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert image.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert image.SpatialLocationsPreserved == "YES"


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_input_gives_the_same_bytes(profile: Profile) -> None:
    """No clock and no chance: a study routed twice gives the same instance, not a second one."""
    first, second = (
        encode(
            build_segmentation(
                made_labelmap(), [made_source()], made_structures(), algorithm=ALGORITHM, profile=profile
            )
        )
        for _ in range(2)
    )

    assert first == second


def test_another_pack_another_profile_or_another_image_is_another_instance() -> None:
    """UIDs follow from what a result is made of."""
    uids = {
        built("standard").SOPInstanceUID,
        built("ohif").SOPInstanceUID,
        built("standard", source=made_source(instance_number=2)).SOPInstanceUID,
    }

    assert len(uids) == 3


def test_two_radiographs_of_a_study_get_series_of_their_own() -> None:
    """Same study, different Series Number and UID."""
    first, second = built(source=made_source()), built(source=made_source(instance_number=2))

    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID
    assert first.SeriesNumber != second.SeriesNumber
    assert min(first.SeriesNumber, second.SeriesNumber) > 900_000


@pytest.mark.parametrize("profile", PROFILES)
def test_an_anonymised_source_gives_empty_attributes_instead_of_a_failure(profile: Profile) -> None:
    """Type 2 attributes that an anonymiser removed are present and empty."""
    segmentation = built(profile, source=made_source(without=ANONYMISED))

    for keyword in TYPE_2_ATTRIBUTES:
        assert keyword in segmentation
        assert not segmentation[keyword].value
    assert segmentation.ContentDate == "19000101"


def test_odd_values_of_the_source_are_carried_verbatim() -> None:
    """Values that break their VR are the source's business: the result must still match the patient."""
    source = made_source()
    source.SpecificCharacterSet = "ISO_IR 100"
    source.PatientName = "Müller"
    source.add_new("PatientSex", "CS", "U")

    segmentation = built(source=source)

    assert segmentation.SpecificCharacterSet == "ISO_IR 100"
    assert str(segmentation.PatientName) == "Müller"
    assert segmentation.PatientSex == "U"


@pytest.mark.parametrize("profile", PROFILES)
def test_a_radiograph_with_a_frame_of_reference_but_no_position_is_segmented_too(profile: Profile) -> None:
    """Some makers give projections a Frame of Reference UID; the made plane does not lie in that space."""
    source = made_source()
    source.FrameOfReferenceUID = "1.2.3.4"
    source.PositionReferenceIndicator = ""

    segmentation = built(profile, source=source)

    assert (segmentation.FrameOfReferenceUID == "1.2.3.4") is (profile == "ohif")


@pytest.mark.parametrize("research_only", [True, False])
def test_the_result_says_what_it_is_not_for(research_only: bool) -> None:
    """Content Qualification and description follow the pack's intended use."""
    identity = type(ALGORITHM)("p", "1", "cd" * 32, "0.1.0", research_only=research_only)
    segmentation = build_segmentation(made_labelmap(), [made_source()], made_structures(), algorithm=identity)

    assert segmentation.ContentQualification == ("RESEARCH" if research_only else "PRODUCT")
    assert ("not for diagnosis" in segmentation.SeriesDescription) is research_only
    purposes = [item.PurposeOfReferenceCodeSequence[0].CodeValue for item in segmentation.ContributingEquipmentSequence]
    ours = segmentation.ContributingEquipmentSequence[purposes.index("109102")]
    assert ours.DeviceUID == identity.device_uid != ALGORITHM.device_uid


def test_a_labelmap_on_another_grid_is_refused() -> None:
    """Rows and columns are those of the source, never exchanged."""
    with pytest.raises(ResultError, match="labelmap of .163, 201. for instance"):
        build_segmentation(made_labelmap().T, [made_source()], made_structures(), algorithm=ALGORITHM)


def test_an_empty_segment_is_refused() -> None:
    """A structure without a single pixel is a contradiction."""
    labelmap = made_labelmap()
    labelmap[labelmap == 2] = 0

    with pytest.raises(ResultError, match=r"holds \[1, 3, 4\], the structures are \[1, 2, 3, 4\]"):
        build_segmentation(labelmap, [made_source()], made_structures(), algorithm=ALGORITHM)


def test_nothing_found_is_refused() -> None:
    """An empty Segmentation is never sent."""
    with pytest.raises(ResultError, match="an empty Segmentation is never sent"):
        build_segmentation(np.zeros_like(made_labelmap()), [made_source()], (), algorithm=ALGORITHM)


def test_a_source_without_identifiers_is_refused() -> None:
    """Nothing can refer to an instance without UIDs."""
    with pytest.raises(ResultError, match="has no SeriesInstanceUID"):
        built(source=made_source(without=["SeriesInstanceUID"]))


def test_the_nth_item_of_the_ohif_profile_describes_segment_n() -> None:
    """OHIF takes the colour of a segment from its position: the background of the label map comes last."""
    numbers = [item.SegmentNumber for item in built("ohif").SegmentSequence]

    assert numbers == [*range(1, len(numbers)), 0]
