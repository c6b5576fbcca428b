"""Many tasks at one MemoryPersistence: cancellation, closing in between, back-pressure, deadlines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
from stalled_writer import session_of, stalled, until, until_all_wait

from synthians_memory import MemoryAssembly, MemoryEntry, MemoryPersistence
from synthians_memory.errors import StoreClosedError
from synthians_memory.layout import LOCK_FILE, entity_path

SAVERS = 64


def memory(memory_id: str = "m", content: str = "text", **fields: Any) -> MemoryEntry:
    return MemoryEntry(memory_id=memory_id, content=content, **fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


async def contents(path: Path) -> dict[str, str]:
    async with MemoryPersistence(path) as store:
        assert await store.verify_consistency() == []
        return {entry.memory_id: entry.content for entry in await store.load_all()}


# Many savers


async def test_savers_share_the_syncs(path: Path) -> None:
    async with MemoryPersistence(path) as store:

        async def saver(number: int) -> None:
            for turn in range(10):
                stored = await store.save_memory(memory(f"m{number:02}", f"{turn}"))
                assert await store.load_memory(f"m{number:02}") == stored

        await asyncio.gather(*(saver(number) for number in range(SAVERS)))
        since_open = store.stats()["since_open"]
    assert since_open["saves"] == SAVERS * 10
    assert since_open["groups"] < SAVERS * 10
    assert await contents(path) == {f"m{number:02}": "9" for number in range(SAVERS)}


async def test_a_task_reads_what_it_has_written(path: Path) -> None:
    async with MemoryPersistence(path, cache_bytes=0) as store:

        async def use(number: int) -> None:
            for turn in range(15):
                key = f"m{number % 8}-{turn % 3}-{number}"
                stored = await store.save_memory(memory(key, f"{turn}"))
                assert await store.load_memory(key) == stored
                assert key in await store.list_memories()
                assert await store.delete_memory(key)
                assert await store.load_memory(key) is None

        await asyncio.gather(*(use(number) for number in range(16)))
        assert await store.list_memories() == []


async def test_the_loop_runs_while_a_large_batch_is_stored(path: Path) -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0)
            beats += 1

    async with MemoryPersistence(path) as store:
        heart = asyncio.create_task(beat())
        stored = await store.save_memories_batch(memory(f"m{n}", embedding=[n, *range(1, 128)]) for n in range(2000))
        during_batch = beats
        await store.load_all()
        during_load = beats - during_batch
        heart.cancel()
    assert len(stored) == 2000
    assert min(during_batch, during_load) > 10


# Cancellation


async def test_a_cancelled_batch_is_stored_whole_or_not_at_all(path: Path) -> None:
    async with MemoryPersistence(path) as store:
        for turn in range(40):
            entries = [memory(f"{turn}-{n}") for n in range(10)]
            saving = asyncio.create_task(store.save_memories_batch(entries))
            for _ in range(turn % 10):
                await asyncio.sleep(0)
            saving.cancel()
            with suppress(asyncio.CancelledError):
                await saving
        kept = await store.save_memory(memory("after"))
        await store.flush()
        ids = await store.list_memories()
        assert await store.load_memory("after") == kept
    for turn in range(40):
        assert sum(entity_id.startswith(f"{turn}-") for entity_id in ids) in (0, 10)
    assert sorted(await contents(path)) == ids


async def test_a_cancelled_update_leaves_the_old_or_the_new(path: Path) -> None:
    async with MemoryPersistence(path) as store:
        await store.save_memory(memory("m", "0", embedding=[1.0, 0.0]))
        for turn in range(1, 40):
            saving = asyncio.create_task(store.save_memory(memory("m", f"{turn}", embedding=[1.0, turn])))
            for _ in range(turn % 6):
                await asyncio.sleep(0)
            saving.cancel()
            with suppress(asyncio.CancelledError):
                await saving
        await store.flush()
        found = await store.load_memory("m")
        assert found is not None
        assert found.embedding is not None
        assert found.embedding.tolist() == [1.0, float(found.content)]
    assert await contents(path) == {"m": found.content}


async def test_what_was_submitted_before_it_was_cancelled_is_stored(path: Path) -> None:
    async with MemoryPersistence(path) as store:
        async with stalled(store):
            saving = asyncio.create_task(store.save_memory(memory("submitted")))
            await until_all_wait()
            saving.cancel()
            await until_all_wait()
            assert saving.cancelled()
        await store.flush()
        assert await store.list_memories() == ["submitted"]


async def test_a_cancelled_transaction_block_writes_nothing(path: Path) -> None:
    started = asyncio.Event()

    async def use(store: MemoryPersistence) -> None:
        async with store.transaction() as transaction:
            transaction.save_memory(memory())
            started.set()
            await asyncio.sleep(3600)

    async with MemoryPersistence(path) as store:
        using = asyncio.create_task(use(store))
        await started.wait()
        using.cancel()
        with suppress(asyncio.CancelledError):
            await using
        assert await store.list_memories() == []


async def test_other_calls_survive_cancellation(path: Path) -> None:
    async with MemoryPersistence(path) as store:
        await store.save_memories_batch(memory(f"m{n}", embedding=[1.0, n]) for n in range(400))
        for turn in range(12):
            calls = [
                asyncio.create_task(call)
                for call in (
                    store.load_all(),
                    store.search([1.0, 0.0], where={"a": None}),
                    store.verify_consistency(),
                    store.checkpoint(),
                    store.flush(),
                    store.verify_and_repair_consistency(),
                    store.delete_memories_batch([f"m{n}" for n in range(turn * 10, turn * 10 + 10)]),
                )
            ]
            for _ in range(turn):
                await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        await store.flush()
        ids = await store.list_memories()
        assert len(ids) % 10 == 0
    assert sorted(await contents(path)) == ids


# Closing while calls are under way


async def test_closing_finishes_what_was_submitted(path: Path) -> None:
    store = MemoryPersistence(path)
    await store.initialize()
    saves = [asyncio.create_task(store.save_memory(memory(f"m{n:03}"))) for n in range(200)]
    await asyncio.sleep(0)
    await store.close()
    stored = await asyncio.gather(*saves)
    assert sorted(await contents(path)) == [entry.memory_id for entry in stored]


async def test_closing_refuses_what_comes_later(path: Path) -> None:
    store = MemoryPersistence(path)
    await store.initialize()
    async with stalled(store):
        early = asyncio.create_task(store.save_memory(memory("early")))
        await until_all_wait()
        closing = asyncio.create_task(store.close())
        await until_all_wait()
        with pytest.raises(StoreClosedError):
            await store.save_memory(memory("late"))
    await asyncio.gather(early, closing)
    assert await contents(path) == {"early": "text"}


class Traffic:
    """Every kind of call, again and again until one raises."""

    def __init__(self, store: MemoryPersistence) -> None:
        self.store = store
        self.acknowledged: set[str] = set()

    async def save(self) -> None:
        for n in count():
            self.acknowledged.add((await self.store.save_memory(memory(f"s{n}"))).memory_id)

    async def save_batches(self) -> None:
        for n in count():
            batch = await self.store.save_memories_batch([memory(f"b{n}-{i}") for i in range(20)])
            self.acknowledged.update(entry.memory_id for entry in batch)

    async def transact(self) -> None:
        for n in count():
            async with self.store.transaction() as transaction:
                await transaction.load_memory(f"m{n % 1200:04}")
                transaction.save_memory(memory(f"t{n}"))
                transaction.save_assembly(MemoryAssembly(assembly_id=f"t{n}"))
            self.acknowledged.add(f"t{n}")

    async def read(self) -> None:
        while True:
            await self.store.load_all()
            await self.store.load_memories(f"m{n:04}" for n in range(1200))
            await self.store.search([1.0, 0.0], where={"a": None})
            await self.store.verify_consistency("quick")

    async def bring_in(self) -> None:
        await self.store.import_memories(self._source(), chunk=50)

    async def _source(self) -> AsyncIterator[list[bytes]]:
        for n in count():
            yield [orjson.dumps({"id": f"i{n}-{i}", "content": "imported"}) for i in range(20)]


async def test_whatever_is_under_way_ends_with_an_answer_or_an_error(path: Path) -> None:
    store = MemoryPersistence(path)
    await store.initialize()
    await store.save_memories_batch(memory(f"m{n:04}", embedding=[1.0, n]) for n in range(1200))
    traffic = Traffic(store)
    calls = [traffic.save(), traffic.save_batches(), traffic.transact(), traffic.read(), traffic.bring_in()]
    tasks = [asyncio.create_task(call) for call in calls]
    await until(lambda: len(traffic.acknowledged) >= 100)
    await store.close()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StoreClosedError}
    assert (await contents(path)).keys() >= traffic.acknowledged


async def test_a_cancelled_close_still_closes(path: Path) -> None:
    store = MemoryPersistence(path)
    await store.initialize()
    async with stalled(store):
        saving = asyncio.create_task(store.save_memory(memory()))
        await until_all_wait()
        closing = asyncio.create_task(store.close())
        await until_all_wait()
        closing.cancel()
        with suppress(asyncio.CancelledError):
            await closing
    await saving
    with pytest.raises(StoreClosedError):
        await store.load_memory("m")
    await until(lambda: not os.path.exists(path / LOCK_FILE))
    assert await contents(path) == {"m": "text"}


# Back-pressure


async def test_savers_wait_while_too_much_waits_for_the_writer(path: Path) -> None:
    async with MemoryPersistence(path, queue_bytes=50_000) as store:
        async with stalled(store):
            saves = [asyncio.create_task(store.save_memory(memory(f"m{n:02}", "x" * 10_000))) for n in range(40)]
            await until_all_wait()
            assert 0 < session_of(store)._queued_bytes <= 50_000
            assert not any(save.done() for save in saves)
        stored = await asyncio.gather(*saves)
        assert session_of(store)._queued_bytes == 0
    assert sorted(await contents(path)) == [entry.memory_id for entry in stored]


async def test_one_batch_over_the_bound_goes_alone(path: Path) -> None:
    async with MemoryPersistence(path, queue_bytes=1) as store:
        saves = [store.save_memory(memory(f"m{n:02}", "x" * 1000)) for n in range(20)]
        await asyncio.gather(store.save_memories_batch([memory("large", "x" * 100_000)]), *saves)
        assert len(await store.list_memories()) == 21


async def test_who_gives_up_waiting_makes_room(path: Path) -> None:
    async with MemoryPersistence(path, queue_bytes=20_000) as store:
        async with stalled(store):
            saves = [asyncio.create_task(store.save_memory(memory(f"m{n:02}", "x" * 10_000))) for n in range(20)]
            await until_all_wait()
            for save in saves[1:]:
                save.cancel()
            await until_all_wait()
        assert (await saves[0]).memory_id == "m00"
        await asyncio.gather(*(store.save_memory(memory(f"n{n}", "x" * 10_000)) for n in range(5)))
        assert session_of(store)._queued_bytes == 0
        ids = await store.list_memories()
    assert {"m00", "n0", "n1", "n2", "n3", "n4"} <= set(ids)
    # Not submitted when they were cancelled, so they never will be.
    assert not set(ids) & {f"m{n:02}" for n in range(3, 20)}


async def test_who_waits_for_its_turn_is_told_of_the_close(path: Path) -> None:
    store = MemoryPersistence(path, queue_bytes=1)
    await store.initialize()
    async with stalled(store):
        saves = [asyncio.create_task(store.save_memory(memory(f"m{n}"))) for n in range(10)]
        await until_all_wait()
        closing = asyncio.create_task(store.close())
        await until_all_wait()
    outcomes = await asyncio.gather(*saves, return_exceptions=True)
    await closing
    stored = [outcome.memory_id for outcome in outcomes if isinstance(outcome, MemoryEntry)]
    assert stored == ["m0"]
    assert {type(outcome) for outcome in outcomes if not isinstance(outcome, MemoryEntry)} == {StoreClosedError}
    assert sorted(await contents(path)) == stored


# Deadlines


async def test_checkpoints_are_made_in_the_background(path: Path) -> None:
    turn = 0
    async with MemoryPersistence(path, checkpoint_interval=0.02) as store:
        while store.stats()["since_open"]["checkpoints"] < 4:
            turn += 1
            await store.save_memory(memory(f"m{turn % 50:02}", f"{turn}", embedding=[1.0, turn]))
            if turn % 7 == 0:
                await store.delete_memory(f"m{(turn + 25) % 50:02}")
        held = {entry.memory_id: entry.content for entry in await store.load_all()}
        assert store.stats()["since_open"]["checkpoint_failures"] == 0
        assert store.stats()["checkpointed_through"] > 0
    assert await contents(path) == held


async def test_a_full_journal_is_checkpointed(path: Path) -> None:
    async with MemoryPersistence(path, checkpoint_bytes=50_000, checkpoint_interval=1000) as store:
        while store.stats()["since_open"]["checkpoints"] < 2:
            await store.save_memory(memory("m", "x" * 10_000))
        assert store.stats()["journal_segments"] <= 3


def file_of(path: Path, memory_id: str) -> bool:
    return os.path.exists(path / entity_path("memory", memory_id))


async def test_changes_are_forced_after_the_interval(path: Path) -> None:
    settings: dict[str, Any] = {"durability": "interval", "flush_threshold": 1000, "checkpoint_interval": 1000}
    async with MemoryPersistence(path, flush_interval=0.05, **settings) as store:
        await store.save_memory(memory("m"))
        await until(lambda: file_of(path, "m"))
        await store.save_memory(memory("n"))
        assert await store.list_memories() == ["m", "n"]
        await until(lambda: file_of(path, "n"))


async def test_changes_are_forced_when_there_are_many(path: Path) -> None:
    settings: dict[str, Any] = {"durability": "interval", "flush_interval": 1000, "checkpoint_interval": 1000}
    async with MemoryPersistence(path, flush_threshold=3, **settings) as store:
        for n in range(2):
            await store.save_memory(memory(f"m{n}"))
        assert not file_of(path, "m0")
        assert await store.list_memories() == ["m0", "m1"]
        await store.save_memory(memory("m2"))
        assert all(file_of(path, f"m{n}") for n in range(3))
        await store.save_memory(memory("m3"))
        await store.flush()
        assert file_of(path, "m3")
    assert sorted(await contents(path)) == ["m0", "m1", "m2", "m3"]


async def test_in_commit_mode_the_file_is_there_when_the_save_returns(path: Path) -> None:
    async with MemoryPersistence(path) as store:
        await store.save_memory(memory("m"))
        assert file_of(path, "m")
        await store.delete_memory("m")
        assert not file_of(path, "m")
