"""Pixels come out 0–1 with dense tissue bright, whatever way the modality stored them."""

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from operators.dicom.pixels import (
    PixelError,
    calibrated_spacing,
    facing,
    radiograph_image,
    spacing_source,
)
from operators.dicom.upright_view import upright_view
from tests.made_dicom import made_dx

ROWS, COLUMNS = 48, 40
WEDGE = np.linspace(0, 1, ROWS * COLUMNS).reshape(ROWS, COLUMNS)
STEPS = (WEDGE * 4095).astype(np.uint16)
XRAY = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "xray"
TEST_FILES = Path(pydicom.data.__file__).parent / "test_files"


def brightness(dataset: FileDataset) -> np.ndarray:
    """Return the engine's pixels of a data set."""
    return radiograph_image(dataset).pixels


def test_monochrome1_and_monochrome2_give_the_same_picture() -> None:
    """PS3.3 C.7.6.3.1.2: MONOCHROME1 shows the lowest value white."""
    pictures = [brightness(made_dx(WEDGE, photometric=name)) for name in ("MONOCHROME1", "MONOCHROME2")]

    np.testing.assert_allclose(pictures[0], pictures[1], atol=1e-3)
    assert pictures[0][-1, -1] > 0.99
    assert pictures[0].dtype == np.float32


@pytest.mark.parametrize("bits", range(8, 17))
def test_every_bit_depth_gives_the_same_picture(bits: int) -> None:
    """8 to 16 bits stored."""
    np.testing.assert_allclose(brightness(made_dx(WEDGE, bits=bits)), WEDGE, atol=0.01)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.name)
def test_lossless_transfer_syntaxes_give_the_same_pixels(syntax: UID) -> None:
    """What is compressed without loss decodes to the same picture."""
    plain = made_dx(STEPS)
    packed = deepcopy(plain)
    packed.compress(syntax, generate_instance_uid=False)

    np.testing.assert_array_equal(brightness(packed), brightness(plain))


def test_big_endian_gives_the_same_pixels() -> None:
    """Retired, but archives hold it (PS3.5 A.3)."""
    swapped = made_dx(STEPS)
    swapped.PixelData = STEPS.astype(">u2").tobytes()
    swapped.file_meta.TransferSyntaxUID = ExplicitVRBigEndian

    np.testing.assert_array_equal(brightness(swapped), brightness(made_dx(STEPS)))


def test_signed_pixels_are_read_as_signed() -> None:
    """Pixel Representation 1: two's complement."""
    dataset = made_dx(STEPS)
    dataset.PixelRepresentation = 1
    dataset.PixelData = (STEPS.astype(np.int16) - 2048).tobytes()
    dataset.WindowCenter, dataset.WindowWidth = 0, 4096

    np.testing.assert_allclose(brightness(dataset), WEDGE, atol=1e-3)


def test_values_above_the_stored_bits_are_not_seen() -> None:
    """Old systems keep overlays in the high bits (PS3.5 8.1.2)."""
    dataset = made_dx(STEPS)
    dataset.PixelData = (STEPS | 0xA000).astype("<u2").tobytes()

    np.testing.assert_allclose(brightness(dataset), WEDGE, atol=1e-3)


def test_a_window_is_applied() -> None:
    """PS3.3 C.11.2.1.2: below it black, above it white."""
    dataset = made_dx(STEPS)
    dataset.WindowCenter, dataset.WindowWidth = 2048, 2048

    picture = brightness(dataset)

    assert (picture[WEDGE < 0.24] == 0).all()
    assert (picture[WEDGE > 0.76] == 1).all()
    assert picture[ROWS // 2, 0] == pytest.approx(0.5, abs=0.02)


ABSURD_WINDOWS = {
    "beyond the values": (60000, 10),
    "of width 0": (2048, 0),
    "keeps one grey value": (100, 2),
    "negative width": (2048, -5),
}


@pytest.mark.parametrize("window", ABSURD_WINDOWS.values(), ids=ABSURD_WINDOWS)
def test_an_absurd_window_is_not_believed(window: tuple[int, int]) -> None:
    """A window that hides the picture gives way to the image's own range."""
    dataset = made_dx(STEPS)
    dataset.WindowCenter, dataset.WindowWidth = window

    np.testing.assert_allclose(brightness(dataset), WEDGE, atol=0.01)


def test_the_first_sensible_window_of_several_counts() -> None:
    """Window Center and Width may have several values (PS3.3 C.11.2.1.2)."""
    dataset = made_dx(STEPS)
    dataset.WindowCenter, dataset.WindowWidth = [60000, 2048], [10, 2048]

    assert (brightness(dataset)[WEDGE < 0.24] == 0).all()


def test_without_a_window_a_marker_does_not_set_the_scale() -> None:
    """A lead marker is brighter than any bone."""
    values = (WEDGE * 1000).astype(np.uint16)
    values[0, :4] = 4095
    dataset = made_dx(values, without=["WindowCenter", "WindowWidth"])

    assert brightness(dataset)[-1, 0] > 0.95


def test_a_window_that_leaves_the_picture_nearly_flat_is_not_believed() -> None:
    """The whole range of the bits as window, anatomy in a corner of it, a marker at the top."""
    values = (WEDGE * 100).astype(np.uint16)
    values[0, :4] = 4095

    assert brightness(made_dx(values))[-1, 0] > 0.95


def lookup_table(entries: list[int], bits: int, first: int = 0) -> Dataset:
    """Return an item of a Modality or VOI LUT Sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", np.array(entries, dtype="<u2").tobytes())
    item.LUTExplanation = "made for a test"
    item.ModalityLUTType = "US"
    return item


@pytest.mark.parametrize("bits", [8, 9, 12, 16])
@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_lookup_table_of_any_depth_is_applied(keyword: str, bits: int) -> None:
    """PS3.3 C.11.1 and C.11.2: here the table turns the values round."""
    dataset = made_dx(STEPS, without=["WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"])
    falling = np.linspace(2**bits - 1, 0, 4096).astype(int).tolist()
    setattr(dataset, keyword, [lookup_table(falling, bits)])

    np.testing.assert_allclose(brightness(dataset), 1 - WEDGE, atol=0.01)


@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_lookup_table_that_cannot_be_read_is_left_aside(keyword: str) -> None:
    """It is for display; the image's own range does as well."""
    dataset = made_dx(WEDGE)
    setattr(dataset, keyword, [Dataset()])

    np.testing.assert_allclose(brightness(dataset), WEDGE, atol=0.02)


@pytest.mark.parametrize("count", [4095, 4096])
def test_a_table_of_8_bit_entries_may_end_with_a_padding_byte(count: int) -> None:
    """PS3.3 C.11.2.1.1: the third value of LUT Descriptor tells the bits; PS3.5 7.1.1: the last byte is padding."""
    dataset = made_dx(WEDGE, bits=12)
    entries = np.linspace(255, 0, count).round().astype("u1").tobytes()
    item = Dataset()
    item.LUTDescriptor = [count, 0, 8]
    item.add_new(0x00283006, "OW", entries + b"\0" * (count % 2))
    dataset.VOILUTSequence = [item]

    np.testing.assert_allclose(brightness(dataset), 1 - WEDGE, atol=0.01)


@pytest.mark.parametrize(
    ("keyword", "text"),
    [("WindowCenter", b"8192,5"), ("WindowWidth", b"wide"), ("RescaleSlope", b"1,0"), ("VOILUTFunction", b"\xff")],
)
def test_one_attribute_of_display_that_cannot_be_read_costs_nothing(keyword: str, text: bytes) -> None:
    """A decimal comma, say, of a console with another locale (PS3.5 6.2: DS has none)."""
    dataset = made_dx(WEDGE)
    dataset.WindowCenter, dataset.WindowWidth = "2048", "4096"
    tag = Tag(keyword)
    text += b" " * (len(text) % 2)
    dataset[tag] = RawDataElement(tag, "DS", len(text), text, 0, False, True)

    np.testing.assert_allclose(brightness(dataset), WEDGE, atol=0.02)


def test_values_outside_a_lookup_table_take_its_ends() -> None:
    """PS3.3 C.11.2.1.1: below the first value the first entry, above the last the last."""
    dataset = made_dx(STEPS, without=["WindowCenter", "WindowWidth"])
    dataset.VOILUTSequence = [lookup_table(list(range(0, 2048, 2)), 12, first=1500)]

    picture = brightness(dataset)

    assert (picture[STEPS <= 1500] == 0).all()
    assert (picture[STEPS >= 1500 + 1023] == 1).all()


def test_a_negative_rescale_slope_turns_the_picture_round() -> None:
    """The Modality LUT comes before everything else (PS3.3 C.11.1)."""
    dataset = made_dx(STEPS, without=["WindowCenter", "WindowWidth"])
    dataset.RescaleSlope, dataset.RescaleIntercept = -1, 4095

    np.testing.assert_allclose(brightness(dataset), 1 - WEDGE, atol=0.01)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_dark_and_does_not_set_the_scale(photometric: str) -> None:
    """PS3.3 C.7.5.1.1.2: padding is outside the image."""
    values = (1000 + WEDGE * 1000).astype(np.uint16)
    values[:, :5] = 4095
    dataset = made_dx(values, photometric=photometric, without=["WindowCenter", "WindowWidth"])
    dataset.add_new("PixelPaddingValue", "US", 4095)

    picture = brightness(dataset)

    assert (picture[:, :5] == 0).all()
    assert picture[:, 5:].max() > 0.99
    assert picture[:, 5:].min() < 0.01


def test_colour_becomes_grey() -> None:
    """A digitised film may be stored in colour (PS3.3 C.7.6.3.1.2)."""
    dataset = made_dx((WEDGE * 255).astype(np.uint8), bits=8)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.PixelData = np.repeat((WEDGE * 255).astype(np.uint8)[..., None], 3, axis=2).tobytes()

    np.testing.assert_allclose(brightness(dataset), WEDGE, atol=0.02)


def test_a_uniform_image_is_black_not_an_error() -> None:
    """The engine says that it sees no spine."""
    assert (brightness(made_dx(np.full((ROWS, COLUMNS), 7, np.uint16))) == 0).all()


def test_the_source_is_not_changed() -> None:
    """Results refer to the instance as it was received."""
    dataset = made_dx(STEPS)
    dataset.VOILUTSequence = [lookup_table(list(range(4096)), 12)]
    dataset.compress(RLELossless, generate_instance_uid=False)
    before = deepcopy(dataset)

    radiograph_image(dataset)

    assert dataset == before
    assert dataset.file_meta == before.file_meta


REFUSALS: dict[str, tuple[Callable[[FileDataset], object], str]] = {
    "several frames": (lambda d: setattr(d, "NumberOfFrames", 3), "has 3 frames"),
    "no pixels": (lambda d: d.__delattr__("PixelData"), "no Pixel Data"),
    "cut short": (lambda d: setattr(d, "PixelData", d.PixelData[:100]), "cannot be decoded"),
    "too many bits": (lambda d: setattr(d, "BitsStored", 32), "32 bits"),
    "no rows": (lambda d: d.__delattr__("Rows"), "cannot be decoded"),
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_what_cannot_be_used_is_refused_with_its_uid(fault: str) -> None:
    """The message names the SOP Instance UID and the reason."""
    dataset = made_dx(STEPS)
    change, reason = REFUSALS[fault]
    change(dataset)

    with pytest.raises(PixelError, match=reason) as caught:
        radiograph_image(dataset)

    assert str(dataset.SOPInstanceUID) in str(caught.value)


@settings(deadline=None, max_examples=40)
@given(
    values=arrays(np.uint16, (9, 7), elements=st.integers(0, 4095)),
    window=st.tuples(st.integers(-5000, 9000), st.integers(-10, 9000)),
    photometric=st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
    padding=st.none() | st.integers(0, 4095),
)
def test_any_values_and_window_give_finite_brightness(
    values: np.ndarray, window: tuple[int, int], photometric: str, padding: int | None
) -> None:
    """Whatever the header says, the engine gets 0–1 in the source's shape."""
    dataset = made_dx(values, photometric=photometric)
    dataset.WindowCenter, dataset.WindowWidth = window
    if padding is not None:
        dataset.add_new("PixelPaddingValue", "US", padding)

    picture = brightness(dataset)

    assert picture.shape == values.shape
    assert np.isfinite(picture).all()
    assert picture.min() >= 0
    assert picture.max() <= 1


# Attributes → spacing in the patient, words of the sentence. PS3.3 10.7.1.
SPACINGS: dict[str, tuple[dict[str, object], tuple[float, float] | None, str]] = {
    "nothing": ({}, None, "the header has none"),
    "calibrated": (
        {"PixelSpacing": [0.2, 0.3], "PixelSpacingCalibrationType": "FIDUCIAL"},
        (0.2, 0.3),
        "calibrated .FIDUCIAL",
    ),
    "calibrated, detector too": (
        {"PixelSpacing": [0.2, 0.2], "PixelSpacingCalibrationType": "GEOMETRY", "ImagerPixelSpacing": [0.25, 0.25]},
        (0.2, 0.2),
        "calibrated .GEOMETRY",
    ),
    "claims calibration but repeats the detector": (
        {"PixelSpacing": [0.2, 0.2], "PixelSpacingCalibrationType": "GEOMETRY", "ImagerPixelSpacing": [0.2, 0.2]},
        None,
        "repeats",
    ),
    "uncalibrated": ({"PixelSpacing": [0.2, 0.2]}, None, "without a calibration type"),
    "detector only": ({"ImagerPixelSpacing": [0.2, 0.2]}, None, "measures the detector"),
    "magnification": (
        {"ImagerPixelSpacing": [0.3, 0.3], "EstimatedRadiographicMagnificationFactor": 1.5},
        (0.2, 0.2),
        "magnification of 1.5",
    ),
    "absurd magnification": (
        {"ImagerPixelSpacing": [0.3, 0.3], "EstimatedRadiographicMagnificationFactor": 0},
        None,
        "not plausible",
    ),
    "absurd spacing": (
        {"PixelSpacing": [0, 0], "PixelSpacingCalibrationType": "FIDUCIAL"},
        None,
        "the header has none",
    ),
}


@pytest.mark.parametrize("case", SPACINGS)
def test_millimetres_need_calibrated_spacing(case: str) -> None:
    """Spacing at the detector measures the detector, not the patient."""
    attributes, spacing, words = SPACINGS[case]
    dataset = made_dx(STEPS, without=["ImagerPixelSpacing"])
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)

    assert calibrated_spacing(dataset) == (None if spacing is None else pytest.approx(spacing))
    assert re.search(words, spacing_source(dataset))


@pytest.mark.parametrize(
    ("orientation", "side"), [(("A", "F"), "right"), (("P", "F"), "left"), (("L", "F"), None), (None, None)]
)
def test_the_direction_of_rows_tells_the_facing(orientation: tuple[str, str] | None, side: str | None) -> None:
    """PS3.3 C.7.6.1.1.1: rows that run to anterior end at the patient's front."""
    assert facing(upright_view(made_dx(STEPS, patient_orientation=orientation), None).orientation) == side


# What pydicom ships for testing decoders: file → shape.
SHIPPED = {
    "JPEGLSNearLossless_16.dcm": (50, 10),
    "JPGExtended.dcm": (1024, 256),
    "JPEG2000.dcm": (1024, 256),
    "SC_rgb_jpeg_dcmtk.dcm": (100, 100),
    "SC_rgb_jpeg_gdcm.dcm": (100, 100),
    "MR_small_RLE.dcm": (64, 64),
    "MR_small_implicit.dcm": (64, 64),
    "examples_palette.dcm": (350, 800),
    "image_dfl.dcm": (512, 512),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SHIPPED)
def test_files_of_other_makers_are_decoded(name: str) -> None:
    """JPEG, JPEG Extended, JPEG Lossless, JPEG-LS, JPEG 2000, RLE, deflated, palette."""
    if not (TEST_FILES / name).is_file():
        pytest.skip(f"this pydicom comes without {name}")

    picture = brightness(dcmread(TEST_FILES / name))

    assert picture.shape == SHIPPED[name]
    assert (picture.min(), picture.max()) == (0, 1)


@pytest.mark.skipif(not XRAY.is_dir(), reason="needs the real radiographs of ../shared/data/xray")
@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("cervical_0047040", "left"),
        ("cervical_0125124", "left"),
        ("cervical_0241128", "left"),
        ("cervical_0335133", "right"),
    ],
)
def test_real_vertebrae_are_brighter_than_the_darkest_quarter(name: str, side: str) -> None:
    """MONOCHROME1, JPEG 2000 and both facings come out with bone bright."""
    dataset = dcmread(XRAY / name / "1.dcm")
    vertebrae = np.asarray(Image.open(XRAY / name / "reference_labelmap.png")) > 0

    image = radiograph_image(dataset)

    assert image.pixels[vertebrae].mean() > np.percentile(image.pixels, 40)
    assert (image.body_region, facing(upright_view(dataset, None).orientation)) == ("cervical", side)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the long value
@pytest.mark.parametrize("keyword", ["PhotometricInterpretation", "SOPInstanceUID"])
def test_no_sentence_is_as_long_as_a_value_of_a_header(keyword: str) -> None:
    """Libraries quote values in their complaints; the sentence goes to log, queue, page and report."""
    dataset = made_dx(np.eye(8))
    dataset.PixelData = dataset.PixelData[:100]  # cannot be decoded
    dataset[keyword].VR = "LT"
    dataset[keyword].value = "LONG\n" * 12_000

    with pytest.raises(PixelError) as caught:
        radiograph_image(dataset)

    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)
