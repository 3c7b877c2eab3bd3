"""Segmentation and report of profile `ohif` in a real viewer in front of a real PACS: all in the right place.

A picture of the viewer is the only proof that a radiologist sees a result; DICOM that validates is none.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.contracts import FoundStructure
from models.phantom.radiograph import radiograph_phantom
from models.spinefm.morphometry import measure_spine
from operators.dicom.identity import AlgorithmIdentity
from operators.dicom.outlines import outlines_of
from operators.dicom.segmentation import build_segmentation
from operators.dicom.structured_report import build_report
from tests.made_dicom import made_dx
from tests.viewer import Shown, View, drawn_along, overlaps, viewer

pytestmark = [pytest.mark.slow, pytest.mark.peers("Orthanc", "chromium", "node", "curl")]

ALGORITHM = AlgorithmIdentity("pack", "1", "0" * 64, "0.1")
FRAME = 6
"""Width in pixels of the white frame by which a picture of the viewer shows where the radiograph is."""
COMPATIBILITY_ITEMS = ("PixelMeasuresSequence", "PlaneOrientationSequence")


def study(name: str) -> tuple[Dataset, Dataset, Dataset, NDArray[np.uint16]]:
    """Return a framed radiograph, its Segmentation of profile `ohif`, its report, and the labelmap of both."""
    phantom = radiograph_phantom(7, region="cervical", columns_limit=661)
    pixels = phantom.pixels / (2**phantom.bits_stored - 1)
    if phantom.photometric_interpretation == "MONOCHROME1":
        pixels = 1 - pixels
    pixels *= 0.9
    inner = np.s_[FRAME:-FRAME, FRAME:-FRAME]
    framed = np.ones_like(pixels)
    framed[inner] = pixels[inner]
    labelmap = np.zeros(pixels.shape, np.uint16)
    structures = []
    for number, (value, level) in enumerate(phantom.levels.items(), start=1):
        labelmap[phantom.labelmap == value] = number
        structures.append(FoundStructure(number, level, level, 0.9, phantom.centroids_px[level]))
    source = made_dx(framed, study=name)
    segmentation = build_segmentation(labelmap, [source], structures, algorithm=ALGORITHM, profile="ohif")
    report = build_report(
        measure_spine(labelmap, structures, facing="left"),
        [source],
        structures,
        labelmap=labelmap,
        segmentation=segmentation,
        algorithm=ALGORITHM,
        numbering="landmark",
        profile="ohif",
    )
    return source, segmentation, report, labelmap


@pytest.fixture(scope="module")
def shown(npm_modules: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shown]:
    """Show two studies: one as it is sent, one whose Segmentation has lost the compatibility items."""
    folder = tmp_path_factory.mktemp("viewer")
    studies = {"as sent": study("as sent"), "without items": study("without items")}
    for item in COMPATIBILITY_ITEMS:
        delattr(studies["without items"][1].SharedFunctionalGroupsSequence[0], item)
    with viewer(npm_modules, shared, folder) as running:
        for source, segmentation, report, _ in studies.values():
            running.store([source, segmentation, report])
        views = {name: View(segmentation) for name, (_, segmentation, _, _) in studies.items()}
        views["report"] = View(studies["as sent"][2])
        pictures = running.photograph([*views.values()])
    return {
        name: Shown(picture, studies.get(name, studies["as sent"])[3], view.segmentation)
        for picture, (name, view) in zip(pictures, views.items(), strict=True)
    }


def test_the_viewer_shows_each_vertebra_in_its_recommended_colour_where_it_is(shown: dict[str, Shown]) -> None:
    """Dice of coloured pixels with the Segment, on the screen's grid: missing, shifted, mirrored, swapped is red."""
    found = overlaps(shown["as sent"])

    assert len(found) >= 6
    assert {label: round(value, 2) for label, value in found.items() if value < 0.9} == {}


def test_without_the_compatibility_items_the_viewer_shows_nothing(shown: dict[str, Shown]) -> None:
    """The items that profile `ohif` adds are needed still: when this fails, the viewer has learnt to do without."""
    assert set(overlaps(shown["without items"]).values()) == {0.0}


def test_the_viewer_draws_every_vertebra_of_the_report_where_it_is(shown: dict[str, Shown]) -> None:
    """OHIF opens a report whose groups point at the image, and draws dashed outlines; elsewhere there is none."""
    report = shown["report"]
    outlines = [outline.points for outline in outlines_of(report.labelmap[None]).values()]

    drawn = [drawn_along(report.picture, points, report.labelmap.shape) for points in outlines]
    beside = [drawn_along(report.picture, points - [60, 0], report.labelmap.shape) for points in outlines]

    assert len(drawn) >= 6
    assert min(drawn) > 0.5
    assert max(beside) < 0.3


@pytest.mark.parametrize("move", [(20, 0), (0, 20)], ids=["down", "sideways"])
def test_the_law_is_red_for_an_overlay_in_the_wrong_place(shown: dict[str, Shown], move: tuple[int, int]) -> None:
    """A labelmap that is twenty pixels off its picture no longer agrees with it."""
    right = shown["as sent"]
    moved = Shown(right.picture, np.roll(right.labelmap, move, axis=(0, 1)), right.segmentation)

    assert max(overlaps(moved).values()) < 0.9
