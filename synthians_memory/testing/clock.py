"""A clock that a test sets: it stands still, goes on or goes back as told.

It is not a timer: nothing happens when its time comes.
"""

from __future__ import annotations

import threading

__all__ = ["ManualClock"]

# An arbitrary moment, so that times in tests neither move nor look like zero.
_START_MICROS = 1_700_000_000_000_000


class ManualClock:
    """The `Clock` of a store in a test; thread-safe.

    Args:
        micros: wall time at the start, microseconds since 1970.
    """

    def __init__(self, micros: int = _START_MICROS) -> None:
        self._guard = threading.Lock()
        self._micros = micros
        self._seconds = 0.0

    def micros(self) -> int:
        return self._micros

    def monotonic(self) -> float:
        return self._seconds

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks; with a negative number the wall clock alone is set back."""
        with self._guard:
            self._micros += round(seconds * 1_000_000)
            self._seconds += max(seconds, 0.0)
