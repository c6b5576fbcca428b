"""What a search through collections finds, against a comparison of every row: relevance, order, ties, and how old a row may be."""

from __future__ import annotations

import asyncio
import math
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from collection_samples import VOCABULARY, cosine, word_embedder
from hypothesis import given, settings
from hypothesis import strategies as st

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.tiers import collection_search
from synthians_memory.tiers.collections import COLLECTIONS, SEARCHED, Collections, RowMemory, SearchResult

AT = 1_700_000_000

Row = tuple[str, str, str]  # collection, id, text


def words(least: int = 1) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from((*VOCABULARY, "other", "thing")), min_size=least, max_size=6).map(" ".join)


def rows() -> st.SearchStrategy[list[Row]]:
    one = st.tuples(st.sampled_from(COLLECTIONS), st.integers(0, 30).map(str), words(0))
    return st.lists(one, max_size=25, unique_by=lambda row: row[:2])


async def filled(store: MemoryPersistence, held: Sequence[Row]) -> Collections:
    collections = Collections(store)
    for collection, row_id, text in held:
        await collections.put(collection, row_id, text, {}, AT)
    return collections


def in_a_store(held: Sequence[Row], own: Sequence[str], question: object, *, embedder: bool) -> list[SearchResult]:
    async def asked() -> list[SearchResult]:
        with tempfile.TemporaryDirectory() as folder:
            made = word_embedder() if embedder else None
            async with MemoryPersistence(folder, embedder=made, startup_check="off") as store:
                collections = await filled(store, held)
                for number, text in enumerate(own):
                    # Somebody's own memories, some of which look like those of rows.
                    await store.save_memory(
                        MemoryEntry(
                            memory_id=f"decisions-own{number}", content=text, metadata={"collection": "decisions"}
                        )
                    )
                first = await collections.search(**question)  # type: ignore[arg-type]
                assert await collections.search(**question) == first  # type: ignore[arg-type]
                return first

    return asyncio.run(asked())


def questions() -> st.SearchStrategy[dict[str, object]]:
    names = st.none() | st.lists(st.sampled_from(COLLECTIONS), min_size=1, max_size=4, unique=True)
    return st.fixed_dictionaries(
        {
            "query": words(),
            "collections": names,
            "n_results": st.integers(1, 8),
            "min_relevance": st.sampled_from([0.0, 0.3, 1.0]),
        }
    )


def lawful(found: Sequence[SearchResult], held: Sequence[Row], question: dict[str, object]) -> None:
    names = question["collections"] or SEARCHED
    texts = {row[:2]: row[2] for row in held}
    assert all(0.0 <= result.relevance <= 1.0 for result in found)
    assert all(result.relevance >= question["min_relevance"] for result in found)  # type: ignore[operator]
    assert all(result.collection in names for result in found)  # type: ignore[operator]
    assert [(r.collection, r.id) for r in found] == list(dict.fromkeys((r.collection, r.id) for r in found))
    assert all(result.content == texts[result.collection, result.id] for result in found)
    assert list(found) == sorted(found, key=lambda r: (-r.relevance, r.collection, r.id))


@settings(max_examples=15)
@given(rows(), questions(), st.lists(words(), max_size=3))
def test_by_meaning_the_best_rows_are_found(held: list[Row], question: dict[str, object], own: list[str]) -> None:
    found = in_a_store(held, own, question, embedder=True)
    lawful(found, held, question)
    query = str(question["query"])
    if cosine(query, query) is None:
        return
    names = question["collections"] or SEARCHED
    told = [(cosine(query, text), row[0], row[1]) for row in held if row[0] in names for text in [row[2]]]  # type: ignore[operator]
    near = [(round(max(0.0, c), 6), name, i) for c, name, i in told if c is not None]
    wanted = sorted((r for r in near if r[0] >= question["min_relevance"]), key=lambda r: (-r[0], r[1], r[2]))  # type: ignore[operator]
    count = int(question["n_results"])  # type: ignore[call-overload]
    if len(wanted) < count:
        # Rows without a vector may follow, or stand between, where they have some of the words.
        assert {r[1:] for r in wanted} <= {(r.collection, r.id) for r in found} or len(found) == count
        return
    if len(near) == len(told):
        assert [(r.relevance, r.collection, r.id) for r in found] == wanted[:count]


def weighed(query: str, texts: Sequence[str]) -> list[float]:
    """BM25 of each text over the sum of the weights of the words, written out."""
    split = [text.split() for text in texts]
    mean = sum(map(len, split)) / len(split)
    asked = [w for w in dict.fromkeys(query.split()) if any(w in text for text in split)]
    weight = {}
    for w in asked:
        having = sum(w in text for text in split)
        weight[w] = max(1e-6, math.log((len(split) - having + 0.5) / (having + 0.5)))
    found = []
    for text in split:
        parts = [
            weight[w] * text.count(w) * 2.2 / (text.count(w) + 1.2 * (0.25 + 0.75 * len(text) / mean)) for w in asked
        ]
        found.append(min(1.0, sum(parts) / sum(weight.values())) if asked else 0.0)
    return found


@settings(max_examples=15)
@given(rows(), questions(), st.lists(words(), max_size=3))
def test_by_words_the_best_rows_are_found(held: list[Row], question: dict[str, object], own: list[str]) -> None:
    found = in_a_store(held, own, question, embedder=False)
    lawful(found, held, question)
    names = question["collections"] or SEARCHED
    everything = [*(row[2] for row in held), *own]
    scores = weighed(str(question["query"]), everything) if everything else []
    of_rows = dict(zip((row[:2] for row in held), scores, strict=False))
    having = sorted(
        (
            score
            for (name, _), score in of_rows.items()
            if score > 0 and score >= question["min_relevance"] and name in names
        ),  # type: ignore[operator]
        reverse=True,
    )
    assert len(found) == min(len(having), int(question["n_results"]))  # type: ignore[call-overload]
    for result, best in zip(found, having, strict=False):
        assert result.relevance == pytest.approx(of_rows[result.collection, result.id], abs=1e-5)
        assert result.relevance == pytest.approx(best, abs=1e-5)


# Ties


@pytest.mark.parametrize("embedder", [True, False], ids=["by meaning", "by words"])
@pytest.mark.parametrize("count", [1, 7])
async def test_of_many_equal_rows_the_first_ids_are_found(tmp_path: Path, embedder: bool, count: int) -> None:
    async with MemoryPersistence(tmp_path, embedder=word_embedder() if embedder else None) as store:
        ids = [f"{number:03}" for number in range(150)]
        late_first = [("decisions", row_id, "network slow") for row_id in reversed(ids)]
        collections = await filled(store, [*late_first, ("decisions", "zzz", "deploy cache thing")])
        found = await collections.search("network slow", n_results=count)
        assert [result.id for result in found] == ids[:count]


# How many and how old


@pytest.mark.parametrize("embedder", [True, False], ids=["by meaning", "by words"])
async def test_rows_are_found_behind_many_better_memories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedder: bool
) -> None:
    monkeypatch.setattr(collection_search, "_FIRST", 2)
    monkeypatch.setattr(collection_search, "_MORE", 2)
    monkeypatch.setattr(collection_search, "_MOST_UNFILTERED", 8)
    async with MemoryPersistence(tmp_path, embedder=word_embedder() if embedder else None) as store:
        rows = word_embedder().embed(["disk full"])
        collections = await filled(
            store, [("incidents", "old", "disk thing network"), ("incidents", "older", "slow disk")]
        )
        await store.save_memories_batch(
            [MemoryEntry(content="disk full", embedding=rows[0] if embedder else None) for _ in range(40)]
        )
        found = await collections.search("disk full", n_results=3)
        assert {result.id for result in found} == {"old", "older"}


async def test_memories_that_only_look_like_those_of_rows_hide_none(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        collections = await filled(store, [("decisions", "1", "disk and other things of which much is told")])
        own = [
            MemoryEntry(memory_id=f"decisions-own{number}", content="disk", metadata={"collection": "decisions"})
            for number in range(60)
        ]
        await store.save_memories_batch(own)
        assert [result.id for result in await collections.search("disk", n_results=1)] == ["1"]


async def test_a_row_with_a_common_word_is_found_where_only_such_memories_have_the_rare_one(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        collections = await filled(store, [("decisions", "1", "common")])
        own = [MemoryEntry(memory_id="decisions-own", content="rare common", metadata={"collection": "decisions"})]
        await store.save_memories_batch([*own, *(MemoryEntry(content="common") for _ in range(5))])
        assert [result.id for result in await collections.search("rare common", n_results=1)] == ["1"]


async def test_a_row_without_a_vector_is_found_by_its_words(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path, embedder=word_embedder()) as store:
        collections = await filled(store, [("incidents", "1", "disk full"), ("incidents", "2", "a mouse in the rack")])
        assert [r.id for r in await collections.search("mouse", n_results=1)] == ["2"]
        found = await collections.search("full disk or mouse")
        assert {result.id for result in found} == {"1", "2"}


async def test_an_expired_memory_of_a_row_is_not_found(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        collections = await filled(store, [("incidents", "1", "disk full"), ("incidents", "2", "disk full")])
        entry = await store.load_memory("incidents-1")
        assert entry is not None
        await store.save_memory(entry.replace(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
        assert [result.id for result in await collections.search("disk")] == ["2"]


async def test_a_damaged_memory_of_a_row_is_passed_over(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        await filled(store, [("incidents", "1", "disk full"), ("incidents", "2", "disk full")])
    file = tmp_path / "memories" / "incidents-1.json"
    file.write_bytes(file.read_bytes().replace(b"disk", b"dusk"))
    async with MemoryPersistence(tmp_path, auto_repair=False, startup_check="off") as store:
        assert [result.id for result in await Collections(store).search("disk", n_results=1)] == ["2"]


@pytest.mark.long
async def test_the_oldest_of_very_many_rows_with_the_same_word_is_found(tmp_path: Path) -> None:
    """More rows than a recall ranks have the word; the oldest tells of little else."""

    def memory(number: int) -> MemoryEntry:
        text = "disk" if not number else f"disk and much else that is told of host number {number}"
        return RowMemory(collection="incidents", row_id=str(number), text=text, created_at=AT).told_in(None)

    async with MemoryPersistence(tmp_path) as store:
        collections = Collections(store)
        for start in range(0, 9000, 1000):
            await store.save_memories_batch([memory(number) for number in range(start, start + 1000)])
        (found, *_) = await collections.search("disk")
        assert (found.id, found.content) == ("0", "disk")


# After the model changed


async def test_rows_are_found_by_another_model_after_reembedding(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        collections = await filled(store, [("incidents", "1", "disk full"), ("incidents", "2", "network slow")])
        await store.reembed(word_embedder())
        (best, *_) = await collections.search("slow network")
        assert (best.id, best.relevance) == ("2", 1.0)


# What else a store may be


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
async def test_relevance_lies_between_0_and_1_with_every_metric(tmp_path: Path, metric: str) -> None:
    async with MemoryPersistence(tmp_path, embedder=word_embedder(), metric=metric) as store:
        texts = ["disk disk disk", "full full full", "network slow", "deploy", "disk full network"]
        collections = await filled(store, [("incidents", str(n), text) for n, text in enumerate(texts)])
        for query in ("disk disk", "full", "slow deploy cache"):
            found = await collections.search(query)
            assert len(found) == len(texts)
            assert all(0.0 <= result.relevance <= 1.0 for result in found)
            assert [r.relevance for r in found] == sorted((r.relevance for r in found), reverse=True)


@pytest.mark.parametrize("query", ["", "  \n", "\0", "?!", '"', 'who said "', "* - NEAR( AND"])
@pytest.mark.parametrize("embedder", [True, False], ids=["by meaning", "by words"])
async def test_every_text_is_a_question(tmp_path: Path, query: str, embedder: bool) -> None:
    async with MemoryPersistence(tmp_path, embedder=word_embedder() if embedder else None) as store:
        collections = await filled(store, [("incidents", "1", "disk full")])
        assert await collections.search(query) == []
        assert [result.id for result in await collections.search(f"{query} full disk " + "word " * 5000)] == ["1"]


@pytest.mark.parametrize("embedder", [True, False], ids=["by meaning", "by words"])
async def test_the_answer_is_the_same_after_opening_and_with_a_new_text_index(tmp_path: Path, embedder: bool) -> None:
    made = word_embedder() if embedder else None
    held = [("decisions", f"{n:03}", f"{VOCABULARY[n % 6]} {VOCABULARY[n % 5]} thing") for n in reversed(range(90))]
    async with MemoryPersistence(tmp_path, embedder=made) as store:
        collections = await filled(store, held)
        before = await collections.search("network slow", n_results=7)
        await collections.put("decisions", "010", "cache", {}, AT)
        await collections.put("decisions", "010", held[79][2], {}, AT)
        assert await collections.search("network slow", n_results=7) == before
    shutil.rmtree(tmp_path / "text_index", ignore_errors=embedder)
    async with MemoryPersistence(tmp_path, embedder=made) as store:
        assert await Collections(store).search("network slow", n_results=7) == before


async def test_a_store_without_memories_has_no_answer(tmp_path: Path) -> None:
    for embedder in (None, word_embedder()):
        async with MemoryPersistence(tmp_path / str(embedder is None), embedder=embedder) as store:
            assert await Collections(store).search("disk") == []
