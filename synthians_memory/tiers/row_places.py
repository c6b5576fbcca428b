"""Where the rows that have memories are, in both databases, read by functions that get the connection.

It compares nothing and changes no row. A decision may be in working memory and, between two steps of a migration, in the archive
as well; it is one then, and that of working memory counts.

`noted_memory` is a table of the long-term database that holds nothing that could not be found out again: which version of a
memory, by its content hash, was found to say what a row says, by its row hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any, Final, NamedTuple

from synthians_memory.errors import DamagedRowError
from synthians_memory.tiers.records import Record
from synthians_memory.tiers.tables import (
    ARCHIVED,
    DECISIONS,
    INCIDENTS,
    KNOWLEDGE,
    LONGTERM,
    PROCEDURES,
    WORKING,
    Schema,
    Table,
)

__all__ = [
    "PLACES",
    "FoundRow",
    "Notes",
    "Place",
    "RowKey",
    "forget_notes",
    "memory_id_of_row",
    "note",
    "places_in",
    "read_notes",
    "read_rows",
    "row_hashes",
]

_AT_ONCE: Final = 256
_NOTED: Final = """CREATE TABLE IF NOT EXISTS noted_memory
    (memory_id TEXT PRIMARY KEY, row_hash BLOB NOT NULL, content_hash BLOB NOT NULL) WITHOUT ROWID"""

# Collection and id of a row.
RowKey = tuple[str, str]
# Memory id -> row hash and content hash.
Notes = dict[str, tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Place:
    """One table whose rows have memories.

    Attributes:
        collection: of the memories.
        schema: of the database.
        table: in it.
    """

    collection: str
    schema: Schema
    table: Table[Any]


# Of two places of one collection the later counts.
PLACES: Final = (
    Place("decisions", LONGTERM, ARCHIVED["decisions"]),
    Place("decisions", WORKING, DECISIONS),
    Place("incidents", LONGTERM, INCIDENTS),
    Place("procedures", LONGTERM, PROCEDURES),
    Place("knowledge", LONGTERM, KNOWLEDGE),
)


class FoundRow(NamedTuple):
    """A row as it was read: the record, and the hash that the row carries."""

    record: Record
    row_hash: bytes


def places_in(path: str) -> list[Place]:
    """The places in the database at `path`, relative to the store."""
    return [place for place in PLACES if place.schema.path == path]


def memory_id_of_row(key: RowKey) -> str:
    """The id of a row's memory; not checked, as a row that somebody else has put there may have one that no memory can have."""
    return f"{key[0]}-{key[1]}"


def row_hashes(connection: Connection, places: Iterable[Place]) -> dict[RowKey, bytes]:
    """Collection and row id -> row hash, not verified, of every row in these places of one database."""
    found: dict[RowKey, bytes] = {}
    for place in places:
        rows = connection.execute(f"SELECT id, row_hash FROM {place.table.name}")
        found.update(((place.collection, row_id), row_hash) for row_id, row_hash in rows)
    return found


def read_rows(connection: Connection, place: Place, ids: Sequence[str]) -> dict[str, FoundRow | DamagedRowError]:
    """Those of the rows that are in a place, by id; of a damaged one the error."""
    found: dict[str, FoundRow | DamagedRowError] = {}
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        sql = place.table.select(f"WHERE id IN ({', '.join('?' * len(part))})")
        found |= {str(row[0]): _decoded(place, row) for row in connection.execute(sql, part)}
    return found


def _decoded(place: Place, row: Sequence[Any]) -> FoundRow | DamagedRowError:
    try:
        return FoundRow(place.table.decode(row, place.schema.path), row[-1])
    except DamagedRowError as error:
        return error


# Notes


def read_notes(connection: Connection) -> Notes:
    """Everything that is noted."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'noted_memory'").fetchone():
        return {}
    rows = connection.execute("SELECT memory_id, row_hash, content_hash FROM noted_memory")
    return {memory_id: (row_hash, content_hash) for memory_id, row_hash, content_hash in rows}


def note(connection: Connection, notes: Mapping[str, tuple[bytes, bytes]]) -> None:
    """Note these; in a transaction."""
    connection.execute(_NOTED)
    rows = [(memory_id, *hashes) for memory_id, hashes in notes.items()]
    connection.executemany("INSERT OR REPLACE INTO noted_memory VALUES (?, ?, ?)", rows)


def forget_notes(connection: Connection, memory_ids: Iterable[str]) -> None:
    """Drop what is noted of these; in a transaction."""
    connection.execute(_NOTED)
    connection.executemany("DELETE FROM noted_memory WHERE memory_id = ?", [(i,) for i in memory_ids])
