"""What a header says of how an MR image came to be, as far as a reader of the result should know it.

DERIVED alone decides nothing: scanners write it on images that they have denoised, reconstructed by a network or
taken apart into water and fat, archives on what they have compressed, and programs on all that they write. What the
values after the second name (MPR, maps, subtraction) is for the routes to refuse.
"""

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from operators.dicom.identity import derived_uid
from operators.dicom.mr_acquisition import find_value, values_in

LOSSY = "01"  # Lossy Image Compression (PS3.3 C.7.6.1.1.5)


def origin_notes(header: Dataset) -> tuple[str, ...]:
    """Return a sentence for everything about the images that may matter to who reads the result."""
    return tuple(_notes(header))


def frame_of_reference(dataset: Dataset) -> str:
    """Return the Frame of Reference UID of an image; of a Series without one, one that is made from the Series' UID.

    Without it no Segmentation can lie in the space of its source (PS3.3 C.7.4.1). Nothing else is said to lie in the
    space of the made one, so that it holds within the Series alone; the same Series always gives the same one.
    """
    told = str(dataset.get("FrameOfReferenceUID") or "").strip()
    return told or str(derived_uid("frame of reference", str(dataset.SeriesInstanceUID)))


def _notes(header: Dataset) -> Iterator[str]:
    image_type = [str(value).upper() for value in values_in(find_value(header, "ImageType") or "")]
    if image_type[:1] == ["DERIVED"]:
        how = _derivation(header)
        yield f"the images are marked as derived ({how})" if how else "the images are marked as derived"
    if str(header.get("LossyImageCompression") or "") == LOSSY:
        yield "the images were compressed with loss"
    if str(header.get("PhotometricInterpretation") or "") == "MONOCHROME1":
        yield "the images are stored with inverted greys (MONOCHROME1): they were turned back"
    if not str(header.get("FrameOfReferenceUID") or "").strip():
        yield "the series has no Frame of Reference UID: one was made from its Series Instance UID, for its results"


def _derivation(header: Dataset) -> str:
    """Return the codes of how an image was derived, which are the standard's; their meanings may be anybody's words."""
    items = find_value(header, "DerivationCodeSequence")
    if not isinstance(items, Sequence):
        return ""
    codes = [(item.get("CodeValue"), item.get("CodingSchemeDesignator")) for item in items]
    return ", ".join(f"{value} {scheme}" for value, scheme in codes if value and scheme in ("DCM", "SCT", "SRT"))
