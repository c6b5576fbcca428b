"""The one frame codec, used by the journal and the binary view log: frames that prove themselves.

It is not the journal: it knows no file, no order of writes and no meaning of a payload.

    frame   := magic "SMF1" | payload length u32 | sequence u64 | wall time i64 (microseconds)
               | synced_through u64 | payload CRC u32 | header CRC u32 | payload | zeros up to 8 bytes
    payload := record*
    record  := magic "SMR1" | body length u32 | CRC u32 | body

Integers are little-endian. Every CRC is CRC-32 (zlib) started from a salt, so that the frames of
another epoch, segment or file never verify; a record's salt is the frame's with its sequence.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

__all__ = [
    "FRAME_HEADER",
    "BadRange",
    "Frame",
    "Salvage",
    "Scan",
    "encode_frame",
    "frame_size",
    "pack_records",
    "packed_size",
    "salt_of",
    "salvage_records",
    "scan",
    "unpack_records",
]

_MAGIC: Final = b"SMF1"
_HEADER: Final = struct.Struct("<4sIQqQII")
_HEADER_CRC_AT: Final = _HEADER.size - 4
FRAME_HEADER: Final = _HEADER.size
_RECORD_MAGIC: Final = b"SMR1"
_RECORD: Final = struct.Struct("<4sII")
_ALIGNMENT: Final = 8


class Frame(NamedTuple):
    """An intact frame.

    Attributes:
        offset, end: its bytes in the scanned data, padding included.
        sequence: its number.
        wall_micros: when it was written, microseconds since 1970.
        synced_through: the highest sequence known durable when it was written.
        payload: the packed records.
    """

    offset: int
    end: int
    sequence: int
    wall_micros: int
    synced_through: int
    payload: bytes


class BadRange(NamedTuple):
    """Bytes that should be a frame and are not.

    Attributes:
        offset, end: where.
        sequence: the number its header gives, where the header is intact; else None.
        payload: what stands where its payload belongs, where the header is intact; else empty.
    """

    offset: int
    end: int
    sequence: int | None
    payload: bytes


class Scan(NamedTuple):
    """What a stretch of bytes holds, in order of offsets.

    Attributes:
        parts: intact frames and bad ranges, as they follow each other.
        end: the first byte behind the last part; only zeros follow.
    """

    parts: list[Frame | BadRange]
    end: int


def salt_of(*parts: bytes) -> int:
    """The start value of every CRC in one file of one life of a store."""
    return zlib.crc32(b"\0".join(parts))


def frame_size(payload_size: int) -> int:
    """Bytes of a frame with a payload of `payload_size` bytes, padding included."""
    return (FRAME_HEADER + payload_size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT


def encode_frame(salt: int, sequence: int, wall_micros: int, synced_through: int, payload: bytes) -> bytes:
    """The bytes of one frame."""
    head = _HEADER.pack(_MAGIC, len(payload), sequence, wall_micros, synced_through, zlib.crc32(payload, salt), 0)[
        :_HEADER_CRC_AT
    ]
    crc = zlib.crc32(head, salt)
    padding = bytes(-(FRAME_HEADER + len(payload)) % _ALIGNMENT)
    return b"".join((head, crc.to_bytes(4, "little"), payload, padding))


class _Header(NamedTuple):
    length: int
    sequence: int
    wall_micros: int
    synced_through: int
    payload_crc: int


def _header_at(data: bytes, offset: int, salt: int) -> _Header | None:
    if offset + FRAME_HEADER > len(data):
        return None
    magic, length, sequence, wall, synced, payload_crc, crc = _HEADER.unpack_from(data, offset)
    if magic != _MAGIC or zlib.crc32(data[offset : offset + _HEADER_CRC_AT], salt) != crc:
        return None
    return _Header(length, sequence, wall, synced, payload_crc)


def scan(data: bytes, start: int, salt: int) -> Scan:
    """Every frame of `data` from `start` on, and every range that should be one.

    After damage it goes on at the next intact frame header, so that one bad frame hides no other.
    """
    parts: list[Frame | BadRange] = []
    offset = start
    while True:
        header = _header_at(data, offset, salt)
        if header is None:
            found = _next_header(data, offset, salt)
            stop = found if found is not None else _last_content(data, offset)
            if stop > offset:
                parts.append(BadRange(offset, stop, None, b""))
            if found is None:
                return Scan(parts, stop)
            offset = found
        else:
            parts.append(_frame_at(data, offset, header, salt))
            offset = parts[-1].end


def _frame_at(data: bytes, offset: int, header: _Header, salt: int) -> Frame | BadRange:
    body = offset + FRAME_HEADER
    payload = data[body : body + header.length]
    if len(payload) == header.length and zlib.crc32(payload, salt) == header.payload_crc:
        end = min(offset + frame_size(header.length), len(data))
        return Frame(offset, end, header.sequence, header.wall_micros, header.synced_through, payload)
    # A torn or damaged frame may have swallowed its successors' place in the file: look inside it too.
    limit = min(offset + frame_size(header.length), len(data))
    inner = _next_header(data, offset + _ALIGNMENT, salt)
    end = min(limit, inner) if inner is not None else limit
    return BadRange(offset, end, header.sequence, payload[: end - body])


def _next_header(data: bytes, offset: int, salt: int) -> int | None:
    at = data.find(_MAGIC, offset)
    while at >= 0:
        if at % _ALIGNMENT == 0 and _header_at(data, at, salt) is not None:
            return at
        at = data.find(_MAGIC, at + 1)
    return None


def _last_content(data: bytes, offset: int) -> int:
    return offset + len(data[offset:].rstrip(b"\0"))


def pack_records(salt: int, sequence: int, bodies: Iterable[bytes]) -> bytes:
    """The payload that carries `bodies` in the frame numbered `sequence`."""
    own_salt = _record_salt(salt, sequence)
    parts: list[bytes] = []
    for body in bodies:
        parts.append(_RECORD.pack(_RECORD_MAGIC, len(body), zlib.crc32(body, own_salt)))
        parts.append(body)
    return b"".join(parts)


def packed_size(body_sizes: Sequence[int]) -> int:
    """Bytes of the payload for records of these sizes."""
    return sum(body_sizes) + _RECORD.size * len(body_sizes)


def _record_salt(salt: int, sequence: int) -> int:
    return zlib.crc32(sequence.to_bytes(8, "little"), salt)


def unpack_records(payload: bytes) -> Iterator[bytes]:
    """The bodies in an intact frame's payload, in order."""
    offset = 0
    while offset < len(payload):
        _, length, _ = _RECORD.unpack_from(payload, offset)
        offset += _RECORD.size
        yield payload[offset : offset + length]
        offset += length


class Salvage(NamedTuple):
    """What is left of a damaged payload.

    Attributes:
        intact: bodies whose own CRC is right, in order.
        broken: what stands in the place of the others, for naming them; may be empty bytes.
    """

    intact: list[bytes]
    broken: list[bytes]


def salvage_records(salt: int, sequence: int, payload: bytes) -> Salvage:
    """The records of a damaged frame that prove themselves, and the remains of the rest."""
    own_salt = _record_salt(salt, sequence)
    salvage = Salvage([], [])
    offset = 0
    while offset < len(payload):
        body = _record_at(payload, offset, own_salt)
        if body is not None:
            salvage.intact.append(body)
            offset += _RECORD.size + len(body)
            continue
        following = _next_record(payload, offset + 1, own_salt)
        salvage.broken.append(payload[offset + _RECORD.size : following])
        offset = following
    return salvage


def _record_at(payload: bytes, offset: int, salt: int) -> bytes | None:
    if offset + _RECORD.size > len(payload):
        return None
    magic, length, crc = _RECORD.unpack_from(payload, offset)
    body = payload[offset + _RECORD.size : offset + _RECORD.size + length]
    if magic != _RECORD_MAGIC or len(body) != length or zlib.crc32(body, salt) != crc:
        return None
    return body


def _next_record(payload: bytes, offset: int, salt: int) -> int:
    at = payload.find(_RECORD_MAGIC, offset)
    while at >= 0 and _record_at(payload, at, salt) is None:
        at = payload.find(_RECORD_MAGIC, at + 1)
    return at if at >= 0 else len(payload)
