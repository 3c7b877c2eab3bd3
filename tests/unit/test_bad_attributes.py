"""No optional attribute of the source can cost a result: a sweep over what highdicom copies and what we read."""

from io import BytesIO
from pathlib import Path

import pytest
from highdicom import sr
from highdicom._standard_utils import get_module_attribute_map
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from models.spinefm.morphometry import measure_spine
from operators.dicom.pixels import calibrated_spacing, facing, radiograph_image, spacing_source
from operators.dicom.secondary_capture import build_overlay
from operators.dicom.segmentation import build_segmentation
from operators.dicom.structured_report import build_report
from operators.dicom.upright_view import upright_view
from operators.dicom.verify import encode, verify_overlay, verify_report, verify_segmentation
from operators.dicom.volume_report import build_volume_report
from operators.dicom.volume_segmentation import build_volume_segmentations
from operators.dicom.volume_verify import verify_volume_segmentation
from tests.made_results import ALGORITHM, made_labelmap, made_source, made_structures
from tests.made_volume import ALGORITHM as MR_ALGORITHM
from tests.made_volume import made_result_on, made_stack
from tests.unit.test_volume_results import MORPHOMETRY

# Without them no result can be placed: Type 1 of the image.
NEEDED = {"StudyInstanceUID", "SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID"}
MODULES = ("patient", "general-study", "patient-study", "clinical-trial-subject", "clinical-trial-study", "specimen")
DISPLAYED = (
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "ModalityLUTSequence", "RescaleSlope"),
    *("RescaleIntercept", "PatientOrientation", "PixelSpacing", "ImagerPixelSpacing", "PixelSpacingCalibrationType"),
    *("EstimatedRadiographicMagnificationFactor", "PixelPaddingValue", "PixelPaddingRangeLimit", "BodyPartExamined"),
    *("BurnedInAnnotation", "ContentDate", "ContentTime", "AcquisitionDate", "SeriesDate", "SeriesTime"),
    *(
        "SeriesNumber",
        "Manufacturer",
        "SoftwareVersions",
        "ImageLaterality",
        "Laterality",
        "PositionReferenceIndicator",
    ),
    *(
        "PositionReferenceIndicator",
        "SliceThickness",
        "SpacingBetweenSlices",
        "AnatomicRegionSequence",
        "ViewCodeSequence",
    ),
)
COPIED = {
    entry["keyword"] for module in MODULES for entry in get_module_attribute_map()[module] if not entry["path"]
} - NEEDED
OF_RADIOGRAPHS = sorted({*COPIED, *DISPLAYED})
OF_VOLUMES = sorted({*COPIED, *DISPLAYED} - {"PixelSpacing"})  # of the grid itself
BAD: dict[str, tuple[str | None, bytes]] = {
    "decimal comma": (None, b"8192,5"),
    "too many values": (None, b"1\\2\\3\\4\\5\\6\\7"),
    "one letter": (None, b"A"),
    "too long": (None, b"x" * 300),
    "empty": (None, b""),
    "spaces and NUL": (None, b"  \0"),
    "letters beyond ASCII": (None, b"\xff\xfe\x81\xc3"),
    "no UID": (None, b"1.2..x"),
    "another VR": ("FD", b"\0\0\0\0\0\0\xf8\x7f"),
    "text for a sequence": ("LO", b"words"),
}


def put(dataset: Dataset, keyword: str, kind: str) -> None:
    """Write a bad value as it would come from a file."""
    vr, value = BAD[kind]
    tag = Tag(keyword)
    vr = vr or dictionary_VR(tag).split(" ")[0]
    if vr == "SQ":
        foreign = Dataset()
        foreign.ReferencedSOPClassUID, foreign.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", "1.2.3.4.5"
        code = Dataset()
        code.add_new(Tag("CodeMeaning"), "LO", value.decode("latin-1").replace("\0", "")[:200])
        code.add_new(Tag("CodeValue"), "SH", "X")
        dataset.add_new(tag, "SQ", [] if kind == "empty" else [foreign, code, Dataset()])
        return
    value += b" " * (len(value) % 2)
    dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def radiograph_results(keywords: list[str], kind: str) -> None:
    """Write and check all three results of a radiograph with bad values."""
    source = made_source(spacing=(0.15, 0.15))
    for keyword in keywords:
        put(source, keyword, kind)
    labelmap, structures = made_labelmap(), made_structures()
    image = radiograph_image(source)
    assert spacing_source(source)
    view = upright_view(source, calibrated_spacing(source))
    measured = measure_spine(labelmap, structures, facing=facing(view.orientation))
    segmentation = build_segmentation(labelmap, [source], structures, algorithm=ALGORITHM)
    verify_segmentation(encode(segmentation), labelmap, [source], structures)
    report = encode(
        build_report(
            measured,
            [source],
            structures,
            labelmap=labelmap,
            segmentation=segmentation,
            algorithm=ALGORITHM,
            numbering="assumed",
        )
    )
    verify_report(report, [source], segmentation)
    assert sr.Comprehensive3DSR.from_dataset(dcmread(BytesIO(report))).content
    overlay = build_overlay(image.pixels, labelmap, structures, [source], algorithm=ALGORITHM)
    verify_overlay(encode(overlay), overlay.pixel_array, [source])


@pytest.mark.filterwarnings("ignore")  # pydicom and highdicom say a lot about such values
@pytest.mark.parametrize("kind", BAD)
def test_bad_values_everywhere_do_not_cost_the_results_of_a_radiograph(kind: str) -> None:
    """SEG, SR and SC are written, pass the last look, and the report can be read."""
    radiograph_results(OF_RADIOGRAPHS, kind)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("place", range(len(OF_RADIOGRAPHS)), ids=OF_RADIOGRAPHS)
def test_a_bad_value_beside_good_ones_does_not_cost_the_results_of_a_radiograph(place: int) -> None:
    """Each attribute once, the kinds in turn: what one bad value makes absent may need another."""
    radiograph_results([OF_RADIOGRAPHS[place]], [*BAD][place % len(BAD)])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", BAD)
def test_bad_values_everywhere_do_not_cost_the_results_of_a_volume(kind: str, tmp_path: Path) -> None:
    """SEG and SR are written, pass the last look, and the report can be read."""
    stack = made_stack(tmp_path)
    for dataset in stack.datasets:
        for keyword in OF_VOLUMES:
            put(dataset, keyword, kind)
    result = made_result_on(stack)
    built = build_volume_segmentations(result, stack, algorithm=MR_ALGORITHM)
    verify_volume_segmentation(encode(built.vertebrae), result.vertebra_labelmap, stack, result.vertebrae)
    report = encode(
        build_volume_report(MORPHOMETRY, result, stack, segmentation=built.vertebrae, algorithm=MR_ALGORITHM)
    )
    verify_report(report, stack.datasets, built.vertebrae)
    assert sr.Comprehensive3DSR.from_dataset(dcmread(BytesIO(report))).content
