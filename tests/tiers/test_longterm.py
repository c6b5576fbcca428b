"""Long-term memory: what is stored is given back, counted, found, and refused where it is wrong or damaged."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from collection_samples import opened, upserted, word_embedder
from hypothesis import given
from hypothesis import strategies as st

from synthians_memory.errors import (
    ConflictError,
    DamagedRowError,
    EntityNotFoundError,
    InvalidIdError,
    InvalidTypeError,
    InvalidValueError,
    ReadOnlyError,
    StoreClosedError,
)
from synthians_memory.models import MemoryEntry
from synthians_memory.tiers.longterm import _with_run
from synthians_memory.tiers.records import (
    ConfigChange,
    Decision,
    Event,
    Goal,
    Incident,
    Knowledge,
    MetricHour,
    Procedure,
    Task,
    ToolCall,
)
from synthians_memory.tiers.tables import ARCHIVED

NOW = 1_700_000_000


async def test_what_is_stored_is_filled_in_and_given_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        memory = rows.memory
        procedure = await memory.store_procedure(Procedure(name="deploy", steps=["build", {"run": 1}], tags=("ops",)))
        assert (procedure.id, procedure.created_at) == ("id1", NOW)
        incident = await memory.store_incident(Incident(id="i", description="disk full", timestamp=5))
        knowledge = await memory.add_knowledge(Knowledge(title="Disks", content="They fill."))
        assert (incident.id, incident.timestamp, knowledge.created_at) == ("i", 5, NOW)
    async with opened(tmp_path) as rows:
        memory = rows.memory
        assert await memory.get_procedure("id1") == procedure
        assert await memory.get_incident("i") == incident
        assert await memory.get_knowledge("id2") == knowledge
        assert await memory.get_knowledge("i") is None
        assert await rows.store.list_memories() == ["incidents-i", "knowledge-id2", "procedures-id1"]


async def test_storing_again_replaces_and_keeps_the_time(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        memory = rows.memory
        await memory.store_incident(Incident(id="i", description="disk full"))
        rows.clock.advance(100)
        again = await memory.store_incident(Incident(id="i", description="disk full", resolution="bought another"))
        assert again.timestamp == NOW
        assert await memory.get_incident("i") == again
        found = await rows.store.load_memory("incidents-i")
        assert found is not None
        assert found.content == "disk full\nResolution: bought another"
        late = await memory.store_incident(Incident(id="i", description="disk full", timestamp=NOW + 7))
        assert late.timestamp == NOW + 7


async def test_runs_of_a_procedure_are_counted_and_their_memory_stays(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        memory = rows.memory
        await memory.store_procedure(Procedure(id="p", name="deploy"))
        before = await rows.store.load_memory("procedures-p")
        rows.clock.advance(60)
        await memory.record_procedure_run("p", True, 100)
        await memory.record_procedure_run("p", False, 400)
        last = await memory.record_procedure_run("p", True)
        assert (last.success_count, last.fail_count, last.avg_duration_ms, last.last_used) == (2, 1, 250.0, NOW + 60)
        assert await memory.get_procedure("p") == last
        assert await rows.store.load_memory("procedures-p") == before
        with pytest.raises(EntityNotFoundError):
            await memory.record_procedure_run("q", True)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10_000)), min_size=1, max_size=30))
def test_the_mean_duration_is_that_of_all_runs(runs: list[tuple[bool, int]]) -> None:
    procedure = Procedure(id="p", name="deploy")
    for success, duration in runs:
        procedure = _with_run(procedure, success, duration, NOW)
    assert procedure.avg_duration_ms == pytest.approx(sum(duration for _, duration in runs) / len(runs))
    assert procedure.success_count == sum(success for success, _ in runs)
    assert procedure.success_count + procedure.fail_count == len(runs)


async def test_the_history_of_a_file_is_newest_first(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        memory = rows.memory
        for number, at in enumerate((3, 1, 3, 2)):
            await memory.store_config_change(ConfigChange(file_path="/etc/a", content=f"v{number}", timestamp=at))
        await memory.store_config_change(ConfigChange(file_path="/etc/b", content="other"))
        assert [change.content for change in await memory.get_config_history("/etc/a")] == ["v2", "v0", "v3", "v1"]
        assert [change.content for change in await memory.get_config_history("/etc/a", limit=1)] == ["v2"]
        assert await memory.get_config_history("/etc/c") == []
        assert await rows.store.list_memories() == []


async def test_search_is_of_decisions_incidents_and_procedures_unless_others_are_asked_for(tmp_path: Path) -> None:
    async with opened(tmp_path, embedder=word_embedder()) as rows:
        memory = rows.memory
        await memory.store_incident(Incident(id="i", description="disk full"))
        await memory.store_procedure(Procedure(id="p", name="disk", description="disk cache"))
        await memory.add_knowledge(Knowledge(id="k", title="disk full", content="disk full"))
        await rows.log(Decision(id="d", context="network slow", chosen="cache", timestamp=NOW))
        found = await memory.semantic_search("disk full")
        assert [(r.collection, r.id) for r in found][:2] == [("incidents", "i"), ("procedures", "p")]
        assert {r.collection for r in found} == {"decisions", "incidents", "procedures"}
        assert [r.id for r in await memory.search_knowledge("disk")] == ["k"]
        assert [r.id for r in await memory.semantic_search("disk full", min_relevance=0.99)] == ["i"]
        assert [r.id for r in await memory.semantic_search("disk", ["knowledge", "decisions"], 1)] == ["k"]


async def test_what_cannot_be_stored_leaves_neither_row_nor_memory(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        memory = rows.memory
        await rows.store.save_memory(MemoryEntry(memory_id="incidents-mine", content="my own"))
        with pytest.raises(InvalidIdError):
            await memory.store_incident(Incident(id="x" * 195, description=""))
        with pytest.raises(ConflictError):
            await memory.store_incident(Incident(id="mine", description=""))
        kind: Any = Incident(description="")
        with pytest.raises(InvalidTypeError):
            await memory.store_procedure(kind)
        with pytest.raises(InvalidValueError):
            await memory.get_config_history("x", limit=0)
        count: Any = "yes"
        with pytest.raises(InvalidTypeError):
            await memory.record_procedure_run("p", count)
        assert await memory.get_incident("mine") is None
        assert await rows.longterm.run(lambda c: c.execute("SELECT count(*) FROM incidents").fetchone()) == (0,)
        assert await rows.store.list_memories() == ["incidents-mine"]


async def test_a_damaged_row_is_not_given_and_can_be_stored_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        await rows.memory.store_incident(Incident(id="i", description="disk full"))
    with sqlite3.connect(tmp_path / "tiers" / "longterm.db") as connection:
        connection.execute("UPDATE incidents SET description = 'disk empty'")
    connection.close()
    async with opened(tmp_path) as rows:
        with pytest.raises(DamagedRowError):
            await rows.memory.get_incident("i")
        await rows.memory.store_incident(Incident(id="i", description="disk full"))
        found = await rows.memory.get_incident("i")
        assert found is not None
        assert found.description == "disk full"


async def test_a_reader_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        await rows.memory.store_incident(Incident(id="i", description="disk full"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "tiers").iterdir()}
    async with opened(tmp_path, read_only=True) as rows:
        assert await rows.memory.get_incident("i") is not None
        assert [r.id for r in await rows.memory.semantic_search("disk")] == ["i"]
        with pytest.raises(ReadOnlyError):
            await rows.memory.store_incident(Incident(id="j", description=""))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "tiers").iterdir()} == before


async def test_after_closing_nothing_is_answered(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        memory = rows.memory
    with pytest.raises(StoreClosedError):
        await memory.get_incident("i")


async def test_the_archive_gives_what_was_archived(tmp_path: Path) -> None:
    goals = [Goal(id=f"g{n}", description="x", status="completed", created_at=1, completed_at=n) for n in range(3)]
    task = Task(id="t", goal_id="g1", description="x")
    call = ToolCall(id="c", task_id="t", tool_name="grep", success=True, timestamp=1)
    decision = Decision(id="d", context="disk full", chosen="wait", timestamp=1)
    events = [Event(id=f"e{n}", timestamp=n // 2, category="ab"[n % 2], source="s") for n in range(6)]
    hours = [
        MetricHour(id=f"m{n}", name="load", hour=n * 3600, count=1, mean=1, minimum=1, maximum=1) for n in range(2)
    ]
    async with opened(tmp_path) as rows:
        for table, records in (
            ("goals", goals),
            ("tasks", [task]),
            ("tool_calls", [call]),
            ("decisions", [decision]),
            ("events", events),
            ("metrics_hourly", hours),
        ):
            for record in records:
                summary = "in short" if record.key == "g1" else None
                await rows.longterm.transact(upserted(ARCHIVED[table], record, archived_at=9, summary=summary))
        archive = rows.memory.archive
        assert await archive.get_goal("g1") == goals[1]
        assert await archive.get_goal("nobody") is None
        assert [goal.id for goal in await archive.get_goals(2)] == ["g2", "g1"]
        assert await archive.get_goals(status="failed") == []
        assert await archive.get_tasks_for_goal("g1") == [task]
        assert await archive.get_tool_calls_for_task("t") == [call]
        assert await archive.get_decision("d") == decision
        assert [event.id for event in await archive.get_events(2, category="a")] == ["e4", "e2"]
        assert [event.id for event in await archive.get_events(source="s")] == ["e5", "e4", "e3", "e2", "e1", "e0"]
        assert [hour.id for hour in await archive.get_metric_hours("load", 1)] == ["m1"]
        assert (await archive.get_summary("g1"), await archive.get_summary("g0")) == ("in short", None)
        assert await archive.get_summary("nobody") is None
