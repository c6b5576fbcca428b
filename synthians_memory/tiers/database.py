"""One of the databases in tiers/, used from an event loop: one connection that lives in one thread.

It knows no table but those it is opened with, and does not decide what is read or written: functions that get the
connection do, in that thread, one after the other.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar

from synthians_memory.errors import (
    DiskError,
    ForkedStoreError,
    ReadOnlyError,
    StoreClosedError,
    SynthiansMemoryError,
)
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.tiers.connections import copy_for_reading, open_for_writing, sqlite_errors
from synthians_memory.tiers.tables import Schema

__all__ = ["Database"]

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class Database:
    """A database of the tiers.

    `open` comes first, `close` last. `run` and `transact` may be called by any number of tasks; what they are given is done
    in the order of the calls. A caller that is cancelled leaves the work to its own, whole outcome. After a write
    or sync has failed nothing more is written: nobody knows what of it a disk has, and the same pages
    are never synced twice.

    Args:
        place: the store's directory, or the back end that holds it. The caller holds the store's lock, unless `read_only`.
        schema: which database.
        read_only: change nothing on disk; what is read is a copy in memory of the moment of `open`, or `refresh`.
    """

    def __init__(self, place: Backend | str | os.PathLike[str], schema: Schema, *, read_only: bool = False) -> None:
        self.schema = schema
        self.read_only = read_only
        self._place = place
        self._own_backend: LocalBackend | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None
        self._failure: SynthiansMemoryError | None = None
        self._pid = 0

    @property
    def path(self) -> str:
        """Of the file, relative to the store."""
        return self.schema.path

    # Life

    async def open(self) -> Self:
        """Open it, and make it where it is not there; idempotent. Raises as `connections.open_for_writing`."""
        if self._thread is not None:
            return self
        self._thread = thread = ThreadPoolExecutor(1, thread_name_prefix="synthians-tier")
        self._pid, self._failure = os.getpid(), None
        try:
            await _outcome(thread.submit(self._open))
        except BaseException:
            # Behind the opening, which goes on where the caller was cancelled; whoever is next must not meet it.
            await self.close()
            raise
        return self

    def _open(self) -> None:
        place = self._place
        if isinstance(place, str | os.PathLike):
            place = self._own_backend = self._own_backend or LocalBackend(place)
        opened = copy_for_reading if self.read_only else open_for_writing
        self._connection = opened(place, self.schema)

    async def close(self) -> None:
        """Finish what was asked for, take the write-ahead log into the database and release the files; idempotent.

        Raises:
            DiskError: the log could not be taken in; the next opening does that.
        """
        thread, self._thread = self._thread, None
        if thread is None or os.getpid() != self._pid:
            return
        closing = thread.submit(self._close)
        thread.shutdown(wait=False)
        await _outcome(closing)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        backend, self._own_backend = self._own_backend, None
        try:
            if connection is not None:
                self._checkpoint_and_close(connection)
        finally:
            if backend is not None:
                backend.close()

    def _checkpoint_and_close(self, connection: sqlite3.Connection) -> None:
        with sqlite_errors(self.path):
            try:
                if not self.read_only and self._failure is None:
                    _roll_back(connection)
                    # A reader beside is not waited for: the next opening takes in what is left.
                    connection.execute("PRAGMA busy_timeout = 0")
                    _checkpoint(connection)
            finally:
                connection.close()

    async def refresh(self) -> None:
        """Of one that is read-only: take a new copy. Nothing otherwise."""
        if self.read_only:
            await self._in_thread(self._copy_again)

    def _copy_again(self) -> None:
        old = self._connection
        self._open()
        if old is not None:
            old.close()

    # Use

    async def run(self, function: Work[T]) -> T:
        """What `function`, which only reads, gives.

        Raises:
            StoreClosedError: it is not open.
            ForkedStoreError: it was opened before this process was forked.
            DamagedFileError, DiskError: SQLite cannot read it.
            Whatever `function` raises.
        """
        return await self._in_thread(lambda: self._read(function))

    async def transact(self, function: Work[T]) -> T:
        """What `function` gives, in a transaction that is durable when this returns; nothing is changed where it raises.

        Raises:
            ReadOnlyError: it may not be changed.
            DiskFullError, DiskError: it could not be written.
            And as `run`.
        """
        return await _outcome(self.submit(function))

    def submit(self, function: Work[T]) -> Future[T]:
        """As `transact`, for a thread that waits by itself: that of another database."""
        return self._submit(lambda: self._write(function))

    def submit_read(self, function: Work[T]) -> Future[T]:
        """As `run`, for such a thread."""
        return self._submit(lambda: self._read(function))

    async def vacuum(self) -> None:
        """Make the index of words anew, and give the space of what was deleted back to the disk. Raises as `transact`."""
        await self._in_thread(self._vacuum)

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await _outcome(self._submit(function))

    def _submit(self, function: Callable[[], T]) -> Future[T]:
        # Another thread may close it meanwhile.
        thread = self._thread
        if thread is None:
            raise self._closed()
        if os.getpid() != self._pid:
            raise ForkedStoreError(f"{self.path} was opened before this process was forked", path=self.path)
        try:
            return thread.submit(function)
        except RuntimeError as error:
            raise self._closed() from error

    def _closed(self) -> StoreClosedError:
        return StoreClosedError(f"{self.path} is not open", path=self.path, hint="Open the tiers first.")

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise self._closed()
        return self._connection

    def _read(self, function: Work[T]) -> T:
        connection = self._opened()
        with sqlite_errors(self.path):
            try:
                _begin(connection, "BEGIN")
                return function(connection)
            finally:
                _roll_back(connection)

    def _writable(self) -> sqlite3.Connection:
        connection = self._opened()
        if self.read_only:
            raise ReadOnlyError(f"{self.path} is open read-only", path=self.path, hint="Open the store for writing.")
        if self._failure is not None:
            raise DiskError(
                f"{self.path} takes no changes since a write failed ({self._failure.message})",
                path=self.path,
                hint="Mend the disk, close the tiers and open them again; what was acknowledged is kept.",
            ) from self._failure
        return connection

    def _write(self, function: Work[T]) -> T:
        connection = self._writable()
        try:
            with sqlite_errors(self.path):
                try:
                    _begin(connection, "BEGIN IMMEDIATE")
                    value = function(connection)
                    connection.execute("COMMIT")
                    return value
                finally:
                    _roll_back(connection)
        except DiskError as error:
            self._note_failure(error)
            raise

    def _note_failure(self, error: DiskError) -> None:
        """A disk that is full refuses and keeps what it has; after any other error of a disk its content is unknown."""
        cause = error.__cause__
        if isinstance(cause, sqlite3.Error) and cause.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR:
            self._failure = error

    def _vacuum(self) -> None:
        self._write(self._index_words)
        connection = self._writable()
        with sqlite_errors(self.path):
            connection.execute("VACUUM")
            _checkpoint(connection)

    def _index_words(self, connection: sqlite3.Connection) -> None:
        for statement in self.schema.index_words():
            connection.execute(statement)


async def _outcome(work: Future[T]) -> T:
    """What comes of work in the thread, which a caller who is cancelled leaves to go on."""
    waiting = asyncio.wrap_future(work)
    waiting.add_done_callback(_note_seen)
    return await asyncio.shield(waiting)


def _begin(connection: sqlite3.Connection, how: str) -> None:
    # One whose rollback has failed.
    _roll_back(connection)
    connection.execute(how)


def _roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that was not committed, if there is one."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _checkpoint(connection: sqlite3.Connection) -> None:
    """Take the write-ahead log into the database, as far as no reader needs it."""
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.OperationalError as error:
        # A read of this connection that has failed, and whose error somebody keeps, is such a reader.
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_LOCKED:
            raise


def _note_seen(done: asyncio.Future[Any]) -> None:
    """The caller may have been cancelled, and not ask how it ended."""
    if not done.cancelled():
        done.exception()
