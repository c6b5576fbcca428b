"""A process that changes the model of its store, and saves meanwhile, is killed: what is left is of one model."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.engine.part_files import Model
from synthians_memory.testing.store_reembedding import invented_vector

LONG = 3600
MODELS = [Model("first:1", 4), Model("second:1", 6), Model("third:1", 6)]
COUNT = 150

_PROGRAM = """
import asyncio, sys, time
import numpy as np
from synthians_memory import MemoryPersistence
from synthians_memory.engine.part_files import Model
from synthians_memory.testing.store_reembedding import invented_vector

class Invented:
    def __init__(self, name, dimension):
        self.name, self.dimension = name, dimension
    def embed(self, texts):
        time.sleep(0.01)
        return np.stack([invented_vector(Model(self.name, self.dimension), text) for text in texts])

async def save(store, life):
    for n in range(10_000):
        entry = await store.remember(f"said in {life}: {n}")
        print(f"saved {entry.memory_id} {n}", flush=True)
        await asyncio.sleep(0.002)

async def main(path, life, name, dimension):
    async with MemoryPersistence(path, checkpoint_interval=0.05, segment_bytes=32768) as store:
        print("open", flush=True)
        saving = asyncio.create_task(save(store, life))
        await store.reembed(Invented(name, int(dimension)))
        print("changed", flush=True)
        await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


def text_of(n: int) -> str:
    return f"the text of {n}"


async def fill(path: Path) -> None:
    entries = [
        MemoryEntry(memory_id=f"m{n}", content=text_of(n), embedding=invented_vector(MODELS[0], text_of(n)))
        for n in range(COUNT)
    ]
    async with MemoryPersistence(path) as store:
        await store.save_memories_batch(entries)


def killed_after(path: Path, life: int, model: Model, seconds: float) -> tuple[dict[str, str], bool]:
    """What a process acknowledged before it was killed, and whether the change of the model was among it."""
    command = [sys.executable, "-c", _PROGRAM, str(path), str(life), str(model.embedder), str(model.dimension)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        lines = process.stdout.read().splitlines()
        assert process.wait() == -9, lines
    # The last one may have been cut.
    words = [line.split() for line in lines if line.startswith("saved ") and len(line.split()) == 3]
    return {word[1]: f"said in {life}: {word[2]}" for word in words[:-1]}, "changed" in lines


async def require_one_model(path: Path, saved: dict[str, str]) -> str:
    """Everything is there, each text with its vector of the store's one model; returns its name."""
    async with MemoryPersistence(path, read_only=True) as reader:
        seen = {entry.memory_id: entry async for entry in reader.iter_memories()}
    async with MemoryPersistence(path, startup_check="full") as store:
        stats = store.stats()
        model = Model(stats["embedder"] or MODELS[0].embedder, stats["embedding_dimension"])
        entries = {entry.memory_id: entry for entry in await store.load_all()}
        assert entries == seen
        assert {text_of(n) for n in range(COUNT)} <= {entry.content for entry in entries.values()}
        assert {i: entries[i].content for i in saved if i in entries} == saved
        for entry in entries.values():
            if entry.embedding is None:
                # Remembered without an embedder.
                assert entry.content.startswith("said in")
            else:
                assert np.array_equal(entry.embedding, invented_vector(model, entry.content)), (entry.memory_id, model)
        hits = await store.search(invented_vector(model, text_of(7)), 1)
        assert [hit.memory_id for hit in hits] == ["m7"]
        assert [f for f in await store.verify_consistency() if f.severity != "note"] == []
    return str(model.embedder)


def moments(count: int, seed: int) -> Iterator[float]:
    rng = Random(seed)
    return (rng.uniform(0.0, 0.6) for _ in range(count))


async def kill_often(path: Path, lives: int, seed: int) -> int:
    await fill(path)
    saved: dict[str, str] = {}
    changes = 0
    for life, seconds in enumerate(moments(lives, seed)):
        model = MODELS[1 + (life // 2) % 2]
        acknowledged, changed = await asyncio.to_thread(killed_after, path, life, model, seconds)
        saved |= acknowledged
        name = await require_one_model(path, saved)
        assert not changed or name == model.embedder
        changes += name == model.embedder
    return changes


async def test_a_killed_process_leaves_one_model(tmp_path: Path) -> None:
    assert await kill_often(tmp_path / "store", 5, 1)


@pytest.mark.long
@pytest.mark.timeout(LONG)
@pytest.mark.parametrize("seed", range(2, 6))
async def test_many_killed_processes_leave_one_model(tmp_path: Path, seed: int) -> None:
    assert await kill_often(tmp_path / "store", 40, seed)
