"""FAISS behind the protocol of exact row indexes; the one module that imports it.

It is not the vector index: it knows no id and touches no file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from synthians_memory.config import Metric
from synthians_memory.engine.exact import Matrix, NumpyIndex, Positions, RowIndex, distances_to, top_positions
from synthians_memory.errors import DamagedViewError
from synthians_memory.models import Vector

try:
    import faiss
except ImportError:  # pragma: no cover - faiss-cpu is a dependency; NumPy serves where it cannot be loaded
    faiss = None

__all__ = ["HAS_FAISS", "FaissIndex", "FlatFile", "new_index"]

HAS_FAISS: Final = faiss is not None
# Up to so many allowed rows, gathering them and scanning is faster than a selector, whatever the number of all rows.
_GATHERED: Final = 512
_PIECE: Final = 1 << 20
# Few and large: between any two the interpreter may be busy with another thread.
_FILE_PIECE: Final = 4 << 20
_MOST_DIMENSIONS: Final = (1 << 31) - 1
# In the bytes of a flat index: behind four letters for its kind, and its dimension.
_ROWS_AT: Final = 8


def new_index(dimension: int, metric: Metric) -> RowIndex:
    """An empty exact index: FAISS where it can be loaded, NumPy elsewhere."""
    if not HAS_FAISS:
        return NumpyIndex(dimension, metric)
    return FaissIndex(_empty_flat(dimension, metric), metric)


def _empty_flat(dimension: int, metric: Metric) -> Any:
    return faiss.IndexFlatL2(dimension) if metric == "l2" else faiss.IndexFlatIP(dimension)


class FaissIndex:
    """`RowIndex` on a flat FAISS index."""

    def __init__(self, flat: Any, metric: Metric) -> None:
        self._flat = flat
        self._metric = metric

    def __len__(self) -> int:
        return int(self._flat.ntotal)

    def add(self, rows: Matrix) -> None:
        """As `RowIndex.add`."""
        self._flat.add(np.ascontiguousarray(rows, dtype=np.float32))

    def _view(self) -> Matrix:
        """The rows in place; valid until the next change."""
        flat: Matrix = faiss.rev_swig_ptr(self._flat.get_xb(), self._flat.ntotal * self._flat.d)
        return flat.reshape(self._flat.ntotal, self._flat.d)

    def rows(self, start: int, stop: int) -> Matrix:
        """As `RowIndex.rows`."""
        if len(self) == 0:
            return np.empty((0, self._flat.d), dtype=np.float32)
        return self._view()[start:stop].copy()

    def search(self, query: Vector, k: int, allowed: Positions | None = None) -> tuple[Matrix, Positions]:
        """As `RowIndex.search`; one thread, since a single query gains nothing from more."""
        if allowed is not None and len(allowed) <= _GATHERED:
            return self._search_gathered(query, k, allowed)
        faiss.omp_set_num_threads(1)
        k = min(k, len(self) if allowed is None else len(allowed))
        if k == 0:
            return np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
        parameters = None
        if allowed is not None:
            bits = np.zeros(len(self), dtype=bool)
            bits[allowed] = True
            packed = np.packbits(bits, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(self), faiss.swig_ptr(packed))
            parameters = faiss.SearchParameters(sel=selector)
        distances, positions = self._flat.search(query[None, :], k, params=parameters)
        found = positions[0] >= 0
        return distances[0][found], positions[0][found]

    def _search_gathered(self, query: Vector, k: int, allowed: Positions) -> tuple[Matrix, Positions]:
        if len(allowed) == 0:
            return np.empty(0, dtype=np.float32), allowed
        distances = distances_to(self._view()[allowed], query, self._metric)
        nearest = top_positions(distances, k, self._metric)
        return distances[nearest], allowed[nearest]

    def keep(self, positions: Positions) -> None:
        """As `RowIndex.keep`."""
        bits = np.ones(len(self), dtype=bool)
        bits[positions] = False
        packed = np.packbits(bits, bitorder="little")
        if bits.any():
            self._flat.remove_ids(faiss.IDSelectorBitmap(len(self), faiss.swig_ptr(packed)))

    def serialise(self, sink: Callable[[bytes], None]) -> bool:
        """As `RowIndex.serialise`: about a megabyte a piece, without a second copy of the rows."""
        failure: list[BaseException] = []

        def pass_on(piece: bytes) -> None:
            # An exception must not unwind through FAISS; it is raised again once FAISS has returned.
            if not failure:
                try:
                    sink(bytes(piece))
                except BaseException as error:  # noqa: BLE001
                    failure.append(error)

        faiss.write_index(self._flat, faiss.PyCallbackIOWriter(pass_on, _PIECE))
        if failure:
            raise failure[0]
        return True


class FlatFile:
    """The bytes of a FAISS file, taken one piece after the other, so that no second copy of its rows is ever held.

    Nothing of it counts before its hash is known to be right. Only a file that begins as FAISS itself begins
    a flat index of as many rows is taken as rows; any other is kept, for FAISS to parse.
    """

    def __init__(self, size: int, dimension: int, metric: Metric, spare_bytes: int = 0) -> None:
        """Nothing taken yet.

        Args:
            size: length of the file in bytes.
            dimension: of the vectors it should hold.
            metric: of the index it should hold.
            spare_bytes: of rows that will be added to the index later.
        """
        self._dimension = dimension
        self._metric: Metric = metric
        self._row_bytes = 4 * dimension
        self._head, self._rows = b"", 0
        self._flat: Any = None
        # What is no whole row yet; without an index, everything.
        self._kept: list[bytes] = []
        if HAS_FAISS and 0 < dimension <= _MOST_DIMENSIONS:
            self._flat = _empty_flat(dimension, metric)
            self._head, self._rows = _head_of(self._flat, size)
            # Room for all rows at once; the vector of an emptied index keeps what it has taken.
            self._flat.codes.resize(self._rows * self._row_bytes + spare_bytes)
            self._flat.reset()

    @property
    def wanted(self) -> int:
        """How many bytes should be taken next."""
        rows = max(1, _FILE_PIECE // max(1, self._row_bytes))
        return len(self._head) + rows * max(1, self._row_bytes)

    def take(self, piece: bytes) -> None:
        """Take the next bytes, at least one."""
        if self._head:
            if not piece.startswith(self._head):
                self._flat = None
            else:
                piece = piece[len(self._head) :]
            self._head = b""
        self._kept.append(piece)
        if self._flat is not None:
            self._add_rows()

    def _add_rows(self) -> None:
        data = b"".join(self._kept)
        rows = len(data) // self._row_bytes
        if rows:
            self._flat.add(np.frombuffer(data, dtype="<f4", count=rows * self._dimension).reshape(rows, -1))
        self._kept = [data[rows * self._row_bytes :]]

    def index(self) -> FaissIndex:
        """The index in the bytes taken, whose hash was verified before.

        Raises:
            DamagedViewError: not a flat index of this dimension and metric, or FAISS is missing.
        """
        data = b"".join(self._kept)
        if self._flat is None:
            return _parse(data, self._dimension, self._metric)
        if data or self._head or self._flat.ntotal != self._rows:
            raise DamagedViewError("the FAISS file has another length than it says")
        return FaissIndex(self._flat, self._metric)


def _head_of(flat: Any, size: int) -> tuple[bytes, int]:
    """What stands before the rows in a file of `size` bytes that FAISS writes of an index like `flat`, and how many rows.

    The bytes of `flat`, which is empty, with the number of rows behind its kind and dimension, and that of the
    rows' numbers at the end.
    """
    empty: bytes = faiss.serialize_index(flat).tobytes()
    numbers = max(0, size - len(empty)) // 4
    rows = numbers // int(flat.d)
    counts = rows.to_bytes(8, "little"), numbers.to_bytes(8, "little")
    return empty[:_ROWS_AT] + counts[0] + empty[_ROWS_AT + 8 : -8] + counts[1], rows


def _parse(data: bytes, dimension: int, metric: Metric) -> FaissIndex:
    if not HAS_FAISS:
        raise DamagedViewError("the FAISS file cannot be read: faiss is not installed")
    try:
        found = faiss.deserialize_index(np.frombuffer(data, dtype=np.uint8))
    except RuntimeError as error:
        raise DamagedViewError(f"FAISS cannot parse its file: {error}") from error
    wanted = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    if not isinstance(found, faiss.IndexFlat) or found.d != dimension or found.metric_type != wanted:
        raise DamagedViewError("the FAISS file holds an index of another kind, dimension or metric")
    return FaissIndex(found, metric)
