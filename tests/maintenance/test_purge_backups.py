"""A purge that is asked to takes an entity out of snapshots, archive and the stores that restores have replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.layout import ARCHIVE, SNAPSHOTS

SECRET = "the word is heliotrope-7431"  # noqa: S105 - made up
NUMBERS = np.linspace(0.123, 0.789, 8, dtype=np.float32)


class Letters:
    """An embedder."""

    name = "letters"
    dimension = 8

    def embed(self, texts: list[str]) -> np.ndarray:
        return np.array([[text.count(letter) + 0.5 for letter in "abcdefgh"] for text in texts], dtype=np.float32)


def holding(store: Path) -> list[str]:
    """The files below the store in which the purged text, or its numbers, stand."""
    wanted = (SECRET.encode(), b"heliotrope", NUMBERS.tobytes())
    return [
        str(path.relative_to(store))
        for path in sorted(store.rglob("*"))
        if path.is_file() and any(text in path.read_bytes() for text in wanted)
    ]


@pytest.fixture
def entries() -> list[MemoryEntry]:
    others = [MemoryEntry(memory_id=f"other-{n}", content=f"kept {n}", embedding=NUMBERS[::-1]) for n in range(20)]
    return [*others, MemoryEntry(memory_id="gone", content=SECRET, embedding=NUMBERS)]


async def test_backups_are_left_and_named_unless_asked_for(tmp_path: Path, entries: list[MemoryEntry]) -> None:
    async with MemoryPersistence(tmp_path, archive_journal=True) as store:
        await store.save_memories_batch(entries)
        await store.backup()
        await store.save_memory(entries[-1].replace(content=f"{SECRET}, again"))
        await store.checkpoint()
        await store.backup()
        receipt = await store.purge(["gone"])
        assert {place.path for place in receipt.left} == {SNAPSHOTS, ARCHIVE}
        assert holding(tmp_path)
        receipt = await store.purge(["gone"], backups=True)
        assert receipt.left == ()
        assert {SNAPSHOTS, ARCHIVE} <= {place.path for place in receipt.removed}
        assert holding(tmp_path) == []
        assert len(await store.list_memories()) == 20
        assert await store.verify_consistency() == []
        report = await store.backup()
        assert report.problems == ()


async def test_nothing_is_left_of_what_a_change_of_the_model_keeps(tmp_path: Path, entries: list[MemoryEntry]) -> None:
    async with MemoryPersistence(tmp_path) as store:
        await store.save_memories_batch(entries)
        await store.recall("heliotrope", mode="text")
        await store.reembed(Letters())  # type: ignore[arg-type]
        assert any(name.startswith("reembedding/") for name in holding(tmp_path))
        await store.purge(["gone"])
        assert holding(tmp_path) == []
        assert store.stats()["embedder"] == "letters"
        assert await store.verify_consistency() == []
    async with MemoryPersistence(tmp_path, embedder=Letters()) as store:  # type: ignore[arg-type]
        assert len(await store.search("kept 3", k=20)) == 20
