"""The entities whose files a watch has yet to look at, and how each looked before; bounded.

It does not look itself, and knows no file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import Final

from synthians_memory.engine.records import Key
from synthians_memory.maintenance.outside_files import Look

__all__ = ["PendingKeys"]

_MOST: Final = 10_000


class PendingKeys:
    """A set in the order of arrival; used by one event loop.

    Attributes:
        overflown: whether names were dropped, so that only a sweep finds what changed.
    """

    def __init__(self) -> None:
        self._looks: dict[Key, Look | None] = {}
        self._arrived = asyncio.Event()
        self.overflown = False

    def __len__(self) -> int:
        return len(self._looks)

    def add(self, keys: Iterable[Key], *, bounded: bool = True) -> None:
        """Take in keys that are not there; where `bounded`, no more than there is room for."""
        for key in keys:
            if bounded and key not in self._looks and len(self._looks) >= _MOST:
                self.overflown = True
            else:
                self._looks.setdefault(key)
        self._arrived.set()

    def first(self, most: int) -> list[Key]:
        """The `most` that came first."""
        return list(islice(self._looks, most))

    def settle(self, keys: Iterable[Key], looks: dict[Key, Look]) -> list[Key]:
        """Take out those of `keys` that look as they did before, and those that need no looking at.

        Args:
            keys: what was looked at.
            looks: how those of them look that are not as the store last saw them.

        Returns:
            Those that look as before, or cannot be looked at; the others wait, behind all others, for another look.
        """
        settled: list[Key] = []
        for key in keys:
            look, before = looks.get(key), self._looks.pop(key, None)
            if look is None:
                continue
            if look == before or look.error is not None:
                settled.append(key)
            else:
                self._looks[key] = look
        return settled

    def gone(self) -> list[Key]:
        """Those that looked as if their file were gone."""
        return [key for key, look in self._looks.items() if look is not None and look.stat is None]

    async def wait(self, seconds: float) -> None:
        """Return when something arrives, or after `seconds`."""
        self._arrived.clear()
        try:
            await asyncio.wait_for(self._arrived.wait(), max(0.0, seconds))
        except TimeoutError:
            return
