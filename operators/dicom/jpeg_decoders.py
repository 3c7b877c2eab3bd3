"""JPEG of more than 8 bits and lossless JPEG for pydicom, by imagecodecs: importing this module adds the decoders.

pydicom itself decodes JPEG Baseline by Pillow. For JPEG Extended of 12 bits and JPEG Lossless it knows two plugins: one
is GPL, the other does not decode 12 bits. imagecodecs (BSD; nnU-Net brings it) has libjpeg-turbo 3, which does both.
"""

from importlib.util import find_spec

import numpy as np
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder
from pydicom.uid import JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

PLUGIN = "imagecodecs"
# What pydicom tells who lacks it.
DECODER_DEPENDENCIES = {uid: ("imagecodecs",) for uid in (JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)}


def is_available(uid: str) -> bool:
    """Say whether frames of a transfer syntax can be decoded; the library is loaded by the first of them."""
    return uid in DECODER_DEPENDENCIES and find_spec("imagecodecs") is not None


def _decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """Return the pixels of a JPEG frame, colour by pixel, in 8 or 16 bits as its precision needs."""
    from imagecodecs import jpeg_decode  # noqa: PLC0415 - the gateway asks for what there is and decodes nothing

    frame = jpeg_decode(src)
    runner.set_option("planar_configuration", 0)
    runner.set_option("bits_allocated", 8 * frame.dtype.itemsize)
    return np.ascontiguousarray(frame).tobytes()


for _uid in DECODER_DEPENDENCIES:
    get_decoder(_uid).add_plugin(PLUGIN, (__name__, _decode_frame.__name__))
