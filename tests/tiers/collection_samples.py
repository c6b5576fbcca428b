"""Stores with rows' memories for the tests of collections: an embedder that counts words, and some rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

from synthians_memory import MemoryPersistence
from synthians_memory.embedding import CallableEmbedder
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.tiers.collections import Collections
from synthians_memory.tiers.database import Database
from synthians_memory.tiers.descriptions import row_memory
from synthians_memory.tiers.longterm import LongTermMemory
from synthians_memory.tiers.reconciliation import ReconciliationReport, reconcile
from synthians_memory.tiers.records import Decision, Record
from synthians_memory.tiers.tables import DECISIONS, LONGTERM, WORKING, Table

VOCABULARY = ("disk", "full", "network", "slow", "deploy", "cache")


def counted_words(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """How often each word of the vocabulary stands in each text; the first as opposed to the second."""
    rows = np.zeros((len(texts), len(VOCABULARY)), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in text.lower().replace(":", " ").split():
            if word in VOCABULARY:
                row[VOCABULARY.index(word)] += 1
        row[1] -= 2 * row[0]
    return rows


def word_embedder() -> CallableEmbedder:
    return CallableEmbedder("words", len(VOCABULARY), counted_words)


def cosine(one: str, other: str) -> float | None:
    """As the store computes it; None where one of the texts has no vector."""
    a, b = counted_words([one, other]).astype(np.float64)
    length = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / length) if length else None


@dataclass
class OpenRows:
    """Both databases of an open store, as the tiers have them."""

    store: MemoryPersistence
    collections: Collections
    working: Database
    longterm: Database
    memory: LongTermMemory
    clock: ManualClock

    async def reconcile(self) -> ReconciliationReport:
        return await reconcile(self.collections, self.working, self.longterm)

    async def log(self, decision: Decision) -> None:
        """A decision in working memory, as it is logged."""
        await self.collections.store_row(
            row_memory(decision), lambda: self.working.transact(upserted(DECISIONS, decision))
        )


def upserted(table: Table[Any], record: Record, **extra: Any) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        connection.execute(table.upsert, table.encode(record, **extra))

    return work


@asynccontextmanager
async def opened(place: Path, **settings: Any) -> AsyncIterator[OpenRows]:
    async with MemoryPersistence(place, **settings) as store, _with_rows(store, place, settings) as rows:
        yield rows


@asynccontextmanager
async def on_faulty_disk(disk: FaultyDisk, folder: Path) -> AsyncIterator[OpenRows]:
    """The store on a disk that can be made to fail, its databases in an existing folder."""
    settings = {"startup_check": "off", "clock": ManualClock()}
    async with (
        MemoryPersistence(backend=lambda: FaultyBackend(disk), **settings) as store,
        _with_rows(store, folder, {}) as rows,
    ):
        yield rows


@asynccontextmanager
async def _with_rows(store: MemoryPersistence, place: Path, settings: dict[str, Any]) -> AsyncIterator[OpenRows]:
    numbers = count(1)
    clock = ManualClock()
    reading = bool(settings.get("read_only"))
    working, longterm = (Database(place, schema, read_only=reading) for schema in (WORKING, LONGTERM))
    try:
        await working.open()
        await longterm.open()
        collections = Collections(store)
        memory = LongTermMemory(longterm, collections, clock, lambda: f"id{next(numbers)}")
        yield OpenRows(store, collections, working, longterm, memory, clock)
        await collections.settle()
    finally:
        await longterm.close()
        await working.close()
