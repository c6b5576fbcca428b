"""Qdrant's local mode: the client's own Python store.

It is not the server.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from qdrant_client import QdrantClient, models

from benchmarks.contender import BlockingContender
from benchmarks.records import DIMENSION, Record, Vector

TABLE = "memories"


class Store(BlockingContender):
    durability = "SQLite with its defaults: rollback journal, synced at each commit; survives a power cut"
    packages = ("qdrant-client", "numpy")

    async def open(self) -> None:
        self._client = QdrantClient(path=str(self.folder), force_disable_check_same_thread=True)
        if not self._client.collection_exists(TABLE):
            vectors = models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)
            self._client.create_collection(TABLE, vectors_config=vectors)

    async def close(self) -> None:
        self._client.close()

    def prepare(self, records: Sequence[Record]) -> list[models.PointStruct]:
        return [
            models.PointStruct(
                id=_point_id(record.record_id),
                vector=record.vector.tolist(),
                payload={
                    **record.metadata,
                    "id": record.record_id,
                    "content": record.content,
                    "tags": list(record.tags),
                },
            )
            for record in records
        ]

    def put(self, items: Sequence[models.PointStruct]) -> None:
        self._client.upsert(TABLE, list(items))

    def get(self, record_id: str) -> Any:
        return self._client.retrieve(TABLE, [_point_id(record_id)], with_payload=True, with_vectors=False)

    def remove(self, record_id: str) -> None:
        self._client.delete(TABLE, [_point_id(record_id)])

    def find(self, vector: Vector, k: int, topic: str | None) -> list[str]:
        condition = None
        if topic is not None:
            condition = models.Filter(must=[models.FieldCondition(key="topic", match=models.MatchValue(value=topic))])
        found = self._client.query_points(TABLE, query=vector, limit=k, query_filter=condition, with_payload=["id"])
        return [(point.payload or {})["id"] for point in found.points]


def _point_id(record_id: str) -> str:
    """Its ids are numbers or UUIDs."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, record_id))
