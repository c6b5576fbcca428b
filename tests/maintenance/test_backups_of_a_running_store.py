"""Backups through the store itself, while it is written to: the restored state is one that was acknowledged."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from synthians_memory import MemoryPersistence
from synthians_memory.errors import InvalidValueError, StoreClosedError, StoreLockedError
from synthians_memory.layout import SNAPSHOTS
from synthians_memory.maintenance.care import snapshots_in, snapshots_to
from synthians_memory.maintenance.restore import Wanted, restore_store
from synthians_memory.maintenance.snapshots import list_snapshots, verify_snapshots
from synthians_memory.models import MemoryEntry
from synthians_memory.storage.local import LocalBackend
from synthians_memory.times import SystemClock

MEMORIES = 60
# Restored and compared by id and content hash.
State = frozenset[tuple[str, str]]


def entry(name: str, edition: int) -> MemoryEntry:
    return MemoryEntry(memory_id=name, content=f"{name}, edition {edition}", embedding=[1.0, float(edition), 2.0])


class Load:
    """One writer, and every state that it had acknowledged, in order."""

    def __init__(self, store: MemoryPersistence) -> None:
        self.store = store
        self.now: dict[str, str] = {}
        self.states: list[State] = [frozenset()]
        self.ended = False

    async def write(self, seed: int) -> None:
        rng, edition = Random(seed), 0
        while not self.ended:
            edition += 1
            names = [f"m{n}" for n in rng.sample(range(MEMORIES), rng.randrange(1, 8))]
            if rng.random() < 0.2:
                await self.store.delete_memories_batch(names)
                for name in names:
                    self.now.pop(name, None)
            else:
                stored = await self.store.save_memories_batch([entry(name, edition) for name in names])
                self.now |= {one.memory_id: one.content_hash or "" for one in stored}
            self.states.append(frozenset(self.now.items()))
            if rng.random() < 0.05:
                await self.store.checkpoint()


async def held(path: Path) -> State:
    async with MemoryPersistence(path) as store:
        assert not [f for f in await store.verify_consistency() if f.severity != "note"]
        assert not store.stats()["notes"]
        return frozenset([(one.memory_id, one.content_hash or "") async for one in store.iter_memories()])


def restore(directory: Path, name: str, to: Path) -> None:
    with snapshots_in(str(directory)) as folder:
        assert all(info.whole for info in verify_snapshots(folder))
        restore_store(lambda: LocalBackend(to, create=True), folder, Wanted(name), SystemClock(), elsewhere=True)


@pytest.mark.parametrize("mode", ["through", "behind"])
async def test_a_backup_under_load_restores_to_a_state_that_was_acknowledged(tmp_path: Path, mode: str) -> None:
    taken: list[tuple[str, int, int]] = []
    async with MemoryPersistence(
        tmp_path / "store", write_mode=mode, segment_bytes=32 * 1024, checkpoint_interval=0.05
    ) as store:
        load = Load(store)
        writing = asyncio.create_task(load.write(1))
        for _ in range(6):
            await asyncio.sleep(0.1)
            before = len(load.states)
            report = await store.backup(tmp_path / "to")
            assert report.snapshot.whole
            # What was about to be acknowledged when it ended may be in it.
            taken.append((report.snapshot.name, before - 1, len(load.states) + 1))
        load.ended = True
        await writing
    assert len(load.states) > len(taken)
    for name, first, last in taken:
        restore(tmp_path / "to", name, tmp_path / name)
        state = await held(tmp_path / name)
        assert state in load.states[first:last], (name, first, last)


async def test_a_backup_holds_up_neither_the_loop_nor_the_writer(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "store") as store:
        await store.save_memories_batch([entry(f"m{n}", 1) for n in range(300)])
        ticks = saves = 0
        backing_up = asyncio.create_task(store.backup())
        while not backing_up.done():
            await asyncio.sleep(0)
            ticks += 1
            if ticks % 50 == 0:
                await store.save_memory(entry("beside", ticks))
                saves += 1
        report = await backing_up
        assert report.directory == str(tmp_path / "store" / SNAPSHOTS)
        assert ticks > 20
        assert report.snapshot.memories >= 300
        assert store.stats()["memories"] == 300 + (saves > 0)


async def test_seven_manual_ones_stay_and_settings_decide(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "store", backup_retention_days=1) as store:
        names = []
        for edition in range(9):
            await store.save_memory(entry("m", edition))
            report = await store.backup()
            names.append(report.snapshot.name)
        assert report.removed == (names[1],)
        await store.backup(ring="hourly")
        with snapshots_in(report.directory) as folder:
            assert [info.ring for info in list_snapshots(folder)] == ["manual"] * 7 + ["hourly"]
        versions = await store.history("m")
        assert len(versions) >= 7
        assert versions[-1].sources[-1] in ("store", "journal")
        with pytest.raises(InvalidValueError, match="weekly"):
            await store.backup(ring="weekly")  # type: ignore[arg-type]
    with pytest.raises(StoreClosedError):
        await store.backup()


async def test_a_reader_can_take_a_backup_as_well(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "store") as store:
        await store.save_memory(entry("m", 1))
        async with MemoryPersistence(tmp_path / "store", read_only=True) as reader:
            await store.save_memory(entry("m", 2))
            report = await reader.backup(tmp_path / "to")
    restore(tmp_path / "to", report.snapshot.name, tmp_path / "copy")
    async with MemoryPersistence(tmp_path / "copy") as copy:
        found = await copy.load_memory("m")
        assert found is not None
        assert found.content == "m, edition 2"


async def test_two_backups_into_one_directory_at_once(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "store") as store:
        await store.save_memory(entry("m", 1))
        with snapshots_to(str(tmp_path / "to")), pytest.raises(StoreLockedError):
            await store.backup(tmp_path / "to")
        assert (await store.backup(tmp_path / "to")).snapshot.whole


async def test_a_store_that_is_too_damaged_to_write_to_is_backed_up(tmp_path: Path) -> None:
    entries = [MemoryEntry(memory_id=f"m{number}", content="x") for number in range(40)]
    async with MemoryPersistence(tmp_path) as store:
        await store.save_memories_batch(entries)
    for entry in entries[:30]:
        (tmp_path / "memories" / f"{entry.memory_id}.json").unlink()
    async with MemoryPersistence(tmp_path) as store:
        assert store.stats()["read_only"]
        report = await store.backup()
        assert report.snapshot.missing == 30
        assert report.snapshot.memories == 10
