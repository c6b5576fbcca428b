"""MemoryPersistence: the class most programs need, the engine's store together with the care that stands above it.

It does no work of its own: the engine reads and writes, the packages above it take care of the store.
"""

from __future__ import annotations

from synthians_memory.engine.persistence import Persistence

__all__ = ["MemoryPersistence"]


class MemoryPersistence(Persistence):
    """A store of memories and assemblies in a directory, with everything the library does for one.

    What `Persistence` promises holds here as well.
    """
