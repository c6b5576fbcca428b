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
    "FRAME_MAGIC",
    "RECORD_HEADER",
    "RECORD_MAGIC",
    "BadRange",
    "Body",
    "Frame",
    "Salvage",
    "Scan",
    "body_size",
    "broken_bodies",
    "encode_frame",
    "frame_pieces",
    "frame_size",
    "pack_records",
    "packed_size",
    "salt_of",
    "salvage_records",
    "scan",
    "unpack_records",
]

FRAME_MAGIC: Final = b"SMF1"
_HEADER: Final = struct.Struct("<4sIQqQII")
_HEADER_CRC_AT: Final = _HEADER.size - 4
FRAME_HEADER: Final = _HEADER.size
RECORD_MAGIC: Final = b"SMR1"
_RECORD: Final = struct.Struct("<4sII")
RECORD_HEADER: Final = _RECORD.size
_ALIGNMENT: Final = 8
# Bounds for damage that looks like records by the thousand: how often a byte is checked, how many are named.
_MOST_CHECKS: Final = 4
_MOST_NAMED: Final = 4096


# A record's body, whole or in pieces that follow each other.
Body = bytes | tuple[bytes, ...]


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
        synced_through: as in its header, where that is intact; else 0.
    """

    offset: int
    end: int
    sequence: int | None
    payload: bytes
    synced_through: int = 0


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
    return b"".join(_framed(salt, sequence, wall_micros, synced_through, [payload]))


def frame_pieces(
    salt: int, sequence: int, wall_micros: int, synced_through: int, bodies: Iterable[Body]
) -> list[bytes]:
    """The bytes of one frame with these records, not joined: what is large is not copied."""
    return _framed(salt, sequence, wall_micros, synced_through, _record_pieces(salt, sequence, bodies))


def _framed(salt: int, sequence: int, wall_micros: int, synced_through: int, payload: list[bytes]) -> list[bytes]:
    size, payload_crc = 0, salt
    for piece in payload:
        size += len(piece)
        payload_crc = zlib.crc32(piece, payload_crc)
    head = _HEADER.pack(FRAME_MAGIC, size, sequence, wall_micros, synced_through, payload_crc, 0)[:_HEADER_CRC_AT]
    crc = zlib.crc32(head, salt)
    return [head, crc.to_bytes(4, "little"), *payload, bytes(-(FRAME_HEADER + size) % _ALIGNMENT)]


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
    if magic != FRAME_MAGIC or zlib.crc32(data[offset : offset + _HEADER_CRC_AT], salt) != crc:
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
    inner = _next_header(data, body, salt, limit)
    end = limit if inner is None else inner
    return BadRange(offset, end, header.sequence, payload[: end - body], header.synced_through)


def _next_header(data: bytes, offset: int, salt: int, limit: int | None = None) -> int | None:
    """Where the next intact frame header begins, before `limit`."""
    at = data.find(FRAME_MAGIC, offset, limit)
    while at >= 0:
        if at % _ALIGNMENT == 0 and _header_at(data, at, salt) is not None:
            return at
        at = data.find(FRAME_MAGIC, at + 1, limit)
    return None


def _last_content(data: bytes, offset: int) -> int:
    return offset + len(data[offset:].rstrip(b"\0"))


def pack_records(salt: int, sequence: int, bodies: Iterable[Body]) -> bytes:
    """The payload that carries `bodies` in the frame numbered `sequence`."""
    return b"".join(_record_pieces(salt, sequence, bodies))


def _record_pieces(salt: int, sequence: int, bodies: Iterable[Body]) -> list[bytes]:
    own_salt = _record_salt(salt, sequence)
    pieces: list[bytes] = []
    for body in bodies:
        parts = body if isinstance(body, tuple) else (body,)
        crc = own_salt
        for part in parts:
            crc = zlib.crc32(part, crc)
        pieces += (_RECORD.pack(RECORD_MAGIC, body_size(body), crc), *parts)
    return pieces


def body_size(body: Body) -> int:
    """Bytes of a record's body."""
    return sum(map(len, body)) if isinstance(body, tuple) else len(body)


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
        broken: the stretches before, between and behind them, record headers included; none is empty.
    """

    intact: list[bytes]
    broken: list[bytes]


def salvage_records(salt: int, sequence: int, payload: bytes) -> Salvage:
    """The records of a damaged frame that prove themselves, and the remains of the rest.

    Takes time in proportion to the payload, whatever it holds: where too much of it only looks like
    records, the rest counts as broken.
    """
    own_salt = _record_salt(salt, sequence)
    salvage = Salvage([], [])
    offset, allowance = 0, _MOST_CHECKS * len(payload)
    while offset < len(payload):
        at, body, allowance = _next_record(payload, offset, own_salt, allowance)
        if at > offset:
            salvage.broken.append(payload[offset:at])
        if body is not None:
            salvage.intact.append(body)
            at += _RECORD.size + len(body)
        offset = at
    return salvage


def _next_record(payload: bytes, offset: int, salt: int, allowance: int) -> tuple[int, bytes | None, int]:
    """Where the next intact record begins, its body, and how many bytes may still be checked in vain."""
    at = payload.find(RECORD_MAGIC, offset)
    while at >= 0 and allowance >= 0:
        body, crc = _body_at(payload, at)
        if body is not None and zlib.crc32(body, salt) == crc:
            return at, body, allowance
        allowance -= _RECORD.size if body is None else _RECORD.size + len(body)
        at = payload.find(RECORD_MAGIC, at + 1)
    return len(payload), None, allowance


def _body_at(payload: bytes, offset: int) -> tuple[bytes | None, int]:
    """What a record at `offset` says its body and its CRC are; no body where it would not fit."""
    start = offset + _RECORD.size
    if start > len(payload):
        return None, 0
    _, length, crc = _RECORD.unpack_from(payload, offset)
    return (payload[start : start + length] if start + length <= len(payload) else None), crc


def broken_bodies(stretch: bytes) -> list[bytes]:
    """What stands where the bodies of broken records belong, for naming them: a guess, bounded in number.

    Args:
        stretch: as in `Salvage.broken`, or any bytes with records in them.
    """
    bodies: list[bytes] = []
    offset = 0
    while offset < len(stretch) and len(bodies) < _MOST_NAMED:
        end = _end_of_broken(stretch, offset)
        body = stretch[offset + _RECORD.size : end]
        if body.strip(b"\0"):
            bodies.append(body)
        offset = end
    return bodies


def _end_of_broken(stretch: bytes, offset: int) -> int:
    """Where its length leads, if that is the end or the next record; else the next magic."""
    if stretch.startswith(RECORD_MAGIC, offset) and offset + _RECORD.size <= len(stretch):
        _, length, _ = _RECORD.unpack_from(stretch, offset)
        end: int = offset + _RECORD.size + length
        if end == len(stretch) or stretch.startswith(RECORD_MAGIC, end):
            return end
    following = stretch.find(RECORD_MAGIC, offset + 1)
    return following if following >= 0 else len(stretch)
