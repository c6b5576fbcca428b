"""Working memory: the goals, tasks, tool calls, decisions, patterns and states that an agent works with now.

It is not a log: storing a record again replaces it. What is finished and old goes to the archive (`migration`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from synthians_memory.engine.searching import require_positive
from synthians_memory.json_values import JsonObject, JsonValue, checked_text
from synthians_memory.layout import validate_id
from synthians_memory.models import random_id
from synthians_memory.tiers.collections import Collections
from synthians_memory.tiers.database import Database
from synthians_memory.tiers.descriptions import row_memory
from synthians_memory.tiers.migration import Ages, MigrationReport, Summarise, migrate
from synthians_memory.tiers.records import AgentState, Decision, Goal, Pattern, Record, Task, ToolCall
from synthians_memory.tiers.relevance import Relevant, matches, relevant
from synthians_memory.tiers.tables import (
    AGENT_STATES,
    ARCHIVED,
    DECISIONS,
    GOALS,
    PATTERNS,
    TASKS,
    TOOL_CALLS,
    WORKING,
    Table,
)
from synthians_memory.tiers.values import FINAL_STATUSES, FRACTION, STATUS
from synthians_memory.tiers.working_events import WorkingEvents
from synthians_memory.times import Clock

__all__ = ["WorkingMemory"]

F = TypeVar("F", Goal, Task)
R = TypeVar("R", bound=Record)

_ACTIVE: Final = "WHERE {} ORDER BY priority, created_at, row".format(
    GOALS.partial["goals_active"].partition(" WHERE ")[2]
)
_BEST_WITH: Final = (
    "SELECT id FROM patterns WHERE instr(trigger_folded, ?) > 0 AND success_rate >= ?"
    " ORDER BY success_rate DESC, uses DESC, id LIMIT 1"
)


class WorkingMemory(WorkingEvents):
    """What `tiers/working.db` of a store holds. Any number of tasks may use it.

    Every write is durable when it returns, and whole where it is interrupted. Storing is an upsert: a record whose id
    is stored takes the place of what is there, and an id or a time that it leaves open is taken from there. A record that
    was migrated is not changed any more: UsageError.

    Every read holds each row against its hash: DamagedRowError where one is not what was written. Besides, all methods
    raise what `Database.run` and `Database.transact` do.
    """

    def __init__(
        self,
        database: Database,
        collections: Collections | None = None,
        clock: Clock | None = None,
        ids: Callable[[], str] = random_id,
        *,
        archive: Database | None = None,
    ) -> None:
        """Args:
        database: working memory's; opened and closed by the caller.
        collections: where the memories of decisions are; None: decisions are found by their words.
        clock: source of times.
        ids: source of ids.
        archive: the long-term database; None: nothing is migrated.
        """
        super().__init__(database, clock, ids, archive)
        self._collections = collections

    # Goals and tasks

    async def store_goal(self, goal: Goal) -> Goal:
        """Store a goal; a final status stamps `completed_at`, unless it has one already. Returns it as stored."""
        return await self.database.transact(lambda connection: self._put(connection, GOALS, goal, self._finished))

    async def update_goal(self, id: str, status: str, result: JsonValue = None) -> Goal:  # noqa: A002 - the field's name
        """Change the status of a goal, and its result unless that is None; returns it as stored.

        A goal that gets a final status is stamped with `completed_at`; one that loses it is without again.

        Raises:
            EntityNotFoundError: working memory has no such goal.
        """
        key, status = validate_id(id), STATUS.checked(status, "status")

        def change(connection: sqlite3.Connection) -> Goal:
            goal = self._require(connection, GOALS, key)
            kept = goal.completed_at if status in FINAL_STATUSES else None
            values = {"status": status, "completed_at": kept, "result": goal.result if result is None else result}
            return self._put(connection, GOALS, replace(goal, **values), self._finished)

        return await self.database.transact(change)

    async def get_goal(self, id: str) -> Goal | None:  # noqa: A002 - the field's name
        """The goal; None where working memory has none of that id."""
        return await self._get(GOALS, id)

    async def get_active_goals(self) -> list[Goal]:
        """The goals without a final status: the most urgent first, of equal priority the oldest."""
        return await self.database.run(lambda connection: self._many(connection, GOALS, _ACTIVE))

    async def store_task(self, task: Task) -> Task:
        """Store a task; a final status stamps `completed_at`, unless it has one already. Returns it as stored.

        Raises:
            EntityNotFoundError: working memory does not have its goal.
        """

        def store(connection: sqlite3.Connection) -> Task:
            self._require_parent(connection, GOALS, task.goal_id)
            return self._put(connection, TASKS, task, self._finished)

        return await self.database.transact(store)

    async def get_tasks_for_goal(self, goal_id: str) -> list[Task]:
        """The tasks of a goal, in the order in which they were first stored."""
        return await self._list(TASKS, "WHERE goal_id = ? ORDER BY row", validate_id(goal_id, "goal_id"))

    async def store_tool_call(self, call: ToolCall) -> ToolCall:
        """Store one use of a tool; returns it as stored.

        Raises:
            EntityNotFoundError: working memory does not have its task.
        """

        def store(connection: sqlite3.Connection) -> ToolCall:
            self._require_parent(connection, TASKS, call.task_id)
            return self._put(connection, TOOL_CALLS, call)

        return await self.database.transact(store)

    async def get_tool_calls_for_task(self, task_id: str) -> list[ToolCall]:
        """The uses of tools for a task, in the order in which they were first stored."""
        return await self._list(TOOL_CALLS, "WHERE task_id = ? ORDER BY row", validate_id(task_id, "task_id"))

    def _finished(self, record: F, previous: F | None) -> F:
        if record.status not in FINAL_STATUSES or record.completed_at is not None:
            return record
        known = previous.completed_at if previous is not None and previous.status in FINAL_STATUSES else None
        return replace(record, completed_at=self.now() if known is None else known)

    # Decisions

    async def log_decision(self, decision: Decision) -> Decision:
        """Store a decision, and when it is durable its memory, by which it is found; returns it as stored.

        Where only the memory cannot be saved, the error is raised, and the memory is made when the tiers are opened again.
        """
        named = decision if decision.id is not None else replace(decision, id=self.ids())
        if self._collections is not None:
            # With its time already, so that row and memory have the same one.
            named = await self.database.run(lambda connection: self._as_it_will_be(connection, named))
        stored = named

        async def write() -> Decision:
            return await self.database.transact(lambda connection: self._put(connection, DECISIONS, stored))

        if self._collections is None:
            return await write()
        return await self._collections.store_row(row_memory(stored), write)

    def _as_it_will_be(self, connection: sqlite3.Connection, decision: Decision) -> Decision:
        return self._filled(decision, self._previous(connection, DECISIONS, decision.key))

    async def find_similar_decisions(self, context: str, limit: int = 5) -> list[Decision]:
        """The decisions nearest in meaning to `context`, best first, those that were migrated among them.

        Without collections: those of working memory that have its words.
        """
        checked_text(context, "context")
        require_positive("limit", limit)
        if self._collections is None:
            return await self.database.run(lambda connection: self._decisions_with(connection, context, limit))
        found = await self._collections.search(context, ["decisions"], limit)
        return await self._decisions([result.id for result in found])

    def _decisions_with(self, connection: sqlite3.Connection, text: str, limit: int) -> list[Decision]:
        shares = matches(connection, text, DECISIONS)
        best = sorted(shares, key=lambda place: (-shares[place], -place[1]))[:limit]
        return [decision for _, row in best for decision in self._many(connection, DECISIONS, "WHERE row = ?", row)]

    async def _decisions(self, ids: Sequence[str]) -> list[Decision]:
        """Those of `ids` that are in working memory or in the archive, in order."""
        known = {decision.key: decision for decision in await self._each(self.database, DECISIONS, ids)}
        missing = [key for key in ids if key not in known]
        if missing and self.archive is not None:
            archived = await self._each(self.archive, ARCHIVED[DECISIONS.name], missing)
            known.update({decision.key: decision for decision in archived})
        return [known[key] for key in ids if key in known]

    async def _each(self, database: Database, table: Table[Decision], ids: Sequence[str]) -> list[Decision]:
        def read(connection: sqlite3.Connection) -> list[Decision]:
            rows = (connection.execute(table.by_key, (key,)).fetchone() for key in ids)
            return [table.decode(row, database.path) for row in rows if row is not None]

        return await database.run(read)

    # Patterns and states

    async def store_pattern(self, pattern: Pattern) -> Pattern:
        """Store a pattern; returns it as stored."""
        return await self.database.transact(lambda connection: self._put(connection, PATTERNS, pattern))

    async def find_pattern(self, trigger: str, min_success_rate: float = 0.0) -> Pattern | None:
        """The best pattern whose trigger has `trigger` in it, by its characters and whatever their case; None without one.

        The best is the one of the highest success rate, of these the one with the most uses, of these the first by id.

        Args:
            trigger: any text; no character stands for others.
            min_success_rate: 0 to 1; those below it do not count.
        """
        folded = checked_text(trigger, "trigger").casefold()
        least = FRACTION.checked(min_success_rate, "min_success_rate")

        def read(connection: sqlite3.Connection) -> Pattern | None:
            best = connection.execute(_BEST_WITH, (folded, least)).fetchone()
            return None if best is None else self._one(connection, PATTERNS, best[0])

        return await self.database.run(read)

    async def update_pattern_stats(self, id: str, success: bool) -> Pattern:  # noqa: A002 - the field's name
        """Count one more use of a pattern: `success_rate` is the mean over all uses. Returns it as stored.

        Raises:
            EntityNotFoundError: there is no such pattern.
        """
        key = validate_id(id)

        def change(connection: sqlite3.Connection) -> Pattern:
            pattern = self._require(connection, PATTERNS, key)
            uses = pattern.uses + 1
            rate = min((pattern.success_rate * pattern.uses + bool(success)) / uses, 1.0)
            counted = replace(pattern, success_rate=rate, uses=uses, last_used=self.now())
            return self._put(connection, PATTERNS, counted)

        return await self.database.transact(change)

    async def store_agent_state(self, agent_name: str, state: JsonObject) -> AgentState:
        """Store the present state of an agent, in place of the one before; returns it as stored."""
        given = AgentState(agent_name=agent_name, state=state)
        return await self.database.transact(lambda connection: self._put(connection, AGENT_STATES, given))

    async def get_agent_state(self, agent_name: str) -> AgentState | None:
        """The state that an agent gave last; None where it gave none."""
        return await self._get(AGENT_STATES, agent_name)

    # Everything

    async def find_relevant(self, task_description: str, limit: int = 5) -> list[Relevant]:
        """The goals, tasks, decisions and patterns of working memory that a text is about, best first.

        Rows are found by their words (`tiers.relevance`), decisions by their meaning as well, and count by the better of
        the two. Of equal relevance: goals, tasks, decisions, patterns, of each the latest first. The same rows give the same answer.
        """
        checked_text(task_description, "task_description")
        require_positive("limit", limit)
        near: Mapping[str, float] = {}
        if self._collections is not None:
            found = await self._collections.search(task_description, ["decisions"], limit)
            near = {result.id: result.relevance for result in found}
        return await self.database.run(lambda connection: self._relevant(connection, task_description, near, limit))

    def _relevant(
        self, connection: sqlite3.Connection, text: str, near: Mapping[str, float], limit: int
    ) -> list[Relevant]:
        shares = matches(connection, text)
        for key, share in near.items():
            found = connection.execute("SELECT row FROM decisions WHERE id = ?", (key,)).fetchone()
            if found is not None:
                place = DECISIONS, int(found[0])
                shares[place] = max(share, shares.get(place, 0.0))
        best = sorted(shares, key=lambda place: (-shares[place], WORKING.searched.index(place[0]), -place[1]))[:limit]
        return [
            relevant(record, shares[table, row])
            for table, row in best
            for record in self._many(connection, table, "WHERE row = ?", row)
        ]

    async def migrate_old_entries(
        self,
        cutoff: int | None = None,
        *,
        ages: Ages | None = None,
        now: int | None = None,
        summarise: Summarise | None = None,
        progress: Callable[[MigrationReport], None] | None = None,
    ) -> MigrationReport:
        """Move what is finished and old to the archive (see `migration.migrate`).

        Args:
            cutoff: what was finished at this time or before, in Unix seconds; None: by `ages`.
            ages: how old rows of each kind must be; default 30 days.
            now: when they are that old, in Unix seconds; None: by the clock.
            summarise: gives a summary of a record, which is kept beside it.
            progress: called after each batch with the report so far.

        Raises:
            UsageError: there is no archive.
        """
        return await migrate(self, cutoff, ages=ages, now=now, summarise=summarise, progress=progress)

    async def vacuum(self) -> None:
        """Give the space of deleted rows back to the disk."""
        await self.database.vacuum()

    # The common parts

    async def _get(self, table: Table[R], key: str) -> R | None:
        checked = validate_id(key, table.key)
        return await self.database.run(lambda connection: self._one(connection, table, checked))

    async def _list(self, table: Table[R], rest: str, *values: Any) -> list[R]:
        return await self.database.run(lambda connection: self._many(connection, table, rest, *values))
