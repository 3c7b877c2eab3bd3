"""Thin Holoscan operators; the plain DICOM functions they call live in `operators.dicom`."""
