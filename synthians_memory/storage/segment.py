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
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

import orjson

from synthians_memory.errors import InvalidValueError
from synthians_memory.layout import JOURNAL, segment_number, segment_path
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.framing import (
    FRAME_HEADER,
    RECORD_MAGIC,
    BadRange,
    Frame,
    broken_bodies,
    salt_of,
    salvage_records,
    scan,
    unpack_records,
)

__all__ = [
    "HEADER_BLOCK",
    "JournalContents",
    "JournalDamage",
    "JournalEntry",
    "SegmentHeader",
    "TornTail",
    "judge_segments",
    "read_journal",
    "segment_salt",
]

HEADER_BLOCK: Final = 4096
_PREFIX: Final = struct.Struct("<4sII")
_MAGIC: Final = b"SMJ1"
# How many numbers a bad range may have had that are tried on what it holds, and how often a record is tried in all.
_MOST_GUESSES: Final = 64
_MOST_TRIES: Final = 1 << 20
# How often a journal that seems damaged is read again where a writer changed it meanwhile.
_MOST_READS: Final = 8


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
        """The header block; InvalidValueError where the facts are too long for it."""
        text = orjson.dumps({**asdict(self), "facts": dict(self.facts)})
        block = _PREFIX.pack(_MAGIC, len(text), zlib.crc32(text)) + text
        if len(block) > HEADER_BLOCK:
            raise InvalidValueError(
                f"the facts of the store need {len(block)} bytes in a segment header, over {HEADER_BLOCK}",
                hint="Give the store's embedder a shorter name.",
            )
        return block.ljust(HEADER_BLOCK, b"\0")

    @staticmethod
    def decode(data: bytes, number: int | None = None) -> SegmentHeader | None:
        """The header at the start of `data`; None where it is not intact, or of another number than is given."""
        if len(data) < HEADER_BLOCK:
            return None
        magic, length, crc = _PREFIX.unpack_from(data)
        text = data[_PREFIX.size : _PREFIX.size + length]
        if magic != _MAGIC or length > HEADER_BLOCK - _PREFIX.size or zlib.crc32(text) != crc:
            return None
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            # The checksum of nothing is zero: a block of which only the magic was written passes until here.
            return None
        if not isinstance(found, dict) or any(type(found.get(key)) is not kind for key, kind in _HEADER_TYPES.items()):
            return None
        return (
            SegmentHeader(**{key: found[key] for key in _HEADER_TYPES}) if number in (None, found["number"]) else None
        )


_HEADER_TYPES: Final[Mapping[str, type]] = {
    "number": int,
    "store_id": str,
    "epoch": str,
    "first_sequence": int,
    "last_sequence": int,
    "checkpointed_through": int,
    "facts": dict,
}


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
        remains: what stands in the place of lost records, for naming them; empty also where every
            record could be saved.
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
        headless: segments with frames of this epoch whose header is not intact; the frames count.
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
    headless: list[str] = field(default_factory=list)
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
    parts: Sequence[Frame | BadRange]
    end: int
    data: bytes
    salt: int

    @property
    def first_sequence(self) -> int | None:
        """No frame at or above it in an older segment counts; None where nothing tells."""
        if self.header is not None:
            return self.header.first_sequence
        # The older segments were durable before the first frame was written here, which says so; the later say more.
        return min((part.synced_through + 1 for part in self.parts if part.sequence is not None), default=None)

    @property
    def last_before(self) -> int | None:
        """The last frame that counts before this segment; None where nothing tells."""
        if self.header is not None:
            return self.header.last_sequence
        return self.parts[0].synced_through if self.parts and self.parts[0].sequence is not None else None


def read_journal(backend: Backend, identity: tuple[str, str] | None, *, above: int | None = None) -> JournalContents:
    """Read every segment and decide what counts. Changes nothing.

    A writer may go on meanwhile: what it drops or overtakes during the read is not taken for damage.

    Args:
        backend: the store.
        identity: (store id, epoch) as the superblock has it; None takes the newest intact header's.
        above: as in `judge_segments`.

    Raises:
        DiskError: a segment cannot be read.
    """
    raw = _load_segments(backend)
    contents = judge_segments(raw, identity, above=above)
    for _ in range(_MOST_READS):
        if not contents.damage:
            break
        again = _load_segments(backend)
        if again == raw:
            break
        raw, contents = again, judge_segments(again, identity, above=above)
    return contents


def _load_segments(backend: Backend) -> dict[int, bytes | None]:
    """Content of each segment, by ascending number; None for a name that is taken by something else."""
    raw: dict[int, bytes | None] = {}
    kinds = {segment_number(name): stat.kind for name, stat in backend.scan(JOURNAL)}
    for number in sorted(n for n in kinds if n is not None):
        raw[number] = backend.read(segment_path(number)) if kinds[number] == "file" else None
    return raw


def judge_segments(
    raw: Mapping[int, bytes | None], identity: tuple[str, str] | None, *, above: int | None = None
) -> JournalContents:
    """Decide what counts of segments that were read; they may be no longer, or not only, in the journal.

    Args:
        raw: the content of each, by ascending number.
        identity: as in `read_journal`.
        above: the entries, and the damage, with higher numbers only are of interest; None: those that no
            header says to be in files.
    """
    contents = JournalContents(highest_number=max(raw, default=0))
    segments = {number: data for number, data in raw.items() if data is not None}
    headers = {number: SegmentHeader.decode(data) for number, data in segments.items()}
    if identity is None:
        named_right = (h for number, h in reversed(headers.items()) if h is not None and h.number == number)
        newest = next(named_right, None)
        identity = (newest.store_id, newest.epoch) if newest else ("", "")
    own = _own_segments(segments, headers, identity, contents)
    contents.headers = [s.header for s in own if s.header is not None]
    contents.checkpointed_through = max((h.checkpointed_through for h in contents.headers), default=0)
    contents.last_sequence = contents.checkpointed_through
    _Reader(contents, own, contents.checkpointed_through if above is None else above).run()
    return contents


def _own_segments(
    raw: Mapping[int, bytes],
    headers: Mapping[int, SegmentHeader | None],
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
        if header is not None and header.number != number:
            # A copy under another name: its frames are salted with the number that it had.
            header = None
        salt = segment_salt(*identity, number)
        found = scan(data, HEADER_BLOCK, salt)
        if header is None and not any(isinstance(part, Frame) for part in found.parts):
            contents.unreadable.append(path)
            continue
        if header is None:
            contents.headless.append(path)
        own.append(_Segment(number, header, _in_order(found.parts), found.end, data, salt))
    return own


def _in_order(parts: Sequence[Frame | BadRange]) -> Sequence[Frame | BadRange]:
    """`parts` without any frame that is not in the longest ascending run of numbers, as bad ranges.

    Numbers ascend as they are written: such a frame is a copy, put in a wrong place by the medium or
    found inside a damaged record.
    """
    numbered = [(part.sequence, index) for index, part in enumerate(parts) if part.sequence is not None]
    if all(one < next_one for (one, _), (next_one, _) in pairwise(numbered)):
        return parts
    kept = _longest_ascending([sequence for sequence, _ in numbered])
    misplaced = {index for place, (_, index) in enumerate(numbered) if place not in kept}
    ordered: list[Frame | BadRange] = []
    for index, part in enumerate(parts):
        if index not in misplaced and part.sequence is not None:
            ordered.append(part)
        elif ordered and ordered[-1].sequence is None:
            # What the copy hides goes on behind it.
            ordered[-1] = BadRange(ordered[-1].offset, part.end, None, b"")
        else:
            ordered.append(BadRange(part.offset, part.end, None, b""))
    return ordered


def _longest_ascending(numbers: Sequence[int]) -> set[int]:
    """Indexes of a longest strictly ascending subsequence of `numbers`; of equal ones the first."""
    tails: list[int] = []
    tail_at: list[int] = []
    before: list[int] = []
    for index, number in enumerate(numbers):
        length = bisect_left(tails, number)
        before.append(tail_at[length - 1] if length else -1)
        if length == len(tails) or number < tails[length]:
            tails[length : length + 1] = [number]
            tail_at[length : length + 1] = [index]
    chosen: set[int] = set()
    index = tail_at[-1]
    while index >= 0:
        chosen.add(index)
        index = before[index]
    return chosen


def _note_foreign_numbers(contents: JournalContents, header: SegmentHeader, data: bytes) -> None:
    salt = segment_salt(header.store_id, header.epoch, header.number)
    sequences = [p.sequence or 0 for p in scan(data, HEADER_BLOCK, salt).parts]
    contents.highest_sequence = max(contents.highest_sequence, header.last_sequence, *sequences, 0)


class _Reader:
    """Walks the segments in order; decides for each part whether it counts, is torn, or is damaged."""

    def __init__(self, contents: JournalContents, own: list[_Segment], floor: int) -> None:
        self.contents = contents
        self.floor = floor
        self.own = own
        self.claimed = self._highest_claim()
        self.cut = False
        self.last = 0
        self.previous_path = segment_path(own[0].number) if own else ""

    def _highest_claim(self) -> int:
        claims = [self.contents.checkpointed_through]
        for segment in self.own:
            if segment.header is not None:
                claims.append(segment.header.first_sequence - 1)
            claims += [part.synced_through for part in segment.parts]
        return max(claims)

    def run(self) -> None:
        for segment, limit in zip(self.own, self._limits(), strict=True):
            self._missing_before(segment)
            self._segment(segment, limit)
            self.contents.segments[segment.number] = self.last
            self.previous_path = segment_path(segment.number)
        self.contents.last_sequence = max(self.contents.last_sequence, self.last)
        self._note_number(self.contents.last_sequence)

    def _limits(self) -> list[int | None]:
        """For each segment the lowest first sequence of a later one."""
        limits: list[int | None] = []
        limit: int | None = None
        for segment in reversed(self.own):
            limits.append(limit)
            first = segment.first_sequence
            limit = first if limit is None or (first is not None and first < limit) else limit
        return limits[::-1]

    def _note_number(self, sequence: int) -> None:
        self.contents.highest_sequence = max(self.contents.highest_sequence, sequence)

    def _missing_before(self, segment: _Segment) -> None:
        """Frames may have become zeros, or their segment may be gone; the next one knows how many there were."""
        before = segment.last_before
        if before is not None and before > self.last and not self.cut:
            self._note_number(before)
            self._missing(self.previous_path, before)

    def _missing(self, path: str, last: int) -> None:
        """Frames up to `last` are nowhere."""
        first, self.last = max(self.last, self.floor) + 1, last
        if first <= last:
            self.contents.damage.append(JournalDamage(path, first, last, []))

    def _segment(self, segment: _Segment, limit: int | None) -> None:
        begun = False
        for part, stop in zip(segment.parts, _stops(segment.parts, limit), strict=True):
            self._note_number(part.sequence or 0)
            if self.cut:
                continue
            known = part.sequence is not None and part.sequence > self.last
            sequence = part.sequence if known and part.sequence is not None else self.last + 1
            if (limit is not None and sequence >= limit) or (not known and stop is not None and sequence >= stop):
                continue
            if begun and sequence > self.last + 1:
                self._missing(segment_path(segment.number), sequence - 1)
            begun = True
            if known and isinstance(part, Frame):
                self._frame(segment, part)
            elif sequence <= self.claimed:
                self._damage(segment, part, sequence, sequence + 1 if known else stop)
            else:
                self._torn(segment, part)

    def _frame(self, segment: _Segment, frame: Frame) -> None:
        self.last = frame.sequence
        if frame.sequence > self.floor:
            records = list(unpack_records(frame.payload))
            self.contents.entries.append(JournalEntry(frame.sequence, frame.wall_micros, records, segment.number))

    def _torn(self, segment: _Segment, bad: Frame | BadRange) -> None:
        self.cut = True
        data = segment.data[bad.offset : segment.end]
        self.contents.torn.append(TornTail(segment_path(segment.number), bad.offset, data))

    def _damage(self, segment: _Segment, bad: Frame | BadRange, first: int, stop: int | None) -> None:
        """Save what can be of a bad range, which holds the frames from `first` to before `stop`."""
        last = max(first, (stop if stop is not None else self.claimed + 1) - 1)
        self.last = last
        if last <= self.floor:
            return
        payload = bad.payload if bad.sequence == first else _from_first_record(segment.data[bad.offset : bad.end])
        remains = self._salvage(segment, payload, first, last)
        first = max(first, self.floor + 1)
        self.contents.damage.append(JournalDamage(segment_path(segment.number), first, last, remains))

    def _salvage(self, segment: _Segment, payload: bytes, first: int, last: int) -> list[bytes]:
        tries = min(_MOST_GUESSES, max(1, _MOST_TRIES // (payload.count(RECORD_MAGIC) + 1)))
        stretches = [payload]
        for sequence in range(first, min(last + 1, first + tries)):
            salvages = [salvage_records(segment.salt, sequence, stretch) for stretch in stretches]
            stretches = [stretch for salvage in salvages for stretch in salvage.broken]
            intact = [body for salvage in salvages for body in salvage.intact]
            if intact and sequence > self.floor:
                self.contents.entries.append(JournalEntry(sequence, 0, intact, segment.number))
        return [body for stretch in stretches for body in broken_bodies(stretch)]


def _stops(parts: Sequence[Frame | BadRange], limit: int | None) -> list[int | None]:
    """For each part the next number known behind it, at most `limit`; None where there is neither."""
    stops: list[int | None] = []
    stop = limit
    for part in reversed(parts):
        stops.append(stop)
        if part.sequence is not None and (limit is None or part.sequence < limit):
            stop = part.sequence
    return stops[::-1]


def _from_first_record(data: bytes) -> bytes:
    """Without the header of a single frame, which holds no record."""
    return data[FRAME_HEADER:] if data.startswith(RECORD_MAGIC, FRAME_HEADER) else data
