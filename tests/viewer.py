"""OHIF in front of Orthanc, as a radiologist has them, and what can be told from pictures of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pynetdicom import AE
from scipy import ndimage

STRAY_PIXELS = 20  # of a colour where two others meet


@dataclass(frozen=True)
class Shown:
    """A study in the viewer.

    picture: (rows, columns, 3) of the page. labelmap: (rows, columns), what the Segmentation says of the image.
    segmentation: as it was stored.
    """

    picture: NDArray[np.uint8]
    labelmap: NDArray[np.uint16]
    segmentation: Dataset


@dataclass(frozen=True)
class View:
    """What to photograph: a Segmentation or report, on the instance of that number, or (0) on what is shown first."""

    segmentation: Dataset
    instance_number: int = 0


@dataclass(frozen=True)
class Viewer:
    """A running pair. folder: where pictures are put."""

    url: str
    dicom_port: int
    folder: Path

    def store(self, instances: Sequence[Dataset]) -> None:
        """Send instances to the PACS by C-STORE."""
        store(instances, self.dicom_port)

    def photograph(self, views: Sequence[View]) -> list[NDArray[np.uint8]]:
        """Open every study with its Segmentation in headless Chromium."""
        files = [self.folder / f"{index}.png" for index in range(len(views))]
        wanted: list[str] = []
        for view, file in zip(views, files, strict=True):
            made = view.segmentation
            wanted += [made.SeriesDescription, made.StudyInstanceUID, str(view.instance_number), str(file)]
        script = Path(__file__).parent / "integration" / "ohif_picture.mjs"
        run = subprocess.run(["node", script, self.url, *wanted],
                             capture_output=True, text=True, timeout=150 * len(views), check=False)  # fmt: skip
        assert all(file.is_file() for file in files), run.stdout + run.stderr
        return [np.asarray(Image.open(file).convert("RGB")) for file in files]


@contextmanager
def viewer(npm_modules: Path, shared: Path, folder: Path) -> Iterator[Viewer]:
    """Run both while the block lasts."""
    dicom_port, http_port, viewer_port = free_ports(3)
    pacs, url = shared / "tools" / "pacs.sh", f"http://127.0.0.1:{viewer_port}"
    subprocess.run(["bash", pacs, "start", folder / "pacs", str(dicom_port), str(http_port)], check=True, timeout=60)
    server = subprocess.Popen(
        [sys.executable, shared / "tools" / "ohif.py", npm_modules / "@ohif" / "app" / "dist",
         "--pacs", f"http://127.0.0.1:{http_port}", "--port", str(viewer_port)]
    )  # fmt: skip
    try:
        subprocess.run(["curl", "-sf", "--retry", "30", "--retry-delay", "1", "--retry-connrefused", "-o", os.devnull,
                        url], check=True, timeout=60)  # fmt: skip
        yield Viewer(url, dicom_port, folder)
    finally:
        server.terminate()
        server.wait(timeout=20)
        subprocess.run(["bash", pacs, "stop", folder / "pacs"], check=True, timeout=60)


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def store(instances: Sequence[Dataset], port: int) -> None:
    """Send instances to the PACS by C-STORE."""
    entity = AE("TEST")
    for sop_class, syntax in {(item.SOPClassUID, item.file_meta.TransferSyntaxUID) for item in instances}:
        entity.add_requested_context(sop_class, [syntax])
    association = entity.associate("127.0.0.1", port, ae_title="PACS")
    statuses = [association.send_c_store(instance).Status for instance in instances]
    association.release()
    assert statuses == [0x0000] * len(instances)


def image_box(picture: NDArray[np.uint8]) -> tuple[slice, slice] | None:
    """Where the white-framed image is in a picture of the viewer: rows and columns, None where it is not."""
    white = (picture.min(axis=2) > 240) & (np.ptp(picture.astype(int), axis=2) < 8)
    columns = np.flatnonzero(white.sum(axis=0) > 0.6 * picture.shape[0])
    if not columns.size:
        return None
    rows = np.flatnonzero(white[:, columns[0] : columns[-1]].mean(axis=1) > 0.6)
    return (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)) if rows.size else None


def drawn_along(picture: NDArray[np.uint8], outline: NDArray[np.float64], shape: tuple[int, int]) -> float:
    """How much of an outline is drawn in a picture of the viewer: half of it where it is dashed, 0 where it is not.

    outline: (n, 2) columns and rows in an image of `shape` (rows, columns).
    """
    box = image_box(picture)
    if box is None:
        return 0.0
    seen = picture.astype(int)
    ink = (seen[..., 1] > 180) & (seen[..., 2] < 90)  # OHIF draws in yellow, what is chosen in green
    near = ndimage.binary_dilation(ink, iterations=2)
    scale = [(box[1].stop - box[1].start) / shape[1], (box[0].stop - box[0].start) / shape[0]]
    ends = outline * scale + [box[1].start, box[0].start]
    steps = np.linspace(0, 1, 20, endpoint=False)[:, None]
    points = np.concatenate([first + steps * (last - first) for first, last in zip(ends[:-1], ends[1:], strict=True)])
    columns, rows = np.clip(points.astype(int), 0, [picture.shape[1] - 1, picture.shape[0] - 1]).T
    return float(near[rows, columns].mean())


def tinted(picture: NDArray[np.uint8], colour: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels with the hue of a colour and at least a quarter of its chroma: what a translucent overlay leaves."""
    wanted = np.array(colour, float) - np.mean(colour)
    seen = picture.astype(float)
    seen -= seen.mean(axis=2, keepdims=True)
    along = seen @ wanted / np.linalg.norm(wanted)
    return np.asarray((along > 0.97 * np.linalg.norm(seen, axis=2)) & (along > 0.25 * np.linalg.norm(wanted)))


def overlaps(shown: Shown) -> dict[str, float]:
    """Dice of what is shown in a recommended colour with where the Segments of that colour belong, by their labels.

    Colours that are neither due nor shown are left out.
    """
    by_colour: dict[tuple[int, int, int], list[Dataset]] = {}
    for segment in shown.segmentation.SegmentSequence:
        if segment.SegmentNumber != 0:  # 0 is the background of a label map
            colour = hd.color.CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue).to_rgb()
            by_colour.setdefault(colour, []).append(segment)
    names = {colour: " ".join(str(s.SegmentLabel) for s in segments) for colour, segments in by_colour.items()}
    box = image_box(shown.picture)
    if box is None:
        return dict.fromkeys(names.values(), 0.0)
    seen = shown.picture[box]
    rows, columns = (np.arange(new) * old // new for new, old in zip(seen.shape, shown.labelmap.shape, strict=False))
    expected = shown.labelmap[np.ix_(rows, columns)]
    result = {}
    for colour, segments in by_colour.items():
        mask = tinted(seen, colour)
        truth = np.isin(expected, [int(segment.SegmentNumber) for segment in segments])
        if not truth.any() and mask.sum() < STRAY_PIXELS:
            continue
        result[names[colour]] = float(2 * np.count_nonzero(mask & truth) / (mask.sum() + truth.sum()))
    return result
