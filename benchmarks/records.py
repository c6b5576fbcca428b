"""The seeded records and queries that every contender gets.

It knows no contender; it needs NumPy alone, so that any interpreter makes the same records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

DIMENSION = 384
CLUSTERS = 200
TOPICS = 20
FILL_CHUNK = 2000

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Record:
    """One memory before any contender has seen it; about 5.5 kB as a file of this store."""

    record_id: str
    content: str
    vector: Vector
    metadata: dict[str, str | int]
    tags: tuple[str, ...]


def record_id(prefix: str, number: int) -> str:
    """The id of one record."""
    return f"{prefix}-{number:07d}"


def records(prefix: str, first: int, count: int, *, seed: int = 0) -> list[Record]:
    """Records number `first` and on; the same arguments give the same records, another seed other versions of them."""
    vectors = clustered(count, (crc32(prefix.encode()), first, seed))
    return [
        Record(
            record_id(prefix, number),
            f"memory {number} of {prefix} {seed}: " + "what was said and decided, and why. " * 8,
            vectors[number - first],
            {"topic": topic(number), "number": number},
            ("benchmark", "measured"),
        )
        for number in range(first, first + count)
    ]


def base_chunks(start: int, size: int) -> Iterator[list[Record]]:
    """What a store is filled with to go from `start` to `size` memories, in pieces that are the same for everyone."""
    for first in range(start, size, FILL_CHUNK):
        yield records("base", first, min(FILL_CHUNK, size - first))


def queries(count: int) -> list[Vector]:
    """Vectors like those of the records."""
    return list(clustered(count, (99,)))


def topic(number: int) -> str:
    """The metadata value that filtered searches ask for: one record in twenty has it."""
    return f"topic-{number % TOPICS}"


def clustered(count: int, seed: tuple[int, ...]) -> Vector:
    """float32 of shape (count, DIMENSION), drawn around seeded centres."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).standard_normal((CLUSTERS, DIMENSION), dtype=np.float32)
    near = centres[rng.integers(CLUSTERS, size=count)]
    return near + np.float32(0.4) * rng.standard_normal((count, DIMENSION), dtype=np.float32)
