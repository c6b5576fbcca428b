"""Persistence: the asynchronous facade of one store's engine.

It does no work of its own: `store` is the engine, `session` the bridge to it. Programs use `facade.MemoryPersistence`,
which adds what stands above the engine.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, ClassVar, Self, cast

from synthians_memory.config import CheckLevel, StoreConfig
from synthians_memory.embedder import Embedder
from synthians_memory.engine.commit import ABSENT, Expected, Operation
from synthians_memory.engine.embedding_call import require_embedder
from synthians_memory.engine.expiry import live_ids
from synthians_memory.engine.fusion import Fusion
from synthians_memory.engine.iteration import iterate, load_many
from synthians_memory.engine.medium import local_medium
from synthians_memory.engine.ownership import Ownership
from synthians_memory.engine.purge import Eraser
from synthians_memory.engine.records import Key
from synthians_memory.engine.repair import Planner
from synthians_memory.engine.searching import (
    checked_recall,
    entry_to_remember,
    recall,
    remember,
    require_positive,
    search,
)
from synthians_memory.engine.session import Session, release_opened
from synthians_memory.engine.statistics import statistics
from synthians_memory.engine.store import Store
from synthians_memory.engine.transaction import (
    Transaction,
    checked_expected,
    require_assembly,
    require_memory,
    save_operation,
    stored_outcome,
)
from synthians_memory.engine.transfer import Importer, ImportOptions
from synthians_memory.errors import (
    InvalidValueError,
    StoreClosedError,
    SynthiansMemoryError,
    UsageError,
)
from synthians_memory.layout import Kind, validate_id
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry, Vector
from synthians_memory.reports import Finding, ImportReport, RecallHit, RecallMode, RepairReport, SearchHit
from synthians_memory.storage.backend import Backend
from synthians_memory.times import Clock, SystemClock

__all__ = ["ABSENT", "Persistence"]


class Persistence:
    """A store of memories and assemblies in a directory; a memory that has expired counts as deleted (`engine.expiry`).

    Use it as an async context manager, or call `initialize` and `close`. All methods belong to the
    event loop that opened it; any number of tasks may call them at once. Nothing blocks the loop.

    Every error is a `SynthiansMemoryError`. Besides the errors that a method names, each raises
    `StoreClosedError` before it is opened and after it is closed, `WrongLoopError` from another event
    loop, `ForkedStoreError` in a forked child, and `DiskError` where the operating system refuses.

    Writes raise `InvalidValueError` or `InvalidTypeError` for what cannot be stored, `ConflictError`
    where `expected_updated_at` is not what is stored (`ABSENT`: nothing may be), `ReadOnlyError`,
    `OverloadedError`, `JournalFailedError`, and after a change of the model `EmbedderMismatchError`. Whatever they raise, nothing of the write is
    acknowledged; a cancelled write has an unknown but whole outcome.
    """

    _erasers: ClassVar[tuple[Eraser, ...]] = ()

    def __init__(
        self,
        storage_path: str | os.PathLike[str] | None = None,
        config: StoreConfig | None = None,
        *,
        read_only: bool = False,
        embedder: Embedder | None = None,
        clock: Clock | None = None,
        backend: Callable[[], Backend] | None = None,
        **overrides: Any,
    ) -> None:
        """Opens nothing yet.

        Args:
            storage_path: the store's directory; made where it is missing. Default: the config's.
            config: settings.
            read_only: change nothing on disk; works beside a writer, and sees what it had
                acknowledged at the opening or the last `refresh`.
            embedder: for `search` by text and `import_memories(embed=True)`.
            clock: source of time, for tests.
            backend: another medium than the local disk.
            **overrides: single settings on top of `config`.

        Raises:
            InvalidTypeError, InvalidValueError: a setting is wrong or unknown.
            EmbedderMismatchError: the embedder makes vectors of another length than `embedding_dimension`.
        """
        changes = dict(overrides)
        if storage_path is not None:
            changes["storage_path"] = storage_path
        self.config = (config or StoreConfig()).with_overrides(**changes)
        if embedder is not None:
            require_embedder(embedder, self.config.embedding_dimension)
        self._metric_given = "metric" in overrides or self.config.metric != StoreConfig.metric
        self._read_only = read_only
        self._embedder = embedder
        self._clock = clock or SystemClock()
        self._make_backend = backend or (lambda: local_medium(self.config, create=not read_only))
        self._session: Session | None = None
        # Opening and closing, by several tasks, one after the other.
        self._turn = asyncio.Lock()

    # Life

    async def initialize(self) -> None:
        """Open the store: lock it, recover it, check it, and repair it where `auto_repair` says so. Idempotent.

        Raises:
            StoreLockedError: another writer holds it.
            NotAStoreError: the directory is not empty and holds no store.
            UnsupportedFormatError, EmbedderMismatchError: it cannot be used like this.
        """
        if self._session is not None:
            self._session.require()
            return
        async with self._turn:
            if self._session is None:
                self._session = await self._new_session()

    async def _new_session(self) -> Session:
        ownership = Ownership(self)
        opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        try:
            store = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(release_opened)
            raise
        return Session(store, ownership)

    def _open(self) -> Store:
        embedder = self._embedder
        return Store.open(
            self._make_backend(),
            self.config,
            self._clock,
            read_only=self._read_only,
            embedder=(embedder.name, embedder.dimension) if embedder is not None else None,
            metric_given=self._metric_given,
            erasers=self._erasers,
        )

    async def close(self) -> None:
        """Finish what was submitted, checkpoint, and release the store. Idempotent.

        Raises:
            DiskError: the checkpoint failed; the store is released, and the journal holds everything.
        """
        if self._session is not None:
            self._session.require()
        async with self._turn:
            session, self._session = self._session, None
            if session is not None:
                await session.close()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _opened(self) -> Session:
        session = self._session
        if session is None:
            raise StoreClosedError(f"the store {self.config.storage_path} is not open")
        session.require()
        return session

    # Memories

    async def save_memory(self, entry: MemoryEntry, *, expected_updated_at: Expected = None) -> MemoryEntry:
        """Store one memory, new or changed; returns it with updated_at and content_hash as stored."""
        return cast(MemoryEntry, await self._save(require_memory(entry), expected_updated_at))

    async def save_memories_batch(self, entries: Iterable[MemoryEntry]) -> list[MemoryEntry]:
        """Store many memories, all or nothing, also across a crash; returns them as stored, in order.

        Raises also BatchTooLargeError: more than max_batch_bytes.
        """
        session = self._opened()
        # What the caller does to its objects while threads encode comes too late.
        checked = [require_memory(entry).rechecked() for entry in entries]
        operations = await session.in_thread(lambda: [save_operation(entry) for entry in checked])
        outcomes = await session.commit(operations)
        return await session.in_thread(lambda: [cast(MemoryEntry, stored_outcome(outcome)) for outcome in outcomes])

    async def load_memory(self, memory_id: str) -> MemoryEntry | None:
        """The memory; None where the store does not hold it. Nothing done to it changes a later load.

        Raises:
            DamagedFileError: its file is damaged.
            ChangedOutsideError: its file is another version than acknowledged.
        """
        return cast(MemoryEntry | None, await self._load("memory", memory_id))

    async def load_memories(self, memory_ids: Iterable[str]) -> dict[str, MemoryEntry]:
        """Those of the memories that exist, by id, in the order asked for; raises as `load_memory`."""
        session = self._opened()
        keys: list[Key] = [("memory", validate_id(i, "memory_id")) for i in memory_ids]
        found = await load_many(session, keys)
        return {key[1]: cast(MemoryEntry, entity) for key, entity in found if entity is not None}

    async def delete_memory(self, memory_id: str, *, expected_updated_at: Expected = None) -> bool:
        """Delete one memory; True if it was there."""
        return await self._delete("memory", memory_id, expected_updated_at)

    async def delete_memories_batch(self, memory_ids: Iterable[str]) -> int:
        """Delete many memories, all or nothing; returns how many were there."""
        operations = [Operation("memory", validate_id(i, "memory_id"), None) for i in memory_ids]
        return sum(outcome is True for outcome in await self._opened().commit(operations))

    async def list_memories(self) -> list[str]:
        """The ids of all memories, in order."""
        session = self._opened()
        return await session.in_thread(lambda: live_ids(session.store.state, "memory"))

    def iter_memories(
        self, *, on_damaged: Callable[[SynthiansMemoryError], None] | None = None, expired: bool = False
    ) -> AsyncIterator[MemoryEntry]:
        """All memories in order of ids, read lazily; each that is there throughout comes exactly once.

        Args:
            on_damaged: called for each that cannot be served, which is then left out; None: raise.
            expired: whether those that have expired, and are stored still, come as well.
        """
        return cast(AsyncIterator[MemoryEntry], iterate(self._opened, "memory", on_damaged, expired=expired))

    async def load_all(self) -> list[MemoryEntry]:
        """All memories in order of ids; raises as `load_memory`."""
        return [entry async for entry in self.iter_memories()]

    # Assemblies

    async def save_assembly(self, assembly: MemoryAssembly, *, expected_updated_at: Expected = None) -> MemoryAssembly:
        """Store one assembly, as `save_memory`; its members need not exist."""
        return cast(MemoryAssembly, await self._save(require_assembly(assembly), expected_updated_at))

    async def load_assembly(self, assembly_id: str) -> MemoryAssembly | None:
        """The assembly, as `load_memory`."""
        return cast(MemoryAssembly | None, await self._load("assembly", assembly_id))

    async def delete_assembly(self, assembly_id: str, *, expected_updated_at: Expected = None) -> bool:
        """Delete one assembly, not its members; True if it was there."""
        return await self._delete("assembly", assembly_id, expected_updated_at)

    async def list_assemblies(self) -> list[str]:
        """The ids of all assemblies, in order."""
        session = self._opened()
        return await session.in_thread(lambda: live_ids(session.store.state, "assembly"))

    def iter_assemblies(
        self, *, on_damaged: Callable[[SynthiansMemoryError], None] | None = None
    ) -> AsyncIterator[MemoryAssembly]:
        """All assemblies, as `iter_memories`."""
        return cast(AsyncIterator[MemoryAssembly], iterate(self._opened, "assembly", on_damaged))

    # Batches

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Gather changes and commit them together at the end of the block; an exception in it writes nothing."""
        session = self._opened()
        transaction = Transaction(session.load, self._clock)
        try:
            yield transaction
        finally:
            operations = transaction.end()
        await session.commit(operations)

    async def import_memories(
        self,
        source: str | os.PathLike[str] | AsyncIterator[list[bytes]],
        *,
        chunk: int = 1000,
        embed: bool = False,
        overwrite: bool = False,
        stop_on_error: bool = False,
        progress: Callable[[ImportReport], None] | None = None,
    ) -> ImportReport:
        """Store the memories and assemblies of a JSONL stream, atomically by chunks, keeping their times.

        Repeating it, also after a kill, stores nothing twice: what is there with equal content is skipped.

        Args:
            source: a path (also .gz), "-" for stdin, or an iterator of lists of lines.
            chunk: lines that are stored together.
            embed: give every memory without an embedding the embedder's.
            overwrite: replace a stored entity of other content; without it that is reported.
            stop_on_error: end at the first line that cannot be stored; without it they are reported.
            progress: called after each chunk with the report so far.

        Raises:
            InvalidValueError: with stop_on_error, the line that cannot be stored; `chunk` below 1.
            UsageError: `embed` without an embedder.
        """
        session = self._opened()
        if embed and self._embedder is None:
            raise UsageError("no embedder is set", hint="Pass embedder= when you open the store.")
        require_positive("chunk", chunk)
        options = ImportOptions(chunk, self._embedder if embed else None, overwrite, stop_on_error)
        return await Importer(session, options, progress).run(source)

    # Search

    async def search(
        self,
        query: Vector | Sequence[float] | str,
        k: int = 10,
        where: Mapping[str, Any] | None = None,
        *,
        kind: Kind = "memory",
    ) -> list[SearchHit]:
        """The `k` nearest memories, or assemblies, best first; fewer only where fewer exist.

        Args:
            query: a vector, or a text for the embedder.
            k: at least 1.
            where: only those that match this filter (see `engine.filters`), applied before the `k` are taken.
            kind: "memory" or "assembly".

        Raises:
            DimensionError, InvalidValueError, InvalidTypeError: the query cannot be compared, or the filter is none.
            UsageError: a text, and no embedder.
        """
        return await search(self._opened(), self._embedder, query, k, where, kind)

    async def recall(
        self,
        text: str,
        k: int = 10,
        mode: RecallMode = "hybrid",
        where: Mapping[str, Any] | None = None,
        *,
        min_score: float | None = None,
        timeout: float | None = 5.0,  # noqa: ASYNC109 - it stops the work in the thread as well
        fusion: Fusion = "score",
        vector_weight: float = 0.3,
        neighbours: float = 0.25,
        recency: float = 0.0,
        half_life: float = 30.0,
        importance: float = 0.0,
        on_damaged: Callable[[SynthiansMemoryError], None] | None = None,
    ) -> list[RecallHit]:
        """The memories that `text` is about, best first, by words and by vectors.

        Args:
            text: anything; words, "phrases in quotes", prefix*.
            k: at least 1.
            mode: "hybrid", "vector" or "text". Hybrid without an embedder, or for a text in which it finds nothing,
                goes by the text; each hit's `mode` says so.
            where: as in `search`.
            min_score: leave out hits with a lower score.
            timeout: seconds; None: no limit.
            fusion: how the two rankings become one: by "score" or by "rank".
            vector_weight: 0 to 1, the share of the vectors in a hybrid score; the words have the rest.
            neighbours: how much of the words of a memory's neighbours counts for it; 0: nothing. Neighbours stand next to
                each other in an assembly, or by time in one conversation (the setting `conversation_key`).
            recency: what a memory of now gets added to its score; half of it after `half_life` days.
            half_life: days.
            importance: what a quickrecal_score of 1 gets added to the score.
            on_damaged: called in a thread for each hit that cannot be served, which is left out in any case.

        Raises:
            SearchTimeoutError: not done in time; the work is stopped.
            UsageError: mode "vector" without an embedder.
            InvalidValueError, InvalidTypeError, DimensionError: an argument is wrong.
        """
        weights = {"neighbours": neighbours, "recency": recency, "half_life": half_life, "importance": importance}
        query = checked_recall(text, k, mode, where, min_score, fusion, vector_weight=vector_weight, **weights)
        return await recall(self._opened(), self._embedder, replace(query, on_damaged=on_damaged), timeout)

    async def remember(
        self,
        text: str,
        tags: Iterable[str] = (),
        importance: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> MemoryEntry:
        """Save a new memory of `text`, embedded where there is an embedder; returns it as stored.

        Args:
            text: its content; InvalidValueError where it is empty.
            tags: as in MemoryEntry.
            importance: its quickrecal_score, 0 to 1; None: the usual one.
            metadata: as in MemoryEntry.
        """
        entry = entry_to_remember(text, tags, importance, metadata)
        return await remember(self._opened(), self._embedder, entry)

    # Care

    async def verify_consistency(
        self, level: CheckLevel = "full", *, progress: Callable[[int, int], None] | None = None
    ) -> list[Finding]:
        """Whatever is wrong with the store, as values; never writes.

        Args:
            level: "quick" compares names, sizes and times; "full" reads every byte.
            progress: called in the thread that checks, with the number of files read by "full" so far, and in all.
        """
        session = self._opened()
        if level not in ("quick", "full", "off"):
            raise InvalidValueError(f"level is {level!r}", hint='Write "quick" or "full".')
        return await session.in_thread(lambda: session.store.check(level, progress))

    async def verify_and_repair_consistency(
        self, dry_run: bool = False, *, progress: Callable[[int, int], None] | None = None
    ) -> RepairReport:
        """Check every byte and mend what is found; source that is in the way goes to quarantine.

        Args:
            dry_run: change nothing, and say what would be done; a store that is open read-only will do.
            progress: as in `verify_consistency`; a repair checks before and after.
        """
        session = self._opened()
        if dry_run:
            store = session.store
            return await session.in_thread(lambda: Planner(store.state).dry_run(store.check("full", progress)))
        return await session.in_writer(lambda: session.store.repair(progress))

    async def adopt(self, entity_id: str, *, kind: Kind = "memory") -> Entity:
        """Take the file of one entity as it stands, whatever its hash line says; returns it as stored.

        Raises:
            EntityNotFoundError: there is no such file.
            DamagedFileError: it does not parse or validate.
        """
        session = self._opened()
        key: Key = (kind, validate_id(entity_id))
        version = await session.in_writer(lambda: session.store.adopt(key))
        return version.stored_entity()

    async def flush(self) -> None:
        """Return when everything acknowledged is durable and in its files.

        What could not be written to its file stays in the journal, and in `stats()["pending_files"]`.
        """
        session = self._opened()
        await session.in_writer(session.store.flush)

    async def checkpoint(self) -> None:
        """Make files and indexes reflect the journal, then drop it."""
        session = self._opened()
        await session.in_writer(session.store.checkpoint)

    async def refresh(self) -> None:
        """Move a store that is open read-only on to what its writer has acknowledged; nothing otherwise."""
        session = self._opened()
        await session.in_thread(session.store.refresh)

    def stats(self) -> dict[str, Any]:
        """Counts, sizes and the state of the store, as JSON."""
        return statistics(self._opened().store)

    @property
    def opening_report(self) -> RepairReport:
        """What the check at open found, and what its repair did."""
        return self._opened().store.opening_report

    # The common parts

    async def _save(self, entity: Entity, expected: Expected) -> Entity:
        session = self._opened()
        outcomes = await session.commit([save_operation(entity, expected)])
        return stored_outcome(outcomes[0])

    async def _load(self, kind: Kind, entity_id: str) -> Entity | None:
        return await self._opened().load((kind, validate_id(entity_id, f"{kind}_id")))

    async def _delete(self, kind: Kind, entity_id: str, expected: Expected) -> bool:
        key = validate_id(entity_id, f"{kind}_id")
        outcomes = await self._opened().commit([Operation(kind, key, None, checked_expected(expected))])
        return outcomes[0] is True
