"""Working memories in a directory of their own, with a clock that a test sets and ids that count."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

from synthians_memory.layout import LONGTERM_DB, WORKING_DB
from synthians_memory.testing.clock import ManualClock
from synthians_memory.tiers.collections import Collections
from synthians_memory.tiers.database import Database
from synthians_memory.tiers.records import Decision, Event, Goal, MetricHour, Task, ToolCall
from synthians_memory.tiers.tables import LONGTERM, WORKING
from synthians_memory.tiers.working import WorkingMemory

NOW = 1_700_000_000


@asynccontextmanager
async def working_memory(
    place: Path, clock: ManualClock | None = None, collections: Collections | None = None
) -> AsyncIterator[WorkingMemory]:
    """A working memory, and an archive, in `place`."""
    counter = itertools.count()
    working, archive = Database(place, WORKING), Database(place, LONGTERM)
    try:
        await working.open()
        await archive.open()
        ids = lambda: f"id-{next(counter):04d}"  # noqa: E731
        yield WorkingMemory(working, collections, clock or ManualClock(), ids, archive=archive)
    finally:
        await working.close()
        await archive.close()


async def store_finished(memory: WorkingMemory, name: str, tasks: int = 2, calls: int = 2) -> None:
    """A completed goal with tasks and tool calls, a decision, an event and an hour of a metric."""
    await memory.store_goal(Goal(id=name, description=f"reach {name}"))
    for number in range(tasks):
        task = await memory.store_task(Task(id=f"{name}-t{number}", goal_id=name, description=f"step {number}"))
        for call in range(calls):
            await memory.store_tool_call(
                ToolCall(id=f"{task.id}-c{call}", task_id=task.key, tool_name="tool", success=True)
            )
    await memory.log_decision(Decision(id=f"{name}-d", context=f"how to reach {name}", chosen="on foot"))
    await memory.store_event(Event(id=f"{name}-e", category="test", source=name))
    hour = (memory.now() // 3600) * 3600
    await memory.store_metric_hours(
        [MetricHour(id=f"{name}-m", name="load", hour=hour, count=2, mean=1.5, minimum=1, maximum=2)]
    )
    await memory.update_goal(name, "completed")


@contextmanager
def sqlite_beside(place: Path, path: str = WORKING_DB) -> Iterator[sqlite3.Connection]:
    """A connection of a program that knows nothing of the tiers; commits at the end."""
    with closing(sqlite3.connect(place / path)) as connection, connection:
        yield connection


def ids_in(place: Path) -> dict[str, tuple[set[str], set[str]]]:
    """Table -> the ids in working memory, and those in the archive."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    with sqlite_beside(place) as working, sqlite_beside(place, LONGTERM_DB) as archive:
        for table in ("goals", "tasks", "tool_calls", "decisions", "events", "metrics_hourly"):
            found[table] = (_ids(working, table), _ids(archive, f"archived_{table}"))
    return found


def _ids(connection: sqlite3.Connection, table: str) -> set[str]:
    return {key for (key,) in connection.execute(f"SELECT id FROM {table}")}  # noqa: S608


def columns_of(place: Path, table: str, path: str = WORKING_DB) -> list[tuple[Any, ...]]:
    """The rows of a table as SQLite has them."""
    with sqlite_beside(place, path) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY row").fetchall()  # noqa: S608
