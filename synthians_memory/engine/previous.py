"""The embeddings of the model before, kept beside the store as a way back.

It is not the decision to go back, and it holds no text: a hash says which text an embedding was made of.

    body := kind u8 | zero u8 | id length u16 | dimension u32 (0: no vector) | text hash 16 | content hash 32 | id | float32

The content hash is that of the version which had the embedding.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final, NamedTuple

import numpy as np
import orjson

from synthians_memory.engine.part_files import Body, Series, list_series, read_part
from synthians_memory.engine.records import Key
from synthians_memory.layout import Kind, part_path
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry, Vector, as_vector
from synthians_memory.storage.backend import Backend

__all__ = ["PreviousEmbeddings", "previous_body", "read_previous", "series_bytes", "text_hash"]

_PREFIX: Final = struct.Struct("<BBHI16s32s")
_KIND_CODES: Final[dict[Kind, int]] = {"memory": 1, "assembly": 2}
_KINDS: Final[dict[int, Kind]] = {code: kind for kind, code in _KIND_CODES.items()}


class _Entry(NamedTuple):
    path: str
    offset: int
    dimension: int
    text_hash: bytes
    made_of: bytes


def text_hash(entity: Entity) -> bytes:
    """Sixteen bytes that tell texts apart, as far as an embedding is made of them."""
    text = ""
    if isinstance(entity, MemoryEntry):
        text = entity.content
    elif isinstance(entity, MemoryAssembly):
        text = orjson.dumps([entity.name, entity.description, entity.members]).decode()
    return hashlib.sha256(text.encode()).digest()[:16]


def previous_body(entity: Entity, content_hash: bytes) -> Body:
    """The record that keeps the embedding of `entity`, in pieces."""
    entity_id, vector = entity.entity_id.encode(), entity.vector
    prefix = _PREFIX.pack(
        _KIND_CODES[entity.kind],
        0,
        len(entity_id),
        0 if vector is None else len(vector),
        text_hash(entity),
        content_hash,
    )
    return prefix + entity_id, b"" if vector is None else vector.astype("<f4").tobytes()


class PreviousEmbeddings:
    """Which embeddings are kept; the last one of each entity counts. Used by one thread at a time.

    Attributes:
        parts, frames: how many of them were read.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._entries: dict[Key, _Entry] = {}
        self.parts = 0
        self.frames = 0

    def take(self, path: str, start: int, body: bytes) -> None:
        """Take a record that was read, or written."""
        code, _, id_length, dimension, hashed, made_of = _PREFIX.unpack_from(body)
        stop = _PREFIX.size + id_length
        key: Key = (_KINDS[code], body[_PREFIX.size : stop].decode("utf-8"))
        self._entries[key] = _Entry(path, start + stop, dimension, hashed, made_of)

    def made_of(self, key: Key) -> bytes | None:
        """Content hash of the version whose embedding is kept; None where none is."""
        entry = self._entries.get(key)
        return None if entry is None else entry.made_of

    def had_none(self, key: Key) -> bool:
        """Whether it is kept of an entity that it had no embedding."""
        entry = self._entries.get(key)
        return entry is not None and not entry.dimension

    def find(self, entity: Entity) -> tuple[Vector | None] | None:
        """The embedding that belongs to the text of `entity`, None in it for a text without; None where none is kept.

        Raises:
            DiskError: it cannot be read.
        """
        entry = self._entries.get((entity.kind, entity.entity_id))
        if entry is None or entry.text_hash != text_hash(entity):
            return None
        if not entry.dimension:
            return (None,)
        data = self._backend.read(entry.path, entry.offset, 4 * entry.dimension)
        if data is None or len(data) != 4 * entry.dimension:
            return None
        return (as_vector(np.frombuffer(data, "<f4"), "a kept embedding"),)


def read_previous(backend: Backend, store_id: str, token: str) -> PreviousEmbeddings:
    """Everything that is kept under `token`, and intact. Raises DiskError."""
    previous = PreviousEmbeddings(backend)
    series = Series(token, "previous")
    previous.parts = list_series(backend).get(series, 0)
    for number in range(1, previous.parts + 1):
        part = read_part(backend, store_id, series, number)
        previous.frames += part.frames
        for start, body in part.bodies:
            previous.take(part.path, start, body)
    return previous


def series_bytes(backend: Backend, series: Series) -> int:
    """How many bytes the parts of a series have. Raises DiskError."""
    count = list_series(backend).get(series, 0)
    stats = [backend.stat(part_path(*series, number)) for number in range(1, count + 1)]
    return sum(stat.size for stat in stats if stat is not None)
