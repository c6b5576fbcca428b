"""The part of the stores' conformance suite that is about memories that expire.

It is not to be derived from directly: `StoreSuite` has all parts. What removes them is not part of it.
"""

# ruff: noqa: S101

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from synthians_memory.engine.commit import ABSENT
from synthians_memory.engine.persistence import Persistence
from synthians_memory.errors import ConflictError
from synthians_memory.models import MemoryEntry
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.store_entity_suite import OpenStore, StoreFixture, assembly, memory
from synthians_memory.testing.store_search_suite import LetterEmbedder, found
from synthians_memory.times import from_micros

__all__ = ["ExpirySuite"]

MICROSECOND = timedelta(microseconds=1)


def now(clock: ManualClock) -> datetime:
    return from_micros(clock.micros())


def fading(
    clock: ManualClock, memory_id: str, content: str = "fading", seconds: float = 10, **fields: Any
) -> MemoryEntry:
    """A memory that expires in so many seconds."""
    return memory(memory_id, content, expires_at=now(clock) + timedelta(seconds=seconds), **fields)


class ExpirySuite(StoreFixture):
    """From its `expires_at` on, a memory is for every read as if it had been deleted."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def timed(self, open_store: OpenStore, clock: ManualClock) -> AsyncIterator[Persistence]:
        async with open_store(clock=clock) as store:
            yield store

    async def test_the_moment_itself_is_too_late(self, timed: Persistence, clock: ManualClock) -> None:
        stored = await timed.save_memory(fading(clock, "m", embedding=[1.0, 2.0]))
        clock.advance(10 - 1e-6)
        assert await timed.load_memory("m") == stored
        assert await timed.list_memories() == ["m"]
        assert found(await timed.search([1.0, 2.0])) == ["m"]
        clock.advance(1e-6)
        assert now(clock) == stored.expires_at
        assert await timed.load_memory("m") is None
        assert await timed.list_memories() == []
        assert await timed.search([1.0, 2.0]) == []

    @pytest.mark.parametrize("way", ["at once", "after a checkpoint", "opened again", "opened again after a flush"])
    async def test_no_read_gives_it(self, open_store: OpenStore, clock: ManualClock, way: str) -> None:
        embedder = LetterEmbedder()
        vector = embedder.embed(["fading words"])[0]

        @asynccontextmanager
        async def opened() -> AsyncIterator[Persistence]:
            async with open_store(clock=clock, embedder=embedder) as store:
                yield store

        async with opened() as store:
            await store.save_memories_batch(
                [
                    fading(clock, "gone", "fading words", embedding=vector),
                    memory("kept", "other words", embedding=embedder.embed(["other words"])[0]),
                ]
            )
            if way == "after a checkpoint":
                await store.checkpoint()
            if way == "opened again after a flush":
                await store.flush()
            clock.advance(10)
            if way in ("at once", "after a checkpoint"):
                await self.require_gone(store)
        if way.startswith("opened again"):
            async with opened() as store:
                await self.require_gone(store)

    async def require_gone(self, store: Persistence) -> None:
        assert await store.load_memory("gone") is None
        assert list(await store.load_memories(["gone", "kept"])) == ["kept"]
        assert await store.list_memories() == ["kept"]
        assert [entry.memory_id async for entry in store.iter_memories()] == ["kept"]
        assert [entry.memory_id for entry in await store.load_all()] == ["kept"]
        assert found(await store.search("fading words", k=2)) == ["kept"]
        assert found(await store.search("fading words", k=2, where={"expires_at": {"$exists": True}})) == []
        for mode in ("hybrid", "text", "vector"):
            hits = await store.recall("fading words", 2, mode)
            assert [hit.entry.memory_id for hit in hits] == ["kept"], mode
        async with store.transaction() as transaction:
            assert await transaction.load_memory("gone") is None
        assert [entry.memory_id async for entry in store.iter_memories(expired=True)] == ["gone", "kept"]

    async def test_it_is_stored_still_and_nothing_is_wrong_with_it(
        self, timed: Persistence, clock: ManualClock
    ) -> None:
        await timed.save_memories_batch([fading(clock, "m", embedding=[1.0, 2.0]), memory("n", embedding=[2.0, 1.0])])
        await timed.save_assembly(assembly("a", members=["m", "n"]))
        clock.advance(11)
        stats = timed.stats()
        assert (stats["memories"], stats["expired"], stats["vectors"]) == (2, 1, 2)
        assert await timed.verify_consistency() == []
        report = await timed.verify_and_repair_consistency()
        assert (report.actions, timed.stats()["memories"]) == ((), 2)

    @pytest.mark.parametrize("k", [1, 5, 40])
    @pytest.mark.parametrize("expired", [3, 30, 200])
    async def test_a_search_finds_as_many_as_there_are(
        self, timed: Persistence, clock: ManualClock, k: int, expired: int
    ) -> None:
        # The expired ones are the nearest.
        await timed.save_memories_batch(
            [
                *(fading(clock, f"gone{n:03}", embedding=[1.0, n * 1e-4], tags=["t"]) for n in range(expired)),
                *(memory(f"kept{n:02}", embedding=[1.0, 1.0 + n], tags=["t"]) for n in range(40)),
            ]
        )
        clock.advance(10)
        wanted = [f"kept{n:02}" for n in range(k)]
        assert found(await timed.search([1.0, 0.0], k)) == wanted
        assert found(await timed.search([1.0, 0.0], k, {"tags": {"$contains": "t"}})) == wanted

    @pytest.mark.parametrize("where", [None, {"tags": {"$contains": "t"}}])
    async def test_a_recall_finds_as_many_as_there_are(
        self, timed: Persistence, clock: ManualClock, where: dict[str, Any] | None
    ) -> None:
        await timed.save_memories_batch(
            [
                *(fading(clock, f"gone{n:03}", "zebra zebra", tags=["t"]) for n in range(250)),
                *(
                    memory(f"kept{n:02}", "the zebra of the savanna and its many stripes", tags=["t"])
                    for n in range(30)
                ),
            ]
        )
        clock.advance(10)
        hits = await timed.recall("zebra", 30, "text", where)
        assert sorted(hit.entry.memory_id for hit in hits) == [f"kept{n:02}" for n in range(30)]

    async def test_an_expired_one_lends_no_words_and_stands_between_nobody(
        self, timed: Persistence, clock: ManualClock
    ) -> None:
        start = now(clock)
        turns = [("one", "violet zebra", None), ("two", "violet quagga", 10), ("three", "nothing of it", None)]
        for place, (memory_id, content, seconds) in enumerate(turns):
            await timed.save_memory(
                MemoryEntry(
                    memory_id=memory_id,
                    content=content,
                    created_at=start + timedelta(seconds=place),
                    metadata={"conversation_id": "c"},
                    expires_at=start + timedelta(seconds=seconds) if seconds else None,
                )
            )
        before = {hit.entry.memory_id: hit.parts for hit in await timed.recall("violet zebra", 3, "text")}
        assert before["three"].neighbours > 0
        clock.advance(10)
        after = {hit.entry.memory_id: hit.parts for hit in await timed.recall("quagga", 3, "text")}
        assert after == {}
        after = {hit.entry.memory_id: hit.parts for hit in await timed.recall("violet zebra", 3, "text")}
        # As after its deletion: the first and the third are next to each other.
        assert after.keys() == {"one", "three"}
        assert after["three"].neighbours == pytest.approx(after["one"].text)

    async def test_expectations_take_it_for_deleted(self, timed: Persistence, clock: ManualClock) -> None:
        stored = await timed.save_memory(fading(clock, "m"))
        clock.advance(10)
        with pytest.raises(ConflictError):
            await timed.save_memory(memory("m", "stale"), expected_updated_at=stored.updated_at)
        with pytest.raises(ConflictError):
            await timed.delete_memory("m", expected_updated_at=stored.updated_at)
        assert await timed.load_memory("m") is None
        again = await timed.save_memory(memory("m", "new"), expected_updated_at=ABSENT)
        assert await timed.load_memory("m") == again
        assert stored.updated_at is not None
        assert again.updated_at is not None
        assert again.updated_at > stored.updated_at

    async def test_one_that_is_alive_is_no_absent_one(self, timed: Persistence, clock: ManualClock) -> None:
        await timed.save_memory(fading(clock, "m"))
        with pytest.raises(ConflictError):
            await timed.save_memory(memory("m"), expected_updated_at=ABSENT)

    async def test_deleting_it_removes_it_and_answers_that_it_was_not_there(
        self, timed: Persistence, clock: ManualClock
    ) -> None:
        await timed.save_memories_batch([fading(clock, "m"), fading(clock, "n"), memory("o")])
        clock.advance(10)
        assert await timed.delete_memory("m") is False
        assert timed.stats()["memories"] == 2
        assert await timed.delete_memories_batch(["n", "o"]) == 1
        assert timed.stats()["memories"] == 0
        assert [entry async for entry in timed.iter_memories(expired=True)] == []

    async def test_saving_over_it_makes_a_new_one(self, timed: Persistence, clock: ManualClock) -> None:
        await timed.save_memory(fading(clock, "m", embedding=[1.0, 2.0]))
        clock.advance(10)
        stored = await timed.save_memory(memory("m", "new", embedding=[1.0, 2.0]))
        assert await timed.load_memory("m") == stored
        assert found(await timed.search([1.0, 2.0])) == ["m"]
        assert timed.stats()["expired"] == 0

    async def test_expectations_within_a_batch(self, timed: Persistence, clock: ManualClock) -> None:
        async with timed.transaction() as transaction:
            transaction.save_memory(memory("m", expires_at=now(clock)))
            assert await transaction.load_memory("m") is None
            transaction.save_memory(memory("m", "second"), expected_updated_at=ABSENT)
        loaded = await timed.load_memory("m")
        assert loaded is not None
        assert loaded.content == "second"

    async def test_what_has_expired_already_can_be_saved(self, timed: Persistence, clock: ManualClock) -> None:
        stored = await timed.save_memory(memory("m", expires_at=now(clock) - MICROSECOND))
        assert await timed.load_memory("m") is None
        assert [entry async for entry in timed.iter_memories(expired=True)] == [stored]

    async def test_a_change_of_its_time_counts_at_once(self, timed: Persistence, clock: ManualClock) -> None:
        stored = await timed.save_memory(fading(clock, "m", embedding=[1.0, 2.0]))
        await timed.save_memory(stored.replace(expires_at=now(clock) + timedelta(seconds=20)))
        clock.advance(10)
        assert await timed.list_memories() == ["m"]
        await timed.save_memory(stored.replace(expires_at=None))
        clock.advance(1000)
        assert found(await timed.search([1.0, 2.0])) == ["m"]
        await timed.save_memory(stored.replace(expires_at=now(clock)))
        assert await timed.search([1.0, 2.0]) == []

    async def test_a_clock_that_went_back_shows_it_again(self, timed: Persistence, clock: ManualClock) -> None:
        stored = await timed.save_memory(fading(clock, "m", embedding=[1.0, 2.0]))
        clock.advance(10)
        assert await timed.list_memories() == []
        clock.advance(-5)
        assert await timed.load_memory("m") == stored
        assert await timed.list_memories() == ["m"]
        assert found(await timed.search([1.0, 2.0])) == ["m"]

    async def test_the_last_microsecond_of_time_never_comes(self, timed: Persistence, clock: ManualClock) -> None:
        await timed.save_memory(memory("m", expires_at=datetime.max.replace(tzinfo=UTC)))
        clock.advance(1e9)
        assert await timed.list_memories() == ["m"]
        await timed.checkpoint()
        assert timed.stats()["expired"] == 0
