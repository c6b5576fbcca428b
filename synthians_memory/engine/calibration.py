"""How many lists a search has to look into: measured, by comparing what it finds with what an exact search finds.

It is not an index and trains nothing. Recall@k is the share of the k nearest rows that are found, mean over the queries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from synthians_memory.config import Metric
from synthians_memory.engine.exact import Matrix, Positions

__all__ = ["DEEP", "SHALLOW", "Calibration", "Recalls", "Sample", "calibrated"]

# The two depths of search at which recall is measured.
SHALLOW: Final = 10
DEEP: Final = 100
_STEPS: Final = (*range(1, 8), *(eighths << power for power in range(10) for eighths in (8, 10, 12, 14)))
# One-sided 99 % of a normal distribution.
_CERTAINTY: Final = 2.33
# Two ways of computing one distance differ by less.
_ROUNDING: Final = 1e-5


class Calibration(NamedTuple):
    """How many lists to probe, as it was measured.

    Attributes:
        shallow: lists to probe for the 10 nearest.
        deep: for the 100 nearest.
        recall: recall@10 that was measured with `shallow`.
    """

    shallow: int
    deep: int
    recall: float

    def doubled(self) -> Calibration:
        """Twice the lists, until it is known how many are enough."""
        return self._replace(shallow=2 * self.shallow, deep=2 * self.deep)

    def probes(self, depth: float) -> int:
        """Lists to probe for the `depth` nearest: between the measured two on a logarithmic scale, beyond in proportion."""
        if depth <= SHALLOW:
            return self.shallow
        if depth >= DEEP:
            return int(np.ceil(self.deep * depth / DEEP))
        part = np.log(depth / SHALLOW) / np.log(DEEP / SHALLOW)
        return int(np.ceil(self.shallow * (self.deep / self.shallow) ** part))


# (k, lists to probe) -> recall@k of each query of a sample.
Recalls = Callable[[int, int], Matrix]


class Sample:
    """Rows taken as queries, and the nearest other rows to each: found exactly, a piece of all rows at a time.

    Attributes:
        queries: the rows.
        nearest: positions of the nearest others to each, nearest first; -1 where there are no more.
    """

    def __init__(self, queries: Matrix, own: Positions, metric: Metric) -> None:
        """Nothing compared yet.

        Args:
            queries: some of the rows, as they are indexed.
            own: where these rows are; none is counted among its own nearest.
            metric: of the rows.
        """
        self.queries = queries
        self.own = own
        self._sign = np.float32(1 if metric == "l2" else -1)
        self._keys = np.full((len(queries), DEEP), np.inf, dtype=np.float32)
        self.nearest = np.full((len(queries), DEEP), -1, dtype=np.int64)

    @property
    def wanted(self) -> int:
        """How many nearest rows of a piece `take` needs for each query: itself may be among them."""
        return DEEP + 1

    def take(self, distances: Matrix, positions: Positions) -> None:
        """The nearest rows of one piece to each query; position -1 where the piece has fewer."""
        none = (positions == self.own[:, None]) | (positions < 0)
        keys = np.hstack([self._keys, np.where(none, np.float32(np.inf), self._sign * distances)])
        places = np.hstack([self.nearest, np.where(none, -1, positions)])
        best = np.argsort(keys, axis=1, kind="stable")[:, :DEEP]
        self._keys = np.take_along_axis(keys, best, axis=1)
        self.nearest = np.take_along_axis(places, best, axis=1)

    def recalls(self, distances: Matrix, positions: Positions, k: int) -> Matrix:
        """Of each query the share of its `k` nearest that were found; a row as near as the k-th counts for it."""
        right = self.nearest[:, :k]
        # Where fewer than k others exist, all of them are wanted.
        sizes = np.maximum(1, (right >= 0).sum(axis=1))
        last = np.take_along_axis(self._keys, sizes[:, None] - 1, axis=1)
        near = self._sign * distances <= last + _ROUNDING * np.maximum(1, np.abs(last))
        valid = (positions >= 0) & (positions != self.own[:, None])
        found: Matrix = np.minimum(1, (near & valid).sum(axis=1) / sizes).astype(np.float32)
        return found

    def recalls_in(self, lists: Positions, probed: Positions, k: int) -> Matrix:
        """The same where everything in a list that is looked into is found.

        Args:
            lists: in which each of `nearest` is; -1 where there is none.
            probed: which are looked into, a row for each query.
            k: at most as many as `nearest` has for each query.
        """
        right = lists[:, :k]
        inside = np.zeros(right.shape, dtype=bool)
        for number, row in enumerate(probed):
            inside[number] = np.isin(right[number], row)
        valid = right >= 0
        found: Matrix = ((inside & valid).sum(axis=1) / np.maximum(1, valid.sum(axis=1))).astype(np.float32)
        return found


def calibrated(recalls: Recalls, lists: int, target: float) -> Calibration | None:
    """The fewest of so many lists with which recall is `target`, also at the lower end of what the sample leaves open.

    None where half of all lists are not enough: then there is little to gain over looking into every row.
    """
    shallow = _fewest(recalls, lists, SHALLOW, 1, target)
    if shallow is None:
        return None
    deep = _fewest(recalls, lists, DEEP, shallow[0], target)
    return Calibration(shallow[0], deep[0] if deep else lists, shallow[1])


def _fewest(recalls: Recalls, lists: int, k: int, least: int, target: float) -> tuple[int, float] | None:
    for probes in _STEPS:
        if probes < least:
            continue
        if probes * 2 > lists:
            break
        found = recalls(k, probes)
        mean = float(found.mean())
        if mean - _CERTAINTY * float(found.std()) / np.sqrt(len(found)) >= target:
            return probes, mean
    return None
