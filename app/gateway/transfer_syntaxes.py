"""Which transfer syntaxes are taken for what, and which of those that are proposed.

0x0000 promises that an image can be used: a syntax is taken where pydicom has a decoder for it in this installation.
"""

from collections.abc import Sequence
from functools import cache

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    SegmentationStorage,
)
from pynetdicom import ALL_TRANSFER_SYNTAXES

from operators.dicom import jpeg_decoders  # noqa: F401  adds decoders to pydicom

NATIVE = (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian)
DEFLATED_IMAGE_FRAME = UID("1.2.840.10008.1.2.8.1")
# Their frames are never decoded here: they are acknowledged and not kept.
SEGMENTATIONS = frozenset(
    {SegmentationStorage, UID("1.2.840.10008.5.1.4.1.1.66.7"), UID("1.2.840.10008.5.1.4.1.1.66.8")}
)

# Last is what keeps least: Implicit VR loses the VR of private elements, and a sender whose images are not
# compressed might compress them with loss because this node preferred it.
_LAST = (
    *(JPEG2000, HTJ2K, JPEGLSNearLossless, JPEGExtended12Bit, JPEGBaseline8Bit),  # may be lossy
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)


@cache
def decodable() -> tuple[UID, ...]:
    """Return the transfer syntaxes whose pixel data can be decoded in this installation."""
    return tuple(uid for uid in map(UID, ALL_TRANSFER_SYNTAXES) if uid in NATIVE or _has_decoder(uid))


def accepted_for(sop_class_uid: str) -> tuple[UID, ...]:
    """Return the transfer syntaxes taken for a Storage SOP Class."""
    return (*decodable(), DEFLATED_IMAGE_FRAME) if sop_class_uid in SEGMENTATIONS else decodable()


def preferred(proposed: Sequence[UID], accepted: Sequence[UID]) -> UID | None:
    """Return the syntax to take of those proposed for a context, or None where none is accepted.

    PS3.8 section 9.3.3.2 leaves the choice to the acceptor. It is the first that is proposed, lossy ones, Explicit VR
    Big Endian and Implicit VR only where there is no other.
    """
    candidates = [uid for uid in proposed if uid in accepted]
    return min(candidates, key=lambda uid: _LAST.index(uid) + 1 if uid in _LAST else 0, default=None)


def _has_decoder(uid: UID) -> bool:
    try:
        return bool(get_decoder(uid).is_available)
    except NotImplementedError:
        return False
