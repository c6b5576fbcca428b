"""What a purge asks to take rows out of the databases, whose memories it purges.

It deletes no memory, and rows of no other kind: where one quotes a purged text, the receipt says so.

The row goes from working memory and from the archive, and so does what its words left in the word index. Then the database is built
anew without the pages that were free, and its write-ahead log is emptied, so that no byte of the row, or of what it once was,
stays in the files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from sqlite3 import Connection
from typing import Any, Final

from synthians_memory.engine.traces import Traces
from synthians_memory.errors import DiskError, SynthiansMemoryError
from synthians_memory.layout import QUARANTINE, TIERS, database_side_files, is_set_aside
from synthians_memory.reports import LeftPlace, PurgedPlace
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.tiers.collections import COLLECTIONS
from synthians_memory.tiers.connections import open_for_writing, read_database, sqlite_errors
from synthians_memory.tiers.row_places import Place, forget_notes, places_in
from synthians_memory.tiers.tables import LONGTERM, SCHEMAS, Schema, Table

__all__ = ["RowEraser", "delete_rows", "erased_copy"]

_MOST_NAMED: Final = 20
# Where the header of a database says by which versions of the format it is written and read: 2 is with a write-ahead log.
_VERSIONS: Final = 18


class RowEraser:
    """`engine.purge.Eraser` of the rows in `tiers/`; the store's writer calls it, and holds the store's lock."""

    of_backups = False

    @property
    def folder(self) -> str:
        """Where the databases are."""
        return TIERS

    def erase(self, backend: Backend, traces: Traces) -> Sequence[PurgedPlace]:
        """Take the rows of the purged memories out of both databases, durably; idempotent.

        Raises:
            DiskError: a row may be left: a database is damaged, in use for long, or cannot be written.
        """
        keys = list(_row_keys(traces))
        found: list[PurgedPlace] = []
        for schema in SCHEMAS if keys and isinstance(backend, LocalBackend) else ():
            stat = backend.stat(schema.path)
            if stat is not None:
                found += _erased(backend, schema, keys, stat.size)
        return found

    def left(self, backend: Backend, traces: Traces) -> Sequence[LeftPlace]:
        """Rows that quote a purged text. Raises DiskError where that cannot be told."""
        found: list[LeftPlace] = []
        for schema in SCHEMAS if isinstance(backend, LocalBackend) and backend.stat(TIERS) is not None else ():
            try:
                quoting = read_database(backend, schema, partial(_quoting, schema=schema, traces=traces))
            except SynthiansMemoryError as error:
                found.append(LeftPlace(schema.path, f"it cannot be searched: {error.message}"))
                continue
            found += [LeftPlace(schema.path, why) for why in _summed_up(quoting or [])]
        if any(_row_keys(traces)):
            found += [
                LeftPlace(path, "what was set aside of a database may hold the row; remove it")
                for path in _set_aside(backend)
            ]
        return found


def erased_copy(path: str, read: Callable[[], bytes], traces: Traces) -> bytes | None:
    """A copy of a database, without the rows of the purged memories, and without pages that were free; None where none is purged.

    Args:
        path: relative to the store of which it is a copy.
        read: gives the bytes of the database, which was copied whole; called where it may hold such rows.
        traces: what is purged.

    Raises:
        DamagedFileError: it is no database that can be read.
    """
    schema = next((schema for schema in SCHEMAS if schema.path == path), None)
    keys = list(_row_keys(traces))
    if schema is None or not keys:
        return None
    data = read()
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection, sqlite_errors(path):
        # One in memory has no write-ahead log.
        connection.deserialize(data[:_VERSIONS] + b"\1\1" + data[_VERSIONS + 2 :])
        delete_rows(connection, schema, keys)
        connection.execute("VACUUM")
        return connection.serialize()


def _row_keys(traces: Traces) -> Iterator[tuple[str, str]]:
    for kind, memory_id in sorted(traces.keys):
        for collection in COLLECTIONS if kind == "memory" else ():
            if memory_id.startswith(f"{collection}-"):
                yield collection, memory_id[len(collection) + 1 :]


def _erased(backend: Backend, schema: Schema, keys: Sequence[tuple[str, str]], size: int) -> Iterator[PurgedPlace]:
    try:
        with closing(open_for_writing(backend, schema)) as connection, sqlite_errors(schema.path):
            connection.execute("PRAGMA secure_delete = ON").fetchall()
            counts = delete_rows(connection, schema, keys)
            connection.execute("VACUUM")
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except SynthiansMemoryError as error:
        hint = "When that is put right, or over, run the purge again: it goes on."
        message = f"{error.message}, so that {schema.path} may still hold what is purged"
        raise DiskError(message, path=schema.path, hint=hint) from error
    if busy:
        message = f"{schema.path} is being read, so that its log may still hold what is purged"
        raise DiskError(message, path=schema.path, hint="Run the purge again: it goes on.")
    yield PurgedPlace(schema.path, "database of rows", "rewritten", size)
    for place, row_id in counts:
        yield PurgedPlace(schema.path, f"the row {row_id!r} of {place.table.name}", "rewritten", 0)


def delete_rows(connection: Connection, schema: Schema, keys: Sequence[tuple[str, str]]) -> list[tuple[Place, str]]:
    """Delete rows, by collection and id, from an opened database; returns those that were there."""
    found: list[tuple[Place, str]] = []
    connection.execute("BEGIN IMMEDIATE")
    try:
        for place in places_in(schema.path):
            for collection, row_id in keys:
                sql = f"DELETE FROM {place.table.name} WHERE id = ?"
                if collection == place.collection and connection.execute(sql, (row_id,)).rowcount:
                    found.append((place, row_id))
        if schema is LONGTERM:
            forget_notes(connection, [f"{collection}-{row_id}" for collection, row_id in keys])
        if schema.searched:
            # Merged into one segment, in which no word of a row that is gone is left.
            connection.execute("INSERT INTO words (words) VALUES ('optimize')")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return found


def _quoting(connection: Connection, schema: Schema, traces: Traces) -> list[tuple[Table[Any], str]]:
    found: list[tuple[Table[Any], str]] = []
    for table in schema.tables:
        for row in connection.execute(table.select()):
            texts = "\n".join(value for value in row if isinstance(value, str))
            if traces.quoted_in(texts.encode("utf-8", "surrogateescape")):
                found.append((table, str(row[list(table.columns).index(table.key)])))
    return found


def _set_aside(backend: Backend) -> Iterator[str]:
    """Databases in quarantine with what SQLite keeps beside one, and logs that were set aside in their own folder."""
    names = [name for schema in SCHEMAS for name in (schema.path, *database_side_files(schema.path))]
    for path in _files_below(backend, QUARANTINE):
        if any(path.endswith(f"/{name}") for name in names):
            yield path
    for path in _files_below(backend, TIERS):
        if any(is_set_aside(path, name) for name in names):
            yield path


def _files_below(backend: Backend, folder: str) -> Iterator[str]:
    for name, stat in backend.scan(folder):
        path = f"{folder}/{name}"
        if stat.kind == "folder":
            yield from _files_below(backend, path)
        elif stat.kind == "file":
            yield path


def _summed_up(quoting: Sequence[tuple[Table[Any], str]]) -> Iterator[str]:
    for table, row_id in quoting[:_MOST_NAMED]:
        yield f"the row {row_id!r} of {table.name} holds a text of it; store it without"
    if len(quoting) > _MOST_NAMED:
        yield f"{len(quoting) - _MOST_NAMED} more rows hold a text of it"
