"""A program that stores, logs decisions and migrates until it is killed, tells what was acknowledged; and what must hold then."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
from pathlib import Path
from typing import Any

from collection_samples import word_embedder
from working_samples import ids_in, working_memory

from synthians_memory import MemoryPersistence
from synthians_memory.errors import EntityNotFoundError, UsageError
from synthians_memory.tiers.collections import Collections
from synthians_memory.tiers.migration import Ages, finish
from synthians_memory.tiers.reconciliation import reconcile
from synthians_memory.tiers.records import Decision, Event, Goal, Record, Task, ToolCall
from synthians_memory.tiers.tables import ARCHIVED, DECISIONS, EVENTS, GOALS, TASKS, TOOL_CALLS, Table
from synthians_memory.tiers.working import WorkingMemory
from synthians_memory.times import SystemClock

# Where a recorded disk takes what was acknowledged; the descriptor is the third argument.
MARKS = socket.socket(fileno=int(sys.argv[3])) if __name__ == "__main__" and len(sys.argv) > 3 else None
TABLES: tuple[Table[Any], ...] = (GOALS, TASKS, TOOL_CALLS, DECISIONS, EVENTS)


def tell(table: Table[Any], record: Record) -> None:
    line = json.dumps({"table": table.name, "id": record.key, "record": record.to_dict()})
    if MARKS is not None:
        MARKS.send(line.encode())
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def work(memory: WorkingMemory, chance: random.Random, run: int) -> None:
    """One step: a few writes of one kind, or a migration of whatever is finished."""
    number = chance.randrange(10**6)
    name = f"{run}-{number}"
    kind = chance.choice(["goal", "goal", "goal", "decision", "decision", "events", "migrate"])
    if kind == "goal":
        goal = await memory.store_goal(Goal(id=name, description=f"reach {number}", priority=number % 5))
        tell(GOALS, goal)
        for step in range(chance.randrange(3)):
            task = await memory.store_task(Task(id=f"{name}-t{step}", goal_id=name, description=f"step {step}"))
            tell(TASKS, task)
            call = ToolCall(id=f"{name}-t{step}-c", task_id=task.key, tool_name="tool", success=bool(step))
            tell(TOOL_CALLS, await memory.store_tool_call(call))
        if chance.random() < 0.7:
            tell(GOALS, await memory.update_goal(name, "completed", {"n": number}))
    elif kind == "decision":
        tell(DECISIONS, await memory.log_decision(Decision(id=name, context=f"disk {number}", chosen="wait")))
    elif kind == "events":
        for event in await memory.store_events([Event(id=f"{name}-{n}", category="c", source="s") for n in range(5)]):
            tell(EVENTS, event)
    else:
        await memory.migrate_old_entries(ages=Ages(goals=0, decisions=0, events=0))


async def run(place: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with (
        MemoryPersistence(place, embedder=word_embedder()) as store,
        working_memory(place, SystemClock(), Collections(store)) as memory,  # type: ignore[arg-type]
    ):
        assert memory.archive is not None
        await finish(memory)
        await reconcile(Collections(store), memory.database, memory.archive)
        while True:
            await asyncio.gather(*(work(memory, chance, seed) for _ in range(3)))


async def verified(place: Path, acknowledged: dict[str, Any]) -> None:
    """Hold a store whose program was killed against what it acknowledged; it is open and whole afterwards."""
    before = ids_in(place)
    async with (
        MemoryPersistence(place, embedder=word_embedder()) as store,
        working_memory(place, None, Collections(store)) as memory,
    ):
        assert memory.archive is not None
        await finish(memory)
        report = await reconcile(Collections(store), memory.database, memory.archive)
        assert (report.left, report.failure) == ((), "")
        found = {
            f"{table.name} {key}": records for table in TABLES for key, records in (await _all(memory, table)).items()
        }
        for name, record in acknowledged.items():
            assert name in found, f"{name} is lost"
            assert len(found[name]) == 1, f"{name} is in both places"
            if found[name] != [record]:
                # The last word of the program may have been carried out, and not acknowledged.
                assert name.startswith("goals "), name
                assert (record["status"], found[name][0]["status"]) == ("pending", "completed"), name
        decisions = {name.partition(" ")[2] for name in found if name.startswith("decisions ")}
        assert set(await store.list_memories()) == {f"decisions-{key}" for key in decisions}
        assert [f for f in await store.verify_consistency() if f.severity != "note"] == []
    places = ids_in(place)
    for table in ("goals", "tasks", "tool_calls", "decisions", "events"):
        assert not places[table][0] & places[table][1]
        assert before[table][0] | before[table][1] == places[table][0] | places[table][1]
    for key in places["tasks"][0]:
        assert key.rpartition("-t")[0] in places["goals"][0]
    for key in places["tasks"][1]:
        assert key.rpartition("-t")[0] in places["goals"][1]


async def _all(memory: WorkingMemory, table: Table[Any]) -> dict[str, list[Any]]:
    assert memory.archive is not None
    found: dict[str, list[Any]] = {}
    for database, place in ((memory.database, table), (memory.archive, ARCHIVED[table.name])):
        rows = await database.run(lambda c, place=place: c.execute(place.select()).fetchall())  # type: ignore[misc]
        for record in (place.decode(row, database.path) for row in rows):
            found.setdefault(record.key, []).append(record.to_dict())
    return found


if __name__ == "__main__":
    try:
        asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
    except (UsageError, EntityNotFoundError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
