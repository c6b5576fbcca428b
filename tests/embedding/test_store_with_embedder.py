"""A store and an embedder: import and search by text, what the store records, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from synthians_memory import Embedder, MemoryEntry, MemoryPersistence
from synthians_memory.embedding import CallableEmbedder, open_embedder
from synthians_memory.errors import (
    EmbedderMismatchError,
    InvalidTypeError,
    InvalidValueError,
    SynthiansMemoryError,
    UsageError,
)

FIXTURES = Path(__file__).resolve().parents[2] / "storage_fixtures"


def lengths(name: str, dimension: int) -> CallableEmbedder:
    return CallableEmbedder(name, dimension, lambda texts: [[len(t), *[1] * (dimension - 1)] for t in texts])


async def texts_found(store: MemoryPersistence, query: str, k: int = 10) -> list[str]:
    hits = await store.search(query, k)
    found = await store.load_memories(hit.memory_id for hit in hits)
    return [entry.content for entry in found.values()]


# The main job


async def test_real_text_is_found_again(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path, embedder=open_embedder()) as store:
        report = await store.import_memories(FIXTURES / "peps_sample.jsonl", embed=True)
        assert (report.imported, report.problem_count) == (478, 0)
    queries = [json.loads(line) for line in (FIXTURES / "peps_sample_queries.jsonl").read_text().splitlines()]
    async with MemoryPersistence(tmp_path, embedder=open_embedder()) as store:
        nearest = [(await store.search(query["query"], 1))[0].memory_id for query in queries]
        (hit, *_) = await store.search("when are annotations evaluated")
    right = [memory_id.startswith(query["assembly_id"]) for memory_id, query in zip(nearest, queries, strict=True)]
    assert sum(right) >= 16
    assert hit.memory_id.startswith("pep-0563-")


async def test_search_by_text_is_search_by_its_vector(tmp_path: Path) -> None:
    embedder = open_embedder()
    texts = ["a cat on a mat", "the price of copper", "how bread is baked"]
    async with MemoryPersistence(tmp_path, embedder=embedder) as store:
        rows = embedder.embed(texts)
        await store.save_memories_batch(
            [MemoryEntry(content=text, embedding=row) for text, row in zip(texts, rows, strict=True)]
        )
        assert await texts_found(store, "kittens", 1) == ["a cat on a mat"]
        by_text = await store.search("kittens")
        assert by_text == await store.search(embedder.embed(["kittens"])[0])


async def test_what_has_no_words_is_stored_without_a_vector(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": "empty", "content": ""}\n{"id": "full", "content": "words"}\n', encoding="utf-8")
    async with MemoryPersistence(tmp_path / "store", embedder=open_embedder()) as store:
        assert (await store.import_memories(source, embed=True)).imported == 2
        found = await store.load_memories(["empty", "full"])
    assert found["empty"].embedding is None
    assert found["full"].embedding is not None


@pytest.mark.parametrize("query", ["", "\ud800"])
async def test_a_query_that_says_nothing_is_refused(tmp_path: Path, query: str) -> None:
    async with MemoryPersistence(tmp_path, embedder=open_embedder()) as store:
        with pytest.raises(InvalidValueError, match="query"):
            await store.search(query)


# What the store records


async def test_the_store_records_the_embedder_it_was_made_with(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path, embedder=open_embedder()) as store:
        stats = store.stats()
    assert (stats["embedder"], stats["embedding_dimension"]) == ("wordllama:l2_supercat_256", 256)
    assert json.loads((tmp_path / "store.json").read_text())["embedder"] == "wordllama:l2_supercat_256"
    async with MemoryPersistence(tmp_path, embedder=open_embedder(stats["embedder"])) as store:
        assert store.stats()["embedder"] == stats["embedder"]


@pytest.mark.parametrize(("name", "dimension"), [("other:1", 3), ("lengths:1", 4), ("other:1", 4)])
async def test_another_embedder_is_refused_and_the_error_says_what_to_do(
    tmp_path: Path, name: str, dimension: int
) -> None:
    async with MemoryPersistence(tmp_path, embedder=lengths("lengths:1", 3)) as store:
        await store.save_memory(MemoryEntry(memory_id="m", content="x", embedding=[1, 2, 3]))
    with pytest.raises(EmbedderMismatchError, match="into a new store") as raised:
        await MemoryPersistence(tmp_path, embedder=lengths(name, dimension)).initialize()
    assert "lengths:1" in str(raised.value)
    async with MemoryPersistence(tmp_path, embedder=lengths("lengths:1", 3)) as store:
        assert await store.load_memory("m") is not None


async def test_another_dimension_is_refused(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path, embedder=lengths("lengths:1", 3)):
        pass
    with pytest.raises(EmbedderMismatchError, match="embedding_dimension=3"):
        await MemoryPersistence(tmp_path, embedding_dimension=4).initialize()


async def test_settings_at_odds_are_refused_before_a_store_is_made(tmp_path: Path) -> None:
    with pytest.raises(EmbedderMismatchError, match="Leave embedding_dimension out"):
        MemoryPersistence(tmp_path / "store", embedder=lengths("lengths:1", 3), embedding_dimension=4)
    assert not (tmp_path / "store").exists()


@dataclass
class Odd:
    """Not quite an embedder."""

    name: object = "odd"
    dimension: object = 2

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.ones((len(texts), 2), dtype=np.float32)


@pytest.mark.parametrize(
    "embedder", [object(), lengths, Odd(name=""), Odd(name=None), Odd(dimension=0), Odd(dimension=2.0)]
)
def test_what_is_no_embedder_is_refused(tmp_path: Path, embedder: Embedder) -> None:
    with pytest.raises(InvalidTypeError, match="embedder"):
        MemoryPersistence(tmp_path, embedder=embedder)


@pytest.mark.parametrize("rows", [[[1, 2, 3]], [[1, 2]] * 2, [[float("nan"), 1]], []])
async def test_an_embedder_that_returns_something_else_is_named(tmp_path: Path, rows: list[list[float]]) -> None:
    async with MemoryPersistence(tmp_path, embedder=CallableEmbedder("broken:1", 2, lambda _: rows)) as store:
        with pytest.raises(InvalidValueError, match=r"'broken:1' returned .* Correct the embedder"):
            await store.search("query")


# Without an embedder


async def test_vectors_of_the_caller_need_no_embedder(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        await store.save_memory(MemoryEntry(memory_id="m", content="x", embedding=[1, 0]))
        assert [hit.memory_id for hit in await store.search([1, 0])] == ["m"]
        assert store.stats()["embedder"] is None
        with pytest.raises(UsageError, match="embedder="):
            await store.search("a text")
        with pytest.raises(UsageError, match="embedder="):
            await store.import_memories(FIXTURES / "peps_sample.jsonl", embed=True)


async def test_vectors_of_the_caller_go_into_a_store_with_an_embedder(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path, embedder=lengths("lengths:1", 2)):
        pass
    async with MemoryPersistence(tmp_path) as store:
        await store.save_memory(MemoryEntry(memory_id="mine", content="x", embedding=[0, 1]))
        assert [hit.memory_id for hit in await store.search([0, 1])] == ["mine"]
    async with MemoryPersistence(tmp_path, embedder=lengths("lengths:1", 2)) as store:
        assert [hit.memory_id for hit in await store.search("four")] == ["mine"]


async def test_a_store_of_the_callers_vectors_takes_an_embedder_of_that_dimension(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        await store.save_memory(MemoryEntry(memory_id="mine", content="x", embedding=[0, 1]))
    async with MemoryPersistence(tmp_path, embedder=lengths("lengths:1", 2)) as store:
        assert [hit.memory_id for hit in await store.search("four")] == ["mine"]
    with pytest.raises(SynthiansMemoryError, match="2 numbers"):
        await MemoryPersistence(tmp_path, embedder=lengths("lengths:1", 3)).initialize()


# How it is called


async def test_an_embedder_is_called_off_the_loop_and_one_call_at_a_time(tmp_path: Path) -> None:
    inside, most, threads = 0, 0, set[int]()
    counting = threading.Lock()
    others = threading.Event()

    class Watched(Odd):
        def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
            nonlocal inside, most
            with counting:
                inside += 1
                most = max(most, inside)
                threads.add(threading.get_ident())
            others.wait(0.01)
            with counting:
                inside -= 1
            return super().embed(texts)

    async with MemoryPersistence(tmp_path, embedder=Watched()) as store:  # type: ignore[arg-type]
        await asyncio.gather(*(store.search(f"query {n}") for n in range(10)))
    assert most == 1
    assert threading.get_ident() not in threads


async def test_a_slow_embedder_does_not_keep_loads_waiting(tmp_path: Path) -> None:
    go_on = threading.Event()

    def slow(texts: list[str]) -> list[list[int]]:
        assert go_on.wait(60)
        return [[1, 1]] * len(texts)

    async with MemoryPersistence(tmp_path) as store:
        await store.save_memories_batch([MemoryEntry(memory_id=f"m{n}", content="x") for n in range(20)])
    async with MemoryPersistence(tmp_path, embedder=CallableEmbedder("slow:1", 2, slow)) as store:
        searches = [asyncio.create_task(store.search("query")) for _ in range(10)]
        await asyncio.sleep(0)
        loaded = await asyncio.gather(*(store.load_memory(f"m{n}") for n in range(20)))
        assert not any(search.done() for search in searches)
        go_on.set()
        await asyncio.gather(*searches)
    assert all(loaded)


async def test_a_failing_embedder_stores_nothing_of_its_chunk(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(f'{{"id": "m{n}", "content": "{n}"}}\n' for n in range(4)), encoding="utf-8")

    def fails_at_three(texts: list[str]) -> list[list[int]]:
        if "3" in texts:
            raise LookupError("the model is gone")
        return [[1, 1]] * len(texts)

    async with MemoryPersistence(tmp_path / "s", embedder=CallableEmbedder("f", 2, fails_at_three)) as store:
        with pytest.raises(LookupError, match="the model is gone"):
            await store.import_memories(source, chunk=2, embed=True)
        assert await store.list_memories() == ["m0", "m1"]
        report = await store.import_memories(source, chunk=2)
    assert (report.imported, report.skipped) == (2, 2)
