"""The bytes of vectors.log: one frame for the header, one for each group.

It is not the file: `view_log` appends, and the frame codec is `storage.framing`.

    header := frame with one record: JSON {log, version, store_id, epoch, snapshot}
    group  := frame numbered by the sequence it covers, with one record per change
    change := kind u8 | id length u16 | vector id u64 | embedding hash 16 | id | float32 row; no row: removal
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import orjson

from synthians_memory.engine.exact import Matrix
from synthians_memory.engine.records import Key
from synthians_memory.engine.vector_space import Slot
from synthians_memory.engine.view import Position
from synthians_memory.layout import FORMAT_VERSION, Kind
from synthians_memory.models import Vector
from synthians_memory.storage.framing import Frame, encode_frame, pack_records, salt_of, scan, unpack_records

__all__ = ["VectorChange", "VectorLog", "decode_group", "encode_group", "log_header", "matrix_of", "read_log"]

_CHANGE: Final = struct.Struct("<BHQ16s")
_KIND_CODES: Final[dict[Kind, int]] = {"memory": 1, "assembly": 2}
_KINDS: Final[dict[int, Kind]] = {code: kind for kind, code in _KIND_CODES.items()}


class VectorChange(NamedTuple):
    """One vector added, or one removed.

    Attributes:
        key: whose.
        vector_id, embedding_hash: of the new vector; 0 and empty for a removal.
        row: the prepared vector; None for a removal.
    """

    key: Key
    vector_id: int
    embedding_hash: bytes
    row: Vector | None


class VectorLog(NamedTuple):
    """What a log holds.

    Attributes:
        start: the snapshot it follows.
        groups: the committed groups: what they cover, and their packed records.
        committed: bytes of header and groups.
    """

    start: Position
    groups: list[tuple[Position, bytes]]
    committed: int


def _salt(store_id: str) -> int:
    return salt_of(b"vectors.log", store_id.encode())


def log_header(snapshot: Position, store_id: str) -> bytes:
    """The header of a log that follows `snapshot`."""
    fields = {
        "log": "vectors",
        "version": FORMAT_VERSION,
        "store_id": store_id,
        "epoch": snapshot.epoch,
        "snapshot": snapshot.sequence,
    }
    salt = _salt(store_id)
    return encode_frame(salt, 0, 0, 0, pack_records(salt, 0, [orjson.dumps(fields)]))


def encode_group(changes: list[VectorChange], position: Position, store_id: str) -> bytes:
    """The frame of one group; whole or nothing, so it is its own commit."""
    salt = _salt(store_id + position.epoch)
    bodies = [_encode_change(change) for change in changes]
    return encode_frame(salt, position.sequence, 0, 0, pack_records(salt, position.sequence, bodies))


def _encode_change(change: VectorChange) -> bytes:
    entity_id = change.key[1].encode()
    prefix = _CHANGE.pack(_KIND_CODES[change.key[0]], len(entity_id), change.vector_id, change.embedding_hash)
    return prefix + entity_id + (b"" if change.row is None else change.row.astype("<f4").tobytes())


def read_log(data: bytes, store_id: str) -> VectorLog | None:
    """The committed groups in the bytes of a log; None where its header is not intact."""
    head = scan(data[:_MOST_HEADER], 0, _salt(store_id)).parts
    if not head or not isinstance(head[0], Frame) or head[0].offset != 0:
        return None
    found = orjson.loads(next(unpack_records(head[0].payload)))
    start = Position(found["epoch"], found["snapshot"])
    groups: list[tuple[Position, bytes]] = []
    committed = head[0].end
    for part in scan(data, committed, _salt(store_id + start.epoch)).parts:
        if not isinstance(part, Frame) or part.offset != committed:
            break
        groups.append((Position(start.epoch, part.sequence), part.payload))
        committed = part.end
    return VectorLog(start, groups, committed)


_MOST_HEADER: Final = 4096


def decode_group(payload: bytes, dimension: int) -> Iterator[tuple[Kind, Slot, bytes | None]]:
    """The changes in one committed group, in order: kind, slot and the row's numbers; no row: removal."""
    for body in unpack_records(payload):
        code, id_length, vector_id, embedding_hash = _CHANGE.unpack_from(body)
        stop = _CHANGE.size + id_length
        row = body[stop : stop + 4 * dimension] if stop < len(body) else None
        yield _KINDS[code], Slot(body[_CHANGE.size : stop].decode("utf-8"), vector_id, embedding_hash), row


def matrix_of(rows: Sequence[bytes], dimension: int) -> Matrix:
    """Rows from their numbers; ValueError where one has fewer than `dimension`."""
    return np.frombuffer(b"".join(rows), dtype="<f4").reshape(len(rows), dimension)
