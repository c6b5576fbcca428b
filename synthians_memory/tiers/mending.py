"""Damaged databases of the tiers, mended: whole ones from a backup and what is still readable, rows one by one, the index of words anew.

It finds nothing (`part` does), and touches no memory: the next opening of the tiers compares rows and memories.

What is damaged is in quarantine before anything takes its place. A database is made in memory and written whole, in one step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final

import orjson

from synthians_memory.engine.documents import read_file, write_whole
from synthians_memory.engine.part import EarlierCopies, EarlierCopy, PartMending, ReturnedFile
from synthians_memory.engine.quarantine import Quarantine
from synthians_memory.errors import DamagedError, NotRegularFileError, UnsupportedFormatError
from synthians_memory.layout import LOGS, LONGTERM_DB, TIERS, database_side_files, is_set_aside, purge_receipt_stamp
from synthians_memory.storage.local import LocalBackend
from synthians_memory.tiers.collections import COLLECTIONS
from synthians_memory.tiers.connections import (
    copy_of_bytes,
    empty_copy,
    look_into_damaged,
    open_for_writing,
    read_database,
    sqlite_errors,
)
from synthians_memory.tiers.eraser import delete_rows
from synthians_memory.tiers.rows import held_keys
from synthians_memory.tiers.salvage import (
    DamagedRow,
    Salvaged,
    add_missing,
    damaged_rows,
    drop_orphans,
    put_rows,
    readable_rows,
)
from synthians_memory.tiers.tables import ARCHIVED, LONGTERM, Schema, Table
from synthians_memory.times import Clock

__all__ = ["TierMender"]

_UNREADABLE: Final = (DamagedError, NotRegularFileError, UnsupportedFormatError)


class TierMender:
    """Mends the databases of one store, which nobody has open; used by one thread.

    Args:
        backend: the store, locked by the caller, the folder of the tiers too.
        earlier: copies in backups.
        clock: source of time.
        give_up: whether what no copy of is to be had may be set aside.
    """

    def __init__(self, backend: LocalBackend, earlier: EarlierCopies, clock: Clock, *, give_up: bool) -> None:
        self.done = PartMending()
        self._backend = backend
        self._earlier = earlier
        self._quarantine = Quarantine(backend, clock)
        self._give_up = give_up

    # A whole database

    def make_again(self, schema: Schema) -> None:
        """Put the newest intact copy in the place of a damaged database, and into it what that still has. Raises DiskError."""
        if self._is_newer(schema):
            return
        found = self._newest_intact(schema)
        if found is None and not self._give_up:
            return
        copy, connection = found or (None, empty_copy(schema))
        with closing(connection), sqlite_errors(schema.path):
            salvaged = self._salvaged(schema)
            connection.execute("BEGIN")
            put_rows(connection, salvaged)
            dropped = drop_orphans(connection)
            connection.execute("COMMIT")
            lost = [damaged.name for damaged in salvaged.damaged if not _is_held(connection, damaged)]
            data = connection.serialize()
        was_there = self._backend.stat(schema.path) is not None
        self._set_aside(schema.path)
        write_whole(self._backend, schema.path, [data])
        read = f"{len(salvaged.rows):,} rows could be read out of what was there, which is in quarantine"
        if dropped:
            read += f"; {dropped:,} that belong to rows which are gone were left out"
        self._tell(schema.path, copy, read if was_there else "it was gone", lost)

    def _is_newer(self, schema: Schema) -> bool:
        try:
            read_database(self._backend, schema, lambda _: None)
        except UnsupportedFormatError:
            return True
        except (DamagedError, NotRegularFileError):
            return False
        return False

    def _newest_intact(self, schema: Schema) -> tuple[EarlierCopy, sqlite3.Connection] | None:
        for copy in self._earlier(schema.path):
            connection = self._sound(copy, schema)
            if connection is not None:
                return copy, connection
        return None

    def _salvaged(self, schema: Schema) -> Salvaged:
        try:
            connection = look_into_damaged(self._backend, schema.path)
            if connection is None:
                return Salvaged()
            with closing(connection):
                return readable_rows(connection, schema)
        except (sqlite3.Error, UnicodeDecodeError):
            return Salvaged()

    def _set_aside(self, path: str) -> None:
        data = read_file(self._backend, path)
        if data is not None:
            self._quarantine.keep(path, data, "it was damaged, and another copy took its place")
        elif self._backend.stat(path) is not None:
            self._quarantine.move(path, "something that is no regular file stood in the place of a database")
        for beside in database_side_files(path):
            # SQLite would take a log of other bytes for one of these.
            if self._backend.stat(beside) is not None:
                self._quarantine.move(beside, f"it belonged to {path}, which was damaged")

    def _tell(self, path: str, copy: EarlierCopy | None, read: str, lost: Sequence[str]) -> None:
        if copy is None:
            self.done.lost.append(f"no backup has an intact {path}: {read}")
        else:
            loss = f"{path} is that of {copy.moment}, with what was written since as far as it was to be had: {read}"
            self.done.returned.append(ReturnedFile(path, copy.origin, loss))
        self.done.lost += [f"{name} was damaged, and its latest version is in no backup" for name in lost]

    def _sound(self, copy: EarlierCopy, schema: Schema) -> sqlite3.Connection | None:
        """The copy, opened, where it is in order, without the rows that were purged since."""
        connection = _opened_copy(copy, schema)
        keys = list(self._purged_since(copy.moment)) if connection is not None else []
        if connection is not None and keys:
            with sqlite_errors(schema.path):
                delete_rows(connection, schema, keys)
                # No free page keeps a byte of them.
                connection.execute("VACUUM")
        return connection

    def _purged_since(self, moment: str) -> Iterator[tuple[str, str]]:
        """Collection and id of each row whose memory was purged after a moment, by the receipts of the purges."""
        for name, _ in self._backend.scan(LOGS):
            if purge_receipt_stamp(name) is None:
                continue
            try:
                receipt = orjson.loads(read_file(self._backend, f"{LOGS}/{name}") or b"{}")
            except orjson.JSONDecodeError:
                continue
            if receipt.get("kind") != "memory" or str(receipt.get("finished_at", "")) <= moment:
                continue
            for memory_id in map(str, receipt.get("ids", ())):
                yield from ((c, memory_id[len(c) + 1 :]) for c in COLLECTIONS if memory_id.startswith(f"{c}-"))

    # In its place

    def mend_words(self, schema: Schema) -> None:
        """Make the index of words anew. Raises DiskError."""
        with self._writing(schema) as connection:
            for statement in schema.index_words():
                connection.execute(statement)
        self.done.actions.append(f"the index of words of {schema.path} was made anew from its rows")

    def mend_rows(self, schema: Schema) -> None:
        """Put each damaged row back from the newest copy that holds it, or, where none does, set it aside. Raises DiskError."""
        with self._writing(schema) as connection:
            damaged = damaged_rows(connection, schema)
            versions = self._versions(schema, damaged)
            found = {
                id(row): versions[id(row)]
                for row in damaged
                if id(row) in versions and not _is_taken(connection, row, versions[id(row)][1])
            }
            gone = [row for row in damaged if id(row) not in found and self._may_go(connection, schema, row)]
            if not found and not gone:
                return
            self._quarantine.keep(schema.path, connection.serialize(), "rows of it were damaged")
            for row in damaged:
                if id(row) in found:
                    self._put_back(connection, schema, row, *found[id(row)])
            for row in gone:
                connection.execute(f"DELETE FROM {row.table.name} WHERE row = ?", (row.number,))
                self.done.lost.append(
                    f"{row.name} in {schema.path} is in no backup; what is left of it is in quarantine"
                )

    def _may_go(self, connection: sqlite3.Connection, schema: Schema, row: DamagedRow) -> bool:
        """A row that others belong to stays: they are whole."""
        children = [
            (table, column)
            for table in schema.tables
            for column, of in table.references.items()
            if of == row.table.name
        ]
        return self._give_up and not any(
            connection.execute(f"SELECT 1 FROM {table.name} WHERE {column} = ?", (row.key,)).fetchone()
            for table, column in children
        )

    def _put_back(
        self, connection: sqlite3.Connection, schema: Schema, row: DamagedRow, copy: EarlierCopy, values: Sequence[Any]
    ) -> None:
        connection.execute(row.table.replace_numbered, (*row.table.values_of(values), row.number))
        exact = row.is_version(values)
        loss = "" if exact else f"{row.name} is that of {copy.moment}: what it said since is only in quarantine"
        self.done.returned.append(ReturnedFile(schema.path, f"{copy.origin} ({row.name})", loss))

    def _versions(self, schema: Schema, damaged: Sequence[DamagedRow]) -> dict[int, tuple[EarlierCopy, Sequence[Any]]]:
        """Damaged row -> the very version that was damaged, in whichever copy it is; else that of the newest intact one."""
        found: dict[int, tuple[EarlierCopy, Sequence[Any]]] = {}
        wanted = list(damaged)
        for copy in self._earlier(schema.path) if wanted else ():
            connection = self._sound(copy, schema)
            if connection is None:
                continue
            with closing(connection):
                for row in wanted:
                    version = _version_in(connection, row)
                    if version is not None and (id(row) not in found or row.is_version(version)):
                        found[id(row)] = copy, version
            wanted = [row for row in wanted if id(row) not in found or not row.is_version(found[id(row)][1])]
            if not wanted:
                break
        return found

    # A log

    def take_log(self, schema: Schema) -> None:
        """Take what SQLite can of a damaged log, and what the newest copy has beyond that; the log goes to quarantine. Raises DiskError."""
        if not self._give_up:
            return
        found = self._newest_intact(schema)
        added = 0
        with self._writing(schema) as connection:
            if found is not None:
                with closing(found[1]):
                    added = add_missing(connection, found[1], schema, self._is_archived)
                    drop_orphans(connection)
        log = database_side_files(schema.path)[0]
        for name in [name for name, _ in self._backend.scan(TIERS) if is_set_aside(f"{TIERS}/{name}", log)]:
            kept = self._quarantine.move(
                f"{TIERS}/{name}", "a write-ahead log was damaged, and SQLite took a part of it"
            )
            self.done.lost.append(
                f"what was committed last to {schema.path} is lost: its log was damaged, and is {kept}"
            )
        if added and found is not None:
            self.done.returned.append(ReturnedFile(schema.path, f"{found[0].origin} ({added:,} rows)"))

    def _is_archived(self, table: Table[Any], key: str) -> bool:
        archive = ARCHIVED.get(table.name)
        if archive is None or self._backend.stat(LONGTERM_DB) is None:
            return False
        held = read_database(self._backend, LONGTERM, lambda connection: held_keys(connection, archive, (key,)))
        return bool(held)

    @contextmanager
    def _writing(self, schema: Schema) -> Iterator[sqlite3.Connection]:
        """A transaction, after which the log is taken in."""
        with closing(open_for_writing(self._backend, schema)) as connection, sqlite_errors(schema.path):
            # A damaged row may have lost its parent's key, and gets it back.
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _opened_copy(copy: EarlierCopy, schema: Schema) -> sqlite3.Connection | None:
    """The copy, opened, where its pages and the references in it are in order; damaged rows may be in it."""
    try:
        connection = copy_of_bytes(copy.data, schema)
    except _UNREADABLE:
        return None
    try:
        said = [row[0] for row in connection.execute("PRAGMA integrity_check (1)")]
        if said == ["ok"] and connection.execute("PRAGMA foreign_key_check").fetchone() is None:
            return connection
    except (sqlite3.Error, UnicodeDecodeError):
        pass
    connection.close()
    return None


def _version_in(connection: sqlite3.Connection, damaged: DamagedRow) -> Sequence[Any] | None:
    """The intact row that a damaged one was, in a copy; where its key is what is damaged, it is told by its hash."""
    table = damaged.table
    for row in connection.execute(table.by_key, (damaged.key,)):
        if table.is_intact(row):
            return tuple(row)
    for row in connection.execute(table.select("WHERE row = ?"), (damaged.number,)):
        if table.is_intact(row) and damaged.is_version(row):
            return tuple(row)
    return None


def _is_held(connection: sqlite3.Connection, damaged: DamagedRow) -> bool:
    version = _version_in(connection, damaged)
    return version is not None and damaged.is_version(version)


def _is_taken(connection: sqlite3.Connection, damaged: DamagedRow, version: Sequence[Any]) -> bool:
    """Whether another row has the key of a version by now: it was stored again."""
    table = damaged.table
    key = version[list(table.columns).index(table.key)]
    sql = f"SELECT 1 FROM {table.name} WHERE {table.key} = ? AND row <> ?"
    return connection.execute(sql, (key, damaged.number)).fetchone() is not None
