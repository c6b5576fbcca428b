"""Searches in spaces of vectors: the query prepared, the rows told that may be found, hits with ids and scores.

It is not the view (`vectors`), which follows the journal: it changes no row.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from synthians_memory.config import Metric
from synthians_memory.engine.centroid_file import CentroidFile
from synthians_memory.engine.exact import Matrix, Positions, prepare, scores_of
from synthians_memory.engine.faiss_index import InvertedIndex
from synthians_memory.engine.training import Approximation, Trainer
from synthians_memory.engine.vector_space import VectorSpace
from synthians_memory.errors import DimensionError, InvalidValueError
from synthians_memory.layout import Kind
from synthians_memory.models import Vector

__all__ = ["DEAD_FEW", "Nearest", "VectorSearcher"]

# Ids and scores, best first.
Nearest = list[tuple[str, float]]

# So many dead rows an exact search finds in vain; of more it is told.
DEAD_FEW: Final = 64
_FEW_WAITING: Final = 8
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
    if metric == "cosine" and not query.any():
        raise InvalidValueError("a zero vector has no direction to compare by cosine")
    row: Vector = prepare(query[None, :], metric)[0]
    return row


def _is_quick(space: VectorSpace, k: int) -> bool:
    """Whether a search among all takes well under a millisecond."""
    return space.index.products(k) <= _QUICK


def _queries_at_once(space: VectorSpace, k: int) -> int:
    """How many searches a save may wait for; at least 1."""
    return max(1, _LONG // max(1, space.index.products(k)))


def _nearest_in(
    space: VectorSpace, rows: Sequence[Vector], k: int, allowed: Iterable[str] | None, metric: Metric
) -> list[Nearest]:
    """The `k` nearest to each of the prepared rows; all rows of the space are in its index."""
    most, living, positions = k, None, None if allowed is None else space.positions(allowed)
    if allowed is None and space.dead > (0 if isinstance(space.index, InvertedIndex) else DEAD_FEW):
        living = space.living()
    elif allowed is None:
        most += space.dead
    if len(rows) == 1:
        found = [space.index.search(rows[0], most, positions, living)]
    else:
        found = space.index.search_many(np.stack(rows), most, positions, living)
    return [_hits(space, *one, k, metric) for one in found]


def _hits(space: VectorSpace, distances: Matrix, found: Positions, k: int, metric: Metric) -> Nearest:
    scores = scores_of(distances, metric)
    pairs = ((space.owner(position), score) for position, score in zip(found.tolist(), scores, strict=True))
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
            return self._searched([row], k, kind, None)[0]
        finally:
            self._lock.release()

    def search_many(
        self, queries: Sequence[Vector], k: int, kind: Kind, allowed: Sequence[str] | None = None
    ) -> list[Nearest]:
        """As `search` for each of the queries; changes get their turn in between, and later queries see them."""
        rows = [_prepared_query(query, self.dimension, self.metric) for query in queries]
        found: list[Nearest] = []
        while len(found) < len(rows):
            with self._lock:
                space = self._spaces.get(kind)
                most = _queries_at_once(space, k) if space else len(rows)
                found += self._searched(rows[len(found) : len(found) + most], k, kind, allowed)
        return found

    def train(self, kind: Kind) -> None:
        """Start what is due for a kind and wait until nothing is under way."""
        self.trainer.wait()
        with self._lock:
            self._index_waiting()
            self.trainer.consider(kind)
        self.trainer.wait()

    def _searched(self, rows: Sequence[Vector], k: int, kind: Kind, allowed: Iterable[str] | None) -> list[Nearest]:
        self._index_waiting()
        space = self._spaces.get(kind)
        if not space:
            return [[] for _ in rows]
        self.trainer.consider(kind)
        return _nearest_in(space, rows, k, allowed, self.metric)
