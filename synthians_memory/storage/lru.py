"""A cache of values that are counted in bytes; the least recently used go first.

It is not a store: whatever is in it can be had again from elsewhere, and it never computes a value itself.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cachetools import LRUCache

from synthians_memory.errors import InvalidValueError

__all__ = ["ByteLRU", "CacheStats"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache has done and holds.

    Attributes:
        hits: calls of `get` that found a value, since the cache was made.
        misses: calls of `get` that found none.
        bytes: sum of the sizes of what it holds.
        entries: how many values it holds.
    """

    hits: int
    misses: int
    bytes: int
    entries: int


class ByteLRU(Generic[K, V]):
    """At most `max_bytes` of values by key; every call is thread-safe and atomic.

    Args:
        max_bytes: bound on the sum of sizes; 0 turns the cache off.

    Raises:
        InvalidValueError: a negative bound.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise InvalidValueError(f"a cache cannot hold {max_bytes} bytes", hint="Give 0 to turn it off.")
        self._guard = threading.Lock()
        self._cache: LRUCache[K, tuple[V, int]] = LRUCache(max_bytes, getsizeof=_size)
        self._hits = 0
        self._misses = 0

    def get(self, key: K) -> V | None:
        """The value of `key`, from now on the most recently used; None where there is none."""
        with self._guard:
            try:
                value = self._cache[key][0]
            except KeyError:
                self._misses += 1
                return None
            self._hits += 1
            return value

    def put(self, key: K, value: V, size: int) -> None:
        """Keep `value` for `key`, in place of an earlier one; one larger than the bound is not kept.

        Args:
            key: what `get` asks for.
            value: anything but None.
            size: bytes it counts for, at least 1.

        Raises:
            InvalidValueError: a size below 1.
        """
        if size < 1:
            raise InvalidValueError(f"a cached value cannot count for {size} bytes", hint="Give 1 or more.")
        with self._guard:
            # What the key stood for is out of date, whether or not the new value fits.
            self._cache.pop(key, None)
            if size <= self._cache.maxsize:
                self._cache[key] = (value, size)

    def discard(self, key: K) -> None:
        """Forget `key`; nothing where it is not kept."""
        with self._guard:
            self._cache.pop(key, None)

    def clear(self) -> None:
        """Forget all; the counts of hits and misses go on."""
        with self._guard:
            self._cache.clear()

    def stats(self) -> CacheStats:
        """The counts at this moment."""
        with self._guard:
            return CacheStats(self._hits, self._misses, int(self._cache.currsize), len(self._cache))


def _size(entry: tuple[object, int]) -> int:
    return entry[1]
