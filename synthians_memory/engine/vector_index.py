"""MemoryVectorIndex: vectors by id, on their own, for programs that want the index without the store.

It is not the store's own view (`vectors`), which follows the journal; it shares its rows and its search.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from synthians_memory.config import Metric, StoreConfig, VectorStorage
from synthians_memory.engine.training import Approximation
from synthians_memory.engine.vector_rows import RowStorage
from synthians_memory.engine.vectors import VectorView
from synthians_memory.engine.view import Change, Position
from synthians_memory.errors import DamagedViewError, DimensionError, InvalidValueError
from synthians_memory.hashing import embedding_hash
from synthians_memory.layout import VECTORS, validate_id
from synthians_memory.models import MemoryEntry, Vector, as_vector
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.memory import MemoryBackend

__all__ = ["MemoryVectorIndex"]

_STORE_ID = "index"


class MemoryVectorIndex:
    """Vectors found by nearness; synchronous, and safe to use from several threads.

    Below `exact_below` vectors searches are exact. Beyond, the first search starts a thread that trains lists of
    vectors and measures how many of them have to be looked into for `target_recall`; from then on searches are
    approximate, until then exact. What is added or removed later takes effect at once.

    `save` writes the files that a store has in vector_index/, `load` reads them again.
    """

    def __init__(
        self,
        dimension: int,
        *,
        metric: Metric = "cosine",
        path: str | os.PathLike[str] | None = None,
        backend: Backend | None = None,
        exact_below: int = StoreConfig.exact_below,
        target_recall: float = StoreConfig.target_recall,
        vector_storage: VectorStorage = StoreConfig.vector_storage,
    ) -> None:
        """An empty index.

        Args:
            dimension: length of every vector, at least 1.
            metric: "cosine", "ip" or "l2".
            path: directory for `save` and `load`; made where it is missing. None: in memory only.
            backend: another medium than the local disk.
            exact_below: as in `StoreConfig`.
            target_recall: as in `StoreConfig`.
            vector_storage: as in `StoreConfig`; "8-bit" needs a path or a back end, where the exact rows are.
        """
        checked = StoreConfig(exact_below=exact_below, target_recall=target_recall, vector_storage=vector_storage)
        self._storage = RowStorage(checked.vector_storage)
        self._approximation = Approximation(checked.exact_below, checked.target_recall)
        if dimension < 1:
            raise InvalidValueError(f"dimension is {dimension}; it must be at least 1")
        self.dimension = dimension
        self.metric: Metric = metric
        self._has_directory = path is not None or backend is not None
        if self._storage.coded and not self._has_directory:
            raise InvalidValueError("8-bit storage keeps exact vectors in files", hint="Give the index a path.")
        self._backend: Backend = MemoryBackend()
        if backend is not None:
            self._backend = backend
        elif path is not None:
            self._backend = LocalBackend(path, create=True)
        if self._storage.coded:
            self._make_folder(self._backend)
        self._view = self._new_view()
        self._sequence = 0

    def _new_view(self) -> VectorView:
        return VectorView(self._backend, _STORE_ID, self.metric, self.dimension, self._approximation, self._storage)

    def _make_folder(self, backend: Backend) -> None:
        if backend.make_folder(VECTORS):
            backend.sync_folder("")

    def __len__(self) -> int:
        return self._view.count("memory")

    def __contains__(self, memory_id: object) -> bool:
        return isinstance(memory_id, str) and self._view.slot_hash(("memory", memory_id)) is not None

    def add_vector(self, memory_id: str, vector: Vector | Sequence[float]) -> None:
        """Add or replace one vector; raises as `add_vectors`."""
        self.add_vectors({memory_id: vector})

    def add_vectors(self, vectors: Mapping[str, Vector | Sequence[float]]) -> None:
        """Add or replace many vectors in one step.

        Raises:
            DimensionError, InvalidValueError, InvalidTypeError, InvalidIdError: one of them cannot be
                stored; none was added.
        """
        self._view.apply([self._change(memory_id, vector) for memory_id, vector in vectors.items()])

    def _change(self, memory_id: str, vector: Vector | Sequence[float]) -> Change:
        row = as_vector(vector, f"the vector of {memory_id!r}")
        if len(row) != self.dimension:
            raise DimensionError(f"the vector of {memory_id!r} has {len(row)} numbers, the index has {self.dimension}")
        if self.metric == "cosine" and not row.any():
            raise InvalidValueError(f"the vector of {memory_id!r} is zero, which has no direction")
        entry = MemoryEntry(memory_id=validate_id(memory_id), content="", embedding=row)
        return Change(("memory", memory_id), entry, embedding_hash=embedding_hash(row))

    def remove_vector(self, memory_id: str) -> bool:
        """Remove one vector; True if it was there."""
        present = memory_id in self
        self._view.apply([Change(("memory", memory_id), None)])
        return present

    def search(
        self, query: Vector | Sequence[float], k: int = 10, *, allowed: Iterable[str] | None = None
    ) -> list[tuple[str, float]]:
        """The `k` nearest: (id, score), best first, of `allowed` ids or of all; scores as the store's search."""
        if k < 1:
            raise InvalidValueError(f"k is {k}; it must be at least 1")
        return self._view.search(as_vector(query, "query"), k, "memory", allowed)

    def search_batch(
        self, queries: Iterable[Vector | Sequence[float]], k: int = 10, *, allowed: Iterable[str] | None = None
    ) -> list[list[tuple[str, float]]]:
        """What `search` finds for each query, in their order; several processor threads work on it."""
        if k < 1:
            raise InvalidValueError(f"k is {k}; it must be at least 1")
        rows = [as_vector(query, "query") for query in queries]
        return self._view.search_many(rows, k, "memory", None if allowed is None else list(allowed))

    def train(self) -> None:
        """Do at once, and wait for, what a search would start in the background; nothing below `exact_below`."""
        self._view.train("memory")

    def stats(self) -> dict[str, Any]:
        """What answers searches, as `vector_search` in the store's `stats()`."""
        return self._view.trainer.statistics("memory")

    def rebuild(self, vectors: Mapping[str, Vector | Sequence[float]]) -> None:
        """Hold exactly `vectors`; raises as `add_vectors`, and is unchanged then."""
        changes = [self._change(memory_id, vector) for memory_id, vector in vectors.items()]
        self._view.reset()
        self._view.apply(changes)

    def save(self) -> None:
        """Make the index durable in its directory; raises InvalidValueError without one, and DiskError."""
        backend = self._directory()
        self._make_folder(backend)
        self._sequence = max(self._sequence, self._view.position.sequence) + 1
        self._view.freeze(Position(_STORE_ID, self._sequence))
        self._view.persist()

    def load(self) -> None:
        """Hold what was saved last.

        Raises:
            DamagedViewError: the files are damaged, or of another dimension or metric; the index is unchanged.
            DiskError: they cannot be read.
        """
        self._directory()
        view = self._new_view()
        problem = view.load()
        if problem:
            raise DamagedViewError(problem, hint="Rebuild the index from the vectors.")
        old, self._view = self._view, view
        old.close()

    def _directory(self) -> Backend:
        if not self._has_directory:
            raise InvalidValueError("the index has no directory", hint="Give it a path.")
        return self._backend

    def vector(self, memory_id: str) -> Vector | None:
        """The vector as it is indexed (of length one under cosine); None where there is none."""
        found = self._view.vector(("memory", memory_id))
        return None if found is None else np.array(found, dtype=np.float32)

    def close(self) -> None:
        """Release the directory; idempotent."""
        self._view.close()
        self._backend.close()
