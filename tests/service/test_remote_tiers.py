"""RemoteTiers gives what Tiers gives: the same calls on both, on stores that are alike."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest

from synthians_memory import MemoryPersistence
from synthians_memory.entrypoints.grpc_client import RemoteMemoryPersistence, RemoteTiers
from synthians_memory.entrypoints.grpc_server.memory_service import registration
from synthians_memory.entrypoints.grpc_server.server import Server
from synthians_memory.entrypoints.grpc_server.settings import ServiceSettings
from synthians_memory.errors import InvalidTypeError, InvalidValueError, SynthiansMemoryError
from synthians_memory.testing.clock import ManualClock
from synthians_memory.tiers import (
    ConfigChange,
    Decision,
    Event,
    Goal,
    Incident,
    Knowledge,
    Pattern,
    Procedure,
    Task,
    Tiers,
    ToolCall,
)

Call = Callable[[Any], Any]


@asynccontextmanager
async def opened(path: Path, *, remote: bool) -> AsyncIterator[Any]:
    clock, ids = ManualClock(), (f"id{n}" for n in itertools.count())
    async with (
        MemoryPersistence(path, clock=clock) as store,
        Tiers(store, clock=clock, ids=lambda: next(ids)) as tiers,
    ):
        if not remote:
            yield tiers
            return
        async with (
            Server(store, ServiceSettings(port=0), register=[registration(tiers)]) as server,
            RemoteMemoryPersistence(f"127.0.0.1:{server.port}") as client,
        ):
            yield RemoteTiers(client)


DAY: tuple[Call, ...] = (
    lambda t: t.push_event(Event(id="e1", category="build", source="ci", data={"ok": [1, None]})),
    lambda t: t.push_event(Event(id="e2", category="disk", source="host", critical=True)),
    lambda t: t.push_event(Event(id="e2", category="disk", source="host", critical=True)),
    lambda t: t.operational.recent(),
    lambda t: t.operational.recent(1, category="build"),
    lambda t: t.operational.recent(source="nobody"),
    lambda t: t.operational.recent(-1),
    lambda t: t.operational.update_metric("load", 0.5),
    lambda t: t.operational.metric("load"),
    lambda t: t.operational.metric("none"),
    lambda t: t.operational.snapshot(),
    lambda t: t.working.store_goal(Goal(id="g", description="mend the disk", priority=1, metadata={"ü": 1})),
    lambda t: t.working.store_goal(Goal(id="h", description="write it down", result={"x": None})),
    lambda t: t.working.get_active_goals(),
    lambda t: t.working.store_task(Task(id="t", goal_id="g", description="find the cause", input=[1.5])),
    lambda t: t.working.store_task(Task(id="t", goal_id="g", description="find it", status="failed", error="no")),
    lambda t: t.working.store_task(Task(id="x", goal_id="nowhere", description="d")),
    lambda t: t.working.get_tasks_for_goal("g"),
    lambda t: t.working.store_tool_call(ToolCall(id="c", task_id="t", tool_name="df", success=True, output="100%")),
    lambda t: t.working.log_decision(Decision(id="d", context="which cache", options=["a", 2], chosen="a")),
    lambda t: t.working.store_pattern(Pattern(id="p", trigger="Disk FULL", action="rm", success_rate=0.8, uses=10)),
    lambda t: t.working.find_pattern("disk full", 0.5),
    lambda t: t.working.find_pattern("disk full", 0.95),
    lambda t: t.working.update_pattern_stats("p", True),
    lambda t: t.working.update_pattern_stats("nobody", False),
    lambda t: t.working.store_agent_state("planner", {"step": 3}),
    lambda t: t.working.get_agent_state("planner"),
    lambda t: t.working.get_agent_state("nobody"),
    lambda t: t.working.update_goal("g", "completed", {"by": "hand"}),
    lambda t: t.working.update_goal("g", "cancelled"),
    lambda t: t.longterm.store_procedure(Procedure(id="r", name="rotate logs", steps=["mv"], avg_duration_ms=2.5)),
    lambda t: t.longterm.store_incident(Incident(id="i", description="logs filled the disk", symptoms=["slow"])),
    lambda t: t.longterm.store_config_change(ConfigChange(id="f", file_path="/etc/x", content="daily")),
    lambda t: t.longterm.add_knowledge(Knowledge(id="k", title="logs", content="where they are", tags=("ops",))),
    lambda t: t.longterm.semantic_search("logs"),
    lambda t: t.longterm.semantic_search("logs", ["knowledge"], 1),
    lambda t: t.longterm.semantic_search("logs", ["secrets"]),
    lambda t: t.longterm.semantic_search("logs", None, 5, 0.99),
    lambda t: t.longterm.search_knowledge("logs"),
    lambda t: t.assemble_context("the logs fill the disk", 300),
    lambda t: t.assemble_context("logs", 10**12, ("long_term", "knowledge")),
    lambda t: t.assemble_context("logs", 300, ()),
    lambda t: t.assemble_context("logs", -1),
    lambda t: t.assemble_context("logs", 300, ("cloud",)),
)


async def answer(call: Call, tiers: Any) -> Any:
    try:
        found = call(tiers)
        return await found if isawaitable(found) else found
    except SynthiansMemoryError as error:
        return type(error), str(error)


async def test_a_day_gives_the_same_on_both(tmp_path: Path) -> None:
    days = []
    for remote in (False, True):
        async with opened(tmp_path / f"remote {remote}", remote=remote) as tiers:
            days.append([await answer(call, tiers) for call in DAY])
    for number, (own, remote_one) in enumerate(zip(*days, strict=True)):
        assert comparable(own) == comparable(remote_one), number


def comparable(value: Any) -> Any:
    """Without what the service alone cannot know: the largest budget is what a message carries."""
    return value.chunks if hasattr(value, "chunks") and value.max_tokens > 2**31 - 2 else value


async def test_a_task_that_is_worked_on_is_active_until_it_ends(tmp_path: Path) -> None:
    async with opened(tmp_path, remote=True) as tiers:
        await tiers.working.store_goal(Goal(id="g", description="d"))
        await tiers.working.store_task(
            Task(id="t", goal_id="g", description="find the cause", agent="a", status="running")
        )
        (active,) = (await tiers.operational.snapshot()).active_tasks
        assert (active.id, active.description, active.agent, active.status) == ("t", "find the cause", "a", "running")
        await tiers.working.store_task(Task(id="t", goal_id="g", description="find the cause", status="cancelled"))
        assert (await tiers.operational.snapshot()).active_tasks == ()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda t: t.working.store_goal("a goal"), InvalidTypeError),
        (lambda t: t.push_event({"category": "c"}), InvalidTypeError),
        (lambda t: t.working.get_tasks_for_goal(7), InvalidTypeError),
        (lambda t: t.operational.recent(2**40), InvalidValueError),
        (lambda t: t.working.store_agent_state("a", [1]), InvalidTypeError),
        (lambda t: t.longterm.semantic_search("q", None, "five"), InvalidTypeError),
        (lambda t: t.assemble_context("t", "many"), InvalidTypeError),
    ],
)
async def test_plain_misuse_is_one_of_the_librarys_errors(
    tmp_path: Path, call: Callable[[Any], Awaitable[Any]], error: type[Exception]
) -> None:
    async with opened(tmp_path, remote=True) as tiers:
        with pytest.raises(error):
            await call(tiers)
