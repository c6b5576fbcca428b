"""The naive file store: a JSON file per memory, and the whole index rewritten at each save.

It syncs nothing, as such stores do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contender import BlockingContender
from benchmarks.records import DIMENSION, Record, Vector


class Store(BlockingContender):
    durability = "none: nothing is synced; a power cut loses acknowledged saves, a crash leaves index and files apart"
    packages = ("numpy",)

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        super().__init__(folder, settings)
        self._rows: dict[str, dict[str, Any]] = {}
        self._vectors: dict[str, Vector] = {}
        self._ids: list[str] = []
        self._topics: list[str] = []
        self._matrix: Vector | None = None

    async def open(self) -> None:
        (self.folder / "memories").mkdir(exist_ok=True)
        index = self.folder / "memory_index.json"
        self._rows = json.loads(index.read_text()) if index.exists() else {}
        for record_id in self._rows:
            self._vectors[record_id] = np.array(self.get(record_id)["embedding"], dtype=np.float32)

    async def close(self) -> None:
        self._write_index()

    def prepare(self, records: Sequence[Record]) -> list[Record]:
        return list(records)

    def put(self, items: Sequence[Record]) -> None:
        for item in items:
            self._write_memory(item)
        self._write_index()
        self._matrix = None

    def get(self, record_id: str) -> dict[str, Any] | None:
        row = self._rows.get(record_id)
        return None if row is None else json.loads((self.folder / row["filepath"]).read_text())

    def remove(self, record_id: str) -> None:
        row = self._rows.pop(record_id)
        del self._vectors[record_id]
        (self.folder / row["filepath"]).unlink()
        self._write_index()
        self._matrix = None

    def find(self, vector: Vector, k: int, topic: str | None) -> list[str]:
        matrix = self._normalised()
        scores = matrix @ (vector / np.linalg.norm(vector))
        if topic is not None:
            scores = np.where(np.array(self._topics) == topic, scores, -2)
        best = np.argpartition(-scores, min(k, len(scores) - 1))[:k]
        return [self._ids[row] for row in best[np.argsort(-scores[best])] if scores[row] > -2]

    def _write_memory(self, item: Record) -> None:
        now = datetime.now(UTC).isoformat()
        name = f"memories/{item.record_id}.json"
        memory = {
            "id": item.record_id,
            "content": item.content,
            "embedding": item.vector.tolist(),
            "metadata": item.metadata,
            "tags": item.tags,
            "created_at": now,
            "updated_at": now,
        }
        self._replace(name, json.dumps(memory))
        self._vectors[item.record_id] = item.vector
        self._rows[item.record_id] = {
            "filepath": name,
            "created_at": now,
            "updated_at": now,
            "quickrecal_score": 0.5,
            "topic": item.metadata["topic"],
        }

    def _write_index(self) -> None:
        self._replace("memory_index.json", json.dumps(self._rows, indent=2))

    def _replace(self, name: str, text: str) -> None:
        path = self.folder / name
        scratch = Path(f"{path}.tmp")
        scratch.write_text(text)
        os.replace(scratch, path)

    def _normalised(self) -> Vector:
        if self._matrix is None:
            self._ids = list(self._vectors)
            self._topics = [self._rows[record_id]["topic"] for record_id in self._ids]
            matrix = np.array(list(self._vectors.values())).reshape(-1, DIMENSION)
            self._matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
        return self._matrix
