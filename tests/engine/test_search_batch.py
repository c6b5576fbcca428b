"""search_batch: for each of many queries what search finds, filtered, embedded and refused alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clustered import drawn, named

from synthians_memory import MemoryAssembly, MemoryEntry, MemoryPersistence
from synthians_memory.embedding import CallableEmbedder
from synthians_memory.errors import (
    DimensionError,
    InvalidTypeError,
    InvalidValueError,
    StoreClosedError,
    UsageError,
)

DIMENSION = 12
HELD = named(drawn(300, DIMENSION, seed=1))
QUERIES = list(drawn(90, DIMENSION, seed=2))


def embed(texts: list[str]) -> Any:
    return [HELD[text] for text in texts]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[MemoryPersistence]:
    embedder = CallableEmbedder("by id:12", DIMENSION, embed)
    async with MemoryPersistence(tmp_path / "store", embedder=embedder) as made:
        await made.save_memories_batch(
            MemoryEntry(memory_id=i, content=i, embedding=row, metadata={"third": number % 3})
            for number, (i, row) in enumerate(HELD.items())
        )
        for number in range(20):
            vector = QUERIES[number]
            await made.save_assembly(MemoryAssembly(assembly_id=f"a{number}", name="n", composite_embedding=vector))
        yield made


@pytest.mark.parametrize("where", [None, {}, {"third": 1}, {"third": {"$in": [0, 2]}}, {"third": 9}])
@pytest.mark.parametrize("k", [1, 10, 1_000])
async def test_each_query_finds_what_it_finds_alone(
    store: MemoryPersistence, where: dict[str, Any] | None, k: int
) -> None:
    many = await store.search_batch(QUERIES, k, where)
    single = [await store.search(query, k, where) for query in QUERIES]
    assert [[hit.memory_id for hit in hits] for hits in many] == [[hit.memory_id for hit in hits] for hits in single]
    assert [hit.score for hits in many for hit in hits] == pytest.approx(
        [hit.score for hits in single for hit in hits], abs=1e-6
    )


async def test_assemblies_and_texts_among_vectors(store: MemoryPersistence) -> None:
    hits = await store.search_batch(QUERIES[:20], 1, kind="assembly")
    assert [(hit.memory_id, hit.kind) for [hit] in hits] == [(f"a{number}", "assembly") for number in range(20)]
    mixed = await store.search_batch(["v000007", HELD["v000003"], "v000001", HELD["v000009"].tolist()], 1)
    assert [hit.memory_id for [hit] in mixed] == ["v000007", "v000003", "v000001", "v000009"]


async def test_an_array_of_rows_a_generator_and_nothing_at_all(store: MemoryPersistence) -> None:
    rows = np.array([HELD["v000007"], HELD["v000003"]])
    assert [hit.memory_id for [hit] in await store.search_batch(rows, 1)] == ["v000007", "v000003"]
    assert [hit.memory_id for [hit] in await store.search_batch((row for row in rows), 1)] == ["v000007", "v000003"]
    assert await store.search_batch([]) == []


async def test_changes_are_seen_and_saves_go_on_meanwhile(store: MemoryPersistence) -> None:
    new = MemoryEntry(memory_id="new", content="new", embedding=-HELD["v000007"])
    many, _ = await asyncio.gather(store.search_batch(QUERIES * 20), store.save_memory(new))
    assert len(many) == 20 * len(QUERIES)
    assert [hit.memory_id for [hit] in await store.search_batch([-HELD["v000007"]], 1)] == ["new"]
    await store.delete_memory("new")
    assert (await store.search_batch([-HELD["v000007"]], 1))[0][0].memory_id != "new"


@pytest.mark.parametrize(
    ("queries", "changes", "error"),
    [
        ([[1.0]], {}, DimensionError),
        ([[0.0] * DIMENSION], {}, InvalidValueError),
        ([QUERIES[0], [float("nan")] * DIMENSION], {}, InvalidValueError),
        ([QUERIES[0], None], {}, InvalidTypeError),
        ("v000007", {}, InvalidTypeError),
        (b"v000007", {}, InvalidTypeError),
        (QUERIES, {"k": 0}, InvalidValueError),
        (QUERIES, {"kind": "text"}, InvalidValueError),
        (QUERIES, {"where": {"$gt": 1}}, InvalidValueError),
    ],
    ids=["dimension", "zero", "nan", "none", "text", "bytes", "k", "kind", "where"],
)
async def test_what_cannot_be_searched_for_is_refused(
    store: MemoryPersistence, queries: Any, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await store.search_batch(queries, **changes)


async def test_a_text_needs_an_embedder_and_an_open_store(tmp_path: Path) -> None:
    store = MemoryPersistence(tmp_path / "bare")
    with pytest.raises(StoreClosedError):
        await store.search_batch(QUERIES)
    async with store:
        assert await store.search_batch(QUERIES[:2]) == [[], []]
        with pytest.raises(UsageError):
            await store.search_batch(["text"])
