"""Write mode "behind": acknowledged when the journal is synced, visible at once, and in its files within bounds."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from stalled_writer import stalled, until, until_all_wait

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.config import StoreConfig
from synthians_memory.engine.commit import Batch, Operation
from synthians_memory.engine.statistics import statistics
from synthians_memory.engine.store import Store
from synthians_memory.errors import JournalFailedError, PermissionDeniedError
from synthians_memory.layout import ENTITY_FOLDERS, entity_path
from synthians_memory.storage.backend import WritableFile
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import SYNCING, Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.store_history import delete, observe, save
from synthians_memory.testing.store_scenarios import SMALL_STORE, assembly, memory

BEHIND: StoreConfig = replace(SMALL_STORE, write_mode="behind")


class CountingBackend(FaultyBackend):
    """A disk that counts the entity files that are begun, and refuses them while it is told so."""

    refuses = False
    begun = 0

    def create(self, path: str) -> WritableFile:
        if path.partition("/")[0] in ENTITY_FOLDERS.values():
            if self.refuses:
                raise PermissionDeniedError(f"cannot make {path}", path=path, errno=errno.EACCES)
            self.begun += 1
        return super().create(path)


def opened(backend: FaultyBackend, config: StoreConfig = BEHIND) -> Store:
    return Store.open(backend, config, ManualClock())


def commit(store: Store, *operations: Operation) -> None:
    batch = Batch(operations)
    store.commit([batch])
    if batch.error is not None:
        raise batch.error


def edition(store: Store, name: str) -> int | None:
    found = store.load(("memory", name))
    return found.metadata["edition"] if isinstance(found, MemoryEntry) else None  # type: ignore[return-value]


def on_disk(backend: FaultyBackend, name: str) -> bytes | None:
    return backend.read(entity_path("memory", name))


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def backend(disk: FaultyDisk) -> CountingBackend:
    return CountingBackend(disk)


@pytest.fixture
def store(backend: CountingBackend) -> Store:
    """With the memories m0, m1 and m2 in files, and nothing that waits."""
    store = opened(backend)
    commit(store, *(save(memory(f"m{n}")) for n in range(3)))
    store.checkpoint()
    backend.begun = 0
    return store


def test_everything_is_seen_at_once(store: Store, backend: CountingBackend) -> None:
    commit(store, save(memory("m0", 2)), save(memory("m3")), delete(("memory", "m1")), save(assembly("a", "m0")))
    assert backend.begun == 0
    assert {key[1] for key in observe(store)} == {"m0", "m2", "m3", "a"}
    assert (edition(store, "m0"), edition(store, "m1"), edition(store, "m3")) == (2, None, 1)
    vector = memory("m3").embedding
    assert vector is not None
    assert [hit.memory_id for hit in store.search(vector, 1, "memory", None)] == ["m3"]
    assert [hit.memory_id for hit in store.search(vector, 9, "memory", {"edition": 2})] == ["m0"]
    assert store.check("quick") == store.check("full") == []
    stats = statistics(store)
    assert (stats["write_mode"], stats["waiting_files"], stats["pending_files"]) == ("behind", 4, 0)
    assert stats["waiting_bytes"] > 1_000


def test_a_reader_beside_sees_what_waits(store: Store, disk: FaultyDisk) -> None:
    commit(store, save(memory("m0", 2)), delete(("memory", "m1")))
    reader = Store.open(FaultyBackend(disk), BEHIND, ManualClock(), read_only=True)
    assert (edition(reader, "m0"), edition(reader, "m1")) == (2, None)
    assert reader.check("full") == []
    store.flush()
    reader.refresh()
    assert (edition(reader, "m0"), edition(reader, "m1")) == (2, None)
    reader.release()


def test_files_follow_the_oldest_first(store: Store, backend: CountingBackend) -> None:
    for name in ("b", "a", "c"):
        commit(store, save(memory(name)))
    assert store.committer.write_files(2) == 2
    assert [on_disk(backend, name) is not None for name in ("b", "a", "c")] == [True, True, False]
    assert statistics(store)["waiting_files"] == 1
    assert store.committer.write_files(9) == 1
    assert store.committer.write_files(9) == 0
    assert statistics(store)["waiting_bytes"] == 0
    assert store.check("full") == []


@pytest.mark.parametrize("how", ["flush", "checkpoint", "close"])
def test_flush_checkpoint_and_close_wait_for_the_files(store: Store, disk: FaultyDisk, how: str) -> None:
    commit(store, save(memory("m0", 2)), save(memory("m3")), delete(("memory", "m1")))
    getattr(store, how)()
    assert statistics(store)["waiting_files"] == 0
    files = FaultyBackend(disk)
    assert b"edition 2" in (on_disk(files, "m0") or b"")
    assert [on_disk(files, name) is None for name in ("m1", "m3")] == [True, False]


def test_changes_of_one_entity_are_written_once(store: Store, backend: CountingBackend) -> None:
    for n in range(2, 30):
        commit(store, save(memory("m0", n)))
        commit(store, save(memory("new", n)))
    commit(store, delete(("memory", "new")))
    commit(store, delete(("memory", "m1")))
    commit(store, save(memory("m1", 7)))
    assert statistics(store)["waiting_files"] == 3
    store.flush()
    assert backend.begun == 2
    assert (edition(store, "m0"), edition(store, "new"), edition(store, "m1")) == (29, None, 7)
    assert on_disk(backend, "new") is None
    assert not [note for note in store.state.notes if note.code == "conflict"]
    assert store.check("full") == []


@pytest.mark.parametrize("written", [0, 1])
def test_a_version_from_outside_under_changes_that_wait_is_kept(
    store: Store, backend: CountingBackend, written: int
) -> None:
    commit(store, save(memory("m0", 2)))
    store.committer.write_files(written)
    commit(store, save(memory("m0", 3)))
    path = entity_path("memory", "m0")
    lines = [line for line in (backend.read(path) or b"").split(b"\n") if b"content_hash" not in line]
    foreign = b"\n".join(lines).replace(b",\n}", b"\n}").replace(b"edition", b"a person's own")
    file = FaultyBackend.create(backend, "outside")
    file.write(foreign)
    file.sync()
    backend.replace("outside", path)
    assert store.check("full") == []
    store.flush()
    (note,) = [note for note in store.state.notes if note.code == "conflict"]
    assert backend.read(note.message.rpartition(" ")[2]) == foreign
    assert b"edition 3" in (backend.read(path) or b"")


@pytest.mark.parametrize("durability", ["commit", "interval"])
def test_what_waits_is_bounded_in_bytes(backend: CountingBackend, durability: str) -> None:
    config = replace(BEHIND, behind_bytes=3_000, durability=durability, flush_threshold=1000)  # type: ignore[arg-type]
    store = opened(backend, config)
    for n in range(30):
        commit(store, save(memory(f"m{n}", length=500)))
        assert statistics(store)["waiting_bytes"] <= 3_000
    assert 0 < statistics(store)["waiting_files"] < 30
    commit(store, *(save(memory(f"b{n}", length=1000)) for n in range(10)))
    assert statistics(store)["waiting_bytes"] <= 3_000
    for n in range(30):
        commit(store, delete(("memory", f"m{n}")))
        assert statistics(store)["waiting_bytes"] <= 3_000
    assert store.check("full") == []


def test_without_room_to_wait_files_are_written_at_once(backend: CountingBackend) -> None:
    store = opened(backend, replace(BEHIND, behind_bytes=0))
    commit(store, save(memory("m0")), save(memory("m1")))
    assert (backend.begun, statistics(store)["waiting_files"]) == (2, 0)


def test_no_file_is_ahead_of_the_synced_journal(backend: CountingBackend) -> None:
    store = opened(backend, replace(BEHIND, durability="interval", flush_threshold=3))
    commit(store, save(memory("m0")))
    commit(store, save(memory("m1")))
    assert store.committer.write_files(9) == 0
    commit(store, save(memory("m2")))
    assert backend.begun == 0
    assert store.committer.write_files(9) == 3


def test_what_cannot_be_written_behind_is_stuck_and_told(store: Store, backend: CountingBackend) -> None:
    backend.refuses = True
    commit(store, save(memory("m0", 2)), save(memory("m3")))
    assert not [f for f in store.check("quick") if f.code == "apply_pending"]
    store.flush()
    stats = statistics(store)
    assert (stats["waiting_files"], stats["pending_files"], stats["since_open"]["apply_failures"]) == (0, 2, 2)
    assert stats["last_error"]
    assert {f.entity_id for f in store.check("quick") if f.code == "apply_pending"} == {"m0", "m3"}
    commit(store, save(memory("m0", 3)))
    assert (edition(store, "m0"), edition(store, "m3")) == (3, 1)
    backend.refuses = False
    assert store.checkpoint()
    assert (edition(store, "m0"), statistics(store)["pending_files"]) == (3, 0)
    assert store.check("full") == []
    assert not [note for note in store.state.notes if note.code == "conflict"]


@pytest.mark.parametrize("checkpointed", [False, True])
def test_what_cannot_be_written_behind_is_not_lost(
    store: Store, backend: CountingBackend, disk: FaultyDisk, *, checkpointed: bool
) -> None:
    backend.refuses = True
    commit(store, save(memory("m0", 2)), save(memory("m3")))
    store.committer.write_files(1)
    commit(store, save(memory("m0", 3)))
    if checkpointed:
        store.checkpoint()
    again = opened(FaultyBackend(disk.crash("lose_all")))
    assert (edition(again, "m0"), edition(again, "m3")) == (3, 1)
    assert not [note for note in again.state.notes if note.severity != "note"]
    assert again.check("full") == []


def test_a_file_that_is_behind_is_not_adopted_or_repaired(store: Store) -> None:
    commit(store, save(memory("m0", 2)))
    assert store.adopt(("memory", "m0")).entity.metadata["edition"] == 2
    commit(store, save(memory("m1", 2)), delete(("memory", "m2")))
    report = store.repair()
    assert not report.findings
    assert (edition(store, "m0"), edition(store, "m1"), edition(store, "m2")) == (2, 2, None)


def test_a_journal_that_fails_takes_nothing_from_what_waits(store: Store, disk: FaultyDisk) -> None:
    commit(store, save(memory("m0", 2)))
    disk.plan(Fault(1, errno.EIO, verbs=SYNCING))
    with pytest.raises(JournalFailedError):
        commit(store, save(memory("m1", 2)))
    with pytest.raises(JournalFailedError):
        store.flush()
    assert (edition(store, "m0"), edition(store, "m1")) == (2, 1)
    store.close()
    assert b"edition 2" in (on_disk(FaultyBackend(disk), "m0") or b"")
    again = opened(FaultyBackend(disk.crash("lose_all")))
    assert (edition(again, "m0"), edition(again, "m1")) == (2, 1)


def test_what_waits_survives_a_power_cut_and_is_in_files_then(store: Store, disk: FaultyDisk) -> None:
    commit(store, save(memory("m0", 2)), save(memory("m3")), delete(("memory", "m1")))
    store.committer.write_files(1)
    acknowledged = {key: store.state.index.hash(key) for key in observe(store)}
    again = opened(FaultyBackend(disk.crash("lose_all")))
    assert statistics(again)["waiting_files"] == 0
    assert {key: again.state.index.hash(key) for key in observe(again)} == acknowledged
    assert not [note for note in again.state.notes if note.severity != "note"]
    assert again.check("full") == []


def test_a_batch_is_seen_whole_or_not_at_all_by_threads(store: Store) -> None:
    rounds = 300
    seen: list[tuple[int | None, int | None]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append((edition(store, "m0"), edition(store, "m1")))
            seen.append((edition(store, "m1"), edition(store, "m0")))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(2, rounds):
        commit(store, save(memory("m1", n)), save(memory("m2", n)), save(memory("m0", n)))
        store.committer.write_files(n % 4)
    done.set()
    for reader in readers:
        reader.join()
    # Who looked at one first sees the other at least as new.
    assert all(first is not None and later is not None and first <= later for first, later in seen)
    assert seen


# With a writer thread


def memory_of(memory_id: str, content: str = "text") -> MemoryEntry:
    return MemoryEntry(memory_id=memory_id, content=content)


def file_of(path: Path, memory_id: str) -> bool:
    return os.path.exists(path / entity_path("memory", memory_id))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


async def test_an_idle_writer_writes_the_files(path: Path) -> None:
    async with MemoryPersistence(path, write_mode="behind", behind_seconds=1000) as store:
        await store.save_memories_batch(memory_of(f"m{n}") for n in range(50))
        await until(lambda: store.stats()["waiting_files"] == 0)
        assert all(file_of(path, f"m{n}") for n in range(50))
        await store.delete_memory("m0")
        await until(lambda: not file_of(path, "m0"))


async def test_flush_waits_for_the_files(path: Path) -> None:
    async with MemoryPersistence(path, write_mode="behind", behind_seconds=1000) as store:
        for turn in range(5):
            await asyncio.gather(*(store.save_memory(memory_of(f"m{n}", f"{turn}")) for n in range(40)))
            await store.flush()
            assert store.stats()["waiting_files"] == 0
            assert all(file_of(path, f"m{n}") for n in range(40))
        assert await store.verify_consistency() == []


async def test_files_that_are_due_go_before_further_saves(path: Path) -> None:
    settings = {"write_mode": "behind", "checkpoint_interval": 1000.0}
    async with MemoryPersistence(path, behind_seconds=0, **settings) as store:
        async with stalled(store):
            saves = [asyncio.create_task(store.save_memory(memory_of(f"m{n:03}"))) for n in range(200)]
            await until_all_wait()
        await asyncio.gather(*saves)
        # The next group comes only after the files that were due when the last one was committed.
        await store.save_memory(memory_of("last"))
        assert sum(file_of(path, f"m{n:03}") for n in range(200)) >= 200
    async with MemoryPersistence(path) as store:
        assert len(await store.list_memories()) == 201
        assert await store.verify_consistency() == []


async def test_checkpoints_are_made_beside_files_that_follow(path: Path) -> None:
    settings = {"write_mode": "behind", "checkpoint_interval": 0.02, "behind_seconds": 1000}
    turn = 0
    async with MemoryPersistence(path, **settings) as store:
        while store.stats()["since_open"]["checkpoints"] < 4:
            turn += 1
            await store.save_memories_batch(memory_of(f"m{(turn + n) % 90:02}", f"{turn}") for n in range(40))
            await store.delete_memory(f"m{turn % 90:02}")
        held = {entry.memory_id: entry.content for entry in await store.load_all()}
        assert store.stats()["since_open"]["checkpoint_failures"] == 0
    async with MemoryPersistence(path) as store:
        assert {entry.memory_id: entry.content for entry in await store.load_all()} == held
        assert await store.verify_consistency() == []


async def test_a_full_journal_is_checkpointed_although_saves_go_on(path: Path) -> None:
    settings = {"write_mode": "behind", "checkpoint_interval": 1000, "behind_seconds": 1000}
    async with MemoryPersistence(path, checkpoint_bytes=100_000, **settings) as store:
        done = asyncio.Event()

        async def saver(number: int) -> None:
            turn = 0
            while not done.is_set():
                turn += 1
                await store.save_memory(memory_of(f"m{number}-{turn}", "x" * 500))

        savers = [asyncio.create_task(saver(number)) for number in range(16)]
        await until(lambda: store.stats()["since_open"]["checkpoints"] >= 2)
        done.set()
        await asyncio.gather(*savers)
        assert await store.verify_consistency() == []


async def test_a_cancelled_batch_is_stored_whole_or_not_at_all(path: Path) -> None:
    async with MemoryPersistence(path, write_mode="behind") as store:
        for turn in range(20):
            saving = asyncio.create_task(store.save_memories_batch([memory_of(f"{turn}-{n}") for n in range(5)]))
            for _ in range(turn % 10):
                await asyncio.sleep(0)
            saving.cancel()
            with suppress(asyncio.CancelledError):
                await saving
        await store.flush()
        ids = await store.list_memories()
    for turn in range(20):
        assert sum(entity_id.startswith(f"{turn}-") for entity_id in ids) in (0, 5)
    assert sorted(os.listdir(path / ENTITY_FOLDERS["memory"])) == sorted(f"{i}.json" for i in ids)


async def test_closing_writes_what_waits(path: Path) -> None:
    store = MemoryPersistence(path, write_mode="behind", behind_seconds=1000)
    await store.initialize()
    saves = [asyncio.create_task(store.save_memory(memory_of(f"m{n}"))) for n in range(30)]
    await until_all_wait()
    await store.close()
    stored = [o.memory_id for o in await asyncio.gather(*saves, return_exceptions=True) if isinstance(o, MemoryEntry)]
    assert stored
    assert all(file_of(path, memory_id) for memory_id in stored)


async def test_files_follow_the_sync_of_an_interval(path: Path) -> None:
    settings = {"durability": "interval", "write_mode": "behind", "flush_threshold": 1000}
    async with MemoryPersistence(path, flush_interval=1000, **settings) as store:
        await store.save_memory(memory_of("m"))
        assert store.stats()["waiting_files"] == 1
        await store.flush()
        assert file_of(path, "m")
    async with MemoryPersistence(path, flush_interval=0.02, **settings) as store:
        await store.save_memory(memory_of("n"))
        await until(lambda: file_of(path, "n"))
