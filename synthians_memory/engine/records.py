"""The bodies of journal records: one change of one entity.

It is not the frame around them, which `storage.framing` owns.

    body := format u8 | operation u8 | kind u8 | zero u8 | id length u32 | data length u32
            | update time i64 (microseconds) | predecessor hash 32 | id | data

The data of a put are the bytes of the entity's file. The predecessor is the content hash of the
version that was acknowledged before, or zeros: so that recovery can tell it from a foreign one.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from synthians_memory.errors import InvalidIdError
from synthians_memory.layout import Kind, validate_id

__all__ = ["NO_HASH", "Key", "Record", "decode_record", "encode_record", "guess_key", "record_size", "stated_size"]

Key = tuple[Kind, str]

NO_HASH: Final = bytes(32)
_PREFIX: Final = struct.Struct("<BBBBIIq32s")
_FORMAT: Final = 1
_PUT: Final = 1
_DELETE: Final = 2
_KIND_CODES: Final[dict[Kind, int]] = {"memory": 1, "assembly": 2}
_KINDS: Final[dict[int, Kind]] = {code: kind for kind, code in _KIND_CODES.items()}


class Record(NamedTuple):
    """One change of one entity.

    Attributes:
        kind, entity_id: whose.
        data: the file's new bytes; None for a delete.
        updated_micros: the new update time; of a delete, when it was acknowledged.
        predecessor: content hash of the version before, or NO_HASH.
    """

    kind: Kind
    entity_id: str
    data: bytes | None
    updated_micros: int
    predecessor: bytes

    @property
    def key(self) -> Key:
        """Kind and id."""
        return self.kind, self.entity_id


def record_size(entity_id: str, data_size: int) -> int:
    """Bytes of the body for such a record."""
    return _PREFIX.size + len(entity_id.encode()) + data_size


def encode_record(record: Record) -> tuple[bytes, bytes]:
    """The body of `record` in two pieces, so that the data are not copied: what stands before them, and they."""
    entity_id = record.entity_id.encode()
    data = record.data or b""
    prefix = _PREFIX.pack(
        _FORMAT,
        _DELETE if record.data is None else _PUT,
        _KIND_CODES[record.kind],
        0,
        len(entity_id),
        len(data),
        record.updated_micros,
        record.predecessor,
    )
    return prefix + entity_id, data


def decode_record(body: bytes) -> Record:
    """The record in an intact body."""
    _, operation, kind, _, id_length, _, updated, predecessor = _PREFIX.unpack_from(body)
    stop = _PREFIX.size + id_length
    entity_id = body[_PREFIX.size : stop].decode("utf-8")
    data = body[stop:] if operation == _PUT else None
    return Record(_KINDS[kind], entity_id, data, updated, predecessor)


def stated_size(header: bytes, remains: bytes) -> int | None:
    """Bytes of the body of the record whose header is `header`; None where the body's first bytes say another number.

    Args:
        header: magic, length and CRC, as `storage.framing` writes them.
        remains: what stands behind it.
    """
    if len(remains) < _PREFIX.size:
        return None
    _, _, _, _, id_length, data_length, _, _ = _PREFIX.unpack_from(remains)
    size: int = _PREFIX.size + id_length + data_length
    return size if int.from_bytes(header[4:8], "little") == size else None


def guess_key(remains: bytes) -> Key | None:
    """Whose record `remains` was, as far as its first bytes still tell; None where they do not."""
    if len(remains) < _PREFIX.size:
        return None
    form, operation, kind, zero, id_length, _, _, _ = _PREFIX.unpack_from(remains)
    if form != _FORMAT or operation not in (_PUT, _DELETE) or kind not in _KINDS or zero:
        return None
    try:
        entity_id = remains[_PREFIX.size : _PREFIX.size + id_length].decode("utf-8")
        return _KINDS[kind], validate_id(entity_id)
    except (UnicodeDecodeError, InvalidIdError):
        return None
