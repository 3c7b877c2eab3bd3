"""Tall radiographs are searched in windows, and what the windows show is put together."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.contracts import FoundStructure, Numbering, RadiographImage, RadiographResult
from models.errors import NoSpineFound
from models.spinefm.detection import Detection
from models.spinefm.engine import SpineFM
from models.spinefm.stretches import FEWEST_UNNAMED, Stretch, chosen, put_together
from models.spinefm.views import Field
from models.spinefm.windows import LEAST_HEIGHT, MOST_HEIGHT, may_be_tall, stretches, views_of
from tests.unit.drawn_spine import Drawing, DrawnDetector, config, draw_spine, networks

NECK = ("C2", "C3", "C4", "C5", "C6", "C7")
LOIN = ("L1", "L2", "L3", "L4", "L5", "S1")
SPACING = (0.65, 0.65)  # mm: the drawn bodies are 14.8 mm


class NearSighted(DrawnDetector):
    """Sees bodies only where they are large enough in its view, as a detector does that shrinks the whole image."""

    def detect(self, pixels: NDArray[np.float32]) -> tuple[Detection, ...]:
        """Find the regions brighter than tissue that are more than a twenty-fifth of the longer side."""
        return tuple(d for d in super().detect(pixels) if d.size_px > max(pixels.shape) / 25)


def whole_spine() -> Drawing:
    """Draw a neck at the top and a loin at the bottom of a tall image, with nothing to see between them."""
    neck = draw_spine(6, top="C2", size=(900, 300), slope=0.0)
    loin = draw_spine(6, bottom="S1", size=(900, 300), first_y=600, slope=0.2)
    return Drawing(np.maximum(neck.pixels, loin.pixels), (*neck.centroids, *loin.centroids))


@pytest.fixture
def engine() -> SpineFM:
    """An engine that sees nothing of a tall image from afar."""
    return SpineFM.of(networks(detector=NearSighted()), config())


@pytest.mark.parametrize("spacing_mm", [(0.8, 0.8), None])
def test_neck_and_loin_of_a_tall_image_are_both_found_and_named(
    engine: SpineFM, spacing_mm: tuple[float, float] | None
) -> None:
    """Each from its own landmark, in the frame of the whole image, numbered through."""
    drawing = whole_spine()

    result = engine.segment(RadiographImage(drawing.pixels, spacing_mm))

    assert [s.label for s in result.structures] == [*NECK, *LOIN]
    assert [s.stretch for s in result.structures] == [1] * 6 + [2] * 6
    assert [s.segment_number for s in result.structures] == list(range(1, 13))
    np.testing.assert_allclose([s.centroid_px for s in result.structures], drawing.centroids, atol=1.0)
    for structure in result.structures:
        x, y = map(round, structure.centroid_px)
        assert result.labelmap[y, x] == structure.segment_number
    assert result.numbering == "landmark"
    assert "searched in windows: found C2–C7 and L1–S1" in result.warnings[0]


def test_a_tall_image_without_a_spine_is_refused(engine: SpineFM) -> None:
    """The reason is that of the look from afar."""
    with pytest.raises(NoSpineFound, match="0 vertebrae were detected"):
        engine.segment(RadiographImage(draw_spine(0, size=(900, 300)).pixels, (0.8, 0.8)))


@pytest.mark.parametrize(
    ("rows", "spacing_mm", "body_px", "tall"),
    [
        (900, (0.8, 0.8), None, True),
        (900, (0.6, 0.6), None, False),
        (900, None, None, True),
        (900, None, 40, False),
        (900, None, 30, True),
        (450, None, None, False),
    ],
)
def test_what_is_tall_is_told_by_millimetres_by_bodies_or_by_the_shape(
    rows: int, spacing_mm: tuple[float, float] | None, body_px: int | None, tall: bool
) -> None:
    """In this order: calibrated, something found, nothing found."""
    labelmap = np.zeros((rows, 300), np.uint16)
    labelmap[: body_px or 0, : body_px or 0] = 1
    found = None if body_px is None else RadiographResult(labelmap, (), "unknown", "")

    assert may_be_tall(RadiographImage(np.zeros((rows, 300), np.float32), spacing_mm), found) is tall


def test_a_body_that_several_windows_show_counts_once() -> None:
    """Every body of a drawn spine belongs to one stretch of each scale that shows it."""
    drawing = whole_spine()

    found = stretches(RadiographImage(drawing.pixels, SPACING), NearSighted().detect, min_score=0.5)

    assert {len(stretch) for stretch in found} == {6}
    for stretch in found:
        ys = [detection.centroid_px[1] for detection in stretch]
        assert ys == sorted(ys)


@pytest.mark.parametrize("count", [3, 8, 15, 40])
def test_the_views_of_a_stretch_hold_all_of_it(count: int) -> None:
    """They are as high, in body sizes, as those of training, and within the image."""
    stretch = [Detection(0.9, (500.0, 300.0 + 24 * index), 20.0) for index in range(count)]

    views = views_of(stretch, (3000, 1000))

    assert all(any(view.holds(detection.centroid_px) for view in views) for detection in stretch)
    assert all(LEAST_HEIGHT * 20 - 1 <= view.rows <= MOST_HEIGHT * 20 for view in views)
    assert all(view.top >= 0 and view.top + view.rows <= 3000 and view.left >= 0 for view in views)


def found(first: int, count: int, *, levels: tuple[str, ...] | None, confidence: float = 0.9) -> Stretch:
    """Make a stretch of bodies of 10 × 10 px at every 20th row from `first` on."""
    labelmap = np.zeros((20 * count, 40), np.uint16)
    structures = []
    for index in range(count):
        labelmap[20 * index + 5 : 20 * index + 15, 10:20] = index + 1
        level = levels[index] if levels else None
        centre = (14.5, 20 * index + 9.5)
        structures.append(FoundStructure(index + 1, level or f"vertebra {index + 1}", level, confidence, centre))
    numbering: Numbering = "landmark" if levels else "unknown"
    return Stretch(
        Field(first, 7, 20 * count, 40), RadiographResult(labelmap, tuple(structures), numbering, "of the test")
    )


def test_of_two_stretches_that_share_a_vertebra_the_one_with_a_landmark_is_chosen() -> None:
    """However many vertebrae the other has; a short one without a name is not trusted at all."""
    named, unnamed = found(100, 3, levels=("L4", "L5", "S1")), found(60, 6, levels=None)
    far, short = found(400, FEWEST_UNNAMED, levels=None), found(800, FEWEST_UNNAMED - 1, levels=None)

    assert chosen([unnamed, short, far, named]) == [named, far]


def test_unnamed_vertebrae_of_two_stretches_have_labels_of_their_own() -> None:
    """Segment Numbers run through, and labels with them; the numbering is the least that holds for all."""
    result = put_together([found(0, 5, levels=None), found(200, 5, levels=None)], (400, 60))

    assert [s.label for s in result.structures] == [f"vertebra {number}" for number in range(1, 11)]
    mixed = put_together([found(0, 6, levels=NECK), found(200, 5, levels=None)], (400, 60))
    assert [s.label for s in mixed.structures] == [*NECK, *(f"vertebra {number}" for number in range(7, 12))]
    assert mixed.numbering == "unknown"
    assert mixed.labelmap[209, 21] == 7


def test_of_two_stretches_whose_levels_contradict_each_other_the_surer_keeps_its_names() -> None:
    """No level is given twice, and none stands below a lower one."""
    low_above, high_below = found(0, 6, levels=LOIN, confidence=0.5), found(200, 6, levels=NECK)

    result = put_together([low_above, high_below], (400, 60))

    assert [s.level for s in result.structures] == [None] * 6 + list(NECK)
    assert any("cannot both be right" in warning for warning in result.warnings)


def test_a_header_that_names_one_region_does_not_name_the_vertebrae_of_another(engine: SpineFM) -> None:
    """Without a landmark nothing tells where in a tall image to begin."""
    pixels = draw_spine(6, size=(900, 300), slope=0.0).pixels

    result = engine.segment(RadiographImage(pixels, (0.8, 0.8), "cervical"))

    assert {s.level for s in result.structures} == {None}
