"""Damage to the databases of the tiers is told, served nowhere, and never made worse."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from working_samples import NOW, copied, sqlite_beside, store_finished, working_memory

from synthians_memory import MemoryPersistence
from synthians_memory.errors import (
    DamagedError,
    DamagedFileError,
    DamagedRowError,
    DiskError,
    NotRegularFileError,
    SynthiansMemoryError,
    UnsupportedFormatError,
)
from synthians_memory.layout import LONGTERM_DB, TIERS, WORKING_DB
from synthians_memory.storage.local import LocalBackend
from synthians_memory.tiers import write_ahead_log
from synthians_memory.tiers.collections import Collections
from synthians_memory.tiers.connections import read_database
from synthians_memory.tiers.database import Database
from synthians_memory.tiers.part import TiersPart
from synthians_memory.tiers.records import Decision, Event, Goal, Pattern
from synthians_memory.tiers.tables import WORKING
from synthians_memory.tiers.write_ahead_log import damaged_log

LOG = f"{WORKING_DB}-wal"


async def filled(place: Path) -> Path:
    """Databases after a clean close."""
    async with working_memory(place) as memory:
        for name in ("a", "b", "c"):
            await store_finished(memory, name)
        await memory.migrate_old_entries(NOW + 7200)
        for number in range(40):
            await memory.store_goal(Goal(id=f"g{number}", description=f"the goal number {number}"))
    return place


async def killed(place: Path, to: Path, goals: int = 20) -> Path:
    """Databases as a killed process leaves them: the last `goals` goals are in the log only, each in a transaction."""
    await filled(place)
    async with working_memory(place) as memory:
        for number in range(goals):
            await memory.store_goal(Goal(id=f"late{number}", description=f"a late goal, number {number}"))
        return copied(place, to)


def codes(place: Path, level: str = "full") -> set[str]:
    backend = LocalBackend(place)
    try:
        return {finding.code for finding in TiersPart().check(backend, level)}  # type: ignore[arg-type]
    finally:
        backend.close()


def state_of(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (place / TIERS).iterdir() if path.is_file()}


async def test_sound_databases_have_nothing_to_be_told(tmp_path: Path) -> None:
    await filled(tmp_path)
    before = state_of(tmp_path)
    assert codes(tmp_path) == codes(tmp_path, "quick") == set()
    assert state_of(tmp_path) == before


async def test_a_check_beside_a_writer_and_after_a_kill_has_nothing_to_tell(tmp_path: Path) -> None:
    place = await killed(tmp_path / "store", tmp_path / "killed")
    assert codes(place) == codes(place, "quick") == set()
    async with working_memory(place) as memory:
        await memory.store_goal(Goal(description="x"))
        assert codes(place) == codes(place, "quick") == set()
        await memory.store_goal(Goal(description="y"))


# Rows


@pytest.mark.parametrize("path", [WORKING_DB, LONGTERM_DB])
async def test_a_changed_row_is_named_by_a_full_check(tmp_path: Path, path: str) -> None:
    await filled(tmp_path)
    table, key = ("goals", "g7") if path == WORKING_DB else ("archived_tasks", "b-t1")
    with sqlite_beside(tmp_path, path) as connection:
        connection.execute(f"UPDATE {table} SET description = 'other' WHERE id = '{key}'")  # noqa: S608
    backend = LocalBackend(tmp_path)
    (finding,) = TiersPart().check(backend, "full")
    backend.close()
    assert (finding.code, finding.path, finding.severity) == ("tier_row_damaged", path, "damage")
    assert f"'{key}' of {table}" in finding.message


async def test_a_row_without_its_parent_is_told(tmp_path: Path) -> None:
    await filled(tmp_path)
    async with working_memory(tmp_path) as memory:
        await store_finished(memory, "z", tasks=1)
    with sqlite_beside(tmp_path) as connection:
        connection.execute("DELETE FROM goals WHERE id = 'z'")
    assert codes(tmp_path) == {"tier_damaged"}


async def test_a_table_that_is_gone_is_damage(tmp_path: Path) -> None:
    await filled(tmp_path)
    with sqlite_beside(tmp_path) as connection:
        connection.execute("DROP TABLE events")
    with pytest.raises(DamagedFileError, match=r"working\.db is damaged: it lacks events"):
        await Database(tmp_path, WORKING).open()
    assert codes(tmp_path) == {"tier_damaged"}


# Pages


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(n, marks=pytest.mark.long) for n in range(6, 60))])
async def test_flipped_bits_in_pages_are_told_or_change_nothing_that_is_read(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    await filled(tmp_path / "store")
    async with working_memory(tmp_path / "store") as memory:
        right = {goal.key: goal for goal in await memory.get_active_goals()}
    for number in range(10):
        place = copied(tmp_path / "store", tmp_path / str(number))
        path = place / chance.choice([WORKING_DB, LONGTERM_DB])
        data = bytearray(path.read_bytes())
        offset = chance.randrange(len(data))
        data[offset] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        found = codes(place)
        assert found <= {"tier_damaged", "tier_row_damaged", "tier_words_damaged"}
        try:
            async with working_memory(place) as memory:
                for goal in await memory.get_active_goals():
                    assert goal == right[goal.key]
                for key, goal in right.items():
                    assert await memory.get_goal(key) in (goal, None)
        except (DamagedError, UnsupportedFormatError, DiskError):
            assert found, f"byte {offset} of {path.name} is seen by a read, and not by a check"


@pytest.mark.parametrize(
    "size",
    [0, 1, 50, 100, 4095, 4096, 5000, 8192, -4096, -1],
    ids=lambda size: f"to {size}" if size >= 0 else f"by {-size}",
)
async def test_a_truncated_database_is_damage_and_stays_as_it_is(tmp_path: Path, size: int) -> None:
    await filled(tmp_path)
    whole = (tmp_path / WORKING_DB).stat().st_size
    os.truncate(tmp_path / WORKING_DB, size if size >= 0 else whole + size)
    before = state_of(tmp_path)
    assert "tier_damaged" in codes(tmp_path, "quick")
    if 0 <= size <= 4096:
        with pytest.raises(SynthiansMemoryError, match=r"tiers/working\.db"):
            await Database(tmp_path, WORKING).open()
        assert state_of(tmp_path) == before


@pytest.mark.parametrize("content", [b"SQLite format 3\0" + b"rot" * 4000, b"no database at all" * 500])
async def test_what_is_no_database_is_damage_and_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    await filled(tmp_path)
    (tmp_path / WORKING_DB).write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"tiers/working\.db is damaged"):
        await Database(tmp_path, WORKING).open()
    with pytest.raises(DamagedFileError):
        await Database(tmp_path, WORKING, read_only=True).open()
    assert (tmp_path / WORKING_DB).read_bytes() == content
    assert codes(tmp_path) == {"tier_damaged"}


async def test_one_database_is_not_taken_for_the_other(tmp_path: Path) -> None:
    await filled(tmp_path)
    shutil.copy(tmp_path / LONGTERM_DB, tmp_path / WORKING_DB)
    with pytest.raises(DamagedFileError, match="it lacks"):
        await Database(tmp_path, WORKING).open()
    assert codes(tmp_path) == {"tier_damaged"}


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    await filled(tmp_path)
    with sqlite_beside(tmp_path) as connection:
        connection.execute("PRAGMA user_version = 2")
    for read_only in (False, True):
        with pytest.raises(UnsupportedFormatError, match="is of version 2, and 1 is the newest"):
            await Database(tmp_path, WORKING, read_only=read_only).open()
    assert codes(tmp_path) == {"tier_damaged"}


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM words WHERE rowid IN (SELECT rowid FROM words LIMIT 3)",
        "UPDATE words_content SET c0 = 'other' WHERE id = (SELECT min(id) FROM words_content)",
        "INSERT INTO words (rowid, text) VALUES (800000, 'of nothing')",
        "UPDATE patterns SET trigger_folded = 'other'",
        "UPDATE words_data SET block = x'00ff' WHERE id > 10",
        "DELETE FROM words_data",
        "DELETE FROM words_config",
    ],
    ids=["missing", "other", "of no row", "folded", "blocks", "no blocks", "no settings"],
)
async def test_an_index_of_words_that_does_not_fit_is_told_and_made_anew(tmp_path: Path, change: str) -> None:
    await filled(tmp_path)
    async with working_memory(tmp_path) as memory:
        await memory.store_pattern(Pattern(id="p", trigger="Disk Full", action="clean"))
    with sqlite_beside(tmp_path) as connection:
        connection.execute(change)
    # What is in the blocks only SQLite's own check tells, which needs to write.
    assert codes(tmp_path) == {"tier_words_damaged"} or "words_data" in change
    async with working_memory(tmp_path) as memory:
        await memory.vacuum()
        assert [hit.id for hit in await memory.find_relevant("number 7", 1)] == ["g7"]
        assert await memory.find_pattern("disk full") is not None
        await memory.store_goal(Goal(id="new", description="anew"))
        assert [hit.id for hit in await memory.find_relevant("anew")] == ["new"]
    assert codes(tmp_path) == set()


# What stands in the place of files


def _directory(path: Path) -> None:
    path.mkdir()


def _symlink(path: Path) -> None:
    shutil.copy(path.parent / "longterm.db", path.parent.parent / "elsewhere.db")
    path.symlink_to(path.parent.parent / "elsewhere.db")


def _fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [_directory, _symlink, _fifo])
@pytest.mark.parametrize("name", ["working.db", "working.db-wal", "working.db-shm"])
async def test_nothing_else_is_opened_in_the_place_of_a_file(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    await filled(tmp_path)
    (tmp_path / TIERS / name).unlink(missing_ok=True)
    make(tmp_path / TIERS / name)
    for read_only in (False, True):
        with pytest.raises(NotRegularFileError, match="is no regular file"):
            await Database(tmp_path, WORKING, read_only=read_only).open()
    assert "tier_damaged" in codes(tmp_path)


async def test_a_folder_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    await filled(tmp_path / "other")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / TIERS).symlink_to(tmp_path / "other" / TIERS)
    before = state_of(tmp_path / "other")
    with pytest.raises(NotRegularFileError, match="tiers is no folder"):
        await Database(tmp_path / "store", WORKING).open()
    assert codes(tmp_path / "store") == {"tier_damaged"}
    assert state_of(tmp_path / "other") == before


async def test_a_store_that_was_moved_away_is_not_opened_where_it_was(tmp_path: Path) -> None:
    await filled(tmp_path / "store")
    backend = LocalBackend(tmp_path / "store")
    assert backend.stat(WORKING_DB) is not None
    (tmp_path / "store").rename(tmp_path / "moved")
    with pytest.raises(DiskError):
        await Database(backend, WORKING).open()
    await filled(tmp_path / "store")
    async with working_memory(tmp_path / "store") as memory:
        await memory.store_goal(Goal(description="another one"))
    with pytest.raises(DiskError, match="no longer where it was opened"):
        await Database(backend, WORKING).open()
    backend.close()


# The write-ahead log


async def test_what_a_killed_process_had_committed_is_there(tmp_path: Path) -> None:
    place = await killed(tmp_path / "store", tmp_path / "killed")
    async with working_memory(place) as memory:
        assert len(await memory.get_active_goals()) == 60
    assert sorted(os.listdir(place / TIERS)) == ["longterm.db", "working.db"]


async def test_a_torn_log_leaves_whole_transactions_and_is_no_damage(tmp_path: Path) -> None:
    place = await killed(tmp_path / "store", tmp_path / "killed", goals=5)
    size = (place / LOG).stat().st_size
    seen: list[int] = []
    for cut in range(0, size, size // 23):
        torn = copied(place, tmp_path / f"cut-{cut}")
        os.truncate(torn / LOG, cut)
        assert codes(torn) == set()
        async with working_memory(torn) as memory:
            late = [goal.key for goal in await memory.get_active_goals() if goal.key.startswith("late")]
        assert late == [f"late{number}" for number in range(len(late))]
        seen.append(len(late))
        assert sorted(os.listdir(torn / TIERS)) == ["longterm.db", "working.db"]
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] >= 4


async def test_a_log_damaged_in_its_middle_is_told_and_kept(tmp_path: Path) -> None:
    chance = random.Random(3)
    place = await killed(tmp_path / "store", tmp_path / "killed", goals=8)
    whole = (place / LOG).read_bytes()
    for number in range(12):
        damaged = copied(place, tmp_path / str(number))
        data = bytearray(whole)
        data[chance.randrange(len(data) * 3 // 4) if number else 5] ^= 1 << chance.randrange(8)
        (damaged / LOG).write_bytes(data)
        assert codes(damaged, "quick") == {"tier_log_damaged"}
        async with working_memory(damaged) as memory:
            late = [goal.key for goal in await memory.get_active_goals() if goal.key.startswith("late")]
            # What stands before the damage is there, and transactions are whole.
            assert late == [f"late{n}" for n in range(len(late))]
            assert len(late) < 8
        (kept,) = [name for name in os.listdir(damaged / TIERS) if ".damaged-" in name]
        assert (damaged / TIERS / kept).read_bytes() == data
        # It is told until somebody has seen to it.
        assert codes(damaged, "quick") == {"tier_log_damaged"}
        (damaged / TIERS / kept).unlink()
        assert codes(damaged) == set()


async def test_the_torn_end_of_a_log_may_lack_any_of_its_frames(tmp_path: Path) -> None:
    place = await killed(tmp_path / "store", tmp_path / "killed", goals=4)
    data = bytearray((place / LOG).read_bytes())
    heads = [data[32 + n * 4120 : 32 + n * 4120 + 8] for n in range((len(data) - 32) // 4120)]
    ends = [number for number, head in enumerate(heads) if head[4:] != bytes(4)]
    assert ends[-1] - ends[-2] > 2
    # What was written last, and never synced, reaches the disk in any order.
    lost = 32 + (ends[-2] + 1) * 4120
    data[lost : lost + 4120] = bytes(4120)
    (place / LOG).write_bytes(data)
    assert codes(place) == set()
    async with working_memory(place) as memory:
        late = [goal.key for goal in await memory.get_active_goals() if goal.key.startswith("late")]
        assert late == ["late0", "late1", "late2"]
    assert sorted(os.listdir(place / TIERS)) == ["longterm.db", "working.db"]


async def test_a_log_that_looks_damaged_for_a_moment_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await killed(tmp_path / "store", tmp_path / "killed")
    looks = [(3, 4), (1, 2)]
    monkeypatch.setattr(write_ahead_log, "_first_lost", lambda data: looks.pop() if looks else None)
    assert codes(place, "quick") == set()
    assert looks == []


async def test_frames_of_an_earlier_use_of_the_log_are_no_damage(tmp_path: Path) -> None:
    await filled(tmp_path / "store")
    async with working_memory(tmp_path / "store") as memory:
        for _ in range(30):
            await memory.store_events([Event(category="c", source="s", data={"t": "x" * 3000}) for _ in range(9)])
        await memory.database.run(lambda connection: None)
        with sqlite3.connect(tmp_path / "store" / WORKING_DB) as beside:
            beside.execute("PRAGMA wal_checkpoint(RESTART)")
        beside.close()
        for number in range(5):
            await memory.store_goal(Goal(id=f"late{number}", description="x"))
        place = copied(tmp_path / "store", tmp_path / "killed")
    backend = LocalBackend(place)
    assert damaged_log(backend, WORKING_DB) is None
    backend.close()
    async with working_memory(place) as memory:
        assert len(await memory.get_active_goals()) == 45


async def test_without_its_log_a_database_is_an_older_one_and_whole(tmp_path: Path) -> None:
    place = await killed(tmp_path / "store", tmp_path / "killed")
    (place / LOG).unlink()
    assert codes(place) == set()
    async with working_memory(place) as memory:
        assert len(await memory.get_active_goals()) == 40


async def test_a_log_without_its_database_is_not_taken_for_a_beginning(tmp_path: Path) -> None:
    place = await killed(tmp_path / "store", tmp_path / "killed")
    (place / WORKING_DB).unlink()
    before = state_of(place)
    for read_only in (False, True):
        with pytest.raises(DamagedFileError, match=r"working\.db is gone, and tiers/working\.db-wal holds changes"):
            await Database(place, WORKING, read_only=read_only).open()
    assert codes(place) == {"tier_damaged"}
    assert state_of(place) == before


async def test_working_memory_that_is_gone_is_told(tmp_path: Path) -> None:
    await filled(tmp_path)
    (tmp_path / WORKING_DB).unlink()
    assert codes(tmp_path, "quick") == {"tier_damaged"}


async def test_readers_of_a_killed_store_change_nothing_but_the_memory_they_share(tmp_path: Path) -> None:
    place = await killed(tmp_path / "store", tmp_path / "killed")
    before = state_of(place)
    database = await Database(place, WORKING, read_only=True).open()
    found = await database.run(lambda c: c.execute("SELECT count(*) FROM goals").fetchone())
    await database.close()
    assert found == (60,)
    after = state_of(place)
    after.pop("working.db-shm")
    assert after == before


async def test_readers_of_a_killed_store_with_its_shared_memory_change_nothing_at_all(tmp_path: Path) -> None:
    await filled(tmp_path / "store")
    async with working_memory(tmp_path / "store") as memory:
        await memory.store_goal(Goal(id="late", description="x"))
        place = copied(tmp_path / "store", tmp_path / "killed")
        shutil.copy(tmp_path / "store" / f"{WORKING_DB}-shm", place / f"{WORKING_DB}-shm")
    before = state_of(place)
    assert codes(place) == set()
    database = await Database(place, WORKING, read_only=True).open()
    assert await database.run(lambda c: c.execute("SELECT count(*) FROM goals").fetchone()) == (41,)
    await database.close()
    assert {name: before[name] for name in before if "longterm" not in name} == {
        name: data for name, data in state_of(place).items() if "longterm" not in name
    }


async def test_a_read_is_made_again_where_a_writer_came_meanwhile(tmp_path: Path) -> None:
    await filled(tmp_path)
    backend = LocalBackend(tmp_path)
    counts: list[int] = []

    def read(connection: sqlite3.Connection) -> int:
        if not counts:
            with sqlite_beside(tmp_path) as writer:
                writer.execute("DELETE FROM patterns")
                writer.execute("DELETE FROM goals WHERE id = 'g7'")
        counts.append(connection.execute("SELECT count(*) FROM goals").fetchone()[0])
        return counts[-1]

    assert read_database(backend, WORKING, read) == 39
    assert len(counts) == 2
    backend.close()


# Rows and memories


async def test_a_store_tells_of_its_tiers_and_goes_on_without_them(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        async with working_memory(tmp_path, None, Collections(store)) as memory:
            await memory.log_decision(Decision(id="d", context="disk full", chosen="clean"))
        assert await store.verify_consistency() == []
        with sqlite_beside(tmp_path) as connection:
            connection.execute("UPDATE decisions SET chosen = 'burn'")
        assert [finding.code for finding in await store.verify_consistency()] == ["tier_row_damaged"]
        async with working_memory(tmp_path, None, Collections(store)) as memory:
            with pytest.raises(DamagedRowError, match="'d' of decisions"):
                await memory.find_similar_decisions("disk full")
        os.truncate(tmp_path / WORKING_DB, 100)
        assert "tier_damaged" in [finding.code for finding in await store.verify_consistency("quick")]
        # The store itself is not at fault.
        assert await store.load_memory("decisions-d") is not None
        report = await store.verify_and_repair_consistency()
        assert report.clean
        assert (tmp_path / WORKING_DB).stat().st_size == 100
