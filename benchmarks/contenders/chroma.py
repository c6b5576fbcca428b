"""Chroma's persistent client, with its own defaults.

Its index is HNSW: searches are approximate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import chromadb

from benchmarks.contender import BlockingContender
from benchmarks.records import Record, Vector


class Store(BlockingContender):
    durability = "SQLite with a rollback journal, synced at each call; the HNSW files follow later"
    packages = ("chromadb",)
    note = "approximate search (HNSW); a batch goes in pieces of at most its own limit"

    async def open(self) -> None:
        settings = chromadb.Settings(anonymized_telemetry=False)
        self._client = chromadb.PersistentClient(path=str(self.folder), settings=settings)
        self._table = self._client.get_or_create_collection(
            "memories", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        self._most = self._client.get_max_batch_size()

    async def close(self) -> None:
        self._client.close()

    def prepare(self, records: Sequence[Record]) -> list[Record]:
        return list(records)

    def put(self, items: Sequence[Record]) -> None:
        for first in range(0, len(items), self._most):
            self._table.add(**_columns(items[first : first + self._most]))

    def replace(self, items: Sequence[Record]) -> None:
        for first in range(0, len(items), self._most):
            self._table.update(**_columns(items[first : first + self._most]))

    def get(self, record_id: str) -> Any:
        return self._table.get(ids=[record_id], include=["documents", "metadatas"])

    def remove(self, record_id: str) -> None:
        self._table.delete(ids=[record_id])

    def find(self, vector: Vector, k: int, topic: str | None) -> list[str]:
        where: Any = None if topic is None else {"topic": topic}
        found = self._table.query(query_embeddings=[vector], n_results=k, where=where, include=["distances"])
        return found["ids"][0]


def _columns(items: Sequence[Record]) -> dict[str, Any]:
    return {
        "ids": [item.record_id for item in items],
        "embeddings": [item.vector for item in items],
        "documents": [item.content for item in items],
        "metadatas": [{**item.metadata, "tags": ",".join(item.tags)} for item in items],
    }
