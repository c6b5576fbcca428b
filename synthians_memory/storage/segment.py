"""One journal segment: its header block, and how a stretch of segments is read back after anything.

It is not the journal's writer, and it does not know what a record means.

    segment := header block (4,096 bytes) | frame* | zeros
    header  := magic "SMJ1" | length u32 | CRC u32 | JSON | zeros

A segment is synced before its successor's header is written, so a successor's `first_sequence` claims
that every frame below it is durable, and no frame at or above it in an older segment counts.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, NamedTuple

import orjson

from synthians_memory.layout import JOURNAL, segment_number, segment_path
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.framing import BadRange, Frame, Scan, salt_of, salvage_records, scan, unpack_records

__all__ = [
    "HEADER_BLOCK",
    "JournalContents",
    "JournalDamage",
    "JournalEntry",
    "SegmentHeader",
    "TornTail",
    "read_journal",
    "segment_salt",
]

HEADER_BLOCK: Final = 4096
_PREFIX: Final = struct.Struct("<4sII")
_MAGIC: Final = b"SMJ1"
_MOST_GUESSES: Final = 64


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What the header block of a segment states.

    Attributes:
        number: the segment's own number.
        store_id, epoch: whose life the frames belong to.
        first_sequence: every frame below it is durable and lies in an older segment.
        last_sequence: the last frame before this segment that counts; 0 for none.
        checkpointed_through: every frame up to it is in files and views, durably.
        facts: the superblock's fields, so that it can be rebuilt.
    """

    number: int
    store_id: str
    epoch: str
    first_sequence: int
    last_sequence: int
    checkpointed_through: int
    facts: Mapping[str, Any]

    def encode(self) -> bytes:
        """The header block."""
        text = orjson.dumps({**asdict(self), "facts": dict(self.facts)})
        block = _PREFIX.pack(_MAGIC, len(text), zlib.crc32(text)) + text
        return block + bytes(HEADER_BLOCK - len(block))

    @staticmethod
    def decode(data: bytes, number: int) -> SegmentHeader | None:
        """The header at the start of `data`; None where it is not intact or of another number."""
        if len(data) < HEADER_BLOCK:
            return None
        magic, length, crc = _PREFIX.unpack_from(data)
        text = data[_PREFIX.size : _PREFIX.size + length]
        if magic != _MAGIC or length > HEADER_BLOCK - _PREFIX.size or zlib.crc32(text) != crc:
            return None
        found = orjson.loads(text)
        if not found.keys() >= _HEADER_FIELDS or found["number"] != number:
            return None
        return SegmentHeader(**{name: found[name] for name in _HEADER_FIELDS})


_HEADER_FIELDS: Final = frozenset(f.name for f in fields(SegmentHeader))


class JournalEntry(NamedTuple):
    """One frame that counts, or what could be saved of a damaged one.

    Attributes:
        sequence: its number.
        wall_micros: when it was written; 0 where that is lost.
        records: the record bodies, in order.
        number: the segment it lies in.
    """

    sequence: int
    wall_micros: int
    records: list[bytes]
    number: int


class TornTail(NamedTuple):
    """Bytes behind the last frame that counts, which no frame or header claims synced.

    Attributes:
        path: the segment.
        offset, data: where, and what stands there.
    """

    path: str
    offset: int
    data: bytes


class JournalDamage(NamedTuple):
    """Frames that were durable and are not intact.

    Attributes:
        path: the segment.
        first, last: the sequences concerned.
        remains: what stands in the place of lost records, for naming them.
    """

    path: str
    first: int
    last: int
    remains: list[bytes]


@dataclass(slots=True)
class JournalContents:
    """What `read_journal` found.

    Attributes:
        headers: the intact headers of this epoch, by ascending number.
        entries: what is to be replayed, by ascending sequence.
        torn, damage: see there.
        foreign: segments of another epoch or store.
        unreadable: segments with neither an intact header nor a frame of this epoch.
        checkpointed_through: the highest value in an intact header; 0 without one.
        last_sequence: the last sequence that counts.
        highest_sequence, highest_number: the highest seen anywhere, counted or not.
        segments: every segment of this epoch: number and the last sequence in it that counts.
    """

    headers: list[SegmentHeader] = field(default_factory=list)
    entries: list[JournalEntry] = field(default_factory=list)
    torn: list[TornTail] = field(default_factory=list)
    damage: list[JournalDamage] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    checkpointed_through: int = 0
    last_sequence: int = 0
    highest_sequence: int = 0
    highest_number: int = 0
    segments: dict[int, int] = field(default_factory=dict)

    @property
    def newest(self) -> SegmentHeader | None:
        """The intact header with the highest number."""
        return self.headers[-1] if self.headers else None


def segment_salt(store_id: str, epoch: str, number: int) -> int:
    """The salt of the frames in one segment."""
    return salt_of(store_id.encode(), epoch.encode(), str(number).encode())


class _Segment(NamedTuple):
    number: int
    header: SegmentHeader | None
    scan: Scan
    data: bytes
    salt: int


def read_journal(backend: Backend, identity: tuple[str, str] | None) -> JournalContents:
    """Read every segment and decide what counts. Changes nothing.

    Args:
        backend: the store.
        identity: (store id, epoch) as the superblock has it; None takes the newest intact header's.

    Raises:
        DiskError: a segment cannot be read.
    """
    contents = JournalContents()
    raw = _load_segments(backend, contents)
    headers = {number: SegmentHeader.decode(data, number) for number, data in raw.items()}
    if identity is None:
        newest = next((h for h in reversed(list(headers.values())) if h is not None), None)
        identity = (newest.store_id, newest.epoch) if newest else ("", "")
    own = _own_segments(raw, headers, identity, contents)
    contents.headers = [s.header for s in own if s.header is not None]
    contents.checkpointed_through = max((h.checkpointed_through for h in contents.headers), default=0)
    contents.last_sequence = contents.checkpointed_through
    _Reader(contents, own).run()
    return contents


def _load_segments(backend: Backend, contents: JournalContents) -> dict[int, bytes]:
    raw: dict[int, bytes] = {}
    numbers = [segment_number(name) for name, stat in backend.scan(JOURNAL) if stat.kind == "file"]
    for number in sorted(n for n in numbers if n is not None):
        data = backend.read(segment_path(number))
        if data is not None:
            raw[number] = data
        contents.highest_number = number
    return raw


def _own_segments(
    raw: dict[int, bytes],
    headers: dict[int, SegmentHeader | None],
    identity: tuple[str, str],
    contents: JournalContents,
) -> list[_Segment]:
    own: list[_Segment] = []
    for number, data in raw.items():
        header = headers[number]
        path = segment_path(number)
        if header is not None and (header.store_id, header.epoch) != identity:
            contents.foreign.append(path)
            _note_foreign_numbers(contents, header, data)
            continue
        salt = segment_salt(*identity, number)
        found = scan(data, HEADER_BLOCK, salt)
        if header is None and not any(isinstance(part, Frame) for part in found.parts):
            contents.unreadable.append(path)
            continue
        own.append(_Segment(number, header, found, data, salt))
    return own


def _note_foreign_numbers(contents: JournalContents, header: SegmentHeader, data: bytes) -> None:
    salt = segment_salt(header.store_id, header.epoch, header.number)
    sequences = [p.sequence or 0 for p in scan(data, HEADER_BLOCK, salt).parts]
    contents.highest_sequence = max(contents.highest_sequence, header.last_sequence, *sequences, 0)


class _Reader:
    """Walks the segments in order; decides for each part whether it counts, is torn, or is damaged."""

    def __init__(self, contents: JournalContents, own: list[_Segment]) -> None:
        self.contents = contents
        self.own = own
        self.claimed = self._highest_claim()
        self.cut = False
        self.last = 0

    def _highest_claim(self) -> int:
        claims = [self.contents.checkpointed_through]
        for segment in self.own:
            if segment.header is not None:
                claims.append(segment.header.first_sequence - 1)
            claims += [part.synced_through for part in segment.scan.parts if isinstance(part, Frame)]
        return max(claims)

    def run(self) -> None:
        for i, segment in enumerate(self.own):
            later = [s.header.first_sequence for s in self.own[i + 1 :] if s.header is not None]
            self._segment(segment, min(later, default=None))
            self._missing_end(segment, next((s.header for s in self.own[i + 1 :] if s.header is not None), None))
            self.contents.segments[segment.number] = self.last
        self.contents.last_sequence = max(self.contents.last_sequence, self.last)
        self.contents.highest_sequence = max(self.contents.highest_sequence, self.contents.last_sequence)

    def _segment(self, segment: _Segment, limit: int | None) -> None:
        if segment.header is not None:
            self.last = max(self.last, segment.header.last_sequence)
            self.contents.highest_sequence = max(self.contents.highest_sequence, segment.header.last_sequence)
        for index, part in enumerate(segment.scan.parts):
            if part.sequence is not None:
                self.contents.highest_sequence = max(self.contents.highest_sequence, part.sequence)
            if self.cut:
                continue
            sequence = part.sequence if part.sequence is not None else self.last + 1
            if limit is not None and sequence >= limit:
                continue
            if isinstance(part, Frame):
                self._frame(segment, part)
            elif sequence <= self.claimed:
                self._damage(segment, part, sequence, index)
            else:
                self._torn(segment, part)

    def _frame(self, segment: _Segment, frame: Frame) -> None:
        self.last = frame.sequence
        if frame.sequence > self.contents.checkpointed_through:
            records = list(unpack_records(frame.payload))
            self.contents.entries.append(JournalEntry(frame.sequence, frame.wall_micros, records, segment.number))

    def _torn(self, segment: _Segment, bad: BadRange) -> None:
        self.cut = True
        data = segment.data[bad.offset : segment.scan.end]
        self.contents.torn.append(TornTail(segment_path(segment.number), bad.offset, data))

    def _damage(self, segment: _Segment, bad: BadRange, first: int, index: int) -> None:
        following = [p.sequence for p in segment.scan.parts[index + 1 :] if p.sequence is not None]
        last = max(first, (following[0] - 1) if following and bad.sequence is None else first)
        self.last = last
        if last <= self.contents.checkpointed_through:
            return
        remains: list[bytes] = []
        for sequence in range(first, min(last, first + _MOST_GUESSES) + 1):
            remains += self._salvage(segment, bad, sequence)
        self.contents.damage.append(JournalDamage(segment_path(segment.number), first, last, remains))

    def _salvage(self, segment: _Segment, bad: BadRange, sequence: int) -> list[bytes]:
        payload = bad.payload or segment.data[bad.offset : bad.end]
        salvage = salvage_records(segment.salt, sequence, payload)
        if salvage.intact and sequence > self.contents.checkpointed_through:
            self.contents.entries.append(JournalEntry(sequence, 0, salvage.intact, segment.number))
        return salvage.broken

    def _missing_end(self, segment: _Segment, successor: SegmentHeader | None) -> None:
        """Frames at the end of a segment may have become zeros; the successor knows how many there were."""
        if successor is None or self.cut or successor.last_sequence <= self.last:
            return
        first, self.last = self.last + 1, successor.last_sequence
        if self.last > self.contents.checkpointed_through:
            self.contents.damage.append(JournalDamage(segment_path(segment.number), first, self.last, []))
