"""What a check has to say about rows and their memories: missing ones, stale ones, and memories without a row.

It changes nothing, and checks neither the databases (`part`) nor the files of the memories (`engine.check`): of what is damaged
there it says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from sqlite3 import Connection
from typing import Final, TypeVar

from synthians_memory.config import CheckLevel
from synthians_memory.engine.state import UNSERVABLE
from synthians_memory.engine.store import Store
from synthians_memory.errors import DamagedError, NotRegularFileError, UnsupportedFormatError, UsageError
from synthians_memory.layout import TIERS
from synthians_memory.models import MemoryEntry
from synthians_memory.reports import Finding
from synthians_memory.tiers.collections import COLLECTIONS, row_of
from synthians_memory.tiers.connections import read_database
from synthians_memory.tiers.reconciliation import is_told, suspects
from synthians_memory.tiers.row_places import (
    PLACES,
    FoundRow,
    Notes,
    RowKey,
    memory_id_of_row,
    places_in,
    read_notes,
    read_rows,
    row_hashes,
)
from synthians_memory.tiers.tables import LONGTERM, SCHEMAS, Schema

__all__ = ["memory_findings"]

T = TypeVar("T")

# A row that is written meanwhile is looked at again, when its memory has followed.
_MOST_LOOKS: Final = 5
_NAMED: Final = 5
# What the check of the databases tells.
_UNREADABLE: Final = (DamagedError, NotRegularFileError, UnsupportedFormatError)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Everything at one moment: row hashes, and what is noted."""

    hashes: Mapping[RowKey, bytes]
    notes: Notes


def memory_findings(store: Store, level: CheckLevel) -> list[Finding]:
    """What is wrong between the rows of the tiers and their memories; nothing for a store without tiers.

    Args:
        store: open, also read-only.
        level: "full" compares all rows, "quick" those that have changed since they were compared last.

    Raises:
        DiskError: it cannot be read.
    """
    try:
        rows = _read(store)
        if rows is None:
            return []
        return [*_confirmed(store, rows, level), *_without_row(store, rows)]
    except _UNREADABLE:
        return []
    except UsageError:
        # No directory, and so no tiers.
        return []


def _read(store: Store) -> _Rows | None:
    backend = store.state.backend
    if backend.stat(TIERS) is None:
        return None
    notes = read_database(backend, LONGTERM, read_notes)
    found: dict[RowKey, bytes] = {}
    # Working memory first: what is migrated meanwhile is then seen twice, and not missed.
    for schema in SCHEMAS:
        hashes = read_database(backend, schema, partial(row_hashes, places=places_in(schema.path)))
        found = {**(hashes or {}), **found}
    return _Rows(found, notes or {})


def _confirmed(store: Store, rows: _Rows, level: CheckLevel) -> list[Finding]:
    """The findings that are still there when it is looked again."""
    keys = list(rows.hashes) if level == "full" else list(suspects(store, rows.hashes, rows.notes))
    findings = _findings(store, keys)
    for _ in range(_MOST_LOOKS):
        if not findings:
            break
        store.refresh()
        again = _findings(store, list(findings))
        if again == findings:
            break
        findings = {key: again[key] for key in findings if key in again}
    return list(findings.values())


def _findings(store: Store, keys: Sequence[RowKey]) -> dict[RowKey, Finding]:
    found: dict[RowKey, Finding] = {}
    # Of two places of one collection the later counts.
    for place in PLACES:
        ids = [row_id for collection, row_id in keys if collection == place.collection]
        rows = _rows_of(store, place.schema, partial(read_rows, place=place, ids=ids)) if ids else None
        for row_id, row in (rows or {}).items():
            key = (place.collection, row_id)
            found.pop(key, None)
            finding = _finding(store, key, place.schema.path, row) if isinstance(row, FoundRow) else None
            if finding is not None:
                found[key] = finding
    return found


def _rows_of(store: Store, schema: Schema, function: Callable[[Connection], T]) -> T | None:
    return read_database(store.state.backend, schema, function)


def _finding(store: Store, key: RowKey, path: str, row: FoundRow) -> Finding | None:
    memory_id = memory_id_of_row(key)
    what = f"the row {key[1]!r} of {key[0]}"
    try:
        entity = store.stored(("memory", memory_id))
    except UNSERVABLE:
        return None
    if entity is None:
        return Finding("tier_memory_missing", f"{what} has no memory {memory_id}", path, "memory", memory_id)
    if isinstance(entity, MemoryEntry) and row_of(entity) is None:
        message = f"{what} has no memory: {memory_id} is somebody's own"
        return Finding("tier_memory_missing", message, path, "memory", memory_id)
    if is_told(entity, row):
        return None
    return Finding("tier_memory_stale", f"{memory_id} does not say what {what} says", path, "memory", memory_id)


def _without_row(store: Store, rows: _Rows) -> Iterator[Finding]:
    held = {memory_id_of_row(key) for key in rows.hashes}
    prefixes = tuple(f"{name}-" for name in COLLECTIONS)
    others = [i for i in store.state.index.ids("memory") if i.startswith(prefixes) and i not in held]
    orphans = [key for memory_id in others if (key := _row_key(store, memory_id)) is not None]
    for collection, group in groupby(sorted(orphans), key=lambda key: key[0]):
        ids = [memory_id_of_row(key) for key in group]
        named = ", ".join(ids[:_NAMED]) + (", ..." if len(ids) > _NAMED else "")
        yield Finding("tier_memory_orphan", f"{len(ids)} memories of {collection} have no row: {named}", TIERS)


def _row_key(store: Store, memory_id: str) -> RowKey | None:
    try:
        entity = store.stored(("memory", memory_id))
    except UNSERVABLE:
        return None
    return row_of(entity) if isinstance(entity, MemoryEntry) else None
