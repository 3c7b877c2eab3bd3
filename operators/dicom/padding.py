"""Pixel Padding Value as the stored value that it stands for, whatever VR it was written with (PS3.3 C.7.5.1.1.2).

Its sign is that of Pixel Representation; headers often have the bits of a negative value as US, or the other way round.
"""

from pydicom.dataset import Dataset

from operators.dicom.mr_acquisition import readable


def stored_padding(dataset: Dataset, keyword: str) -> int | None:
    """Return Pixel Padding Value or Pixel Padding Range Limit as a stored value, or None where there is none."""
    value = _whole(readable(dataset, keyword))
    if value is None:
        return None
    allocated, stored = (_whole(readable(dataset, name)) or 16 for name in ("BitsAllocated", "BitsStored"))
    signed = bool(_whole(readable(dataset, "PixelRepresentation")))
    for bits in (allocated, stored):
        lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        if lowest <= value <= highest:
            continue
        turned = value - (1 << bits) if signed else value + (1 << bits)
        value = turned if lowest <= turned <= highest else value
    return value


def _whole(value: object) -> int | None:
    if isinstance(value, bytes):  # written as OW or UN: its bits alone
        return int.from_bytes(value[:2], "little") if len(value) >= 2 else None
    try:
        return int(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
