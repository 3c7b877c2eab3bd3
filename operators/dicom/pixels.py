"""A radiograph's Pixel Data becomes the engine's image, as PS3.3 C.11 and C.7.6.3 say it is to be displayed.

The way of a pixel (PS3.4 N.2.1): stored value → Modality LUT → VOI LUT or window → polarity. Stored values have
at most 16 bits, so the whole way is worked out once for each possible value and looked up for each pixel.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_color_lut, apply_windowing
from pydicom.pixels.utils import pixel_array
from pydicom.sequence import Sequence as DicomSequence
from pydicom.valuerep import format_number_as_ds

from models.contracts import RadiographImage
from models.errors import SpondylError
from operators.dicom import jpeg_decoders  # noqa: F401  adds decoders to pydicom
from operators.dicom.body_region import body_region
from operators.dicom.bounds import frame_fault
from operators.dicom.conditions import number
from operators.dicom.mr_acquisition import readable
from operators.dicom.padding import stored_padding
from operators.dicom.told import LONGEST_COMPLAINT, told

Facing = Literal["left", "right"]

MOST_BITS = 16
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in PS3.3 C.7.6.3.1.2
# A window is believed where it leaves a quarter of the pixels unsaturated and the middle 98 % a tenth of the range.
LEAST_UNSATURATED = 0.25
LEAST_SPREAD = 0.1
FULL_RANGE_PERCENTILES = (0.5, 99.5)  # without a window: lead markers and dead pixels do not set the scale
PLAUSIBLE_SPACING_MM = (0.01, 5.0)
PLAUSIBLE_MAGNIFICATION = (1.0, 3.0)
VOI_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")  # PS3.3 C.11.2.1.3
CALIBRATIONS = ("GEOMETRY", "FIDUCIAL")  # PS3.3 10.7.1.3

Values = NDArray[np.float64]


class PixelError(SpondylError):
    """The Pixel Data cannot be used; the message names the SOP Instance UID and the reason."""


def radiograph_image(dataset: Dataset) -> RadiographImage:
    """Return what the engine looks at.

    Args:
        dataset: a single-frame image with Pixel Data in any transfer syntax that has a decoder; it is not changed.

    Returns:
        Pixels (rows, columns) in 0–1 with dense tissue bright; spacing (row, column) in mm in the patient where it
        is calibrated; the body region that the header names.

    Raises:
        PixelError: no Pixel Data, more than one frame, more than 16 bits, or data that no decoder reads.
    """
    stored = _grey(dataset, _stored(dataset))
    lowest = int(stored.min())
    index = stored.astype(np.int32) - lowest
    levels = np.arange(lowest, int(stored.max()) + 1)
    counts = np.bincount(index.ravel(), minlength=levels.size).astype(np.float64)
    padding = is_padding(dataset, levels)
    if counts[~padding].sum() > 0:
        counts[padding] = 0
    brightness = _presented(dataset, _modality_values(dataset, levels), counts)
    if _text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        brightness = 1 - brightness
    brightness[padding] = 0  # padding is not tissue
    return RadiographImage(
        pixels=brightness.astype(np.float32)[index],
        spacing_mm=calibrated_spacing(dataset),
        body_region=body_region(dataset),
    )


def calibrated_spacing(dataset: Dataset) -> tuple[float, float] | None:
    """Return (row, column) spacing in mm in the patient, or None where the header does not tell it."""
    return _spacing(dataset)[0]


def spacing_source(dataset: Dataset) -> str:
    """Return a sentence that says where the spacing comes from, or why there is none."""
    return _spacing(dataset)[1]


def is_padding(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which stored values are padding (PS3.3 C.7.5.1.1.2)."""
    first = stored_padding(dataset, "PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, bool)
    limit = stored_padding(dataset, "PixelPaddingRangeLimit")
    last = first if limit is None else limit
    return (stored >= min(first, last)) & (stored <= max(first, last))


def facing(patient_orientation: Sequence[str]) -> Facing | None:
    """Return the side of the picture that the patient faces, or None where Patient Orientation does not tell.

    PS3.3 C.7.6.1.1.1: the first value is the direction of the rows, so `A` puts anterior at the right-hand side.
    """
    towards = patient_orientation[0][:1] if patient_orientation else ""
    return {"A": "right", "P": "left"}.get(towards)  # type: ignore[return-value]  # the dict's values are Facing


def _stored(dataset: Dataset) -> NDArray[Any]:
    """Return the stored values: (rows, columns), or (rows, columns, 3) for colour."""
    if (_number(dataset, "NumberOfFrames") or 1) > 1:
        raise _fault(dataset, f"has {told(dataset.NumberOfFrames)} frames; SpineFM takes radiographs of a single frame")
    if "PixelData" not in dataset:
        raise _fault(dataset, "has no Pixel Data; send the whole instance")
    if (_number(dataset, "BitsStored") or 0) > MOST_BITS:
        raise _fault(dataset, f"has {told(dataset.BitsStored)} bits; 8 to {MOST_BITS} are taken")
    too_large = frame_fault(dataset)
    if too_large is not None:
        raise _fault(dataset, too_large)
    try:
        stored = np.asarray(pixel_array(dataset))
        if _text(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
            stored = np.asarray(apply_color_lut(stored, dataset))[..., :3]
    except Exception as error:  # decoders raise what they like; whatever it is, this instance cannot be read
        syntax = dataset.file_meta.TransferSyntaxUID.name if "TransferSyntaxUID" in dataset.file_meta else "unknown"
        complaint = told(error, at_most=LONGEST_COMPLAINT)
        raise _fault(dataset, f"cannot be decoded ({told(syntax)}): {complaint}") from error
    if stored.size == 0 or not np.issubdtype(stored.dtype, np.integer):
        raise _fault(dataset, "has no whole-number pixels")
    return stored


def _grey(dataset: Dataset, stored: NDArray[Any]) -> NDArray[Any]:
    if stored.ndim == 2:
        return stored
    if stored.ndim == 3 and stored.shape[2] == len(LUMA):
        return np.asarray(np.rint(stored @ np.array(LUMA)), dtype=np.int32)
    raise _fault(dataset, f"decodes to the shape {stored.shape}; rows and columns are wanted")


def _modality_values(dataset: Dataset, levels: NDArray[Any]) -> Values:
    """Apply the Modality LUT (PS3.3 C.11.1); a broken one is as good as none for finding bones."""
    for item in _items(dataset, "ModalityLUTSequence"):
        table = _through_lut(dataset, levels, item)
        if table is not None:
            return table
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if not slope or intercept is None:
        return levels.astype(np.float64)
    return np.asarray(levels * slope + intercept, np.float64)


def _presented(dataset: Dataset, values: Values, counts: Values) -> Values:
    """Return 0–1 per level by the first VOI transformation that makes sense, else by the image's own range."""
    for candidate in _voi_candidates(dataset, values):
        if _is_sensible(candidate, values, counts):
            seen = candidate[counts > 0]
            return np.asarray(np.clip((candidate - seen.min()) / np.ptp(seen), 0, 1))
    low, high = (_percentile(values, counts, percent) for percent in FULL_RANGE_PERCENTILES)
    if high <= low:
        low, high = float(values[counts > 0].min()), float(values[counts > 0].max())
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)


def _voi_candidates(dataset: Dataset, values: Values) -> Iterator[Values]:
    """Yield the values after each VOI LUT and window of the header, in the order in which viewers offer them."""
    if not _text(dataset, "PhotometricInterpretation").startswith("MONOCHROME"):
        return
    for item in _items(dataset, "VOILUTSequence"):
        table = _through_lut(dataset, values, item)
        if table is not None:
            yield table
    for window in _windows(dataset):
        try:
            yield np.asarray(apply_windowing(values, window), dtype=np.float64)
        except (TypeError, ValueError, IndexError, AttributeError):  # an absurd window: width 0, say
            continue


def _windows(dataset: Dataset) -> Iterator[Dataset]:
    """Yield what pydicom's windowing reads, for each window whose values can be read."""
    function = _text(dataset, "VOILUTFunction")
    for centre, width in zip(_numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth"), strict=False):
        if centre is None or width is None:
            continue
        window = Dataset()
        window.PhotometricInterpretation = _text(dataset, "PhotometricInterpretation")
        window.BitsStored = int(_number(dataset, "BitsStored") or MOST_BITS)
        window.PixelRepresentation = int(_number(dataset, "PixelRepresentation") or 0)
        window.WindowCenter, window.WindowWidth = format_number_as_ds(centre), format_number_as_ds(width)
        if function in VOI_FUNCTIONS:
            window.VOILUTFunction = function
        yield window


def _is_sensible(candidate: Values, values: Values, counts: Values) -> bool:
    """Tell whether a VOI transformation keeps the picture: neither most of it saturated nor nearly flat."""
    seen = counts > 0
    low, high = candidate[seen].min(), candidate[seen].max()
    if not np.isfinite([low, high]).all() or high <= low:
        return False
    was_extreme = (values == values[seen].min()) | (values == values[seen].max())
    saturated = ((candidate == low) | (candidate == high)) & ~was_extreme
    unsaturated = 1 - counts[saturated].sum() / counts.sum()
    spread = (_percentile(candidate, counts, 99) - _percentile(candidate, counts, 1)) / (high - low)
    return bool(unsaturated >= LEAST_UNSATURATED and spread >= LEAST_SPREAD)


def _through_lut(dataset: Dataset, values: NDArray[Any], item: Dataset) -> Values | None:
    """Look values up in a Modality or VOI LUT (PS3.3 C.11.1.1, C.11.2.1.1); None where the table cannot be read.

    Not pydicom's: its VOI lookup wraps around for 8-bit entries, its Modality lookup takes 8 and 16 bits only.
    """
    try:
        entries, first, _ = (int(value) for value in item.LUTDescriptor)
        count = entries % 2**16 or 2**16  # 0 stands for 65536
        if _number(dataset, "PixelRepresentation") == 1 and first >= 2**15:  # SS, written as US
            first -= 2**16
        data = item.LUTData
        if isinstance(data, bytes):
            byte_order = ">" if dataset.file_meta.TransferSyntaxUID.is_little_endian is False else "<"
            # 8-bit entries lie two in a word; of an odd number the last byte is padding (PS3.5 7.1.1)
            data = np.frombuffer(data, dtype="u1" if len(data) < 2 * count else f"{byte_order}u2")
        table = np.asarray(data, dtype=np.float64)[:count]
        return np.asarray(table[np.clip(np.rint(values).astype(int) - first, 0, table.size - 1)])
    except (AttributeError, TypeError, ValueError, IndexError):
        return None


def _items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    items = readable(dataset, keyword)
    return items if isinstance(items, DicomSequence) else ()


def _percentile(values: Values, counts: Values, percent: float) -> float:
    """Return the value below which so many per cent of the pixels lie."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(counts[order])
    place = int(np.searchsorted(cumulative, percent / 100 * cumulative[-1]))
    return float(values[order[min(place, order.size - 1)]])


def _spacing(dataset: Dataset) -> tuple[tuple[float, float] | None, str]:
    """Apply PS3.3 10.7.1: what the spacing at the detector says about the patient, and what it does not."""
    pixel, imager = _pair(dataset, "PixelSpacing"), _pair(dataset, "ImagerPixelSpacing")
    calibration = _text(dataset, "PixelSpacingCalibrationType")
    magnification = _number(dataset, "EstimatedRadiographicMagnificationFactor")
    low, high = PLAUSIBLE_MAGNIFICATION
    if pixel and calibration in CALIBRATIONS and pixel != imager:
        return pixel, f"Pixel Spacing, calibrated ({calibration})"
    if pixel and imager and pixel != imager:  # PS3.3 10.7.1.1: it has been corrected or calibrated
        return pixel, "Pixel Spacing, which is not that of the detector; the type of its calibration is not told"
    if imager and magnification is not None and low <= magnification <= high:
        spacing = (imager[0] / magnification, imager[1] / magnification)
        return spacing, f"Imager Pixel Spacing divided by the estimated magnification of {magnification:g}"
    reasons = (
        (imager and magnification is not None, f"a magnification of {magnification} is not plausible"),
        (pixel and pixel == imager, "Pixel Spacing repeats Imager Pixel Spacing, measured at the detector"),
        (pixel, "Pixel Spacing without a calibration type"),
        (imager, "Imager Pixel Spacing measures the detector, not the patient"),
        (True, "the header has none"),
    )
    return None, "no calibrated spacing: " + next(reason for holds, reason in reasons if holds)


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    try:
        row, column = (float(value) for value in readable(dataset, keyword) or ())  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    low, high = PLAUSIBLE_SPACING_MM
    return (row, column) if low <= row <= high and low <= column <= high else None


def _number(dataset: Dataset, keyword: str) -> float | None:
    return number(str(readable(dataset, keyword)))


def _numbers(dataset: Dataset, keyword: str) -> list[float | None]:
    """Return the values of an attribute; None stands for one that is no number."""
    value = readable(dataset, keyword)
    texts = value.split("\\") if isinstance(value, str) else value if isinstance(value, MultiValue | list) else [value]
    return [number(str(text)) for text in texts]


def _text(dataset: Dataset, keyword: str) -> str:
    value = readable(dataset, keyword)
    first = value[0] if isinstance(value, MultiValue) and value else value
    return str(first or "").strip().upper()


def _fault(dataset: Dataset, what: str) -> PixelError:
    return PixelError(f"instance {told(dataset.get('SOPInstanceUID', 'without UID'))} {what}")
