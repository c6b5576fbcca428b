"""Reading and writing records in one database: what all of working memory's operations are made of.

It knows no operation: which rows belong together, and when they change, is said elsewhere.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

from synthians_memory.errors import DamagedRowError, EntityNotFoundError, UsageError
from synthians_memory.models import random_id
from synthians_memory.tiers.database import Database
from synthians_memory.tiers.records import Record
from synthians_memory.tiers.tables import ARCHIVED, Table
from synthians_memory.times import Clock, SystemClock

__all__ = ["Rows", "held_keys"]

R = TypeVar("R", bound=Record)

_MICROS: Final = 1_000_000
_STAMPED: Final = ("created_at", "timestamp", "updated_at")
# Keys in one query: fewer than any SQLite takes values.
_KEYS_A_QUERY: Final = 500


def held_keys(connection: sqlite3.Connection, table: Table[Any], keys: Iterable[str]) -> set[str]:
    """Those of `keys` of which `table` has a row."""
    wanted, found = list(keys), set[str]()
    for start in range(0, len(wanted), _KEYS_A_QUERY):
        part = wanted[start : start + _KEYS_A_QUERY]
        sql = f"SELECT {table.key} FROM {table.name} WHERE {table.key} IN ({', '.join('?' * len(part))})"
        found.update(key for (key,) in connection.execute(sql, part).fetchall())
    return found


class Rows:
    """The rows of working memory, and beside them the archive, which holds what was migrated."""

    def __init__(
        self,
        database: Database,
        clock: Clock | None = None,
        ids: Callable[[], str] = random_id,
        archive: Database | None = None,
    ) -> None:
        self.database = database
        self.archive = archive
        self.clock = clock or SystemClock()
        self.ids = ids

    def now(self) -> int:
        """Whole seconds since 1970."""
        return self.clock.micros() // _MICROS

    # Reading

    def _one(self, connection: sqlite3.Connection, table: Table[R], key: str) -> R | None:
        """The record of that key; raises DamagedRowError."""
        row = connection.execute(table.by_key, (key,)).fetchone()
        return None if row is None else table.decode(row, self.database.path)

    def _many(self, connection: sqlite3.Connection, table: Table[R], rest: str, *values: Any) -> list[R]:
        """The records that `rest`, as in `Table.select`, asks for; raises DamagedRowError."""
        # All at once: an error that is kept would keep a half-read statement, and that the write-ahead log.
        rows = connection.execute(table.select(rest), values).fetchall()
        return [table.decode(row, self.database.path) for row in rows]

    def _require(self, connection: sqlite3.Connection, table: Table[R], key: str) -> R:
        """As `_one`; raises EntityNotFoundError where there is none."""
        found = self._one(connection, table, key)
        if found is None:
            raise self._missing(table, key)
        return found

    def _require_parent(self, connection: sqlite3.Connection, table: Table[Any], key: str) -> None:
        """Raises EntityNotFoundError where a row that another one shall belong to is not there."""
        if not held_keys(connection, table, (key,)):
            raise self._missing(table, key)

    def _missing(self, table: Table[Any], key: str) -> EntityNotFoundError:
        what = table.record.__name__.lower()
        hint = f"Store the {what} first; one that was migrated is in the archive, and stays as it is."
        return EntityNotFoundError(f"working memory has no {what} {key!r}", path=self.database.path, hint=hint)

    # Writing

    def _put(
        self,
        connection: sqlite3.Connection,
        table: Table[R],
        record: R,
        finished: Callable[[R, R | None], R] = lambda record, _: record,
    ) -> R:
        """Store one record, new or changed; returns it as stored.

        Args:
            connection: in a transaction.
            table: where.
            record: what it left open is filled in: from the row that it replaces, else an id and the present time.
            finished: the last change, by the record so filled in and the one it replaces.

        Raises:
            UsageError: a record with its key is in the archive.
        """
        key = getattr(record, table.key)
        previous = None if key is None else self._previous(connection, table, key)
        stored = finished(self._filled(record, previous), previous)
        connection.execute(table.upsert, table.encode(stored))
        return stored

    def _previous(self, connection: sqlite3.Connection, table: Table[R], key: str) -> R | None:
        # A damaged row is mended by storing the record again.
        with suppress(DamagedRowError):
            previous = self._one(connection, table, key)
            if previous is None and self._archived(table, (key,)):
                what = table.record.__name__.lower()
                raise UsageError(
                    f"the {what} {key!r} is in the archive, which is not changed",
                    hint="Store it under another id.",
                )
            return previous
        return None

    def _filled(self, record: R, previous: R | None) -> R:
        empty = [name for name in ("id", *_STAMPED) if name in record.COLUMNS and getattr(record, name) is None]
        values: dict[str, Any] = {}
        for name in empty:
            known = None if name == "updated_at" else getattr(previous, name, None)
            values[name] = known if known is not None else self.ids() if name == "id" else self.now()
        return replace(record, **values) if values else record

    def _put_new(self, connection: sqlite3.Connection, table: Table[R], records: Sequence[R]) -> list[R]:
        """Store those records whose key is neither here nor in the archive; returns all as they stand, in order."""
        filled = [self._filled(record, None) for record in records]
        known = self._archived(table, [record.key for record in filled])
        rows = [table.encode(record) for record in filled if record.key not in known]
        connection.executemany(table.insert_new, rows)
        return filled

    def _archived(self, table: Table[Any], keys: Iterable[str]) -> set[str]:
        """Those of `keys` whose rows were migrated. Waits for the archive's thread, in that of this database."""
        kept = ARCHIVED.get(table.name)
        if kept is None or self.archive is None:
            return set()
        return self.archive.submit_read(lambda connection: held_keys(connection, kept, keys)).result()
