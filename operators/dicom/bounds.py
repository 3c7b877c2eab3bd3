"""What a header may claim before memory is set aside for it: a small file must not become a large array."""

import zlib
from collections.abc import Iterator
from pathlib import Path

from pydicom import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

MOST_PIXELS = 64_000_000  # a stitched whole-spine radiograph has half of it
MOST_INFLATED_BYTES = 256 << 20
LARGEST_PLANE_MM = 2500.0  # no gantry takes a larger patient, not even in stitched images
LEAST_SPACING_MM = 0.01  # a hundredth of what scanners of the spine resolve
_PIECE = 1 << 20


def inflate(data_set: bytes, *, at_most: int = MOST_INFLATED_BYTES) -> bytes:
    """Return the first bytes of a deflated data set (PS3.5 section A.5: raw deflate, without the zlib header).

    Args:
        data_set: as it is stored.
        at_most: how many bytes to return; what would lie behind them is not inflated.

    Raises:
        zlib.error: it is not deflated.
    """
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data_set, at_most)


def swells(data_set: bytes) -> bool:
    """Say whether a deflated data set is larger than any that is taken; its memory is never set aside.

    Raises:
        zlib.error: it is not deflated.
    """
    size = 0
    for piece in _inflated(data_set):
        size += len(piece)
        if size > MOST_INFLATED_BYTES:
            return True
    return False


def swelling_fault(path: Path) -> str | None:
    """Return why a file must not be read whole, in words, or None where it may be (or is no deflated file)."""
    try:
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
    except Exception:  # whatever a malformed file makes the reader raise; who reads it will say so
        return None
    if syntax != DeflatedExplicitVRLittleEndian:
        return None
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")  # PS3.10 section 7.1: group 0002 begins with its length
    try:
        too_large = swells(content[start:])
    except zlib.error:
        return None
    return f"inflates to more than {MOST_INFLATED_BYTES >> 20} MiB; it is not read" if too_large else None


def frame_fault(dataset: Dataset) -> str | None:
    """Return why a frame of an image is too large to be decoded, in words, or None where it is not."""
    try:
        rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
        samples = int(dataset.get("SamplesPerPixel") or 1)
    except (TypeError, ValueError):
        return "has no usable Rows and Columns"
    if rows * columns * samples <= MOST_PIXELS:
        return None
    return f"claims {rows} × {columns} pixels; at most {MOST_PIXELS // 1_000_000} million are decoded"


def spacing_fault(spacing_mm: tuple[float, float], shape: tuple[int, int]) -> str | None:
    """Return why slices cannot be as large as their header claims, in words, or None where they can.

    An image is resampled to the spacing of a network: what claims to be metres wide would become more voxels than there
    is memory for.

    Args:
        spacing_mm: between rows, between columns.
        shape: rows, columns.
    """
    rows_mm, columns_mm = (number * spacing for number, spacing in zip(shape, spacing_mm, strict=True))
    if max(rows_mm, columns_mm) > LARGEST_PLANE_MM:
        size = f"a slice of {rows_mm / 1000:.1f} × {columns_mm / 1000:.1f} m"
        return f"Pixel Spacing {spacing_mm[0]:g} × {spacing_mm[1]:g} mm makes {size}, larger than any patient"
    if min(spacing_mm) < LEAST_SPACING_MM:
        return f"Pixel Spacing {spacing_mm[0]:g} × {spacing_mm[1]:g} mm is finer than any scanner's"
    return None


def _inflated(data_set: bytes) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    rest = data_set
    while rest and not unpacker.eof:
        yield unpacker.decompress(rest, _PIECE)
        rest = unpacker.unconsumed_tail
