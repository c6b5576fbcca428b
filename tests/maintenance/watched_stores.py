"""Stores that are open and watched, and what somebody else does to their files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from synthians_memory.codec import encode
from synthians_memory.embedding import CallableEmbedder
from synthians_memory.facade import MemoryPersistence
from synthians_memory.maintenance.watch import Watcher
from synthians_memory.maintenance.watched_change import WatchedChange
from synthians_memory.models import Entity, MemoryEntry, Vector
from synthians_memory.reports import Finding

DIMENSION = 4
NOON = 1_795_176_000_000_000  # 2026-11-20T12:00:00Z, in microseconds
_PATIENCE = 30.0
QUICK: dict[str, Any] = {"settle": 0.05, "interval": 3600.0}
SWEEPING: dict[str, Any] = {"settle": 0.05, "interval": 0.1, "notify": False}


def vector(text: str) -> Vector:
    """What the embedder below makes of a text."""
    drawn: Vector = np.random.default_rng(sum(text.encode())).standard_normal(DIMENSION).astype(np.float32)
    return drawn


def embedder() -> CallableEmbedder:
    return CallableEmbedder("drawn:1", DIMENSION, lambda texts: np.array([vector(text) for text in texts]))


def memory(entity_id: str, content: str | None = None, **fields: Any) -> MemoryEntry:
    text = f"text of {entity_id}" if content is None else content
    return MemoryEntry(memory_id=entity_id, content=text, **{"embedding": vector(text), **fields})


class Watched:
    """One store, open and watched, and what was told."""

    def __init__(self, root: Path, store: MemoryPersistence) -> None:
        self.root = root
        self.store = store
        self.told: list[WatchedChange] = []
        self._more = asyncio.Event()

    def hear(self, change: WatchedChange) -> None:
        self.told.append(change)
        self._more.set()

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something that was told makes it hold."""
        async with asyncio.timeout(_PATIENCE):
            while not holds():
                self._more.clear()
                await self._more.wait()

    async def of(self, entity_id: str, count: int = 1) -> WatchedChange:
        """The `count`-th change of an entity, waited for."""
        await self.until(lambda: len(self._of(entity_id)) >= count)
        return self._of(entity_id)[count - 1]

    def _of(self, entity_id: str) -> list[WatchedChange]:
        return [change for change in self.told if change.entity_id == entity_id]

    def path(self, entity_id: str) -> Path:
        return self.root / "memories" / f"{entity_id}.json"

    async def loaded(self, entity_id: str) -> MemoryEntry:
        entry = await self.store.load_memory(entity_id)
        assert entry is not None
        return entry

    async def nearest(self, text: str) -> str:
        return (await self.store.search(vector(text), 1))[0].memory_id

    async def problems(self) -> list[Finding]:
        """What a full check finds that is worse than a note."""
        return [f for f in await self.store.verify_consistency("full") if f.severity != "note"]


@asynccontextmanager
async def watched(
    root: Path, ids: str = "abc", options: dict[str, Any] = QUICK, **settings: Any
) -> AsyncIterator[Watched]:
    """A new store with a memory for each of `ids`, watched with `options`."""
    async with MemoryPersistence(root, **settings) as store:
        await store.save_memories_batch([memory(i) for i in ids if await store.load_memory(i) is None])
        seen = Watched(root, store)
        async with Watcher(store, seen.hear, **options):
            yield seen


def without_seal(data: bytes) -> bytes:
    """The file as a person leaves it who takes the hash line away."""
    lines = [line for line in data.split(b"\n") if b'"content_hash"' not in line]
    return b"\n".join(lines).replace(b",\n}", b"\n}")


def sealed_file(entity: Entity, micros: int = NOON) -> bytes:
    """What a store writes for `entity`."""
    return encode(entity).stamp(micros).data


def edited(path: Path, old: str, new: str) -> bytes:
    """The file at `path` with other words and without its hash line."""
    data = path.read_bytes()
    assert old.encode() in data
    return without_seal(data.replace(old.encode(), new.encode()))


def fields_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def quarantined(root: Path) -> list[bytes]:
    """The bytes of every file in quarantine."""
    return [path.read_bytes() for path in sorted((root / "quarantine").rglob("*")) if path.is_file()]
