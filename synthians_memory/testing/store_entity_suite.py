"""The part of the stores' conformance suite that is about single entities, and what all its parts share.

It is not to be derived from directly: `StoreSuite` has all parts.
"""

# ruff: noqa: S101

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pytest

from synthians_memory.embedder import Embedder
from synthians_memory.engine.persistence import Persistence
from synthians_memory.errors import InvalidIdError, InvalidTypeError, InvalidValueError
from synthians_memory.models import MemoryAssembly, MemoryEntry
from synthians_memory.testing.clock import ManualClock
from synthians_memory.times import Clock

__all__ = [
    "AssemblySuite",
    "HostileSuite",
    "IsolationSuite",
    "OpenStore",
    "SavingSuite",
    "StampingSuite",
    "StoreFixture",
    "assembly",
    "full_assembly",
    "full_memory",
    "memory",
]

LEGAL_IDS = [
    "a", "A", "ä", "Ä", "..", ".hidden", "a/b", "../../etc/passwd", "con", "NUL.txt", "%41", "a b", " ", "\\",
    "\U0001f600", "x" * 200, "日本", "a.json", "index", "-", "_",
]  # fmt: skip
BAD_IDS = ["", "x" * 201, "a\nb", "a\0b", "\x7f", "\ud800", "\u0085", "ä" * 101, "Ä" * 63]
# What can be put into an object after the entity that holds it was checked.
BAD_VALUES: list[Any] = [float("nan"), float("inf"), 2**64, -(2**63) - 1, object(), {1: 2}, b"bytes", "\ud800", {1, 2}]


class OpenStore(Protocol):
    """Opens a store; every call within one test opens the same content."""

    def __call__(
        self, *, clock: Clock | None = None, embedder: Embedder | None = None, **settings: Any
    ) -> AbstractAsyncContextManager[Persistence]:
        """An open store while the block lasts; None of the arguments means the default of the implementation.

        Args:
            clock: where it takes time from.
            embedder: for texts.
            settings: fields of `StoreConfig`, but for storage_path.
        """


class StoreFixture:
    """What a store implementation brings to its tests."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """How to open a store that is empty at first."""
        raise NotImplementedError

    @pytest.fixture
    async def store(self, open_store: OpenStore) -> AsyncIterator[Persistence]:
        """An open, empty store."""
        async with open_store() as opened:
            yield opened


def memory(memory_id: str = "m", content: str = "text", **fields: Any) -> MemoryEntry:
    """A memory with little in it."""
    return MemoryEntry(memory_id=memory_id, content=content, **fields)


def assembly(assembly_id: str = "a", **fields: Any) -> MemoryAssembly:
    """An assembly with little in it."""
    return MemoryAssembly(assembly_id=assembly_id, **fields)


def full_memory(memory_id: str = "full") -> MemoryEntry:
    """A memory with every field set, to values that are easily lost."""
    return memory(
        memory_id,
        content='Zeile 1\nline\t2 "quoted" \\ \0 \u2028 \U0001f600',
        embedding=[0.1, -3.4028235e38, 1e-45],
        created_at=datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        quickrecal_score=0.1 + 0.2,
        quickrecal_updated=datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        metadata={"n": None, "t": True, "i": 2**64 - 1, "f": -0.0, "s": "", "": [{"deep": [[], {}]}], "1": 1},
        tags=["b", "a", "a"],
        access_count=2**63 - 1,
        last_access_time=datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        expires_at=datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
        hyperbolic_embedding=[1.5, 7.0385307e-26],
        extra={"of a newer version": {"x": [1]}, "\n": "\0"},
    )


def full_assembly(assembly_id: str = "full") -> MemoryAssembly:
    """An assembly with every field set."""
    moment = datetime(2026, 11, 20, 12, 30, 0, 123_456, tzinfo=UTC)
    return assembly(
        assembly_id,
        name="a name",
        description="über\nall",
        members=["b", "a", "does not exist"],
        composite_embedding=[0.5, -0.25, 1e-45],
        hyperbolic_embedding=[2.5],
        keywords=["k"],
        tags=["t", "t"],
        topics=["x"],
        metadata={"nested": {"list": [1, 1.0, True, None]}},
        created_at=moment,
        last_access_time=moment,
        last_activation=moment,
        activation_level=-1e308,
        activation_count=3,
        access_count=4,
        emotion_profile={"joy": 0.25},
        is_active=False,
        merged_from=["other"],
        vector_index_updated_at=moment,
        extra={"unknown": 1},
    )


class SavingSuite(StoreFixture):
    """Save, load, update and delete one memory."""

    async def test_what_was_saved_is_loaded(self, store: Persistence) -> None:
        entry = full_memory()
        stored = await store.save_memory(entry)
        loaded = await store.load_memory("full")
        assert loaded is not None
        assert loaded == stored
        assert loaded.content_hash == stored.content_hash
        assert loaded.replace(updated_at=None) == entry
        assert np.signbit(loaded.metadata["f"])

    async def test_what_is_missing_is_none(self, store: Persistence) -> None:
        assert await store.load_memory("nothing") is None

    async def test_an_update_replaces_the_whole_entry(self, store: Persistence) -> None:
        await store.save_memory(full_memory("m"))
        await store.save_memory(memory("m", "new"))
        loaded = await store.load_memory("m")
        assert loaded is not None
        assert loaded.content == "new"
        assert loaded.embedding is None
        assert loaded.metadata == {}
        assert loaded.extra == {}
        assert await store.list_memories() == ["m"]

    async def test_times_given_by_the_caller_are_kept(self, store: Persistence) -> None:
        naive = datetime(2020, 2, 29, 12, 0, 0, 7)  # noqa: DTZ001 - a naive time is read as UTC
        stored = await store.save_memory(memory(created_at=naive))
        assert stored.created_at == naive.replace(tzinfo=UTC)

    async def test_delete_tells_whether_it_was_there(self, store: Persistence) -> None:
        await store.save_memory(memory("m"))
        assert await store.delete_memory("m") is True
        assert await store.delete_memory("m") is False
        assert await store.delete_memory("never") is False
        assert await store.load_memory("m") is None
        assert await store.list_memories() == []

    async def test_what_was_deleted_can_be_saved_again(self, store: Persistence) -> None:
        await store.save_memory(memory("m", "old", embedding=[1.0, 0.0], tags=["old"]))
        await store.delete_memory("m")
        await store.save_memory(memory("m", "new"))
        loaded = await store.load_memory("m")
        assert loaded is not None
        assert (loaded.content, loaded.embedding, loaded.tags) == ("new", None, ())

    async def test_every_legal_id_names_an_entity_of_its_own(self, store: Persistence) -> None:
        for entity_id in LEGAL_IDS:
            await store.save_memory(memory(entity_id, f"content of {entity_id}"))
        assert await store.list_memories() == sorted(LEGAL_IDS)
        for entity_id in LEGAL_IDS:
            loaded = await store.load_memory(entity_id)
            assert loaded is not None
            assert (loaded.memory_id, loaded.content) == (entity_id, f"content of {entity_id}")

    async def test_a_large_entry_comes_back_whole(self, store: Persistence) -> None:
        content = "ä\n" * 500_000
        await store.save_memory(memory("large", content))
        loaded = await store.load_memory("large")
        assert loaded is not None
        assert loaded.content == content

    async def test_saves_at_once_all_arrive(self, store: Persistence) -> None:
        saves = [store.save_memory(memory(f"m{n}", f"content {n}")) for n in range(64)]
        stored = await asyncio.gather(*saves)
        assert [entry.content for entry in stored] == [f"content {n}" for n in range(64)]
        loaded = await store.load_memories(f"m{n}" for n in range(64))
        assert list(loaded.values()) == stored

    async def test_of_saves_at_once_of_one_entity_the_last_stamp_stays(self, store: Persistence) -> None:
        stored = await asyncio.gather(*(store.save_memory(memory("m", f"content {n}")) for n in range(32)))
        stamps = [entry.updated_at for entry in stored if entry.updated_at is not None]
        assert len(set(stamps)) == 32
        assert await store.load_memory("m") == max(stored, key=lambda entry: str(entry.updated_at))

    async def test_loads_write_nothing(self, store: Persistence) -> None:
        stored = await store.save_memory(memory("m"))
        await store.flush()
        for _ in range(3):
            await store.load_memory("m")
        assert await store.load_memory("m") == stored
        assert stored.access_count == 0


class AssemblySuite(StoreFixture):
    """Save, load, update and delete one assembly."""

    async def test_what_was_saved_is_loaded(self, store: Persistence) -> None:
        given = full_assembly()
        stored = await store.save_assembly(given)
        loaded = await store.load_assembly("full")
        assert loaded is not None
        assert loaded == stored
        assert loaded.content_hash == stored.content_hash
        assert loaded.replace(updated_at=None) == given

    async def test_members_need_not_exist(self, store: Persistence) -> None:
        stored = await store.save_assembly(assembly(members=["no", "such"]))
        assert stored.members == ("no", "such")
        assert [f.code for f in await store.verify_consistency()] == ["member_missing", "member_missing"]

    async def test_kinds_do_not_meet(self, store: Persistence) -> None:
        await store.save_memory(memory("same", "a memory"))
        await store.save_assembly(assembly("same", name="an assembly"))
        assert await store.delete_memory("same") is True
        assert await store.load_memory("same") is None
        kept = await store.load_assembly("same")
        assert kept is not None
        assert kept.name == "an assembly"
        assert (await store.list_memories(), await store.list_assemblies()) == ([], ["same"])

    async def test_delete_leaves_the_members(self, store: Persistence) -> None:
        await store.save_memory(memory("m"))
        await store.save_assembly(assembly(members=["m"]))
        assert await store.delete_assembly("a") is True
        assert await store.delete_assembly("a") is False
        assert await store.load_assembly("a") is None
        assert await store.load_memory("m") is not None

    async def test_all_assemblies_are_listed_in_order(self, store: Persistence) -> None:
        for assembly_id in ("b", "C", "a", "ä"):
            await store.save_assembly(assembly(assembly_id))
        assert await store.list_assemblies() == ["C", "a", "b", "ä"]
        assert [a.assembly_id async for a in store.iter_assemblies()] == ["C", "a", "b", "ä"]


class StampingSuite(StoreFixture):
    """Update times and content hashes."""

    async def test_saves_are_stamped_with_the_clock(self, open_store: OpenStore) -> None:
        clock = ManualClock()
        async with open_store(clock=clock) as store:
            first = await store.save_memory(memory("m", updated_at=datetime(1999, 1, 1, tzinfo=UTC)))
            clock.advance(10)
            second = await store.save_memory(memory("m"))
            other = await store.save_assembly(assembly())
        assert first.updated_at is not None
        assert first.updated_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
        assert second.updated_at == other.updated_at == first.updated_at + timedelta(seconds=10)

    @pytest.mark.parametrize("step", [0.0, -3600.0, 0.0000001])
    async def test_update_times_grow_whatever_the_clock_does(self, open_store: OpenStore, step: float) -> None:
        clock = ManualClock()
        stamps: list[datetime | None] = []
        async with open_store(clock=clock) as store:
            for n in range(5):
                stamps.append((await store.save_memory(memory("m", f"{n}"))).updated_at)
                clock.advance(step)
            stamps += [e.updated_at for e in await store.save_memories_batch([memory("m", "b"), memory("m", "c")])]
        async with open_store(clock=clock) as store:
            stamps.append((await store.save_memory(memory("m", "after opening it again"))).updated_at)
        known = [stamp for stamp in stamps if stamp is not None]
        assert len(known) == 8
        assert all(later > earlier for earlier, later in pairwise(known))

    async def test_a_clock_that_went_back_concerns_nobody_else(self, open_store: OpenStore) -> None:
        clock = ManualClock()
        async with open_store(clock=clock) as store:
            await store.save_memory(memory("m"))
            clock.advance(-60)
            other = await store.save_memory(memory("other"))
            await store.save_memory(memory("m", "later"))
            loaded = await store.load_memory("m")
        assert loaded is not None
        assert loaded.content == "later"
        assert other.updated_at == datetime(2023, 11, 14, 22, 12, 20, tzinfo=UTC)

    async def test_the_content_hash_is_that_of_the_content(self, open_store: OpenStore) -> None:
        async with open_store(clock=ManualClock()) as store:
            one = await store.save_memory(full_memory("m"))
            await store.delete_memory("m")
            same = await store.save_memory(full_memory("m"))
            other = await store.save_memory(full_memory("m").replace(content="other"))
        assert one.content_hash is not None
        assert one.content_hash.startswith("sha256:")
        assert len(one.content_hash) == len("sha256:") + 64
        assert one.content_hash == same.content_hash != other.content_hash

    async def test_the_callers_entry_is_not_stamped(self, store: Persistence) -> None:
        entry = memory("m")
        await store.save_memory(entry)
        assert entry.updated_at is None
        assert entry.content_hash is None

    async def test_what_was_loaded_can_be_changed_and_saved(self, store: Persistence) -> None:
        first = await store.save_memory(full_memory("m"))
        loaded = await store.load_memory("m")
        assert loaded is not None
        second = await store.save_memory(loaded.replace(content="changed"))
        assert second.content_hash != first.content_hash
        assert second.created_at == first.created_at
        assert second.replace(content=first.content, updated_at=first.updated_at) == first


class IsolationSuite(StoreFixture):
    """Nothing that a caller does to what it gave or got changes what a later load returns."""

    async def test_the_callers_objects_are_not_shared(self, store: Persistence) -> None:
        metadata, vector, tags = {"list": [1]}, np.array([1.0, 2.0], dtype=np.float32), ["t"]
        entry = memory("m", metadata=metadata, embedding=vector, tags=tags)
        stored = await store.save_memory(entry)
        metadata["list"].append(2)
        vector[0] = 9
        tags.append("u")
        entry.metadata["list"].append(3)
        stored.metadata["more"] = True
        await _assert_as_saved(store)

    async def test_loaded_objects_are_not_shared(self, store: Persistence) -> None:
        await store.save_memory(memory("m", metadata={"list": [1]}, embedding=[1.0, 2.0], tags=["t"]))
        for found in (
            await store.load_memory("m"),
            (await store.load_memories(["m"]))["m"],
            (await store.load_all())[0],
        ):
            assert found is not None
            found.metadata["list"].append(2)
            found.metadata["more"] = True
            found.extra["x"] = 1
            assert found.embedding is not None
            with pytest.raises(ValueError, match="read-only"):
                found.embedding[0] = 9
            with pytest.raises(ValueError, match="WRITEABLE"):
                found.embedding.flags.writeable = True
            await _assert_as_saved(store)
        await store.checkpoint()
        await _assert_as_saved(store)

    async def test_an_assembly_is_not_shared(self, store: Persistence) -> None:
        profile = {"joy": {"level": 1}}
        stored = await store.save_assembly(assembly(emotion_profile=profile))
        profile["joy"]["level"] = 2
        stored.emotion_profile["joy"]["level"] = 3
        loaded = await store.load_assembly("a")
        assert loaded is not None
        loaded.emotion_profile["joy"]["level"] = 4
        again = await store.load_assembly("a")
        assert again is not None
        assert again.emotion_profile == {"joy": {"level": 1}}

    async def test_changes_while_the_save_is_under_way_come_too_late(self, store: Persistence) -> None:
        entries = [memory(f"m{n}", metadata={"state": ["as given"]}) for n in range(500)]
        batch = asyncio.ensure_future(store.save_memories_batch(entries))
        single = asyncio.ensure_future(store.save_memory(one := memory("one", metadata={"state": ["as given"]})))
        await asyncio.sleep(0)
        for entry in (*entries, one):
            entry.metadata["state"].append("changed")
        for stored in (*await batch, await single):
            assert stored.metadata == {"state": ["as given"]}

    async def test_what_is_waiting_in_a_transaction_is_not_shared(self, store: Persistence) -> None:
        metadata = {"list": [1]}
        async with store.transaction() as transaction:
            entry = memory("m", metadata=metadata, embedding=[1.0, 2.0], tags=["t"])
            transaction.save_memory(entry)
            entry.metadata["list"].append(2)
            seen = await transaction.load_memory("m")
            assert seen is not None
            seen.metadata["list"].append(3)
        await _assert_as_saved(store)

    async def test_a_filter_is_not_shared(self, store: Persistence) -> None:
        where = {"list": [1]}
        await store.save_memory(memory("m", metadata={"list": [1]}, embedding=[1.0, 2.0]))
        search = asyncio.ensure_future(store.search([1.0, 2.0], where=where))
        await asyncio.sleep(0)
        where["list"].append(2)
        assert [hit.memory_id for hit in await search] == ["m"]


async def _assert_as_saved(store: Persistence) -> None:
    loaded = await store.load_memory("m")
    assert loaded is not None
    assert loaded.embedding is not None
    assert loaded.metadata == {"list": [1]}
    assert loaded.extra == {}
    assert loaded.embedding.tolist() == [1.0, 2.0]
    assert loaded.tags == ("t",)


class HostileSuite(StoreFixture):
    """What cannot be stored is refused before anything is written."""

    async def test_a_bad_id_is_refused_everywhere(self, store: Persistence) -> None:
        for bad in BAD_IDS:
            for call in (store.load_memory, store.delete_memory, store.load_assembly, store.delete_assembly):
                with pytest.raises(InvalidIdError):
                    await call(bad)
            with pytest.raises(InvalidIdError):
                await store.load_memories(["fine", bad])
            with pytest.raises(InvalidIdError):
                await store.delete_memories_batch([bad])
        assert await store.list_memories() == []

    async def test_an_id_of_another_type_is_refused(self, store: Persistence) -> None:
        bad_types: list[Any] = [None, 7, b"m", ["m"]]
        for bad in bad_types:
            for call in (store.load_memory, store.delete_memory, store.load_assembly, store.delete_assembly):
                with pytest.raises(InvalidTypeError):
                    await call(bad)

    async def test_what_no_file_can_hold_is_refused(self, store: Persistence) -> None:
        kept = await store.save_memory(memory("m", "kept"))
        for bad in BAD_VALUES:
            entry, group = memory("m", "new"), assembly()
            entry.metadata["bad"] = {"deep": [bad]}
            group.emotion_profile["bad"] = bad
            with pytest.raises((InvalidValueError, InvalidTypeError)):
                await store.save_memory(entry)
            with pytest.raises((InvalidValueError, InvalidTypeError)):
                await store.save_assembly(group)
        assert await store.load_memory("m") == kept
        assert await store.load_assembly("a") is None

    async def test_an_endless_object_is_refused(self, store: Persistence) -> None:
        entry = memory("m")
        entry.metadata["self"] = entry.metadata
        with pytest.raises(InvalidValueError):
            await store.save_memory(entry)
        with pytest.raises(InvalidValueError):
            await store.save_memories_batch([memory("other"), entry])
        assert await store.list_memories() == []

    async def test_unknown_fields_may_not_take_a_known_name(self, store: Persistence) -> None:
        entry = memory("m")
        entry.extra["content"] = "another"
        with pytest.raises(InvalidValueError):
            await store.save_memory(entry)
        assert await store.load_memory("m") is None

    async def test_what_is_no_memory_is_refused(self, store: Persistence) -> None:
        values: list[Any] = [None, "m", {"memory_id": "m"}, assembly("m")]
        for value in values:
            with pytest.raises(InvalidTypeError):
                await store.save_memory(value)
            with pytest.raises(InvalidTypeError):
                await store.save_memories_batch([memory("m"), value])
        assert await store.list_memories() == []

    async def test_a_memory_is_no_assembly(self, store: Persistence) -> None:
        wrong: Any = memory("m")
        with pytest.raises(InvalidTypeError):
            await store.save_assembly(wrong)
        assert await store.list_assemblies() == []
