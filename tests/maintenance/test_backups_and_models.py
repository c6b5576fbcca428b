"""Backups around a change of the model: each snapshot is of one model, and no restore mixes two."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.maintenance.care import own_directory, snapshots_in
from synthians_memory.maintenance.restore import Wanted, restore_store
from synthians_memory.maintenance.restore_report import RestoreReport
from synthians_memory.storage.local import LocalBackend
from synthians_memory.times import SystemClock

COUNT = 300


class Embedder:
    """Vectors that tell which model made them."""

    def __init__(self, name: str, dimension: int) -> None:
        self.name = name
        self.dimension = dimension

    def embed(self, texts: list[str]) -> Any:
        rows = [[len(text) + place + self.dimension for place in range(self.dimension)] for text in texts]
        return np.array(rows, dtype=np.float32)


OLD, NEW = Embedder("old", 4), Embedder("new", 6)


def restored(path: Path, to: Path, wanted: Wanted) -> RestoreReport:
    backend = LocalBackend(path)
    to.mkdir()
    try:
        with snapshots_in(own_directory(backend)) as folder:
            target = lambda: LocalBackend(to)  # noqa: E731
            return restore_store(target, folder, wanted, SystemClock(), past_of=backend, elsewhere=True)
    finally:
        backend.close()


async def dimensions(path: Path) -> set[int]:
    async with MemoryPersistence(path) as store:
        assert await store.verify_consistency() == []
        return {len(entry.embedding) for entry in await store.load_all() if entry.embedding is not None}


async def filled(store: MemoryPersistence) -> None:
    await store.save_memories_batch(MemoryEntry(content=f"{n}", embedding=OLD.embed([f"{n}"])[0]) for n in range(COUNT))


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.05, 0.2])
async def test_a_snapshot_is_of_one_model(tmp_path: Path, delay: float) -> None:
    async with MemoryPersistence(tmp_path / "store", embedder=OLD) as store:
        await filled(store)
        changing = asyncio.create_task(store.reembed(NEW))
        await asyncio.sleep(delay)
        report = await store.backup()
        assert report.problems == ()
        assert report.snapshot.memories == COUNT
        await changing
    restored(tmp_path / "store", tmp_path / "new", Wanted())
    assert await dimensions(tmp_path / "new") in ({4}, {6})


async def test_the_way_back_is_not_in_a_snapshot(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "store", embedder=OLD) as store:
        await filled(store)
        await store.reembed(NEW)
        await store.backup()
    restored(tmp_path / "store", tmp_path / "new", Wanted())
    assert await dimensions(tmp_path / "new") == {6}
    async with MemoryPersistence(tmp_path / "new", embedder=NEW) as store:
        assert len(await store.search("12", k=3)) == 3


async def test_a_moment_beyond_a_change_of_the_model_is_not_reached(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "store", embedder=OLD, archive_journal=True) as store:
        await filled(store)
        await store.backup()
        await store.save_memory(MemoryEntry(memory_id="between", content="x", embedding=OLD.embed(["x"])[0]))
        await store.reembed(NEW)
        await store.remember("made by the new model")
        await store.checkpoint()
        report = restored(tmp_path / "store", tmp_path / "new", Wanted(at=datetime.now(UTC)))
        assert "the model of the store was changed" in " ".join(report.problems)
        await store.backup()
        await store.remember("and another one")
        later = restored(tmp_path / "store", tmp_path / "later", Wanted(at=datetime.now(UTC)))
        assert later.problems == ()
    assert await dimensions(tmp_path / "new") == {4}
    assert await dimensions(tmp_path / "later") == {6}
    async with MemoryPersistence(tmp_path / "later") as store:
        assert len(await store.list_memories()) == COUNT + 3


async def test_the_same_model_again_keeps_the_way_back(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "store", embedder=OLD) as store:
        await filled(store)
        first = await store.reembed(NEW)
        again = await store.reembed(NEW)
        assert (first.switched, again.switched, again.previous_bytes) == (True, False, first.previous_bytes)
        await store.reembed(back=True)
    assert await dimensions(tmp_path / "store") == {4}
