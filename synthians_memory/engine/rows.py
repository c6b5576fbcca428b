"""The rows of the memory index: packed in memory, one line of JSON on disk.

It is not the index; it holds no state.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

import orjson

from synthians_memory.codec import content_hash_text
from synthians_memory.engine.view import Change
from synthians_memory.errors import InvalidTypeError, InvalidValueError
from synthians_memory.layout import Kind, entity_path
from synthians_memory.models import MemoryAssembly, MemoryEntry
from synthians_memory.times import format_time, from_micros, parse_time, to_micros

__all__ = [
    "Row",
    "embedding_hash_of",
    "hash_of",
    "pack_change",
    "row_from_json",
    "row_json",
    "stat_of",
    "unpack",
    "updated_of",
    "with_stat",
]

# created_at, updated_at (microseconds), score, content hash, embedding hash, size, mtime_ns, member count
_ROW: Final = struct.Struct("<qqd32s16sqqi")
_STAT: Final = struct.Struct("<qq")
_STAT_AT: Final = _ROW.size - 4 - _STAT.size
_UPDATED_AT: Final = 8
_HASH_AT: Final = 24
_EMBEDDING_AT: Final = 56
_NO_VECTOR: Final = bytes(16)


class Row(NamedTuple):
    """What the memory index knows of one entity.

    Attributes:
        created_micros, updated_micros: microseconds since 1970.
        score: quickrecal_score; 0 for an assembly.
        hash: its content hash, 32 bytes.
        embedding_hash: see `codec.embedding_hash`; None without a vector.
        size, mtime_ns: of the file when it was last seen to hold this version; 0 where that is not known.
        member_count: of an assembly; -1 for a memory.
    """

    created_micros: int
    updated_micros: int
    score: float
    hash: bytes
    embedding_hash: bytes | None
    size: int
    mtime_ns: int
    member_count: int

    def pack(self) -> bytes:
        """The packed form."""
        return _ROW.pack(*self._replace(embedding_hash=self.embedding_hash or _NO_VECTOR))


def unpack(packed: bytes) -> Row:
    """The row in its packed form."""
    row = Row(*_ROW.unpack(packed))
    return row._replace(embedding_hash=None) if row.embedding_hash == _NO_VECTOR else row


def hash_of(packed: bytes) -> bytes:
    """The content hash in a packed row, without unpacking the rest."""
    return packed[_HASH_AT : _HASH_AT + 32]


def updated_of(packed: bytes) -> int:
    """The update time in a packed row, in microseconds."""
    return int.from_bytes(packed[_UPDATED_AT : _UPDATED_AT + 8], "little", signed=True)


def embedding_hash_of(packed: bytes) -> bytes | None:
    """The embedding hash in a packed row; None without a vector."""
    found = packed[_EMBEDDING_AT : _EMBEDDING_AT + len(_NO_VECTOR)]
    return None if found == _NO_VECTOR else found


def stat_of(packed: bytes) -> tuple[int, int]:
    """Size and mtime_ns in a packed row."""
    size, mtime_ns = _STAT.unpack_from(packed, _STAT_AT)
    return size, mtime_ns


def with_stat(packed: bytes, size: int, mtime_ns: int) -> bytes:
    """The packed row with another stat."""
    return packed[:_STAT_AT] + _STAT.pack(size, mtime_ns) + packed[_STAT_AT + _STAT.size :]


def pack_change(change: Change) -> bytes:
    """The packed row of a change that stores an entity."""
    entity = change.entity
    if not isinstance(entity, MemoryEntry | MemoryAssembly):
        raise InvalidTypeError(f"{change.key} is no entity")
    return _ROW.pack(
        to_micros(entity.created_at),
        change.updated_micros,
        entity.quickrecal_score if isinstance(entity, MemoryEntry) else 0.0,
        change.hash,
        change.embedding_hash or _NO_VECTOR,
        change.stat.size if change.stat else 0,
        change.stat.mtime_ns if change.stat else 0,
        len(entity.members) if isinstance(entity, MemoryAssembly) else -1,
    )


def row_json(kind: Kind, entity_id: str, packed: bytes) -> bytes:
    """The row as the value of its id in memory_index.json."""
    row = unpack(packed)
    fields: dict[str, Any] = {
        "filepath": entity_path(kind, entity_id),
        "created_at": format_time(from_micros(row.created_micros)),
        "updated_at": format_time(from_micros(row.updated_micros)),
    }
    if kind == "memory":
        fields["quickrecal_score"] = row.score
    else:
        fields["member_count"] = row.member_count
    fields["content_hash"] = content_hash_text(row.hash)
    fields["embedding_hash"] = row.embedding_hash.hex() if row.embedding_hash else None
    fields["size"] = row.size
    fields["mtime_ns"] = row.mtime_ns
    return orjson.dumps(fields)


def row_from_json(kind: Kind, found: dict[str, Any]) -> bytes:
    """The packed row of a verified document's value; KeyError, TypeError or ValueError where it is none."""
    embedding_hash = found["embedding_hash"]
    try:
        return _ROW.pack(
            to_micros(parse_time(found["created_at"])),
            to_micros(parse_time(found["updated_at"])),
            found["quickrecal_score"] if kind == "memory" else 0.0,
            bytes.fromhex(found["content_hash"][7:]),
            bytes.fromhex(embedding_hash) if embedding_hash else _NO_VECTOR,
            found["size"],
            found["mtime_ns"],
            found["member_count"] if kind == "assembly" else -1,
        )
    except struct.error as error:
        raise InvalidValueError(f"a row of the memory index does not fit: {error}") from error
