"""Answers to requests for Storage Commitment: where the gateway, which hears them, and the delivery meet.

A destination may answer minutes or hours later, on an association of its own, and the worker that asked may be
another one by then. So a request is a file named by its Transaction UID, and its answer the content of that file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydicom import Dataset

from app.jobs.layout import PRIVATE_FOLDER, StorageLayout, sync_folder, write_durably

# How an N-EVENT-REPORT is answered: PS3.7 C.5.
SUCCESS = 0x0000
NO_SUCH_INSTANCE = 0x0112
INVALID_ARGUMENT = 0x0115
_PROCESSING_FAILURE = 0x0110  # for an instance that is not kept without a reason


@dataclass(frozen=True)
class Commitment:
    """What a destination answered (PS3.4 J.3.3).

    kept: SOP Instance UIDs that it commits itself to keep.
    lost: SOP Instance UID → Failure Reason (0008,1197) of those that it does not.
    """

    kept: tuple[str, ...]
    lost: Mapping[str, int]


def read_report(report: Dataset) -> tuple[str, Commitment]:
    """Return Transaction UID and answer of an N-EVENT-REPORT; a malformed one makes pydicom raise what it likes."""
    kept = tuple(str(item.ReferencedSOPInstanceUID) for item in report.get("ReferencedSOPSequence", []))
    lost = {
        str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason", _PROCESSING_FAILURE))
        for item in report.get("FailedSOPSequence", [])
    }
    return str(report.TransactionUID), Commitment(kept, lost)


class CommitmentRecords:
    """The requests of a node that were not settled yet.

    Args:
        layout: where the node keeps what.
    """

    def __init__(self, layout: StorageLayout) -> None:
        self._folder = layout.commitments

    def expect(self, transaction_uid: str) -> None:
        """Note a request before it is sent, so that no answer can come too early."""
        self._folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        write_durably(self._folder / transaction_uid)
        sync_folder(self._folder)

    def record(self, transaction_uid: str, commitment: Commitment) -> bool:
        """Keep an answer durably; return False where nobody has asked, and keep nothing."""
        known = {file.name: file for file in self._files()}  # a name from the network never becomes a path
        if transaction_uid not in known:
            return False
        part = self._folder / f"{transaction_uid}.part"
        write_durably(part, json.dumps(asdict(commitment)).encode("ascii"))
        part.rename(known[transaction_uid])
        sync_folder(self._folder)
        return True

    def answer(self, transaction_uid: str) -> Commitment | None:
        """Return the answer to a request, or None where none has come."""
        try:
            content = (self._folder / transaction_uid).read_text("ascii")
        except FileNotFoundError:
            return None
        if not content:
            return None
        record = json.loads(content)
        return Commitment(tuple(record["kept"]), record["lost"])

    def forget(self, transaction_uids: Sequence[str]) -> None:
        """Remove requests that are settled or given up."""
        for uid in transaction_uids:
            (self._folder / uid).unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return list(self._folder.iterdir()) if self._folder.is_dir() else []
