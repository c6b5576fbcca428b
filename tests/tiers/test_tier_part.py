"""The tiers in snapshots, restores and moves: rows come along whole, at whatever moment, and nobody's locks are dropped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from working_samples import NOW, ids_in, store_finished, working_memory

from synthians_memory import MemoryPersistence
from synthians_memory.facade import PARTS
from synthians_memory.layout import LONGTERM_DB, TIERS, WORKING_DB
from synthians_memory.maintenance import backup
from synthians_memory.maintenance.care import own_directory, snapshots_in
from synthians_memory.maintenance.restore import Wanted, restore_store
from synthians_memory.storage.backend import Backend, EntryStat
from synthians_memory.storage.local import LocalBackend
from synthians_memory.tiers import Decision, Goal, Tiers
from synthians_memory.tiers.collections import Collections
from synthians_memory.tiers.migration import finish
from synthians_memory.tiers.part import TiersPart
from synthians_memory.times import SystemClock

# Another program that looks into a database, and is the last to close it as far as SQLite's locks tell.
LOOK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM goals").fetchone()[0])
connection.close()
"""


def looked_into(path: Path) -> str:
    done = subprocess.run([sys.executable, "-c", LOOK, str(path)], check=True, capture_output=True, text=True)
    return done.stdout


def restored(path: Path, elsewhere: Path | None = None) -> None:
    backend = LocalBackend(path)
    try:
        directory = own_directory(backend)
    finally:
        backend.close()
    target = elsewhere or path

    def opened() -> Backend:
        return LocalBackend(target, create=True)

    with snapshots_in(directory) as folder:
        restore_store(opened, folder, Wanted(), SystemClock(), parts=PARTS, elsewhere=elsewhere is not None)


async def test_rows_and_their_memories_come_back(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        async with Tiers(store) as tiers:
            await tiers.working.store_goal(Goal(id="kept", description="x"))
            decision = await tiers.working.log_decision(Decision(id="d", context="disk full", chosen="clean"))
            await store.backup()
            await tiers.working.store_goal(Goal(id="newer", description="x"))
            await tiers.working.update_goal("kept", "failed")
        assert (await store.backup()).snapshot.problems == ()
    names = sorted(os.listdir(tmp_path / "backups/snapshots/snapshots"))
    os.unlink(tmp_path / "backups/snapshots/snapshots" / names[-1])
    restored(tmp_path)
    async with MemoryPersistence(tmp_path) as store, Tiers(store) as tiers:
        assert [goal.id for goal in await tiers.working.get_active_goals()] == ["kept"]
        assert await tiers.working.find_similar_decisions("disk full") == [decision]
        assert [f for f in await store.verify_consistency() if f.severity != "note"] == []
    # What was replaced is in quarantine, log and all.
    (replaced,) = (tmp_path / "quarantine").glob("*/*/tiers")
    assert {"working.db", "longterm.db"} <= set(os.listdir(replaced))


async def test_a_restore_leaves_no_log_of_what_it_replaced(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "store") as store:
        async with Tiers(store) as tiers:
            await tiers.working.store_goal(Goal(id="kept", description="x"))
        await store.backup()
    async with working_memory(tmp_path / "store") as memory:
        for number in range(50):
            await memory.store_goal(Goal(id=f"g{number}", description="x"))
        log = (tmp_path / "store" / f"{WORKING_DB}-wal").read_bytes()
    # As a killed process leaves it.
    (tmp_path / "store" / f"{WORKING_DB}-wal").write_bytes(log)
    restored(tmp_path / "store")
    assert sorted(os.listdir(tmp_path / "store/tiers")) == ["longterm.db", "working.db"]
    async with MemoryPersistence(tmp_path / "store") as store, Tiers(store) as tiers:
        assert [goal.id for goal in await tiers.working.get_active_goals()] == ["kept"]


async def test_a_store_is_restored_elsewhere_with_its_tiers(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "store") as store:
        async with Tiers(store) as tiers:
            await tiers.working.store_goal(Goal(id="kept", description="x"))
        await store.backup()
    restored(tmp_path / "store", tmp_path / "other")
    async with MemoryPersistence(tmp_path / "other") as store, Tiers(store) as tiers:
        assert [goal.id for goal in await tiers.working.get_active_goals()] == ["kept"]


def test_working_memory_is_copied_first() -> None:
    class There:
        def stat(self, path: str) -> EntryStat:
            return EntryStat("folder" if path == TIERS else "file", 1, 1)

    files: list[str] = TiersPart().source_files(There())  # type: ignore[arg-type]
    assert files == [WORKING_DB, LONGTERM_DB]


async def test_a_row_that_is_migrated_during_a_snapshot_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = backup.part_file_pieces
    steps: list[Any] = []

    def between(place: Backend, path: str, stat: Any) -> Iterator[bytes]:
        steps.append(path)
        if path == LONGTERM_DB:
            # Between the two copies.
            subprocess.run(
                [sys.executable, "-c", MIGRATE, str(tmp_path / "store")], check=True, cwd=Path(__file__).parent
            )
        return pieces(place, path, stat)

    async with MemoryPersistence(tmp_path / "store") as store:
        async with working_memory(tmp_path / "store", None, Collections(store)) as memory:
            await store_finished(memory, "g", tasks=2)
            await store_finished(memory, "h", tasks=1)
        expected = ids_in(tmp_path / "store")
        monkeypatch.setattr(backup, "part_file_pieces", between)
        await store.backup()
    assert steps == [WORKING_DB, LONGTERM_DB]
    assert ids_in(tmp_path / "store")["goals"] == (set(), {"g", "h"})
    restored(tmp_path / "store", tmp_path / "other")
    places = ids_in(tmp_path / "other")
    assert places["goals"] == ({"g", "h"}, {"g", "h"})
    async with working_memory(tmp_path / "other") as memory:
        assert (await finish(memory)).goals == 2
    assert {table: working | archived for table, (working, archived) in ids_in(tmp_path / "other").items()} == {
        table: working | archived for table, (working, archived) in expected.items()
    }
    assert all(not working & archived for working, archived in ids_in(tmp_path / "other").values())


MIGRATE = f"""
import asyncio, sys
from pathlib import Path
from working_samples import working_memory

async def main():
    async with working_memory(Path(sys.argv[1])) as memory:
        await memory.migrate_old_entries({NOW} + 7200)

asyncio.run(main())
"""


async def test_another_program_that_looks_in_after_a_snapshot_takes_no_commits_away(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store, Tiers(store) as tiers:
        await tiers.working.store_goal(Goal(id="one", description="x"))
        log = tmp_path / f"{WORKING_DB}-wal"
        before = log.stat().st_ino
        await store.backup()
        await store.verify_consistency()
        assert looked_into(tmp_path / WORKING_DB) == "1\n"
        # Had the snapshot dropped the locks, the other program would have removed the log that we go on writing to.
        assert log.stat().st_ino == before
        await tiers.working.store_goal(Goal(id="two", description="x"))
        assert looked_into(tmp_path / WORKING_DB) == "2\n"


async def test_a_snapshot_of_tiers_that_nobody_has_open_leaves_no_files_beside_them(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        async with Tiers(store):
            pass
        before = sorted(os.listdir(tmp_path / "tiers"))
        assert (await store.backup()).snapshot.problems == ()
        await store.verify_consistency()
        assert sorted(os.listdir(tmp_path / "tiers")) == before == ["longterm.db", "working.db"]


async def test_a_damaged_database_is_a_problem_of_a_snapshot_and_not_its_end(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        async with Tiers(store) as tiers:
            await tiers.working.store_goal(Goal(id="one", description="x"))
        (tmp_path / WORKING_DB).write_bytes(b"rot" * 5000)
        report = await store.backup()
        assert any(WORKING_DB in problem for problem in report.snapshot.problems)


async def test_a_store_without_tiers_has_no_part_of_them(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        await store.backup()
        assert await store.verify_consistency() == []
    assert "tiers" not in os.listdir(tmp_path)
