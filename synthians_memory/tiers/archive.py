"""The archive: rows of working memory that are old, and are kept for good.

It archives nothing: `migration` does. What it gives is what was archived, under the same ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from sqlite3 import Connection
from typing import Any, Final, TypeVar

from synthians_memory.engine.searching import require_positive
from synthians_memory.layout import validate_id
from synthians_memory.tiers.database import Database
from synthians_memory.tiers.records import Decision, Event, Goal, MetricHour, Record, Task, ToolCall
from synthians_memory.tiers.tables import ARCHIVED, Table

__all__ = ["Archive"]

R = TypeVar("R", bound=Record)

_GOALS: Final[Table[Goal]] = ARCHIVED["goals"]
_TASKS: Final[Table[Task]] = ARCHIVED["tasks"]
_TOOL_CALLS: Final[Table[ToolCall]] = ARCHIVED["tool_calls"]
_DECISIONS: Final[Table[Decision]] = ARCHIVED["decisions"]
_EVENTS: Final[Table[Event]] = ARCHIVED["events"]
_METRICS: Final[Table[MetricHour]] = ARCHIVED["metrics_hourly"]


class Archive:
    """Reads the archived rows of one database; raises as `LongTermMemory`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get_goal(self, goal_id: str) -> Goal | None:
        """An archived goal; None where there is none."""
        return await self._one(_GOALS, goal_id)

    async def get_goals(self, count: int = 100, status: str | None = None) -> list[Goal]:
        """The goals that were completed last, newest first; of one status where that is given."""
        return await self._many(_GOALS, "completed_at DESC, row DESC", count, status=status)

    async def get_tasks_for_goal(self, goal_id: str) -> list[Task]:
        """The archived tasks of a goal, in the order in which they were stored."""
        return await self._all(_TASKS, "goal_id", goal_id)

    async def get_tool_calls_for_task(self, task_id: str) -> list[ToolCall]:
        """The archived uses of tools for a task, in the order in which they were stored."""
        return await self._all(_TOOL_CALLS, "task_id", task_id)

    async def get_decision(self, decision_id: str) -> Decision | None:
        """An archived decision; None where there is none."""
        return await self._one(_DECISIONS, decision_id)

    async def get_events(self, count: int = 100, category: str | None = None, source: str | None = None) -> list[Event]:
        """The last archived events, newest first; of one category, or source, where that is given."""
        return await self._many(_EVENTS, "timestamp DESC, row DESC", count, category=category, source=source)

    async def get_metric_hours(self, name: str, count: int = 100) -> list[MetricHour]:
        """What a metric was in the last archived hours, newest first."""
        return await self._many(_METRICS, "hour DESC, row DESC", count, name=name)

    async def get_summary(self, goal_id: str) -> str | None:
        """What the summary hook made of an archived goal; None where it made nothing, or there is no such goal."""
        key = validate_id(goal_id)

        def read(connection: Connection) -> str | None:
            row = connection.execute(_GOALS.by_key, (key,)).fetchone()
            if row is None:
                return None
            _GOALS.verify(row, self._database.path)
            summary: str | None = _GOALS.extras(row)["summary"]
            return summary

        return await self._database.run(read)

    async def _one(self, table: Table[R], key: str) -> R | None:
        found = await self._read(table, "WHERE id = ?", [validate_id(key)])
        return found[0] if found else None

    async def _all(self, table: Table[R], column: str, key: str) -> list[R]:
        return await self._read(table, f"WHERE {column} = ? ORDER BY row", [validate_id(key)])

    async def _many(self, table: Table[R], order: str, count: int, **equal: str | None) -> list[R]:
        require_positive("count", count)
        given = {column: value for column, value in equal.items() if value is not None}
        where = f"WHERE {' AND '.join(f'{column} = ?' for column in given)} " if given else ""
        return await self._read(table, f"{where}ORDER BY {order} LIMIT ?", [*given.values(), count])

    async def _read(self, table: Table[R], rest: str, values: Sequence[Any]) -> list[R]:
        def read(connection: Connection) -> list[R]:
            rows = connection.execute(table.select(rest), values).fetchall()
            return [table.decode(row, self._database.path) for row in rows]

        return await self._database.run(read)
