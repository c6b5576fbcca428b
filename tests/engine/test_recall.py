"""Recall and remember: what a person types finds what it should, in time, and says how it was found."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthians_memory import MemoryAssembly, MemoryEntry, MemoryPersistence, RecallHit
from synthians_memory.engine.filters import matches, parse_where
from synthians_memory.engine.fusion import fused, shares_by_rank, shares_of_best, shares_of_range
from synthians_memory.engine.searching import MOST_QUERY_CHARACTERS, MOST_TAGS, MOST_TEXT_CHARACTERS
from synthians_memory.engine.text_query import MOST_TERMS, terms_of
from synthians_memory.errors import InvalidTypeError, InvalidValueError, SearchTimeoutError, UsageError
from synthians_memory.layout import entity_path

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Letters:
    """Counts letters: texts with the same ones are near to each other."""

    name = "letters"
    dimension = 26

    def embed(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.array([[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], dtype=np.float32)


def memory(memory_id: str, content: str, **fields: Any) -> MemoryEntry:
    embedding = Letters().embed([content])[0]
    return MemoryEntry(memory_id=memory_id, content=content, embedding=embedding if embedding.any() else None, **fields)


def ids(hits: Iterable[RecallHit]) -> list[str]:
    return [hit.entry.memory_id for hit in hits]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[MemoryPersistence]:
    async with MemoryPersistence(tmp_path / "store", embedder=Letters()) as store:
        yield store


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[MemoryPersistence]:
    async with MemoryPersistence(tmp_path / "plain") as store:
        yield store


ANIMALS = [
    memory("cat", "The cat sleeps on the sofa", tags=["pet"]),
    memory("dog", "The dog was walking in the rain", tags=["pet"]),
    memory("bird", "Birds are flying over the lake"),
    memory("fish", "A fish in deep water"),
]


# Modes


async def test_words_find_what_has_them_and_their_other_forms(plain: MemoryPersistence) -> None:
    await plain.save_memories_batch(ANIMALS)
    assert ids(await plain.recall("sleeping cats")) == ["cat"]
    assert ids(await plain.recall("who walks?", mode="text")) == ["dog"]
    assert ids(await plain.recall("pet")) == ["cat", "dog"]
    assert ids(await plain.recall('"deep water" fly*')) == ["fish", "bird"]
    assert await plain.recall("zebra") == []


async def test_each_mode_says_how_it_found(store: MemoryPersistence, plain: MemoryPersistence) -> None:
    for one in (store, plain):
        await one.save_memories_batch(ANIMALS)
    (hit,) = await store.recall("cat", k=1)
    assert (hit.entry.memory_id, hit.mode) == ("cat", "hybrid")
    assert hit.parts.vector is not None
    assert hit.parts.text > 0
    (hit,) = await store.recall("cat", k=1, mode="text")
    assert (hit.mode, hit.parts.vector, hit.score) == ("text", None, 1.0)
    (hit,) = await store.recall("cat", k=1, mode="vector")
    assert (hit.mode, hit.parts.text, hit.score) == ("vector", 0.0, hit.parts.vector)
    (hit,) = await plain.recall("cat", k=1)
    assert (hit.mode, hit.parts.vector) == ("text", None)
    with pytest.raises(UsageError, match="no embedder"):
        await plain.recall("cat", mode="vector")


async def test_a_text_that_the_embedder_does_not_know_goes_by_its_words(store: MemoryPersistence) -> None:
    await store.save_memory(MemoryEntry(memory_id="m", content="4711"))
    (hit,) = await store.recall("4711")
    assert (hit.entry.memory_id, hit.mode) == ("m", "text")
    assert await store.recall("4711", mode="vector") == []


async def test_hybrid_gives_as_many_as_there_are(store: MemoryPersistence) -> None:
    await store.save_memories_batch([memory(f"m{n:03}", f"words {'abcdefgh'[n % 8] * (n + 1)}") for n in range(150)])
    for k in (1, 10, 149, 200):
        hits = await store.recall("words about aaa", k=k)
        assert len(hits) == min(k, 150)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert len(set(ids(hits))) == len(hits)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        '"',
        '""',
        "*",
        "***",
        "AND",
        "a OR",
        "NEAR(",
        "-",
        "col:x",
        "\0",
        "\ud800",
        "'",
        "()",
        "😀",
        "x" * MOST_QUERY_CHARACTERS,
        "w " * (MOST_QUERY_CHARACTERS // 2),
        '"unclosed',
    ],
)
async def test_any_text_is_a_valid_query(store: MemoryPersistence, text: str) -> None:
    await store.save_memories_batch(ANIMALS)
    for mode in ("hybrid", "text", "vector"):
        assert len(await store.recall(text, mode=mode, timeout=60)) <= 4  # type: ignore[arg-type]
    if not any(map(str.isalnum, text)):
        assert await store.recall(text) == []


async def test_a_longer_query_is_refused_and_never_cut(store: MemoryPersistence) -> None:
    with pytest.raises(InvalidValueError, match="1,001 characters, over 1,000"):
        await store.recall("x" * (MOST_QUERY_CHARACTERS + 1))


async def test_what_is_too_much_to_remember_is_refused_and_never_cut(store: MemoryPersistence) -> None:
    with pytest.raises(InvalidValueError, match="100,001 characters, over 100,000"):
        await store.remember("x" * (MOST_TEXT_CHARACTERS + 1))
    with pytest.raises(InvalidValueError, match="51 tags, over 50"):
        await store.remember("x", tags=[str(number) for number in range(MOST_TAGS + 1)])
    assert await store.list_memories() == []
    kept = await store.remember("x" * MOST_TEXT_CHARACTERS, tags=(str(number) for number in range(MOST_TAGS)))
    assert (len(kept.content), len(kept.tags)) == (MOST_TEXT_CHARACTERS, MOST_TAGS)


@given(st.text())
def test_every_term_is_quoted(text: str) -> None:
    terms = terms_of(text)
    assert len(terms) == len(set(terms)) <= MOST_TERMS
    for term in terms:
        inner = term.removesuffix("*")
        assert inner[0] == inner[-1] == '"'
        assert '"' not in inner[1:-1]
        assert "\0" not in term


async def test_operators_are_words(plain: MemoryPersistence) -> None:
    await plain.save_memories_batch([memory("a", "salt and pepper"), memory("b", "near the sea")])
    assert ids(await plain.recall("NOT AND")) == ["a"]
    assert ids(await plain.recall("NEAR")) == ["b"]


# Filters


async def test_filters_come_first_at_every_selectivity(store: MemoryPersistence) -> None:
    generator = random.Random(5)
    entries = [
        memory(f"m{n:04}", f"word{n % 7} {'abcdefghij'[n % 10] * (1 + n % 5)}", metadata={"r": generator.random()})
        for n in range(4000)
    ]
    await store.save_memories_batch(entries)
    for share in (0.5, 0.05, 0.005, 0.0005):
        await _require_filtered(store, entries, {"r": {"$lt": share}})


async def _require_filtered(store: MemoryPersistence, entries: list[MemoryEntry], where: dict[str, Any]) -> None:
    wanted = {e.memory_id for e in entries if matches(e, parse_where(where))}
    assert wanted
    query = Letters().embed(["bcd"])[0]
    scores = {e.memory_id: _cosine(e.embedding, query) for e in entries}
    best = sorted((scores[i] for i in wanted), reverse=True)[:10]
    hits = await store.search(query, k=10, where=where)
    assert {hit.memory_id for hit in hits} <= wanted
    assert [hit.score for hit in hits] == pytest.approx(best, abs=1e-5)
    for mode in ("hybrid", "vector"):
        found = ids(await store.recall("word3 bcd", k=10, mode=mode, where=where))  # type: ignore[arg-type]
        assert len(found) == min(10, len(wanted))
        assert set(found) <= wanted
    found = ids(await store.recall("word3", k=len(entries), mode="text", where=where))
    assert sorted(found) == [e.memory_id for e in entries if e.memory_id in wanted and "word3" in e.content]


def _cosine(one: Any, other: Any) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


async def test_a_filter_is_checked_at_the_call(plain: MemoryPersistence) -> None:
    with pytest.raises(InvalidValueError, match="unknown operator"):
        await plain.recall("x", where={"a": {"$like": "b"}})
    with pytest.raises(InvalidValueError, match="unknown operator"):
        await plain.search([1.0], where={"a": {"$like": "b"}})


# Neighbours


async def test_an_answer_is_found_by_its_question(plain: MemoryPersistence) -> None:
    turns = ["Where did you spend your holidays?", "In Lisbon, and it was lovely.", "Nice.", "Shall we eat?", "Pizza."]
    await plain.save_memories_batch(
        [
            memory(f"t{n}", text, created_at=NOON + timedelta(minutes=n), metadata={"conversation_id": "c"})
            for n, text in enumerate(turns)
        ]
        + [memory("far", "Pizza again", metadata={"conversation_id": "d"}), memory("none", "Something else")]
    )
    hits = await plain.recall("holidays")
    assert ids(hits) == ["t0", "t1"]
    assert (hits[1].parts.text, hits[1].parts.neighbours > 0) == (0.0, True)
    assert ids(await plain.recall("holidays", neighbours=0)) == ["t0"]
    assert ids(await plain.recall("eat")) == ["t3", "t2", "t4"]
    assert ids(await plain.recall("holidays", where={"memory": None, "created_at": {"$gt": NOON}})) == ["t1"]


async def test_members_of_an_assembly_are_neighbours_in_their_order(plain: MemoryPersistence) -> None:
    await plain.save_memories_batch(
        [memory(i, f"text {word}") for i, word in zip("abcd", ("one", "two", "three", "four"), strict=True)]
    )
    await plain.save_assembly(MemoryAssembly(assembly_id="x", members=["d", "a", "missing", "b"]))
    assert ids(await plain.recall("one")) == ["a", "d"]
    await plain.save_assembly(MemoryAssembly(assembly_id="x", members=["a", "c"]))
    assert ids(await plain.recall("one")) == ["a", "c"]
    await plain.delete_assembly("x")
    assert ids(await plain.recall("one")) == ["a"]


async def test_the_key_of_conversations_can_be_another(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path, conversation_key="chat") as store:
        for n, text in enumerate(["question", "answer"]):
            await store.save_memory(memory(f"m{n}", text, created_at=NOON + timedelta(n), metadata={"chat": 7}))
        assert ids(await store.recall("question")) == ["m0", "m1"]


# Weights


async def test_recency_and_importance_count_where_they_are_asked_for(plain: MemoryPersistence) -> None:
    now = datetime.now(UTC)
    await plain.save_memories_batch(
        [
            memory("a", "tea", created_at=now - timedelta(days=100), quickrecal_score=0.5),
            memory("b", "tea", created_at=now - timedelta(days=100), quickrecal_score=0.9),
            memory("c", "tea", created_at=now, quickrecal_score=0.1),
        ]
    )
    assert ids(await plain.recall("tea")) == ["a", "b", "c"]
    assert ids(await plain.recall("tea", importance=1)) == ["b", "a", "c"]
    hits = await plain.recall("tea", recency=1, half_life=100)
    assert ids(hits) == ["c", "a", "b"]
    assert [hit.parts.recency for hit in hits] == pytest.approx([1, 0.5, 0.5], abs=0.01)
    assert [hit.score for hit in hits] == pytest.approx([2, 1.5, 1.5], abs=0.01)
    assert ids(await plain.recall("tea", recency=1, half_life=100, min_score=1.7)) == ["c"]


def test_fusion_by_score_and_by_rank() -> None:
    texts, vectors = {"a": 10.0, "b": 5.0}, {"b": 0.9, "c": 0.5, "d": 0.1}
    assert fused(texts, vectors, 0.1, "score", 0.5) == pytest.approx({"a": 0.5, "b": 0.75, "c": 0.25, "d": 0.0})
    assert fused(texts, vectors, 0.1, "score", 0.0) == pytest.approx({"a": 1.0, "b": 0.5, "c": 0.0, "d": 0.0})
    by_rank = fused(texts, vectors, 0.1, "rank", 0.5)
    assert sorted(by_rank, key=by_rank.__getitem__, reverse=True) == ["b", "a", "c", "d"]
    assert shares_by_rank({"x": 1.0, "a": 1.0, "b": 3.0}) == {"b": 1.0, "a": 61 / 62, "x": 61 / 63}
    assert shares_of_best({}) == shares_of_range({}, 0.0) == fused({}, {}, 0.0, "score", 0.5) == {}
    assert shares_of_range({"only": 0.3}, 0.3) == {"only": 1.0}


async def test_both_fusions_are_to_be_had(store: MemoryPersistence) -> None:
    await store.save_memories_batch(ANIMALS)
    for fusion in ("score", "rank"):
        assert ids(await store.recall("the cat sleeps", fusion=fusion))[0] == "cat"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"text": 5}, InvalidTypeError),
        ({"k": 0}, InvalidValueError),
        ({"mode": "both"}, InvalidValueError),
        ({"fusion": "sum"}, InvalidValueError),
        ({"min_score": "high"}, InvalidTypeError),
        ({"vector_weight": 1.5}, InvalidValueError),
        ({"neighbours": -1}, InvalidValueError),
        ({"recency": float("nan")}, InvalidValueError),
        ({"half_life": 0}, InvalidValueError),
        ({"importance": True}, InvalidTypeError),
        ({"timeout": -1}, InvalidValueError),
        ({"timeout": "soon"}, InvalidTypeError),
    ],
    ids=str,
)
async def test_wrong_arguments_are_refused(
    plain: MemoryPersistence, arguments: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        await plain.recall(**{"text": "x", **arguments})


# What cannot be served


async def test_a_damaged_memory_gives_its_place_to_the_next(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path, cache_bytes=0) as store:
        await store.save_memories_batch([memory("a", "tea tea"), memory("b", "tea and more words here")])
        assert ids(await store.recall("tea", k=1)) == ["a"]
        path = tmp_path / entity_path("memory", "a")
        path.write_bytes(path.read_bytes().replace(b"tea", b"tee"))
        assert ids(await store.recall("tea", k=1)) == ["b"]


# Time


class SlowEmbedder(Letters):
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def embed(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        self.go_on.wait(30)
        return super().embed(texts)


async def test_the_timeout_returns_in_time_and_the_loop_is_free(tmp_path: Path) -> None:
    embedder = SlowEmbedder()
    async with MemoryPersistence(tmp_path, embedder=embedder) as store:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        with pytest.raises(SearchTimeoutError, match=r"0\.2 seconds") as caught:
            await store.recall("text", timeout=0.2)
        assert isinstance(caught.value, TimeoutError)
        assert ticks
        ticking.cancel()
        embedder.go_on.set()
        assert await store.recall("text") == []


async def test_no_time_at_all(plain: MemoryPersistence) -> None:
    await plain.save_memories_batch(ANIMALS)
    with pytest.raises(SearchTimeoutError):
        await plain.recall("cat", timeout=0)
    assert ids(await plain.recall("cat", timeout=None)) == ["cat"]


async def test_whoever_waits_for_the_index_is_told_in_time(plain: MemoryPersistence) -> None:
    await plain.save_memories_batch(ANIMALS)
    view = plain._opened().store.state.text
    view._using.acquire()
    try:
        with pytest.raises(SearchTimeoutError):
            await plain.recall("cat", timeout=0.1)
    finally:
        view._using.release()
    assert ids(await plain.recall("cat")) == ["cat"]


async def test_many_at_once_while_memories_are_saved(store: MemoryPersistence) -> None:
    await store.save_memories_batch(ANIMALS)
    stop = time.monotonic() + 1.0

    async def saver() -> None:
        number = 0
        while time.monotonic() < stop:
            await store.save_memory(memory(f"n{number % 20}", f"The cat number{number}"))
            number += 1

    async def asker() -> None:
        while time.monotonic() < stop:
            hits = await store.recall("cat sleeps", k=3, timeout=60)
            assert ids(hits)[0] == "cat"
            assert all("cat" in hit.entry.content or hit.parts.text == 0 for hit in hits)

    await asyncio.gather(saver(), *(asker() for _ in range(6)))


# Remember


async def test_what_is_remembered_is_recalled(store: MemoryPersistence) -> None:
    entry = await store.remember("Ann likes green tea", tags=["drinks"], importance=0.9, metadata={"topic": "tea"})
    loaded = await store.load_memory(entry.memory_id)
    assert loaded == entry
    assert (entry.tags, entry.quickrecal_score, entry.metadata) == (("drinks",), 0.9, {"topic": "tea"})
    assert entry.embedding is not None
    assert ids(await store.recall("what does Ann like?", where={"tags": {"$contains": "drinks"}})) == [entry.memory_id]


async def test_remember_without_an_embedder_or_known_words(store: MemoryPersistence, plain: MemoryPersistence) -> None:
    assert (await plain.remember("tea")).embedding is None
    assert (await store.remember("4711")).embedding is None


@pytest.mark.parametrize("text", ["", "  \n"])
async def test_empty_text_is_refused(store: MemoryPersistence, text: str) -> None:
    with pytest.raises(InvalidValueError, match="empty"):
        await store.remember(text)
    assert await store.list_memories() == []
