"""Whatever fails or dies in the middle: every row is in at least one place, goals are whole, and an open puts it right."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from collection_samples import word_embedder
from tier_machines import Images, Moment, Statements, counted
from tier_program import verified
from working_samples import IN_MEMORY, NOW, copied, ids_in, store_finished, working_memory

from synthians_memory import MemoryPersistence
from synthians_memory.errors import DiskError, DiskFullError, SynthiansMemoryError
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.tiers.collections import Collections
from synthians_memory.tiers.migration import finish
from synthians_memory.tiers.reconciliation import reconcile
from synthians_memory.tiers.records import Decision, Event, Goal, Task
from synthians_memory.tiers.tables import WORKING
from synthians_memory.tiers.working import WorkingMemory

PROGRAM = Path(__file__).with_name("tier_program.py")
GOALS = ("a", "b")


async def filled(place: Path) -> dict[str, set[str]]:
    """Two finished goals with what belongs to them, and one that is not finished; table -> ids."""
    async with working_memory(place) as memory:
        for name in GOALS:
            await store_finished(memory, name, tasks=2, calls=1)
        await memory.store_goal(Goal(id="active", description="x"))
        await memory.store_task(Task(id="active-t", goal_id="active", description="x"))
    return {table: working | archived for table, (working, archived) in ids_in(place).items()}


def require_kept(place: Path, expected: dict[str, set[str]], *, opened: bool) -> None:
    """Each row is somewhere, and after an open in one place; goals are whole, in whatever place."""
    places = ids_in(place)
    for table, (working, archived) in places.items():
        assert working | archived == expected[table], table
        assert not (opened and working & archived), table
    for side in (0, 1):
        for goal in places["goals"][side]:
            assert {f"{goal}-t0", f"{goal}-t1"} <= places["tasks"][side] or goal == "active"
            assert {f"{goal}-t0-c0", f"{goal}-t1-c0"} <= places["tool_calls"][side] or goal == "active"
    assert "active" in places["goals"][0]
    assert "active-t" in places["tasks"][0]


async def reopened(place: Path, expected: dict[str, set[str]]) -> None:
    """Open, finish, and migrate what is left: everything is then where it belongs."""
    async with working_memory(place) as memory:
        await finish(memory)
        require_kept(place, expected, opened=True)
        await memory.migrate_old_entries(NOW + 7200)
    places = ids_in(place)
    require_kept(place, expected, opened=True)
    assert places["goals"] == ({"active"}, set(GOALS))
    assert {table for table, (working, _) in places.items() if working} == {"goals", "tasks"}


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as directory:
        yield Path(directory)


# Killed at any statement


async def test_a_kill_at_any_statement_of_a_migration_loses_and_doubles_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await filled(place / "store")
    images, statements = Images(place / "store", place), Statements()
    statements.on_statement = images.take
    with counted(monkeypatch, statements):
        async with working_memory(place / "store") as memory:
            await memory.migrate_old_entries(NOW + 7200)
    assert statements.count > 50
    assert len(images.places) > 8
    in_both = 0
    for image in images.places:
        in_both += any(working & archived for working, archived in ids_in(image).values())
        require_kept(image, expected, opened=False)
        await reopened(image, expected)
    # The moment between the two commits is among them, for each kind.
    assert in_both == 4


async def test_a_kill_while_the_databases_are_made_leaves_none_or_whole_ones(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "store").mkdir()
    images, statements = Images(place / "store", place), Statements()
    statements.on_statement = images.take
    with counted(monkeypatch, statements):
        async with working_memory(place / "store") as memory:
            await memory.store_goal(Goal(id="g", description="x"))
    assert len(images.places) >= 4
    for image in images.places:
        async with working_memory(image) as memory:
            assert {goal.id for goal in await memory.get_active_goals()} <= {"g"}
            await memory.store_goal(Goal(id="h", description="x"))


async def test_a_kill_at_any_statement_of_a_vacuum_leaves_rows_and_their_words(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await filled(place / "store")
    images, statements = Images(place / "store", place), Statements()
    with counted(monkeypatch, statements):
        async with working_memory(place / "store") as memory:
            statements.on_statement = images.take
            await memory.vacuum()
    assert len(images.places) > 2
    for image in images.places:
        require_kept(image, expected, opened=False)
        async with working_memory(image) as memory:
            assert {hit.id for hit in await memory.find_relevant("reach a", 9) if hit.kind == "goal"} == {"a", "b"}
            await memory.store_goal(Goal(id="active", description="walk"))
            assert [hit.id for hit in await memory.find_relevant("walk")] == ["active"]


async def test_scratch_of_a_database_that_was_being_made_is_replaced(place: Path) -> None:
    (place / "tiers").mkdir()
    for name in (".scratch-working.db", ".scratch-working.db-wal", ".scratch-working.db-journal"):
        (place / "tiers" / name).write_bytes(b"half")
    async with working_memory(place) as memory:
        await memory.store_goal(Goal(description="x"))
    assert sorted(os.listdir(place / "tiers")) == ["longterm.db", "working.db"]


# Failing at any statement


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.long)], ids=["some", "all"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL], ids=["input and output", "full"])
async def test_a_failure_at_any_statement_of_a_migration_loses_and_doubles_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch, moment: Moment, code: int, step: int
) -> None:
    expected = await filled(place / "store")
    total = await _migrated(copied(place / "store", place / "dry"), monkeypatch, Statements())
    failed = 0
    # Another part of them in each form of the test.
    for at in range(1 + (code + len(moment)) % step, total + 1, step):
        work = copied(place / "store", place / f"fault-{at}")
        statements = Statements(at, moment, code)
        try:
            await _migrated(work, monkeypatch, statements)
        except (DiskError, DiskFullError):
            failed += 1
        require_kept(work, expected, opened=False)
        await reopened(work, expected)
    assert failed > total // step // 2


async def _migrated(place: Path, monkeypatch: pytest.MonkeyPatch, statements: Statements) -> int:
    with counted(monkeypatch, statements):
        async with working_memory(place) as memory:
            await memory.migrate_old_entries(NOW + 7200)
    return statements.count


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_failure_at_any_statement_of_a_write_leaves_it_whole(
    place: Path, monkeypatch: pytest.MonkeyPatch, moment: Moment
) -> None:
    await filled(place / "store")
    writes: list[Callable[[WorkingMemory], Awaitable[Any]]] = [
        lambda memory: memory.store_goal(Goal(id="new", description="n")),
        lambda memory: memory.update_goal("active", "completed"),
        lambda memory: memory.store_task(Task(id="new-t", goal_id="active", description="n")),
        lambda memory: memory.store_events([Event(id=f"new{n}", category="c", source="s") for n in range(3)]),
        lambda memory: memory.log_decision(Decision(id="new-d", context="n", chosen="n")),
    ]
    work = copied(place / "store", place / "work")
    for write in writes:
        for at in range(1, 12):
            async with working_memory(work) as memory:
                before = await _rows(memory)
            failed: SynthiansMemoryError | None = None
            statements = Statements()
            with counted(monkeypatch, statements):
                async with working_memory(work) as memory:
                    statements.at, statements.moment = statements.count + at, moment
                    try:
                        await write(memory)
                    except SynthiansMemoryError as error:
                        failed = error
                        statements.at = 0
                        # Nobody knows what a disk has after an error, so nothing is written to it any more.
                        with pytest.raises(DiskError, match="takes no changes since a write failed"):
                            await memory.store_goal(Goal(description="later"))
                        await memory.get_active_goals()
                    statements.at = 0
            async with working_memory(work) as memory:
                after = await _rows(memory)
            assert failed is None or after == before or moment == "after"
            if failed is None:
                assert after != before or at > 1
                break


async def _rows(memory: WorkingMemory) -> list[Any]:
    names = [table.name for table in WORKING.tables]
    return await memory.database.run(
        lambda c: [c.execute(f"SELECT * FROM {name} ORDER BY row").fetchall() for name in names]  # noqa: S608
    )


async def test_a_full_disk_refuses_and_goes_on_when_there_is_space(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = Statements(code=sqlite3.SQLITE_FULL)
    with counted(monkeypatch, statements):
        async with working_memory(place) as memory:
            statements.at = statements.count + 3
            with pytest.raises(DiskFullError):
                await memory.store_goal(Goal(id="g", description="x"))
            assert await memory.get_active_goals() == []
            await memory.store_goal(Goal(id="g", description="x"))


# Rows and memories together


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.long)], ids=["some", "all"])
@pytest.mark.parametrize("closed", [False, True], ids=["cut off", "closed"])
async def test_a_failure_of_any_call_of_the_core_leaves_a_decision_whole(place: Path, closed: bool, step: int) -> None:
    outcomes: list[tuple[bool, bool]] = []
    for at in range(1, 200, step):
        disk = FaultyDisk()
        outcome = await _logged(place / str(at), disk, at, closed=closed)
        if not disk.failed:
            break
        outcomes.append(outcome)
        await _require_agreement(place / str(at), disk.crash("lose_all", seed=at), stored=outcome[0])
    else:
        pytest.fail("the sweep does not end")
    # The row comes first, so it is always stored; the memory is not, where the error was raised.
    assert {stored for stored, _ in outcomes} == {True}
    assert {raised for _, raised in outcomes} == {False, True}


async def _logged(place: Path, disk: FaultyDisk, at: int, *, closed: bool) -> tuple[bool, bool]:
    """Log a decision while the `at`-th call of the core's disk fails; whether its row was stored, and whether it raised."""
    store = MemoryPersistence("faulty", backend=lambda: FaultyBackend(disk), embedder=word_embedder())
    async with working_memory(place) as databases:
        await store.initialize()
        collections = Collections(store)
        memory = WorkingMemory(databases.database, collections, ManualClock(), archive=databases.archive)
        disk.plan(Fault(at, errno.EIO))
        raised = False
        try:
            await memory.log_decision(Decision(id="d", context="disk full", chosen="clean"))
            await store.flush()
        except SynthiansMemoryError:
            raised = True
        rows = await databases.database.run(lambda c: c.execute("SELECT id FROM decisions").fetchall())
        if not closed:
            disk = disk.copy()
        with suppress(SynthiansMemoryError):
            await store.close()
        return bool(rows), raised


async def _require_agreement(place: Path, disk: FaultyDisk, *, stored: bool) -> None:
    async with (
        MemoryPersistence("faulty", backend=lambda: FaultyBackend(disk), embedder=word_embedder()) as store,
        working_memory(place) as databases,
    ):
        assert databases.archive is not None
        collections = Collections(store)
        report = await reconcile(collections, databases.database, databases.archive)
        assert (report.left, report.failure) == ((), "")
        memory = WorkingMemory(databases.database, collections, archive=databases.archive)
        found = await memory.find_similar_decisions("disk full")
        assert [decision.id for decision in found] == (["d"] if stored else [])
        assert await store.list_memories() == (["decisions-d"] if stored else [])
        assert [f for f in await store.verify_consistency() if f.severity != "note"] == []


# Killed at random moments


async def test_a_killed_program_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    await _killed_rounds(tmp_path, rounds=2, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(4))
async def test_a_killed_program_keeps_what_it_acknowledged_many_times(tmp_path: Path, seed: int) -> None:
    await _killed_rounds(tmp_path, rounds=25, seed=seed)


async def _killed_rounds(place: Path, *, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: dict[str, Any] = {}
    for number in range(rounds):
        lines = _killed_run(place / "store", chance.uniform(0.05, 1.2), seed * 1000 + number)
        for line in lines:
            acknowledged[f"{line['table']} {line['id']}"] = line["record"]
        await verified(place / "store", acknowledged)
    assert len(acknowledged) > 10 * rounds


def _killed_run(place: Path, seconds: float, seed: int) -> list[dict[str, Any]]:
    """What a program acknowledged that was killed so many seconds after its first acknowledgement."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), str(place), str(seed)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read()
    lines = (first + rest).splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
