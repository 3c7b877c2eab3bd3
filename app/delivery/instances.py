"""The instances on their way out, whichever protocol carries them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from app.delivery.destinations import Fate

# What pydicom raises where the pixels of a file cannot be brought into another encoding.
ENCODING_FAULTS = (ValueError, AttributeError, NotImplementedError, RuntimeError)
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True)
class InstanceToSend:
    """A file, what has to be negotiated for it, and where it belongs."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: UID
    study_instance_uid: str = ""
    series_instance_uid: str = ""


@dataclass(frozen=True)
class InstanceOutcome:
    """What became of one instance."""

    sop_instance_uid: str
    fate: Fate
    sentence: str


def read_instances(paths: Sequence[Path]) -> tuple[InstanceToSend, ...]:
    """Read what has to be known of each file; files that are no DICOM instance are left out."""
    return tuple(instance for path in paths if (instance := _read_instance(path)) is not None)


def _read_instance(path: Path) -> InstanceToSend | None:
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=list(_UIDS))
        return InstanceToSend(
            path=path,
            sop_class_uid=str(header.SOPClassUID),
            sop_instance_uid=str(header.SOPInstanceUID),
            transfer_syntax=header.file_meta.TransferSyntaxUID,
            study_instance_uid=str(header.get("StudyInstanceUID", "")),
            series_instance_uid=str(header.get("SeriesInstanceUID", "")),
        )
    except (InvalidDicomError, AttributeError):
        return None


def decompressed(instance: InstanceToSend) -> Dataset:
    """Return an instance with the same pixels uncompressed: it is the same instance, so it keeps its UID.

    Raises:
        ValueError, AttributeError, NotImplementedError, RuntimeError: see `ENCODING_FAULTS`.
    """
    data_set = dcmread(instance.path)
    data_set.decompress(generate_instance_uid=False)
    return data_set
