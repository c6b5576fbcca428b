"""How far codes are from their rows, and the search among codes that misses none of the nearest rows.

It is not an index: it scans nothing itself, and keeps no rows but those that codes render badly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from synthians_memory.config import Metric
from synthians_memory.engine.exact import Bits, Matrix, Positions
from synthians_memory.engine.exact_rows import ExactRows
from synthians_memory.engine.faiss_index import Quantizer, nearest_rows
from synthians_memory.models import Vector

__all__ = ["Bounds", "Coding", "Scan", "ranked"]

# How many rows -> raw distances and positions of the rows whose codes are nearest, nearest first; -1 behind the last one.
Scan = Callable[[int], tuple[Matrix, Positions]]

# Numbers farther from the mean than so many standard deviations do not make the others' steps coarser.
_DEVIATIONS: Final = 6.0
# Room beyond the numbers seen, as a part of their range on each side, for those to come.
_MARGIN: Final = 0.125
_LEAST_WIDTH: Final = 1e-3
# A row between the bounds is at most half a step away in each number; one that is farther than this times as much is a stray.
_STRAY: Final = 1.5
_STEPS: Final = 255
_FEWEST_AHEAD: Final = 16
_MOST_AHEAD: Final = 1024
_FORGETTING: Final = 0.98
_WIDER: Final = 4
# Of a float32 operation, and of the way from a code to its numbers.
_ROUNDING: Final = 6e-8
_SLACK: Final = 1e-6


class Bounds:
    """Between which numbers rows lie, learnt from some of them, a piece at a time."""

    def __init__(self, dimension: int) -> None:
        self._count = 0
        self._least = np.full(dimension, np.inf)
        self._greatest = np.full(dimension, -np.inf)
        self._sum, self._squares = np.zeros(dimension), np.zeros(dimension)

    def take(self, rows: Matrix) -> None:
        """Learn from these rows as well; not from zeros, which stand for rows of nobody."""
        rows = rows[rows.any(axis=1)]
        if len(rows):
            self._count += len(rows)
            self._least = np.minimum(self._least, rows.min(axis=0))
            self._greatest = np.maximum(self._greatest, rows.max(axis=0))
            self._sum += rows.sum(axis=0, dtype=np.float64)
            self._squares += np.einsum("ij,ij->j", rows, rows, dtype=np.float64)

    def quantizer(self) -> Quantizer:
        """For rows like those seen."""
        if not self._count:
            return Quantizer(np.stack([np.zeros_like(self._sum), np.ones_like(self._sum)]).astype(np.float32))
        mean = self._sum / self._count
        deviation = np.sqrt(np.maximum(0, self._squares / self._count - mean**2))
        low = np.maximum(self._least, mean - _DEVIATIONS * deviation)
        high = np.minimum(self._greatest, mean + _DEVIATIONS * deviation)
        width = np.maximum(high - low, 0)
        room = _MARGIN * width + max(_LEAST_WIDTH * float(width.max()), float(np.finfo(np.float32).tiny))
        return Quantizer(np.stack([low - room, high + room]).astype(np.float32))


def ranked(rows: Matrix, positions: Positions, query: Vector, k: int, metric: Metric) -> tuple[Matrix, Positions]:
    """Raw distances and positions of the `k` nearest of these rows, nearest first, the lower position first on a tie."""
    if len(rows) == 0:
        return np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
    distances, places = nearest_rows(query[None, :], np.ascontiguousarray(rows), len(rows), metric)
    found, theirs = distances[0], positions[places[0]]
    order = np.lexsort((theirs, found if metric == "l2" else -found))[:k]
    return found[order], theirs[order]


class Coding:
    """What makes a search among codes give what a search among their rows gives.

    The invariant: no row is farther from what its code renders than `error`, but for strays, which are kept as they are and
    compared with every query. By the triangle inequality a row whose code is farther from a query than the k-th nearest of
    any k rows by more than that is none of the nearest; all others are read and compared exactly.

    Attributes:
        quantizer: what the codes were made with.
        exact: the rows.
    """

    def __init__(self, quantizer: Quantizer, exact: ExactRows, metric: Metric) -> None:
        self.quantizer = quantizer
        self.exact = exact
        self._metric: Metric = metric
        low, high = quantizer.bounds.astype(np.float64)
        self._limit = _STRAY * float(np.linalg.norm((high - low) / _STEPS / 2))
        self._error = self._longest = 0.0
        self._strays = np.empty(0, dtype=np.int64)
        self._stray_rows = np.empty((0, quantizer.bounds.shape[1]), dtype=np.float32)
        # How many more than k are scanned for at first; it follows what the last searches needed.
        self._ahead = 2 * _FEWEST_AHEAD

    @property
    def strays(self) -> int:
        """How many rows are kept as they are."""
        return len(self._strays)

    def note(self, rows: Matrix, start: int) -> None:
        """Take note of rows that are coded at the positions from `start`."""
        if len(rows) == 0:
            return
        errors = np.linalg.norm(rows - self.quantizer.rendered(rows), axis=1)
        # Written so that what is no number is a stray as well.
        fair = errors <= self._limit
        self._error = max(self._error, float(errors[fair].max(initial=0.0)))
        self._longest = max(self._longest, float(np.linalg.norm(rows[fair], axis=1).max(initial=0.0)))
        if not fair.all():
            self._strays = np.append(self._strays, np.flatnonzero(~fair) + start)
            self._stray_rows = np.concatenate([self._stray_rows, rows[~fair]])

    def keep(self, positions: Positions) -> None:
        """As `RowIndex.keep`."""
        if len(self._strays):
            kept = np.isin(self._strays, positions)
            self._strays = np.searchsorted(positions, self._strays[kept]).astype(np.int64)
            self._stray_rows = self._stray_rows[kept]

    def nearest(self, query: Vector, k: int, most: int, scan: Scan, chosen: Bits | None) -> tuple[Matrix, Positions]:
        """The `k` nearest of the rows that `scan` chooses from, exactly, distances included.

        Args:
            query: prepared like the rows.
            k: at least 1.
            most: how many rows `scan` may find.
            scan: among their codes.
            chosen: the rows to choose from, as bits; None for all. Strays are found wherever `scan` looks.

        Returns:
            Fewer than `k` where `scan` finds fewer.
        """
        wanted = min(most, k + self._ahead)
        while True:
            distances, positions = scan(wanted)
            positions = positions[: np.count_nonzero(positions >= 0)]
            first = self.exact.at(positions[:k])
            needed = self._needed(distances[: len(positions)], first, query, k)
            if needed < len(positions) or len(positions) < wanted or wanted == most:
                break
            wanted = min(most, _WIDER * wanted)
        self._ahead = min(_MOST_AHEAD, max(_FEWEST_AHEAD, needed - k + 1, int(self._ahead * _FORGETTING)))
        rows, theirs = [first, self.exact.at(positions[k:needed])], [positions[:needed]]
        if len(self._strays) and len(positions) >= k:
            others = self._others(theirs[0], chosen)
            rows.append(self._stray_rows[others])
            theirs.append(self._strays[others])
        return ranked(np.concatenate(rows), np.concatenate(theirs), query, k, self._metric)

    def _others(self, known: Positions, chosen: Bits | None) -> Positions:
        """Which strays may be found and are not known yet."""
        free = ~np.isin(self._strays, known)
        if chosen is not None:
            free &= (chosen[self._strays >> 3] >> (self._strays & 7) & 1).astype(bool)
        return np.flatnonzero(free)

    def _needed(self, distances: Matrix, first: Matrix, query: Vector, k: int) -> int:
        """How many of the rows, in the order of their codes, may be among the `k` nearest; `first` are the first of them."""
        if len(first) < k:
            return len(distances)
        exact = nearest_rows(query[None, :], first, k, self._metric)[0][0]
        limit = self._limit_for(float(exact[-1]), query)
        keys = distances if self._metric == "l2" else -distances
        return max(k, int(np.searchsorted(keys, limit if self._metric == "l2" else -limit, side="right")))

    def _limit_for(self, worst: float, query: Vector) -> float:
        """How far the code of a row may be that is as near as `worst`; rounding is on the side of more rows."""
        dimension, length = len(query), math.sqrt(float(query.astype(np.float64) @ query.astype(np.float64)))
        error = self._error * (1 + _SLACK) + _SLACK * self._longest
        rounding = 4 * dimension * _ROUNDING
        if self._metric == "l2":
            return (math.sqrt(max(0.0, worst) * (1 + rounding)) + error) ** 2 * (1 + rounding)
        return worst - length * (error + rounding * (self._longest + error))
