"""sqlite-vec: a table of memories beside a vec0 table, in one database file.

It needs a Python whose sqlite3 loads extensions; pysqlite3 is taken where that is installed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlite_vec

from benchmarks.contender import BlockingContender, UnsupportedError
from benchmarks.records import DIMENSION, Record, Vector

try:
    import pysqlite3 as sqlite3
except ModuleNotFoundError:
    import sqlite3

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS memories (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, content TEXT, metadata TEXT, tags TEXT);
CREATE VIRTUAL TABLE IF NOT EXISTS vectors USING vec0(
    number INTEGER PRIMARY KEY, topic TEXT, embedding float[{DIMENSION}] distance_metric=cosine);
"""
NEAREST = """
SELECT memories.id FROM (
    SELECT number, distance FROM vectors WHERE embedding MATCH ? AND k = ? {topic} ORDER BY distance) AS near
JOIN memories ON memories.number = near.number ORDER BY near.distance"""

# Id, content, metadata, tags, topic, vector.
Item = tuple[str, str, str, str, str, bytes]


class Store(BlockingContender):
    durability = "WAL, synchronous=FULL: every transaction is synced; survives a power cut"
    packages = ("sqlite-vec",)

    def versions(self) -> dict[str, str]:
        return {**super().versions(), "SQLite": sqlite3.sqlite_version}

    async def open(self) -> None:
        self._db = sqlite3.connect(self.folder / "memories.db", check_same_thread=False, isolation_level=None)
        if not hasattr(self._db, "enable_load_extension"):
            raise UnsupportedError("the sqlite3 of this Python cannot load extensions; give another with --python")
        self._db.enable_load_extension(True)
        sqlite_vec.load(self._db)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(SCHEMA)

    async def close(self) -> None:
        self._db.close()

    def prepare(self, records: Sequence[Record]) -> list[Item]:
        return [
            (
                r.record_id,
                r.content,
                json.dumps(r.metadata),
                json.dumps(r.tags),
                str(r.metadata["topic"]),
                bytes(r.vector),
            )
            for r in records
        ]

    def put(self, items: Sequence[Item]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        for record_id, content, metadata, tags, topic, vector in items:
            row = self._db.execute(
                "INSERT INTO memories (id, content, metadata, tags) VALUES (?, ?, ?, ?)",
                (record_id, content, metadata, tags),
            ).lastrowid
            self._db.execute("INSERT INTO vectors (number, topic, embedding) VALUES (?, ?, ?)", (row, topic, vector))
        self._db.execute("COMMIT")

    def replace(self, items: Sequence[Item]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        for record_id, content, metadata, tags, _, vector in items:
            self._db.execute(
                "UPDATE memories SET content = ?, metadata = ?, tags = ? WHERE id = ?",
                (content, metadata, tags, record_id),
            )
            self._db.execute("UPDATE vectors SET embedding = ? WHERE number = ?", (vector, self._number(record_id)))
        self._db.execute("COMMIT")

    def get(self, record_id: str) -> tuple[Any, ...] | None:
        row = self._db.execute("SELECT id, content, metadata, tags FROM memories WHERE id = ?", (record_id,)).fetchone()
        return None if row is None else (row[0], row[1], json.loads(row[2]), json.loads(row[3]))

    def remove(self, record_id: str) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM vectors WHERE number = ?", (self._number(record_id),))
        self._db.execute("DELETE FROM memories WHERE id = ?", (record_id,))
        self._db.execute("COMMIT")

    def find(self, vector: Vector, k: int, topic: str | None) -> list[str]:
        if topic is None:
            rows = self._db.execute(NEAREST.format(topic=""), (bytes(vector), k))
        else:
            rows = self._db.execute(NEAREST.format(topic="AND topic = ?"), (bytes(vector), k, topic))
        return [row[0] for row in rows]

    async def check(self, level: str) -> int:
        pragma = "quick_check" if level == "quick" else "integrity_check"
        return sum(row[0] != "ok" for row in self._db.execute(f"PRAGMA {pragma}"))

    def _number(self, record_id: str) -> int:
        return self._db.execute("SELECT number FROM memories WHERE id = ?", (record_id,)).fetchone()[0]
