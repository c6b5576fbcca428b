"""The rows of the memory index: packed in memory, one line of JSON on disk.

It is not the index; it holds no state.
"""

from __future__ import annotations

import struct
from array import array
from binascii import unhexlify
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from synthians_memory.codec import content_hash_text
from synthians_memory.engine.view import Change
from synthians_memory.errors import InvalidTypeError, InvalidValueError
from synthians_memory.layout import Kind, entity_path
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry
from synthians_memory.storage.backend import EntryStat
from synthians_memory.times import format_time, from_micros, parse_time, to_micros

__all__ = [
    "NEVER",
    "NO_VECTOR",
    "UNKNOWN",
    "Row",
    "embedding_hash_of",
    "embedding_hashes_of",
    "expires_of",
    "expiries_of",
    "expiry_of",
    "has_stat",
    "hash_of",
    "pack_change",
    "row_from_json",
    "row_json",
    "rows_from_json",
    "stat_of",
    "unpack",
    "updated_of",
    "with_expiry",
    "with_stat",
    "with_version",
]

# created_at, updated_at (microseconds), score, content hash, embedding hash, size, mtime_ns, member count, expires_at
_ROW: Final = struct.Struct("<qqd32s16sqqiq")
_STAT: Final = struct.Struct("<qq")
_EXPIRES_AT: Final = _ROW.size - 8
_STAT_AT: Final = _EXPIRES_AT - 4 - _STAT.size
_UPDATED_AT: Final = 8
_HASH_AT: Final = 24
_EMBEDDING_AT: Final = 56
# What stands for the embedding hash of an entity without a vector.
NO_VECTOR: Final = bytes(16)
# What stands for the expiry of an entity without one, and where a row written by another program does not tell.
NEVER: Final = (1 << 63) - 1
UNKNOWN: Final = -(1 << 63)
# The same row as a table's.
_TABLE: Final = np.dtype(
    [
        ("created_at", "<i8"),
        ("updated_at", "<i8"),
        ("quickrecal_score", "<f8"),
        ("content_hash", "V32"),
        ("embedding_hash", "V16"),
        ("size", "<i8"),
        ("mtime_ns", "<i8"),
        ("member_count", "<i4"),
        ("expires_at", "<i8"),
    ]
)
# 2026-11-20T12:00:00.000000Z
_TIME_LENGTH: Final = 27
_SEPARATORS: Final = [4, 7, 10, 13, 16, 19, 26]
_DIGITS: Final = [place for place in range(_TIME_LENGTH) if place not in _SEPARATORS]
_SEPARATOR_BYTES: Final = np.frombuffer(b"--T::.Z", dtype=np.uint8)
_FIRST_MICROS: Final = to_micros(datetime.min.replace(tzinfo=UTC))
_HASH_PREFIX: Final = b"sha256:"
_ZERO_HEX: Final = NO_VECTOR.hex()


class Row(NamedTuple):
    """What the memory index knows of one entity.

    Attributes:
        created_micros, updated_micros: microseconds since 1970.
        score: quickrecal_score; 0 for an assembly.
        hash: its content hash, 32 bytes.
        embedding_hash: see `hashing.embedding_hash`; None without a vector.
        size, mtime_ns: of the file when it was last seen to hold this version; 0 where that is not known.
        member_count: of an assembly; -1 for a memory.
        expires_micros: expires_at in microseconds since 1970; NEVER without one, UNKNOWN where its file has to tell.
    """

    created_micros: int
    updated_micros: int
    score: float
    hash: bytes
    embedding_hash: bytes | None
    size: int
    mtime_ns: int
    member_count: int
    expires_micros: int

    def pack(self) -> bytes:
        """The packed form."""
        return _ROW.pack(*self._replace(embedding_hash=self.embedding_hash or NO_VECTOR))


def unpack(packed: bytes) -> Row:
    """The row in its packed form."""
    row = Row(*_ROW.unpack(packed))
    return row._replace(embedding_hash=None) if row.embedding_hash == NO_VECTOR else row


def hash_of(packed: bytes) -> bytes:
    """The content hash in a packed row, without unpacking the rest."""
    return packed[_HASH_AT : _HASH_AT + 32]


def updated_of(packed: bytes) -> int:
    """The update time in a packed row, in microseconds."""
    return int.from_bytes(packed[_UPDATED_AT : _UPDATED_AT + 8], "little", signed=True)


def embedding_hash_of(packed: bytes) -> bytes | None:
    """The embedding hash in a packed row; None without a vector."""
    found = packed[_EMBEDDING_AT : _EMBEDDING_AT + len(NO_VECTOR)]
    return None if found == NO_VECTOR else found


def embedding_hashes_of(packed: Collection[bytes]) -> npt.NDArray[np.uint8]:
    """The embedding hashes in many packed rows, 16 bytes each; `NO_VECTOR` without a vector."""
    table = np.frombuffer(b"".join(packed), dtype=np.uint8).reshape(-1, _ROW.size)
    return table[:, _EMBEDDING_AT : _EMBEDDING_AT + len(NO_VECTOR)]


def expires_of(packed: bytes) -> int:
    """The expiry in a packed row, in microseconds; NEVER, or UNKNOWN."""
    return int.from_bytes(packed[_EXPIRES_AT:], "little", signed=True)


def expiries_of(packed: Collection[bytes]) -> npt.NDArray[np.int64]:
    """The expiries in many packed rows, as `expires_of` gives each."""
    return np.frombuffer(b"".join(packed), dtype=_TABLE)["expires_at"]


def with_expiry(packed: bytes, micros: int) -> bytes:
    """The packed row with another expiry."""
    return packed[:_EXPIRES_AT] + micros.to_bytes(8, "little", signed=True)


def has_stat(packed: bytes, stat: EntryStat) -> bool:
    """Whether the packed row was seen in a regular file of this size and time."""
    return stat[0] == "file" and _STAT.unpack_from(packed, _STAT_AT) == stat[1:]


def stat_of(packed: bytes) -> tuple[int, int]:
    """Size and mtime_ns in a packed row."""
    size, mtime_ns = _STAT.unpack_from(packed, _STAT_AT)
    return size, mtime_ns


def with_stat(packed: bytes, size: int, mtime_ns: int) -> bytes:
    """The packed row with another stat."""
    return packed[:_STAT_AT] + _STAT.pack(size, mtime_ns) + packed[_STAT_AT + _STAT.size :]


def with_version(packed: bytes, updated_micros: int, content_hash: bytes, embedding_hash: bytes | None) -> bytes:
    """The packed row of another version of the same entity, whose file was not seen yet."""
    stamped = (
        packed[:_UPDATED_AT] + updated_micros.to_bytes(8, "little", signed=True) + packed[_UPDATED_AT + 8 : _HASH_AT]
    )
    return with_stat(stamped + content_hash + (embedding_hash or NO_VECTOR) + packed[_STAT_AT:], 0, 0)


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
        change.embedding_hash or NO_VECTOR,
        change.stat.size if change.stat else 0,
        change.stat.mtime_ns if change.stat else 0,
        len(entity.members) if isinstance(entity, MemoryAssembly) else -1,
        expiry_of(entity),
    )


def expiry_of(entity: Entity) -> int:
    """The expiry of an entity as a row has it; NEVER without one."""
    expires_at = entity.expires_at if isinstance(entity, MemoryEntry) else None
    return NEVER if expires_at is None else to_micros(expires_at)


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
    if kind == "memory" and row.expires_micros != UNKNOWN:
        fields["expires_at"] = _time_or_none(row.expires_micros)
    return orjson.dumps(fields)


def _time_or_none(micros: int) -> str | None:
    return None if micros == NEVER else format_time(from_micros(micros))


def _expiry_from_json(kind: Kind, found: dict[str, Any]) -> int:
    if kind == "assembly":
        return NEVER
    if "expires_at" not in found:
        return UNKNOWN
    return NEVER if found["expires_at"] is None else to_micros(parse_time(found["expires_at"]))


def row_from_json(kind: Kind, found: dict[str, Any]) -> bytes:
    """The packed row of a verified document's value; KeyError, TypeError or ValueError where it is none."""
    embedding_hash = found["embedding_hash"]
    try:
        return _ROW.pack(
            to_micros(parse_time(found["created_at"])),
            to_micros(parse_time(found["updated_at"])),
            found["quickrecal_score"] if kind == "memory" else 0.0,
            bytes.fromhex(found["content_hash"][7:]),
            bytes.fromhex(embedding_hash) if embedding_hash else NO_VECTOR,
            found["size"],
            found["mtime_ns"],
            found["member_count"] if kind == "assembly" else -1,
            _expiry_from_json(kind, found),
        )
    except struct.error as error:
        raise InvalidValueError(f"a row of the memory index does not fit: {error}") from error


def rows_from_json(kind: Kind, found: Collection[dict[str, Any]]) -> list[bytes]:
    """As `row_from_json`, of many values at once; column by column where all of them are in the canonical form."""
    if not found:
        return []
    try:
        packed = _pack_table(kind, found)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        # Which of them it is, and whether it is wrong, shows one by one.
        packed = None
    return [row_from_json(kind, row) for row in found] if packed is None else packed


def _pack_table(kind: Kind, found: Collection[dict[str, Any]]) -> list[bytes] | None:
    """The packed rows; None, or any error, where one of them may not be in the canonical form."""
    columns = {
        "created_at": _micros_column([row["created_at"] for row in found]),
        "updated_at": _micros_column([row["updated_at"] for row in found]),
        "content_hash": _hash_column([row["content_hash"] for row in found], _HASH_PREFIX, 32),
        "embedding_hash": _hash_column([row["embedding_hash"] or _ZERO_HEX for row in found], b"", 16),
        "size": np.array(array("q", [row["size"] for row in found])),
        "mtime_ns": np.array(array("q", [row["mtime_ns"] for row in found])),
        "quickrecal_score": 0.0,
        "member_count": -1,
        "expires_at": NEVER,
    }
    if kind == "memory":
        times = [row.get("expires_at", row) for row in found]
        if times.count(None) < len(times):
            columns["expires_at"] = np.array([_expiry_from_json(kind, row) for row in found], dtype=np.int64)
        columns["quickrecal_score"] = np.array(array("d", [row["quickrecal_score"] for row in found]))
    else:
        columns["member_count"] = np.array(array("i", [row["member_count"] for row in found]))
    table = np.empty(len(found), dtype=_TABLE)
    for name, column in columns.items():
        if column is None:
            return None
        table[name] = column
    packed = table.tobytes()
    return [packed[at : at + _ROW.size] for at in range(0, len(packed), _ROW.size)]


def _characters(column: Sequence[str], length: int) -> npt.NDArray[np.uint8] | None:
    """ASCII texts of one length as a matrix; None where they are something else."""
    text = "".join(column)
    if set(map(len, column)) != {length} or not text.isascii():
        return None
    return np.frombuffer(text.encode(), dtype=np.uint8).reshape(len(column), length)


def _micros_column(column: Sequence[str]) -> npt.NDArray[np.int64] | None:
    """Microseconds since 1970 of times in the store's own form; None where one of them has another."""
    characters = _characters(column, _TIME_LENGTH)
    if characters is None or (characters[:, _SEPARATORS] != _SEPARATOR_BYTES).any():
        return None
    # Below "0" wraps around.
    if ((characters[:, _DIGITS] - np.uint8(ord("0"))) > 9).any():
        return None
    texts = np.ascontiguousarray(characters[:, :-1]).view(f"S{_TIME_LENGTH - 1}").ravel()
    micros: npt.NDArray[np.int64] = texts.astype("M8[us]").view(np.int64)
    return micros if micros.min() >= _FIRST_MICROS else None


def _hash_column(column: Sequence[str], prefix: bytes, size: int) -> npt.NDArray[np.void] | None:
    """The bytes that `prefix` and hexadecimal digits stand for; None where something else stands there."""
    characters = _characters(column, len(prefix) + 2 * size)
    if characters is None or (characters[:, : len(prefix)] != np.frombuffer(prefix, dtype=np.uint8)).any():
        return None
    return np.frombuffer(unhexlify(characters[:, len(prefix) :].tobytes()), dtype=f"V{size}")
