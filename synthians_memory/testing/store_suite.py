"""The behaviours every store must show, whatever it stands on; a new one passes them before anybody relies on it.

It is not a test of durability or of failures: those need a disk that can be made to fail. Failed assertions tell
most after `pytest.register_assert_rewrite` of this module and of the store_*_suite modules beside it.

    class TestMyStore(StoreSuite):
        @pytest.fixture
        def open_store(self) -> OpenStore:
            ...
"""

# ruff: noqa: S101

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from synthians_memory.engine.persistence import Persistence
from synthians_memory.errors import EntityNotFoundError, InvalidValueError, StoreClosedError
from synthians_memory.models import MemoryEntry
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.store_batch_suite import BatchSuite, ExpectationSuite, TransactionSuite
from synthians_memory.testing.store_entity_suite import (
    AssemblySuite,
    HostileSuite,
    IsolationSuite,
    OpenStore,
    SavingSuite,
    StampingSuite,
    StoreFixture,
    assembly,
    full_assembly,
    full_memory,
    memory,
)
from synthians_memory.testing.store_expiry_suite import ExpirySuite
from synthians_memory.testing.store_import_suite import ImportChunkSuite, ImportSuite
from synthians_memory.testing.store_search_suite import FilterSuite, SearchSuite, VectorSuite, found

__all__ = ["OpenStore", "StoreSuite"]

STATS = {
    "store_id", "format_version", "embedder", "embedding_dimension", "metric", "durability", "write_mode",
    "memories", "assemblies", "vectors", "assembly_composites", "waiting_files", "pending_files", "read_only",
    "last_error",
}  # fmt: skip


class ReadingSuite(StoreFixture):
    """Many entities at once."""

    async def test_many_are_loaded_in_the_order_asked_for(self, store: Persistence) -> None:
        await store.save_memories_batch([memory(i) for i in "abc"])
        assert list(await store.load_memories(["c", "missing", "a", "c"])) == ["c", "a"]
        assert await store.load_memories([]) == {}
        assert list(await store.load_memories(i for i in "ba")) == ["b", "a"]

    async def test_ids_are_in_order_of_code_points(self, store: Persistence) -> None:
        ids = ["b", "B", "a", "ab", "ä", "10", "9", "\U0001f600", "\uffff"]
        await store.save_memories_batch([memory(i) for i in ids])
        assert await store.list_memories() == sorted(ids)
        assert [entry.memory_id async for entry in store.iter_memories()] == sorted(ids)
        assert [entry.memory_id for entry in await store.load_all()] == sorted(ids)

    async def test_an_empty_store_has_nothing(self, store: Persistence) -> None:
        assert (await store.list_memories(), await store.list_assemblies(), await store.load_all()) == ([], [], [])
        assert [a async for a in store.iter_assemblies()] == []

    async def test_iteration_gives_the_stored_entries(self, store: Persistence) -> None:
        stored = await store.save_memories_batch([memory(f"m{n:04}", embedding=[n, 1.0]) for n in range(700)])
        assert [entry async for entry in store.iter_memories()] == stored

    async def test_iteration_may_end_early(self, store: Persistence) -> None:
        await store.save_memories_batch([memory(f"m{n:03}") for n in range(600)])
        async for entry in store.iter_memories():
            if entry.memory_id == "m300":
                break
        assert len(await store.load_all()) == 600

    async def test_what_is_there_throughout_comes_exactly_once(self, store: Persistence) -> None:
        kept = [f"m{n:04}" for n in range(0, 1200, 2)]
        await store.save_memories_batch([memory(i, "0") for i in kept])
        stopped = asyncio.Event()
        writing = asyncio.ensure_future(_keep_changing(store, kept, stopped))
        for _ in range(3):
            seen = [entry.memory_id async for entry in store.iter_memories()]
            assert len(set(seen)) == len(seen)
            assert [i for i in seen if int(i[1:]) % 2 == 0] == kept
        stopped.set()
        await writing

    async def test_iterations_do_not_meet(self, store: Persistence) -> None:
        await store.save_memories_batch([memory(f"m{n:03}") for n in range(300)])

        async def all_ids() -> list[str]:
            return [entry.memory_id async for entry in store.iter_memories()]

        assert len({tuple(ids) for ids in await asyncio.gather(*(all_ids() for _ in range(5)))}) == 1


async def _keep_changing(store: Persistence, kept: list[str], stopped: asyncio.Event) -> None:
    """Update what is kept, and save and delete what lies between."""
    turn = 0
    while not stopped.is_set():
        turn += 1
        for n in range(turn % 50, len(kept), 50):
            between = f"m{2 * n + 1:04}"
            await store.save_memory(memory(kept[n], f"{turn}"))
            await store.save_memory(memory(between))
            if turn % 2:
                await store.delete_memory(between)


class ReopenSuite(StoreFixture):
    """What one opening stored, the next has."""

    async def test_everything_is_there_again(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            one = await store.save_memory(full_memory())
            two = await store.save_assembly(full_assembly())
            await store.save_memories_batch([memory("a"), memory("b"), memory("c")])
            await store.save_memory(memory("b", "changed"))
            await store.delete_memory("c")
        async with open_store() as store:
            assert await store.list_memories() == ["a", "b", "full"]
            assert (await store.load_memory("full"), await store.load_assembly("full")) == (one, two)
            changed = await store.load_memory("b")
            assert changed is not None
            assert changed.content == "changed"
            assert found(await store.search([0.1, -3.4028235e38, 1e-45], k=1)) == ["full"]
            assert [f for f in await store.verify_consistency() if f.severity != "note"] == []

    async def test_it_can_be_opened_many_times(self, open_store: OpenStore) -> None:
        stored: list[MemoryEntry] = []
        for n in range(8):
            async with open_store() as store:
                assert await store.load_all() == stored
                stored.append(await store.save_memory(memory(f"m{n}", embedding=[n, 1.0])))
                if n % 3 == 0:
                    await store.checkpoint()

    async def test_an_empty_store_stays_one(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            store_id = store.stats()["store_id"]
        async with open_store() as store:
            assert store.stats()["store_id"] == store_id
            assert await store.load_all() == []
            assert await store.verify_consistency() == []

    async def test_a_clock_that_went_back_loses_nothing(self, open_store: OpenStore) -> None:
        clock = ManualClock()
        async with open_store(clock=clock) as store:
            await store.save_memory(memory("m", "first"))
        clock.advance(-1_000_000)
        async with open_store(clock=clock) as store:
            second = await store.save_memory(memory("m", "second"))
            await store.save_memory(memory("n"))
        async with open_store(clock=clock) as store:
            assert await store.load_memory("m") == second
            assert await store.list_memories() == ["m", "n"]
            assert await store.verify_consistency() == []

    async def test_what_was_flushed_or_checkpointed_is_still_there(self, open_store: OpenStore) -> None:
        async with open_store(durability="interval") as store:
            await store.save_memory(memory("a"))
            await store.flush()
            await store.save_memory(memory("b"))
            await store.checkpoint()
            await store.save_memory(memory("c"))
            assert await store.list_memories() == ["a", "b", "c"]
        async with open_store() as store:
            assert await store.list_memories() == ["a", "b", "c"]

    async def test_a_closed_store_refuses(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.save_memory(memory("m"))
        with pytest.raises(StoreClosedError):
            await store.load_memory("m")
        with pytest.raises(StoreClosedError):
            await store.save_memory(memory("m"))


class CareSuite(StoreFixture):
    """Checks, repairs and statistics of a store that is well."""

    async def test_a_store_that_is_well_has_no_findings(self, store: Persistence) -> None:
        for n in range(20):
            await store.save_memory(memory(f"m{n % 7}", f"{n}", embedding=[n, 1.0]))
        await store.save_assembly(assembly("a", members=["m0"], composite_embedding=[1.0, 1.0]))
        await store.delete_memory("m3")
        assert await store.verify_consistency() == []
        await store.checkpoint()
        assert await store.verify_consistency("quick") == []
        assert await store.verify_consistency(level="full") == []
        assert await store.verify_consistency("off") == []

    async def test_checks_go_on_beside_writes(self, store: Persistence) -> None:
        async def write(worker: int) -> None:
            for n in range(60):
                await store.save_memory(memory(f"m{worker}-{n % 5}", f"{n}", embedding=[n, 1.0]))
                if n % 4 == 0:
                    await store.delete_memory(f"m{worker}-{n % 5}")

        writing = asyncio.gather(*(write(worker) for worker in range(4)))
        while not writing.done():
            assert await store.verify_consistency() == []
        await writing

    async def test_an_unknown_level_is_refused(self, store: Persistence) -> None:
        level: Any = "deep"
        with pytest.raises(InvalidValueError):
            await store.verify_consistency(level)

    @pytest.mark.parametrize("dry_run", [False, True])
    async def test_there_is_nothing_to_repair(self, store: Persistence, dry_run: bool) -> None:
        stored = await store.save_memory(memory("m", embedding=[1.0]))
        report = await store.verify_and_repair_consistency(dry_run=dry_run)
        assert (report.findings, report.actions, report.remaining, report.quarantined) == ((), (), (), ())
        assert report.dry_run is dry_run
        assert json.loads(json.dumps(report.to_dict()))["clean"] is True
        assert await store.load_all() == [stored]

    async def test_adopt_needs_a_file(self, store: Persistence) -> None:
        with pytest.raises(EntityNotFoundError):
            await store.adopt("nothing")

    async def test_adopting_what_is_stored_changes_nothing(self, store: Persistence) -> None:
        stored = await store.save_assembly(assembly("a", name="kept"))
        await store.flush()
        assert await store.adopt("a", kind="assembly") == stored
        assert await store.load_assembly("a") == stored

    async def test_statistics_count(self, store: Persistence) -> None:
        assert store.stats().keys() >= STATS
        await store.save_memories_batch([memory("a", embedding=[1.0, 2.0]), memory("b"), memory("c")])
        await store.delete_memory("c")
        await store.save_assembly(assembly("a", composite_embedding=[1.0, 2.0]))
        stats = json.loads(json.dumps(store.stats()))
        assert (stats["memories"], stats["assemblies"]) == (2, 1)
        assert (stats["vectors"], stats["assembly_composites"]) == (1, 1)
        assert (stats["embedding_dimension"], stats["metric"]) == (2, "cosine")
        assert (stats["pending_files"], stats["read_only"], stats["last_error"]) == (0, None, None)


class StoreSuite(
    SavingSuite,
    AssemblySuite,
    StampingSuite,
    IsolationSuite,
    HostileSuite,
    BatchSuite,
    ExpectationSuite,
    TransactionSuite,
    ReadingSuite,
    SearchSuite,
    FilterSuite,
    VectorSuite,
    ImportSuite,
    ImportChunkSuite,
    ReopenSuite,
    CareSuite,
    ExpirySuite,
):
    """All of it; derive a test class and give it `open_store`."""
