"""Errors of the disk and of callbacks reach the caller of MemoryPersistence, and its writer goes on."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest
from stalled_writer import session_of, until

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.errors import (
    DiskError,
    DiskFullError,
    JournalFailedError,
    OverloadedError,
    ReadOnlyError,
    SynthiansMemoryError,
)
from synthians_memory.layout import JOURNAL_RESERVE, entity_path
from synthians_memory.testing.faults import SYNCING, Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend


def memory(memory_id: str = "m", content: str = "text", **fields: Any) -> MemoryEntry:
    return MemoryEntry(memory_id=memory_id, content=content, **fields)


def store_on(disk: FaultyDisk, **settings: Any) -> MemoryPersistence:
    return MemoryPersistence(backend=lambda: FaultyBackend(disk), **settings)


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


def fill(disk: FaultyDisk) -> None:
    """Leave no room on the disk but what files give back."""
    disk.capacity_bytes = disk.volume.used_bytes()


async def ids_on(disk: FaultyDisk) -> list[str]:
    async with store_on(disk) as store:
        assert [finding for finding in await store.verify_consistency() if finding.severity != "note"] == []
        return await store.list_memories()


@pytest.mark.parametrize("verbs", [frozenset(["sync"]), frozenset(["write_at"])], ids=["sync", "write"])
async def test_a_journal_that_fails_turns_the_store_read_only(disk: FaultyDisk, verbs: frozenset[str]) -> None:
    async with store_on(disk) as store:
        await store.save_memory(memory("before"))
        disk.plan(Fault(1, errno.EIO, forever=True, verbs=verbs))
        saves = [store.save_memory(memory(f"m{n}")) for n in range(5)]
        outcomes = await asyncio.gather(*saves, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {JournalFailedError, ReadOnlyError}
        assert isinstance(outcomes[0], JournalFailedError)
        for call in (store.save_memory(memory("later")), store.delete_memory("before")):
            with pytest.raises(ReadOnlyError):
                await call
        for wait in (store.flush(), store.checkpoint()):
            with pytest.raises(JournalFailedError):
                await wait
        assert await store.list_memories() == ["before"]
        assert await store.load_memory("before") is not None
        assert "journal" in store.stats()["read_only"]
    disk.clear_plan()
    assert "before" in await ids_on(disk)


async def test_a_full_disk_refuses_a_save_and_takes_the_next(disk: FaultyDisk) -> None:
    async with store_on(disk):
        # The store is made here; what is opened below has no segment to write to.
        pass
    async with store_on(disk) as store:
        fill(disk)
        for _ in range(3):
            with pytest.raises(DiskFullError) as raised:
                await store.save_memory(memory())
            assert raised.value.hint
        assert await store.list_memories() == []
        disk.capacity_bytes = None
        await store.save_memory(memory())
    assert await ids_on(disk) == ["m"]


async def test_space_can_be_freed_on_a_full_disk(disk: FaultyDisk) -> None:
    async with store_on(disk) as store:
        await store.save_memories_batch(memory(f"m{n}", "x" * 1000) for n in range(50))
        await until(lambda: session_of(store).store.state.backend.stat(JOURNAL_RESERVE) is not None)
    async with store_on(disk) as store:
        fill(disk)
        with pytest.raises(DiskFullError):
            await store.save_memory(memory("new", "x" * 20_000))
        assert await store.delete_memories_batch(f"m{n}" for n in range(50)) == 50
        await store.checkpoint()
        assert await store.list_memories() == []
        await store.save_memory(memory("new", "x" * 20_000))
    assert await ids_on(disk) == ["new"]


async def test_a_file_that_cannot_be_written_is_served_all_the_same(disk: FaultyDisk) -> None:
    async with store_on(disk) as store:
        await store.save_memories_batch([memory("first"), memory("deleted")])
        disk.plan(Fault(1, errno.EIO, forever=True, verbs=frozenset(["replace", "unlink"])))
        stored = await store.save_memory(memory())
        assert await store.delete_memory("deleted")
        assert await store.load_memory("m") == stored
        assert await store.list_memories() == ["first", "m"]
        stats = store.stats()
        assert (stats["pending_files"], stats["since_open"]["apply_failures"]) == (2, 2)
        assert stats["last_error"]
        assert {f.code for f in await store.verify_consistency()} >= {"apply_pending"}
        disk.clear_plan()
        await store.checkpoint()
        assert store.stats()["pending_files"] == 0
    assert await ids_on(disk) == ["first", "m"]


async def test_what_is_pending_survives_the_process(disk: FaultyDisk) -> None:
    store = store_on(disk)
    await store.initialize()
    disk.plan(Fault(1, errno.EIO, forever=True, verbs=frozenset(["replace"])))
    await store.save_memory(memory())
    with pytest.raises(DiskError):
        await store.close()
    disk.clear_plan()
    assert await ids_on(disk.crash("lose_all")) == ["m"]


async def test_too_much_that_is_pending_refuses_saves_and_takes_deletes(disk: FaultyDisk) -> None:
    async with store_on(disk, overlay_bytes=3000) as store:
        disk.plan(Fault(1, errno.EIO, forever=True, verbs=frozenset(["replace"])))
        saves = [store.save_memory(memory(f"m{n}", "x" * 1000)) for n in range(20)]
        outcomes = [await asyncio.gather(save, return_exceptions=True) for save in saves]
        refused = [outcome for [outcome] in outcomes if isinstance(outcome, OverloadedError)]
        stored = [outcome.memory_id for [outcome] in outcomes if isinstance(outcome, MemoryEntry)]
        assert 0 < len(stored) < 10
        assert len(refused) == 20 - len(stored)
        assert await store.delete_memory("m0")
        disk.clear_plan()
        await store.checkpoint()
        await store.save_memory(memory("later"))
        assert await store.list_memories() == ["later", *stored[1:]]


async def test_a_failed_checkpoint_in_the_background_is_told_and_tried_again(disk: FaultyDisk) -> None:
    async with store_on(disk, checkpoint_interval=0.01) as store:
        await store.save_memory(memory("m", embedding=[1.0, 2.0]))
        disk.plan(Fault(1, errno.EIO, forever=True, verbs=frozenset(["sync_folder"])))
        await store.save_memory(memory("n"))
        await until(lambda: store.stats()["since_open"]["checkpoint_failures"] >= 2)
        assert store.stats()["last_error"]
        if store.stats()["read_only"] is None:
            disk.clear_plan()
            made = store.stats()["since_open"]["checkpoints"]
            await store.save_memory(memory("o"))
            await until(lambda: store.stats()["since_open"]["checkpoints"] > made)
            assert await store.list_memories() == ["m", "n", "o"]
        disk.clear_plan()
    assert set(await ids_on(disk.crash("lose_all"))) >= {"m", "n"}


async def test_a_failed_close_releases_and_loses_nothing(disk: FaultyDisk) -> None:
    store = store_on(disk)
    await store.initialize()
    await store.save_memory(memory())
    disk.plan(Fault(1, errno.EIO, forever=True, verbs=SYNCING))
    with pytest.raises(DiskError):
        await store.close()
    await store.close()
    disk.clear_plan()
    assert await ids_on(disk.crash("killed")) == ["m"]
    assert await ids_on(disk.crash("lose_all")) == ["m"]


async def test_a_failed_open_releases_the_lock(disk: FaultyDisk) -> None:
    async with store_on(disk) as store:
        await store.save_memory(memory())
    for verb in ("read", "scan", "stat", "lock"):
        disk.plan(Fault(1, errno.EIO, forever=True, verbs=frozenset([verb])))
        with pytest.raises(SynthiansMemoryError):
            await store_on(disk).initialize()
        disk.clear_plan()
    assert await ids_on(disk) == ["m"]


async def test_a_read_that_fails_is_an_error_and_not_an_absence(disk: FaultyDisk) -> None:
    async with store_on(disk, cache_bytes=0) as store:
        stored = await store.save_memory(memory())
        disk.plan(Fault(1, errno.EIO, forever=True, verbs=frozenset(["read"])))
        for call in (store.load_memory("m"), store.load_memories(["m"]), store.load_all()):
            with pytest.raises(DiskError):
                await call
        disk.clear_plan()
        assert await store.load_memory("m") == stored


async def test_an_unexpected_error_in_a_call_does_not_end_the_writer(disk: FaultyDisk) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    async with store_on(disk) as store:
        with pytest.raises(ZeroDivisionError):
            await session_of(store).in_writer(fail)
        await store.save_memory(memory())
    assert await ids_on(disk) == ["m"]


class FailingEmbedder:
    name = "failing"
    dimension = 2

    def embed(self, texts: Any) -> Any:
        raise ConnectionError("no answer")


async def test_errors_of_callbacks_reach_the_caller(disk: FaultyDisk) -> None:
    async def source() -> Any:
        yield [b'{"content": "a"}']

    def refuse(report: object) -> None:
        raise ConnectionError("nobody listens")

    async with store_on(disk, embedder=FailingEmbedder()) as store:
        with pytest.raises(ConnectionError, match="no answer"):
            await store.search("text")
        with pytest.raises(ConnectionError, match="no answer"):
            await store.import_memories(source(), embed=True)
        with pytest.raises(ConnectionError, match="nobody listens"):
            await store.import_memories(source(), progress=refuse)
        assert len(await store.list_memories()) == 1
        await store.save_memory(memory())


async def test_one_file_at_fault_does_not_keep_the_others_from_being_served(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path, cache_bytes=0) as store:
        for name in ("damaged", "folder", "gone", "intact"):
            await store.save_memory(memory(name, embedding=[1.0, 2.0], metadata={"v": 1}))
        spoil(tmp_path)
        at_fault: list[str | None] = []
        served = [entry.memory_id async for entry in store.iter_memories(on_damaged=lambda e: at_fault.append(e.path))]
        assert served == ["intact"]
        assert at_fault == [entity_path("memory", name) for name in ("damaged", "folder", "gone")]
        assert [hit.memory_id for hit in await store.search([1.0, 2.0], where={"v": 1})] == ["intact"]
        with pytest.raises(SynthiansMemoryError):
            await store.load_all()
        report = await store.import_memories(tmp_path / "lines.jsonl", overwrite=True)
        assert (report.imported, report.problem_count) == (4, 0)
        assert [entry.content for entry in await store.load_all()] == ["imported"] * 4
        assert [finding for finding in await store.verify_consistency() if finding.severity != "note"] == []


def spoil(path: Path) -> None:
    """Damage three files, and write the lines of all four."""
    (path / entity_path("memory", "damaged")).write_bytes(b"{")
    (path / entity_path("memory", "gone")).unlink()
    (path / entity_path("memory", "folder")).unlink()
    (path / entity_path("memory", "folder")).mkdir()
    names = ("damaged", "folder", "gone", "intact")
    (path / "lines.jsonl").write_text("".join(f'{{"id": "{name}", "content": "imported"}}\n' for name in names))
