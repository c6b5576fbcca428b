"""MemoryPersistence: the class most programs need, the engine's store together with the care that stands above it.

It does no work of its own: the engine reads and writes, the packages above it take care of the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthians_memory.engine.persistence import Persistence
from synthians_memory.engine.searching import search_batch
from synthians_memory.layout import Kind
from synthians_memory.models import Vector
from synthians_memory.reports import SearchHit

__all__ = ["MemoryPersistence"]


class MemoryPersistence(Persistence):
    """A store of memories and assemblies in a directory, with everything the library does for one.

    What `Persistence` promises holds here as well.
    """

    async def search_batch(
        self,
        queries: Iterable[Vector | Sequence[float] | str],
        k: int = 10,
        where: Mapping[str, Any] | None = None,
        *,
        kind: Kind = "memory",
    ) -> list[list[SearchHit]]:
        """What `search` finds for each of many queries, in their order; faster than one after the other.

        Several processor threads work on it, the filter is asked once, and saves get their turn in between, so that
        later queries may see what was saved meanwhile.

        Args:
            queries: vectors, texts for the embedder, or both.
            k: at least 1, for each.
            where: as for `search`.
            kind: as for `search`.

        Raises:
            DimensionError, InvalidValueError, InvalidTypeError: a query or the filter cannot be used.
            UsageError: a text was given without an embedder.
        """
        return await search_batch(self._opened(), self._embedder, queries, k, where, kind)
