"""Row indexes that keep codes of rows in memory and the rows themselves on disk.

They are not approximate: each finds what its counterpart with rows in memory finds, which is in all rows, or in the same lists.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from synthians_memory.config import Metric
from synthians_memory.engine.coding import Bounds, Coding, ranked
from synthians_memory.engine.exact import Bits, Matrix, Positions, RowIndex, bits_of
from synthians_memory.engine.exact_rows import ExactRows, NotAtHandError
from synthians_memory.engine.faiss_index import GATHERED, FlatCodes, InvertedIndex, nearest_rows
from synthians_memory.errors import DamagedViewError
from synthians_memory.models import Vector

__all__ = ["CodedIndex", "CodedLists", "exact_rows_of", "lists_like", "rows_to_file"]

# Fewer rows are compared as they are: they take less memory than codes save.
_FEW: Final = 1024
# Bounds are learnt anew at each doubling up to so many rows; with more of them new rows change little.
_LEARNT: Final = 16_384
_PIECE: Final = 1024
_NOTHING: Final = (np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64))


class CodedIndex:
    """`RowIndex` on codes that are all looked into; exact.

    Attributes:
        exact: its rows.
    """

    def __init__(self, dimension: int, metric: Metric, exact: ExactRows) -> None:
        """Args:
        dimension: of each row.
        metric: of the rows.
        exact: rows that it begins with, and further ones go to.

        Raises:
            DamagedViewError: they cannot be read.
        """
        self.exact = exact
        self._dimension = dimension
        self._metric: Metric = metric
        self._codes: FlatCodes | None = None
        self._coding: Coding | None = None
        self._learnt = 0
        if len(exact) >= _FEW:
            self._encode()

    def __len__(self) -> int:
        return len(self.exact)

    @property
    def encoded(self) -> bool:
        """Whether there are codes; without them, few rows are compared in memory."""
        return self._codes is not None

    def add(self, rows: Matrix) -> None:
        """As `RowIndex.add`."""
        start = len(self)
        self.exact.append(rows)
        if len(self) >= max(_FEW, 2 * self._learnt) and self._learnt < _LEARNT and self._encoded():
            return
        if self._codes is not None and self._coding is not None:
            self._codes.add(rows)
            self._coding.note(rows, start)

    def _encoded(self) -> bool:
        """Whether all rows have new codes; the old ones do as long as rows cannot be read, or not now."""
        try:
            self._encode()
        except (DamagedViewError, NotAtHandError):
            return False
        return True

    def _encode(self) -> None:
        bounds = Bounds(self._dimension)
        for start in range(0, len(self), _PIECE):
            bounds.take(self.exact.rows(start, start + _PIECE))
        coding = Coding(bounds.quantizer(), self.exact, self._metric)
        codes = FlatCodes(coding.quantizer, self._metric)
        codes.reserve(len(self))
        for start in range(0, len(self), _PIECE):
            rows = self.exact.rows(start, start + _PIECE)
            codes.add(rows)
            coding.note(rows, start)
        self._codes, self._coding, self._learnt = codes, coding, len(self)

    def rows(self, start: int, stop: int) -> Matrix:
        """As `RowIndex.rows`; raises DamagedViewError."""
        return self.exact.rows(start, stop)

    def search(
        self, query: Vector, k: int, allowed: Positions | None = None, living: Bits | None = None
    ) -> tuple[Matrix, Positions]:
        """As `RowIndex.search`; raises DamagedViewError."""
        most = len(self) if allowed is None else len(allowed)
        if most == 0:
            return _NOTHING
        if self._codes is None or self._coding is None:
            positions = _positions(len(self), allowed, living)
            return ranked(self.exact.at(positions), positions, query, k, self._metric)
        if allowed is not None and most <= GATHERED:
            rendered = self._codes.rendered(allowed)
            return among(self._coding, rendered, query, k, allowed, len(self), self._metric)
        bits = living if allowed is None else bits_of(allowed, len(self))
        codes = self._codes
        return self._coding.nearest(query, min(k, most), most, lambda wanted: codes.scan(query, wanted, bits), bits)

    def search_many(
        self, queries: Matrix, k: int, allowed: Positions | None = None, living: Bits | None = None
    ) -> list[tuple[Matrix, Positions]]:
        """As `RowIndex.search_many`."""
        return [self.search(query, k, allowed, living) for query in queries]

    def products(self, k: int) -> int:
        """As `RowIndex.products`."""
        return len(self) * self._dimension

    def keep(self, positions: Positions) -> None:
        """As `RowIndex.keep`."""
        if len(positions) == len(self):
            return
        if self._codes is not None and self._coding is not None:
            self._codes.keep(positions)
            self._coding.keep(positions)
        self.exact.keep(positions)

    def serialise(self, sink: Callable[[bytes], None]) -> bool:
        """False: files hold the exact rows."""
        return False


class CodedLists(InvertedIndex):
    """`InvertedIndex` on codes: finds what that finds in the same lists.

    Attributes:
        exact: its rows, which whoever answered before it goes on to fill until `serving`.
        serving: whether rows that are added go to `exact` as well.
    """

    def __init__(self, centroids: Matrix, metric: Metric, exact: ExactRows) -> None:
        """Lists without rows; `learn` comes before the first."""
        super().__init__(centroids, metric)
        self.exact = exact
        self.serving = False
        self._coding: Coding | None = None

    def learn(self, bounds: Bounds) -> None:
        """Make codes for rows between these bounds."""
        self._coding = Coding(bounds.quantizer(), self.exact, self._metric)
        self._hold_codes(self._coding.quantizer)

    def add_to(self, rows: Matrix, lists: Positions) -> None:
        """As `InvertedIndex.add_to`."""
        start = len(self)
        if self.serving:
            self.exact.append(rows)
        super().add_to(rows, lists)
        self._learnt().note(rows, start)

    def _learnt(self) -> Coding:
        if self._coding is None:
            raise RuntimeError("the bounds of the rows are not learnt yet")
        return self._coding

    def rows(self, start: int, stop: int) -> Matrix:
        """As `RowIndex.rows`; raises DamagedViewError."""
        return self.exact.rows(start, min(stop, len(self)))

    def probe(self, queries: Matrix, k: int, probes: int, living: Bits | None) -> tuple[Matrix, Positions]:
        """As `InvertedIndex.probe`; raises DamagedViewError."""
        distances = np.zeros((len(queries), k), dtype=np.float32)
        positions = np.full((len(queries), k), -1, dtype=np.int64)
        for number, query in enumerate(queries):
            found = self._found(query, min(k, len(self)), len(self), probes, living)
            distances[number, : len(found[0])], positions[number, : len(found[1])] = found
        return distances, positions

    def _among(self, query: Vector, k: int, allowed: Positions) -> tuple[Matrix, Positions]:
        if len(allowed) == 0:
            return _NOTHING
        return among(self._learnt(), self._gathered(allowed), query, k, allowed, len(self), self._metric)

    def _found(self, query: Vector, k: int, count: int, probes: int, bits: Bits | None) -> tuple[Matrix, Positions]:
        if k == 0:
            return _NOTHING

        def scan(wanted: int) -> tuple[Matrix, Positions]:
            distances, positions = self._probed(query[None, :], wanted, probes, bits)
            return distances[0], positions[0]

        return self._learnt().nearest(query, k, count, scan, bits)

    def keep(self, positions: Positions) -> None:
        """As `RowIndex.keep`."""
        if len(positions) < len(self):
            super().keep(positions)
            self._learnt().keep(positions)
            if self.serving:
                self.exact.keep(positions)


def among(
    coding: Coding, rendered: Matrix, query: Vector, k: int, allowed: Positions, count: int, metric: Metric
) -> tuple[Matrix, Positions]:
    """The nearest of the rows at `allowed`, of `count`, whose codes are `rendered`; exactly."""
    distances, places = nearest_rows(query[None, :], rendered, len(allowed), metric)
    near = distances[0], allowed[places[0]]
    most = len(allowed)
    return coding.nearest(
        query, min(k, most), most, lambda wanted: (near[0][:wanted], near[1][:wanted]), bits_of(allowed, count)
    )


def _positions(count: int, allowed: Positions | None, living: Bits | None) -> Positions:
    if allowed is not None:
        return allowed
    if living is not None:
        return np.flatnonzero(np.unpackbits(living, count=count, bitorder="little"))
    return np.arange(count, dtype=np.int64)


def exact_rows_of(index: RowIndex) -> ExactRows | None:
    """The rows behind codes; None where the index holds no codes."""
    return index.exact if isinstance(index, CodedIndex | CodedLists) else None


def rows_to_file(index: RowIndex) -> ExactRows | None:
    """The rows that need not be in memory, because codes stand for them; None where there are none."""
    if isinstance(index, CodedIndex):
        return index.exact if index.encoded else None
    return index.exact if isinstance(index, CodedLists) and index.serving else None


def lists_like(index: RowIndex, centroids: Matrix, metric: Metric) -> InvertedIndex:
    """Lists that are to take the place of `index`, which hold codes where that does; without rows."""
    exact = exact_rows_of(index)
    return InvertedIndex(centroids, metric) if exact is None else CodedLists(centroids, metric, exact)
