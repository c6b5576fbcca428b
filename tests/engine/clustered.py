"""Vectors drawn around centres, and the share of the nearest that a search finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from synthians_memory.config import Metric
from synthians_memory.engine.exact import NumpyIndex, prepare

Rows = npt.NDArray[np.float32]
Hits = list[tuple[str, float]]


def drawn(count: int, dimension: int, *, seed: int, centres: int = 100, spread: float = 0.4) -> Rows:
    """The same centres whatever the seed."""
    rng = np.random.default_rng((seed, count))
    around = np.random.default_rng(7).standard_normal((centres, dimension), dtype=np.float32)
    noise = rng.standard_normal((count, dimension), dtype=np.float32)
    return around[rng.integers(centres, size=count)] + np.float32(spread) * noise


def exact_scores(rows: Rows, queries: Rows, metric: Metric, k: int) -> list[float]:
    """The raw distance of the k-th nearest of `rows` to each query."""
    index = NumpyIndex(rows.shape[1], metric)
    index.add(prepare(rows, metric))
    return [float(index.search(query, k)[0][-1]) for query in prepare(queries, metric)]


def recall(held: dict[str, Rows], queries: Rows, metric: Metric, search: Callable[[Rows], Hits], k: int = 10) -> float:
    """Recall@k, by nearness: what is as near as the k-th nearest is as good."""
    rows = np.array(list(held.values()))
    limits = exact_scores(rows, queries, metric, min(k, len(rows)))
    shares = []
    for query, limit in zip(queries, limits, strict=True):
        hits = search(query)
        assert len({i for i, _ in hits}) == len(hits)
        assert {i for i, _ in hits} <= held.keys()
        shares.append(sum(_is_near(score, limit, metric) for _, score in hits) / min(k, len(rows)))
    return float(np.mean(shares))


def _is_near(score: float, limit: float, metric: Metric) -> bool:
    if metric == "l2":
        return 1 / score - 1 <= limit * (1 + 1e-4) + 1e-4
    return score >= limit - 1e-4 * max(1.0, abs(limit))


def named(rows: Rows, prefix: str = "v") -> dict[str, Rows]:
    return {f"{prefix}{number:06d}": row for number, row in enumerate(rows)}


def only(held: dict[str, Rows], ids: Sequence[str]) -> dict[str, Rows]:
    return {i: held[i] for i in ids}
