"""A store with 8-bit vectors, cared for: another model, a purge, a restore, a move and a health pass; found is what float32 rows find."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthians_memory import MemoryEntry, MemoryPersistence, StoreConfig
from synthians_memory.engine import coded_index, exact_rows
from synthians_memory.facade import PARTS
from synthians_memory.maintenance.care import own_directory, snapshots_in
from synthians_memory.maintenance.health import health_pass
from synthians_memory.maintenance.health_place import local_place
from synthians_memory.maintenance.move import move_store
from synthians_memory.maintenance.restore import Wanted, restore_store
from synthians_memory.storage.local import LocalBackend
from synthians_memory.times import SystemClock

COUNT = 300


class Embedder:
    """Spreads texts over as many numbers as it is told."""

    def __init__(self, name: str, dimension: int) -> None:
        self.name = name
        self.dimension = dimension

    def embed(self, texts: list[str]) -> Any:
        return np.array(
            [np.random.default_rng([self.dimension, *text.encode()]).normal(size=self.dimension) for text in texts],
            dtype=np.float32,
        )


OLD, NEW = Embedder("old", 8), Embedder("new", 12)


@pytest.fixture(autouse=True)
def codes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a few rows are coded, and written to files."""
    monkeypatch.setattr(coded_index, "_FEW", 8)
    monkeypatch.setattr(exact_rows, "_FEW", 4)


def coded(path: Path, embedder: Embedder) -> MemoryPersistence:
    return MemoryPersistence(path, embedder=embedder, vector_storage="8-bit", exact_below=256)


async def filled(path: Path) -> None:
    texts = [f"text {n}" for n in range(COUNT)]
    rows = OLD.embed(texts)
    async with coded(path, OLD) as store:
        await store.save_memories_batch(
            MemoryEntry(memory_id=f"m{n:03}", content=text, embedding=rows[n]) for n, text in enumerate(texts)
        )


async def found(path: Path, embedder: Embedder, storage: str) -> list[list[tuple[str, float]]]:
    """By an exact search, so that both ways of holding rows have to find the same."""
    async with MemoryPersistence(path, embedder=embedder, vector_storage=storage, target_recall=1.0) as store:
        assert [one for one in await store.verify_consistency() if one.severity != "note"] == []
        assert store.stats()["vector_search"]["storage"] == storage
        hits = await store.search_batch([f"text {n}" for n in range(0, COUNT, 37)], 5)
        return [[(hit.memory_id, hit.score) for hit in one] for one in hits]


def is_anywhere(folder: Path, data: bytes) -> bool:
    return any(data in path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def require_both_find(path: Path, embedder: Embedder) -> None:
    first = await found(path, embedder, "8-bit")
    assert first == await found(path, embedder, "float32")
    assert all(len(one) == 5 for one in first)


async def test_the_model_is_changed_and_back(tmp_path: Path) -> None:
    await filled(tmp_path)
    async with coded(tmp_path, OLD) as store:
        await store.reembed(NEW)
        (hit,) = await store.search("text 7", 1)
        assert hit.memory_id == "m007"
    await require_both_find(tmp_path, NEW)
    async with coded(tmp_path, NEW) as store:
        await store.reembed(OLD, back=True)
        (hit,) = await store.search("text 8", 1)
        assert hit.memory_id == "m008"
    await require_both_find(tmp_path, OLD)


async def test_what_is_purged_is_found_no_more(tmp_path: Path) -> None:
    await filled(tmp_path)
    async with coded(tmp_path, OLD) as store:
        await store.purge([f"m{n:03}" for n in range(100, 200)])
        assert all(not 100 <= int(hit.memory_id[1:]) < 200 for hit in await store.search("text 150", COUNT))
        row = OLD.embed(["text 150"])[0].tobytes()
        assert not await asyncio.to_thread(is_anywhere, tmp_path, row)
    await require_both_find(tmp_path, OLD)


async def test_it_is_restored_and_moved(tmp_path: Path) -> None:
    path, copy, moved = tmp_path / "store", tmp_path / "copy", tmp_path / "moved"
    await filled(path)
    before = await found(path, OLD, "8-bit")
    async with coded(path, OLD) as store:
        await store.backup()
        await store.delete_memories_batch([f"m{n:03}" for n in range(200)])

    def restore() -> None:
        backend = LocalBackend(path)
        copy.mkdir()
        try:
            with snapshots_in(own_directory(backend)) as folder:
                restore_store(
                    lambda: LocalBackend(copy), folder, Wanted(), SystemClock(), past_of=backend, elsewhere=True
                )
        finally:
            backend.close()

    await asyncio.to_thread(restore)
    assert await found(copy, OLD, "8-bit") == before
    await asyncio.to_thread(move_store, copy, moved)
    assert await found(moved, OLD, "8-bit") == before


async def test_a_health_pass_brings_its_files_and_vectors_back(tmp_path: Path) -> None:
    await filled(tmp_path)
    before = await found(tmp_path, OLD, "8-bit")
    place = local_place(StoreConfig(storage_path=tmp_path, vector_storage="8-bit", exact_below=256), parts=PARTS)
    assert (await asyncio.to_thread(health_pass, place)).outcome == "healthy"
    (tmp_path / "memories" / "m037.json").unlink()
    (tmp_path / "vector_index" / "memory_vectors.faiss").write_bytes(b"rotten")
    assert (await asyncio.to_thread(health_pass, place)).outcome == "restored"
    assert (await asyncio.to_thread(health_pass, place)).outcome == "healthy"
    assert await found(tmp_path, OLD, "8-bit") == before
