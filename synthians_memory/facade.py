"""MemoryPersistence: the class most programs need, the engine's store together with the care that stands above it.

It does no work of its own: the engine reads and writes, the packages above it take care of the store.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

from synthians_memory.engine.part import Part
from synthians_memory.engine.persistence import Persistence
from synthians_memory.engine.session import Session
from synthians_memory.layout import SNAPSHOTS, Kind, validate_id
from synthians_memory.maintenance.care import BackupReport, backup_store, own_directory, snapshots_in
from synthians_memory.maintenance.history import PastVersion, history_of
from synthians_memory.maintenance.manifest import Ring, require_ring
from synthians_memory.maintenance.source import Base, SnapshotSource, base_beside, base_of_open_store
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend

__all__ = ["PARTS", "MemoryPersistence"]

# What lives in a store beside its memories and assemblies, and is backed up with them.
PARTS: Final[tuple[Part, ...]] = ()


class MemoryPersistence(Persistence):
    """A store of memories and assemblies in a directory, with everything the library does for one.

    What `Persistence` promises holds here as well.
    """

    async def backup(
        self,
        to: str | os.PathLike[str] | None = None,
        *,
        ring: Ring = "manual",
        full: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> BackupReport:
        """Take a snapshot of the store as it is at one moment of this call, while everything goes on.

        Args:
            to: a directory for snapshots; None: the store's own.
            ring: how long it is kept: "hourly", "daily" or "manual".
            full: read and compare every file again, and store anew what is missing or rotten among what is stored.
            progress: called in the thread that copies, with the number of entities looked at so far, and in all.

        Raises:
            StoreLockedError: another backup into that directory is under way.
            DamagedError: the journal is damaged, or what was written is not read back.
            UsageError: the directory holds snapshots of another store.
        """
        session = self._opened()
        require_ring(ring)
        loop = asyncio.get_running_loop()

        def base_from_writer() -> Base:
            return asyncio.run_coroutine_threadsafe(_base_of(session), loop).result()

        def work() -> BackupReport:
            backend = self._make_backend()
            try:
                directory = os.fspath(to) if to is not None else own_directory(backend, create=True)
                source = SnapshotSource(backend, lambda: self._base(backend, base_from_writer), self._clock)
                days = self.config.backup_retention_days
                return backup_store(source, directory, ring=ring, parts=PARTS, days=days, full=full, progress=progress)
            finally:
                backend.close()

        return await asyncio.to_thread(work)

    def _base(self, backend: Backend, from_writer: Callable[[], Base]) -> Base:
        return base_beside(backend, self._clock) if self._read_only else from_writer()

    async def history(
        self, memory_id: str, *, kind: Kind = "memory", snapshots: str | os.PathLike[str] | None = None
    ) -> list[PastVersion]:
        """The versions of a memory, or assembly, that are still to be had, oldest first, and its known deletions.

        Args:
            memory_id: its id.
            kind: "memory" or "assembly".
            snapshots: their directory; None: the store's own.
        """
        session = self._opened()
        key = (kind, validate_id(memory_id))
        backend = session.store.state.backend

        def work() -> list[PastVersion]:
            directory = os.fspath(snapshots) if snapshots is not None else _own_snapshots(backend)
            if directory is None:
                return history_of(backend, key)
            with snapshots_in(directory) as folder:
                return history_of(backend, key, folder)

        return await session.in_thread(work)


def _own_snapshots(backend: Backend) -> str | None:
    there = isinstance(backend, LocalBackend) and backend.stat(SNAPSHOTS) is not None
    return own_directory(backend) if there else None


async def _base_of(session: Session) -> Base:
    return await session.in_writer(lambda: base_of_open_store(session.store))
