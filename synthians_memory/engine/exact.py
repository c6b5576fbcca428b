"""Exact vector search in NumPy: the oracle of the FAISS index, and its stand-in where FAISS is missing.

It is not the vector index: it knows no id and no file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from synthians_memory.config import Metric
from synthians_memory.models import Vector

__all__ = [
    "Bits",
    "Matrix",
    "NumpyIndex",
    "Positions",
    "RowIndex",
    "bits_of",
    "decided",
    "nearest_of",
    "prepare",
    "scores_of",
    "top_positions",
]

Matrix = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]
# One bit for each position, the lowest of each byte first.
Bits = npt.NDArray[np.uint8]


class RowIndex(Protocol):
    """Rows of one length, found by their position; changed by one thread at a time, while nobody searches.

    Distances are raw: inner products (higher is nearer) or squared L2 distances (lower is nearer).
    """

    def __len__(self) -> int:
        """Rows held."""

    def add(self, rows: Matrix) -> None:
        """Append rows; they take the next positions."""

    def rows(self, start: int, stop: int) -> Matrix:
        """A copy of the rows from `start` up to `stop`."""

    def search(
        self, query: Vector, k: int, allowed: Positions | None = None, living: Bits | None = None
    ) -> tuple[Matrix, Positions]:
        """Raw distances and positions of the `k` nearest rows, nearest first.

        Args:
            query: prepared like the rows.
            k: at least 1; fewer come back where fewer rows are allowed.
            allowed: ascending positions to choose from; None for all.
            living: where `allowed` is None: the rows to choose from, as bits; None for all.
        """

    def search_many(
        self, queries: Matrix, k: int, allowed: Positions | None = None, living: Bits | None = None
    ) -> list[tuple[Matrix, Positions]]:
        """What `search` gives for each of `queries`; several threads may search at the same time."""

    def products(self, k: int) -> int:
        """About how many numbers a search for the `k` nearest of all rows multiplies."""

    def keep(self, positions: Positions) -> None:
        """Drop every row but those at the ascending `positions`; the others move up."""

    def serialise(self, sink: Callable[[bytes], None]) -> bool:
        """Hand the rows to `sink` in FAISS's own file format, in pieces; False where that cannot be written."""


def prepare(rows: Matrix, metric: Metric) -> Matrix:
    """Rows as they are indexed: of length one under cosine, unchanged otherwise. A zero row stays zero."""
    if metric != "cosine":
        return rows
    # In doubles, so that neither very large nor very small numbers overflow or vanish when squared.
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))[:, None]
    return (rows / np.where(norms == 0, 1, norms)).astype(np.float32)


def scores_of(distances: Matrix, metric: Metric) -> list[float]:
    """Scores, higher is better: cosine in -1..1, inner product as is, L2 as 1/(1+d**2)."""
    found = distances.astype(np.float64)
    if metric == "l2":
        found = 1.0 / (1.0 + np.maximum(found, 0.0))
    elif metric == "cosine":
        found = np.minimum(np.maximum(found, -1.0), 1.0)
    scores: list[float] = found.tolist()
    return scores


def top_positions(distances: Matrix, k: int, metric: Metric) -> Positions:
    """Positions of the `k` nearest of `distances`, nearest first, the lower position first on a tie."""
    keys = distances if metric == "l2" else -distances
    if k < len(keys):
        # Everything as near as the k-th is kept, so that ties are broken by position and not by chance.
        limit = np.partition(keys, k - 1)[k - 1]
        candidates = np.flatnonzero(keys <= limit)
    else:
        candidates = np.arange(len(keys))
    order = np.argsort(keys[candidates], kind="stable")[:k]
    return candidates[order].astype(np.int64)


def bits_of(positions: Positions, count: int) -> Bits:
    """The bits of `count` positions, of which these are set."""
    chosen = np.zeros(count, dtype=bool)
    chosen[positions] = True
    return np.packbits(chosen, bitorder="little")


def decided(
    distances: Matrix, positions: Positions, k: int, count: int, metric: Metric
) -> tuple[Matrix, Positions] | None:
    """The `k` best of what was found, nearest first, the lower position first on a tie.

    Args:
        distances: of what was found, at least `k`.
        positions: nearest first; -1 where nothing was found.
        k: at least 1.
        count: how many there are to be found.
        metric: of the distances.

    Returns:
        None where more may be as near as the k-th than were found.
    """
    if len(distances) < count and positions[-1] >= 0 and distances[-1] == distances[k - 1]:
        return None
    if positions[-1] < 0:
        distances, positions = distances[positions >= 0], positions[positions >= 0]
    if (distances[1:] != distances[:-1]).all():
        return distances[:k], positions[:k]
    order = np.lexsort((positions, distances if metric == "l2" else -distances))[:k]
    return distances[order], positions[order]


def distances_to(rows: Matrix, query: Vector, metric: Metric) -> Matrix:
    """Raw distances of `query` to each of `rows`."""
    if metric == "l2":
        difference = rows - query
        squares: Matrix = np.einsum("ij,ij->i", difference, difference)
        return squares
    products: Matrix = rows @ query
    return products


def nearest_of(rows: Matrix, query: Vector, k: int, positions: Positions, metric: Metric) -> tuple[Matrix, Positions]:
    """Raw distances and positions of the `k` nearest of `rows`, which are at `positions`, nearest first."""
    if len(rows) == 0:
        return np.empty(0, dtype=np.float32), positions
    distances = distances_to(rows, query, metric)
    nearest = top_positions(distances, k, metric)
    return distances[nearest], positions[nearest]


class NumpyIndex:
    """`RowIndex` on a growing array."""

    def __init__(self, dimension: int, metric: Metric) -> None:
        self._rows: Matrix = np.empty((0, dimension), dtype=np.float32)
        self._count = 0
        self._metric = metric

    def __len__(self) -> int:
        return self._count

    def add(self, rows: Matrix) -> None:
        """As `RowIndex.add`; grows by halves."""
        needed = self._count + len(rows)
        if needed > len(self._rows):
            grown = np.empty((max(needed, len(self._rows) * 3 // 2), self._rows.shape[1]), dtype=np.float32)
            grown[: self._count] = self._rows[: self._count]
            self._rows = grown
        self._rows[self._count : needed] = rows
        self._count = needed

    def rows(self, start: int, stop: int) -> Matrix:
        """As `RowIndex.rows`."""
        return self._rows[start : min(stop, self._count)].copy()

    def search(
        self, query: Vector, k: int, allowed: Positions | None = None, living: Bits | None = None
    ) -> tuple[Matrix, Positions]:
        """As `RowIndex.search`, exactly."""
        if living is not None:
            allowed = np.flatnonzero(np.unpackbits(living, count=self._count, bitorder="little"))
        positions = np.arange(self._count) if allowed is None else allowed
        rows = self._rows[: self._count] if allowed is None else self._rows[allowed]
        return nearest_of(rows, query, k, positions, self._metric)

    def search_many(
        self, queries: Matrix, k: int, allowed: Positions | None = None, living: Bits | None = None
    ) -> list[tuple[Matrix, Positions]]:
        """As `RowIndex.search_many`."""
        return [self.search(query, k, allowed, living) for query in queries]

    def products(self, k: int) -> int:
        """As `RowIndex.products`."""
        return int(self._rows.size)

    def keep(self, positions: Positions) -> None:
        """As `RowIndex.keep`."""
        self._rows = self._rows[positions]
        self._count = len(positions)

    def serialise(self, sink: Callable[[bytes], None]) -> bool:
        """False: this index leaves no file, and is rebuilt from the entities."""
        return False
