"""A Segmentation of profile `ohif` in a real viewer in front of a real PACS: the right colour in the right place.

A picture of the viewer is the only proof that a radiologist sees a result; DICOM that validates is none.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pynetdicom import AE

from models.contracts import FoundStructure
from models.phantom.radiograph import radiograph_phantom
from operators.dicom.identity import AlgorithmIdentity
from operators.dicom.segmentation import build_segmentation
from tests.made_dicom import made_dx

pytestmark = [pytest.mark.slow, pytest.mark.peers("Orthanc", "chromium", "node", "curl")]

ALGORITHM = AlgorithmIdentity("pack", "1", "0" * 64, "0.1")
FRAME = 6
"""Width in pixels of the white frame by which a picture of the viewer shows where the radiograph is."""
COMPATIBILITY_ITEMS = ("PixelMeasuresSequence", "PlaneOrientationSequence")


@dataclass(frozen=True)
class Shown:
    """A study in the viewer.

    picture: (rows, columns, 3) of the page. labelmap: what the Segmentation says. segmentation: as it was stored.
    """

    picture: NDArray[np.uint8]
    labelmap: NDArray[np.uint16]
    segmentation: Dataset


def study(name: str) -> tuple[Dataset, Dataset, NDArray[np.uint16]]:
    """Return a framed radiograph, its Segmentation of profile `ohif`, and the labelmap of that."""
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
    return source, segmentation, labelmap


@pytest.fixture(scope="module")
def shown(npm_modules: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Shown]]:
    """Show two studies: one as it is sent, one whose Segmentation has lost the compatibility items."""
    folder = tmp_path_factory.mktemp("viewer")
    dicom_port, http_port, viewer_port = free_ports(3)
    pacs = shared / "tools" / "pacs.sh"
    subprocess.run(["bash", pacs, "start", folder / "pacs", str(dicom_port), str(http_port)], check=True, timeout=60)
    viewer = subprocess.Popen(
        [sys.executable, shared / "tools" / "ohif.py", npm_modules / "@ohif" / "app" / "dist",
         "--pacs", f"http://127.0.0.1:{http_port}", "--port", str(viewer_port)]
    )  # fmt: skip
    try:
        studies = {"as sent": study("as sent"), "without items": study("without items")}
        for item in COMPATIBILITY_ITEMS:
            delattr(studies["without items"][1].SharedFunctionalGroupsSequence[0], item)
        for source, segmentation, _ in studies.values():
            store([source, segmentation], dicom_port)
        pictures = photograph(studies, f"http://127.0.0.1:{viewer_port}", folder)
        yield {
            name: Shown(pictures[name], labelmap, segmentation) for name, (_, segmentation, labelmap) in studies.items()
        }
    finally:
        viewer.terminate()
        viewer.wait(timeout=20)
        subprocess.run(["bash", pacs, "stop", folder / "pacs"], check=True, timeout=60)


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def store(instances: list[Dataset], port: int) -> None:
    """Send instances to the PACS by C-STORE."""
    entity = AE("TEST")
    for instance in instances:
        entity.add_requested_context(instance.SOPClassUID, [instance.file_meta.TransferSyntaxUID])
    association = entity.associate("127.0.0.1", port, ae_title="PACS")
    statuses = [association.send_c_store(instance).Status for instance in instances]
    association.release()
    assert statuses == [0x0000] * len(instances)


def photograph(
    studies: dict[str, tuple[Dataset, Dataset, NDArray[np.uint16]]], url: str, folder: Path
) -> dict[str, NDArray[np.uint8]]:
    """Open every study with its Segmentation in headless Chromium; a copy goes to SPONDYL_PICTURES if that is set."""
    subprocess.run(["curl", "-sf", "--retry", "30", "--retry-delay", "1", "--retry-connrefused", "-o", os.devnull, url],
                   check=True, timeout=60)  # fmt: skip
    files = {name: folder / f"{name.replace(' ', '_')}.png" for name in studies}
    description = next(iter(studies.values()))[1].SeriesDescription
    wanted = [text for name, file in files.items() for text in (studies[name][0].StudyInstanceUID, str(file))]
    run = subprocess.run(["node", Path(__file__).with_name("ohif_picture.mjs"), url, description, *wanted],
                         capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert all(file.is_file() for file in files.values()), run.stdout + run.stderr
    if "SPONDYL_PICTURES" in os.environ:
        shutil.copy(files["as sent"], Path(os.environ["SPONDYL_PICTURES"]) / "ohif_overlay.png")
    return {name: np.asarray(Image.open(file).convert("RGB")) for name, file in files.items()}


def radiograph_box(picture: NDArray[np.uint8]) -> tuple[slice, slice] | None:
    """Where the framed radiograph is in a picture of the viewer: rows and columns, None where it is not."""
    white = (picture.min(axis=2) > 240) & (np.ptp(picture.astype(int), axis=2) < 8)
    columns = np.flatnonzero(white.sum(axis=0) > 0.6 * picture.shape[0])
    if not columns.size:
        return None
    rows = np.flatnonzero(white[:, columns[0] : columns[-1]].mean(axis=1) > 0.6)
    return (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)) if rows.size else None


def tinted(picture: NDArray[np.uint8], colour: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels with the hue of a colour and at least a quarter of its chroma: what a translucent overlay leaves."""
    wanted = np.array(colour, float) - np.mean(colour)
    seen = picture.astype(float)
    seen -= seen.mean(axis=2, keepdims=True)
    along = seen @ wanted / np.linalg.norm(wanted)
    return np.asarray((along > 0.97 * np.linalg.norm(seen, axis=2)) & (along > 0.25 * np.linalg.norm(wanted)))


def overlaps(shown: Shown) -> dict[str, float]:
    """Dice of what is shown in a recommended colour with where the Segments of that colour belong, by their labels."""
    by_colour: dict[tuple[int, int, int], list[Dataset]] = {}
    for segment in shown.segmentation.SegmentSequence:
        if segment.SegmentNumber != 0:  # 0 is the background of a label map
            colour = hd.color.CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue).to_rgb()
            by_colour.setdefault(colour, []).append(segment)
    names = {colour: " ".join(str(s.SegmentLabel) for s in segments) for colour, segments in by_colour.items()}
    box = radiograph_box(shown.picture)
    if box is None:
        return dict.fromkeys(names.values(), 0.0)
    seen = shown.picture[box]
    rows, columns = (np.arange(new) * old // new for new, old in zip(seen.shape, shown.labelmap.shape, strict=False))
    expected = shown.labelmap[np.ix_(rows, columns)]
    result = {}
    for colour, segments in by_colour.items():
        mask = tinted(seen, colour)
        truth = np.isin(expected, [int(segment.SegmentNumber) for segment in segments])
        result[names[colour]] = float(2 * np.count_nonzero(mask & truth) / (mask.sum() + truth.sum()))
    return result


def test_the_viewer_shows_each_vertebra_in_its_recommended_colour_where_it_is(shown: dict[str, Shown]) -> None:
    """Dice of coloured pixels with the Segment, on the screen's grid: missing, shifted, mirrored, swapped is red."""
    found = overlaps(shown["as sent"])

    assert len(found) >= 6
    assert {label: round(value, 2) for label, value in found.items() if value < 0.9} == {}


def test_without_the_compatibility_items_the_viewer_shows_nothing(shown: dict[str, Shown]) -> None:
    """The items that profile `ohif` adds are needed still: when this fails, the viewer has learnt to do without."""
    assert set(overlaps(shown["without items"]).values()) == {0.0}


@pytest.mark.parametrize("move", [(20, 0), (0, 20)], ids=["down", "sideways"])
def test_the_law_is_red_for_an_overlay_in_the_wrong_place(shown: dict[str, Shown], move: tuple[int, int]) -> None:
    """A labelmap that is twenty pixels off its picture no longer agrees with it."""
    right = shown["as sent"]
    moved = Shown(right.picture, np.roll(right.labelmap, move, axis=(0, 1)), right.segmentation)

    assert max(overlaps(moved).values()) < 0.9
