"""The part of the stores' conformance suite that is about batches, transactions and expectations.

It is not to be derived from directly: `StoreSuite` has all parts.
"""

# ruff: noqa: S101

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from synthians_memory.engine.commit import ABSENT
from synthians_memory.engine.persistence import Persistence
from synthians_memory.engine.transaction import Transaction
from synthians_memory.errors import (
    BatchTooLargeError,
    ConflictError,
    DimensionError,
    InvalidIdError,
    InvalidTypeError,
    InvalidValueError,
    UsageError,
)
from synthians_memory.testing.store_entity_suite import OpenStore, StoreFixture, assembly, memory

__all__ = ["BatchSuite", "ExpectationSuite", "TransactionSuite"]


class BatchSuite(StoreFixture):
    """Batches are stored whole or not at all."""

    async def test_a_batch_comes_back_in_order(self, store: Persistence) -> None:
        entries = [memory(f"m{n}", f"content {n}", embedding=[n, 1.0]) for n in (3, 1, 2)]
        stored = await store.save_memories_batch(entries)
        assert [entry.replace(updated_at=None) for entry in stored] == entries
        assert list((await store.load_memories(["m3", "m1", "m2"])).values()) == stored

    async def test_an_empty_batch_does_nothing(self, store: Persistence) -> None:
        assert await store.save_memories_batch([]) == []
        assert await store.delete_memories_batch([]) == 0

    async def test_any_iterable_is_a_batch(self, store: Persistence) -> None:
        await store.save_memories_batch(memory(f"m{n}") for n in range(3))
        assert await store.delete_memories_batch(f"m{n}" for n in range(3)) == 3

    async def test_a_batch_may_hold_one_entity_twice(self, store: Persistence) -> None:
        first, second = await store.save_memories_batch([memory("m", "first"), memory("m", "second")])
        assert first.updated_at is not None
        assert second.updated_at is not None
        assert first.updated_at < second.updated_at
        assert await store.load_memory("m") == second

    async def test_one_bad_entry_refuses_all(self, store: Persistence) -> None:
        kept = await store.save_memory(memory("kept", "old", embedding=[1.0, 0.0]))
        for place, fault in product(range(3), ("type", "metadata", "dimension", "zero")):
            entries: list[Any] = [memory("kept", "new"), memory("new")]
            entries.insert(place, _bad_entry(fault))
            with pytest.raises((InvalidTypeError, InvalidValueError)):
                await store.save_memories_batch(entries)
            assert await store.load_all() == [kept]

    async def test_a_batch_whose_vectors_differ_in_length_is_refused(self, store: Persistence) -> None:
        with pytest.raises(DimensionError):
            await store.save_memories_batch([memory("a", embedding=[1.0, 2.0]), memory("b", embedding=[1.0])])
        assert await store.list_memories() == []

    async def test_a_batch_over_the_bound_is_refused(self, open_store: OpenStore) -> None:
        async with open_store(max_batch_bytes=10_000) as store:
            with pytest.raises(BatchTooLargeError):
                await store.save_memories_batch([memory(f"m{n}", "x" * 1000) for n in range(10)])
            assert await store.list_memories() == []
            await store.save_memories_batch([memory(f"m{n}", "x" * 1000) for n in range(5)])
            assert len(await store.list_memories()) == 5

    async def test_delete_counts_what_was_there(self, store: Persistence) -> None:
        await store.save_memories_batch([memory("a"), memory("b"), memory("c")])
        assert await store.delete_memories_batch(["a", "missing", "b", "a"]) == 2
        assert await store.list_memories() == ["c"]

    async def test_a_bad_id_refuses_the_whole_delete(self, store: Persistence) -> None:
        await store.save_memory(memory("a"))
        with pytest.raises(InvalidIdError):
            await store.delete_memories_batch(["a", ""])
        assert await store.list_memories() == ["a"]

    async def test_a_batch_becomes_visible_in_one_step(self, store: Persistence) -> None:
        size = 1500
        saving = asyncio.ensure_future(store.save_memories_batch([memory(f"m{n:04}") for n in range(size)]))
        assert await _counts_until(saving, store.list_memories) <= {0, size}
        deleting = asyncio.ensure_future(store.delete_memories_batch(f"m{n:04}" for n in range(size)))
        assert await _counts_until(deleting, store.list_memories) <= {0, size}


async def _counts_until(done: asyncio.Future[Any], look: Callable[[], Awaitable[list[str]]]) -> set[int]:
    """How many entries `look` saw until `done` was done, and once after."""
    seen: set[int] = set()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        while not done.done():
            seen.add(len(await look()))
        await done
    finally:
        sys.setswitchinterval(interval)
    return seen | {len(await look())}


def _bad_entry(fault: str) -> Any:
    if fault == "type":
        return "no memory"
    if fault == "metadata":
        entry = memory("bad")
        entry.metadata["bad"] = float("nan")
        return entry
    return memory("bad", embedding=[0.0, 0.0] if fault == "zero" else [1.0, 2.0, 3.0])


class ExpectationSuite(StoreFixture):
    """`expected_updated_at`: a write takes effect only where the caller knows what it replaces."""

    async def test_the_stored_time_is_accepted(self, store: Persistence) -> None:
        first = await store.save_memory(memory("m", "first"))
        second = await store.save_memory(memory("m", "second"), expected_updated_at=first.updated_at)
        assert await store.load_memory("m") == second
        assert await store.delete_memory("m", expected_updated_at=second.updated_at) is True

    async def test_another_time_is_a_conflict(self, store: Persistence) -> None:
        first = await store.save_memory(memory("m", "first"))
        second = await store.save_memory(memory("m", "second"))
        for stale in (first.updated_at, datetime(2020, 1, 1, tzinfo=UTC)):
            with pytest.raises(ConflictError) as raised:
                await store.save_memory(memory("m", "third"), expected_updated_at=stale)
            assert (raised.value.entity_id, raised.value.stored) == ("m", second.updated_at)
            with pytest.raises(ConflictError):
                await store.delete_memory("m", expected_updated_at=stale)
        assert await store.load_memory("m") == second

    async def test_what_does_not_exist_is_not_what_was_expected(self, store: Persistence) -> None:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        with pytest.raises(ConflictError) as raised:
            await store.save_memory(memory("m"), expected_updated_at=moment)
        assert raised.value.stored is None
        with pytest.raises(ConflictError):
            await store.delete_memory("m", expected_updated_at=moment)
        assert await store.list_memories() == []

    async def test_absent_means_insert_only(self, store: Persistence) -> None:
        stored = await store.save_memory(memory("m", "first"), expected_updated_at=ABSENT)
        with pytest.raises(ConflictError) as raised:
            await store.save_memory(memory("m", "second"), expected_updated_at=ABSENT)
        assert raised.value.stored == stored.updated_at
        assert await store.load_memory("m") == stored
        await store.delete_memory("m")
        await store.save_memory(memory("m", "third"), expected_updated_at=ABSENT)

    async def test_assemblies_have_it_too(self, store: Persistence) -> None:
        stored = await store.save_assembly(assembly("a"), expected_updated_at=ABSENT)
        assert stored.updated_at is not None
        with pytest.raises(ConflictError):
            await store.save_assembly(assembly("a"), expected_updated_at=ABSENT)
        with pytest.raises(ConflictError):
            await store.delete_assembly("a", expected_updated_at=stored.updated_at + timedelta(microseconds=1))
        assert await store.delete_assembly("a", expected_updated_at=stored.updated_at) is True

    async def test_a_naive_time_is_read_as_utc(self, store: Persistence) -> None:
        first = await store.save_memory(memory("m"))
        assert first.updated_at is not None
        await store.save_memory(memory("m", "new"), expected_updated_at=first.updated_at.replace(tzinfo=None))

    async def test_what_is_no_time_is_refused(self, store: Persistence) -> None:
        stored = await store.save_memory(memory("m"))
        bad_times: list[Any] = [0, 1.5, object(), "no time"]
        for bad in bad_times:
            with pytest.raises((InvalidTypeError, InvalidValueError)):
                await store.save_memory(memory("m", "new"), expected_updated_at=bad)
            with pytest.raises((InvalidTypeError, InvalidValueError)):
                await store.delete_memory("m", expected_updated_at=bad)
        assert await store.load_memory("m") == stored

    async def test_of_many_inserts_at_once_one_wins(self, store: Persistence) -> None:
        saves = [store.save_memory(memory("m", f"{n}"), expected_updated_at=ABSENT) for n in range(20)]
        outcomes = await asyncio.gather(*saves, return_exceptions=True)
        won = [outcome for outcome in outcomes if not isinstance(outcome, ConflictError)]
        assert won == [await store.load_memory("m")]

    async def test_no_change_is_lost_between_readers_that_write(self, store: Persistence) -> None:
        await store.save_memory(memory("m", access_count=0))

        async def count() -> None:
            while True:
                found = await store.load_memory("m")
                assert found is not None
                changed = found.replace(access_count=found.access_count + 1)
                try:
                    await store.save_memory(changed, expected_updated_at=found.updated_at)
                except ConflictError:
                    continue
                return

        await asyncio.gather(*(count() for _ in range(16)))
        found = await store.load_memory("m")
        assert found is not None
        assert found.access_count == 16


async def _transact(store: Persistence, change: Callable[[Transaction], None]) -> None:
    async with store.transaction() as transaction:
        change(transaction)


class TransactionSuite(StoreFixture):
    """Transactions: gathered changes of both kinds, committed together."""

    async def test_all_changes_are_committed(self, store: Persistence) -> None:
        await store.save_memory(memory("gone"))
        await store.save_assembly(assembly("gone"))
        async with store.transaction() as transaction:
            transaction.save_memory(memory("m"))
            transaction.save_assembly(assembly("a", members=["m"]))
            transaction.delete_memory("gone")
            transaction.delete_assembly("gone")
            transaction.delete_memory("never there")
            assert await store.list_memories() == ["gone"]
        assert (await store.list_memories(), await store.list_assemblies()) == (["m"], ["a"])

    async def test_it_reads_its_own_writes(self, store: Persistence) -> None:
        await store.save_memory(memory("old", "old"))
        async with store.transaction() as transaction:
            outside = await transaction.load_memory("old")
            transaction.save_memory(memory("old", "new"))
            transaction.save_assembly(assembly("a", name="new"))
            own, group = await transaction.load_memory("old"), await transaction.load_assembly("a")
            transaction.delete_memory("old")
            assert await transaction.load_memory("old") is None
            assert await transaction.load_memory("a") is None
            transaction.save_memory(memory("old", "newest"))
            newest = await transaction.load_memory("old")
        assert outside is not None
        assert own is not None
        assert group is not None
        assert newest is not None
        assert (outside.content, own.content, group.name, newest.content) == ("old", "new", "new", "newest")
        stored = await store.load_memory("old")
        assert stored is not None
        assert stored.content == "newest"

    async def test_an_exception_writes_nothing(self, store: Persistence) -> None:
        kept = await store.save_memory(memory("m", "kept"))

        def change(transaction: Transaction) -> None:
            transaction.save_memory(memory("m", "changed"))
            transaction.save_memory(memory("other"))
            transaction.delete_memory("m")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await _transact(store, change)
        assert await store.load_all() == [kept]

    async def test_an_empty_one_does_nothing(self, store: Persistence) -> None:
        async with store.transaction():
            pass
        assert await store.list_memories() == []

    async def test_delete_and_save_in_one(self, store: Persistence) -> None:
        first = await store.save_memory(memory("m", "old", embedding=[1.0, 0.0]))
        async with store.transaction() as transaction:
            transaction.delete_memory("m")
            transaction.save_memory(memory("m", "new", embedding=[0.0, 1.0]))
        loaded = await store.load_memory("m")
        assert loaded is not None
        assert loaded.content == "new"
        assert loaded.content_hash != first.content_hash
        hits = await store.search([0.0, 1.0], k=5)
        assert [hit.memory_id for hit in hits] == ["m"]
        assert hits[0].score == pytest.approx(1.0)

    async def test_save_and_delete_in_one(self, store: Persistence) -> None:
        async with store.transaction() as transaction:
            transaction.save_memory(memory("m", embedding=[1.0]))
            transaction.delete_memory("m")
        assert await store.load_memory("m") is None
        assert await store.search([1.0]) == []

    async def test_one_conflict_writes_nothing(self, store: Persistence) -> None:
        first = await store.save_memory(memory("m", "first"))
        second = await store.save_memory(memory("m", "second"))

        def change(transaction: Transaction) -> None:
            transaction.save_memory(memory("other"))
            transaction.save_memory(memory("m", "third"), expected_updated_at=first.updated_at)
            transaction.save_assembly(assembly("a"))

        with pytest.raises(ConflictError):
            await _transact(store, change)
        assert await store.load_all() == [second]
        assert await store.list_assemblies() == []

    async def test_expectations_see_the_changes_before(self, store: Persistence) -> None:
        stored = await store.save_memory(memory("m"))

        def insert_twice(transaction: Transaction) -> None:
            transaction.save_memory(memory("newer"), expected_updated_at=ABSENT)
            transaction.save_memory(memory("newer"), expected_updated_at=ABSENT)

        async with store.transaction() as transaction:
            transaction.delete_memory("m", expected_updated_at=stored.updated_at)
            transaction.save_memory(memory("m", "again"), expected_updated_at=ABSENT)
            transaction.save_memory(memory("new"), expected_updated_at=ABSENT)
        with pytest.raises(ConflictError):
            await _transact(store, insert_twice)
        assert await store.list_memories() == ["m", "new"]

    async def test_of_two_that_read_the_same_one_wins(self, store: Persistence) -> None:
        before = await store.save_memory(memory("m", "before"))

        async def change(content: str) -> None:
            async with store.transaction() as transaction:
                transaction.save_memory(memory("m", content), expected_updated_at=before.updated_at)
                transaction.save_memory(memory(content))
                await asyncio.sleep(0)

        outcomes = await asyncio.gather(change("one"), change("two"), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConflictError", "NoneType"]
        winner = "one" if outcomes[0] is None else "two"
        assert await store.list_memories() == sorted(["m", winner])

    async def test_what_cannot_be_stored_is_refused_at_once(self, store: Persistence) -> None:
        bad: Any = "no memory"
        async with store.transaction() as transaction:
            transaction.save_memory(memory("m"))
            with pytest.raises(InvalidTypeError):
                transaction.save_memory(bad)
            with pytest.raises(InvalidTypeError):
                transaction.save_assembly(bad)
            with pytest.raises(InvalidIdError):
                transaction.delete_memory("")
        assert await store.list_memories() == ["m"]

    async def test_a_bad_vector_refuses_the_whole_transaction(self, store: Persistence) -> None:
        await store.save_memory(memory("kept", embedding=[1.0, 0.0]))

        def change(transaction: Transaction) -> None:
            transaction.save_memory(memory("m", embedding=[1.0, 1.0]))
            transaction.save_assembly(assembly("a", composite_embedding=[1.0]))

        with pytest.raises(DimensionError):
            await _transact(store, change)
        assert await store.list_memories() == ["kept"]

    async def test_it_takes_nothing_after_its_end(self, store: Persistence) -> None:
        async with store.transaction() as transaction:
            transaction.save_memory(memory("m"))
        with pytest.raises(UsageError):
            transaction.save_memory(memory("late"))
        with pytest.raises(UsageError):
            transaction.delete_memory("m")
        with pytest.raises(UsageError):
            await transaction.load_memory("m")
        assert await store.list_memories() == ["m"]

    async def test_a_large_one_survives_opening_again(self, open_store: OpenStore) -> None:
        async with open_store() as store, store.transaction() as transaction:
            for n in range(300):
                transaction.save_memory(memory(f"m{n}", embedding=[n, 1.0]))
                transaction.save_assembly(assembly(f"a{n}", members=[f"m{n}"]))
        async with open_store() as store:
            assert (len(await store.list_memories()), len(await store.list_assemblies())) == (300, 300)
            assert await store.verify_consistency() == []
