"""The bound on removals that a watch adopts: an unmounted directory is not a thousand deletions.

It looks at no file: it is told how many are gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from synthians_memory.engine.state import StoreState

__all__ = ["RemovalGuard"]

# Removals so many seconds apart are not of one cause.
_WINDOW: Final = 60.0


class RemovalGuard:
    """Counts what was removed within the last minute, so that a slow `rm -r` counts as one; used by one task."""

    def __init__(self, state: Callable[[], StoreState], most: int | None) -> None:
        """Args:
        state: of the store.
        most: removals that are adopted within a minute; None: as many as opening would drop while nobody watches.
        """
        self._state = state
        self._most = most
        self._adopted: deque[float] = deque()

    @property
    def most(self) -> int:
        """How many removals are adopted within a minute."""
        return int(self._state().most_dropped) if self._most is None else self._most

    def admits(self, missing: int) -> bool:
        """Whether `missing` more files may be gone."""
        now = self._state().clock.monotonic()
        while self._adopted and now - self._adopted[0] > _WINDOW:
            self._adopted.popleft()
        return len(self._adopted) + missing <= self.most

    def count(self, removed: int) -> None:
        """`removed` removals were adopted now."""
        self._adopted.extend([self._state().clock.monotonic()] * removed)
