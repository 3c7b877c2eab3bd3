"""Compressed pixel data decode to known values, whichever library does it.

The values in tests/data/decoded_values.json are of pylibjpeg-libjpeg 2.5.0, pylibjpeg-openjpeg 2.6.0, pylibjpeg-rle
and pyjpegls 1.5.1: digests of what is compressed without loss; of lossy JPEG, whose rounding is the decoder's own, the
means of sixteen parts of the image.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

from operators.dicom import jpeg_decoders
from tests.made_dicom import made_dx

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the odd headers of its own files
FOLDER = Path(pydicom.data.__file__).parent
EXPECTED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "data" / "decoded_values.json").read_text()
)
ROUNDING = 0.6  # grey values, by which the mean of a sixteenth of an image may differ between lossy decoders


def _file(name: str) -> Path:
    found = next(iter(FOLDER.rglob(name)), None)
    if found is None:
        pytest.skip(f"{name} does not come with this pydicom")
    return found


@pytest.mark.parametrize("name", EXPECTED)
def test_compressed_files_of_many_makers_decode_to_known_values(name: str) -> None:
    """JPEG of every process that pydicom's package has, JPEG-LS, JPEG 2000, RLE."""
    expected = EXPECTED[name]

    decoded = pixel_array(dcmread(_file(name)))

    assert (str(decoded.dtype), list(decoded.shape)) == (expected["dtype"], expected["shape"])
    if "sha256" in expected:
        assert hashlib.sha256(np.ascontiguousarray(decoded).tobytes()).hexdigest() == expected["sha256"]
    else:
        parts = np.array_split(decoded.reshape(-1).astype(float), len(expected["means"]))
        assert [part.mean() for part in parts] == pytest.approx(expected["means"], abs=ROUNDING)


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1], ids=lambda uid: uid.name[:14])
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (16, False), (16, True)])
def test_lossless_jpeg_of_any_depth_comes_back_as_it_was(syntax: UID, bits: int, signed: bool) -> None:
    """CR and MR of older archives are stored so; signed values keep their bits (PS3.5 8.2.1)."""
    stored = np.random.default_rng(bits).integers(0, 1 << bits, (48, 40)).astype(np.uint8 if bits == 8 else np.uint16)
    dataset = made_dx(np.zeros((48, 40)), bits=bits)
    dataset.BitsAllocated = 8 if bits == 8 else 16
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = encapsulate([bytes(imagecodecs.jpeg_encode(stored, lossless=True, bitspersample=bits))])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax

    decoded = pixel_array(dataset)

    np.testing.assert_array_equal(decoded, stored.view(np.int16) if signed else stored)


def test_the_decoders_are_added_once() -> None:
    """Importing the module is all that is needed."""
    assert jpeg_decoders.PLUGIN in get_decoder(JPEGExtended12Bit).available_plugins
    assert not jpeg_decoders.is_available("1.2.840.10008.1.2.4.50")
