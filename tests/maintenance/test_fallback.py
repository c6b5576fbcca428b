"""A memory that cannot be stored is parked, on space reserved ahead, and stored exactly once later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.errors import (
    DiskError,
    DiskFullError,
    InvalidValueError,
    NotStoredError,
    ReadOnlyError,
    StoreLockedError,
    SynthiansMemoryError,
)
from synthians_memory.layout import FALLBACK, LOGS, entity_path
from synthians_memory.maintenance.fallback import RESERVED_BYTES, Fallback, parked_memory, replay
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.faults import WRITING, Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import Policy
from synthians_memory.testing.sweep import for_each_crash, for_each_fault

EARLIER = MemoryEntry(memory_id="earlier", content="parked before")
LATER = MemoryEntry(memory_id="later", content="parked\nnow, with a line break")
NO_SPACE = 28


def on(disk: FaultyDisk) -> Fallback:
    return Fallback(lambda: FaultyBackend(disk))


def parked_on(disk: FaultyDisk) -> list[str]:
    memories = map(parked_memory, on(disk).lines())
    return [memory.memory_id for memory in memories if memory is not None]


def disk_with(*entries: MemoryEntry, reserved: int = 4096) -> FaultyDisk:
    disk = FaultyDisk()
    if reserved:
        on(disk).reserve(reserved)
    for entry in entries:
        on(disk).park(entry)
    return disk


def parked_in(path: Path) -> list[str]:
    return [
        memory.memory_id for line in Fallback(lambda: LocalBackend(path)).lines() if (memory := parked_memory(line))
    ]


# The file


@pytest.mark.parametrize("reserved", [0, 10, 4096])
def test_what_is_parked_is_there_in_order_and_as_it_was(reserved: int) -> None:
    disk = disk_with(EARLIER, LATER, reserved=reserved)
    found = [parked_memory(line) for line in on(disk).lines()]
    assert [memory.content for memory in found if memory] == [EARLIER.content, LATER.content]
    on(disk).remove(on(disk).lines()[:1])
    assert parked_on(disk) == ["later"]


def test_reserving_twice_keeps_what_is_parked() -> None:
    disk = disk_with(EARLIER)
    on(disk).reserve()
    assert parked_on(disk) == ["earlier"]


def test_parking_takes_no_space() -> None:
    disk = disk_with()
    disk.capacity_bytes = disk.volume.used_bytes()
    on(disk).park(EARLIER)
    on(disk).park(LATER)
    assert parked_on(disk) == ["earlier", "later"]
    with pytest.raises(DiskFullError):
        on(disk).park(MemoryEntry(content="x" * 4096))
    assert parked_on(disk) == ["earlier", "later"]


def test_removing_takes_no_space_and_keeps_the_reserve() -> None:
    disk = disk_with(EARLIER, LATER)
    disk.capacity_bytes = disk.volume.used_bytes()
    on(disk).remove(on(disk).lines())
    assert FaultyBackend(disk).read(FALLBACK) == b"\n" * 4096


def test_what_is_kept_busy_is_said() -> None:
    disk = disk_with()
    held = FaultyBackend(disk).lock(LOGS, exclusive=True)
    assert held is not None
    fallback = Fallback(lambda: FaultyBackend(disk), patience=0.0)
    with pytest.raises(StoreLockedError, match="another program has been writing to logs"):
        fallback.park(EARLIER)
    held.release()
    fallback.park(EARLIER)


@pytest.mark.parametrize("reserved", [0, 4096])
def test_a_power_cut_while_parking_loses_nothing_parked(reserved: int) -> None:
    disk = disk_with(EARLIER, reserved=reserved)
    done: list[bool] = []

    def scenario(backend: FaultyBackend) -> None:
        done.clear()
        on(backend.disk).park(LATER)
        done.append(True)

    def verify(backend: FaultyBackend, at: int, policy: Policy, seed: int) -> None:
        found = parked_on(backend.disk)
        assert found in ([["earlier", "later"]] if done else [["earlier"], ["earlier", "later"]])
        on(backend.disk).park(MemoryEntry(memory_id="last", content="x"))
        assert parked_on(backend.disk) == [*found, "last"]

    assert for_each_crash(scenario, verify, disk=disk) > 10


def test_a_power_cut_while_removing_leaves_each_memory_whole_or_gone() -> None:
    disk = disk_with(EARLIER, LATER, MemoryEntry(memory_id="last", content="x"))
    done: list[bool] = []

    def scenario(backend: FaultyBackend) -> None:
        done.clear()
        on(backend.disk).remove(on(backend.disk).lines()[:2])
        done.append(True)

    def verify(backend: FaultyBackend, at: int, policy: Policy, seed: int) -> None:
        found = parked_on(backend.disk)
        assert found == [name for name in ("earlier", "later", "last") if name in found]
        assert "last" in found
        assert not done or found == ["last"]

    assert for_each_crash(scenario, verify, disk=disk) > 10


@pytest.mark.parametrize("work", ["reserve", "park", "remove"])
def test_a_failing_call_loses_nothing_parked(work: str) -> None:
    disk = disk_with(EARLIER, LATER)
    works: dict[str, Callable[[Fallback], None]] = {
        "reserve": lambda fallback: fallback.reserve(),
        "park": lambda fallback: fallback.park(MemoryEntry(memory_id="new", content="x")),
        "remove": lambda fallback: fallback.remove(fallback.lines()[:1]),
    }
    after = {
        "reserve": ["earlier", "later"],
        "park": ["earlier", "later", "new"],
        "remove": ["later"],
    }[work]

    def verify(backend: FaultyBackend, fault: Fault, error: SynthiansMemoryError | None, policy: Policy) -> None:
        found = parked_on(backend.disk)
        assert found in ([after] if error is None else [["earlier", "later"], after])

    scenario = works[work]
    assert for_each_fault(lambda backend: scenario(on(backend.disk)), verify, disk=disk) > 0 or work == "reserve"


def test_a_torn_line_stays_apart_and_is_told() -> None:
    disk = disk_with(EARLIER)
    disk.plan(Fault(1, verbs=WRITING, short=True))
    with pytest.raises(DiskFullError):
        on(disk).park(LATER)
    on(disk).park(LATER)
    assert parked_on(disk) == ["earlier", "later"]
    assert len(on(disk).lines()) == 3


# With a store


class Refusing(MemoryPersistence):
    """A store that cannot write while `refusing` is an error."""

    refusing: Exception | None = None

    async def _remember(self, entry: MemoryEntry, *expected: Any) -> MemoryEntry:
        if self.refusing is not None:
            raise self.refusing
        return await super()._remember(entry, *expected)


async def test_space_is_reserved_by_the_first_call(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        assert not (tmp_path / LOGS).exists()
        await store.remember("one")
    assert (tmp_path / FALLBACK).read_bytes() == b"\n" * RESERVED_BYTES
    assert (tmp_path / FALLBACK).stat().st_mode & 0o777 == 0o600


async def test_it_is_parked_said_and_stored_once_at_the_next_opening(tmp_path: Path) -> None:
    async with Refusing(tmp_path) as store:
        store.refusing = DiskFullError("no space left", errno=NO_SPACE)
        with pytest.raises(NotStoredError, match=r"parked in logs/fallback\.jsonl") as raised:
            await store.remember("kept", tags=["a"], importance=0.9, metadata={"x": 1})
        assert raised.value.parked
        assert raised.value.__cause__ is store.refusing
        entry = raised.value.entry
        assert isinstance(entry, MemoryEntry)
        assert await store.load_memory(entry.memory_id) is None
    async with MemoryPersistence(tmp_path) as store:
        stored = await store.load_memory(entry.memory_id)
        assert stored is not None
        assert (stored.content, stored.tags, stored.created_at) == ("kept", ("a",), entry.created_at)
        assert store.opening_report.actions == (f"stored the parked memory {entry.memory_id}",)
        await store.delete_memory(entry.memory_id)
    async with MemoryPersistence(tmp_path) as store:
        assert await store.list_memories() == []
        assert store.opening_report.actions == ()


async def test_where_parking_fails_too_the_error_carries_it(tmp_path: Path) -> None:
    async with Refusing(tmp_path) as store:
        (tmp_path / LOGS).write_bytes(b"in the way")
        store.refusing = DiskError("broken", errno=5)
        with pytest.raises(NotStoredError, match="nor parked") as raised:
            await store.remember("kept")
        assert not raised.value.parked
        assert isinstance(raised.value.entry, MemoryEntry)
        assert raised.value.entry.content == "kept"


async def test_a_wrong_memory_is_refused_and_not_parked(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        with pytest.raises(InvalidValueError):
            await store.remember("  ")
    assert not (tmp_path / LOGS).exists()


async def test_a_reader_parks_nothing(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path):
        pass
    async with MemoryPersistence(tmp_path, read_only=True) as store:
        with pytest.raises(ReadOnlyError):
            await store.remember("one")
    assert not (tmp_path / LOGS).exists()


async def test_a_store_that_turned_read_only_parks(tmp_path: Path) -> None:
    entries = [MemoryEntry(memory_id=f"m{number}", content="x") for number in range(30)]
    async with MemoryPersistence(tmp_path) as store:
        await store.save_memories_batch(entries)
    for entry in entries:
        (tmp_path / entity_path("memory", entry.memory_id)).unlink()
    async with MemoryPersistence(tmp_path) as store:
        assert store.stats()["read_only"]
        with pytest.raises(NotStoredError) as raised:
            await store.remember("kept")
        assert raised.value.parked
    assert len(parked_in(tmp_path)) == 1


async def test_replay_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    fallback = Fallback(lambda: LocalBackend(tmp_path))
    async with Refusing(tmp_path) as store:
        for entry in (EARLIER, LATER):
            fallback.park(entry)
        await store.save_memory(EARLIER)
        store.refusing = DiskFullError("no space left", errno=NO_SPACE)
        with pytest.raises(DiskFullError):
            await replay(fallback, store._remember)
        assert parked_in(tmp_path) == ["earlier", "later"]
        store.refusing = None
        report = await replay(fallback, store._remember)
        assert (report.stored, report.known, report.unreadable) == (("later",), ("earlier",), ())
        assert parked_in(tmp_path) == []
        assert await replay(fallback, store._remember) == type(report)()


async def test_a_line_that_is_no_memory_stays(tmp_path: Path) -> None:
    fallback = Fallback(lambda: LocalBackend(tmp_path))
    async with MemoryPersistence(tmp_path) as store:
        fallback.park(EARLIER)
        (tmp_path / FALLBACK).write_bytes(b'{"content": "half\n' + (tmp_path / FALLBACK).read_bytes())
        report = await replay(fallback, store._remember)
        assert report.stored == ("earlier",)
        assert report.unreadable == ('{"content": "half',)
        assert fallback.lines() == [b'{"content": "half']


class Offline:
    """An embedder that answers when it likes."""

    name = "offline"
    dimension = 2
    up = False

    def embed(self, texts: list[str]) -> Any:
        if not self.up:
            raise ConnectionError("the model is not there")
        return np.ones((len(texts), 2), dtype=np.float32)


async def test_an_embedder_that_fails_does_not_keep_the_store_shut(tmp_path: Path) -> None:
    embedder = Offline()
    async with MemoryPersistence(tmp_path, embedder=embedder):
        Fallback(lambda: LocalBackend(tmp_path)).park(EARLIER)
    async with MemoryPersistence(tmp_path, embedder=embedder) as store:
        assert await store.list_memories() == []
        assert "the model is not there" in str(store.stats()["last_error"])
        assert parked_in(tmp_path) == ["earlier"]
    embedder.up = True
    async with MemoryPersistence(tmp_path, embedder=embedder) as store:
        stored = await store.load_memory("earlier")
        assert stored is not None
        assert stored.embedding is not None
    assert parked_in(tmp_path) == []
