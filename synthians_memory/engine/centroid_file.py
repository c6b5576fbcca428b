"""centroids.bin: what was trained for the vector index, so that an open need not train again.

It is not the place where anything is trained, and says nothing of which row is in which list: that follows from the
row. Centroids that fit no more cost speed at most, since how many lists to probe is measured anew with whatever they are.

    file   := header line | centroids | digest
    header := JSON {file, version, store_id, dimension, metric, kinds: {name: {lists, rows, probes}}} and a line feed
    centroids := float32 rows, those of the memories, then those of the assemblies
    digest := SHA-256 of everything before it, 32 bytes
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from synthians_memory.config import Metric
from synthians_memory.engine.documents import read_file, write_whole
from synthians_memory.engine.exact import Matrix
from synthians_memory.layout import CENTROIDS, FORMAT_VERSION, Kind
from synthians_memory.storage.backend import Backend

__all__ = ["CentroidFile", "Trained"]

_KINDS: Final[tuple[Kind, ...]] = ("memory", "assembly")
_DIGEST_BYTES: Final = 32


class Trained(NamedTuple):
    """What was trained for one kind of entity.

    Attributes:
        centroids: one row for each list.
        rows: how many rows there were.
        probes: how many lists had to be looked into for the ten nearest.
    """

    centroids: Matrix
    rows: int
    probes: int


class CentroidFile:
    """The file of one store."""

    def __init__(self, backend: Backend, store_id: str, metric: Metric) -> None:
        self._backend = backend
        self._store_id = store_id
        self._metric = metric

    def read(self, dimension: int) -> dict[Kind, Trained]:
        """What it holds; nothing where it is missing, damaged, or of another store, dimension or metric.

        Raises:
            DiskError: it cannot be read.
        """
        data = read_file(self._backend, CENTROIDS) or b""
        body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != digest:
            return {}
        line, _, rows = body.partition(b"\n")
        header = orjson.loads(line)
        if {name: value for name, value in header.items() if name != "kinds"} != self._facts(dimension):
            return {}
        return _kinds_of(header["kinds"], np.frombuffer(rows, dtype="<f4").reshape(-1, dimension))

    def write(self, trained: Mapping[Kind, Trained | None], dimension: int) -> None:
        """Replace it, durably and in one step; raises DiskError."""
        held = {kind: found for kind in _KINDS if (found := trained.get(kind)) is not None}
        kinds = {
            kind: {"lists": len(found.centroids), "rows": found.rows, "probes": found.probes}
            for kind, found in held.items()
        }
        header = orjson.dumps({**self._facts(dimension), "kinds": kinds})
        data = b"".join([header, b"\n", *(found.centroids.astype("<f4").tobytes() for found in held.values())])
        write_whole(self._backend, CENTROIDS, [data, hashlib.sha256(data).digest()])

    def _facts(self, dimension: int) -> dict[str, Any]:
        return {
            "file": "centroids",
            "version": FORMAT_VERSION,
            "store_id": self._store_id,
            "dimension": dimension,
            "metric": self._metric,
        }


def _kinds_of(kinds: dict[Kind, Any], rows: Matrix) -> dict[Kind, Trained]:
    found: dict[Kind, Trained] = {}
    start = 0
    for kind in _KINDS:
        if kind in kinds:
            stop = start + kinds[kind]["lists"]
            found[kind] = Trained(rows[start:stop], kinds[kind]["rows"], kinds[kind]["probes"])
            start = stop
    return found
