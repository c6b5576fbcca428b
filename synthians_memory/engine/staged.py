"""Staged versions: each entity as it is to be with the embedding of another model, kept beside its file.

It is not the decision that they count (`reembedding` takes it), and it writes no entity file.

    body := embedding hash 16 (zeros: no vector) | content hash 32 | journal record (see `records`)

The record is a put of the complete new file; its predecessor is the content hash of the version that it was made
of. A staged version stands for its entity as long as the memory index gives the entity one of these two hashes.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from synthians_memory.codec import Version, sealed_version, version_of
from synthians_memory.engine.part_files import Series, list_series, read_part
from synthians_memory.engine.records import Key, Record, decode_record, encode_record
from synthians_memory.engine.rows import NO_VECTOR
from synthians_memory.storage.backend import Backend

__all__ = ["StagedEntry", "StagedVersions", "read_staged", "staged_body"]

_HASHES: Final = struct.Struct("<16s32s")


class StagedEntry(NamedTuple):
    """One staged version, and where it is.

    Attributes:
        path, offset, length: the file that holds it, and where its bytes stand there.
        hash: its content hash.
        predecessor: content hash of the version that it was made of.
        embedding_hash: of its vector; None without one.
        updated_micros: its update time.
    """

    path: str
    offset: int
    length: int
    hash: bytes
    predecessor: bytes
    embedding_hash: bytes | None
    updated_micros: int


def staged_body(version: Version, predecessor: bytes) -> tuple[bytes, ...]:
    """The record that stages `version`, in pieces."""
    record = Record(version.kind, version.entity_id, version.data, version.updated_micros, predecessor)
    return (_HASHES.pack(version.embedding_hash or NO_VECTOR, version.hash), *encode_record(record))


class StagedVersions:
    """Which versions are staged; the last one of each entity counts. Read by any thread, grown by one.

    Attributes:
        entries: by kind and id.
        parts, frames: how many of them were read.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.entries: dict[Key, StagedEntry] = {}
        self.parts = 0
        self.frames = 0

    def note(self, version: Version, predecessor: bytes, path: str, start: int) -> None:
        """The record of `version` was written to `path`, where its body begins at `start`."""
        lead = sum(map(len, staged_body(version, predecessor)[:-1]))
        self.entries[version.kind, version.entity_id] = StagedEntry(
            path, start + lead, len(version.data), version.hash, predecessor, version.embedding_hash,
            version.updated_micros,
        )  # fmt: skip

    def take(self, path: str, start: int, body: bytes) -> Key:
        """Take a record that was read; returns whose it is."""
        embedding_hash, content_hash = _HASHES.unpack_from(body)
        record = decode_record(body[_HASHES.size :])
        length = len(record.data or b"")
        self.entries[record.key] = StagedEntry(
            path, start + len(body) - length, length, content_hash, record.predecessor,
            None if embedding_hash == NO_VECTOR else embedding_hash, record.updated_micros,
        )  # fmt: skip
        return record.key

    def version(self, key: Key) -> Version | None:
        """The staged version of an entity; None where there is none, or none that can be read any more.

        Raises:
            DiskError: it cannot be read.
        """
        entry = self.entries.get(key)
        data = self._backend.read(entry.path, entry.offset, entry.length) if entry else None
        return sealed_version(key[0], data) if entry and data and version_of(data) == entry.hash else None


def read_staged(backend: Backend, store_id: str, token: str) -> StagedVersions:
    """Everything that is staged under `token`, and intact. Raises DiskError."""
    staged = StagedVersions(backend)
    series = Series(token, "staged")
    staged.parts = list_series(backend).get(series, 0)
    for number in range(1, staged.parts + 1):
        part = read_part(backend, store_id, series, number)
        staged.frames += part.frames
        for start, body in part.bodies:
            staged.take(part.path, start, body)
    return staged
