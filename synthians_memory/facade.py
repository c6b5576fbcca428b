"""MemoryPersistence: the class most programs need, the engine's store together with the care that stands above it.

It does no work of its own: the engine reads and writes, the packages above it take care of the store.
"""

from __future__ import annotations

from collections.abc import Callable

from synthians_memory.engine.persistence import Persistence
from synthians_memory.engine.sweeping import sweep

__all__ = ["MemoryPersistence"]


class MemoryPersistence(Persistence):
    """A store of memories and assemblies in a directory, with everything the library does for one.

    What `Persistence` promises holds here as well.
    """

    async def sweep_expired(self, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None) -> int:
        """Delete the memories that have expired by now, in batches of some hundred; returns how many.

        Ordinary journaled deletes: what one batch has deleted stays deleted where a later one fails, and the next sweep
        goes on. A memory that is saved anew meanwhile is left alone.

        Args:
            dry_run: delete nothing, only count; a store that is open read-only will do.
            progress: called after each batch with the number deleted so far, and in all.
        """
        return await sweep(self._opened(), dry_run=dry_run, progress=progress)
