"""MemoryPersistence: the class most programs need, the engine's store together with the care that stands above it.

It does no work of its own: the engine reads and writes, the packages above it take care of the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from synthians_memory.engine.persistence import Persistence
from synthians_memory.engine.sweeping import sweep
from synthians_memory.errors import InvalidTypeError, InvalidValueError
from synthians_memory.layout import Kind, validate_id
from synthians_memory.reports import PurgeReceipt

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

    async def purge(
        self,
        ids: Iterable[str],
        *,
        kind: Kind = "memory",
        backups: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> PurgeReceipt:
        """Remove every trace of some memories, or assemblies, from the store's directory (see `engine.purge`).

        Files, journal, views and their copies, text index, quarantine and scratch; not what a file system or a disk keeps of
        freed blocks, nor other copies. Returns when all of it is durable. Interrupted, it is finished by the next open for
        writing or the next purge. Writes wait meanwhile; reads go on. Ids that the store no longer holds are purged as well.

        Args:
            ids: of what; they may be saved anew afterwards.
            kind: "memory" or "assembly".
            backups: whether snapshots in the store's directory are purged as well.
            progress: called in another thread with the number of steps done, and in all.

        Returns:
            The receipt, which is kept in logs/ and names each place, and what was left: assemblies that list an id stay
            as they are.

        Raises:
            InvalidIdError, InvalidTypeError, InvalidValueError: no ids, or none that could be stored.
            ReadOnlyError: the store may not be changed.
            DiskError: it is not done; a plan stays, by which it is gone on with.
        """
        session = self._opened()
        if isinstance(ids, str):
            raise InvalidTypeError("ids must be a list of ids, not one string", hint="Write [id].")
        checked = [validate_id(entity_id) for entity_id in ids]
        if not checked:
            raise InvalidValueError("there is nothing to purge", hint="Give at least one id.")
        if kind not in ("memory", "assembly"):
            raise InvalidValueError(f"kind is {kind!r}", hint='Write "memory" or "assembly".')
        return await session.in_writer(lambda: session.store.purge(checked, kind, backups=backups, progress=progress))
