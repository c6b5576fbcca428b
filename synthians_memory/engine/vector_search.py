"""Searches in spaces of vectors: the query prepared, the rows told that may be found, hits with ids and scores.

It is not the view (`vectors`), which follows the journal: it changes no row.
"""

from __future__ import annotations

import math
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from synthians_memory.config import Metric
from synthians_memory.engine.centroid_file import CentroidFile
from synthians_memory.engine.coded_index import exact_rows_of
from synthians_memory.engine.exact import Matrix, Positions, RowIndex, scores_of
from synthians_memory.engine.exact_rows import ExactRows, NotAtHandError
from synthians_memory.engine.faiss_index import InvertedIndex
from synthians_memory.engine.training import Approximation, Trainer
from synthians_memory.engine.vector_space import VectorSpace
from synthians_memory.errors import DimensionError, InvalidValueError
from synthians_memory.layout import Kind
from synthians_memory.models import Vector

__all__ = ["DEAD_FEW", "Nearest", "VectorSearcher"]

# Ids and scores, best first.
Nearest = list[tuple[str, float]]

_Part = list[tuple[Matrix, Positions]]
_Map = Callable[[Callable[[Matrix], _Part], list[Matrix]], Iterator[_Part]]

# So many dead rows an exact search finds in vain; of more it is told.
DEAD_FEW: Final = 64
_FEW_WAITING: Final = 8
# Queries that a thread takes at once.
_PART: Final = 32
# What takes well under a millisecond, and what a save may wait for: numbers multiplied.
_QUICK: Final = 1 << 22
_LONG: Final = 1 << 27


def _prepared_query(query: Vector, dimension: int | None, metric: Metric) -> Vector:
    """The query as rows are indexed.

    Raises:
        DimensionError, InvalidValueError: it cannot be compared.
    """
    if dimension is not None and len(query) != dimension:
        raise DimensionError(
            f"the query has {len(query)} numbers, the store's vectors have {dimension}",
            hint="Embed the query with the embedder that made the store.",
        )
    if metric != "cosine":
        return query
    exact = query.astype(np.float64)
    length = math.sqrt(exact @ exact)
    if not length:
        raise InvalidValueError("a zero vector has no direction to compare by cosine")
    return (exact / length).astype(np.float32)


def _is_quick(space: VectorSpace, k: int) -> bool:
    """Whether a search among all takes well under a millisecond, if it waits for no disk."""
    # Codes are scanned at half the speed.
    return space.index.products(k) * (1 if exact_rows_of(space.index) is None else 2) <= _QUICK


def _queries_at_once(space: VectorSpace, k: int) -> int:
    """How many searches a save may wait for; at least 1."""
    return max(1, _threads() * _LONG // max(1, space.index.products(k)))


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _nearest_in(
    space: VectorSpace,
    rows: Sequence[Vector],
    k: int,
    allowed: Iterable[str] | None,
    metric: Metric,
    threads: _Map = map,
) -> list[Nearest]:
    """The `k` nearest to each of the prepared rows; all rows of the space are in its index.

    `threads` maps a function over parts of the rows.
    """
    most, living, positions = k, None, None if allowed is None else space.positions(allowed)
    if allowed is None and space.dead > (DEAD_FEW if _scans_rows(space.index) else 0):
        living = space.living()
    elif allowed is None:
        most += space.dead
    if len(rows) == 1:
        found = [space.index.search(rows[0], most, positions, living)]
    else:
        parts = [np.stack(rows[at : at + _PART]) for at in range(0, len(rows), _PART)]
        searched = threads(lambda part: space.index.search_many(part, most, positions, living), parts)
        found = [one for part in searched for one in part]
    return [_hits(space, *one, k, metric) for one in found]


def _scans_rows(index: RowIndex) -> bool:
    """Whether it compares all rows in memory, where a few dead ones cost nothing."""
    return exact_rows_of(index) is None and not isinstance(index, InvertedIndex)


def _hits(space: VectorSpace, distances: Matrix, found: Positions, k: int, metric: Metric) -> Nearest:
    pairs = zip(space.owners(found.tolist()), scores_of(distances, metric), strict=True)
    return [(i, score) for i, score in pairs if i is not None][:k]


class VectorSearcher(ABC):
    """Spaces of vectors, searched under the lock that covers their rows; whoever derives from it fills them.

    Attributes:
        metric, dimension: of every vector; the dimension is None until the first one fixes it.
        trainer: changes the indexes of the spaces as they grow.
    """

    def __init__(
        self, metric: Metric, dimension: int | None, approximation: Approximation, centroids: CentroidFile
    ) -> None:
        self.metric: Metric = metric
        self.dimension = dimension
        self._lock = threading.Lock()
        self._spaces: dict[Kind, VectorSpace] = {}
        # Of the last changes in `_pending`, whose rows are not prepared and not in the index: their places there.
        self._waiting: dict[Kind, list[int]] = {"memory": [], "assembly": []}
        self.trainer = Trainer(
            self._lock,
            self._space_of,
            metric,
            approximation,
            lambda: centroids.read(self.dimension or 0),
        )

    def _space_of(self, kind: Kind) -> VectorSpace | None:
        return self._spaces.get(kind)

    @abstractmethod
    def _index_waiting(self) -> None:
        """Bring the index of each space up to its slots; under the lock."""

    def search(
        self, query: Vector, k: int, kind: Kind, allowed: Iterable[str] | None = None
    ) -> list[tuple[str, float]]:
        """The `k` nearest entities: (id, score), best first; equal scores by age of the vector.

        Args:
            query: of the store's dimension.
            k: at least 1; as many come back as there are.
            kind: what to search.
            allowed: ids to choose from; None for all. Those without a vector are passed over.

        Raises:
            DimensionError, InvalidValueError: the query cannot be compared.
        """
        row = _prepared_query(query, self.dimension, self.metric)
        with self._lock:
            return self._searched([row], k, kind, allowed)[0]

    def search_at_hand(self, query: Vector, k: int, kind: Kind) -> Nearest | None:
        """As `search` among all, where that neither waits nor takes a millisecond; None where it would."""
        row = _prepared_query(query, self.dimension, self.metric)
        if not self._lock.acquire(blocking=False):
            return None
        try:
            space = self._spaces.get(kind)
            if space and not (_is_quick(space, k) and sum(map(len, self._waiting.values())) <= _FEW_WAITING):
                return None
            return self._searched_at_hand(row, k, kind, exact_rows_of(space.index) if space else None)
        finally:
            self._lock.release()

    def _searched_at_hand(self, row: Vector, k: int, kind: Kind, exact: ExactRows | None) -> Nearest | None:
        if exact is None:
            return self._searched([row], k, kind, None)[0]
        exact.patient = False
        try:
            return self._searched([row], k, kind, None)[0]
        except NotAtHandError:
            return None
        finally:
            exact.patient = True

    def search_many(
        self, queries: Sequence[Vector], k: int, kind: Kind, allowed: Sequence[str] | None = None
    ) -> list[Nearest]:
        """As `search` for each of the queries; changes get their turn in between, and later queries see them."""
        rows = [_prepared_query(query, self.dimension, self.metric) for query in queries]
        found: list[Nearest] = []
        with ThreadPoolExecutor(_threads(), "synthians-search") as pool:
            while len(found) < len(rows):
                with self._lock:
                    space = self._spaces.get(kind)
                    most = _queries_at_once(space, k) if space else len(rows)
                    part = rows[len(found) : len(found) + most]
                    found += self._searched(part, k, kind, allowed, pool.map if len(part) > _PART else map)
        return found

    def train(self, kind: Kind) -> None:
        """Start what is due for a kind and wait until nothing is under way."""
        self.trainer.wait()
        with self._lock:
            self._index_waiting()
            self.trainer.consider(kind)
        self.trainer.wait()

    def _searched(
        self, rows: Sequence[Vector], k: int, kind: Kind, allowed: Iterable[str] | None, threads: _Map = map
    ) -> list[Nearest]:
        self._index_waiting()
        space = self._spaces.get(kind)
        if not space:
            return [[] for _ in rows]
        self.trainer.consider(kind)
        return _nearest_in(space, rows, k, allowed, self.metric, threads)
