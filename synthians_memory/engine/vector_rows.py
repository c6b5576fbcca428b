"""The rows of a view's spaces, held as the setting says: in memory, or as codes with the exact rows in files.

It follows no journal and writes no snapshot: `vectors` does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

import numpy as np

from synthians_memory.config import Metric, VectorStorage
from synthians_memory.engine.centroid_file import CentroidFile
from synthians_memory.engine.coded_index import CodedIndex, exact_rows_of, rows_to_file
from synthians_memory.engine.exact import RowIndex, prepare
from synthians_memory.engine.exact_rows import ExactRows, FiledRows
from synthians_memory.engine.faiss_index import HAS_FAISS, new_index
from synthians_memory.engine.records import Key
from synthians_memory.engine.training import Approximation
from synthians_memory.engine.vector_search import VectorSearcher
from synthians_memory.engine.vector_snapshot import Frozen, first_row
from synthians_memory.engine.vector_space import VectorSpace
from synthians_memory.errors import DamagedViewError, DiskError
from synthians_memory.hashing import embedding_hash
from synthians_memory.layout import FAISS_FILE, Kind
from synthians_memory.models import Vector
from synthians_memory.storage.backend import Backend, ReadableFile

__all__ = ["IN_MEMORY", "RowStorage", "Source", "VectorRows"]

_KINDS: Final[tuple[Kind, ...]] = ("memory", "assembly")
_ROWS_A_PIECE: Final = 1024


class RowStorage(NamedTuple):
    """How a view holds its rows.

    Attributes:
        vector_storage: as the setting.
        scratch: whether files may be made for rows that are in none.
    """

    vector_storage: VectorStorage
    scratch: bool = True

    @property
    def coded(self) -> bool:
        """Whether codes stand for rows."""
        return HAS_FAISS and self.vector_storage == "8-bit"


IN_MEMORY: Final = RowStorage("float32")

# The embedding of an entity as it is acknowledged; None where that cannot be had.
Source = Callable[[Key], Vector | None]


def _no_source(_: Key) -> Vector | None:
    return None


class VectorRows(VectorSearcher):
    """Spaces of vectors, and where their rows are.

    Attributes:
        source: the embedding of an entity as it is acknowledged; None where that cannot be had. Exact rows that rotted on
            disk are made anew from it.
    """

    def __init__(
        self,
        metric: Metric,
        dimension: int | None,
        approximation: Approximation,
        centroids: CentroidFile,
        backend: Backend,
        storage: RowStorage,
    ) -> None:
        super().__init__(metric, dimension, approximation, centroids)
        self._backend = backend
        self._storage = storage
        self.trainer.storage = "8-bit" if storage.coded else "float32"
        self.source: Source = _no_source

    def _space(self, kind: Kind) -> VectorSpace:
        if kind not in self._spaces:
            self._put_index(kind, self._new_index())
        return self._spaces[kind]

    def _new_index(self) -> RowIndex:
        if not self._storage.coded:
            return new_index(self.dimension or 0, self.metric)
        return self._coded(None, self.dimension or 0)

    def _coded(self, filed: FiledRows | None, dimension: int) -> RowIndex:
        exact = ExactRows(dimension, self._backend if self._storage.scratch else None, filed)
        return CodedIndex(dimension, self.metric, exact)

    def _put_index(self, kind: Kind, index: RowIndex) -> None:
        self._spaces[kind] = VectorSpace(index)
        exact = exact_rows_of(index)
        if exact is not None:
            exact.again = lambda position: self._row_again(kind, exact, position)

    def _row_again(self, kind: Kind, exact: ExactRows, position: int) -> Vector | None:
        """A row made anew from the embedding that it was made of; zeros for that of nobody."""
        space = self._spaces.get(kind)
        if space is None or exact_rows_of(space.index) is not exact:
            # They are the rows of a space that was given up.
            return None
        owner = space.owners([position])[0]
        if owner is None:
            return np.zeros(self.dimension or 0, dtype=np.float32)
        vector = self.source((kind, owner))
        if vector is None or embedding_hash(vector) != space.hashes.get(owner):
            return None
        row: Vector = prepare(vector[None, :], self.metric)[0]
        return row

    def _settle(self) -> None:
        """Let go of rows in memory that codes stand for."""
        for space in self._spaces.values():
            rows = rows_to_file(space.index)
            if rows is not None:
                rows.settle()

    def _taken_index(self, index: RowIndex) -> RowIndex:
        """`index`, or its rows as they should be held."""
        few = exact_rows_of(index)
        if not self._storage.coded or rows_to_file(index) is not None:
            return index
        held = self._new_index()
        for start in range(0, len(index), _ROWS_A_PIECE):
            held.add(index.rows(start, start + _ROWS_A_PIECE))
        if few is not None:
            few.close()
        return held

    def _read_from_snapshot(self, frozen: Frozen, holds: Callable[[], bool]) -> None:
        """Take exact rows from the file that has just been written, so that they are nowhere twice.

        Under the lock `holds` says whether the spaces are still those that were frozen.
        """
        start = first_row(frozen, self.metric)
        for kind in _KINDS:
            if kind not in frozen.spaces:
                continue
            with self._lock:
                space = self._spaces.get(kind) if holds() else None
                rows = rows_to_file(space.index) if space is not None else None
                file = self._opened_snapshot() if rows is not None else None
                if rows is not None and file is not None:
                    with suppress(DamagedViewError):
                        # Rows stay where they were; whoever asks for the damaged one is told.
                        rows.rebase(frozen.spaces[kind].positions(), len(frozen.spaces[kind].ids), file, start)
            start += 4 * frozen.dimension * frozen.spaces[kind].alive

    def _opened_snapshot(self) -> ReadableFile | None:
        try:
            return self._backend.open_read(FAISS_FILE)
        except DiskError:
            # The snapshot is durable; rows stay where they were, and the next snapshot tries again.
            return None

    def _close_rows(self) -> None:
        for space in self._spaces.values():
            exact = exact_rows_of(space.index)
            if exact is not None:
                exact.close()
