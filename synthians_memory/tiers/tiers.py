"""Tiers: the three tiers of one open store, as the one object that a program opens.

It keeps nothing itself: the ring, the two databases and the store do.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from synthians_memory.engine.ownership import Ownership
from synthians_memory.engine.persistence import Persistence
from synthians_memory.errors import (
    InvalidTypeError,
    InvalidValueError,
    ReadOnlyError,
    StoreClosedError,
    StoreLockedError,
    UsageError,
)
from synthians_memory.layout import TIERS as FOLDER
from synthians_memory.layout import database_side_files
from synthians_memory.models import random_id
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.tiers.collections import Collections
from synthians_memory.tiers.context import MAX_TOKENS, TIERS, AssembledContext, ContextSources, assemble_context
from synthians_memory.tiers.database import Database
from synthians_memory.tiers.handing_on import HandingOn
from synthians_memory.tiers.longterm import LongTermMemory
from synthians_memory.tiers.migration import Ages, MigrationReport, Summarise, finish
from synthians_memory.tiers.operational import CAPACITY, OperationalMemory
from synthians_memory.tiers.reconciliation import ReconciliationReport, reconcile
from synthians_memory.tiers.records import Event
from synthians_memory.tiers.tables import SCHEMAS
from synthians_memory.tiers.tokens import TokenCounter, checked_counter, estimate_tokens
from synthians_memory.tiers.working import WorkingMemory
from synthians_memory.times import Clock, SystemClock

__all__ = ["HOUR", "Tiers"]

HOUR: Final = 3600.0
_MICROS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Opened:
    """What there is while the tiers are open; `stack` takes it down in the opposite order."""

    ownership: Ownership
    backend: Backend
    stack: AsyncExitStack
    databases: Sequence[Database]
    collections: Collections
    operational: OperationalMemory
    working: WorkingMemory
    longterm: LongTermMemory
    # None where the store is read-only: nothing is handed on then.
    handing_on: HandingOn | None


class Tiers:
    """What happens now, what is worked on and what was once learned, over one open store.

    Use it as an async context manager inside that of the store, or call `open` and `close`: the tiers are opened after the
    store and closed before it. All methods belong to the event loop that opened the store; any number of tasks may call
    them at once, and none blocks the loop.

    Over a store that is open read-only the tiers are as well: they show what the databases held at the opening, and change
    nothing on disk.

    Every error is a SynthiansMemoryError. Besides those that a method names each raises StoreClosedError before the tiers
    are opened and after they, or the store, are closed, and WrongLoopError or ForkedStoreError from elsewhere.

    Args:
        store: open, when `open` is called.
        clock: source of time.
        ids: draws ids.
        count_tokens: counts the tokens of a text; called in a thread.
        summarise: makes a summary of what is archived; the original is kept. What it raises passes through.
        ages: when rows are archived, by their kind.
        migrate_every: seconds between two migrations in the background, from the opening on; None: only `migrate`.
        capacity: how many events the ring holds.
        operational_age: seconds after which a migration takes an event out of the ring and into the working tier.
    """

    def __init__(
        self,
        store: Persistence,
        *,
        clock: Clock | None = None,
        ids: Callable[[], str] | None = None,
        count_tokens: TokenCounter = estimate_tokens,
        summarise: Summarise | None = None,
        ages: Ages | None = None,
        migrate_every: float | None = None,
        capacity: int = CAPACITY,
        operational_age: float = HOUR,
    ) -> None:
        if not isinstance(store, Persistence):
            raise InvalidTypeError(f"store must be a MemoryPersistence, not {type(store).__name__}")
        self._store = store
        self._clock = clock or SystemClock()
        self._ids = ids or random_id
        self._count_tokens = checked_counter(count_tokens)
        self._summarise = summarise
        self._ages = ages
        self._every = None if migrate_every is None else _positive("migrate_every", migrate_every)
        self._capacity = capacity
        self._operational_age = _positive("operational_age", operational_age)
        self._open: _Opened | None = None
        self._turn = asyncio.Lock()
        self._migrating = asyncio.Lock()
        self._loop: asyncio.Task[None] | None = None
        self._last_error: Exception | None = None
        self._reconciled = ReconciliationReport()

    # Life

    async def open(self) -> None:
        """Open the tiers; the databases are made where there are none. Idempotent.

        What a crash has left of a migration is finished, and the memories of rows are reconciled with them.

        Raises:
            StoreClosedError: the store is not open.
            ReadOnlyError: `migrate_every` was given, and the store is read-only.
            StoreLockedError: the tiers of this store are open already.
            DamagedFileError: a database is damaged.
            DiskError: a database cannot be opened or made.
        """
        if self._open is not None:
            self._opened()
            return
        async with self._turn:
            if self._open is None:
                self._open = await self._made()
                if self._every is not None:
                    self.start_migrating(self._every)

    async def _made(self) -> _Opened:
        statistics = self._store.stats()
        read_only = statistics["read_only"] is not None
        if read_only and self._every is not None:
            raise ReadOnlyError("nothing can be migrated: the store is read-only", hint="Leave out migrate_every.")
        self._last_error = None
        stack = AsyncExitStack()
        try:
            placing = asyncio.ensure_future(asyncio.to_thread(_place, statistics["location"], lock=not read_only))
            stack.push_async_callback(_release, placing)
            backend = await asyncio.shield(placing)
            databases = [Database(backend, schema, read_only=read_only) for schema in SCHEMAS]
            for database in databases:
                stack.push_async_callback(database.close)
                await database.open()
            opened = self._put_together(backend, databases, stack, read_only=read_only)
            # What cancelled callers have left is written before the databases are closed.
            stack.push_async_callback(opened.collections.settle)
            if not read_only:
                await finish(opened.working)
                self._reconciled = await reconcile(opened.collections, databases[0], databases[1])
        except BaseException:
            # Also where the caller was cancelled nothing stays open.
            await asyncio.shield(asyncio.ensure_future(stack.aclose()))
            raise
        return opened

    def _put_together(
        self, backend: Backend, databases: Sequence[Database], stack: AsyncExitStack, *, read_only: bool
    ) -> _Opened:
        working_rows, longterm_rows = databases
        collections = Collections(self._store)
        working = WorkingMemory(working_rows, collections, self._clock, self._ids, archive=longterm_rows)
        operational = OperationalMemory(
            self._capacity, clock=self._clock, ids=self._ids, on_critical=self._call, on_overflow=self._call
        )
        return _Opened(
            ownership=Ownership(self),
            backend=backend,
            stack=stack,
            databases=databases,
            collections=collections,
            operational=operational,
            working=working,
            longterm=LongTermMemory(longterm_rows, collections, self._clock, self._ids),
            handing_on=None if read_only else HandingOn(operational, working, self._clock),
        )

    async def close(self) -> None:
        """Stop the background loop, write what still has to be written, and close the databases. Idempotent.

        That is critical events, those that have left the ring, and the means of metrics; what else is in the ring ends
        with it. Where the caller is cancelled it goes on.

        Raises:
            DiskError: something could not be written; the databases are closed all the same.
        """
        if self._open is not None:
            self._open.ownership.require()
        await asyncio.shield(asyncio.ensure_future(self._closed()))

    async def _closed(self) -> None:
        async with self._turn:
            opened, self._open = self._open, None
            if opened is None:
                return
            opened.operational.close()
            async with opened.stack:
                await self._stopped()
                if opened.handing_on is not None:
                    await opened.handing_on.settle()
                    await opened.handing_on.events()
                    await opened.handing_on.hours(None)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _opened(self) -> _Opened:
        opened = self._open
        if opened is None:
            raise StoreClosedError("the tiers are not open", hint="Open them with `async with Tiers(store)`.")
        opened.ownership.require()
        # Raises where the store was closed.
        _ = self._store.opening_report
        return opened

    @property
    def reconciled(self) -> ReconciliationReport:
        """What the opening did to the memories of rows; of a read-only store nothing."""
        self._opened()
        return self._reconciled

    # The tiers

    @property
    def operational(self) -> OperationalMemory:
        """What happens now."""
        return self._opened().operational

    @property
    def working(self) -> WorkingMemory:
        """What is worked on."""
        return self._opened().working

    @property
    def longterm(self) -> LongTermMemory:
        """What was once learned."""
        return self._opened().longterm

    async def push_event(self, event: Event) -> Event:
        """Add an event to the ring; returns it with the id and the time that it lacked.

        A critical one is in the events of the working tier, durably and once, when this returns. Where it cannot be written
        the error is raised, it is in the ring all the same, and is written with the next one, or when the tiers are closed;
        pushing it once more with its id does no harm.

        Raises:
            ReadOnlyError: it is critical, and the store is read-only; it was not added.
            OverloadedError, InvalidTypeError: as `OperationalMemory.push`.
            DiskError: it is critical, and could not be written.
        """
        opened = self._opened()
        if opened.handing_on is None and getattr(event, "critical", False):
            raise ReadOnlyError("a critical event cannot be written: the store is read-only")
        pushed = opened.operational.push(event)
        if pushed.critical and opened.handing_on is not None:
            await opened.handing_on.critical(pushed.id or "")
        return pushed

    def _call(self) -> None:
        opened = self._open
        if opened is not None and opened.handing_on is not None:
            opened.handing_on.call()

    async def assemble_context(
        self, task: str, max_tokens: int = MAX_TOKENS, tiers: Iterable[str] = TIERS
    ) -> AssembledContext:
        """Gather what is relevant to `task` from all tiers, within a budget of tokens.

        The state of the system takes up to 500 tokens and is cut to fit. Then come at most 5 rows of the working tier, 3 of
        the long-term tier and 2 of knowledge, in this order, within each the most relevant first; one that does not fit is
        left out, and smaller ones behind it may still enter. No row comes twice. The same state and clock give the
        same context.

        Args:
            task: what is to be done.
            max_tokens: the budget, which is never exceeded; 0: nothing is assembled.
            tiers: which of "operational", "working", "longterm" (or "long_term") and "knowledge", in any order.

        Raises:
            InvalidValueError, InvalidTypeError: a negative budget, an unknown tier, or a task that is no text.
        """
        opened = self._opened()
        sources = ContextSources(operational=opened.operational, working=opened.working, longterm=opened.longterm)
        return await assemble_context(sources, task, max_tokens, tiers, count_tokens=self._count_tokens)

    # Care

    async def migrate(
        self, now: int | None = None, *, progress: Callable[[MigrationReport], None] | None = None
    ) -> MigrationReport:
        """Move what is old one tier down: events and means of metrics to the working tier, finished rows to the archive.

        Idempotent, and gone on with after an interruption. One migration runs at a time; others wait their turn.

        Args:
            now: Unix seconds that ages are counted from; None: the clock's.
            progress: called with the report so far.

        Raises:
            ReadOnlyError: the store is read-only.
            DiskError: something could not be written; it stays where it was.
        """
        opened = self._opened()
        if opened.handing_on is None:
            raise ReadOnlyError("nothing can be migrated: the store is read-only")
        moment = self._clock.micros() // _MICROS if now is None else now
        async with self._migrating:
            opened.operational.retire(moment - int(self._operational_age))
            await opened.handing_on.events()
            await opened.handing_on.hours(moment)
            return await opened.working.migrate_old_entries(
                ages=self._ages, now=moment, summarise=self._summarise, progress=progress
            )

    def start_migrating(self, every: float = HOUR) -> asyncio.Task[None]:
        """Migrate every so many seconds in the background, from now on; the task may be cancelled, and `close` does.

        A migration that fails is told in `last_error` and tried again the next time.

        Raises:
            UsageError: that goes on already.
            ReadOnlyError: the store is read-only.
        """
        opened = self._opened()
        seconds = _positive("every", every)
        if opened.handing_on is None:
            raise ReadOnlyError("nothing can be migrated: the store is read-only")
        if self._loop is not None and not self._loop.done():
            raise UsageError("a loop migrates already", hint="Cancel its task first.")
        self._loop = asyncio.create_task(self._migrate_every(seconds))
        return self._loop

    async def _migrate_every(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.migrate()
            except Exception as error:  # noqa: BLE001 - also a summary is somebody else's code; the next round tries again
                self._last_error = error
            else:
                self._last_error = None

    async def _stopped(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.cancel()
            await asyncio.wait([loop])

    @property
    def last_error(self) -> Exception | None:
        """Why the latest migration, or the latest write, in the background failed; None where it did not."""
        opened = self._opened()
        return self._last_error or (opened.handing_on.last_error if opened.handing_on is not None else None)

    async def refresh(self) -> None:
        """Move tiers that are read-only, and their store, on to what the writer has stored by now; nothing otherwise.

        Raises:
            DamagedFileError, DiskError: as `open`.
        """
        opened = self._opened()
        await self._store.refresh()
        for database in opened.databases:
            await database.refresh()

    async def vacuum(self) -> int:
        """Give the space of deleted rows of both databases back to the disk; returns the bytes that they are smaller by.

        Raises:
            ReadOnlyError: the store is read-only.
            DiskFullError: there is no room for the copy that it takes.
        """
        opened = self._opened()
        async with self._migrating:
            before = await asyncio.to_thread(_bytes, opened.backend)
            for database in opened.databases:
                await database.vacuum()
            return before - await asyncio.to_thread(_bytes, opened.backend)


def _place(location: str, *, lock: bool) -> LocalBackend:
    """The store's directory; with the lock on the folder of the tiers, which is made where it is missing."""
    backend = LocalBackend(location)
    try:
        if lock:
            if backend.make_folder(FOLDER):
                backend.sync_folder("")
            # Held until the back end is closed.
            if backend.lock(FOLDER, exclusive=True) is None:
                raise StoreLockedError(
                    f"the tiers of {location} are open already",
                    path=FOLDER,
                    hint="Use the Tiers that has them open, or close it first.",
                )
    except BaseException:
        backend.close()
        raise
    return backend


async def _release(placing: asyncio.Future[LocalBackend]) -> None:
    """Close what `_place` gives, also where it gives it to nobody."""
    await asyncio.wait([placing])
    if not placing.cancelled() and placing.exception() is None:
        placing.result().close()


def _bytes(backend: Backend) -> int:
    """What the databases take, with their write-ahead logs."""
    paths = [path for schema in SCHEMAS for path in (schema.path, database_side_files(schema.path)[0])]
    return sum(stat.size for stat in map(backend.stat, paths) if stat is not None)


def _positive(what: str, seconds: object) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidTypeError(f"{what} must be a number of seconds, not {type(seconds).__name__}")
    if not 0 < seconds < math.inf:
        raise InvalidValueError(f"{what} is {seconds}", hint="Give a number of seconds above 0.")
    return float(seconds)
