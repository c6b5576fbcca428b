"""This store, through its public class.

It reaches into nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks.contender import Contender, UnsupportedError
from benchmarks.records import DIMENSION, Record, Vector, queries
from synthians_memory import MemoryEntry, MemoryPersistence, StoreConfig
from synthians_memory.codec import line_of


class Store(Contender):
    durability = "journal synced before the acknowledgement, in groups: survives a power cut"
    packages = ("synthians-memory", "numpy", "faiss-cpu", "orjson")

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        super().__init__(folder, settings)
        missing = settings.keys() - {field.name for field in fields(StoreConfig)}
        if missing:
            raise UnsupportedError(f"StoreConfig has no {', '.join(sorted(missing))}")
        if settings.get("write_mode") == "behind":
            self.note = "files follow the acknowledgement; the journal holds what they lack"
        self._store = MemoryPersistence(folder, embedding_dimension=DIMENSION, **settings)

    async def open(self) -> None:
        await self._store.initialize()

    async def close(self) -> None:
        await self._store.close()

    def prepare(self, records: Sequence[Record]) -> list[MemoryEntry]:
        return [entry_of(record) for record in records]

    async def fill(self, records: Sequence[Record]) -> None:
        await self._store.save_memories_batch(self.prepare(records))

    async def save(self, item: MemoryEntry) -> None:
        await self._store.save_memory(item)

    async def save_batch(self, items: Sequence[MemoryEntry]) -> None:
        await self._store.save_memories_batch(items)

    async def prepare_import(self, records: Sequence[Record]) -> Path:
        path = self.folder.with_name(f"{self.folder.name}-import-{records[0].record_id}.jsonl")
        path.write_bytes(b"".join(line_of(entry_of(record)) + b"\n" for record in records))
        return path

    async def import_all(self, prepared: Path, chunk: int) -> None:
        await self._store.import_memories(prepared, chunk=chunk)

    async def settle(self) -> None:
        await self._store.flush()

    async def load(self, record_id: str) -> MemoryEntry | None:
        return await self._store.load_memory(record_id)

    async def delete(self, record_id: str) -> None:
        await self._store.delete_memory(record_id)

    async def search(self, vector: Vector, k: int, topic: str | None) -> list[str]:
        where = None if topic is None else {"topic": topic}
        return [hit.memory_id for hit in await self._store.search(vector, k=k, where=where)]

    async def search_many(self, vectors: Sequence[Vector], k: int) -> list[list[str]]:
        return [[hit.memory_id for hit in hits] for hits in await self._store.search_batch(vectors, k)]

    async def start_index(self) -> None:
        await self._store.search(queries(1)[0], 1)

    def is_indexing(self) -> bool:
        return bool(self._store.stats()["vector_search"]["training"])

    async def check(self, level: str) -> int:
        return len(await self._store.verify_consistency(level=level))  # type: ignore[arg-type]


def entry_of(record: Record) -> MemoryEntry:
    """The record as this store takes it."""
    return MemoryEntry(
        memory_id=record.record_id,
        content=record.content,
        embedding=record.vector,
        metadata=dict(record.metadata),
        tags=record.tags,
    )
