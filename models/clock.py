"""Seconds per phase of an engine."""

import time


class Clock:
    """Laps since it was made: seconds by phase, in their order."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, phase: str) -> None:
        """End a phase."""
        now = time.monotonic()
        self.laps[phase], self._last = now - self._last, now
