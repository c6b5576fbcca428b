"""The time by which a search has to be done, shared by who waits for it and who works on it.

It is not a timer: whoever works asks it now and then.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from synthians_memory.errors import SearchTimeoutError

__all__ = ["Deadline"]

_LONGEST_WAIT = 3600.0


class Deadline:
    """Some seconds from now, or the moment of `cancel`, whichever is first; thread-safe.

    Args:
        seconds: how long; None for ever.
        now: a monotonic clock.
    """

    def __init__(self, seconds: float | None, now: Callable[[], float]) -> None:
        self._now = now
        self._seconds = seconds
        self._end = math.inf if seconds is None else now() + seconds
        self._cancelled = False

    def cancel(self) -> None:
        """Let it be reached now: nobody waits any more."""
        self._cancelled = True

    @property
    def reached(self) -> bool:
        """Whether the work is to stop."""
        return self._cancelled or self._now() >= self._end

    @property
    def remaining(self) -> float:
        """Seconds that are left, at most an hour, at least 0."""
        return 0.0 if self._cancelled else max(0.0, min(self._end - self._now(), _LONGEST_WAIT))

    def check(self) -> None:
        """Raise SearchTimeoutError if it is reached."""
        if self.reached:
            raise self.error()

    def error(self) -> SearchTimeoutError:
        """What the caller is told."""
        return SearchTimeoutError(f"no answer within {self._seconds} seconds")
