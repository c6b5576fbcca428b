"""What is finished and old goes to the archive, goals with all that belongs to them; everything else stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from working_samples import NOW, columns_of, ids_in, sqlite_beside, store_finished, working_memory

from synthians_memory.errors import InvalidTypeError, InvalidValueError, ReadOnlyError, UsageError
from synthians_memory.layout import LONGTERM_DB
from synthians_memory.testing.clock import ManualClock
from synthians_memory.tiers.archive import Archive
from synthians_memory.tiers.database import Database
from synthians_memory.tiers.migration import DAY, Ages, MigrationReport, finish, migrate
from synthians_memory.tiers.records import Decision, Event, Goal, MetricHour, Pattern, Record, Task
from synthians_memory.tiers.tables import ARCHIVED, GOALS, LONGTERM, WORKING
from synthians_memory.tiers.working import WorkingMemory

NOTHING = MigrationReport()


async def test_after_thirty_days_everything_finished_goes_and_not_before(tmp_path: Path) -> None:
    clock = ManualClock()
    async with working_memory(tmp_path, clock) as memory:
        await store_finished(memory, "g", tasks=2, calls=3)
        clock.advance(30 * DAY - 1)
        assert await memory.migrate_old_entries() == NOTHING
        clock.advance(1)
        report = await memory.migrate_old_entries()
        assert report == MigrationReport(goals=1, tasks=2, tool_calls=6, decisions=1, events=1)
        assert report.total == 11
        assert report.to_dict() == {
            "goals": 1,
            "tasks": 2,
            "tool_calls": 6,
            "decisions": 1,
            "events": 1,
            "metrics": 0,
            "finished": 0,
            "damaged": [],
            "total": 11,
        }
        # An hour is old when it has ended.
        clock.advance(3600)
        assert await memory.migrate_old_entries() == MigrationReport(metrics=1)
        assert await memory.migrate_old_entries() == NOTHING
    places = ids_in(tmp_path)
    assert all(not working and archived for working, archived in places.values())


async def test_what_is_active_and_what_was_learned_stays(tmp_path: Path) -> None:
    clock = ManualClock()
    async with working_memory(tmp_path, clock) as memory:
        await memory.store_goal(Goal(id="active", description="x"))
        await memory.store_task(Task(id="done", goal_id="active", description="x", status="completed"))
        await memory.store_pattern(Pattern(id="p", trigger="x", action="y"))
        await memory.store_agent_state("ann", {})
        clock.advance(1000 * DAY)
        assert await memory.migrate_old_entries() == NOTHING
        assert [task.id for task in await memory.get_tasks_for_goal("active")] == ["done"]
        assert await memory.find_pattern("x") is not None
        assert await memory.get_agent_state("ann") is not None


async def test_a_goal_takes_its_unfinished_tasks_along(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        await memory.store_goal(Goal(id="g", description="x"))
        await memory.store_task(Task(id="t", goal_id="g", description="never done"))
        await memory.update_goal("g", "cancelled")
        report = await memory.migrate_old_entries(NOW)
        assert (report.goals, report.tasks) == (1, 1)


async def test_ages_are_set_per_kind(tmp_path: Path) -> None:
    clock = ManualClock()
    async with working_memory(tmp_path, clock) as memory:
        await store_finished(memory, "g")
        clock.advance(10 * DAY)
        only = await memory.migrate_old_entries(ages=Ages(decisions=10 * DAY))
        assert only == MigrationReport(decisions=1)
        assert (await memory.migrate_old_entries(ages=Ages(events=0, goals=11 * DAY))).to_dict()["total"] == 1
        assert (await memory.migrate_old_entries(ages=Ages(metrics=0))) == MigrationReport(metrics=1)
        assert (await memory.migrate_old_entries(ages=Ages(goals=9 * DAY))).goals == 1


@pytest.mark.parametrize(("age", "error"), [(-1, InvalidValueError), (1.5, InvalidTypeError)])
def test_an_age_is_a_number_of_seconds(age: float, error: type[Exception]) -> None:
    with pytest.raises(error, match="the age of goals"):
        Ages(goals=age)  # type: ignore[arg-type]


async def test_what_is_archived_is_what_was_stored(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        await store_finished(memory, "g")
        goal = await memory.get_goal("g")
        tasks = await memory.get_tasks_for_goal("g")
        calls = await memory.get_tool_calls_for_task("g-t1")
        events = await memory.get_events()
        hours = await memory.get_metric_hours("load")
        await memory.migrate_old_entries(NOW + 7200)
        assert memory.archive is not None
        archive = Archive(memory.archive)
        assert await archive.get_goal("g") == goal
        assert await archive.get_tasks_for_goal("g") == tasks
        assert await archive.get_tool_calls_for_task("g-t1") == calls
        assert await archive.get_events() == events
        assert await archive.get_metric_hours("load") == hours
        (row,) = await memory.archive.run(lambda c: c.execute(ARCHIVED["goals"].select()).fetchall())
        assert ARCHIVED["goals"].extras(row) == {"archived_at": NOW, "summary": None}


async def test_a_summary_stands_beside_the_original(tmp_path: Path) -> None:
    seen: list[str] = []

    async def summarise(record: Record) -> str | None:
        seen.append(record.key)
        return f"short of {record.key}" if isinstance(record, Goal) else None

    async with working_memory(tmp_path) as memory:
        await store_finished(memory, "g", tasks=1, calls=1)
        goal = await memory.get_goal("g")
        await memory.migrate_old_entries(NOW, summarise=summarise)
        assert memory.archive is not None
        archive = Archive(memory.archive)
        assert await archive.get_summary("g") == "short of g"
        assert await archive.get_goal("g") == goal
    assert seen == ["g", "g-t0", "g-t0-c0", "g-d", "g-e"]


async def test_a_summary_hook_that_fails_moves_nothing(tmp_path: Path) -> None:
    def summarise(record: Record) -> str:
        raise RuntimeError(f"no words for {record.key}")

    async with working_memory(tmp_path) as memory:
        await store_finished(memory, "g")
        with pytest.raises(RuntimeError, match="no words for g"):
            await memory.migrate_old_entries(NOW, summarise=summarise)
        with pytest.raises(InvalidTypeError, match="summary"):
            await memory.migrate_old_entries(NOW, summarise=lambda record: 5)  # type: ignore[arg-type,return-value]
        assert await memory.get_goal("g") is not None
    assert all(not archived for _, archived in ids_in(tmp_path).values())


async def test_a_row_that_changes_while_it_is_summarised_stays(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        await store_finished(memory, "g", tasks=1)
        await store_finished(memory, "h", tasks=1)

        async def summarise(record: Record) -> None:
            if record.key == "g":
                await memory.store_task(Task(id="late", goal_id="g", description="came meanwhile"))

        assert (await memory.migrate_old_entries(NOW, summarise=summarise)).goals == 1
        assert await memory.get_goal("h") is None
        assert [task.id for task in await memory.get_tasks_for_goal("g")] == ["g-t0", "late"]
        assert (await memory.migrate_old_entries(NOW)).tasks == 2


async def test_many_rows_go_in_batches_and_are_all_counted(tmp_path: Path) -> None:
    reports: list[MigrationReport] = []
    async with working_memory(tmp_path) as memory:
        for number in range(450):
            status = "completed" if number % 3 else "pending"
            await memory.store_goal(Goal(id=f"g{number}", description="x", status=status))
        await memory.store_events([Event(id=f"e{n}", category="c", source="s") for n in range(1000)])
        report = await memory.migrate_old_entries(NOW, progress=reports.append)
        assert (report.goals, report.events) == (300, 1000)
        assert len(await memory.get_active_goals()) == 150
    assert reports[-1] == report
    assert len(reports) == 2 + 5
    assert [one.total for one in reports] == sorted(one.total for one in reports)


async def test_a_damaged_row_keeps_its_goal_and_no_other(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        for name in ("a", "b", "c"):
            await store_finished(memory, name, tasks=1, calls=1)
    with sqlite_beside(tmp_path) as connection:
        connection.execute("UPDATE tool_calls SET success = 0 WHERE id = 'b-t0-c0'")
        connection.execute("UPDATE events SET category = 'x' WHERE id = 'c-e'")
    async with working_memory(tmp_path) as memory:
        report = await memory.migrate_old_entries(NOW)
        assert (report.goals, report.tasks, report.tool_calls, report.events) == (2, 2, 2, 2)
        assert [message.partition(" is damaged")[0] for message in report.damaged] == [
            "tiers/working.db: the row 'b-t0-c0' of tool_calls",
            "tiers/working.db: the row 'c-e' of events",
        ]
    places = ids_in(tmp_path)
    assert places["goals"] == ({"b"}, {"a", "c"})
    assert places["tasks"] == ({"b-t0"}, {"a-t0", "c-t0"})
    assert places["tool_calls"] == ({"b-t0-c0"}, {"a-t0-c0", "c-t0-c0"})
    assert places["events"] == ({"c-e"}, {"a-e", "b-e"})


# Rows that are in both databases


async def both(place: Path) -> None:
    """A migration that was cut off between the archive's commit and that of working memory."""
    async with working_memory(place) as memory:
        for name in ("a", "b"):
            await store_finished(memory, name)
        await memory.store_goal(Goal(id="active", description="x"))
    kept = {path: (place / path).read_bytes() for path in (WORKING.path,)}
    async with working_memory(place) as memory:
        await memory.migrate_old_entries(NOW + 7200)
    for path, data in kept.items():
        (place / path).write_bytes(data)


async def test_a_migration_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    await both(tmp_path)
    archived = columns_of(tmp_path, "archived_goals", LONGTERM_DB)
    async with working_memory(tmp_path) as memory:
        report = await finish(memory)
        assert (report.finished, report.total) == (2 * 10, 2 * 10)
        assert await finish(memory) == NOTHING
        assert [goal.id for goal in await memory.get_active_goals()] == ["active"]
    assert columns_of(tmp_path, "archived_goals", LONGTERM_DB) == archived
    assert all(not working & archive for working, archive in ids_in(tmp_path).values())


async def test_the_next_migration_finishes_as_well(tmp_path: Path) -> None:
    await both(tmp_path)
    async with working_memory(tmp_path) as memory:
        report = await memory.migrate_old_entries(0)
        assert (report.goals, report.finished) == (2, 20)


async def test_a_row_that_differs_from_the_archived_one_is_never_deleted(tmp_path: Path) -> None:
    await both(tmp_path)
    changed = {"a": "completed", "b": "failed"}
    with sqlite_beside(tmp_path) as connection:
        for table, key, record in [
            (GOALS, "b", Goal(id="b", description="newer", status=changed["b"], created_at=NOW, completed_at=NOW)),
        ]:
            connection.execute(f"DELETE FROM words WHERE rowid = (SELECT row * 8 FROM goals WHERE id = '{key}')")  # noqa: S608
            connection.execute(table.upsert, table.encode(record))
    async with working_memory(tmp_path) as memory:
        report = await finish(memory)
        assert report.goals == 1
        goal = await memory.get_goal("b")
        assert goal is not None
        assert goal.description == "newer"
        assert len(await memory.get_tasks_for_goal("b")) == 2
        # It replaces the archived one when it is migrated.
        assert (await memory.migrate_old_entries(NOW)).goals == 1
        assert memory.archive is not None
        assert await Archive(memory.archive).get_goal("b") == goal


async def test_a_damaged_archived_row_does_not_count_as_archived(tmp_path: Path) -> None:
    await both(tmp_path)
    with sqlite_beside(tmp_path, LONGTERM_DB) as connection:
        connection.execute("UPDATE archived_tasks SET description = 'other' WHERE id = 'a-t0'")
    async with working_memory(tmp_path) as memory:
        assert (await finish(memory)).goals == 1
        assert len(await memory.get_tasks_for_goal("a")) == 2
        await memory.migrate_old_entries(NOW)
        assert memory.archive is not None
        assert len(await Archive(memory.archive).get_tasks_for_goal("a")) == 2


# What cannot be migrated


async def test_without_an_archive_nothing_is_migrated(tmp_path: Path) -> None:
    database = await Database(tmp_path, WORKING).open()
    memory = WorkingMemory(database, None, ManualClock())
    await memory.store_goal(Goal(description="x", status="completed"))
    with pytest.raises(UsageError, match="no archive"):
        await memory.migrate_old_entries(NOW)
    await database.close()


async def test_read_only_databases_are_not_migrated(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        await store_finished(memory, "g")
    working = await Database(tmp_path, WORKING, read_only=True).open()
    archive = await Database(tmp_path, LONGTERM, read_only=True).open()
    with pytest.raises(ReadOnlyError):
        await migrate(WorkingMemory(working, archive=archive), NOW)
    await working.close()
    await archive.close()


async def test_cutoff_and_ages_do_not_go_together(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        with pytest.raises(InvalidValueError, match="both"):
            await memory.migrate_old_entries(NOW, ages=Ages())
        with pytest.raises(InvalidValueError, match="cutoff"):
            await memory.migrate_old_entries(-1)


async def test_values_that_python_takes_for_equal_are_not_the_same_row(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        event = await memory.store_event(Event(id="e", category="c", source="s", data={"n": 1}))
        await memory.migrate_old_entries(NOW)
    other = replace(event, data={"n": True})
    with sqlite_beside(tmp_path) as connection:
        table = WORKING.tables[6]
        connection.execute(table.upsert, table.encode(other))
    async with working_memory(tmp_path) as memory:
        assert (await finish(memory)).events == 0
        assert (await memory.get_events())[0].data["n"] is True


async def test_metric_hours_that_have_not_ended_stay(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        hours = [MetricHour(name="m", hour=h, count=1, mean=1, minimum=1, maximum=1) for h in (0, 3600)]
        await memory.store_metric_hours(hours)
        assert (await memory.migrate_old_entries(7199)).metrics == 1
        assert [hour.hour for hour in await memory.get_metric_hours("m")] == [3600]


async def test_decisions_of_one_second_are_all_moved(tmp_path: Path) -> None:
    async with working_memory(tmp_path) as memory:
        for number in range(205):
            await memory.log_decision(Decision(id=f"d{number:03}", context="x", chosen="y"))
        assert (await memory.migrate_old_entries(NOW)).decisions == 205
