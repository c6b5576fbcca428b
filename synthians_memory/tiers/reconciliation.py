"""Reconciliation: the memories of rows are made to say what the rows say, when the tiers are opened.

It changes no row, and deletes no memory: one whose row is not there may be all that is left of it, or have come with an
import, which brings no rows. `memory_check` tells of these.

A memory that a row needs and that is not there is made; one that says something else, or expires, is replaced. What is noted of
an earlier look (`row_places`) spares looking again while neither row nor memory has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final

from synthians_memory.engine.iteration import load_many
from synthians_memory.engine.state import UNSERVABLE
from synthians_memory.engine.store import Store
from synthians_memory.errors import ConflictError, DamagedRowError, InvalidValueError, SynthiansMemoryError
from synthians_memory.json_values import JsonObject
from synthians_memory.models import Entity, MemoryEntry
from synthians_memory.tiers.collections import Collections, RowMemory, inside
from synthians_memory.tiers.database import Database
from synthians_memory.tiers.descriptions import row_memory
from synthians_memory.tiers.row_places import (
    PLACES,
    FoundRow,
    Notes,
    RowKey,
    forget_notes,
    memory_id_of_row,
    note,
    places_in,
    read_notes,
    read_rows,
    row_hashes,
)

__all__ = ["LeftRow", "ReconciliationReport", "is_told", "reconcile", "suspects"]

_AT_ONCE: Final = 256
# Memories that are saved at the same time, so that they share a sync.
_SAVED_AT_ONCE: Final = 32
# What is wrong with one row or one memory, while the others can be seen to.
_OF_ONE: Final = (*UNSERVABLE, ConflictError, InvalidValueError)


@dataclass(frozen=True, slots=True)
class LeftRow:
    """A row whose memory could not be brought up to date.

    Attributes:
        collection, id: which.
        why: the reason.
    """

    collection: str
    id: str
    why: str


@dataclass(frozen=True, slots=True)
class ReconciliationReport:
    """What a reconciliation did.

    Attributes:
        rows: how many rows have memories.
        made: ids of the memories that were not there.
        replaced: ids of the memories that said something else.
        left: rows for which that failed; the next opening tries again.
        failure: why it ended before all rows were seen to; "" where it did not.
    """

    rows: int = 0
    made: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    left: tuple[LeftRow, ...] = ()
    failure: str = ""

    def to_dict(self) -> JsonObject:
        """As JSON."""
        return asdict(self)


async def reconcile(collections: Collections, working: Database, longterm: Database) -> ReconciliationReport:
    """Make the memories of all rows say what the rows say; idempotent. Others may write rows meanwhile.

    What is wrong with a single row or memory, a disk that is full or an embedder that fails is told in the report, and
    does not keep the tiers shut.

    Raises:
        DamagedFileError, DiskError: the rows cannot be read.
    """
    return await _Reconciler(collections, working, longterm).run()


class _Reconciler:
    def __init__(self, collections: Collections, working: Database, longterm: Database) -> None:
        self._collections = collections
        self._databases = {database.path: database for database in (working, longterm)}
        self._longterm = longterm
        self._made: list[str] = []
        self._replaced: list[str] = []
        self._left: list[LeftRow] = []

    async def run(self) -> ReconciliationReport:
        rows = await self._row_hashes()
        notes = await self._longterm.run(read_notes)
        session, _ = inside(self._collections.store)
        doubtful = await session.in_thread(lambda: list(suspects(session.store, rows, notes)))
        failure = ""
        try:
            for start in range(0, len(doubtful), _AT_ONCE):
                await self._see_to(doubtful[start : start + _AT_ONCE])
            gone = notes.keys() - {memory_id_of_row(key) for key in rows}
            if gone:
                await self._longterm.transact(lambda connection: forget_notes(connection, gone))
        except Exception as error:  # noqa: BLE001 - an embedder is somebody else's code, and must not keep the tiers shut
            failure = str(error)
        return ReconciliationReport(
            len(rows), tuple(sorted(self._made)), tuple(sorted(self._replaced)), tuple(self._left), failure
        )

    async def _row_hashes(self) -> dict[RowKey, bytes]:
        found: dict[RowKey, bytes] = {}
        # Working memory first: what is migrated meanwhile is then seen twice, and not missed.
        for path, database in self._databases.items():
            found = {**await database.run(partial(row_hashes, places=places_in(path))), **found}
        return found

    async def _see_to(self, keys: Sequence[RowKey]) -> None:
        rows, present = await self._rows(keys), await self._present(keys)
        notes, differing = Notes(), list[RowKey]()
        for key in keys:
            row = rows.get(key)
            if isinstance(row, FoundRow) and key in present and is_told(present[key], row):
                notes[memory_id_of_row(key)] = row.row_hash, _content_hash(present[key])
            elif isinstance(row, DamagedRowError):
                self._left.append(LeftRow(*key, str(row)))
            elif row is not None:
                differing.append(key)
        try:
            for start in range(0, len(differing), _SAVED_AT_ONCE):
                await self._follow_all(differing[start : start + _SAVED_AT_ONCE], present, notes)
        finally:
            if notes:
                await self._longterm.transact(lambda connection: note(connection, notes))

    async def _present(self, keys: Sequence[RowKey]) -> dict[RowKey, Entity | None]:
        """The memories as they are stored, without those that cannot be served."""
        memory_ids = {memory_id_of_row(key): key for key in keys}
        session, _ = inside(self._collections.store)
        damaged: list[SynthiansMemoryError] = []
        loaded = await load_many(session, [("memory", i) for i in memory_ids], damaged.append, expired=True)
        return {memory_ids[memory_id]: entity for (_, memory_id), entity in loaded}

    async def _follow_all(self, keys: Sequence[RowKey], present: Mapping[RowKey, Entity | None], notes: Notes) -> None:
        """Bring the memories up to their rows; `notes` grows. All are waited for, so that none goes on behind a failure."""
        followed = (self._follow(key, present.get(key)) for key in keys)
        outcomes = await asyncio.gather(*followed, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, dict):
                notes |= outcome
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _follow(self, key: RowKey, present: Entity | None) -> Notes:
        """Bring one memory up to its row; what may be noted."""
        found: FoundRow | None = None

        async def read() -> RowMemory | None:
            nonlocal found
            row = (await self._rows([key])).get(key)
            if isinstance(row, DamagedRowError):
                raise row
            found = row
            return None if row is None else row_memory(row.record)

        try:
            entry = await self._collections.follow_row(memory_id_of_row(key), read)
        except _OF_ONE as error:
            self._left.append(LeftRow(*key, str(error)))
            return {}
        if entry is None or found is None:
            return {}
        (self._made if present is None else self._replaced).append(entry.memory_id)
        return {entry.memory_id: (found.row_hash, _content_hash(entry))}

    async def _rows(self, keys: Sequence[RowKey]) -> dict[RowKey, FoundRow | DamagedRowError]:
        found: dict[RowKey, FoundRow | DamagedRowError] = {}
        for place in PLACES:
            ids = [row_id for collection, row_id in keys if collection == place.collection]
            if ids:
                rows = await self._databases[place.schema.path].run(partial(read_rows, place=place, ids=ids))
                found |= {(place.collection, row_id): row for row_id, row in rows.items()}
        return found


def suspects(store: Store, rows: Mapping[RowKey, bytes], notes: Notes) -> Iterator[RowKey]:
    """The rows of which it is not noted that their memory, as it is now, says what they say."""
    index = store.state.index
    for key, row_hash in rows.items():
        memory_id = memory_id_of_row(key)
        content_hash = index.hash(("memory", memory_id))
        if content_hash is None or notes.get(memory_id) != (row_hash, content_hash):
            yield key


def is_told(entity: Entity | None, row: FoundRow) -> bool:
    """Whether a memory says what a row says."""
    try:
        return isinstance(entity, MemoryEntry) and row_memory(row.record).is_told_by(entity)
    except InvalidValueError:
        return False


def _content_hash(entity: Entity | None) -> bytes:
    text = entity.__dict__["content_hash"] if entity is not None else None
    return bytes.fromhex(text.partition(":")[2]) if text else b""
