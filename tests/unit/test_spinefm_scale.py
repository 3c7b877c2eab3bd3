"""Patch sizes follow from calibrated spacing, else from what the detector saw; the result says which."""

from dataclasses import replace

import numpy as np
import pytest

from models.contracts import BodyRegion, RadiographImage
from models.spinefm.config import PatchSettings
from models.spinefm.detection import Detection
from models.spinefm.scale import Scale, resolve_scale
from tests.unit.drawn_spine import config

PIXELS = np.zeros((10, 10), dtype=np.float32)


def scale(
    *seen_px: float, mm: float | None = None, region: BodyRegion | None = None, px: int | None = None,
    reference: float | None = None
) -> Scale:  # fmt: skip
    """Resolve the scale of an image where bodies of these sizes were detected."""
    settings = config()
    if px is not None:
        patch = PatchSettings(input_px=64, px=px)
        settings = replace(settings, segmenter=patch, classifier=patch, reference_body_px=reference)
    image = RadiographImage(PIXELS, spacing_mm=None if mm is None else (mm, mm), body_region=region)
    return resolve_scale(image, [Detection(0.9, (0, 0), size) for size in seen_px], settings)


def test_without_spacing_the_median_detection_decides() -> None:
    """The answer says so; outliers do not matter."""
    answer = scale(38, 40, 400)

    assert answer.body_px == 40
    assert answer.segmenter_px == 140  # 3.5 body sizes
    assert answer.sentence == (
        "patch edge 140 px, from the median of 3 detected bodies, 40 px; no calibrated pixel spacing"
    )


def test_calibrated_spacing_and_region_decide() -> None:
    """14.5 mm at 0.29 mm are 50 px, whatever the detector saw within reason."""
    answer = scale(44, mm=0.29, region="cervical")

    assert answer.body_px == pytest.approx(50)
    assert "calibrated spacing of 0.29 mm and cervical bodies of 14.5 mm, by the region" in answer.sentence
    assert answer.warnings == ()


@pytest.mark.parametrize(("seen", "region"), [(50, "cervical"), (100, "lumbar")])
def test_without_a_region_the_detected_size_tells_it(seen: float, region: str) -> None:
    """Lumbar bodies are twice as large as cervical ones."""
    answer = scale(seen, mm=0.29)

    assert answer.region == region
    assert "by the detected size" in answer.sentence


def test_spacing_that_contradicts_what_is_seen_is_not_believed() -> None:
    """A factor above 1.6: the seen size counts, and it is told."""
    answer = scale(20, mm=0.29, region="cervical")

    assert answer.body_px == 20
    assert answer.warnings == (
        "the pixel spacing makes a cervical body 50 px, 20 px were seen: the spacing may be wrong",
    )


def test_published_patches_stay_in_pixels_and_a_foreign_resolution_is_told() -> None:
    """300 px are right for bodies of 50 px, not for those of 10."""
    assert scale(50, px=300).segmenter_px == 300
    assert scale(50, px=300).warnings == ()
    assert "another resolution" in scale(10, px=300).warnings[0]


def test_published_patches_follow_a_known_reference() -> None:
    """A pack that knows the body size of its data set is scaled to the image."""
    answer = scale(100, px=300, reference=50)

    assert answer.segmenter_px == 600
    assert answer.warnings == ()
