"""The commands of `tiers`: what they print, how they end, and that those which only read work beside a running program."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from command_lines import Called, Outcome, Program

from synthians_memory import MemoryPersistence
from synthians_memory.errors import DiskFullError
from synthians_memory.testing.clock import ManualClock
from synthians_memory.tiers import Decision, Event, Goal, Incident, Knowledge, Pattern, Task, Tiers


@pytest.fixture
def made(call: Called) -> Called:
    assert call("init").code == 0
    return call


def one(outcome: Outcome, name: str) -> dict[str, Any]:
    assert outcome.code == 0, outcome
    assert list(outcome.json) == [name]
    (row,) = outcome.json[name]
    return dict(row)


def ids(outcome: Outcome, name: str) -> list[str]:
    assert outcome.code == 0, outcome
    return [row["id"] for row in outcome.json[name]]


# Rows


def test_goals_are_stored_shown_and_ended(made: Called) -> None:
    stored = one(made("tiers", "goal", "Sort", "--id", "sort", "--metadata", "by=date", "--metadata", "n=3"), "goals")
    assert (stored["status"], stored["priority"], stored["metadata"]) == ("pending", 2, {"by": "date", "n": 3})
    one(made("tiers", "goal", "Burn", "--id", "burn", "--priority", "0"), "goals")
    assert ids(made("tiers", "goal"), "goals") == ["burn", "sort"]
    ended = one(made("tiers", "goal", "--id", "sort", "--status", "completed", "--result", "[1]"), "goals")
    assert (ended["result"], ended["completed_at"] >= ended["created_at"]) == ([1], True)
    assert ids(made("tiers", "goal"), "goals") == ["burn"]
    assert one(made("tiers", "goal", "--id", "sort"), "goals") == ended


def test_tasks_are_stored_changed_and_shown(made: Called) -> None:
    one(made("tiers", "goal", "Sort", "--id", "sort"), "goals")
    first = one(made("tiers", "task", "Open", "--goal", "sort", "--id", "open", "--input", '{"n": 1}'), "tasks")
    assert (first["goal_id"], first["input"], first["agent"]) == ("sort", {"n": 1}, None)
    changes = ("--status", "failed", "--error", "torn", "--duration-ms", "12", "--agent", "ada")
    changed = one(made("tiers", "task", "--goal", "sort", "--id", "open", *changes), "tasks")
    assert {**first, **changed} == changed
    assert (changed["input"], changed["error"], changed["duration_ms"]) == ({"n": 1}, "torn", 12)
    assert one(made("tiers", "task", "--goal", "sort", "--id", "open"), "tasks") == changed
    second = one(made("tiers", "task", "Close", "--goal", "sort"), "tasks")
    assert ids(made("tiers", "task", "--goal", "sort"), "tasks") == ["open", second["id"]]


def test_decisions_are_logged_and_found(made: Called) -> None:
    arguments = ("--chosen", "green", "--option", "green", "--option", '{"black": 1}', "--level", "tactical")
    logged = one(made("tiers", "decision", "which tea", *arguments, "--model", "m", "--id", "tea"), "decisions")
    assert (logged["options"], logged["intelligence_level"]) == (["green", {"black": 1}], "tactical")
    one(made("tiers", "decision", "which road", "--chosen", "the long one", "--id", "road"), "decisions")
    assert ids(made("tiers", "decision", "a cup of tea", "--limit", "1"), "decisions") == ["tea"]


def test_patterns_are_stored_counted_and_found(made: Called) -> None:
    known = ("--success-rate", "0.8", "--uses", "10", "--id", "p")
    one(made("tiers", "pattern", "Disk FULL", "--action", "free space", *known), "patterns")
    counted = one(made("tiers", "pattern", "--id", "p", "--success"), "patterns")
    assert (counted["success_rate"], counted["uses"]) == (pytest.approx(9 / 11), 11)
    assert one(made("tiers", "pattern", "--id", "p", "--failure"), "patterns")["success_rate"] < 9 / 11
    assert ids(made("tiers", "pattern", "full"), "patterns") == ["p"]
    assert ids(made("tiers", "pattern", "full", "--min-success-rate", "0.99"), "patterns") == []


def test_events_are_pushed_once_and_shown(made: Called) -> None:
    event = ("tiers", "push", "--category", "mail", "--source", "clerk", "--id", "e")
    pushed = one(made(*event, "--data", "n=1", "--critical"), "events")
    assert (pushed["data"], pushed["critical"]) == ({"n": 1}, True)
    assert made(*event, "--data", "n=2").code == 0
    one(made("tiers", "push", "--category", "disk", "--source", "clerk"), "events")
    assert one(made("tiers", "recent", "--category", "mail"), "events") == pushed
    assert len(ids(made("tiers", "recent", "--source", "clerk"), "events")) == 2
    assert len(ids(made("tiers", "recent", "--limit", "1"), "events")) == 1


# Searching and context


async def filled(path: Path) -> None:
    async with MemoryPersistence(path) as store, Tiers(store) as tiers:
        await tiers.working.store_goal(Goal(id="g", description="water the garden"))
        await tiers.working.store_task(Task(id="t", goal_id="g", description="water the roses"))
        await tiers.working.log_decision(Decision(id="d", context="how to water", chosen="with the can"))
        await tiers.working.store_pattern(Pattern(id="p", trigger="water", action="use the can"))
        await tiers.longterm.store_incident(Incident(id="i", description="the garden was under water"))
        await tiers.longterm.add_knowledge(Knowledge(id="k", title="water", content="ten litres of water"))
        await tiers.working.store_event(Event(id="e", category="mail", source="clerk", data={"n": 7}))


async def test_search_names_its_collections(call: Called) -> None:
    await filled(call.store)
    found = await _in_thread(call, "tiers", "search", "water", "garden")
    assert [(hit["collection"], hit["id"]) for hit in found.json["results"]] == [("incidents", "i"), ("decisions", "d")]
    known = await _in_thread(call, "tiers", "search", "water", "--collection", "knowledge", "--min-relevance", "0.1")
    assert ids(known, "results") == ["k"]
    outcome = await _in_thread(call, "tiers", "search", "water", "--collection", "goals")
    outcome.failed(2, "there is no collection 'goals'", "knowledge")


async def test_context_is_of_all_tiers_within_the_budget(call: Called, tmp_path: Path) -> None:
    await filled(call.store)
    whole = await _in_thread(call, "tiers", "context", "water", "the", "garden")
    sources = [chunk["source"] for chunk in whole.json["chunks"]]
    assert sources == ["operational", *["working"] * 4, "longterm", "knowledge"]
    assert 'mail from clerk {"n": 7}' in whole.json["chunks"][0]["content"]
    small = await _in_thread(call, "tiers", "context", "water", "--max-tokens", "12", "--tier", "working")
    assert 0 < small.json["total_tokens"] <= 12 == small.json["max_tokens"]
    (await _in_thread(call, "tiers", "context", "water", "--tier", "all")).failed(2, "no tier 'all'", "knowledge")
    outcome = await _in_thread(call, "tiers", "context", "water", "--tokenizer", str(tmp_path / "none.json"))
    outcome.failed(6, "none.json")


async def _in_thread(call: Called, *args: str) -> Outcome:
    """The program has an event loop of its own, which cannot be in that of a test."""
    return await asyncio.to_thread(call, *args)


# Care


async def test_migrate_tells_what_it_moved(call: Called) -> None:
    clock = ManualClock()
    async with MemoryPersistence(call.store) as store, Tiers(store, clock=clock) as tiers:
        await tiers.working.store_goal(Goal(id="g", description="water", status="completed"))
        await tiers.working.store_task(Task(id="t", goal_id="g", description="roses"))
    moved = await _in_thread(call, "tiers", "migrate")
    assert (moved.code, moved.json["goals"], moved.json["tasks"], moved.json["total"]) == (0, 1, 1, 2)
    assert (await _in_thread(call, "tiers", "migrate")).json["total"] == 0
    assert (await _in_thread(call, "tiers", "vacuum")).json == {"freed_bytes": 0}


async def test_reading_works_beside_a_program_and_writing_does_not(tmp_path: Path, call: Called) -> None:
    await filled(call.store)
    reading = (
        ("goal",),
        ("task", "--goal", "g"),
        ("decision", "water"),
        ("pattern", "water"),
        ("recent",),
        ("search", "water"),
    )
    async with MemoryPersistence(call.store) as store, Tiers(store) as tiers:
        await tiers.working.store_goal(Goal(id="h", description="new"))
        for command in (*reading, ("context", "water")):
            assert (await _in_thread(call, "tiers", *command)).code == 0, command
        assert ids(await _in_thread(call, "tiers", "goal"), "goals") == ["g", "h"]
        for command in (("goal", "x"), ("push", "--category", "c", "--source", "s"), ("migrate",), ("vacuum",)):
            (await _in_thread(call, "tiers", *command)).failed(4, "is held by")


# Misuse


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("goal", "--status", "completed"), 2, "--status needs the goal"),
        (("goal", "--id", "none"), 3, "no goal 'none'"),
        (("goal", "--id", "none", "--status", "failed"), 3, "none"),
        (("goal", "x", "--status", ""), 2, "status"),
        (("task", "x", "--goal", "none"), 3, "none"),
        (("task", "--goal", "none", "--id", "t"), 3, "no task 't' of 'none'"),
        (("task", "--goal", "none", "--agent", "ada"), 2, "a change needs the task"),
        (("task", "x"), 2, "--goal"),
        (("decision", "x", "--option", "y"), 2, "with --chosen only"),
        (("decision", "x", "--chosen", "y", "--level", "high"), 2, "high"),
        (("pattern",), 2, "write TEXT"),
        (("pattern", "--action", "a"), 2, "--action needs TEXT"),
        (("pattern", "--success"), 2, "need --id"),
        (("pattern", "x", "--uses", "1"), 2, "need --action"),
        (("pattern", "x", "--action", "a", "--id", "i", "--success"), 2, "write TEXT"),
        (("pattern", "--id", "none", "--failure"), 3, "none"),
        (("push", "--category", "c", "--source", "s", "--data", "n"), 2, "no KEY=VALUE"),
        (("push", "--category", "c"), 2, "--source"),
        (("context", "x", "--max-tokens", "-1"), 2, "max-tokens"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)
def test_misuse_is_told(made: Called, arguments: tuple[str, ...], code: int, message: str) -> None:
    made("tiers", *arguments).failed(code, message)


@pytest.mark.parametrize("command", ["goal", "migrate", "recent"])
def test_without_a_store_there_is_nothing(call: Called, command: str) -> None:
    call("tiers", command).failed(3, "holds no store")
    assert not call.store.exists()


def test_a_store_whose_tiers_were_never_opened_has_empty_ones(made: Called) -> None:
    assert ids(made("tiers", "goal"), "goals") == []
    assert ids(made("tiers", "recent"), "events") == []
    assert made("tiers", "search", "x").json == {"results": []}
    assert not (made.store / "tiers").exists()


def test_a_disk_that_is_full_ends_with_its_code(made: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object, **__: object) -> None:
        raise DiskFullError("no space left")

    monkeypatch.setattr("synthians_memory.tiers.working.WorkingMemory.store_goal", full)
    made("tiers", "goal", "x").failed(6, "no space left", "Free space")


# For people


def test_tables_on_a_terminal(made: Called) -> None:
    assert "nothing found" in made.on_terminal("tiers", "goal").out
    shown = made.on_terminal("tiers", "goal", "Sort \x1b[2Jletters", "--id", "sort")
    assert shown.code == 0
    assert "sort" in shown.out
    assert "\x1b[2J" not in shown.out
    assert "description" in made.on_terminal("tiers", "goal").out
    assert "metadata" not in made.on_terminal("tiers", "goal").out
    made("tiers", "decision", "which tea", "--chosen", "green")
    assert "decisions" in made.on_terminal("tiers", "search", "tea").out
    assert "of 4,000 tokens" in made.on_terminal("tiers", "context", "tea").out
    assert "total" in made.on_terminal("tiers", "migrate").out
    assert "gave back 0 bytes" in made.on_terminal("tiers", "vacuum").out


def test_as_a_process_of_its_own(program: Program) -> None:
    assert program("--store", "s", "init").code == 0
    pushed = program("--store", "s", "tiers", "push", "--category", "c", "--source", "s", "--critical")
    assert json.loads(pushed.out)["events"][0]["critical"] is True
    assert len(json.loads(program("--store", "s", "tiers", "recent").out)["events"]) == 1
    assert program("--store", "s", "check").code == 0
