"""When memories expire: the times of those that do, in their order, so that asking who has expired costs next to nothing.

It is not the memory index, which keeps the times in its rows, and it reads no clock. A memory has expired from its
`expires_at` on: `expires_at <= now`.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["ExpiryTimes"]

_NOBODY: Final[frozenset[str]] = frozenset()


class ExpiryTimes:
    """Ids of memories by the time at which they expire, microseconds since 1970; changed by the writer, asked by any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._times: dict[str, int] = {}
        self._order: list[tuple[int, str]] = []
        # Who had expired when somebody last asked, until something changes: so many, the first of the order.
        self._expired = _NOBODY

    def __len__(self) -> int:
        """How many memories have a time at all."""
        return len(self._times)

    def replace_all(self, times: Mapping[str, int]) -> None:
        """Forget everything and take `times`."""
        order = sorted((micros, entity_id) for entity_id, micros in times.items())
        with self._guard:
            self._times, self._order, self._expired = dict(times), order, _NOBODY

    def update(self, changes: Mapping[str, int | None]) -> None:
        """Each memory expires at the time given; None: it does not, or is gone."""
        changed = {i: micros for i, micros in changes.items() if self._times.get(i) != micros}
        if not changed:
            return
        with self._guard:
            self._drop(entity_id for entity_id in changed if entity_id in self._times)
            for entity_id, micros in changed.items():
                if micros is not None:
                    self._times[entity_id] = micros
                    insort(self._order, (micros, entity_id))
            self._expired = _NOBODY

    def _drop(self, entity_ids: Iterable[str]) -> None:
        """Take them out; neighbours in the order together, since a sweep takes many from its beginning."""
        places = sorted(bisect_left(self._order, (self._times.pop(i), i)) for i in list(entity_ids))
        while places:
            stop = start = places.pop()
            while places and places[-1] == start - 1:
                start = places.pop()
            del self._order[start : stop + 1]

    def _reached(self, now: int) -> int:
        return bisect_right(self._order, now, key=lambda item: item[0]) if self._order else 0

    def count(self, now: int) -> int:
        """How many have expired at `now`."""
        with self._guard:
            return self._reached(now)

    def expired(self, now: int) -> frozenset[str]:
        """Who has expired at `now`."""
        with self._guard:
            count = self._reached(now)
            if len(self._expired) != count:
                self._expired = frozenset(entity_id for _, entity_id in self._order[:count])
            return self._expired

    def first(self, now: int, most: int) -> list[str]:
        """Up to `most` of those that have expired at `now`, the longest expired first."""
        with self._guard:
            return [entity_id for _, entity_id in self._order[: min(most, self._reached(now))]]
