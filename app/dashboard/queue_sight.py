"""The queue as the page sees it: what it answers, or since when it cannot be read. Not known is never zero."""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

from app.jobs.job import JobState
from app.jobs.queue import JobQueue, QueueUnavailable
from app.jobs.queue_counts import OpenCounts

SHORTEST_AGE_S = 2.0  # for which counts of what has ended are good
SHARE = 50  # counting takes a fiftieth of the time at most

Answer = TypeVar("Answer")


class EndedCounts:
    """Counts of the jobs that have ended, counted beside the requests: whoever asks gets the last ones at once.

    Args:
        queue: to be asked.
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._lock = threading.Lock()
        self._counts: Mapping[JobState, int] | None = None
        self._good_until = 0.0

    def latest(self) -> Mapping[JobState, int]:
        """Return the last counts, and have them counted again where they are old; the first time it waits.

        Raises:
            QueueUnavailable: the database is away, and nothing was counted before.
        """
        if self._counts is None:
            self._count()
        elif time.monotonic() > self._good_until and self._lock.acquire(blocking=False):
            threading.Thread(target=self._count_again, name="counts", daemon=True).start()
        return self._counts or {}

    def is_idle(self) -> bool:
        """Say whether nothing is being counted just now."""
        return not self._lock.locked()

    def _count_again(self) -> None:
        try:
            self._count()
        except QueueUnavailable:  # who asks for what has not ended is told
            return
        finally:
            self._lock.release()

    def _count(self) -> None:
        began = time.monotonic()
        self._counts = self._queue.ended_counts()
        took = time.monotonic() - began
        self._good_until = began + max(SHORTEST_AGE_S, SHARE * took)


class QueueSight:
    """Asks the queue, and remembers since when it does not answer.

    Args:
        queue: to be asked.
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._ended = EndedCounts(queue)
        self._lock = threading.Lock()  # each request has a thread of its own
        self._since: datetime | None = None
        self._words = ""

    @property
    def fault(self) -> str:
        """Why the queue could not be read when it was last asked, and since when; empty where it could."""
        with self._lock:
            if self._since is None:
                return ""
            return f"the queue cannot be read since {self._since:%Y-%m-%d %H:%M:%S} UTC: {self._words}"

    def ask(self, question: Callable[[JobQueue], Answer]) -> Answer | None:
        """Return what the queue answers; None where it cannot be read."""
        try:
            answer = question(self._queue)
        except QueueUnavailable as fault:
            with self._lock:
                self._since = self._since or datetime.now(UTC)
                self._words = str(fault)
            return None
        with self._lock:
            self._since = None
        return answer

    def counts(self) -> tuple[OpenCounts, Mapping[JobState, int]] | None:
        """Return how many jobs have not ended, and how many have; None where the queue cannot be read."""
        return self.ask(lambda queue: (queue.open_counts(), self._ended.latest()))
