"""Long-term memory: what was learned, in rows that are source, and found by what it is about.

It is not where work goes on: that is `working`, whose old rows come here by `migration` and are read through `archive`.

A procedure, an incident and a piece of knowledge are a row each, and a memory of the store that follows it (`collections`):
the row is durable first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from sqlite3 import Connection
from typing import TypeVar

from synthians_memory.engine.searching import require_positive
from synthians_memory.errors import DamagedRowError, EntityNotFoundError, InvalidTypeError
from synthians_memory.json_values import checked_text
from synthians_memory.layout import validate_id
from synthians_memory.models import random_id
from synthians_memory.tiers.archive import Archive
from synthians_memory.tiers.collections import Collections, SearchResult
from synthians_memory.tiers.database import Database
from synthians_memory.tiers.descriptions import row_memory
from synthians_memory.tiers.records import ConfigChange, Incident, Knowledge, Procedure, Record
from synthians_memory.tiers.tables import CONFIG_HISTORY, INCIDENTS, KNOWLEDGE, PROCEDURES, Table
from synthians_memory.tiers.values import COUNT
from synthians_memory.times import Clock, SystemClock

__all__ = ["LongTermMemory"]

R = TypeVar("R", bound=Record)


class LongTermMemory:
    """The long-term tier of an open store; used in its event loop, by any number of tasks.

    To store is to insert, or to replace what has the same id. What is returned is the record as stored: an id that was left
    out is drawn; a time that was left out is that of the row it replaces, or now.

    Every method raises StoreClosedError before the database is opened and after it is closed, DamagedRowError for a row
    that is not what was written, DamagedFileError and DiskError where SQLite cannot read or write, and one that writes
    ReadOnlyError in a store that is open read-only. Where a row has a memory, `Collections.store_row` says what else.

    Args:
        database: of the schema LONGTERM.
        collections: of the same store.
        clock: source of time.
        ids: draws ids.
    """

    def __init__(
        self,
        database: Database,
        collections: Collections,
        clock: Clock | None = None,
        ids: Callable[[], str] = random_id,
    ) -> None:
        self._database = database
        self._collections = collections
        self._clock = clock or SystemClock()
        self._ids = ids
        self.archive = Archive(database)

    # Procedures

    async def store_procedure(self, procedure: Procedure) -> Procedure:
        """Store how something is done; returns it as stored."""
        return await self._with_memory(PROCEDURES, _require(procedure, Procedure))

    async def get_procedure(self, procedure_id: str) -> Procedure | None:
        """The procedure; None where there is none."""
        return await self._row(PROCEDURES, procedure_id)

    async def record_procedure_run(self, procedure_id: str, success: bool, duration_ms: int | None = None) -> Procedure:
        """Count one run of a procedure; returns it as stored.

        Args:
            procedure_id: its id.
            success: whether it went well.
            duration_ms: how long it took; it enters the mean as one of all runs so far.

        Raises:
            EntityNotFoundError: there is no such procedure.
        """
        if not isinstance(success, bool):
            raise InvalidTypeError(f"success must be True or False, not {type(success).__name__}")
        duration = COUNT.or_none.checked(duration_ms, "duration_ms")
        key, now = validate_id(procedure_id), self._now()

        def counted(connection: Connection) -> Procedure:
            present = _read(connection, PROCEDURES, key, self._database.path)
            if present is None:
                raise EntityNotFoundError(f"there is no procedure {key!r}")
            run = _with_run(present, success, duration, now)
            connection.execute(PROCEDURES.upsert, PROCEDURES.encode(run))
            return run

        return await self._database.transact(counted)

    # Incidents

    async def store_incident(self, incident: Incident) -> Incident:
        """Store what went wrong and how it was put right; returns it as stored."""
        return await self._with_memory(INCIDENTS, _require(incident, Incident))

    async def get_incident(self, incident_id: str) -> Incident | None:
        """The incident; None where there is none."""
        return await self._row(INCIDENTS, incident_id)

    # Settings

    async def store_config_change(self, change: ConfigChange) -> ConfigChange:
        """Store a file of settings as somebody left it; returns it as stored."""
        filled = await self._filled(CONFIG_HISTORY, _require(change, ConfigChange))
        await self._database.transact(lambda connection: _upsert(connection, CONFIG_HISTORY, filled))
        return filled

    async def get_config_history(self, file_path: str, limit: int = 100) -> list[ConfigChange]:
        """The last `limit` changes of a file, newest first; those of one second in the order in which they were stored last."""
        checked_text(file_path, "file_path")
        require_positive("limit", limit)
        sql = CONFIG_HISTORY.select("WHERE file_path = ? ORDER BY timestamp DESC, row DESC LIMIT ?")

        def read(connection: Connection) -> list[ConfigChange]:
            rows = connection.execute(sql, (file_path, limit)).fetchall()
            return [CONFIG_HISTORY.decode(row, self._database.path) for row in rows]

        return await self._database.run(read)

    # Knowledge

    async def add_knowledge(self, knowledge: Knowledge) -> Knowledge:
        """Store something to look up; returns it as stored."""
        return await self._with_memory(KNOWLEDGE, _require(knowledge, Knowledge))

    async def get_knowledge(self, knowledge_id: str) -> Knowledge | None:
        """The piece of knowledge; None where there is none."""
        return await self._row(KNOWLEDGE, knowledge_id)

    async def search_knowledge(self, query: str, n_results: int = 2) -> list[SearchResult]:
        """As `semantic_search`, of knowledge."""
        return await self._collections.search(query, ("knowledge",), n_results)

    # Searching

    async def semantic_search(
        self,
        query: str,
        collections: Sequence[str] | None = None,
        n_results: int = 5,
        min_relevance: float = 0.0,
    ) -> list[SearchResult]:
        """The rows that `query` is about, however old, best first; of equal relevance by collection and id.

        Args:
            query: anything.
            collections: "decisions", "incidents", "procedures", "knowledge", or some of them; None: the first three.
            n_results: at most so many, at least 1.
            min_relevance: 0 to 1; less relevant ones are left out.

        Raises:
            InvalidValueError, InvalidTypeError: an argument is wrong.
        """
        return await self._collections.search(query, collections, n_results, min_relevance)

    # Common to all

    def _now(self) -> int:
        return self._clock.micros() // 1_000_000

    async def _with_memory(self, table: Table[R], record: R) -> R:
        filled = await self._filled(table, record)
        await self._collections.store_row(
            row_memory(filled),
            lambda: self._database.transact(lambda connection: _upsert(connection, table, filled)),
        )
        return filled

    async def _row(self, table: Table[R], key: str) -> R | None:
        checked = validate_id(key)
        return await self._database.run(lambda connection: _read(connection, table, checked, self._database.path))

    async def _filled(self, table: Table[R], record: R) -> R:
        """`record` with an id and a time."""
        stamp = "created_at" if "created_at" in table.record.COLUMNS else "timestamp"
        key = getattr(record, "id")  # noqa: B009 - the records that come here have one
        if key is None:
            key = validate_id(self._ids())
        at = getattr(record, stamp)
        if at is None:
            at = await self._time_of(table, key, stamp)
        return replace(record, **{"id": key, stamp: self._now() if at is None else at})

    async def _time_of(self, table: Table[R], key: str, stamp: str) -> int | None:
        """That of the row that is replaced; None where there is none, or it is damaged."""
        try:
            present = await self._row(table, key)
        except DamagedRowError:
            return None
        return None if present is None else getattr(present, stamp)


def _require(record: object, kind: type[R]) -> R:
    if not isinstance(record, kind):
        raise InvalidTypeError(f"it must be of the type {kind.__name__}, not {type(record).__name__}")
    return record


def _read(connection: Connection, table: Table[R], key: str, path: str) -> R | None:
    row = connection.execute(table.by_key, (key,)).fetchone()
    return None if row is None else table.decode(row, path)


def _upsert(connection: Connection, table: Table[R], record: R) -> None:
    connection.execute(table.upsert, table.encode(record))


def _with_run(procedure: Procedure, success: bool, duration: int | None, now: int) -> Procedure:
    runs, mean = procedure.success_count + procedure.fail_count, procedure.avg_duration_ms
    if duration is not None:
        mean = float(duration) if mean is None else (mean * runs + duration) / (runs + 1)
    return replace(
        procedure,
        success_count=procedure.success_count + success,
        fail_count=procedure.fail_count + (not success),
        avg_duration_ms=mean,
        last_used=now,
    )
