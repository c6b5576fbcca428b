"""Rows of the tiers, read out of a damaged database, or put from one copy of it into another; each proved by its hash.

It opens no database, and does not decide which copy is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from sqlite3 import Connection, Error
from typing import Any

from synthians_memory.tiers.tables import Schema, Table

__all__ = ["DamagedRow", "Salvaged", "add_missing", "damaged_rows", "drop_orphans", "put_rows", "readable_rows"]


@dataclass(frozen=True, slots=True)
class DamagedRow:
    """A row that does not match its hash.

    Attributes:
        table: where it is.
        number: of the row, which SQLite keeps.
        row: as `Table.select` gives it.
    """

    table: Table[Any]
    number: int
    row: Sequence[Any]

    @property
    def key(self) -> object:
        """Its key, which may be what is damaged."""
        return self.row[list(self.table.columns).index(self.table.key)]

    @property
    def name(self) -> str:
        """For people."""
        return f"the row {str(self.key)[:80].encode(errors='replace').decode()!r} of {self.table.name}"

    def is_version(self, row: Sequence[Any]) -> bool:
        """Whether an intact row is the very version that was damaged: it has its hash, or all of its values."""
        return bool(row[-1] == self.row[-1]) or tuple(row[:-1]) == tuple(self.row[:-1])


@dataclass(slots=True)
class Salvaged:
    """What can be read out of a damaged database.

    Attributes:
        rows: intact rows of each table, in their order.
        damaged: rows that do not match their hashes.
    """

    rows: list[tuple[Table[Any], Sequence[Any]]] = field(default_factory=list)
    damaged: list[DamagedRow] = field(default_factory=list)


def readable_rows(connection: Connection, schema: Schema) -> Salvaged:
    """Every row that SQLite can still reach, from the first on and from the last back."""
    found = Salvaged()
    for table in schema.tables:
        rows = {row[0]: row[1:] for order in ("ASC", "DESC") for row in _reached(connection, table, order)}
        for number, row in sorted(rows.items()):
            if table.is_intact(row):
                found.rows.append((table, row))
            else:
                found.damaged.append(DamagedRow(table, number, row))
    return found


def _reached(connection: Connection, table: Table[Any], order: str) -> Iterator[Sequence[Any]]:
    try:
        yield from connection.execute(f"{table.numbered} ORDER BY row {order}")
    except Error:
        # Damage ends what can be reached from this side.
        return


def damaged_rows(connection: Connection, schema: Schema) -> list[DamagedRow]:
    """The rows that do not match their hashes. Raises sqlite3.Error."""
    return [
        DamagedRow(table, number, row)
        for table in schema.tables
        for number, *row in connection.execute(f"{table.numbered} ORDER BY row").fetchall()
        if not table.is_intact(row)
    ]


def put_rows(connection: Connection, salvaged: Salvaged) -> None:
    """Put the intact rows in the place of those with their keys."""
    for table, row in salvaged.rows:
        connection.execute(table.upsert, table.values_of(row))


def drop_orphans(connection: Connection) -> int:
    """Delete rows whose parents are not there; returns how many."""
    dropped = 0
    while orphans := connection.execute("PRAGMA foreign_key_check").fetchall():
        for table, number, *_ in orphans:
            dropped += connection.execute(f"DELETE FROM {table} WHERE row = ?", (number,)).rowcount
    return dropped


def add_missing(
    connection: Connection, copy: Connection, schema: Schema, is_elsewhere: Callable[[Table[Any], str], bool]
) -> int:
    """Add the intact rows of a copy that are not there, or there in an earlier version; returns how many.

    Args:
        connection: in a transaction.
        copy: an intact one of the same schema.
        schema: of both.
        is_elsewhere: whether a row of that key was moved to another database since.
    """
    added = 0
    for table in schema.tables:
        key = list(table.columns).index(table.key)
        for row in copy.execute(table.select("ORDER BY row")):
            if not table.is_intact(row):
                continue
            present = connection.execute(table.by_key, (row[key],)).fetchone()
            missing = present is None and not is_elsewhere(table, str(row[key]))
            if missing or (present is not None and _is_later(table, row, present)):
                connection.execute(table.upsert, table.values_of(row))
                added += 1
    return added


def _is_later(table: Table[Any], row: Sequence[Any], present: Sequence[Any]) -> bool:
    names = list(table.columns)
    if "updated_at" not in names or not table.is_intact(present):
        return False
    place = names.index("updated_at")
    return bool(row[place] > present[place])
