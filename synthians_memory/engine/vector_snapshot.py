"""The bytes of a snapshot of the vector index: the FAISS file of its rows, and mapping.json.

It writes no file: `vectors` does, in an order that matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import orjson

from synthians_memory.config import Metric
from synthians_memory.engine.exact import Matrix
from synthians_memory.engine.flat_file import flat_head
from synthians_memory.engine.vector_files import MEMBERS
from synthians_memory.engine.vector_space import FrozenSpace
from synthians_memory.engine.view import Position
from synthians_memory.layout import FORMAT_VERSION, Kind

__all__ = ["Frozen", "Snapshot", "faiss_pieces", "first_row", "mapping_pieces"]


@dataclass(slots=True)
class Frozen:
    """What a snapshot is written from: rows never change in place, so positions are enough."""

    dimension: int
    next_vector_id: int
    spaces: dict[Kind, FrozenSpace]

    @property
    def alive(self) -> int:
        """How many living rows there are."""
        return sum(space.alive for space in self.spaces.values())


class Snapshot(NamedTuple):
    """What a mapping says besides whose the rows are.

    Attributes:
        position: how far it reaches.
        store_id, metric: of the store.
        faiss_bytes, faiss_sha256: of the FAISS file.
    """

    position: Position
    store_id: str
    metric: Metric
    faiss_bytes: int
    faiss_sha256: str


def faiss_pieces(frozen: Frozen, metric: Metric, rows: Iterable[Matrix]) -> Iterator[bytes]:
    """What FAISS would write of a flat index of the living rows, without a copy of all of them."""
    yield flat_head(frozen.alive, frozen.dimension, metric)
    for piece in rows:
        yield np.ascontiguousarray(piece, dtype="<f4").tobytes()


def first_row(frozen: Frozen, metric: Metric) -> int:
    """The byte of that file at which its rows begin."""
    return len(flat_head(frozen.alive, frozen.dimension, metric))


def mapping_pieces(frozen: Frozen, snapshot: Snapshot) -> Iterator[bytes]:
    """mapping.json without its seal."""
    for kind, member in MEMBERS.items():
        yield b'  "%s": {\n' % member.encode()
        lines = [
            b'    %s: [%d,"%s"]' % (orjson.dumps(slot.entity_id), slot.vector_id, slot.embedding_hash.hex().encode())
            for slot in (frozen.spaces[kind].slots() if kind in frozen.spaces else ())
        ]
        yield b",\n".join(lines) + (b"\n" if lines else b"")
        yield b"  },\n"
    metadata = {
        "version": FORMAT_VERSION,
        "epoch": snapshot.position.epoch,
        "sequence": snapshot.position.sequence,
        "store_id": snapshot.store_id,
        "dimension": frozen.dimension,
        "metric": snapshot.metric,
        "next_vector_id": frozen.next_vector_id,
        "faiss_bytes": snapshot.faiss_bytes,
        "faiss_sha256": snapshot.faiss_sha256,
    }
    yield b'  "metadata": %s,\n' % orjson.dumps(metadata)
