"""Migration: what is finished and old goes from working memory to the archive in the long-term database.

It deletes nothing that the archive does not have. Active goals, patterns and the states of agents stay.

Two databases with write-ahead logs have no transaction in common that a power cut leaves whole. So a batch is one
transaction of working memory, in whose middle the rows are committed, durably, to the archive:

    working: BEGIN, look again at the rows -> archive: BEGIN, insert, COMMIT -> working: DELETE, COMMIT

Cut off behind the second COMMIT, the rows are in both databases, and the same. Nobody can have changed them, since working
memory was in a transaction meanwhile. The next opening, or migration, deletes them from working memory (`finish`).
"""

from __future__ import annotations

import inspect
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Final, NamedTuple

from synthians_memory.errors import DamagedRowError, InvalidValueError, UsageError
from synthians_memory.json_values import JsonObject, checked_text
from synthians_memory.tiers.database import Database
from synthians_memory.tiers.records import Record
from synthians_memory.tiers.rows import Rows, held_keys
from synthians_memory.tiers.tables import (
    ARCHIVED,
    DECISIONS,
    EVENTS,
    FINAL_SQL,
    GOALS,
    METRICS_HOURLY,
    TASKS,
    TOOL_CALLS,
    Table,
)
from synthians_memory.tiers.values import COUNT, TIME

__all__ = ["DAY", "Ages", "MigrationReport", "Summarise", "finish", "migrate"]

DAY: Final = 86_400
_HOUR: Final = 3600
# Goals, or rows of another kind, in one transaction.
_BATCH: Final = 200

# A summary of a record that goes to the archive, which keeps the whole record beside it; None: none.
Summarise = Callable[[Record], str | Awaitable[str | None] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """How long rows stay in working memory after they were finished, in seconds.

    Attributes:
        goals: after `completed_at`; their tasks and tool calls go with them.
        decisions, events: after `timestamp`.
        metrics: after the end of the hour.
    """

    goals: int = 30 * DAY
    decisions: int = 30 * DAY
    events: int = 30 * DAY
    metrics: int = 30 * DAY

    def __post_init__(self) -> None:
        """Raises InvalidTypeError, InvalidValueError: an age is no whole number of seconds, or negative."""
        for name, age in asdict(self).items():
            COUNT.checked(age, f"the age of {name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationReport:
    """What a migration moved to the archive.

    Attributes:
        goals, tasks, tool_calls, decisions, events, metrics: how many rows of each.
        finished: of these, rows that an earlier migration had archived and could not yet delete.
        damaged: why rows stayed that are not what was written; a goal stays with all that belongs to it.
    """

    goals: int = 0
    tasks: int = 0
    tool_calls: int = 0
    decisions: int = 0
    events: int = 0
    metrics: int = 0
    finished: int = 0
    damaged: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Rows in all."""
        return self.goals + self.tasks + self.tool_calls + self.decisions + self.events + self.metrics

    def to_dict(self) -> JsonObject:
        """As JSON."""
        return {**asdict(self), "damaged": list(self.damaged), "total": self.total}


_COUNTED: Final = {METRICS_HOURLY.name: "metrics"}


class _Kind(NamedTuple):
    """What is moved together: a table whose rows are due by themselves, and those that belong to them.

    Attributes:
        table: of the rows.
        moment: the column that says since when a row is old.
        due: which rows may go at all, as SQL.
        margin: seconds from that moment until its age begins.
    """

    table: Table[Any]
    moment: str
    due: str
    margin: int = 0


_GOALS: Final = _Kind(GOALS, "completed_at", f"status IN ({FINAL_SQL})")
_DECISIONS: Final = _Kind(DECISIONS, "timestamp", "1")
_EVENTS: Final = _Kind(EVENTS, "timestamp", "1")
_METRICS: Final = _Kind(METRICS_HOURLY, "hour", "1", _HOUR)


class _Row(NamedTuple):
    """A row of working memory, verified."""

    table: Table[Any]
    record: Record
    hash: bytes


@dataclass(slots=True)
class _Due:
    """Rows that go together or not at all, and the summaries of those that have one, by table and key."""

    key: str
    rows: list[_Row]
    summaries: dict[tuple[str, str], str] = field(default_factory=dict)


class _Page(NamedTuple):
    due: list[_Due]
    damaged: list[str]
    last: tuple[int, int] | None


def _group(connection: sqlite3.Connection, kind: _Kind, key: str, path: str) -> list[_Row]:
    """The row of that key and all that belong to it, parents first; raises DamagedRowError."""
    rows = _rows(connection, kind.table, kind.table.key, [key], path)
    if kind.table is GOALS:
        tasks = _rows(connection, TASKS, "goal_id", [key], path)
        rows += tasks
        rows += _rows(connection, TOOL_CALLS, "task_id", [task.record.key for task in tasks], path)
    return rows


def _rows(
    connection: sqlite3.Connection, table: Table[Any], column: str, values: Sequence[str], path: str
) -> list[_Row]:
    sql = table.select(f"WHERE {column} = ? ORDER BY row")
    found = [row for value in values for row in connection.execute(sql, (value,)).fetchall()]
    return [_Row(table, table.decode(row, path), row[-1]) for row in found]


class _Mover:
    """Moves rows of one working memory to its archive."""

    def __init__(self, rows: Rows, summarise: Summarise | None = None) -> None:
        if rows.archive is None:
            raise UsageError("this working memory has no archive", hint="Open the tiers of a store, and migrate there.")
        self._working = rows.database
        self._archive: Database = rows.archive
        self._now = rows.now()
        self._summarise = summarise

    # What is due

    async def due(self, kind: _Kind, cutoff: int, after: tuple[int, int]) -> _Page:
        """The next rows, behind `after` (moment and row), that were finished by `cutoff`."""

        def read(connection: sqlite3.Connection) -> _Page:
            moment = kind.moment
            sql = (
                f"SELECT {moment}, row, {kind.table.key} FROM {kind.table.name} WHERE {kind.due}"
                f" AND {moment} <= ? AND ({moment}, row) > (?, ?) ORDER BY {moment}, row LIMIT {_BATCH}"
            )
            found = connection.execute(sql, (cutoff - kind.margin, *after)).fetchall()
            due, damaged = self._groups(kind, [key for _, _, key in found], connection)
            return _Page(due, damaged, found[-1][:2] if found else None)

        return await self._working.run(read)

    def _groups(self, kind: _Kind, keys: Sequence[str], connection: sqlite3.Connection) -> tuple[list[_Due], list[str]]:
        due, damaged = list[_Due](), list[str]()
        for key in keys:
            try:
                due.append(_Due(key, _group(connection, kind, key, self._working.path)))
            except DamagedRowError as error:
                damaged.append(error.message)
        return due, damaged

    async def summarised(self, due: Sequence[_Due]) -> None:
        """Ask for the summaries; raises what the hook raises, before anything is moved."""
        if self._summarise is None:
            return
        for group in due:
            for row in group.rows:
                answer = self._summarise(row.record)
                text = await answer if inspect.isawaitable(answer) else answer
                if text is not None:
                    group.summaries[row.table.name, row.record.key] = checked_text(text, "a summary")

    # Moving

    async def move(self, kind: _Kind, due: Sequence[_Due]) -> dict[str, int]:
        """Move groups, in one transaction of each database; one that changed meanwhile stays. Returns table -> rows moved."""

        def work(connection: sqlite3.Connection) -> dict[str, int]:
            unchanged = [group for group in due if self._is_still(connection, kind, group)]
            if unchanged:
                self._archive.submit(lambda archive: self._insert(archive, unchanged)).result()
            return _deleted(connection, [row for group in unchanged for row in group.rows])

        return await self._working.transact(work) if due else {}

    def _is_still(self, connection: sqlite3.Connection, kind: _Kind, group: _Due) -> bool:
        try:
            now = _group(connection, kind, group.key, self._working.path)
        except DamagedRowError:
            # The next page or migration tells of it.
            return False
        return bool(now) and [row.hash for row in now] == [row.hash for row in group.rows]

    def _insert(self, archive: sqlite3.Connection, groups: Sequence[_Due]) -> None:
        for group in groups:
            for row in group.rows:
                table = ARCHIVED[row.table.name]
                if not self._has(archive, row):
                    summary = group.summaries.get((row.table.name, row.record.key))
                    values = table.encode(row.record, archived_at=self._now, summary=summary)
                    archive.execute(table.upsert, values)

    def _has(self, archive: sqlite3.Connection, row: _Row) -> bool:
        """Whether the archive has this very record; a damaged one there is none."""
        table = ARCHIVED[row.table.name]
        found = archive.execute(table.by_key, (row.record.key,)).fetchone()
        try:
            return found is not None and self._is_same(row, table.decode(found, self._archive.path))
        except DamagedRowError:
            return False

    @staticmethod
    def _is_same(row: _Row, archived: Record) -> bool:
        # As SQLite has them: in Python 1 equals True.
        return row.table.encode(row.record) == row.table.encode(archived)

    # Going on

    async def in_both(self, kind: _Kind) -> list[str]:
        """The keys of the rows of a kind that are in both databases."""
        archived, moment = ARCHIVED[kind.table.name], kind.moment

        def latest(archive: sqlite3.Connection) -> int | None:
            found: tuple[int | None] = archive.execute(f"SELECT max({moment}) FROM {archived.name}").fetchone()
            return found[0]

        last = await self._archive.run(latest)
        if last is None:
            return []
        sql = f"SELECT {kind.table.key} FROM {kind.table.name} WHERE {moment} <= ? ORDER BY {moment}, row"
        keys = await self._working.run(lambda working: [key for (key,) in working.execute(sql, (last,)).fetchall()])
        held = await self._archive.run(lambda archive: held_keys(archive, archived, keys))
        return [key for key in keys if key in held]

    async def finish(self, kind: _Kind) -> tuple[dict[str, int], list[str]]:
        """Delete from working memory what the archive has as well, the same; returns table -> rows, and what is damaged."""
        counts, problems = dict[str, int](), list[str]()
        keys = await self.in_both(kind)
        for start in range(0, len(keys), _BATCH):
            due, damaged = await self._working.run(partial(self._groups, kind, keys[start : start + _BATCH]))
            problems += damaged
            _add(counts, await self._working.transact(partial(self._drop, due)))
        return counts, problems

    def _drop(self, due: Sequence[_Due], working: sqlite3.Connection) -> dict[str, int]:
        whole = self._archive.submit_read(
            lambda archive: [group for group in due if all(self._has(archive, row) for row in group.rows)]
        ).result()
        return _deleted(working, [row for group in whole for row in group.rows])


def _deleted(connection: sqlite3.Connection, rows: Sequence[_Row]) -> dict[str, int]:
    """Delete these rows, children first; returns table -> how many."""
    counts: dict[str, int] = {}
    for row in sorted(rows, key=lambda row: _CHILDREN_FIRST.get(row.table.name, 0)):
        connection.execute(f"DELETE FROM {row.table.name} WHERE {row.table.key} = ?", (row.record.key,))
        _add(counts, {row.table.name: 1})
    return counts


_CHILDREN_FIRST: Final = {TOOL_CALLS.name: 0, TASKS.name: 1, GOALS.name: 2}


def _add(counts: dict[str, int], more: dict[str, int]) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count


def _with(
    report: MigrationReport, counts: dict[str, int], damaged: Sequence[str], *, finished: bool
) -> MigrationReport:
    fields = {_COUNTED.get(name, name): count for name, count in counts.items()}
    changes: dict[str, Any] = {name: getattr(report, name) + count for name, count in fields.items()}
    if finished:
        changes["finished"] = report.finished + sum(counts.values())
    return replace(report, **changes, damaged=tuple(dict.fromkeys((*report.damaged, *damaged))))


def _kinds(cutoff: int | None, ages: Ages, now: int) -> Iterator[tuple[_Kind, int]]:
    for kind, age in (
        (_GOALS, ages.goals),
        (_DECISIONS, ages.decisions),
        (_EVENTS, ages.events),
        (_METRICS, ages.metrics),
    ):
        yield kind, now - age if cutoff is None else cutoff


async def finish(rows: Rows) -> MigrationReport:
    """Bring a migration that was cut off to its end: no row is in both databases afterwards.

    A row that is in both and differs is left in both: the one of working memory counts, and replaces the other when it is migrated.

    Raises:
        UsageError: there is no archive.
        DiskError, DamagedFileError: as the databases.
    """
    mover, report = _Mover(rows), MigrationReport()
    for kind in (_GOALS, _DECISIONS, _EVENTS, _METRICS):
        report = _with(report, *await mover.finish(kind), finished=True)
    return report


async def migrate(
    rows: Rows,
    cutoff: int | None = None,
    *,
    ages: Ages | None = None,
    now: int | None = None,
    summarise: Summarise | None = None,
    progress: Callable[[MigrationReport], None] | None = None,
) -> MigrationReport:
    """Move what is finished and old to the archive: goals with their tasks and tool calls, decisions, events, metrics.

    In batches, each of which is whole after a crash; repeated, it goes on. A goal and what belongs to it are never parted.

    Args:
        rows: working memory.
        cutoff: what was finished at this time or before, in Unix seconds; None: by `ages`.
        ages: how old rows of each kind must be; None: 30 days.
        now: when they are that old, in Unix seconds; None: by the clock.
        summarise: called in the event loop, or awaited, for each record before it is moved; what it gives is kept beside
            the record. What it raises ends the migration, with nothing of the batch moved.
        progress: called after each batch with the report so far.

    Raises:
        UsageError: there is no archive.
        ReadOnlyError, DiskError, DamagedFileError: as the databases; what was moved stays moved.
    """
    if cutoff is not None:
        TIME.checked(cutoff, "cutoff")
    moment = rows.now() if now is None else TIME.checked(now, "now")
    if ages is not None and cutoff is not None:
        raise InvalidValueError("cutoff and ages are both given", hint="Give one of them.")
    mover, report = _Mover(rows, summarise), await finish(rows)
    for kind, until in _kinds(cutoff, ages or Ages(), moment):
        after: tuple[int, int] | None = (-1, -1)
        while after is not None:
            page = await mover.due(kind, until, after)
            await mover.summarised(page.due)
            report = _with(report, await mover.move(kind, page.due), page.damaged, finished=False)
            after = page.last
            if progress is not None and after is not None:
                progress(report)
    return report
