"""A search among some rows gives what a scan of those rows alone gives, whichever way it goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from synthians_memory.config import Metric
from synthians_memory.engine.coded_index import CodedIndex
from synthians_memory.engine.exact import NumpyIndex, RowIndex, prepare
from synthians_memory.engine.exact_rows import ExactRows
from synthians_memory.engine.faiss_index import HAS_FAISS, new_index

ROWS, DIMENSION = 3_000, 12
SEED = 5


def rows(metric: Metric) -> Any:
    """Some of them equal, so that there are ties."""
    drawn = np.random.default_rng(SEED).standard_normal((ROWS, DIMENSION)).astype("<f4")
    drawn[1_000:1_050] = drawn[:50]
    return prepare(drawn, metric)


@pytest.mark.skipif(not HAS_FAISS, reason="there is nothing to compare with where FAISS is missing")
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 511, 512, 513, 1_500, ROWS])
@pytest.mark.parametrize("coded", [False, True], ids=["float32", "8-bit"])
def test_the_nearest_of_the_allowed_rows_are_found(metric: Metric, count: int, coded: bool) -> None:
    data = rows(metric)
    index: RowIndex = new_index(DIMENSION, metric)
    oracle = NumpyIndex(DIMENSION, metric)
    if coded:
        index = CodedIndex(DIMENSION, metric, ExactRows(DIMENSION, None))
    index.add(data)
    oracle.add(data)
    allowed = np.sort(np.random.default_rng(count).choice(ROWS, count, replace=False)).astype(np.int64)
    for query in data[[0, 7, 1_003, 2_999]]:
        distances, positions = index.search(query, 10, allowed)
        expected, nearest = oracle.search(query, 10, allowed)
        assert len(positions) == min(10, count)
        assert set(positions) <= set(allowed)
        assert np.allclose(distances, expected, atol=1e-5)
        clear = np.abs(expected - expected[-1]) > 1e-4 if count else np.zeros(0, dtype=bool)
        assert set(nearest[clear]) <= set(positions)
