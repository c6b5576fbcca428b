"""Opening the SQLite databases in tiers/: made whole or not at all, never through a symlink, and read without a trace.

It runs no queries of the tiers. SQLite opens by path, so that every entry is looked at before; no descriptor of a database
is ever opened beside SQLite's own, since closing one would drop SQLite's locks in the whole process.

A database is made under a scratch name and gets its own when it is complete. So an empty or partial file under that
name is damage, and not a beginning.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache, partial
from typing import Final, TypeVar
from urllib.parse import quote

from synthians_memory.engine.documents import read_file
from synthians_memory.errors import (
    DamagedFileError,
    DiskError,
    DiskFullError,
    InvalidValueError,
    NotRegularFileError,
    PermissionDeniedError,
    StoreLockedError,
    SynthiansMemoryError,
    UnsupportedFormatError,
    UsageError,
    disk_error,
)
from synthians_memory.layout import TIERS, database_side_files, scratch_path
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.tiers.tables import SCHEMA_VERSION, Schema
from synthians_memory.tiers.write_ahead_log import damaged_log, set_log_aside

__all__ = [
    "copy_for_reading",
    "copy_of_bytes",
    "empty_copy",
    "look_into_damaged",
    "open_for_writing",
    "read_database",
    "sqlite_errors",
]

T = TypeVar("T")

_BUSY_SECONDS: Final = 5.0
_DAMAGED_HINT: Final = (
    "Run `check`, and restore a snapshot; or move the file out of tiers/ to begin anew. It was not changed."
)
# Where the header of a database says by which versions of the format it is written and read: 2 is with a write-ahead log.
_VERSIONS: Final = 18
_MOST_PADDING: Final = 1 << 28
_PAGES: Final = (512, 1024, 2048, 4096, 8192)
_TRIES: Final = 5
_PAUSE: Final = 0.02
# A byte that was flipped in a text shall meet the row hash, and not be refused before.
_text = partial(str, encoding="utf-8", errors="surrogateescape")
_DAMAGE: Final = frozenset([sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT])
_OTHERS: Final[dict[int, type[SynthiansMemoryError]]] = {
    sqlite3.SQLITE_FULL: DiskFullError,
    sqlite3.SQLITE_READONLY: PermissionDeniedError,
    sqlite3.SQLITE_PERM: PermissionDeniedError,
    sqlite3.SQLITE_BUSY: StoreLockedError,
    sqlite3.SQLITE_LOCKED: StoreLockedError,
    sqlite3.SQLITE_CONSTRAINT: InvalidValueError,
    sqlite3.SQLITE_TOOBIG: InvalidValueError,
}


@contextmanager
def sqlite_errors(path: str) -> Iterator[None]:
    """Inside, an error of SQLite is raised as one of the library's; `path`: of the database, relative to the store."""
    try:
        yield
    except UnicodeDecodeError as error:
        # What SQLite says of a damaged schema quotes it.
        raise DamagedFileError(f"{path} is damaged: {error}", path=path, hint=_DAMAGED_HINT) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            # A mistake of the caller's, not of the disk.
            raise
        raise _own_error(error, code & 0xFF, path) from error


def _own_error(error: sqlite3.Error, code: int, path: str) -> SynthiansMemoryError:
    if code in _DAMAGE:
        return DamagedFileError(f"{path} is damaged: {error}", path=path, hint=_DAMAGED_HINT)
    return _OTHERS.get(code, DiskError)(f"cannot use {path}: {error}", path=path)


# Looking


def _directory_of(backend: Backend) -> LocalBackend:
    if not isinstance(backend, LocalBackend):
        raise UsageError("tiers need a store in a directory", hint="Open the store without backend=.")
    return backend


def _look(backend: Backend, path: str) -> int | None:
    """Size of the regular file at `path`; None where nothing is. Raises NotRegularFileError, DiskError."""
    stat = backend.stat(path)
    if stat is None:
        return None
    if stat.kind != "file":
        raise NotRegularFileError(f"{path} is no regular file", path=path)
    return stat.size


def _is_there(backend: LocalBackend, path: str) -> bool:
    """Whether the database is there, and everything beside it as it may be; changes nothing.

    Raises:
        NotRegularFileError: something else has one of the names.
        DamagedFileError: it is empty; or it is gone, and what it had not yet taken in is still there.
        DiskError: it cannot be looked at; or the store was moved away since it was opened.
    """
    folder = backend.stat(TIERS)
    if folder is not None and folder.kind != "folder":
        raise NotRegularFileError(f"{TIERS} is no folder", path=TIERS)
    size = _look(backend, path)
    log, shared = database_side_files(path)
    waiting = _look(backend, log)
    _look(backend, shared)
    if size is None and waiting:
        hint = (
            f"Put the database back beside {log}, or restore a snapshot; or move the log out of tiers/ to begin anew."
        )
        raise DamagedFileError(f"{path} is gone, and {log} holds changes of it", path=path, hint=hint)
    if size == 0:
        raise DamagedFileError(f"{path} is empty", path=path, hint=_DAMAGED_HINT)
    if size is not None:
        _require_same(backend, path)
    return size is not None


def _require_same(backend: LocalBackend, path: str) -> None:
    """Refuse a path that leads elsewhere than the store's own descriptor. A writer may change the file in between."""
    location = _location(backend, path)
    try:
        same = any(_facts(backend, path) == _lstat_facts(location) for _ in range(_TRIES))
    except OSError as error:
        raise disk_error(error, "open", path) from error
    if not same:
        raise DiskError(f"{backend.location} is no longer where it was opened", path=path, hint="Open the store again.")


def _lstat_facts(location: str) -> tuple[int, int]:
    found = os.lstat(location)
    return found.st_size, found.st_mtime_ns


def _facts(backend: LocalBackend, path: str) -> tuple[int, int] | None:
    stat = backend.stat(path)
    return None if stat is None else (stat.size, stat.mtime_ns)


def _location(backend: LocalBackend, path: str) -> str:
    return os.path.join(backend.location, path)


def _connect(location: str, options: str) -> sqlite3.Connection:
    location = f"file:{quote(location)}?{options}"
    connection = sqlite3.connect(location, timeout=_BUSY_SECONDS, isolation_level=None, uri=True)
    connection.text_factory = _text
    connection.create_function("folded", 1, str.casefold, deterministic=True)
    return connection


# Writing


def open_for_writing(backend: Backend, schema: Schema) -> sqlite3.Connection:
    """The one connection that writes to a database, which is made where it is not there; the caller holds the store's lock.

    WAL, synchronous FULL, foreign keys. What a crash left in the write-ahead log is taken in, up to where it is damaged; a
    damaged log is first copied beside it, and a check tells of the copy until it is removed.

    Raises:
        UsageError: the store is in no directory.
        NotRegularFileError: something else has the name of the database, or of a file beside it.
        DamagedFileError: it is none of ours, or not whole.
        UnsupportedFormatError: a newer version has made it.
        StoreLockedError: another program has it open for writing.
        DiskError: it cannot be opened or made.
    """
    place = _directory_of(backend)
    with sqlite_errors(schema.path):
        if not _is_there(place, schema.path):
            _make(place, schema)
        damaged = damaged_log(place, schema.path)
        if damaged is not None:
            # SQLite takes what stands before the damage, and writes over the rest.
            set_log_aside(place, damaged)
        connection = _connect(_location(place, schema.path), "mode=rw")
        try:
            # Before anything is written: SQLite would take a file of a few bytes for an empty one.
            _require_schema(connection, schema)
            _prepare(connection, schema)
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare(connection: sqlite3.Connection, schema: Schema) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise DiskError(f"{schema.path} cannot be used with a write-ahead log on this file system", path=schema.path)
    for pragma in ("synchronous = FULL", "foreign_keys = ON", "cell_size_check = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _make(backend: LocalBackend, schema: Schema) -> None:
    """Make the database, durably, under its name in one step."""
    if backend.make_folder(TIERS):
        backend.sync_folder("")
    scratch = scratch_path(TIERS, schema.path.rpartition("/")[2])
    for path in (scratch, *database_side_files(scratch), f"{scratch}-journal"):
        backend.unlink(path)
    backend.create(scratch).close()
    with closing(_connect(_location(backend, scratch), "mode=rw")) as connection:
        _fill(connection, schema)
        connection.execute("PRAGMA journal_mode = WAL")
    file = backend.open_existing(scratch)
    try:
        file.sync()
    finally:
        file.close()
    if not backend.rename_new(scratch, schema.path):
        raise DiskError(f"{schema.path} was made by somebody else meanwhile", path=schema.path)
    backend.sync_folder(TIERS)


def _fill(connection: sqlite3.Connection, schema: Schema) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in schema.create():
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute(f"PRAGMA application_id = {schema.application_id}")
    connection.execute("COMMIT")


# What it is


def _require_schema(connection: sqlite3.Connection, schema: Schema) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application == schema.application_id and version > SCHEMA_VERSION:
        raise UnsupportedFormatError(
            f"{schema.path} is of version {version}, and {SCHEMA_VERSION} is the newest that is known", path=schema.path
        )
    missing = _expected(schema) - _objects(connection)
    if application != schema.application_id or version != SCHEMA_VERSION or missing:
        what = f"it lacks {min(missing)[0]}" if missing else "it is another database"
        raise DamagedFileError(f"{schema.path} is damaged: {what}", path=schema.path, hint=_DAMAGED_HINT)


def _objects(connection: sqlite3.Connection) -> frozenset[tuple[str, str]]:
    """Name and text of each table, index and trigger, but those that SQLite makes by itself."""
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT GLOB 'words_*'")
    return frozenset(found.fetchall())


@cache
def _expected(schema: Schema) -> frozenset[tuple[str, str]]:
    with closing(empty_copy(schema)) as connection:
        return _objects(connection)


# Reading


def empty_copy(schema: Schema) -> sqlite3.Connection:
    """A database in memory with nothing in it."""
    connection = _connect("", "mode=memory")
    _fill(connection, schema)
    return connection


def copy_of_bytes(data: bytes, schema: Schema) -> sqlite3.Connection:
    """A database in memory of these bytes, that may be changed.

    Raises:
        DamagedFileError: they are no database of this schema.
        UnsupportedFormatError: of a newer version.
    """
    connection = _connect("", "mode=memory")
    try:
        with sqlite_errors(schema.path):
            # One in memory has no write-ahead log.
            connection.deserialize(data[:_VERSIONS] + b"\1\1" + data[_VERSIONS + 2 :])
            _require_schema(connection, schema)
    except BaseException:
        connection.close()
        raise
    return connection


def look_into_damaged(backend: Backend, path: str) -> sqlite3.Connection | None:
    """A connection that reads what is left of a damaged database, whatever that is; None where there is no file.

    Nobody else has it open. Raises sqlite3.Error where nothing of it can be read.
    """
    place, log = _directory_of(backend), database_side_files(path)[0]
    stat, waiting = place.stat(path), place.stat(log)
    if stat is None or stat.kind != "file" or (waiting is not None and waiting.kind != "file"):
        return None
    if waiting is not None and waiting.size:
        return _connect(_location(place, path), "mode=ro")
    data = read_file(place, path) or b""
    page = int.from_bytes(data[16:18], "big")
    connection = _connect("", "mode=memory")
    # SQLite refuses a file that is shorter than its header says.
    missing = max(0, int.from_bytes(data[28:32], "big") * page - len(data)) if page in _PAGES else 0
    padding = bytes(min(missing, _MOST_PADDING))
    connection.deserialize(data[:_VERSIONS] + b"\1\1" + data[_VERSIONS + 2 :] + padding)
    return connection


def copy_for_reading(backend: Backend, schema: Schema) -> sqlite3.Connection:
    """A copy in memory of a database as it is now, beside a writer as well; an empty one where it is not there.

    Raises:
        As `read_database`.
    """

    def copied(source: sqlite3.Connection) -> sqlite3.Connection:
        copy = _connect("", "mode=memory")
        source.backup(copy)
        copy.execute("PRAGMA query_only = ON")
        return copy

    found = read_database(backend, schema, copied)
    return empty_copy(schema) if found is None else found


def read_database(backend: Backend, schema: Schema, function: Callable[[sqlite3.Connection], T]) -> T | None:
    """What `function` makes of a database as it is at one moment, beside a writer as well; None where it is not there.

    Without a write-ahead log nobody is writing, and the file is read as it stands; where a writer comes meanwhile,
    `function` is called again. With one, SQLite goes by the memory that it shares with the writer; where a crash left
    a log and no such memory, and only then, SQLite makes it on disk. Nothing else is changed there.

    Raises:
        UsageError: the store is in no directory.
        NotRegularFileError: something else has the name of the database, or of a file beside it.
        DamagedFileError: it is none of ours, or not whole.
        UnsupportedFormatError: a newer version has made it.
        StoreLockedError: it is opened and closed by others all the time.
        DiskError: it cannot be opened.
    """
    place = _directory_of(backend)
    log, shared = database_side_files(schema.path)
    for attempt in range(_TRIES):
        if not _is_there(place, schema.path):
            return None
        before = _facts(place, schema.path)
        waiting = _look(place, log)
        options = "immutable=1" if not waiting else "readonly_shm=1" if _look(place, shared) is not None else ""
        answer = _answer(place, schema, f"mode=ro&{options}", function)
        if waiting or (_facts(place, schema.path) == before and not _look(place, log)):
            if isinstance(answer, SynthiansMemoryError):
                raise answer
            return answer
        time.sleep(_PAUSE * attempt)
    raise StoreLockedError(f"{schema.path} is being changed all the time", path=schema.path, hint="Try again.")


def _answer(
    place: LocalBackend, schema: Schema, options: str, function: Callable[[sqlite3.Connection], T]
) -> T | SynthiansMemoryError:
    """What `function` makes of it, or what prevented that: it tells something only if nobody wrote meanwhile."""
    try:
        with sqlite_errors(schema.path), closing(_connect(_location(place, schema.path), options)) as connection:
            connection.execute("BEGIN")
            _require_schema(connection, schema)
            return function(connection)
    except SynthiansMemoryError as error:
        return error
