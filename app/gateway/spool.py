"""Large data sets go to the disk as they come, and what is unfinished there has a budget.

A small data set is held in memory until it is whole, because one write is the fastest way to the disk. A larger one is
written into its file of the inbox piece by piece, so that the memory of the gateway does not depend on what peers send.
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from app.gateway.kept_file import PREAMBLE_LENGTH, preamble

IN_MEMORY_BYTES = 2 << 20


class Spool:
    """A file of the inbox that is being written.

    Args:
        part: an empty file whose name is on the disk.
        meta: the prefix `DICM` and File Meta Information.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, part: Path, meta: bytes) -> None:
        self.path = part
        self.fault: OSError | None = None
        self._hash = hashlib.sha256()
        self._file = part.open("wb", buffering=0)
        self._write(bytes(PREAMBLE_LENGTH) + meta)

    def write(self, data: memoryview) -> None:
        """Add a piece of the data set; a fault of the disk is kept for `finish`."""
        self._hash.update(data)
        if self.fault is None:
            try:
                self._write(data)
            except OSError as fault:
                self.fault = fault

    def finish(self) -> str:
        """Put the file on the disk whole, and return the digest of its data set.

        Raises:
            OSError: something could not be written.
        """
        if self.fault is not None:
            raise self.fault
        digest = self._hash.hexdigest()
        os.pwrite(self._file.fileno(), preamble(digest), 0)
        os.fsync(self._file.fileno())
        self._file.close()
        return digest

    def discard(self) -> None:
        """Remove the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _write(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]


@dataclass
class _Holder:
    address: str
    end: Callable[[str], None]
    since: float = field(default_factory=time.monotonic)
    count: int = 0

    def bytes_per_second(self, now: float) -> float:
        return self.count / max(now - self.since, 1e-3)


class InFlight:
    """How many bytes of unfinished data sets lie on the disk; beyond the budget the slowest sender is ended.

    Safe for many threads.

    Args:
        most: bytes in all.
        most_per_address: bytes of the associations of one address.
    """

    def __init__(self, *, most: int, most_per_address: int) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._lock = threading.Lock()
        self._holders: dict[int, _Holder] = {}

    def grow(self, key: int, count: int, *, address: str, end: Callable[[str], None]) -> None:
        """Note that an unfinished data set has grown.

        Args:
            key: stands for the association.
            count: by how many bytes.
            address: of the peer.
            end: ends the association, given the reason.
        """
        with self._lock:
            self._holders.setdefault(key, _Holder(address, end)).count += count
            victim = self._victim(address)
        if victim is not None:
            victim.end("unfinished data sets are beyond node.limits.in_flight_mib, and this one came slowest")

    def release(self, key: int) -> None:
        """Note that the data set of an association is finished, or gone."""
        with self._lock:
            self._holders.pop(key, None)

    def _victim(self, address: str) -> _Holder | None:
        """Take the slowest out of the account where the budget is exceeded."""
        own = {key: each for key, each in self._holders.items() if each.address == address}
        candidates = {}
        if sum(each.count for each in own.values()) > self._most_per_address:
            candidates = own
        elif sum(each.count for each in self._holders.values()) > self._most:
            candidates = self._holders
        if not candidates:
            return None
        now = time.monotonic()
        slowest = min(candidates, key=lambda key: candidates[key].bytes_per_second(now))
        return self._holders.pop(slowest)
