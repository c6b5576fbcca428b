"""LangGraph's AsyncSqliteStore: keys and JSON values, without its vector index.

It joins what is waiting in one loop turn to one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langgraph.store.base import PutOp
from langgraph.store.sqlite.aio import AsyncSqliteStore

from benchmarks.contender import Contender, UnsupportedError
from benchmarks.records import Record, Vector

SPACE = ("memories",)


class Store(Contender):
    durability = "SQLite with its defaults, synced at each commit; survives a power cut"
    packages = ("langgraph-checkpoint-sqlite", "langgraph-checkpoint", "aiosqlite")
    note = "no vector search; the embedding is a list in the value"

    async def open(self) -> None:
        self._context = AsyncSqliteStore.from_conn_string(str(self.folder / "memories.db"))
        self._store = await self._context.__aenter__()
        await self._store.setup()

    async def close(self) -> None:
        await self._context.__aexit__(None, None, None)

    def prepare(self, records: Sequence[Record]) -> list[tuple[str, dict[str, Any]]]:
        return [(record.record_id, _value(record)) for record in records]

    async def save(self, item: tuple[str, dict[str, Any]]) -> None:
        await self._store.aput(SPACE, *item)

    async def save_batch(self, items: Sequence[tuple[str, dict[str, Any]]]) -> None:
        await self._store.abatch([PutOp(SPACE, key, value) for key, value in items])

    async def load(self, record_id: str) -> Any:
        return await self._store.aget(SPACE, record_id)

    async def delete(self, record_id: str) -> None:
        await self._store.adelete(SPACE, record_id)

    async def search(self, vector: Vector, k: int, topic: str | None) -> list[str]:
        raise UnsupportedError("its vector index needs an embedding model; not compared here")


def _value(record: Record) -> dict[str, Any]:
    return {
        "content": record.content,
        "embedding": record.vector.tolist(),
        "metadata": record.metadata,
        "tags": list(record.tags),
    }
