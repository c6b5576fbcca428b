"""The floor of approximate searches: a bare FAISS IVF index of as many lists as this store has, and as few probes as do.

It saves and loads as the floor does.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from benchmarks.contenders import floor
from benchmarks.records import DIMENSION

RECALL = 0.99
SAMPLE = 256
K = 10


class Store(floor.Store):
    note = "its index is trained by FAISS on one thread; recall@10 is measured on rows of its own"

    def __init__(self, folder: Any, settings: dict[str, Any]) -> None:
        super().__init__(folder, settings)
        self._flat: Any = None

    def _build_index(self) -> None:
        super()._build_index()
        self._flat = self._index

    async def start_index(self) -> None:
        lists = max(1, int(2 * self._flat.ntotal**0.5))
        coarse = faiss.IndexFlatIP(DIMENSION)
        self._index = faiss.IndexIVFFlat(coarse, DIMENSION, lists, faiss.METRIC_INNER_PRODUCT)
        # It points to the other, which would be collected.
        self._coarse = coarse
        self._index.cp.min_points_per_centroid = 1
        self._index.cp.max_points_per_centroid = 40
        rows = self._flat.reconstruct_n(0, self._flat.ntotal)
        self._index.train(rows)
        self._index.add(rows)
        own = np.random.default_rng(3).permutation(len(rows))[:SAMPLE]
        _, exact = self._flat.search(rows[own], K + 1)
        while self._recall(rows[own], exact) < RECALL and self._index.nprobe < lists:
            self._index.nprobe += 1

    def _parameters(self, topic: str | None) -> Any:
        selector = None if topic is None else self._selectors[topic]
        return faiss.SearchParametersIVF(sel=selector, nprobe=self._index.nprobe)

    def _recall(self, rows: Any, exact: Any) -> float:
        """Of the other rows: each finds itself."""
        _, found = self._index.search(rows, K + 1)
        return float(
            np.mean([(len(set(a) & set(b)) - 1) / K for a, b in zip(found.tolist(), exact.tolist(), strict=True)])
        )
