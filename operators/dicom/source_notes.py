"""What the reader of a radiograph's result should know of its source: that it was processed before it came."""

from pydicom.dataset import Dataset

from operators.dicom.conditions import values_of

LOSSY = "01"  # Lossy Image Compression, PS3.3 C.7.6.1.1.5


def processing_notes(dataset: Dataset) -> tuple[str, ...]:
    """Return a sentence for each thing that was done to a radiograph after it was taken.

    DERIVED alone says nothing: every DX image for presentation is derived from the one for processing (PS3.3
    C.8.11.3.1.1). A Derivation Code Sequence or Lossy Image Compression tells of more.
    """
    notes = []
    if values_of(dataset, "DerivationCodeSequence"):
        notes.append("the radiograph was derived from another image before it came (Derivation Code Sequence)")
    if LOSSY in values_of(dataset, "LossyImageCompression"):
        notes.append("the radiograph was compressed with loss: fine edges may differ from the original's")
    return tuple(notes)
