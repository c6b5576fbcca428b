"""LanceDB's synchronous client, one table; without an index searches are exact, with one it is IVF with the client's defaults.

It compacts nothing: a user who does not call `optimize` has this store.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import lancedb
import pyarrow as pa

from benchmarks.contender import BlockingContender
from benchmarks.records import DIMENSION, Record, Vector

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("content", pa.string()),
        ("topic", pa.string()),
        ("metadata", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("vector", pa.list_(pa.float32(), DIMENSION)),
    ]
)


class Store(BlockingContender):
    durability = "new files and a new manifest per call, none of them synced"
    packages = ("lancedb", "pyarrow")

    async def open(self) -> None:
        self._db = lancedb.connect(str(self.folder))
        self._table = self._db.create_table("memories", schema=SCHEMA, exist_ok=True)

    async def close(self) -> None:
        del self._table, self._db

    def prepare(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        return [
            {
                "id": record.record_id,
                "content": record.content,
                "topic": record.metadata["topic"],
                "metadata": json.dumps(record.metadata),
                "tags": list(record.tags),
                "vector": record.vector,
            }
            for record in records
        ]

    def put(self, items: Sequence[dict[str, Any]]) -> None:
        self._table.add(list(items))

    def replace(self, items: Sequence[dict[str, Any]]) -> None:
        self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(list(items))

    def get(self, record_id: str) -> Any:
        columns = ["id", "content", "topic", "metadata", "tags"]
        rows = self._table.search().where(f"id = '{record_id}'").select(columns).limit(1).to_list()
        return rows[0] if rows else None

    def remove(self, record_id: str) -> None:
        self._table.delete(f"id = '{record_id}'")

    async def start_index(self) -> None:
        if self.settings.get("index"):
            self._table.create_index(metric="cosine", index_type="IVF_FLAT", vector_column_name="vector")
            self._table.create_scalar_index("topic")

    def find(self, vector: Vector, k: int, topic: str | None) -> list[str]:
        query = self._table.search(vector).distance_type("cosine").select(["id", "_distance"]).limit(k)
        if topic is not None:
            query = query.where(f"topic = '{topic}'", prefilter=True)
        return [row["id"] for row in query.to_list()]
