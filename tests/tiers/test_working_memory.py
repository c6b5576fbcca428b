"""Working memory keeps what it is given: upserts, stamps, orders, patterns, events, and what is found for a text."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from collection_samples import word_embedder
from working_samples import NOW, sqlite_beside, working_memory

from synthians_memory import MemoryPersistence
from synthians_memory.errors import (
    DamagedRowError,
    EntityNotFoundError,
    ForkedStoreError,
    InvalidIdError,
    InvalidTypeError,
    InvalidValueError,
    NotRegularFileError,
    ReadOnlyError,
    StoreClosedError,
    UsageError,
)
from synthians_memory.layout import WORKING_DB
from synthians_memory.testing.clock import ManualClock
from synthians_memory.tiers.collections import Collections
from synthians_memory.tiers.database import Database
from synthians_memory.tiers.records import Decision, Event, Goal, MetricHour, Pattern, Task, ToolCall
from synthians_memory.tiers.tables import GOALS, WORKING
from synthians_memory.tiers.working import WorkingMemory

# Goals


async def test_a_goal_that_is_stored_has_an_id_and_a_time(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        goal = await memory.store_goal(Goal(description="build"))
        assert goal == Goal(id="id-0000", description="build", created_at=NOW)
        assert await memory.get_goal("id-0000") == goal
        assert await memory.get_goal("other") is None


async def test_storing_again_replaces_and_keeps_when_it_began(tmp_path: Path) -> None:
    clock = ManualClock()
    async with working_memory(tmp_path, clock) as memory:
        await memory.store_goal(Goal(id="g", description="one", metadata={"a": 1}))
        clock.advance(60)
        again = await memory.store_goal(Goal(id="g", description="two"))
        assert (again.description, again.metadata, again.created_at) == ("two", {}, NOW)
        moved = await memory.store_goal(Goal(id="g", description="two", created_at=5))
        assert moved.created_at == 5
        assert await memory.get_active_goals() == [moved]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_a_final_status_stamps_the_end_once(tmp_path: Path, status: str) -> None:
    clock = ManualClock()
    async with working_memory(tmp_path, clock) as memory:
        goal = await memory.store_goal(Goal(id="g", description="x"))
        assert goal.completed_at is None
        clock.advance(60)
        assert (await memory.update_goal("g", status, {"n": 1})).completed_at == NOW + 60
        clock.advance(60)
        again = await memory.update_goal("g", "failed")
        assert (again.completed_at, again.result) == (NOW + 60, {"n": 1})
        # Also where the whole goal is stored again.
        assert (await memory.store_goal(Goal(id="g", description="x", status=status))).completed_at == NOW + 60
        given = await memory.store_goal(Goal(id="g", description="x", status=status, completed_at=7))
        assert given.completed_at == 7
        assert await memory.get_active_goals() == []
        reopened = await memory.update_goal("g", "running")
        assert reopened.completed_at is None
        assert await memory.get_active_goals() == [reopened]
        clock.advance(60)
        assert (await memory.update_goal("g", status)).completed_at == NOW + 180


async def test_a_goal_stored_as_finished_is_stamped(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        assert (await memory.store_goal(Goal(description="x", status="completed"))).completed_at == NOW


async def test_active_goals_come_by_priority_then_age(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        for name, priority, created in [("c", 2, 30), ("a", 1, 40), ("d", 2, 20), ("e", 2, 20), ("b", -1, 50)]:
            await memory.store_goal(Goal(id=name, description=name, priority=priority, created_at=created))
        await memory.store_goal(Goal(id="f", description="done", priority=0, status="cancelled"))
        await memory.store_goal(Goal(id="g", description="odd", priority=9, status="Completed"))
        assert [goal.id for goal in await memory.get_active_goals()] == ["b", "a", "d", "e", "c", "g"]


async def test_active_goals_are_read_from_their_index(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        await memory.store_goal(Goal(description="x"))
    with sqlite_beside(tmp_path) as connection:
        sql = "SELECT id FROM goals WHERE status NOT IN ('completed', 'failed', 'cancelled') ORDER BY priority, created_at, row"
        (plan,) = connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
        assert "goals_active" in plan[3]


async def test_an_unknown_goal_is_not_made_by_an_update(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        with pytest.raises(EntityNotFoundError, match="'g'"):
            await memory.update_goal("g", "completed")
        with pytest.raises(InvalidValueError):
            await memory.update_goal("g", "")
        with pytest.raises(InvalidIdError):
            await memory.get_goal("")


# Tasks and tool calls


async def test_tasks_and_tool_calls_come_in_the_order_of_their_storing(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        await memory.store_goal(Goal(id="g", description="x"))
        for name in ("z", "a", "m"):
            await memory.store_task(Task(id=name, goal_id="g", description=name))
        done = await memory.store_task(Task(id="z", goal_id="g", description="z", status="failed", error="no"))
        assert done.completed_at == NOW
        assert [task.id for task in await memory.get_tasks_for_goal("g")] == ["z", "a", "m"]
        for name in ("2", "1"):
            await memory.store_tool_call(
                ToolCall(id=name, task_id="z", tool_name="t", success=name == "1", input=[name])
            )
        calls = await memory.get_tool_calls_for_task("z")
        assert [(call.id, call.success, call.input) for call in calls] == [("2", False, ["2"]), ("1", True, ["1"])]
        assert await memory.get_tasks_for_goal("h") == []


async def test_nothing_is_stored_that_belongs_to_nothing(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        with pytest.raises(EntityNotFoundError, match="no goal 'g'"):
            await memory.store_task(Task(goal_id="g", description="x"))
        with pytest.raises(EntityNotFoundError, match="no task 't'"):
            await memory.store_tool_call(ToolCall(task_id="t", tool_name="x", success=True))
        assert await memory.database.run(lambda c: c.execute("SELECT count(*) FROM tasks").fetchone()) == (0,)


# Patterns


async def patterns(memory: WorkingMemory, *given: tuple[str, str, float, int]) -> None:
    for name, trigger, rate, uses in given:
        await memory.store_pattern(Pattern(id=name, trigger=trigger, action="act", success_rate=rate, uses=uses))


async def test_a_pattern_is_found_by_what_its_trigger_contains(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        await patterns(memory, ("p", "Disk 100% FULL on /var_x", 0.5, 1), ("q", "GRÜSSE aus der Straße", 0.5, 1))
        for text in ("disk", "DISK 100% full", "", "100%", "_x", "full ON"):
            assert (await memory.find_pattern(text) or replace_id()).id == "p", text
        for text in ("straSSE", "grüße", "GRÜSSE"):
            assert (await memory.find_pattern(text) or replace_id()).id == "q", text
        # No character stands for others, and the text is not searched for the trigger.
        for text in ("disk%full", "var.x", "disk_100", "Disk 100% FULL on /var_x today", "\\"):
            assert await memory.find_pattern(text) is None, text


def replace_id() -> Pattern:
    return Pattern(id="none", trigger="", action="")


async def test_the_best_pattern_is_the_one_of_the_best_rate_then_of_most_uses(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        await patterns(
            memory,
            ("a", "disk full", 0.9, 2),
            ("b", "disk full", 0.9, 7),
            ("c", "disk full", 0.8, 100),
            ("d", "disk", 1.0, 1),
            ("e", "disk full", 0.9, 7),
        )
        assert [getattr(await memory.find_pattern(text), "id", None) for text in ("disk full", "disk")] == ["b", "d"]
        assert await memory.find_pattern("disk full", 0.95) is None
        assert getattr(await memory.find_pattern("disk full", 0.9), "id", None) == "b"
        for wrong in (-0.1, 1.1):
            with pytest.raises(InvalidValueError):
                await memory.find_pattern("disk", wrong)


async def test_the_success_rate_is_the_mean_over_all_uses(tmp_path: Path) -> None:
    clock = ManualClock()
    async with working_memory(tmp_path, clock) as memory:
        await patterns(memory, ("p", "x", 0.8, 10), ("new", "y", 0.0, 0))
        clock.advance(9)
        better = await memory.update_pattern_stats("p", success=True)
        assert (better.success_rate, better.uses, better.last_used) == (9 / 11, 11, NOW + 9)
        worse = await memory.update_pattern_stats("p", success=False)
        assert worse.success_rate == pytest.approx(9 / 12)
        assert (await memory.update_pattern_stats("new", success=True)).success_rate == 1.0
        assert (await memory.update_pattern_stats("new", success=False)).success_rate == 0.5
        assert await memory.find_pattern("y") == await memory.store_pattern(
            Pattern(id="new", trigger="y", action="act", success_rate=0.5, uses=2, last_used=NOW + 9)
        )
        with pytest.raises(EntityNotFoundError, match="pattern 'other'"):
            await memory.update_pattern_stats("other", success=True)


async def test_a_pattern_that_only_ever_succeeds_stays_within_1(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        await patterns(memory, ("p", "x", 1.0, 3))
        for _ in range(50):
            assert (await memory.update_pattern_stats("p", success=True)).success_rate == 1.0


# States and events


async def test_an_agent_has_one_state(tmp_path: Path) -> None:
    clock = ManualClock()
    async with working_memory(tmp_path, clock) as memory:
        await memory.store_agent_state("ann", {"mood": "good"})
        clock.advance(5)
        state = await memory.store_agent_state("ann", {"step": 2})
        assert (state.state, state.updated_at) == ({"step": 2}, NOW + 5)
        assert await memory.get_agent_state("ann") == state
        assert await memory.get_agent_state("bob") is None


async def test_an_event_is_stored_once(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        event = await memory.store_event(Event(id="e", category="c", source="s", data={"n": 1}))
        await memory.store_event(Event(id="e", category="other", source="s"))
        assert await memory.get_events() == [event]


async def test_events_are_filtered_before_they_are_taken_newest_first(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        given = [
            Event(id=f"e{n}", timestamp=100 + n // 2, category="ab"[n % 2], source="xyz"[n % 3]) for n in range(12)
        ]
        assert await memory.store_events(given) == given
        newest = [event.id for event in reversed(given)]
        assert [event.id for event in await memory.get_events()] == newest
        assert [event.id for event in await memory.get_events(3)] == newest[:3]
        assert [event.id for event in await memory.get_events(2, category="a")] == ["e10", "e8"]
        assert [event.id for event in await memory.get_events(9, source="x")] == ["e9", "e6", "e3", "e0"]
        assert [event.id for event in await memory.get_events(9, "b", "x")] == ["e9", "e3"]
        assert await memory.get_events(9, "c") == []
        for wrong in (0, -1, True):
            with pytest.raises(InvalidValueError):
                await memory.get_events(wrong)


async def test_hours_of_metrics_are_stored_once(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        one = MetricHour(id="m1", name="load", hour=3600, count=2, mean=1.5, minimum=1, maximum=2)
        two = replace(one, id="m2", hour=7200)
        await memory.store_metric_hours([two, one])
        await memory.store_metric_hours([replace(one, mean=9.0), replace(one, id="m3", name="other")])
        assert await memory.get_metric_hours("load") == [one, two]
        assert await memory.get_metric_hours("load", since=7200) == [two]


# Finding


async def test_what_a_text_is_about_comes_best_first(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        await memory.store_goal(Goal(id="g", description="Repair the disks of the backup server"))
        await memory.store_task(Task(id="t", goal_id="g", description="Replace one broken disk", output="done"))
        await memory.store_pattern(Pattern(id="p", trigger="network slow", action="restart the switch"))
        await memory.log_decision(Decision(id="d", context="disk broken", chosen="replace the disk", outcome="fine"))
        for n in range(20):
            await memory.store_goal(Goal(id=f"g{n}", description=f"unrelated matter number {n}"))
        found = await memory.find_relevant("which disk is broken?")
        assert [(hit.kind, hit.id) for hit in found] == [("decision", "d"), ("task", "t"), ("goal", "g")]
        assert all(0 <= hit.relevance <= 1 for hit in found)
        assert found == sorted(found, key=lambda hit: -hit.relevance)
        assert found[0].summary == "Decision: disk broken Chosen: replace the disk Outcome: fine"
        assert found[1].summary == "Task (pending): Replace one broken disk Outcome: done"
        assert await memory.find_relevant("which disk is broken?", 1) == found[:1]
        assert await memory.find_relevant("which disk is broken?") == found
        assert await memory.find_relevant("") == await memory.find_relevant('"?%') == []


async def test_words_follow_what_is_stored_changed_and_deleted(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        await memory.store_goal(Goal(id="g", description="paint the wall"))
        await memory.store_goal(Goal(id="g", description="mow the lawn"))
        await memory.update_goal("g", "completed")
        assert await memory.find_relevant("paint") == []
        assert [hit.id for hit in await memory.find_relevant("mow")] == ["g"]
        await memory.migrate_old_entries(NOW)
        assert await memory.find_relevant("mow") == []
        assert await memory.database.run(lambda c: c.execute("SELECT count(*) FROM words").fetchone()) == (0,)


async def test_equal_relevance_is_in_a_fixed_order(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        for name in ("b", "a", "c"):
            await memory.store_goal(Goal(id=name, description="same words"))
        await memory.store_pattern(Pattern(id="p", trigger="same", action="words"))
        await memory.store_task(Task(id="t", goal_id="a", description="same words"))
        found = [hit.id for hit in await memory.find_relevant("same words", 9)]
        assert found == ["c", "a", "b", "t", "p"]


async def test_decisions_without_collections_are_found_by_their_words(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        for name, context in (("a", "which disk"), ("b", "which database"), ("c", "disk disk")):
            await memory.log_decision(Decision(id=name, context=context, chosen="x"))
        await memory.store_goal(Goal(description="disk"))
        assert [decision.id for decision in await memory.find_similar_decisions("disk")] == ["c", "a"]


async def test_similar_decisions_are_found_by_meaning_also_when_they_are_archived(tmp_path: Path) -> None:
    clock = ManualClock()
    async with (
        MemoryPersistence(tmp_path, embedder=word_embedder()) as store,
        working_memory(tmp_path, clock, Collections(store)) as memory,
    ):
        old = await memory.log_decision(Decision(id="old", context="disk full again", chosen="clean"))
        clock.advance(40 * 86400)
        new = await memory.log_decision(Decision(id="new", context="network slow", chosen="wait"))
        assert (await memory.migrate_old_entries()).decisions == 1
        assert await memory.database.run(lambda c: c.execute("SELECT id FROM decisions").fetchall()) == [("new",)]
        assert await memory.find_similar_decisions("disk full", 1) == [old]
        assert {decision.id for decision in await memory.find_similar_decisions("disk network")} == {"old", "new"}
        assert await memory.find_similar_decisions("network slow", 1) == [new]
        # What was archived is found by the long-term tier's search, and is no part of working memory.
        assert [hit.id for hit in await memory.find_relevant("disk full")] in ([], ["new"])
        stored = await store.load_memory("decisions-old")
        assert stored is not None
        assert stored.metadata["collection"] == "decisions"


async def test_a_decision_logged_again_has_its_outcome_in_the_memory(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store, working_memory(tmp_path, None, Collections(store)) as memory:
        decision = await memory.log_decision(Decision(context="disk full", chosen="clean"))
        again = await memory.log_decision(replace(decision, outcome="it worked"))
        assert again.timestamp == decision.timestamp
        stored = await store.load_memory(f"decisions-{decision.key}")
        assert stored is not None
        assert "it worked" in stored.content
        assert (await memory.find_similar_decisions("worked"))[0] == again


class Hurrying(ManualClock):
    """A second goes by whenever somebody looks."""

    def micros(self) -> int:
        self.advance(1)
        return super().micros()


async def test_a_decision_and_its_memory_have_one_time(tmp_path: Path) -> None:
    async with (
        MemoryPersistence(tmp_path) as store,
        working_memory(tmp_path, Hurrying(), Collections(store)) as memory,
    ):
        decision = await memory.log_decision(Decision(context="disk full", chosen="clean"))
        assert await store.verify_consistency() == []
        again = await memory.log_decision(replace(decision, timestamp=None, chosen="wait"))
        assert again.timestamp == decision.timestamp
        assert await store.verify_consistency() == []


# Archived ids


async def test_what_is_archived_is_not_stored_again(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        await memory.store_goal(Goal(id="g", description="x", status="completed"))
        await memory.log_decision(Decision(id="d", context="x", chosen="y"))
        await memory.store_event(Event(id="e", category="c", source="s"))
        await memory.migrate_old_entries(NOW)
        with pytest.raises(UsageError, match="goal 'g' is in the archive"):
            await memory.store_goal(Goal(id="g", description="y"))
        with pytest.raises(UsageError, match="decision 'd' is in the archive"):
            await memory.log_decision(Decision(id="d", context="x", chosen="z"))
        with pytest.raises(EntityNotFoundError, match="archive"):
            await memory.store_task(Task(goal_id="g", description="late"))
        await memory.store_event(Event(id="e", category="c", source="s"))
        assert await memory.get_events() == []


# Rows that are damaged


@pytest.mark.parametrize(
    "change", ["status = 'x'", "priority = 3", "result = 'null'", "metadata = '{\"a\": 1}'", "row_hash = x'00'"]
)
async def test_no_damaged_row_is_returned(tmp_path: Path, change: str) -> None:
    async with working_memory(tmp_path) as memory:
        await memory.store_goal(Goal(id="g", description="a disk"))
        await memory.store_goal(Goal(id="h", description="sound"))
    with sqlite_beside(tmp_path) as connection:
        connection.execute(f"UPDATE goals SET {change} WHERE id = 'g'")  # noqa: S608
    async with working_memory(tmp_path) as memory:
        reads: list[Any] = [
            memory.get_goal("g"),
            memory.get_active_goals(),
            memory.update_goal("g", "completed"),
            memory.find_relevant("disk"),
        ]
        for read in reads:
            with pytest.raises(DamagedRowError, match=r"tiers/working.db: the row 'g' of goals is damaged"):
                await read
        assert (await memory.get_goal("h")) is not None
        # Storing it again mends it.
        await memory.store_goal(Goal(id="g", description="a disk", created_at=1))
        assert [goal.id for goal in await memory.get_active_goals()] == ["g", "h"]


async def test_bytes_that_are_no_text_are_a_damaged_row(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        await memory.store_goal(Goal(id="g", description="abc"))
    with sqlite_beside(tmp_path) as connection:
        connection.execute("UPDATE goals SET description = CAST(x'61ff63' AS TEXT)")
    async with working_memory(tmp_path) as memory:
        with pytest.raises(DamagedRowError, match="'g' of goals"):
            await memory.get_goal("g")


# The database


async def test_files_are_for_the_owner_alone_and_gone_beside_the_database_when_it_is_closed(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        await memory.store_goal(Goal(description="x"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "tiers").iterdir()}
        assert modes.keys() >= {"working.db", "working.db-wal", "working.db-shm", "longterm.db"}
        assert set(modes.values()) == {0o600}
        assert stat.S_IMODE((tmp_path / "tiers").stat().st_mode) == 0o700
        pragmas = {name: await _pragma(memory, name) for name in ("journal_mode", "synchronous", "foreign_keys")}
        assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert {path.name for path in (tmp_path / "tiers").iterdir()} == {"working.db", "longterm.db"}


async def _pragma(memory: WorkingMemory, name: str) -> Any:
    return (await memory.database.run(lambda connection: connection.execute(f"PRAGMA {name}").fetchone()))[0]


async def test_a_read_only_database_changes_nothing_and_sees_what_was_committed(tmp_path: Path) -> None:
    reader = Database(tmp_path, WORKING, read_only=True)
    await reader.open()
    assert os.listdir(tmp_path) == []
    beside = WorkingMemory(reader)
    assert await beside.get_active_goals() == []
    async with working_memory(tmp_path) as memory:
        await memory.store_goal(Goal(id="g", description="x"))
        await reader.refresh()
        assert [goal.id for goal in await beside.get_active_goals()] == ["g"]
        await memory.update_goal("g", "completed")
        assert [goal.id for goal in await beside.get_active_goals()] == ["g"]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "tiers").iterdir()}
    await reader.refresh()
    assert await beside.get_active_goals() == []
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "tiers").iterdir()} == before
    for write in (beside.store_goal(Goal(description="y")), beside.vacuum()):
        with pytest.raises(ReadOnlyError):
            await write
    await reader.close()
    await reader.close()


async def test_a_closed_database_says_so(tmp_path: Path) -> None:
    database = Database(tmp_path, WORKING)
    memory = WorkingMemory(database)
    with pytest.raises(StoreClosedError, match=r"tiers/working\.db is not open"):
        await memory.get_active_goals()
    await database.open()
    await database.open()
    await database.close()
    with pytest.raises(StoreClosedError):
        await memory.store_goal(Goal(description="x"))


async def test_a_forked_child_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with working_memory(tmp_path) as memory:
        with monkeypatch.context() as patched:
            patched.setattr("os.getpid", lambda: -1)
            with pytest.raises(ForkedStoreError):
                await memory.get_active_goals()


async def test_what_is_asked_of_a_database_that_is_being_closed_is_done_or_refused(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        stores = [asyncio.ensure_future(memory.store_goal(Goal(id=f"g{n}", description="x"))) for n in range(5)]
        await asyncio.sleep(0)
        assert memory.archive is not None
        # A goal that is new is looked for in the archive, in the other thread.
        await memory.archive.close()
        outcomes = await asyncio.gather(*stores, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {Goal, StoreClosedError}
        done = {outcome.id for outcome in outcomes if isinstance(outcome, Goal)}
        assert {goal.id for goal in await memory.get_active_goals()} == done


async def test_an_opening_that_fails_can_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "tiers").write_text("no folder")
    database = Database(tmp_path, WORKING)
    with pytest.raises(NotRegularFileError):
        await database.open()
    (tmp_path / "tiers").unlink()
    await database.open()
    await database.close()


async def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:

        def fail(connection: Any) -> None:
            connection.execute(GOALS.upsert, GOALS.encode(Goal(id="g", description="x", created_at=1)))
            raise KeyError("on purpose")

        with pytest.raises(KeyError):
            await memory.database.transact(fail)
        assert await memory.get_active_goals() == []
        await memory.store_goal(Goal(description="still usable"))


async def test_a_cancelled_store_has_a_whole_outcome(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        tasks = [asyncio.ensure_future(memory.store_goal(Goal(id=f"g{n}", description="x"))) for n in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        found = {goal.id for goal in await memory.get_active_goals()}
        assert {f"g{n}" for n in range(1, 20, 2)} <= found


async def test_vacuum_gives_space_back(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        await memory.store_events([Event(category="c", source="s", data={"text": "x" * 2000}) for _ in range(500)])
        await memory.migrate_old_entries(NOW)
        before = (tmp_path / WORKING_DB).stat().st_size
        await memory.vacuum()
        assert (tmp_path / WORKING_DB).stat().st_size < before / 2
        goal = await memory.store_goal(Goal(description="x"))
        assert await memory.get_active_goals() == [goal]


async def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        for call in (memory.find_relevant("x", 0), memory.find_similar_decisions("x", -1)):
            with pytest.raises(InvalidValueError):
                await call
        with pytest.raises(InvalidTypeError):
            await memory.find_pattern(5)  # type: ignore[arg-type]
        with pytest.raises(InvalidIdError):
            await memory.store_agent_state("", {})
