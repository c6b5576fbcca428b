"""FAISS behind the protocol of row indexes, exact ones and those of inverted lists; the one module that imports it.

It is not the vector index: it knows no id and touches no file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from synthians_memory.config import Metric
from synthians_memory.engine.calibration import DEEP, Calibration
from synthians_memory.engine.exact import (
    Bits,
    Matrix,
    NumpyIndex,
    Positions,
    RowIndex,
    bits_of,
    decided,
    nearest_of,
)
from synthians_memory.errors import DamagedViewError
from synthians_memory.models import Vector

try:
    import faiss
except ImportError:  # pragma: no cover - faiss-cpu is a dependency; NumPy serves where it cannot be loaded
    faiss = None

__all__ = [
    "GATHERED",
    "HAS_FAISS",
    "FaissIndex",
    "FlatCodes",
    "InvertedIndex",
    "Quantizer",
    "Training",
    "bytes_of",
    "empty_flat",
    "nearest_rows",
    "new_index",
    "parsed",
]

HAS_FAISS: Final = faiss is not None
# Up to so many allowed rows, gathering them and scanning is faster than a selector, whatever the number of all rows.
GATHERED: Final = 512
_PIECE: Final = 1 << 20
# So many queries at once are compared one by one still, so that each gets the distances that it gets alone.
_QUERIES_AT_ONCE: Final = 16
# Where less than this part of the allowed rows to be expected lies around a query, they are not spread evenly.
_SPREAD: Final = 0.5
# A FAISS direct map says of each row its list, above, and its place in that, below.
_LIST_SHIFT: Final = 32
# Looked for beyond k, so that the oldest of equals are taken.
_TIES: Final = 6


def new_index(dimension: int, metric: Metric) -> RowIndex:
    """An empty exact index: FAISS where it can be loaded, NumPy elsewhere."""
    if not HAS_FAISS:
        return NumpyIndex(dimension, metric)
    return FaissIndex(empty_flat(dimension, metric), metric)


def empty_flat(dimension: int, metric: Metric) -> Any:
    """A flat FAISS index without rows."""
    return faiss.IndexFlatL2(dimension) if metric == "l2" else faiss.IndexFlatIP(dimension)


def _kind_of(metric: Metric) -> Any:
    return faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT


class _Threads:
    """So many OpenMP threads for the calls of this thread, in a `with` block."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._before = 0

    def __enter__(self) -> None:
        self._before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(self._count)

    def __exit__(self, *_: object) -> None:
        faiss.omp_set_num_threads(self._before)


_NOTHING: Final = (np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64))


def _selector(bits: Bits) -> Any:
    """It points into `bits`, which the caller keeps."""
    return faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))


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

    def search(
        self, query: Vector, k: int, allowed: Positions | None = None, living: Bits | None = None
    ) -> tuple[Matrix, Positions]:
        """As `RowIndex.search`; one thread, since a single query gains nothing from more."""
        if allowed is not None and len(allowed) <= GATHERED:
            return nearest_of(self._view()[allowed] if len(self) else self.rows(0, 0), query, k, allowed, self._metric)
        with _Threads(1):
            return self._scanned(query[None, :], k, allowed, living)[0]

    def search_many(
        self, queries: Matrix, k: int, allowed: Positions | None = None, living: Bits | None = None
    ) -> list[tuple[Matrix, Positions]]:
        """As `RowIndex.search_many`."""
        if allowed is not None and len(allowed) <= GATHERED:
            return [self.search(query, k, allowed) for query in queries]
        found: list[tuple[Matrix, Positions]] = []
        with _Threads(1):
            for start in range(0, len(queries), _QUERIES_AT_ONCE):
                found += self._scanned(queries[start : start + _QUERIES_AT_ONCE], k, allowed, living)
        return found

    def products(self, k: int) -> int:
        """As `RowIndex.products`."""
        return int(self._flat.ntotal) * int(self._flat.d)

    def _scanned(
        self, queries: Matrix, k: int, allowed: Positions | None, living: Bits | None
    ) -> list[tuple[Matrix, Positions]]:
        k = min(k, len(self) if allowed is None else len(allowed))
        if k == 0:
            return [_NOTHING] * len(queries)
        bits = living if allowed is None else bits_of(allowed, len(self))
        parameters = None if bits is None else faiss.SearchParameters(sel=_selector(bits))
        distances, positions = self._flat.search(queries, k, params=parameters)
        return [(row[found >= 0], found[found >= 0]) for row, found in zip(distances, positions, strict=True)]

    def keep(self, positions: Positions) -> None:
        """As `RowIndex.keep`."""
        if len(positions) < len(self):
            packed = ~bits_of(positions, len(self))
            self._flat.remove_ids(_selector(packed))

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


class InvertedIndex:
    """`RowIndex` on lists of rows, one around each of trained centroids: a search looks into the lists nearest to it.

    Without a calibration, and wherever the lists to look into would be half of them or more, it looks into all, and is
    exact. Of equally near rows in these lists the oldest are taken.
    """

    def __init__(self, centroids: Matrix, metric: Metric) -> None:
        """Lists without rows; `calibration` is to be set."""
        self.centroids = np.ascontiguousarray(centroids, dtype=np.float32)
        self.calibration: Calibration | None = None
        self.lists, self._dimension = len(self.centroids), int(centroids.shape[1])
        self._metric: Metric = metric
        self._coarse = empty_flat(self._dimension, metric)
        self._coarse.add(self.centroids)
        self._ivf = faiss.IndexIVFFlat(self._coarse, self._dimension, self.lists, _kind_of(metric))
        self._make_ready()
        self._count = 0
        # By number of lists to probe: they take longer to make than some searches do.
        self._parameters: dict[int, Any] = {}

    def _make_ready(self) -> None:
        self._ivf.is_trained = True
        self._ivf.set_direct_map_type(faiss.DirectMap.Array)

    def _hold_codes(self, quantizer: Quantizer) -> None:
        """Hold codes in place of rows from now on; no row was added yet."""
        codes = faiss.ScalarQuantizer.QT_8bit, _kind_of(self._metric), False
        self._ivf = faiss.IndexIVFScalarQuantizer(self._coarse, self._dimension, self.lists, *codes)
        self._ivf.sq.train(quantizer.bounds)
        self._make_ready()

    def __len__(self) -> int:
        return self._count

    def reserve(self, lists: Positions) -> None:
        """Make room for rows that will go into `lists`, so that no list has to grow."""
        for number, count in enumerate(np.bincount(lists, minlength=self.lists).tolist()):
            size = self._ivf.invlists.list_size(number)
            self._ivf.invlists.resize(number, size + count)
            self._ivf.invlists.resize(number, size)

    def lists_around(self, rows: Matrix, count: int) -> Positions:
        """The lists nearest to each of `rows`, nearest first."""
        with _Threads(1):
            found: Positions = self._coarse.search(rows, count)[1]
        return found

    def lists_of(self, rows: Matrix) -> Positions:
        """The list that each of `rows` belongs into."""
        return self.lists_around(rows, 1)[:, 0]

    def lists_at(self, positions: Positions) -> Positions:
        """The list that each row is in."""
        entries: Positions = faiss.rev_swig_ptr(self._ivf.direct_map.array.data(), len(self))
        return entries[positions] >> _LIST_SHIFT

    def add(self, rows: Matrix) -> None:
        """As `RowIndex.add`."""
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        self.add_to(rows, self.lists_of(rows))

    def add_to(self, rows: Matrix, lists: Positions) -> None:
        """`add`, where the lists of the rows are known."""
        with _Threads(1):
            self._ivf.add_core(len(rows), faiss.swig_ptr(rows), None, faiss.swig_ptr(lists))
        self._count += len(rows)

    def rows(self, start: int, stop: int) -> Matrix:
        """As `RowIndex.rows`."""
        return self._gathered(np.arange(start, max(start, min(stop, len(self))), dtype=np.int64))

    def _gathered(self, positions: Positions) -> Matrix:
        if len(positions) == 0:
            return np.empty((0, self._dimension), dtype=np.float32)
        with _Threads(1):
            rows: Matrix = self._ivf.reconstruct_batch(positions)
        return rows

    def products(self, k: int) -> int:
        """As `RowIndex.products`."""
        return (len(self) * self._probes(k) // self.lists + self.lists) * self._dimension

    def search(
        self, query: Vector, k: int, allowed: Positions | None = None, living: Bits | None = None
    ) -> tuple[Matrix, Positions]:
        """As `RowIndex.search`, with the recall that was measured; fewer than `k` only where fewer are allowed."""
        if allowed is not None and len(allowed) <= GATHERED:
            return self._among(query, k, allowed)
        count = len(self) if allowed is None else len(allowed)
        bits = living if allowed is None else bits_of(allowed, len(self))
        probes = self._probes_among(query, k, allowed)
        with _Threads(1):
            found = self._found(query, min(k, count), count, probes, bits)
            if probes < self.lists and (len(found[0]) < k or not self._stays(found, query, count, probes, allowed)):
                found = self._found(query, min(k, count), count, self.lists, bits)
        return found

    def _among(self, query: Vector, k: int, allowed: Positions) -> tuple[Matrix, Positions]:
        """The nearest of a few allowed rows."""
        return nearest_of(self._gathered(allowed), query, k, allowed, self._metric)

    def _stays(
        self, found: tuple[Matrix, Positions], query: Vector, count: int, probes: int, allowed: Positions | None
    ) -> bool:
        """Whether twice the lists find the same; not asked without a filter, where recall was measured."""
        if allowed is None:
            return True
        again = self._found(query, len(found[0]), count, min(self.lists, 2 * probes), bits_of(allowed, len(self)))
        return np.array_equal(found[1], again[1])

    def search_many(
        self, queries: Matrix, k: int, allowed: Positions | None = None, living: Bits | None = None
    ) -> list[tuple[Matrix, Positions]]:
        """As `RowIndex.search_many`."""
        count = len(self) if allowed is None else len(allowed)
        deep = allowed is not None and k * len(self) > count * DEEP
        if count == 0 or (allowed is not None and (count <= GATHERED or not deep)):
            return [self.search(query, k, allowed, living) for query in queries]
        probes = self.lists if deep else self._probes(k)
        bits = living if allowed is None else bits_of(allowed, len(self))
        many = self.probe(queries, min(k + _TIES, count), probes, bits)
        found: list[tuple[Matrix, Positions]] = []
        for query, distances, positions in zip(queries, *many, strict=True):
            best = decided(distances, positions, min(k, count), count, self._metric)
            found.append(self.search(query, k, allowed, living) if best is None or len(best[0]) < k else best)
        return found

    def probe(self, queries: Matrix, k: int, probes: int, living: Bits | None) -> tuple[Matrix, Positions]:
        """Distances and positions of the nearest in so many lists, a row for each query; -1 where there are none."""
        with _Threads(1):
            return self._probed(queries, k, probes, living)

    def _probed(self, queries: Matrix, k: int, probes: int, living: Bits | None) -> tuple[Matrix, Positions]:
        # What FAISS's own wrapper does besides takes as long as some searches.
        distances = np.empty((len(queries), k), dtype=np.float32)
        positions = np.empty((len(queries), k), dtype=np.int64)
        results = faiss.swig_ptr(distances), faiss.swig_ptr(positions), self._parameters_of(probes, living)
        self._ivf.search_c(len(queries), faiss.swig_ptr(queries), k, *results)
        return distances, positions

    def _parameters_of(self, probes: int, living: Bits | None) -> Any:
        if living is not None:
            return faiss.SearchParametersIVF(sel=_selector(living), nprobe=probes)
        if probes not in self._parameters:
            self._parameters[probes] = faiss.SearchParametersIVF(nprobe=probes)
        return self._parameters[probes]

    def _probes(self, depth: float) -> int:
        probes = self.lists if self.calibration is None else self.calibration.probes(depth)
        return self.lists if 2 * probes > self.lists else probes

    def _probes_among(self, query: Vector, k: int, allowed: Positions | None) -> int:
        """Lists to probe for the `k` nearest of the allowed rows.

        The `k` nearest of every second row are found as deep as the 2 `k` nearest of all; but only where every second
        row around the query is allowed. Where they lie elsewhere, or deeper than recall was measured, all are compared.
        """
        if allowed is None:
            return self._probes(k)
        share = len(allowed) / len(self)
        near = self._probes(k / share)
        if k > share * DEEP or near == self.lists:
            return self.lists
        counts = np.bincount(self.lists_at(allowed), minlength=self.lists)
        around = self.lists_around(query[None, :], near)[0]
        rows = sum(self._ivf.invlists.list_size(number) for number in around.tolist())
        share_around = min(share, counts[around].sum() / max(1, rows))
        if share_around < _SPREAD * share or k > share_around * DEEP:
            return self.lists
        return self._probes(k / share_around)

    def _found(self, query: Vector, k: int, count: int, probes: int, bits: Bits | None) -> tuple[Matrix, Positions]:
        if k == 0:
            return _NOTHING
        wanted = min(k + _TIES, count)
        while True:
            distances, positions = self._probed(query[None, :], wanted, probes, bits)
            best = decided(distances[0], positions[0], k, count, self._metric)
            if best is not None:
                return best
            wanted = min(4 * wanted, count)

    def keep(self, positions: Positions) -> None:
        """As `RowIndex.keep`."""
        if len(positions) == len(self):
            return
        moved = np.full(len(self), -1, dtype=np.int64)
        moved[positions] = np.arange(len(positions))
        lists = self._ivf.invlists
        for number in range(self.lists):
            _keep_in_list(lists, number, moved)
        self._ivf.ntotal = self._count = len(positions)
        self._ivf.set_direct_map_type(faiss.DirectMap.NoMap)
        self._ivf.set_direct_map_type(faiss.DirectMap.Array)

    def serialise(self, sink: Callable[[bytes], None]) -> bool:
        """False: files hold rows in the order of their age, as flat indexes do."""
        return False


def _keep_in_list(lists: Any, number: int, moved: Positions) -> None:
    size = lists.list_size(number)
    if size == 0:
        return
    places = moved[faiss.rev_swig_ptr(lists.get_ids(number), size)]
    codes = faiss.rev_swig_ptr(lists.get_codes(number), size * lists.code_size).reshape(size, -1)
    ids, kept = places[places >= 0], codes[places >= 0]
    lists.resize(number, 0)
    lists.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(kept))


class Quantizer:
    """Rows as one byte for each number, between two bounds for each of a row's numbers."""

    def __init__(self, bounds: Matrix) -> None:
        """`bounds`: the least numbers, then the greatest, a row each; what lies beyond becomes the nearest within."""
        self.bounds = np.ascontiguousarray(bounds, dtype=np.float32)
        self._codec = faiss.IndexScalarQuantizer(bounds.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_L2)
        self._codec.train(self.bounds)

    def rendered(self, rows: Matrix) -> Matrix:
        """The rows as their codes have them."""
        with _Threads(1):
            found: Matrix = self._codec.sa_decode(self._codec.sa_encode(np.ascontiguousarray(rows, dtype=np.float32)))
        return found


class FlatCodes:
    """The codes of rows, in the rows' order; changed and searched as a `RowIndex` is."""

    def __init__(self, quantizer: Quantizer, metric: Metric) -> None:
        dimension = quantizer.bounds.shape[1]
        self._flat = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_8bit, _kind_of(metric))
        self._flat.train(quantizer.bounds)

    def reserve(self, rows: int) -> None:
        """Make room for so many rows, before the first is added."""
        self._flat.codes.resize(rows * self._flat.code_size)
        self._flat.reset()

    def add(self, rows: Matrix) -> None:
        """As `RowIndex.add`."""
        with _Threads(1):
            self._flat.add(np.ascontiguousarray(rows, dtype=np.float32))

    def scan(self, query: Vector, k: int, bits: Bits | None) -> tuple[Matrix, Positions]:
        """The `k` rows whose codes are nearest, nearest first, of those chosen by `bits`; -1 where there are fewer."""
        parameters = None if bits is None else faiss.SearchParameters(sel=_selector(bits))
        with _Threads(1):
            distances, positions = self._flat.search(query[None, :], k, params=parameters)
        return distances[0], positions[0]

    def rendered(self, positions: Positions) -> Matrix:
        """The rows at these positions as their codes have them."""
        size = self._flat.code_size
        codes = faiss.rev_swig_ptr(self._flat.codes.data(), self._flat.ntotal * size).reshape(-1, size)[positions]
        with _Threads(1):
            found: Matrix = self._flat.sa_decode(np.ascontiguousarray(codes))
        return found

    def keep(self, positions: Positions) -> None:
        """As `RowIndex.keep`."""
        packed = ~bits_of(positions, self._flat.ntotal)
        self._flat.remove_ids(_selector(packed))


class Training:
    """Centroids found by k-means, one round at a time, on one thread; deterministic."""

    def __init__(self, rows: Matrix, lists: int, metric: Metric) -> None:
        """Nothing done yet; more rows than lists are needed."""
        self._rows = np.ascontiguousarray(rows, dtype=np.float32)
        self._metric: Metric = metric
        self._clustering = faiss.Clustering(rows.shape[1], lists)
        self._clustering.niter = 1
        self._clustering.min_points_per_centroid = 1
        self._clustering.max_points_per_centroid = len(rows)
        self._clustering.spherical = metric != "l2"

    def round(self) -> None:
        """Move the centroids once; it does not hold the interpreter."""
        with _Threads(1):
            self._clustering.train(self._rows, empty_flat(self._rows.shape[1], self._metric))

    def centroids(self) -> Matrix:
        """As they are after the last round."""
        found: Matrix = faiss.vector_to_array(self._clustering.centroids).reshape(-1, self._rows.shape[1])
        return found


def nearest_rows(queries: Matrix, rows: Matrix, k: int, metric: Metric) -> tuple[Matrix, Positions]:
    """Distances and places in `rows` of the `k` nearest to each query, exactly; -1 where there are fewer. One thread."""
    with _Threads(1):
        distances, places = faiss.knn(queries, rows, k, metric=_kind_of(metric))
    return distances, places


def bytes_of(flat: Any) -> bytes:
    """The file that FAISS writes of a flat index."""
    found: bytes = faiss.serialize_index(flat).tobytes()
    return found


def parsed(data: bytes, dimension: int, metric: Metric) -> FaissIndex:
    """The flat index in the bytes of a FAISS file whose hash was verified; DamagedViewError where it is none."""
    if not HAS_FAISS:
        raise DamagedViewError("the FAISS file cannot be read: faiss is not installed")
    try:
        found = faiss.deserialize_index(np.frombuffer(data, dtype=np.uint8))
    except RuntimeError as error:
        raise DamagedViewError(f"FAISS cannot parse its file: {error}") from error
    if not isinstance(found, faiss.IndexFlat) or found.d != dimension or found.metric_type != _kind_of(metric):
        raise DamagedViewError("the FAISS file holds an index of another kind, dimension or metric")
    return FaissIndex(found, metric)
