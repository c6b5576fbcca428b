"""MemoryPersistence: the class most programs need, the engine's store together with the care that stands above it.

It does no work of its own: the engine reads and writes, the packages above it take care of the store.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final

from synthians_memory.config import CheckLevel
from synthians_memory.embedder import Embedder
from synthians_memory.engine.commit import Expected
from synthians_memory.engine.embedding_call import require_embedder
from synthians_memory.engine.part import Part
from synthians_memory.engine.persistence import Persistence
from synthians_memory.engine.purge import Eraser
from synthians_memory.engine.reembed_call import Reembedder, forget_previous
from synthians_memory.engine.searching import entry_to_remember, remember, search_batch
from synthians_memory.engine.session import Session
from synthians_memory.engine.sweeping import sweep
from synthians_memory.errors import (
    DiskError,
    InvalidTypeError,
    InvalidValueError,
    NotStoredError,
    OverloadedError,
    ReadOnlyError,
    StoreLockedError,
)
from synthians_memory.layout import FALLBACK, SNAPSHOTS, Kind, validate_id
from synthians_memory.ledger.part import LedgerPart
from synthians_memory.maintenance.care import BackupReport, backup_store, own_directory, snapshots_in
from synthians_memory.maintenance.fallback import Fallback, replay
from synthians_memory.maintenance.history import PastVersion, history_of
from synthians_memory.maintenance.manifest import Ring, require_ring
from synthians_memory.maintenance.snapshot_eraser import SnapshotEraser
from synthians_memory.maintenance.source import Base, SnapshotSource, base_beside, base_of_open_store
from synthians_memory.models import MemoryEntry, Vector
from synthians_memory.reports import Finding, PurgeReceipt, ReembedReport, SearchHit
from synthians_memory.state.part import StatePart
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.tiers.eraser import RowEraser, erased_copy
from synthians_memory.tiers.memory_check import memory_findings
from synthians_memory.tiers.part import TiersPart

__all__ = ["PARTS", "MemoryPersistence"]

# What lives in a store beside its memories and assemblies, and is checked and backed up with them.
PARTS: Final[tuple[Part, ...]] = (StatePart(), LedgerPart(), TiersPart())

# What a store may say when it is asked to save a sound memory.
_CANNOT_WRITE: Final = (DiskError, OverloadedError, ReadOnlyError)


class MemoryPersistence(Persistence):
    """A store of memories and assemblies in a directory, with everything the library does for one.

    What `Persistence` promises holds here as well.
    """

    _erasers: ClassVar[tuple[Eraser, ...]] = (RowEraser(), SnapshotEraser(erased_copy))
    _reserved = False

    async def initialize(self) -> None:
        """As `Persistence.initialize`; memories that were parked because they could not be stored are stored now."""
        opened = self._session is None
        await super().initialize()
        if opened and self._opened().store.state.journal is not None:
            try:
                await self._replay()
            except BaseException:
                # Whoever was cancelled here has no store to close.
                await asyncio.shield(self.close())
                raise

    async def _replay(self) -> None:
        store = self._opened().store
        try:
            report = await replay(self._fallback(), self._remember)
        except Exception as error:  # noqa: BLE001 - an embedder is somebody else's code, and must not keep the store shut
            # What still cannot be stored stays parked.
            store.state.last_error = str(error)
            return
        actions = tuple(f"stored the parked memory {memory_id}" for memory_id in report.stored)
        store.opening_report = store.opening_report.preceded_by(actions)

    def _fallback(self) -> Fallback:
        return Fallback(self._make_backend)

    async def remember(
        self,
        text: str,
        tags: Iterable[str] = (),
        importance: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> MemoryEntry:
        """Save a new memory of `text`, embedded where there is an embedder; returns it as stored.

        Args:
            text: its content; InvalidValueError where it is empty, or longer than 100,000 characters.
            tags: as in MemoryEntry, at most 50.
            importance: its quickrecal_score, 0 to 1; None: the usual one.
            metadata: as in MemoryEntry.

        Raises:
            NotStoredError: the store cannot write. The memory is parked, and stored when the store is opened again
                or by `replay`; where parking fails as well, the error carries it.
        """
        self._opened()
        entry = entry_to_remember(text, tags, importance, metadata)
        if self._read_only:
            return await self._remember(entry)
        await self._reserve()
        try:
            return await self._remember(entry)
        except _CANNOT_WRITE as error:
            raise await self._parked(entry, error) from error

    async def _remember(self, entry: MemoryEntry, expected: Expected = None) -> MemoryEntry:
        return await remember(self._opened(), self._embedder, entry, expected)

    async def _reserve(self) -> None:
        """Space for parking, while there is some; a disk that is full already must not refuse what may still fit."""
        if not self._reserved:
            with suppress(DiskError, StoreLockedError):
                await asyncio.to_thread(self._fallback().reserve)
            self._reserved = True

    async def _parked(self, entry: MemoryEntry, error: Exception) -> NotStoredError:
        what = f"the memory {entry.memory_id} could not be stored ({error})"
        try:
            await asyncio.to_thread(self._fallback().park, entry)
        except (DiskError, StoreLockedError) as refusal:
            hint = "Keep the entry that this error carries, mend the disk, and save it again."
            return NotStoredError(f"{what}, nor parked ({refusal})", hint=hint, entry=entry, parked=False)
        hint = "Mend the disk, then open the store again or run `replay`."
        return NotStoredError(f"{what}; it is parked in {FALLBACK}", path=FALLBACK, hint=hint, entry=entry, parked=True)

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
        with session.reembedding():
            return await session.in_writer(
                lambda: session.store.purge(checked, kind, backups=backups, progress=progress)
            )

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

    async def reembed(
        self,
        embedder: Embedder | None = None,
        *,
        back: bool = False,
        forget_way_back: bool = False,
        drop_unembeddable: bool = False,
        progress: Callable[[ReembedReport], None] | None = None,
    ) -> ReembedReport:
        """Change the store to another embedder: every entity gets a new embedding, all of them in one step.

        The store serves and saves meanwhile. Repeated after a kill, it goes on with what was done. Before the step every
        load, search and export sees the old embeddings, after it the new ones. Memories with a text get an embedding
        also where they had none; an assembly that had one gets the mean of its members, or without such members
        that of its name and description. `updated_at` of an entity with a new embedding is a later one. Saves of vectors
        that are known to be of the model before raise EmbedderMismatchError from then on.

        The old embeddings are kept, those of one model, as a way back. Where the store is of the embedder's model already,
        nothing is changed.

        Args:
            embedder: of the new embeddings.
            back: go back to the model before: kept embeddings are taken where the text is still the same. `embedder`, of
                that model, is only needed where one was saved or changed since.
            forget_way_back: change nothing but remove the kept embeddings.
            drop_unembeddable: take it that entities with an embedding and without a text have none then.
            progress: called in the event loop with the report so far.

        Raises:
            InvalidValueError: an entity would lose its embedding, and drop_unembeddable is not set; nothing was changed.
            UsageError: no embedder where one is needed, nothing to go back to, or another reembed goes on.
            EmbedderMismatchError: `embedder` is not the one of the model before.
            DamagedFileError, ChangedOutsideError: the file of an entity is at fault; nothing was changed.
        """
        session = self._opened()
        if embedder is not None:
            require_embedder(embedder, None)
        with session.reembedding():
            if forget_way_back:
                return await forget_previous(session)
            reembedder = Reembedder(session, embedder, drop_unembeddable=drop_unembeddable, progress=progress)
            report = await reembedder.run(back=back)
        self._embedder = embedder
        return report

    async def verify_consistency(
        self, level: CheckLevel = "full", *, progress: Callable[[int, int], None] | None = None
    ) -> list[Finding]:
        """As `Persistence.verify_consistency`, and what is wrong with the parts beside the memories and assemblies."""
        findings = await super().verify_consistency(level, progress=progress)
        if level == "off":
            return findings
        session = self._opened()
        backend = session.store.state.backend
        findings += await session.in_thread(
            lambda: [finding for part in PARTS for finding in part.check(backend, level)]
        )
        return findings + await session.in_thread(lambda: memory_findings(session.store, level))

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
        # Also a store that an opening has found too damaged to write to is backed up.
        has_writer = session.store.state.journal is not None

        def work() -> BackupReport:
            backend = self._make_backend()
            try:
                directory = os.fspath(to) if to is not None else own_directory(backend, create=True)
                source = SnapshotSource(backend, lambda: base(backend), self._clock)
                days = self.config.backup_retention_days
                return backup_store(source, directory, ring=ring, parts=PARTS, days=days, full=full, progress=progress)
            finally:
                backend.close()

        def base(backend: Backend) -> Base:
            if has_writer:
                return asyncio.run_coroutine_threadsafe(_base_of(session), loop).result()
            return base_beside(backend, self._clock)

        return await asyncio.to_thread(work)

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
