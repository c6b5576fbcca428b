"""How many lists a search has to look into: measured, by comparing what it finds with what an exact search finds.

It is not an index and trains nothing. Recall@k is the share of the k nearest rows that are found, mean over the queries.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np

from synthians_memory.config import Metric
from synthians_memory.engine.exact import Bits, Matrix, Positions

__all__ = ["DEEP", "SHALLOW", "Calibration", "Probing", "Sample", "calibrated"]

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


class Probing(Protocol):
    """An index of lists, as it is measured."""

    @property
    def lists(self) -> int:
        """How many lists there are."""

    def probe(self, queries: Matrix, k: int, probes: int, living: Bits | None) -> tuple[Matrix, Positions]:
        """Distances and positions of the nearest in so many lists, a row for each query; -1 where there are none."""


class Sample:
    """Rows taken as queries, and the nearest other rows to each: found exactly, a piece of all rows at a time."""

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
        self._positions = np.full((len(queries), DEEP), -1, dtype=np.int64)

    @property
    def wanted(self) -> int:
        """How many nearest rows of a piece `take` needs for each query: itself may be among them."""
        return DEEP + 1

    def take(self, distances: Matrix, positions: Positions) -> None:
        """The nearest rows of one piece to each query; position -1 where the piece has fewer."""
        none = (positions == self.own[:, None]) | (positions < 0)
        keys = np.hstack([self._keys, np.where(none, np.float32(np.inf), self._sign * distances)])
        places = np.hstack([self._positions, np.where(none, -1, positions)])
        best = np.argsort(keys, axis=1, kind="stable")[:, :DEEP]
        self._keys = np.take_along_axis(keys, best, axis=1)
        self._positions = np.take_along_axis(places, best, axis=1)

    def recalls(self, distances: Matrix, positions: Positions, k: int) -> Matrix:
        """Of each query the share of its `k` nearest that were found; a row as near as the k-th counts for it."""
        right = self._positions[:, :k]
        # Where fewer than k others exist, all of them are wanted.
        sizes = np.maximum(1, (right >= 0).sum(axis=1))
        last = np.take_along_axis(self._keys, sizes[:, None] - 1, axis=1)
        near = self._sign * distances <= last + _ROUNDING * np.maximum(1, np.abs(last))
        valid = (positions >= 0) & (positions != self.own[:, None])
        found: Matrix = np.minimum(1, (near & valid).sum(axis=1) / sizes).astype(np.float32)
        return found


def calibrated(index: Probing, sample: Sample, target: float, living: Bits | None) -> Calibration | None:
    """The fewest lists with which recall is `target`, also at the lower end of what the sample leaves open.

    None where half of all lists are not enough: then there is little to gain over looking into every row.
    """
    shallow = _fewest(index, sample, SHALLOW, 1, target, living)
    if shallow is None:
        return None
    deep = _fewest(index, sample, DEEP, shallow[0], target, living)
    return Calibration(shallow[0], deep[0] if deep else index.lists, shallow[1])


def _fewest(
    index: Probing, sample: Sample, k: int, least: int, target: float, living: Bits | None
) -> tuple[int, float] | None:
    for probes in _STEPS:
        if probes < least:
            continue
        if probes * 2 > index.lists:
            break
        # One more, for the query itself.
        recalls = sample.recalls(*index.probe(sample.queries, k + 1, probes, living), k)
        mean = float(recalls.mean())
        if mean - _CERTAINTY * float(recalls.std()) / np.sqrt(len(recalls)) >= target:
            return probes, mean
    return None
