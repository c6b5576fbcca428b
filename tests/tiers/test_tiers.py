"""Tiers as one object: opened after the store and closed before it, once at a time; critical events durable, exactly once."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from synthians_memory import MemoryPersistence
from synthians_memory.embedding import CallableEmbedder
from synthians_memory.errors import (
    DiskError,
    DiskFullError,
    ForkedStoreError,
    InvalidTypeError,
    InvalidValueError,
    ReadOnlyError,
    StoreClosedError,
    StoreLockedError,
    SynthiansMemoryError,
    UsageError,
    WrongLoopError,
)
from synthians_memory.testing.clock import ManualClock
from synthians_memory.tiers import Ages, Decision, Event, Goal, Incident, Knowledge, Pattern, Procedure, Task, Tiers
from synthians_memory.tiers.tables import ARCHIVED

HOUR = 3600
DAY = 24 * HOUR


def event(number: int, *, critical: bool = False, **fields: Any) -> Event:
    return Event(**{"id": f"e{number}", "category": "c", "source": "s", "critical": critical, **fields})


def ids(events: Any) -> list[str]:
    return [one.id for one in events]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[MemoryPersistence]:
    async with MemoryPersistence(tmp_path / "store", clock=clock) as opened:
        yield opened


@pytest.fixture
async def tiers(store: MemoryPersistence, clock: ManualClock) -> AsyncIterator[Tiers]:
    async with Tiers(store, clock=clock, capacity=20) as opened:
        yield opened


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


async def until(condition: Callable[[], Any]) -> None:
    """Wait for what happens in the background; the test ends by its own limit where it does not."""
    while True:
        holds = condition()
        if await holds if asyncio.iscoroutine(holds) else holds:
            return
        await asyncio.sleep(0.002)


async def archived(tiers: Tiers, goal_id: str) -> bool:
    return await tiers.working.get_goal(goal_id) is None


# Opening


async def test_the_files_are_there_once_the_tiers_were_opened(tmp_path: Path, store: MemoryPersistence) -> None:
    assert not (tmp_path / "store" / "tiers").exists()
    async with Tiers(store):
        pass
    found = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "store" / "tiers").iterdir()}
    assert found == {"working.db": 0o600, "longterm.db": 0o600}
    assert (tmp_path / "store" / "tiers").stat().st_mode & 0o777 == 0o700


async def test_what_is_stored_is_there_after_the_next_opening(store: MemoryPersistence) -> None:
    async with Tiers(store) as tiers:
        goal = await tiers.working.store_goal(Goal(description="build it"))
        await tiers.longterm.add_knowledge(Knowledge(id="k", title="tea", content="how tea is made"))
    async with Tiers(store) as tiers:
        assert await tiers.working.get_active_goals() == [goal]
        assert ids(await tiers.longterm.search_knowledge("tea")) == ["k"]


async def test_a_second_opening_of_one_store_is_refused_until_the_first_is_closed(
    store: MemoryPersistence, tiers: Tiers
) -> None:
    second = Tiers(store)
    with pytest.raises(StoreLockedError, match="open already"):
        await second.open()
    with pytest.raises(StoreClosedError):
        _ = second.working
    await tiers.close()
    async with second:
        await second.working.store_goal(Goal(description="g"))


async def test_opening_twice_is_opening_once(tiers: Tiers) -> None:
    working = tiers.working
    await asyncio.gather(tiers.open(), tiers.open())
    assert tiers.working is working


async def test_many_tasks_open_and_close_at_once(store: MemoryPersistence) -> None:
    tiers = Tiers(store)
    await asyncio.gather(*(tiers.open() for _ in range(5)))
    await tiers.working.store_goal(Goal(description="g"))
    await asyncio.gather(*(tiers.close() for _ in range(5)))
    await asyncio.gather(tiers.open(), tiers.open())
    assert len(await tiers.working.get_active_goals()) == 1
    await tiers.close()


async def test_the_store_comes_first(tmp_path: Path) -> None:
    store = MemoryPersistence(tmp_path / "store")
    tiers = Tiers(store)
    with pytest.raises(StoreClosedError):
        await tiers.open()
    assert not (tmp_path / "store").exists()
    async with store, tiers:
        assert await tiers.working.get_active_goals() == []


async def test_an_opening_that_is_cancelled_leaves_nothing_open(store: MemoryPersistence) -> None:
    for turns in range(16):
        tiers = Tiers(store)
        opening = asyncio.ensure_future(tiers.open())
        # First turn by turn of the loop, then later and later.
        for _ in range(turns):
            await asyncio.sleep(0 if turns < 6 else 0.001)
        opening.cancel()
        await asyncio.wait([opening])
        await tiers.close()
    async with Tiers(store) as tiers:
        assert await tiers.working.get_active_goals() == []


async def test_a_database_that_cannot_be_opened_leaves_nothing_open(tmp_path: Path, store: MemoryPersistence) -> None:
    async with Tiers(store):
        pass
    damaged = tmp_path / "store" / "tiers" / "longterm.db"
    kept = damaged.read_bytes()
    damaged.write_bytes(b"no database" * 1000)
    for _ in range(2):
        with pytest.raises(SynthiansMemoryError, match=r"longterm\.db"):
            await Tiers(store).open()
    assert damaged.read_bytes() == b"no database" * 1000
    damaged.write_bytes(kept)
    async with Tiers(store):
        pass


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"migrate_every": 0}, InvalidValueError),
        ({"migrate_every": "1"}, InvalidTypeError),
        ({"migrate_every": float("nan")}, InvalidValueError),
        ({"operational_age": -1}, InvalidValueError),
        ({"count_tokens": 4}, InvalidTypeError),
    ],
    ids=["never", "text", "nan", "past", "counter"],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Tiers(MemoryPersistence("nowhere"), **options)


def test_it_stands_on_a_store() -> None:
    with pytest.raises(InvalidTypeError):
        Tiers("nowhere")  # type: ignore[arg-type]


# Closing, and use from elsewhere

USES: list[Callable[[Tiers], Any]] = [
    lambda tiers: tiers.push_event(event(1)),
    lambda tiers: tiers.assemble_context("t"),
    lambda tiers: tiers.migrate(),
    lambda tiers: tiers.vacuum(),
    lambda tiers: tiers.working.get_active_goals(),
    lambda tiers: tiers.longterm.semantic_search("t"),
    lambda tiers: tiers.operational.push(event(1)),
    lambda tiers: tiers.start_migrating(),
    lambda tiers: tiers.last_error,
]
NAMED = pytest.mark.parametrize("use", USES, ids=[f"use-{number}" for number in range(len(USES))])


async def used(use: Callable[[Tiers], Any], tiers: Tiers) -> None:
    outcome = use(tiers)
    if asyncio.iscoroutine(outcome):
        await outcome


@NAMED
async def test_before_it_is_opened_and_after_it_is_closed_it_refuses(
    use: Callable[[Tiers], Any], store: MemoryPersistence
) -> None:
    tiers = Tiers(store)
    with pytest.raises(StoreClosedError):
        await used(use, tiers)
    async with tiers:
        pass
    with pytest.raises(StoreClosedError):
        await used(use, tiers)
    await tiers.close()


@NAMED
async def test_after_the_store_was_closed_it_refuses_and_can_be_closed(
    use: Callable[[Tiers], Any], tmp_path: Path
) -> None:
    store = MemoryPersistence(tmp_path / "store")
    await store.initialize()
    tiers = Tiers(store)
    await tiers.open()
    await tiers.working.store_goal(Goal(id="g", description="kept"))
    await store.close()
    with pytest.raises(StoreClosedError):
        await used(use, tiers)
    await tiers.close()
    async with MemoryPersistence(tmp_path / "store") as again, Tiers(again) as reopened:
        assert ids(await reopened.working.get_active_goals()) == ["g"]


async def test_tiers_that_outlive_their_store_keep_others_out_until_they_are_closed(tmp_path: Path) -> None:
    store = MemoryPersistence(tmp_path / "store")
    await store.initialize()
    tiers = Tiers(store)
    await tiers.open()
    await store.close()
    async with MemoryPersistence(tmp_path / "store") as again:
        with pytest.raises(StoreLockedError):
            await Tiers(again).open()
        await tiers.close()
        async with Tiers(again):
            pass


async def test_parts_that_were_kept_refuse_after_the_closing(store: MemoryPersistence) -> None:
    async with Tiers(store) as tiers:
        ring, working, longterm = tiers.operational, tiers.working, tiers.longterm
        ring.push(event(1))
    with pytest.raises(StoreClosedError):
        ring.push(event(2))
    assert ids(ring.recent()) == ["e1"]
    for call in (working.get_active_goals(), working.store_goal(Goal(description="g")), longterm.get_incident("i")):
        with pytest.raises(StoreClosedError):
            await call


async def test_the_side_files_are_gone_when_it_is_closed(tmp_path: Path, store: MemoryPersistence) -> None:
    async with Tiers(store) as tiers:
        await tiers.push_event(event(1, critical=True))
    assert {path.name for path in (tmp_path / "store" / "tiers").iterdir()} == {"working.db", "longterm.db"}


async def test_a_closing_that_is_cancelled_closes_all_the_same(store: MemoryPersistence) -> None:
    tiers = Tiers(store, capacity=2)
    await tiers.open()
    for number in range(4):
        tiers.operational.push(event(number))
    closing = asyncio.ensure_future(tiers.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await tiers.close()
    async with Tiers(store) as again:
        assert sorted(ids(await again.working.get_events())) == ["e0", "e1"]


async def test_another_loop_is_refused(tiers: Tiers) -> None:
    def elsewhere() -> None:
        with pytest.raises(WrongLoopError):
            asyncio.run(tiers.push_event(event(1)))

    await asyncio.to_thread(elsewhere)
    with pytest.raises(WrongLoopError):
        await asyncio.to_thread(lambda: tiers.working)


def _used_in_child(tiers: Tiers, working: Any, told: Any) -> None:
    for call in (lambda: tiers.working, lambda: asyncio.run(working.get_active_goals())):
        try:
            call()
            told.put("nothing")
        except SynthiansMemoryError as error:
            told.put(type(error).__name__)


async def test_a_forked_child_is_refused_and_harms_nothing(tiers: Tiers) -> None:
    await tiers.working.store_goal(Goal(id="g", description="kept"))
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    child = context.Process(target=_used_in_child, args=(tiers, tiers.working, told))
    child.start()
    await asyncio.to_thread(child.join)
    assert child.exitcode == 0
    assert [told.get(), told.get()] == [ForkedStoreError.__name__] * 2
    await tiers.working.store_goal(Goal(id="h", description="kept as well"))
    assert ids(await tiers.working.get_active_goals()) == ["g", "h"]


# Read-only


async def test_over_a_read_only_store_it_shows_all_and_changes_nothing(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "store"
    async with MemoryPersistence(path, clock=clock) as store, Tiers(store, clock=clock) as tiers:
        await tiers.working.log_decision(Decision(id="d", context="which tea", chosen="green"))
        await tiers.push_event(event(1, critical=True))
    before = contents(path)
    async with MemoryPersistence(path, read_only=True) as store, Tiers(store, clock=clock) as tiers:
        assert ids(await tiers.working.find_similar_decisions("tea")) == ["d"]
        assert ids(await tiers.working.get_events()) == ["e1"]
        context = await tiers.assemble_context("which tea")
        assert [chunk.id for chunk in context.chunks] == ["operational", "decision:d"]
        await tiers.push_event(event(2))
        assert ids(tiers.operational.recent()) == ["e2"]
        for call in (
            tiers.push_event(event(3, critical=True)),
            tiers.migrate(),
            tiers.vacuum(),
            tiers.working.store_goal(Goal(description="g")),
        ):
            with pytest.raises(ReadOnlyError):
                await call
        with pytest.raises(ReadOnlyError):
            tiers.start_migrating()
        assert ids(tiers.operational.recent()) == ["e2"]
    assert contents(path) == before


async def test_a_read_only_store_without_tiers_has_empty_ones(tmp_path: Path) -> None:
    path = tmp_path / "store"
    async with MemoryPersistence(path):
        pass
    before = contents(path)
    async with MemoryPersistence(path, read_only=True) as store, Tiers(store) as tiers:
        assert await tiers.working.get_active_goals() == []
        assert await tiers.longterm.semantic_search("anything") == []
    assert contents(path) == before


async def test_readers_work_beside_the_writer(tmp_path: Path, store: MemoryPersistence, tiers: Tiers) -> None:
    await tiers.working.store_goal(Goal(id="g", description="water the garden"))
    for _ in range(2):
        async with MemoryPersistence(tmp_path / "store", read_only=True) as beside, Tiers(beside) as reader:
            assert ids(await reader.working.get_active_goals()) == ["g"]
    await tiers.working.store_goal(Goal(id="h", description="h"))


async def test_readers_move_on_when_they_are_told(tmp_path: Path, store: MemoryPersistence, tiers: Tiers) -> None:
    async with MemoryPersistence(tmp_path / "store", read_only=True) as beside, Tiers(beside) as reader:
        await tiers.working.log_decision(Decision(id="d", context="which tea", chosen="green"))
        assert await reader.working.find_similar_decisions("tea") == []
        await reader.refresh()
        assert ids(await reader.working.find_similar_decisions("tea")) == ["d"]
    await tiers.refresh()


async def test_a_loop_over_a_read_only_store_is_refused_and_nothing_stays_open(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "store"):
        pass
    async with MemoryPersistence(tmp_path / "store", read_only=True) as store:
        tiers = Tiers(store, migrate_every=1)
        with pytest.raises(ReadOnlyError):
            await tiers.open()
        with pytest.raises(StoreClosedError):
            _ = tiers.working


# Events on their way


async def test_a_critical_event_is_durable_when_its_push_returns(tmp_path: Path, tiers: Tiers) -> None:
    await tiers.push_event(event(1))
    pushed = await tiers.push_event(Event(category="disk", source="probe", data={"free": 0}, critical=True))
    with sqlite3.connect(f"file:{tmp_path}/store/tiers/working.db?mode=ro", uri=True) as connection:
        assert connection.execute("SELECT id, category, critical FROM events").fetchall() == [(pushed.id, "disk", 1)]
    assert tiers.operational.snapshot().counts["waiting"] == 0
    assert ids(tiers.operational.recent()) == [pushed.id, "e1"]


async def test_many_pushed_at_once_are_each_there_once(tiers: Tiers) -> None:
    await asyncio.gather(*(tiers.push_event(event(number % 10, critical=True)) for number in range(20)))
    assert sorted(ids(await tiers.working.get_events())) == sorted(f"e{number}" for number in range(10))


async def test_a_critical_event_pushed_to_the_ring_itself_is_written_soon(tiers: Tiers) -> None:
    await asyncio.to_thread(tiers.operational.push, event(1, critical=True))
    await until(lambda: not tiers.operational.is_waiting("e1"))
    assert ids(await tiers.working.get_events()) == ["e1"]


async def test_what_leaves_the_ring_goes_to_the_working_tier_and_nothing_comes_twice(
    store: MemoryPersistence, clock: ManualClock
) -> None:
    async with Tiers(store, clock=clock, capacity=20) as tiers:
        for number in range(100):
            clock.advance(1)
            await tiers.push_event(event(number, critical=number % 7 == 0))
        await tiers.migrate()
        assert ids(tiers.operational.recent()) == [f"e{number}" for number in range(99, 79, -1)]
        in_rows = ids(await tiers.working.get_events(1000))
        gone = {f"e{number}" for number in range(80)} | {f"e{number}" for number in range(80, 100) if number % 7 == 0}
        assert sorted(in_rows) == sorted(gone)
    async with Tiers(store, clock=clock) as tiers:
        assert sorted(ids(await tiers.working.get_events(1000))) == sorted(gone)


async def test_what_comes_while_the_last_is_written_is_written_as_well(
    tiers: Tiers, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tiers.working.store_metric_hours

    async def meanwhile(hours: Any) -> Any:
        tiers.operational.push(event(2, critical=True))
        # The call for it comes in while the first is under way.
        await asyncio.sleep(0.01)
        return await stored(hours)

    monkeypatch.setattr(tiers.working, "store_metric_hours", meanwhile)
    tiers.operational.update_metric("cpu", 1)
    clock.advance(HOUR)
    tiers.operational.push(event(1, critical=True))
    await until(lambda: tiers.operational.snapshot().counts["pushed"] == 2)
    await until(lambda: not tiers.operational.is_waiting("e2"))
    assert sorted(ids(await tiers.working.get_events())) == ["e1", "e2"]


async def test_a_critical_event_does_not_wait_for_all_that_has_left_the_ring(
    store: MemoryPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Tiers(store, capacity=5000) as tiers:
        batches: list[int] = []
        stored = tiers.working.store_events

        async def counted(events: Any) -> Any:
            batches.append(len(events))
            return await stored(events)

        monkeypatch.setattr(tiers.working, "store_events", counted)
        for number in range(9999):
            tiers.operational.push(event(number))
        handing_on = asyncio.ensure_future(tiers.migrate())
        await until(lambda: batches)
        await tiers.push_event(event(10_000, critical=True))
        assert len(batches) < 5
        await handing_on
        assert len(await tiers.working.get_events(20_000)) == 5001


async def test_a_tenth_of_the_ring_that_has_left_is_written_in_the_background(tiers: Tiers) -> None:
    for number in range(22):
        await tiers.push_event(event(number))
    await until(lambda: not tiers.operational.snapshot().counts["left"])
    assert sorted(ids(await tiers.working.get_events())) == ["e0", "e1"]


async def test_a_migration_takes_old_events_out_of_the_ring(tiers: Tiers, clock: ManualClock) -> None:
    await tiers.push_event(event(1))
    clock.advance(HOUR)
    await tiers.push_event(event(2))
    await tiers.migrate()
    assert ids(tiers.operational.recent()) == ["e2", "e1"]
    clock.advance(1)
    await tiers.migrate()
    assert ids(tiers.operational.recent()) == ["e2"]
    assert ids(await tiers.working.get_events()) == ["e1"]


async def test_metrics_are_averaged_by_hour(store: MemoryPersistence, clock: ManualClock) -> None:
    async with Tiers(store, clock=clock) as tiers:
        hour = clock.micros() // 1_000_000 // HOUR * HOUR
        for value in (1, 2, 6):
            tiers.operational.update_metric("cpu", value)
        await tiers.migrate()
        assert await tiers.working.get_metric_hours("cpu") == []
        clock.advance(HOUR)
        await tiers.migrate()
        await tiers.migrate()
        (first,) = await tiers.working.get_metric_hours("cpu")
        assert tiers.operational.end_hours(0) == []
        assert (first.hour, first.count, first.mean, first.minimum, first.maximum) == (hour, 3, 3.0, 1.0, 6.0)
        tiers.operational.update_metric("cpu", 10)
    async with Tiers(store, clock=clock) as tiers:
        assert [one.mean for one in await tiers.working.get_metric_hours("cpu")] == [3.0, 10.0]


async def test_means_are_written_when_the_next_hour_begins_without_any_migration(
    tiers: Tiers, clock: ManualClock
) -> None:
    tiers.operational.update_metric("cpu", 1)
    clock.advance(HOUR)
    tiers.operational.update_metric("cpu", 2)
    await until(lambda: has_means(tiers))
    assert [one.mean for one in await tiers.working.get_metric_hours("cpu")] == [1.0]


async def has_means(tiers: Tiers) -> bool:
    return bool(await tiers.working.get_metric_hours("cpu"))


class Failing:
    """Lets the writes of a working tier fail as long as it is told to."""

    def __init__(self, tiers: Tiers, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        self._store = tiers.working.store_events
        monkeypatch.setattr(tiers.working, "store_events", self._stored)

    async def _stored(self, events: Any) -> Any:
        if self.full:
            raise DiskFullError("no space left")
        return await self._store(events)


async def test_a_critical_event_that_cannot_be_written_is_told_and_not_lost(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Failing(tiers, monkeypatch)
    with pytest.raises(DiskFullError):
        await tiers.push_event(event(1, critical=True))
    assert ids(tiers.operational.recent()) == ["e1"]
    with pytest.raises(DiskFullError):
        await tiers.push_event(event(1, critical=True))
    with pytest.raises(DiskFullError):
        await tiers.migrate()
    await until(lambda: isinstance(tiers.last_error, DiskFullError))
    disk.full = False
    await tiers.push_event(event(2, critical=True))
    assert sorted(ids(await tiers.working.get_events())) == ["e1", "e2"]
    assert ids(tiers.operational.recent()) == ["e2", "e1"]


async def test_a_closing_that_cannot_write_says_so_and_closes(
    store: MemoryPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiers = Tiers(store)
    await tiers.open()
    disk = Failing(tiers, monkeypatch)
    with pytest.raises(DiskFullError):
        await tiers.push_event(event(1, critical=True))
    with pytest.raises(DiskError):
        await tiers.close()
    disk.full = False
    async with Tiers(store) as again:
        assert await again.working.get_events() == []


async def test_a_push_that_is_cancelled_is_written_once(tiers: Tiers) -> None:
    for number in range(5):
        pushing = asyncio.ensure_future(tiers.push_event(event(number, critical=True)))
        await asyncio.sleep(0.001 * number)
        pushing.cancel()
        await asyncio.wait([pushing])
    await tiers.push_event(event(9, critical=True))
    await tiers.migrate()
    assert sorted(ids(await tiers.working.get_events())) == ["e0", "e1", "e2", "e3", "e4", "e9"]


# The loop


async def test_the_loop_migrates_and_ends_with_the_tiers(store: MemoryPersistence, clock: ManualClock) -> None:
    async with Tiers(store, clock=clock, migrate_every=0.01) as tiers:
        await tiers.working.store_goal(Goal(id="g", description="g", status="completed"))
        clock.advance(31 * DAY)
        await until(lambda: archived(tiers, "g"))
        found = await tiers.longterm.archive.get_goal("g")
        assert found is not None
        with pytest.raises(UsageError, match="already"):
            tiers.start_migrating()
    await asyncio.sleep(0.03)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_the_loop_is_a_task_that_can_be_cancelled_and_started_again(tiers: Tiers) -> None:
    loop = tiers.start_migrating(0.01)
    loop.cancel()
    await asyncio.wait([loop])
    assert loop.cancelled()
    tiers.start_migrating()


async def test_a_migration_that_fails_is_told_and_tried_again(store: MemoryPersistence, clock: ManualClock) -> None:
    fails = [True]

    def summarise(record: Any) -> str:
        if fails:
            raise OSError("the model is away")
        return f"in short: {record.description}"

    async with Tiers(store, clock=clock, migrate_every=0.01, summarise=summarise) as tiers:
        await tiers.working.store_goal(Goal(id="g", description="g", status="failed"))
        clock.advance(31 * DAY)
        await until(lambda: tiers.last_error is not None)
        assert await tiers.working.get_goal("g") is not None
        fails.clear()
        await until(lambda: archived(tiers, "g"))
        assert await tiers.longterm.archive.get_summary("g") == "in short: g"
        await until(lambda: tiers.last_error is None)


async def test_each_kind_has_its_age(store: MemoryPersistence, clock: ManualClock) -> None:
    async with Tiers(store, clock=clock, ages=Ages(goals=DAY)) as tiers:
        await tiers.working.store_goal(Goal(id="g", description="g", status="cancelled"))
        await tiers.working.log_decision(Decision(id="d", context="c", chosen="x"))
        clock.advance(2 * DAY)
        assert (await tiers.migrate()).total == 1
        now = clock.micros() // 1_000_000
        assert (await tiers.migrate(now + 29 * DAY)).decisions == 1


async def test_an_opening_finishes_a_migration_that_was_cut_off(store: MemoryPersistence) -> None:
    async with Tiers(store) as tiers:
        goal = await tiers.working.store_goal(Goal(id="g", description="g", status="completed"))
        archive, table = tiers.working.archive, ARCHIVED["goals"]
        assert archive is not None
        values = table.encode(goal, archived_at=1, summary=None)
        await archive.transact(lambda connection: connection.execute(table.upsert, values))
        assert await tiers.working.get_goal("g") == goal
    async with Tiers(store) as tiers:
        assert await tiers.working.get_goal("g") is None
        assert await tiers.longterm.archive.get_goal("g") == goal


def slowly(texts: Sequence[str]) -> list[list[float]]:
    time.sleep(0.1)
    return [[1.0, float(len(text))] for text in texts]


async def test_a_closing_waits_for_the_memory_that_a_cancelled_caller_has_left(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "slow", embedder=CallableEmbedder("slow", 2, slowly)) as store:
        tiers = Tiers(store)
        await tiers.open()
        logging = asyncio.ensure_future(tiers.working.log_decision(Decision(id="d", context="c", chosen="x")))
        await asyncio.sleep(0.05)
        logging.cancel()
        await asyncio.wait([logging])
        await tiers.close()
        assert await store.list_memories() == ["decisions-d"]
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


# The whole


async def test_context_comes_from_every_tier_and_a_decision_in_two_comes_once(tiers: Tiers) -> None:
    await tiers.working.store_goal(Goal(id="g", description="water the garden"))
    await tiers.working.store_task(Task(id="t", goal_id="g", description="water the roses of the garden"))
    await tiers.working.store_pattern(Pattern(id="p", trigger="water", action="use the can"))
    await tiers.working.log_decision(Decision(id="d", context="how to water the garden", chosen="with the can"))
    await tiers.longterm.store_incident(Incident(id="i", description="the garden was flooded with water"))
    await tiers.longterm.store_procedure(Procedure(id="r", name="water the garden", description="in the evening"))
    await tiers.longterm.add_knowledge(Knowledge(id="k", title="water", content="the garden needs ten litres"))
    await tiers.push_event(event(1))
    context = await tiers.assemble_context("water the garden")
    by_source = {
        name: [c.id for c in context.chunks if c.source == name] for name in ("working", "longterm", "knowledge")
    }
    assert sorted(by_source["working"]) == ["decision:d", "goal:g", "pattern:p", "task:t"]
    assert sorted(by_source["longterm"]) == ["incident:i", "procedure:r"]
    assert by_source["knowledge"] == ["knowledge:k"]
    assert context.chunks[0].source == "operational"
    assert all(0 <= chunk.relevance <= 1 for chunk in context.chunks)
    assert await tiers.assemble_context("water the garden") == context
    assert (await tiers.assemble_context("water the garden", 60)).total_tokens <= 60
    assert [c.source for c in (await tiers.assemble_context("water", tiers=["long_term"])).chunks] == ["longterm"] * 3


@pytest.mark.parametrize("task", ["", " ", "?!", '"', "🌱", "AND OR NOT *", "x" * 100_000])
async def test_context_for_any_task(tiers: Tiers, task: str) -> None:
    await tiers.working.store_goal(Goal(description="water the garden"))
    await tiers.longterm.add_knowledge(Knowledge(title="water", content="the garden needs ten litres"))
    context = await tiers.assemble_context(task)
    assert context.chunks[0].source == "operational"


async def test_a_decision_is_in_context_also_after_it_was_archived(tiers: Tiers, clock: ManualClock) -> None:
    await tiers.working.log_decision(Decision(id="d", context="how to water the garden", chosen="with the can"))
    before = await tiers.assemble_context("water the garden", tiers=["working", "longterm"])
    clock.advance(40 * DAY)
    await tiers.migrate()
    after = await tiers.assemble_context("water the garden", tiers=["working", "longterm"])
    assert [(chunk.source, chunk.id) for chunk in before.chunks] == [("working", "decision:d")]
    assert [(chunk.source, chunk.id) for chunk in after.chunks] == [("longterm", "decision:d")]


async def test_the_same_state_gives_the_same_bytes_also_from_another_opening(
    store: MemoryPersistence, clock: ManualClock
) -> None:
    told = []
    async with Tiers(store, clock=clock) as tiers:
        for number in range(30):
            await tiers.working.log_decision(
                Decision(id=f"d{number}", context=f"water {number % 3} bed {number}", chosen="x")
            )
        told.append((await tiers.assemble_context("water 2")).to_dict())
    async with Tiers(store, clock=clock) as tiers:
        told.append((await tiers.assemble_context("water 2")).to_dict())
    assert json.dumps(told[0]) == json.dumps(told[1])
    assert [chunk["source"] for chunk in told[0]["chunks"]] == ["operational", *["working"] * 5, *["longterm"] * 3]


async def test_vacuum_gives_space_back(tiers: Tiers, tmp_path: Path) -> None:
    for number in range(50):
        await tiers.working.store_event(event(number, data={"text": "x" * 20_000}))
    database = tiers.working.database
    await database.transact(lambda connection: connection.execute("DELETE FROM events"))
    folder = tmp_path / "store" / "tiers"
    before = sum(len(data) for name, data in contents(folder).items() if not name.endswith("-shm"))
    freed = await tiers.vacuum()
    assert freed > 900_000
    assert sum(len(data) for name, data in contents(folder).items() if not name.endswith("-shm")) == before - freed
