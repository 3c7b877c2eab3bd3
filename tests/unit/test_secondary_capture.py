"""The picture lies on the radiograph, says what it is not for, and travels as a Secondary Capture."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread

from models.contracts import FoundStructure
from operators.dicom import codes
from operators.dicom.errors import ResultError
from operators.dicom.picture import LONGEST_SIDE, SHORTEST_LONG_SIDE, Caption, render_overlay
from operators.dicom.secondary_capture import build_overlay
from operators.dicom.verify import encode, verify_overlay
from tests.made_results import ALGORITHM, COLUMNS, ROWS, made_labelmap, made_source, made_structures

CAPTION = Caption("Spondyl test - research use, not for diagnosis")
GREY = np.full((ROWS, COLUMNS), 0.4, np.float32)


def one_body(shape: tuple[int, int], box: tuple[int, int, int, int]) -> tuple[np.ndarray, list[FoundStructure]]:
    """Return a labelmap with one upright body (top, left, bottom, right) and its structure."""
    top, left, bottom, right = box
    labelmap = np.zeros(shape, np.uint16)
    labelmap[top:bottom, left:right] = 1
    return labelmap, [FoundStructure(1, "C3", "C3", 1.0, ((left + right - 1) / 2, (top + bottom - 1) / 2))]


@pytest.mark.parametrize("shape", [(2000, 1500), (201, 163), (640, 1800), (1300, 1250)])
def test_the_long_side_of_the_picture_is_readable_and_not_larger_than_needed(shape: tuple[int, int]) -> None:
    """1100 to 1600 pixels with the footer, whatever the radiograph."""
    labelmap, structures = one_body(shape, (50, 60, 90, 110))

    picture = render_overlay(np.full(shape, 0.4, np.float32), labelmap, structures, CAPTION)

    assert picture.dtype == np.uint8
    assert SHORTEST_LONG_SIDE - 2 <= max(picture.shape[:2]) <= LONGEST_SIDE + 2


def test_colour_lies_where_the_mask_lies() -> None:
    """A body drawn on the left upper quarter colours that part of the picture, to within a contour's width."""
    labelmap, structures = one_body((400, 400), (100, 60, 160, 130))

    picture = render_overlay(np.full((400, 400), 0.4, np.float32), labelmap, structures, Caption("x", facing="right"))

    factor = picture.shape[1] / 400
    coloured = np.ptp(picture.astype(int), axis=2) > 20
    rows, columns = np.nonzero(coloured[: round(380 * factor), : round(131 * factor)])
    np.testing.assert_allclose(
        [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1],
        np.array([100, 60, 160, 130]) * factor,
        atol=factor + 1,
    )


def test_each_body_is_drawn_in_the_colour_of_its_segment() -> None:
    """The contour has the level's colour, the inside shows the bone through it."""
    labelmap, structures = made_labelmap(), made_structures()

    picture = render_overlay(GREY, labelmap, structures, CAPTION).astype(int)

    factor = picture.shape[1] / COLUMNS
    for structure in structures:
        colour = np.array(codes.level_of(structure).colour)
        x, y = (round(position * factor) for position in structure.centroid_px)
        np.testing.assert_allclose(picture[y, x], 0.7 * 102 + 0.3 * colour, atol=2)
        assert (np.abs(picture - colour).max(axis=2) < 3).any()


@pytest.mark.parametrize(("facing", "side"), [("left", slice(0, 60)), ("right", slice(131, 400))])
def test_the_name_stands_in_front_of_the_body(facing: str, side: slice) -> None:
    """There is no bone to hide in front."""
    labelmap, structures = one_body((400, 400), (100, 60, 160, 130))
    caption = Caption("x", facing=facing)  # type: ignore[arg-type]

    picture = render_overlay(np.full((400, 400), 0.4, np.float32), labelmap, structures, caption)

    factor = picture.shape[1] / 400
    band = picture[round(110 * factor) : round(150 * factor)].astype(int)
    named = np.ptp(band[:, round(side.start * factor) + 3 : round(side.stop * factor) - 3], axis=2).max()
    other = slice(131, 400) if facing == "left" else slice(0, 60)
    empty = np.ptp(band[:, round(other.start * factor) + 3 : round(other.stop * factor) - 3], axis=2).max()
    assert named > 100
    assert empty == 0


def test_a_name_that_would_leave_the_picture_stands_on_the_other_side() -> None:
    """A body at the edge is named as well."""
    labelmap, structures = one_body((400, 400), (100, 2, 160, 70))

    picture = render_overlay(np.full((400, 400), 0.4, np.float32), labelmap, structures, Caption("x", facing="left"))

    factor = picture.shape[1] / 400
    band = picture[round(110 * factor) : round(150 * factor), round(72 * factor) :].astype(int)
    assert np.ptp(band, axis=2).max() > 100


def test_the_footer_says_what_the_picture_is_not_for_and_the_note_what_is_doubted() -> None:
    """A bar below the image with two texts; without a note its right half is empty."""
    labelmap, structures = one_body((400, 400), (100, 60, 160, 130))
    pixels = np.zeros((400, 400), np.float32)

    plain = render_overlay(pixels, labelmap, structures, CAPTION)
    noted = render_overlay(pixels, labelmap, structures, Caption(CAPTION.footer, "numbering assumed"))

    bar = plain.shape[0] - plain.shape[1]
    assert bar > 20
    assert plain[-bar:, : plain.shape[1] // 2].max() > 180
    assert plain[-bar:, -plain.shape[1] // 4 :].max() < 40
    assert noted[-bar:, -plain.shape[1] // 4 :].max() > 180


def test_the_secondary_capture_holds_the_picture_and_points_at_its_source() -> None:
    """RGB, same study, a series of its own, the source and the purpose of the reference."""
    source = made_source()
    dataset = dcmread(
        BytesIO(encode(build_overlay(GREY, made_labelmap(), made_structures(), [source], algorithm=ALGORITHM)))
    )

    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert dataset.StudyInstanceUID == source.StudyInstanceUID
    assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
    assert dataset.pixel_array.shape == (dataset.Rows, dataset.Columns, 3)
    assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert dataset.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert dataset.ContentQualification == "RESEARCH"
    assert "PixelSpacing" not in dataset
    verify_overlay(encode(dataset), dataset.pixel_array, [source])


def test_identification_burned_into_the_source_is_declared_on_the_picture() -> None:
    """What the radiograph shows, the picture shows."""
    source = made_source()
    source.BurnedInAnnotation = "YES"

    dataset = build_overlay(GREY, made_labelmap(), made_structures(), [source], algorithm=ALGORITHM)

    assert dataset.BurnedInAnnotation == "YES"


def test_the_same_input_gives_the_same_bytes() -> None:
    """No clock, no chance, no font of the system."""
    first, second = (
        encode(build_overlay(GREY, made_labelmap(), made_structures(), [made_source()], algorithm=ALGORITHM))
        for _ in range(2)
    )

    assert first == second


def test_an_overlay_of_another_grid_is_refused() -> None:
    """The picture of another image is worse than none."""
    with pytest.raises(ResultError, match="labelmap of"):
        build_overlay(GREY, made_labelmap()[1:], made_structures(), [made_source()], algorithm=ALGORITHM)
