"""Pixel Padding Value: the same bits are the same padding, whatever VR they were written with."""

import pytest
from pydicom.dataset import Dataset

from operators.dicom.padding import stored_padding


@pytest.mark.parametrize(
    ("vr", "value", "representation", "bits_stored", "expected"),
    [
        ("SS", -2000, 1, 16, -2000),
        ("US", 63536, 1, 16, -2000),
        ("US", 63536, 1, 12, -2000),
        ("US", 2096, 1, 12, -2000),
        ("OW", b"\x30\xf8", 1, 16, -2000),
        ("SS", -2000, 0, 16, 63536),
        ("US", 63536, 0, 16, 63536),
        ("US", 0, 0, 12, 0),
        ("US", 65535, 0, 12, 65535),
    ],
)
def test_padding_has_the_sign_of_the_pixels(
    vr: str, value: object, representation: int, bits_stored: int, expected: int
) -> None:
    """PS3.3 C.7.5.1.1.2."""
    dataset = Dataset()
    dataset.add_new("PixelPaddingValue", vr, value)
    dataset.PixelRepresentation, dataset.BitsAllocated, dataset.BitsStored = representation, 16, bits_stored

    assert stored_padding(dataset, "PixelPaddingValue") == expected


def test_no_padding_is_none() -> None:
    """Nor is what cannot be read."""
    assert stored_padding(Dataset(), "PixelPaddingValue") is None
