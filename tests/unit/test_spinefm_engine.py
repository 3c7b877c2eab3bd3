"""The engine as a whole, on drawn spines."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.contracts import RadiographImage
from models.errors import NoSpineFound
from models.spinefm.config import SpineFMConfig, WalkSettings
from models.spinefm.detection import Detection
from models.spinefm.engine import SpineFM
from models.spinefm.eyes import Eyes
from models.spinefm.networks import Networks
from models.spinefm.scale import resolve_scale
from models.spinefm.walk import Ending, walk
from tests.unit.drawn_spine import (
    C2,
    TISSUE,
    VERTEBRA,
    Drawing,
    DrawnClassifier,
    DrawnDetector,
    DrawnSegmenter,
    config,
    draw_spine,
    networks,
)

# The walk has to find what the detector does not: only three bodies are detected.
MIDDLE_THREE_OF_SEVEN = DrawnDetector(hidden=(0, 1, 5, 6))


def image_of(drawing: Drawing, **header: object) -> RadiographImage:
    """Wrap a drawing as an engine's input."""
    return RadiographImage(drawing.pixels, **header)  # type: ignore[arg-type]


def engine(networks_: Networks | None = None, config_: SpineFMConfig | None = None) -> SpineFM:
    """Make an engine of hand-written networks."""
    return SpineFM.of(networks_ or networks(), config_ or config())


def test_every_drawn_vertebra_is_found_in_order() -> None:
    """From three detections the walk reaches both ends; masks and centroids are those drawn."""
    drawing = draw_spine(7)

    result = engine(networks(detector=MIDDLE_THREE_OF_SEVEN)).segment(image_of(drawing))

    assert [structure.segment_number for structure in result.structures] == list(range(1, 8))
    found = np.array([structure.centroid_px for structure in result.structures])
    np.testing.assert_allclose(found, drawing.centroids, atol=1.0)
    overlap = np.logical_and(result.labelmap > 0, drawing.pixels > 0.5).sum()
    assert 2 * overlap / ((result.labelmap > 0).sum() + (drawing.pixels > 0.5).sum()) > 0.97


def test_start_and_both_ways_take_one_batch_each() -> None:
    """Three starts at once, then two directions at once; where both see nothing, both look once more, nearer."""
    segmenter = DrawnSegmenter()

    engine(networks(detector=MIDDLE_THREE_OF_SEVEN, segmenter=segmenter)).segment(image_of(draw_spine(7)))

    assert segmenter.batches == [3, 2, 2, 2, 2]


def test_both_ways_together_find_what_each_finds_alone() -> None:
    """Batching changes nothing."""
    drawing = draw_spine(9, slope=0.1)
    detections = MIDDLE_THREE_OF_SEVEN.detect(drawing.pixels)[:3]
    settings = config()
    scale = resolve_scale(image_of(drawing), detections, settings)
    eyes = Eyes(drawing.pixels, networks(), settings, scale=scale, device=torch.device("cpu"))
    start = eyes.look([detection.centroid_px for detection in detections])

    together = walk(eyes, start, settings=settings.walk, classes=settings.classes)
    one_by_one = [eyes.look([vertebra.mask.weighted_centroid()])[0] for vertebra in together.vertebrae]

    assert len(together.vertebrae) == 9
    assert [v.centroid for v in one_by_one] == [v.centroid for v in together.vertebrae]


@pytest.mark.parametrize(
    ("top", "bottom", "count", "levels"),
    [
        ("C2", None, 6, ["C2", "C3", "C4", "C5", "C6", "C7"]),
        ("C2", None, 8, ["C2", "C3", "C4", "C5", "C6", "C7", "T1", "T2"]),
        (None, "S1", 6, ["L1", "L2", "L3", "L4", "L5", "S1"]),
        (None, "S1", 8, ["T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1"]),
    ],
)
def test_levels_are_counted_from_the_landmark(
    top: str | None, bottom: str | None, count: int, levels: list[str]
) -> None:
    """C2 counts downwards past C7, S1 upwards past L1."""
    drawing = draw_spine(count, top=top, bottom=bottom)

    result = engine(networks(detector=DrawnDetector(hidden=(0, 4, 5, 6, 7)))).segment(image_of(drawing))

    assert result.numbering == "landmark"
    assert [structure.level for structure in result.structures] == levels
    assert [structure.label for structure in result.structures] == levels


@pytest.mark.parametrize(("region", "first", "last"), [("cervical", "C3", "C7"), ("lumbar", "L1", "L5")])
def test_without_a_landmark_the_region_decides_and_the_result_says_so(region: str, first: str, last: str) -> None:
    """Numbering from the body region is an assumption: marked, warned of, and less confident."""
    drawing = draw_spine(5)
    sure = engine().segment(image_of(draw_spine(6, top="C2")))

    result = engine().segment(image_of(drawing, body_region=region))

    assert result.numbering == "assumed"
    assert (result.structures[0].level, result.structures[-1].level) == (first, last)
    assert any("numbering assumed" in warning for warning in result.warnings)
    assert max(s.confidence for s in result.structures) < min(s.confidence for s in sure.structures)


def test_without_landmark_and_region_vertebrae_are_numbered_from_the_top() -> None:
    """No level is invented."""
    result = engine().segment(image_of(draw_spine(4)))

    assert result.numbering == "unknown"
    assert [structure.label for structure in result.structures] == [f"vertebra {number}" for number in range(1, 5)]
    assert {structure.level for structure in result.structures} == {None}


def test_a_landmark_that_only_the_detector_tells_is_enough() -> None:
    """A classifier of two classes leaves landmarks to the detector."""
    two_classes = networks(detector=DrawnDetector(kinds=True), landmarks=False)

    result = engine(two_classes, config(landmarks=False)).segment(image_of(draw_spine(5, top="C2")))

    assert [structure.level for structure in result.structures] == ["C2", "C3", "C4", "C5", "C6"]


def test_a_spine_that_runs_out_of_the_image_ends_at_its_edge() -> None:
    """A predicted point outside ends the walk; the vertebra on the edge is named as cut."""
    drawing = draw_spine(5, first_y=4)

    result = engine(networks(detector=DrawnDetector(hidden=(0,)))).segment(image_of(drawing))

    assert len(result.structures) == 5
    assert "vertebra 1 is cut by the image's upper edge" in result.warnings


def test_a_vertebra_at_the_upper_edge_is_not_taken_for_c3() -> None:
    """What is cut goes on beyond the picture: nothing to count from."""
    result = engine().segment(image_of(draw_spine(5, first_y=4), body_region="cervical"))

    assert result.numbering == "unknown"


def test_a_prediction_that_stays_where_it_is_ends_the_walk() -> None:
    """The next mask overlaps the last one: the walk has not moved on."""

    def stay(centroids: torch.Tensor) -> torch.Tensor:
        return centroids[:, 4:]

    drawing = draw_spine(6)
    stuck = replace(networks(), point_predictor=stay)
    settings = WalkSettings(step_ratio=None, snap_body_sizes=None, nearer_step=None)
    detections = DrawnDetector().detect(drawing.pixels)[:3]
    scale = resolve_scale(image_of(drawing), detections, config(settings))
    eyes = Eyes(drawing.pixels, stuck, config(settings), scale=scale, device=torch.device("cpu"))

    chain = walk(eyes, eyes.look([d.centroid_px for d in detections]), settings=settings, classes=config().classes)

    assert (chain.above, chain.below) == (Ending.SAME_AGAIN, Ending.SAME_AGAIN)
    assert len(chain.vertebrae) == 3


@pytest.mark.parametrize(("nearer_step", "count"), [(0.72, 4), (None, 3)])
def test_a_vertebra_that_was_stepped_over_is_found_by_looking_nearer(nearer_step: float | None, count: int) -> None:
    """The prediction goes nearly twice as far as the last step, where nothing is."""

    def far(centroids: torch.Tensor) -> torch.Tensor:
        return centroids[:, 4:] + 1.9 * (centroids[:, 4:] - centroids[:, 2:4])

    overshooting = replace(networks(detector=DrawnDetector(hidden=(3,))), point_predictor=far)

    result = engine(overshooting, config(WalkSettings(nearer_step=nearer_step))).segment(image_of(draw_spine(4)))

    assert len(result.structures) == count


@pytest.mark.parametrize(("step_ratio", "count"), [((0.5, 2.0), 4), (None, 5)])
def test_what_lies_much_nearer_than_a_step_is_no_vertebra(step_ratio: tuple[float, float] | None, count: int) -> None:
    """A bar less than half a step below the last body, where the walk looks nearer before it ends."""
    drawing = draw_spine(4, slope=0.0)
    x, y = (round(value + 0.5) for value in drawing.centroids[-1])
    drawing.pixels[y + 12 : y + 16, x - 13 : x + 13] = VERTEBRA
    settings = WalkSettings(step_ratio=step_ratio, area_ratio=None)

    result = engine(networks(detector=DrawnDetector(hidden=(4,))), config(settings)).segment(image_of(drawing))

    assert len(result.structures) == count


@pytest.mark.parametrize(("second_opinion", "count"), [(True, 6), (False, 4)])
def test_a_start_that_looks_like_c2_only_to_the_classifier_is_walked_beyond(second_opinion: bool, count: int) -> None:
    """The detector has its say on the three of the start as on those after them."""
    drawing = draw_spine(6, slope=0.0)
    drawing.pixels[drawing.pixels > 0.5] = VERTEBRA
    x, y = (round(value + 0.5) for value in drawing.centroids[2])
    drawing.pixels[y - 10 : y + 10, x - 13 : x + 13] = C2
    hesitant = replace(networks(), classifier=lambda patches: 0.1 * DrawnClassifier()(patches))
    settings = config(WalkSettings(second_opinion=second_opinion, snap_body_sizes=None))
    detections = DrawnDetector().detect(drawing.pixels)[2:5]
    scale = resolve_scale(image_of(drawing), detections, settings)
    eyes = Eyes(drawing.pixels, hesitant, settings, scale=scale, device=torch.device("cpu"))
    start = eyes.look([detection.centroid_px for detection in detections])

    chain = walk(
        eyes,
        start,
        settings=settings.walk,
        classes=settings.classes,
        detections=detections,
        body_px=detections[0].size_px,
    )

    assert len(chain.vertebrae) == count
    assert (chain.above is Ending.LANDMARK) is not second_opinion


def test_the_classifier_looks_at_every_zoom_of_the_pack() -> None:
    """Its probabilities are the mean of what it says at each."""
    drawing = draw_spine(3)

    def by_what_fills_the_patch(patches: torch.Tensor) -> torch.Tensor:
        bright = patches.mean((1, 2, 3))
        return torch.stack([bright, -bright, bright * 0, 2 * bright], 1)

    def eyes_at(*zooms: float) -> Eyes:
        settings = replace(config(), classifier=replace(config().classifier, zooms=zooms))
        scale = resolve_scale(image_of(drawing), DrawnDetector().detect(drawing.pixels), settings)
        seeing = replace(networks(), classifier=by_what_fills_the_patch)
        return Eyes(drawing.pixels, seeing, settings, scale=scale, device=torch.device("cpu"))

    places = list(drawing.centroids)
    apart = np.array([eyes_at(zoom).classify(places) for zoom in (0.5, 1.0, 2.0)])

    np.testing.assert_allclose(eyes_at(0.5, 1.0, 2.0).classify(places), apart.mean(0), rtol=1e-5)
    assert np.abs(apart[0] - apart[2]).max() > 0.01


def test_a_detection_beyond_the_next_vertebra_does_not_make_the_walk_skip_it() -> None:
    """Where two goals both show a vertebra, the walk goes to the nearer one."""

    class Misled(DrawnDetector):
        def detect(self, pixels: NDArray[np.float32]) -> tuple[Detection, ...]:
            seen = super().detect(pixels)
            x, y = max((detection.centroid_px for detection in seen), key=lambda centroid: centroid[1])
            return (*seen, Detection(0.7, (x + 0.3 * 54, y + 54), seen[0].size_px))

    drawing = draw_spine(7)

    result = engine(networks(detector=Misled(hidden=(0, 1, 5, 6))), config(WalkSettings(snap_body_sizes=1.2))).segment(
        image_of(drawing)
    )

    found = np.array([structure.centroid_px for structure in result.structures])
    np.testing.assert_allclose(found, drawing.centroids, atol=1.0)


def test_an_odd_prediction_is_replaced_by_the_last_step() -> None:
    """A predictor that jumps does not make the walk skip vertebrae."""

    def jump(centroids: torch.Tensor) -> torch.Tensor:
        return centroids[:, 4:] + 3 * (centroids[:, 4:] - centroids[:, 2:4])

    jumping = replace(networks(detector=MIDDLE_THREE_OF_SEVEN), point_predictor=jump)

    result = engine(jumping).segment(image_of(draw_spine(7)))

    assert len(result.structures) == 7


def test_a_blob_of_another_size_ends_the_walk_and_is_told() -> None:
    """A mask many times larger than the one before is no vertebra."""
    drawing = draw_spine(5)
    drawing.pixels[185:300, 100:260] = 0.6

    result = engine(networks(detector=DrawnDetector(hidden=(5,)))).segment(image_of(drawing))

    assert len(result.structures) == 5
    assert any("downwards ended early" in warning for warning in result.warnings)


def test_the_start_avoids_a_run_with_a_missed_vertebra() -> None:
    """A run with an uneven step would leave a hole that no walk visits."""
    drawing = draw_spine(7)
    result = engine(networks(detector=DrawnDetector(hidden=(1,)))).segment(image_of(drawing))

    assert len(result.structures) == 7


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_detections_are_refused(count: int) -> None:
    """No start, no answer."""
    with pytest.raises(NoSpineFound, match=f"{count} vertebrae were detected"):
        engine().segment(image_of(draw_spine(count)))


def test_scattered_detections_are_refused() -> None:
    """Ribs and fingers do not stand in one line."""
    pixels = np.full((400, 300), TISSUE, dtype=np.float32)
    for x, y in ((60, 60), (220, 75), (50, 95)):
        pixels[y - 10 : y + 10, x - 13 : x + 13] = 0.6

    with pytest.raises(NoSpineFound, match="do not stand in one line"):
        engine().segment(RadiographImage(pixels))


def test_structures_that_the_classifier_takes_for_background_are_refused() -> None:
    """What looks like a vertebra to the detector only is no start."""

    def nothing(patches: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[9.0, 0.0, 0.0, 0.0]]).expand(len(patches), -1)

    with pytest.raises(NoSpineFound, match="classifier sees no vertebrae"):
        engine(replace(networks(), classifier=nothing)).segment(image_of(draw_spine(5)))


def test_progress_is_told_from_nothing_to_done() -> None:
    """Phases come in order and the share never falls."""
    told: list[tuple[str, float]] = []

    engine().segment(image_of(draw_spine(6)), progress=lambda phase, done: told.append((phase, done)))

    shares = [done for _, done in told]
    assert shares == sorted(shares)
    assert (told[0], told[-1]) == (("detect", 0.0), ("done", 1.0))


def test_every_phase_is_timed() -> None:
    """Timings name the phases."""
    result = engine().segment(image_of(draw_spine(6)))

    assert list(result.timings_s) == ["detect", "start", "walk", "finish"]


def test_twice_the_same_image_gives_twice_the_same_answer() -> None:
    """The engine keeps nothing from one image to the next."""
    one = engine()
    image = image_of(draw_spine(6, top="C2"))

    first, second = one.segment(image), one.segment(image)

    np.testing.assert_array_equal(first.labelmap, second.labelmap)
    assert first.structures == second.structures


def test_neighbours_never_share_a_pixel_and_numbers_have_no_gap() -> None:
    """The labelmap holds each Segment Number exactly where that structure is."""
    result = engine().segment(image_of(draw_spine(7)))

    assert result.labelmap.dtype == np.uint16
    assert np.unique(result.labelmap).tolist() == list(range(len(result.structures) + 1))
