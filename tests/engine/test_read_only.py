"""MemoryPersistence with read_only=True: beside a writer, after a crash, and without a trace on disk."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from synthians_memory import MemoryAssembly, MemoryEntry, MemoryPersistence
from synthians_memory.errors import NotAStoreError, ReadOnlyError, SynthiansMemoryError

Listing = dict[str, tuple[int, int, int, int, bytes]]


def memory(memory_id: str = "m", content: str = "text", **fields: Any) -> MemoryEntry:
    return MemoryEntry(memory_id=memory_id, content=content, **fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


def listing(path: Path) -> Listing:
    """Everything at and below `path`: inode, mode, size, time, and bytes."""
    found: Listing = {}
    for folder, _, names in os.walk(path):
        for name in (".", *names):
            entry = os.path.join(folder, name)
            status = os.lstat(entry)
            data = b""
            if stat.S_ISREG(status.st_mode):
                with open(entry, "rb") as file:
                    data = file.read()
            found[entry] = (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, data)
    return found


async def contents(store: MemoryPersistence) -> dict[str, str]:
    return {entry.memory_id: entry.content for entry in await store.load_all()}


async def use(reader: MemoryPersistence) -> None:
    """Everything that a reader can do."""
    await reader.load_all()
    await reader.search([1.0, 0.0], where={"a": None})
    await reader.verify_consistency("full")
    await reader.load_memory("missing")
    await reader.refresh()
    reader.stats()


async def test_it_sees_what_is_acknowledged(path: Path) -> None:
    async with MemoryPersistence(path) as writer:
        await writer.save_memories_batch([memory("a", embedding=[1.0, 0.0], metadata={"v": 1}), memory("b")])
        await writer.checkpoint()
        await writer.save_memory(memory("c", embedding=[0.0, 1.0], metadata={"v": 2}))
        await writer.save_memory(memory("a", "changed", embedding=[-1.0, 0.0]))
        await writer.save_assembly(MemoryAssembly(assembly_id="g"))
        await writer.delete_memory("b")
        async with MemoryPersistence(path, read_only=True) as reader:
            assert await reader.load_all() == await writer.load_all()
            assert await reader.load_assembly("g") == await writer.load_assembly("g")
            assert await reader.list_assemblies() == ["g"]
            assert await reader.search([1.0, 0.0]) == await writer.search([1.0, 0.0])
            assert [hit.memory_id for hit in await reader.search([1.0, 0.0], where={"v": 2})] == ["c"]
            assert reader.stats()["read_only"] is not None
            assert await reader.verify_consistency() == []


async def test_refresh_moves_it_on(path: Path) -> None:
    async with MemoryPersistence(path) as writer, MemoryPersistence(path, read_only=True) as reader:
        assert await reader.list_memories() == []
        for turn in range(6):
            await writer.save_memories_batch([memory(f"m{turn}", embedding=[1.0, turn]), memory("m", f"{turn}")])
            if turn % 2:
                await writer.delete_memory(f"m{turn - 1}")
                await writer.checkpoint()
            await reader.refresh()
            assert await reader.load_all() == await writer.load_all()
            assert await reader.search([1.0, 0.0]) == await writer.search([1.0, 0.0])


async def test_without_refresh_it_never_serves_what_it_does_not_know(path: Path) -> None:
    async with MemoryPersistence(path) as writer:
        await writer.save_memories_batch([memory("kept"), memory("changed", "old"), memory("deleted")])
        async with MemoryPersistence(path, read_only=True) as reader:
            await writer.save_memory(memory("changed", "new"))
            await writer.delete_memory("deleted")
            await writer.save_memory(memory("new"))
            await writer.checkpoint()
            found = await contents(reader)
            assert found["kept"] == "text"
            assert found["changed"] in ("old", "new")
            await reader.refresh()
            assert await contents(reader) == {"kept": "text", "changed": "new", "new": "text"}


async def test_it_refuses_to_write(path: Path) -> None:
    async with MemoryPersistence(path) as writer:
        await writer.save_memory(memory())
    before = listing(path)
    async with MemoryPersistence(path, read_only=True) as reader:
        for call in (
            reader.save_memory(memory("n")),
            reader.save_memories_batch([memory("n")]),
            reader.delete_memory("m"),
            reader.delete_memories_batch(["m"]),
            reader.save_assembly(MemoryAssembly(assembly_id="a")),
            reader.delete_assembly("a"),
            reader.flush(),
            reader.checkpoint(),
            reader.verify_and_repair_consistency(),
            reader.adopt("m"),
            transact(reader),
        ):
            with pytest.raises(ReadOnlyError):
                await call
        assert await reader.list_memories() == ["m"]
    assert listing(path) == before


async def transact(store: MemoryPersistence) -> None:
    async with store.transaction() as transaction:
        transaction.save_memory(memory("n"))


async def test_it_changes_nothing_beside_a_writer(path: Path) -> None:
    async with MemoryPersistence(path, checkpoint_interval=1000) as writer:
        await writer.save_memories_batch(memory(f"m{n}", embedding=[1.0, n]) for n in range(20))
        await writer.checkpoint()
        await writer.save_memory(memory("m3", "changed", embedding=[2.0, 1.0]))
        await writer.delete_memory("m4")
        before = listing(path)
        async with MemoryPersistence(path, read_only=True, startup_check="full") as reader:
            await use(reader)
            assert listing(path) == before
        assert listing(path) == before


async def test_it_changes_nothing_where_a_writer_crashed(path: Path, tmp_path: Path) -> None:
    crashed = tmp_path / "crashed"
    async with MemoryPersistence(path, checkpoint_interval=1000) as writer:
        await writer.save_memories_batch(memory(f"m{n}", embedding=[1.0, n]) for n in range(20))
        await writer.checkpoint()
        await writer.save_memory(memory("m3", "changed", embedding=[2.0, 1.0]))
        await writer.delete_memory("m4")
        shutil.copytree(path, crashed)
        held = await writer.load_all()
    break_everything_derived(crashed)
    before = listing(crashed)
    async with MemoryPersistence(crashed, read_only=True, startup_check="full") as reader:
        assert await reader.load_all() == held
        await use(reader)
    assert listing(crashed) == before
    async with MemoryPersistence(crashed) as store:
        assert await store.load_all() == held


def break_everything_derived(path: Path) -> None:
    """Entity files that the journal still holds, and scratch, as an interrupted writer leaves them."""
    (path / "memories" / "m3.json").write_bytes(b"")
    (path / "memories" / ".scratch-17").write_bytes(b"half")
    (path / "vector_index" / "memory_vectors.faiss").unlink()
    (path / "memory_index.log").write_bytes(b"torn")


async def test_it_keeps_up_with_a_busy_writer(path: Path) -> None:
    kept = [f"k{n:03}" for n in range(100)]
    async with MemoryPersistence(path, checkpoint_interval=0.02) as writer:
        await writer.save_memories_batch(memory(i, "0", embedding=[1.0, 1.0]) for i in kept)
        async with MemoryPersistence(path, read_only=True) as reader:
            writing = asyncio.create_task(keep_writing(writer, kept))
            newest = 0
            for _ in range(25):
                await reader.refresh()
                found = await contents(reader)
                assert found.keys() >= set(kept)
                turns = [int(found[i]) for i in kept]
                assert min(turns) >= newest
                newest = min(turns)
                assert len(await reader.search([1.0, 0.0], k=100)) == 100
                assert [f for f in await reader.verify_consistency() if f.severity != "note"] == []
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            assert writing.cancelled()
            await writer.flush()
            await reader.refresh()
            assert await contents(reader) == await contents(writer)


async def keep_writing(writer: MemoryPersistence, kept: list[str]) -> None:
    turn = 0
    while True:
        turn += 1
        await writer.save_memories_batch(memory(i, f"{turn}", embedding=[1.0, turn]) for i in kept)
        await writer.save_memory(memory(f"z{turn % 7}"))
        await writer.delete_memory(f"z{(turn + 3) % 7}")


async def test_readers_and_a_writer_do_not_lock_each_other_out(path: Path) -> None:
    async with MemoryPersistence(path) as writer:
        await writer.save_memory(memory())
    async with MemoryPersistence(path, read_only=True) as one, MemoryPersistence(path, read_only=True) as two:
        async with MemoryPersistence(path) as writer:
            for n in range(5):
                await writer.save_memory(memory(f"n{n}"))
                await writer.checkpoint()
        assert await one.load_memory("m") == await two.load_memory("m")
        await one.refresh()
        assert await one.list_memories() == ["m", "n0", "n1", "n2", "n3", "n4"]
        await use(two)


@pytest.mark.parametrize("made", [False, True])
async def test_it_makes_no_store(path: Path, made: bool) -> None:
    if made:
        os.mkdir(path)
    with pytest.raises(SynthiansMemoryError) as raised:
        await MemoryPersistence(path, read_only=True).initialize()
    assert str(path) in str(raised.value)
    assert isinstance(raised.value, NotAStoreError) or not made
    assert len(listing(path)) == made


async def test_refresh_of_a_writer_does_nothing(path: Path) -> None:
    async with MemoryPersistence(path) as writer:
        await writer.save_memory(memory())
        await writer.refresh()
        await writer.save_memory(memory("n"))
        assert await writer.list_memories() == ["m", "n"]
