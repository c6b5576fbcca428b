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

__all__ = ["HAS_FAISS", "FaissIndex", "new_index", "parse_index"]

HAS_FAISS: Final = faiss is not None
# Below this share of allowed rows, gathering them and scanning is faster than a selector.
_GATHER_SHARE: Final = 0.25
_PIECE: Final = 1 << 20


def new_index(dimension: int, metric: Metric) -> RowIndex:
    """An empty exact index: FAISS where it can be loaded, NumPy elsewhere."""
    if not HAS_FAISS:
        return NumpyIndex(dimension, metric)
    flat = faiss.IndexFlatL2(dimension) if metric == "l2" else faiss.IndexFlatIP(dimension)
    return FaissIndex(flat, metric)


def parse_index(data: bytes, dimension: int, metric: Metric) -> FaissIndex:
    """The index in the bytes of a FAISS file whose hash was verified before.

    Raises:
        DamagedViewError: not a flat index of this dimension and metric, or FAISS is missing.
    """
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
        if allowed is not None and len(allowed) <= len(self) * _GATHER_SHARE:
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
