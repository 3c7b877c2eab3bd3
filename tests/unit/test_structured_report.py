"""The report says per Segment what was measured, in units the image gives, and what is doubted."""

from __future__ import annotations

import itertools
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from highdicom import sr
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dictionary
from skimage.measure import grid_points_in_poly

from models.contracts import FoundStructure
from models.spinefm.morphometry import Facing, measure_spine
from operators.dicom import codes
from operators.dicom.errors import ResultError
from operators.dicom.identity import Profile
from operators.dicom.report_summary import LEAST_CERTAINTY
from operators.dicom.segmentation import build_segmentation
from operators.dicom.structured_report import build_report
from operators.dicom.verify import encode, verify_report
from tests.made_results import ALGORITHM, made_labelmap, made_source, made_structures

ANONYMISED = ("PatientBirthDate", "PatientID", "StudyID", "AccessionNumber", "StudyDate", "SpecificCharacterSet")


def built(
    *,
    source: Dataset | None = None,
    structures: tuple[FoundStructure, ...] | None = None,
    profile: Profile = "standard",
    spacing_mm: tuple[float, float] | None = None,
    facing: Facing | None = "right",
    **keywords: Any,
) -> tuple[Dataset, Dataset, Dataset]:
    """Return source, Segmentation and the report as read back from its bytes."""
    dataset = made_source() if source is None else source
    found = made_structures() if structures is None else structures
    segmentation = build_segmentation(
        made_labelmap(), [dataset], found, algorithm=ALGORITHM, profile=profile, spacing_mm=spacing_mm
    )
    report = build_report(
        measure_spine(made_labelmap(), found, spacing_mm=spacing_mm, facing=facing),
        [dataset],
        found,
        labelmap=made_labelmap(),
        segmentation=segmentation,
        algorithm=ALGORITHM,
        numbering=keywords.pop("numbering", "assumed"),
        spacing_mm=spacing_mm,
        profile=profile,
        **keywords,
    )
    return dataset, segmentation, dcmread(BytesIO(encode(report)))


def content(report: Dataset) -> sr.MeasurementReport:
    """Return the report's content as highdicom reads it."""
    parsed = sr.Comprehensive3DSR.from_dataset(report).content
    assert isinstance(parsed, sr.MeasurementReport)
    return parsed


def measurements(group: Any) -> dict[str, tuple[Any, str]]:
    """Return value and unit by meaning."""
    return {item.name.meaning: (item.value, item.unit.value) for item in group.get_measurements()}


def sentences(report: Dataset, code: str) -> list[str]:
    """Return the texts of one concept that the document holds before everything else that it contains."""
    contained = [item for item in report.ContentSequence if item.RelationshipType == "CONTAINS"]
    first = itertools.takewhile(lambda item: item.ValueType == "TEXT", contained)
    return [str(item.TextValue) for item in first if item.ConceptNameCodeSequence[0].CodeValue == code]


def comments(report: Dataset) -> list[str]:
    """Return what is doubted."""
    return sentences(report, "121106")


def summary(report: Dataset) -> list[str]:
    """Return what is told first."""
    return sentences(report, "121111")


def level(number: int, name: str, confidence: float = 0.9) -> FoundStructure:
    """Return one of the made structures under another name."""
    return replace(made_structures()[number - 1], label=name, level=name, confidence=confidence)


def cervical(*, certainty_of_c7: float = 0.9) -> tuple[FoundStructure, ...]:
    """Return the made structures as C2, C3, C4 and C7; the bodies are turned by -6 to +6 degrees."""
    return level(1, "C2"), level(2, "C3"), level(3, "C4"), level(4, "C7", certainty_of_c7)


@pytest.mark.parametrize("profile", ["standard", "ohif"])
def test_each_vertebra_is_a_planar_group_that_points_at_its_segment(profile: Profile) -> None:
    """TID 1410 with finding site, Tracking UID and number of the Segment, and the source image."""
    source, segmentation, report = built(profile=profile)

    groups = content(report).get_planar_roi_measurement_groups()

    assert [group.tracking_identifier for group in groups] == ["C3", "C4", "C5", "vertebra 4"]
    segments = [item for item in segmentation.SegmentSequence if item.SegmentNumber > 0]
    assert [str(group.tracking_uid) for group in groups] == [str(item.TrackingUID) for item in segments]
    for group, structure in zip(groups, made_structures(), strict=True):
        assert group.finding_sites[0].value == codes.level_of(structure).code
        items: Any = group.referenced_segmentation_frame
        reference = items[0].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
        assert reference.ReferencedSegmentNumber == structure.segment_number
        assert "ReferencedFrameNumber" not in reference  # PS3.3 C.18.4: one or the other
        assert items[1].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_without_calibrated_spacing_lengths_are_pixels() -> None:
    """The made bodies are 36 by 28 pixels; angles are degrees all the same."""
    _, _, report = built()

    found = measurements(content(report).get_planar_roi_measurement_groups()[0])

    assert found["Area"] == (pytest.approx(36 * 28, rel=0.03), "{pixels}")
    for name in ("Anterior vertebral body height", "Middle vertebral body height", "Posterior vertebral body height"):
        assert found[name] == (pytest.approx(28, abs=1), "{pixels}")
    assert found["Vertebral wedge angle"] == (pytest.approx(0, abs=2), "deg")
    assert found["Certainty of Finding"] == (80, "%")


def test_with_calibrated_spacing_lengths_are_millimetres() -> None:
    """UCUM mm and mm2."""
    _, _, report = built(spacing_mm=(0.5, 0.5))

    found = measurements(content(report).get_planar_roi_measurement_groups()[0])

    assert found["Area"] == (pytest.approx(18 * 14, rel=0.03), "mm2")
    assert found["Middle vertebral body height"] == (pytest.approx(14, abs=0.5), "mm")


def test_front_and_back_height_are_told_apart_by_a_modifier_too() -> None:
    """A reader without our private scheme finds the finding site with Anterior or Posterior."""
    _, _, report = built()

    group = content(report).get_planar_roi_measurement_groups()[0]

    places = {
        item.name.meaning: [
            str(site.topographical_modifier.meaning) for site in item.finding_sites if site.topographical_modifier
        ]
        for item in group.get_measurements()
    }
    assert all(item.finding_sites for item in group.get_measurements())
    assert places["Anterior vertebral body height"] == ["Anterior"]
    assert places["Posterior vertebral body height"] == ["Posterior"]
    assert places["Middle vertebral body height"] == []


def test_lordosis_stands_in_the_group_of_the_whole_image() -> None:
    """TID 1501: C2-C7 lordosis by Cobb's method, with the source image."""
    source, _, report = built(structures=cervical())

    (group,) = content(report).get_image_measurement_groups()

    assert measurements(group) == {
        "C2-C7 lordosis": (pytest.approx(12, abs=2), "deg"),
        "Number of vertebrae segmented": (4, "{vertebrae}"),
    }
    measured: Any = group.get_measurements()[0]
    assert measured.method.value == dictionary.SCT.CobbAngle.value
    assert group.source_images[0].referenced_sop_instance_uid == source.SOPInstanceUID


@pytest.mark.parametrize("numbering", ["landmark", "assumed", "unknown"])
def test_how_the_vertebrae_were_numbered_is_a_coded_evaluation(numbering: str) -> None:
    """A numbering without landmark is an assumption and reported as one."""
    _, _, report = built(numbering=numbering)

    (group,) = content(report).get_image_measurement_groups()
    (evaluation,) = group.get_qualitative_evaluations(name=codes.NUMBERING)

    assert evaluation.name == codes.NUMBERING
    assert evaluation.value == codes.NUMBERING_VALUES[numbering]


def drawn(group: Any) -> tuple[list[str], list[Any]]:
    """Return what OHIF 3.13 writes beside the outline of a group, and the coordinates that it draws.

    Comments, then the measurements that have no content items or have coordinates among them.
    """
    texts = [str(item.TextValue) for item in group if item.ConceptNameCodeSequence[0].CodeValue == "121106"]
    coordinates = []
    for item in (item for item in group if item.ValueType == "NUM"):
        own = [child for child in item.get("ContentSequence", []) if child.ValueType == "SCOORD"]
        if own or not item.get("ContentSequence"):
            texts.append(str(item.ConceptNameCodeSequence[0].CodeMeaning))
        coordinates += own
    return texts, coordinates


def test_every_group_points_at_its_place_in_the_image() -> None:
    """PS3.16 TID 320: INFERRED FROM, SCOORD, SELECTED FROM the source; without it OHIF 3.13 opens no report."""
    source, _, report = built(structures=cervical(), spacing_mm=(0.5, 0.5))
    groups = [item.ContentSequence for item in report.ContentSequence[-1].ContentSequence]

    shown = [drawn(group) for group in groups]

    two = ["Middle vertebral body height", "Vertebral wedge angle"]
    assert [texts for texts, _ in shown] == [
        ["C2", "C2-C7 lordosis 12.6 deg", "Area"],  # no heights of the axis
        ["C3", *two],
        ["C4", *two],
        ["C7", *two],
        ["C2-C7 lordosis"],
    ]
    for number, (_, coordinates) in enumerate(shown, start=1):
        for item in coordinates:
            assert item.RelationshipType == "INFERRED FROM"
            assert item.ConceptNameCodeSequence[0].CodeValue == "121112"
            (image,) = item.ContentSequence
            assert image.RelationshipType == "SELECTED FROM"
            assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
            points = np.array(item.GraphicData, float).reshape(-1, 2)
            if number <= 4:
                assert item.GraphicType == "POLYLINE"
                inside = grid_points_in_poly(made_labelmap().shape, points[:, ::-1] - 0.5)
                assert (inside == (made_labelmap() == number)).mean() > 0.998
    assert shown[-1][1][0].GraphicType == "MULTIPOINT"  # OHIF writes no text beside it, which would lie over others


def test_a_group_of_the_image_without_curves_points_at_the_image_all_the_same() -> None:
    """The number of vertebrae is always known."""
    _, _, report = built()

    group = report.ContentSequence[-1].ContentSequence[-1].ContentSequence

    assert drawn(group)[0] == ["Number of vertebrae segmented"]


def test_the_summary_comes_first_and_tells_the_most_important_first() -> None:
    """What was examined and how well, the numbering, then what was measured; never a diagnosis."""
    _, _, report = built(structures=cervical(certainty_of_c7=0.5), spacing_mm=(0.5, 0.5))

    told = summary(report)

    assert told[:4] == [
        "Examined: a lateral radiograph. 4 vertebrae segmented, C2 to C7.",
        "Certainty: at least 50% (C7).",
        "Doubtful, certainty below 60%: C7 (50%).",
        "Numbering: assumed, no landmark is in view; the levels may all be off by the same number.",
    ]
    assert told[4] == "Measured: C2-C7 lordosis 12.6 deg (Cobb angle)."
    assert told[5].startswith("Measured: anterior height as a share of the posterior from ")
    assert told[-1] == "Heights were measured in 3 of 4 vertebrae."


def test_what_is_hardly_certain_is_left_out_and_said_to_be() -> None:
    """A structure at 0 % is no finding; the Segmentation still holds it, and the reader is told."""
    source, segmentation, report = built(structures=cervical(certainty_of_c7=LEAST_CERTAINTY - 0.01))

    groups = content(report).get_planar_roi_measurement_groups()

    verify_report(encode(report), [source], segmentation)
    assert [group.tracking_identifier for group in groups] == ["C2", "C3", "C4"]
    assert "C7 is left out: its certainty is 24%, below the 25% that a report takes." in comments(report)
    assert not any("C7" in sentence for sentence in summary(report))


@pytest.mark.parametrize("spacing_mm", [None, (0.25, 0.2)])
def test_the_image_library_gives_the_spacing_that_lengths_were_measured_with(
    spacing_mm: tuple[float, float] | None,
) -> None:
    """PS3.16 TID 1603: none where lengths are in pixels, though the detector's is known."""
    source, _, report = built(spacing_mm=spacing_mm)

    library = next(item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "111028")
    group = library.ContentSequence[0].ContentSequence

    found = {
        str(item.ConceptNameCodeSequence[0].CodeMeaning): float(item.MeasuredValueSequence[0].NumericValue)
        for item in group
        if item.ValueType == "NUM"
    }
    assert "ImagerPixelSpacing" in source
    assert (found.get("Vertical Pixel Spacing"), found.get("Horizontal Pixel Spacing")) == (spacing_mm or (None, None))
    assert (found["Pixel Data Rows"], found["Pixel Data Columns"]) == made_labelmap().shape


def test_doubts_are_comments_in_any_character_set() -> None:
    """Warnings of engine and measurement, and what the result is not for; spelt in the default repertoire."""
    _, _, report = built(
        source=made_source(without=["SpecificCharacterSet"]), warnings=["C2–C7 not in view"], facing=None
    )

    found = comments(report)

    assert "not for diagnosis" in found[0]
    assert "C2-C7 not in view" in found
    assert any("anterior is not known" in comment for comment in found)


def test_the_document_is_an_unverified_preliminary_imaging_measurement_report() -> None:
    """TID 1500 on the imaging procedure, by a device with a UID of its own."""
    _, _, report = built()

    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert report.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (report.VerificationFlag, report.PreliminaryFlag, report.CompletionFlag) == (
        "UNVERIFIED", "PRELIMINARY", "COMPLETE",
    )  # fmt: skip
    (observer,) = content(report).get_observer_contexts()
    device: Any = observer.observer_identifying_attributes
    assert device.uid == ALGORITHM.device_uid
    procedures = [item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "121058"]
    assert procedures[0].ConceptCodeSequence[0].CodeValue == "168537006"


def test_the_performed_procedure_is_reported_where_the_source_codes_it() -> None:
    """Procedure Code Sequence of the source wins over the general term."""
    source = made_source()
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "C1", "99HOSPITAL", "Cervical spine lateral"
    source.ProcedureCodeSequence = [item]

    _, _, report = built(source=source)

    procedures = [item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "121058"]
    assert procedures[0].ConceptCodeSequence[0].CodeMeaning == "Cervical spine lateral"


def test_source_and_segmentation_are_evidence() -> None:
    """Whatever the content refers to stands in Current Requested Procedure Evidence."""
    source, segmentation, report = built()

    verify_report(encode(report), [source], segmentation)
    series = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert {item.SeriesInstanceUID for item in series} == {source.SeriesInstanceUID, segmentation.SeriesInstanceUID}


def test_a_report_on_an_anonymised_computed_radiograph_is_built_too() -> None:
    """No Imager Pixel Spacing, no orientation, no dates."""
    source = made_source(modality="CR", patient_orientation=None, without=ANONYMISED)

    _, _, report = built(source=source)

    assert len(content(report).get_planar_roi_measurement_groups()) == 4
    assert not report.PatientID


def test_the_same_input_gives_the_same_bytes() -> None:
    """No clock and no chance."""
    assert encode(built()[2]) == encode(built()[2])


def test_measurements_of_other_structures_are_refused() -> None:
    """A report never mixes two results."""
    structures = made_structures()
    source = made_source()
    segmentation = build_segmentation(made_labelmap(), [source], structures, algorithm=ALGORITHM)

    with pytest.raises(ResultError, match=r"the measurements are not of the Segments \[1, 2, 3, 4\]"):
        build_report(
            measure_spine(made_labelmap(), structures[:3], facing="right"),
            [source],
            structures,
            labelmap=made_labelmap(),
            segmentation=segmentation,
            algorithm=ALGORITHM,
            numbering="assumed",
        )
