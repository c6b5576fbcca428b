"""What expiry costs, how it survives, and what a sweep removes; what every store must show is in the conformance suite."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.codec import unseal
from synthians_memory.engine.expiry_times import ExpiryTimes
from synthians_memory.engine.rows import (
    NEVER,
    UNKNOWN,
    Row,
    expires_of,
    row_from_json,
    row_json,
    rows_from_json,
    unpack,
)
from synthians_memory.errors import ReadOnlyError
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.times import from_micros

VECTOR = [1.0, 2.0]


def memory(clock: ManualClock, memory_id: str, seconds: float | None = None, **fields: Any) -> MemoryEntry:
    expires_at = None if seconds is None else from_micros(clock.micros()) + timedelta(seconds=seconds)
    return MemoryEntry(memory_id=memory_id, content=memory_id, embedding=VECTOR, expires_at=expires_at, **fields)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[MemoryPersistence]:
    async with MemoryPersistence(tmp_path / "store", clock=clock) as store:
        yield store


# The times in their order

times = st.one_of(st.none(), st.integers(0, 8))


@given(st.lists(st.dictionaries(st.sampled_from("abcdefgh"), times, max_size=8), max_size=8), st.integers(-1, 9))
def test_the_order_agrees_with_the_definition(changes: list[dict[str, int | None]], now: int) -> None:
    expiry, model = ExpiryTimes(), dict[str, int]()
    for change in changes:
        expiry.update(change)
        for entity_id, micros in change.items():
            model.pop(entity_id, None)
            if micros is not None:
                model[entity_id] = micros
        wanted = {i for i, micros in model.items() if micros <= now}
        assert expiry.expired(now) == wanted
        assert (expiry.count(now), len(expiry)) == (len(wanted), len(model))
        longest = sorted(wanted, key=lambda i: (model[i], i))
        assert expiry.first(now, 3) == longest[:3]
    fresh = ExpiryTimes()
    fresh.replace_all(model)
    assert fresh.expired(now) == expiry.expired(now)


# In the rows of the memory index


@pytest.mark.parametrize("micros", [NEVER, UNKNOWN, 0, 1, -1, 1_700_000_000_000_000])
def test_a_row_keeps_it(micros: int) -> None:
    packed = Row(1, 2, 0.5, b"h" * 32, None, 3, 4, -1, micros).pack()
    written = json.loads(row_json("memory", "m", packed))
    assert ("expires_at" in written) is (micros != UNKNOWN)
    assert list(written)[-1] == ("mtime_ns" if micros == UNKNOWN else "expires_at")
    assert rows_from_json("memory", [written, written]) == [packed, packed]
    assert row_from_json("memory", written) == packed
    assert (expires_of(packed), unpack(packed).expires_micros) == (micros, micros)


async def test_a_row_without_it_leaves_it_to_the_file_once(tmp_path: Path, clock: ManualClock) -> None:
    """As it is after another program has written the memory index."""
    root = tmp_path / "store"
    async with MemoryPersistence(root, clock=clock) as store:
        await store.save_memories_batch([memory(clock, "gone", 10), memory(clock, "kept"), memory(clock, "later", 99)])
    forget_expiry(root)
    clock.advance(10)
    async with MemoryPersistence(root, clock=clock, read_only=True) as reader:
        assert await reader.list_memories() == ["kept", "later"]
    async with MemoryPersistence(root, clock=clock) as store:
        assert await store.list_memories() == ["kept", "later"]
    rows = json.loads((root / "memory_index.json").read_bytes())["memories"]
    assert {i: row["expires_at"] is None for i, row in rows.items()} == {"gone": False, "kept": True, "later": False}


def forget_expiry(root: Path) -> None:
    path = root / "memory_index.json"
    lines = path.read_bytes().split(b"\n")
    cut = [
        line[: line.index(b',"expires_at"')] + line[line.index(b"}") :] if b'"expires_at"' in line else line
        for line in lines
    ]
    data = b"\n".join(cut)
    _, digest = unseal(data)
    old = data[data.rindex(b"sha256:") + 7 :][:64]
    path.write_bytes(data.replace(old, digest.hex().encode()))
    assert unseal(path.read_bytes())[0] == digest


async def test_a_file_that_cannot_be_read_does_not_keep_the_store_shut(tmp_path: Path, clock: ManualClock) -> None:
    root = tmp_path / "store"
    async with MemoryPersistence(root, clock=clock) as store:
        await store.save_memories_batch([memory(clock, "damaged", 10), memory(clock, "gone", 10)])
    forget_expiry(root)
    path = root / "memories" / "damaged.json"
    path.write_bytes(path.read_bytes().replace(b"damaged", b"DAMAGED"))
    clock.advance(10)
    async with MemoryPersistence(root, clock=clock, startup_check="off") as store:
        assert await store.list_memories() == ["damaged"]
    rows = json.loads((root / "memory_index.json").read_bytes())["memories"]
    assert "expires_at" not in rows["damaged"]


async def test_the_files_are_not_read_where_the_rows_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "store"
    clock = ManualClock()
    async with MemoryPersistence(root, clock=clock) as store:
        await store.save_memories_batch([memory(clock, f"m{n}", n) for n in range(5)])
    read: list[str] = []
    plain = LocalBackend.read

    def noted(backend: LocalBackend, path: str, offset: int = 0, length: int | None = None) -> bytes | None:
        read.append(path)
        return plain(backend, path, offset, length)

    monkeypatch.setattr(LocalBackend, "read", noted)
    clock.advance(2)
    async with MemoryPersistence(root, clock=clock) as store:
        assert await store.list_memories() == ["m3", "m4"]
        assert [path for path in read if path.startswith("memories/")] == []


@pytest.mark.parametrize("lost", ["memory_index.json", "everything derived"])
async def test_it_survives_the_loss_of_the_index(tmp_path: Path, clock: ManualClock, lost: str) -> None:
    root = tmp_path / "store"
    async with MemoryPersistence(root, clock=clock) as store:
        await store.save_memories_batch([memory(clock, "gone", 10), memory(clock, "kept", 20)])
    for path in [root / "memory_index.json", *root.glob("backups/index/*"), root / "memory_index.log"]:
        if lost != path.name and lost == "memory_index.json":
            continue
        path.unlink()
    clock.advance(10)
    async with MemoryPersistence(root, clock=clock) as store:
        assert await store.list_memories() == ["kept"]
        assert [hit.memory_id for hit in await store.search(VECTOR)] == ["kept"]


async def test_a_reader_beside_follows(tmp_path: Path, store: MemoryPersistence, clock: ManualClock) -> None:
    await store.save_memory(memory(clock, "m", 10))
    async with MemoryPersistence(tmp_path / "store", clock=clock, read_only=True) as reader:
        assert await reader.list_memories() == ["m"]
        clock.advance(10)
        assert await reader.list_memories() == []
        await store.save_memory(memory(clock, "m", 10))
        await reader.refresh()
        assert await reader.list_memories() == ["m"]
        assert await reader.sweep_expired(dry_run=True) == 0
        with pytest.raises(ReadOnlyError):
            await reader.sweep_expired()


# Sweeping


async def test_a_sweep_deletes_what_has_expired_in_batches(store: MemoryPersistence, clock: ManualClock) -> None:
    await store.save_memories_batch([memory(clock, f"m{n:04}", n % 3 or None) for n in range(1800)])
    clock.advance(1)
    seen: list[tuple[int, int]] = []
    assert await store.sweep_expired(dry_run=True) == 600
    assert store.stats()["memories"] == 1800
    before = store.stats()["sequence"]
    assert await store.sweep_expired(progress=lambda done, total: seen.append((done, total))) == 600
    assert seen == [(500, 600), (600, 600)]
    assert store.stats()["sequence"] == before + 2
    assert (store.stats()["memories"], store.stats()["expired"]) == (1200, 0)
    assert await store.sweep_expired() == 0
    assert {entry.memory_id async for entry in store.iter_memories(expired=True)} == {
        f"m{n:04}" for n in range(1800) if n % 3 != 1
    }
    assert await store.verify_consistency() == []


async def test_a_sweep_leaves_what_is_saved_meanwhile(store: MemoryPersistence, clock: ManualClock) -> None:
    await store.save_memories_batch([memory(clock, f"m{n:04}", 1) for n in range(1500)])
    clock.advance(1)
    sweeping = asyncio.ensure_future(store.sweep_expired())
    saved = [await store.save_memory(memory(clock, f"m{n:04}", 99)) for n in range(1499, 1400, -7)]
    await sweeping
    assert await store.list_memories() == sorted(entry.memory_id for entry in saved)


async def test_what_was_swept_stays_away(tmp_path: Path, clock: ManualClock) -> None:
    async with MemoryPersistence(tmp_path / "store", clock=clock) as store:
        await store.save_memories_batch([memory(clock, "gone", 1), memory(clock, "kept")])
        clock.advance(1)
        await store.sweep_expired()
    clock.advance(-1)
    async with MemoryPersistence(tmp_path / "store", clock=clock) as store:
        assert await store.list_memories() == ["kept"]


async def test_an_expired_file_that_was_changed_outside_is_judged_as_any_other(
    tmp_path: Path, clock: ManualClock
) -> None:
    root = tmp_path / "store"
    async with MemoryPersistence(root, clock=clock) as store:
        await store.save_memory(memory(clock, "m", 10))
    path = root / "memories" / "m.json"
    lines = [
        line
        for line in path.read_bytes().split(b"\n")[1:-2]
        if b"content_hash" not in line and b"expires_at" not in line
    ]
    edited = b"{\n" + b"\n".join(lines).rstrip(b",") + b"\n}\n"
    path.write_bytes(edited)
    clock.advance(10)
    async with MemoryPersistence(root, clock=clock) as store:
        # Its person took the expiry away: adopted, it is there again.
        assert await store.list_memories() == ["m"]
        assert await store.verify_consistency() == []
