"""The part of the stores' conformance suite that is about search.

It is not to be derived from directly: `StoreSuite` has all parts.
"""

# ruff: noqa: S101

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from synthians_memory.config import Metric
from synthians_memory.engine.persistence import Persistence
from synthians_memory.errors import DimensionError, InvalidTypeError, InvalidValueError, UsageError
from synthians_memory.reports import SearchHit
from synthians_memory.testing.store_entity_suite import OpenStore, StoreFixture, assembly, memory

__all__ = ["FilterSuite", "SearchSuite", "VectorSuite"]

METRICS: tuple[Metric, ...] = ("cosine", "ip", "l2")
# Values of metadata that no other one equals, though Python may say so.
DISTINCT: list[Any] = [
    True, False, 1, 0, -1, "1", "", "true", "None", 1.5, 2**63, [], [1], [1, 2], [2, 1], {}, {"a": 1}, {"a": {"b": []}},
    [None], [True], "é", "e\u0301",
]  # fmt: skip


def found(hits: Sequence[SearchHit]) -> list[str]:
    """The ids of hits, in order."""
    return [hit.memory_id for hit in hits]


def expected_score(query: Sequence[float], vector: Sequence[float], metric: Metric) -> float:
    """The score by its definition, in doubles."""
    q, v = np.asarray(query, dtype=np.float64), np.asarray(vector, dtype=np.float64)
    if metric == "l2":
        return float(1 / (1 + np.sum((q - v) ** 2)))
    product = float(q @ v)
    return product if metric == "ip" else product / float(np.linalg.norm(q) * np.linalg.norm(v))


class LetterEmbedder:
    """Counts letters: small, and equal for equal texts."""

    name = "letters:1"
    dimension = 26

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row of counts for each text."""
        rows = [[text.lower().count(chr(ord("a") + i)) for i in range(26)] for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(texts), 26)


class SearchSuite(StoreFixture):
    """Nearness, order and number of hits."""

    @pytest.mark.parametrize("metric", METRICS)
    async def test_scores_are_those_of_the_metric(self, open_store: OpenStore, metric: Metric) -> None:
        generator = random.Random(1)  # noqa: S311 - repeatable, not secret
        vectors = {f"m{n}": [generator.uniform(-1, 1) for _ in range(8)] for n in range(50)}
        query = [generator.uniform(-1, 1) for _ in range(8)]
        async with open_store(metric=metric) as store:
            await store.save_memories_batch([memory(i, embedding=v) for i, v in vectors.items()])
            hits = await store.search(query, k=50)
        wanted = {i: expected_score(query, v, metric) for i, v in vectors.items()}
        assert found(hits) == sorted(wanted, key=lambda i: -wanted[i])
        assert [hit.score for hit in hits] == pytest.approx([wanted[i] for i in found(hits)], abs=1e-5)
        assert {hit.kind for hit in hits} == {"memory"}

    @pytest.mark.parametrize("metric", METRICS)
    async def test_the_entry_itself_is_found_first(self, open_store: OpenStore, metric: Metric) -> None:
        async with open_store(metric=metric) as store:
            await store.save_memory(memory("same", embedding=[3.0, 4.0]))
            await store.save_memory(memory("opposite", embedding=[-3.0, -4.0]))
            hits = await store.search([3.0, 4.0])
        assert found(hits) == ["same", "opposite"]
        best = {"cosine": 1.0, "ip": 25.0, "l2": 1.0}[metric]
        worst = {"cosine": -1.0, "ip": -25.0, "l2": 1 / 101}[metric]
        assert [hit.score for hit in hits] == pytest.approx([best, worst])

    async def test_cosine_does_not_care_for_length(self, store: Persistence) -> None:
        await store.save_memory(memory("tiny", embedding=[1e-30, 1e-30]))
        await store.save_memory(memory("huge", embedding=[3e38, 3e38]))
        hits = await store.search([5.0, 5.0])
        assert [hit.score for hit in hits] == pytest.approx([1.0, 1.0])
        assert all(-1.0 <= hit.score <= 1.0 for hit in hits)

    async def test_k_bounds_the_number(self, store: Persistence) -> None:
        await store.save_memories_batch([memory(f"m{n}", embedding=[1.0, n]) for n in range(20)])
        assert found(await store.search([1.0, 0.0], k=3)) == ["m0", "m1", "m2"]
        assert len(await store.search([1.0, 0.0])) == 10
        assert len(await store.search([1.0, 0.0], k=1000)) == 20

    async def test_what_has_no_vector_is_not_found(self, store: Persistence) -> None:
        await store.save_memories_batch([memory("with", embedding=[1.0]), memory("without")])
        assert found(await store.search([1.0])) == ["with"]

    async def test_an_empty_store_has_no_hits(self, store: Persistence) -> None:
        assert await store.search([1.0, 2.0]) == []
        assert await store.search([1.0, 2.0], where={"a": 1}) == []
        assert await store.search([1.0, 2.0], kind="assembly") == []

    async def test_kinds_are_searched_apart(self, store: Persistence) -> None:
        await store.save_memory(memory("same", embedding=[1.0, 0.0]))
        await store.save_assembly(assembly("same", composite_embedding=[0.0, 1.0]))
        await store.save_assembly(assembly("without"))
        hits = await store.search([1.0, 0.0], kind="assembly")
        assert [(hit.memory_id, hit.kind) for hit in hits] == [("same", "assembly")]
        assert hits[0].score == pytest.approx(0.0, abs=1e-6)
        assert [hit.kind for hit in await store.search([1.0, 0.0])] == ["memory"]

    async def test_any_sequence_of_numbers_is_a_query(self, store: Persistence) -> None:
        await store.save_memory(memory("m", embedding=[1.0, 2.0]))
        queries: list[Any] = [[1, 2], (1.0, 2.0), np.array([1.0, 2.0]), np.array([1, 2], dtype=np.float32)]
        for query in queries:
            assert found(await store.search(query)) == ["m"]

    @pytest.mark.parametrize("metric", METRICS)
    async def test_search_follows_whatever_happens(self, open_store: OpenStore, metric: Metric) -> None:
        generator = random.Random(metric)  # noqa: S311 - repeatable, not secret
        vectors: dict[str, list[float]] = {}
        async with open_store(metric=metric) as store:
            for turn in range(250):
                entity_id = f"m{generator.randrange(30)}"
                if generator.random() < 0.3:
                    vectors.pop(entity_id, None)
                    await store.delete_memory(entity_id)
                else:
                    vectors[entity_id] = [generator.uniform(-1, 1) for _ in range(4)]
                    await store.save_memory(memory(entity_id, embedding=vectors[entity_id]))
                if turn % 50 == 49:
                    await store.checkpoint()
                await _assert_exact(store, vectors, generator, metric)
        async with open_store() as store:
            await _assert_exact(store, vectors, generator, metric)

    async def test_text_is_searched_by_the_embedder(self, open_store: OpenStore) -> None:
        async with open_store(embedder=LetterEmbedder()) as store:
            rows = LetterEmbedder().embed(["abc", "xyz"])
            await store.save_memory(memory("abc", embedding=rows[0]))
            await store.save_memory(memory("xyz", embedding=rows[1]))
            hits = await store.search("cab", k=1)
        assert found(hits) == ["abc"]
        assert hits[0].score == pytest.approx(1.0)

    async def test_text_needs_an_embedder(self, store: Persistence) -> None:
        with pytest.raises(UsageError):
            await store.search("a text")

    async def test_a_bad_k_is_refused(self, store: Persistence) -> None:
        bad: list[Any] = [0, -1, True, 1.5, None, "3"]
        for k in bad:
            with pytest.raises((InvalidValueError, InvalidTypeError)):
                await store.search([1.0], k=k)

    async def test_an_unknown_kind_is_refused(self, store: Persistence) -> None:
        kind: Any = "segment"
        with pytest.raises((InvalidValueError, InvalidTypeError)):
            await store.search([1.0], kind=kind)


async def _assert_exact(
    store: Persistence, vectors: dict[str, list[float]], generator: random.Random, metric: Metric
) -> None:
    query = [generator.uniform(-1, 1) for _ in range(4)]
    wanted = {i: expected_score(query, v, metric) for i, v in vectors.items()}
    k = generator.randrange(1, 40)
    hits = await store.search(query, k=k)
    assert found(hits) == sorted(wanted, key=lambda i: -wanted[i])[:k]
    assert [hit.score for hit in hits] == pytest.approx([wanted[i] for i in found(hits)], abs=1e-5)


class FilterSuite(StoreFixture):
    """`where`: conditions on metadata, tags, times and score, applied before the best are taken."""

    async def test_operators(self, store: Persistence) -> None:
        times = [f"2026-01-0{n + 1}T00:00:00Z" for n in range(4)]
        for n in range(4):
            metadata = {"n": n, "deep": {"list": [n, n + 1]}} | ({"odd": True} if n % 2 else {})
            entry = memory(f"m{n}", embedding=[1.0, n], metadata=metadata, created_at=times[n], tags=[f"t{n}", "all"])
            await store.save_memory(entry)
        for where, wanted in (
            ({"n": {"$gt": 0, "$lte": 2}}, ["m1", "m2"]),
            ({"n": {"$in": [0, 3.0, "1"]}}, ["m0", "m3"]),
            ({"n": {"$nin": [0, 3]}}, ["m1", "m2"]),
            ({"odd": {"$exists": False}}, ["m0", "m2"]),
            ({"odd": {"$ne": True}}, ["m0", "m2"]),
            ({"deep.list": {"$contains": 2}}, ["m1", "m2"]),
            ({"tags": {"$contains": "t3"}}, ["m3"]),
            ({"created_at": {"$lt": times[1]}}, ["m0"]),
            ({"$or": [{"n": 0}, {"$and": [{"odd": True}, {"$not": {"n": 3}}]}]}, ["m0", "m1"]),
        ):
            assert found(await store.search([1.0, 0.0], where=where)) == wanted

    async def test_only_equal_values_pass(self, store: Persistence) -> None:
        entries = [memory(f"m{n:02}", embedding=[1.0, n], metadata={"v": v}) for n, v in enumerate(DISTINCT)]
        await store.save_memories_batch(entries)
        for n, value in enumerate(DISTINCT):
            assert found(await store.search([1.0, 0.0], where={"v": value})) == [f"m{n:02}"]
        assert await store.search([1.0, 0.0], where={"v": "absent"}) == []

    async def test_numbers_are_equal_whatever_their_type(self, store: Persistence) -> None:
        await store.save_memory(memory("int", embedding=[1.0, 0.0], metadata={"v": 2, "deep": {"x": [2]}}))
        await store.save_memory(memory("float", embedding=[1.0, 1.0], metadata={"v": 2.0, "deep": {"x": [2.0]}}))
        for where in ({"v": 2}, {"v": 2.0}, {"deep": {"x": [2]}}, {"deep": {"x": [2.0]}}):
            assert found(await store.search([1.0, 0.0], where=where)) == ["int", "float"]

    async def test_none_means_missing(self, store: Persistence) -> None:
        await store.save_memory(memory("missing", embedding=[1.0, 0.0]))
        await store.save_memory(memory("null", embedding=[1.0, 1.0], metadata={"v": None}))
        await store.save_memory(memory("set", embedding=[1.0, 2.0], metadata={"v": 0}))
        assert found(await store.search([1.0, 0.0], where={"v": None})) == ["missing", "null"]

    async def test_all_conditions_must_hold(self, store: Persistence) -> None:
        for n in range(8):
            metadata = {"a": n % 2, "b": n % 4}
            await store.save_memory(memory(f"m{n}", embedding=[1.0, n], metadata=metadata))
        assert found(await store.search([1.0, 0.0], where={"a": 1, "b": 3})) == ["m3", "m7"]
        assert await store.search([1.0, 0.0], where={"a": 0, "b": 3}) == []
        assert len(await store.search([1.0, 0.0], where={})) == 8

    async def test_the_filter_comes_before_the_best(self, store: Persistence) -> None:
        near = [memory(f"near{n}", embedding=[1.0, n / 1000], metadata={"v": "near"}) for n in range(300)]
        far = [memory(f"far{n}", embedding=[-1.0, n], metadata={"v": "far"}) for n in range(4)]
        await store.save_memories_batch(near + far)
        hits = await store.search([1.0, 0.0], k=3, where={"v": "far"})
        assert found(hits) == ["far3", "far2", "far1"]

    async def test_the_order_of_keys_in_an_object_does_not_matter(self, store: Persistence) -> None:
        await store.save_memory(memory("m", embedding=[1.0], metadata={"v": {"a": 1, "b": [{"c": 2, "d": 3}]}}))
        assert found(await store.search([1.0], where={"v": {"b": [{"d": 3, "c": 2}], "a": 1}})) == ["m"]

    async def test_it_follows_changes_at_once(self, store: Persistence) -> None:
        await store.save_memory(memory("m", embedding=[1.0, 0.0], metadata={"v": 1}))
        assert found(await store.search([1.0, 0.0], where={"v": 1})) == ["m"]
        await store.save_memory(memory("m", embedding=[1.0, 0.0], metadata={"v": 2}))
        assert await store.search([1.0, 0.0], where={"v": 1}) == []
        assert found(await store.search([1.0, 0.0], where={"v": 2})) == ["m"]
        await store.save_memory(memory("n", embedding=[1.0, 0.0], metadata={"v": 2}))
        await store.delete_memory("m")
        assert found(await store.search([1.0, 0.0], where={"v": 2})) == ["n"]

    async def test_assemblies_are_filtered_too(self, store: Persistence) -> None:
        await store.save_assembly(assembly("a", composite_embedding=[1.0], metadata={"v": 1}))
        await store.save_assembly(assembly("b", composite_embedding=[1.0], metadata={"v": 2}))
        await store.save_memory(memory("m", embedding=[1.0], metadata={"v": 2}))
        assert found(await store.search([1.0], kind="assembly", where={"v": 2})) == ["b"]

    async def test_it_works_after_opening_again(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.save_memories_batch(
                [memory(f"m{n}", embedding=[1.0, n], metadata={"v": n % 2}) for n in range(6)]
            )
        async with open_store() as store:
            assert found(await store.search([1.0, 0.0], where={"v": 1})) == ["m1", "m3", "m5"]

    async def test_what_is_no_filter_is_refused(self, store: Persistence) -> None:
        bad: list[Any] = ["v", ["v"], [("v", 1)], 7, {1: 1}, {"$gt": 1}, {"v": object()}]
        for where in bad:
            with pytest.raises((InvalidTypeError, InvalidValueError)):
                await store.search([1.0], where=where)


class VectorSuite(StoreFixture):
    """Which vectors are taken, and what becomes of them."""

    async def test_updates_and_deletes_are_followed_at_once(self, store: Persistence) -> None:
        await store.save_memory(memory("m", embedding=[1.0, 0.0]))
        await store.save_memory(memory("m", embedding=[0.0, 1.0]))
        hits = await store.search([0.0, 1.0])
        assert found(hits) == ["m"]
        assert hits[0].score == pytest.approx(1.0)
        await store.save_memory(memory("m"))
        assert await store.search([0.0, 1.0]) == []
        await store.save_memory(memory("m", embedding=[1.0, 1.0]))
        await store.delete_memory("m")
        assert await store.search([0.0, 1.0]) == []

    async def test_an_old_vector_is_never_attached_to_a_new_text(self, store: Persistence) -> None:
        await store.save_memory(memory("m", "old", embedding=[1.0, 0.0]))
        await store.checkpoint()
        await store.delete_memory("m")
        await store.save_memory(memory("m", "new"))
        assert await store.search([1.0, 0.0]) == []
        await store.save_memory(memory("m", "newer", embedding=[-1.0, 0.0]))
        assert [hit.score for hit in await store.search([1.0, 0.0])] == [pytest.approx(-1.0)]

    async def test_an_update_of_the_text_keeps_the_vector(self, store: Persistence) -> None:
        first = await store.save_memory(memory("m", "old", embedding=[1.0, 2.0]))
        await store.save_memory(first.replace(content="new"))
        assert found(await store.search([1.0, 2.0])) == ["m"]

    async def test_the_first_vector_fixes_the_dimension(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.save_memory(memory("a", embedding=[1.0, 2.0, 3.0]))
            with pytest.raises(DimensionError):
                await store.save_memory(memory("b", embedding=[1.0, 2.0]))
            with pytest.raises(DimensionError):
                await store.save_assembly(assembly("b", composite_embedding=[1.0, 2.0, 3.0, 4.0]))
            assert store.stats()["embedding_dimension"] == 3
            assert (await store.list_memories(), await store.list_assemblies()) == (["a"], [])
            await store.delete_memory("a")
        async with open_store() as store:
            with pytest.raises(DimensionError):
                await store.save_memory(memory("c", embedding=[1.0]))

    async def test_a_refused_vector_fixes_nothing(self, store: Persistence) -> None:
        with pytest.raises(InvalidValueError):
            await store.save_memory(memory("zero", embedding=[0.0, 0.0, 0.0]))
        await store.save_memory(memory("m", embedding=[1.0, 2.0]))
        assert store.stats()["embedding_dimension"] == 2

    async def test_the_dimension_may_be_set(self, open_store: OpenStore) -> None:
        async with open_store(embedding_dimension=2) as store:
            with pytest.raises(DimensionError):
                await store.save_memory(memory("m", embedding=[1.0]))
            with pytest.raises(DimensionError):
                await store.search([1.0])

    async def test_a_query_of_another_length_is_refused(self, store: Persistence) -> None:
        await store.save_memory(memory("m", embedding=[1.0, 2.0]))
        for query in ([1.0], [1.0, 2.0, 3.0]):
            with pytest.raises(DimensionError):
                await store.search(query)

    async def test_a_zero_vector_has_no_direction(self, store: Persistence) -> None:
        await store.save_memory(memory("m", embedding=[1.0, 2.0]))
        with pytest.raises(InvalidValueError):
            await store.save_memory(memory("zero", embedding=[0.0, -0.0]))
        with pytest.raises(InvalidValueError):
            await store.search([0.0, 0.0])
        assert await store.list_memories() == ["m"]

    @pytest.mark.parametrize("metric", ["ip", "l2"])
    async def test_other_metrics_take_a_zero_vector(self, open_store: OpenStore, metric: Metric) -> None:
        async with open_store(metric=metric) as store:
            await store.save_memory(memory("zero", embedding=[0.0, 0.0]))
            hits = await store.search([0.0, 0.0])
        assert [(hit.memory_id, hit.score) for hit in hits] == [("zero", 0.0 if metric == "ip" else 1.0)]

    async def test_what_is_no_vector_is_refused(self, store: Persistence) -> None:
        bad: list[Any] = [[], [[1.0]], [float("nan")], [float("inf")], [1e39], None, b"ab", ["a"], [None]]
        for query in bad:
            with pytest.raises((InvalidTypeError, InvalidValueError)):
                await store.search(query)
