"""Plain functions between DICOM and arrays: series, routing, pixels, results, verification."""
