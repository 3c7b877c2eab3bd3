"""Networks and engines: arrays in, arrays out. No DICOM library enters here."""
