"""A journal is read back after anything: what is intact counts, what is lost is reported, nothing is made up."""

from __future__ import annotations

import errno
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import chain, pairwise

import orjson
import pytest
from journal_lives import EPOCH, FACTS, IDENTITY, STORE, content, journal_on, overwrite

from synthians_memory.errors import DiskError, InvalidValueError
from synthians_memory.layout import JOURNAL, JOURNAL_RESERVE, scratch_path, segment_path
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.framing import FRAME_HEADER, Frame, encode_frame, frame_size, pack_records, scan
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.storage.segment import (
    HEADER_BLOCK,
    JournalContents,
    SegmentHeader,
    read_journal,
    segment_salt,
)
from synthians_memory.testing.faults import Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend

A, B, C = (segment_path(number) for number in (1, 2, 3))
RECORD_HEADER = 12
HEADER = SegmentHeader(1, STORE, EPOCH, 7, 6, 6, FACTS)
WRITTEN = {
    1: [b"a1"],
    2: [b"a2 first", b"a2 second " * 3, b"a2 third"],
    3: [b"a3" * 20],
    4: [b"b4"],
    5: [b"b5 first", b"b5 second"],
}


@pytest.fixture
def backend() -> Iterator[MemoryBackend]:
    made = MemoryBackend()
    made.make_folder(JOURNAL)
    yield made
    made.close()


def write_three(backend: Backend, through: int = 0) -> None:
    """Frames 1 to 3 in segment A, 4 and 5 in B, each synced by itself; C is a header checkpointed through `through`."""
    journal = journal_on(backend, segment_bytes=HEADER_BLOCK + 1024)
    journal.start_segment(0)
    for sequence, records in WRITTEN.items():
        assert journal.append([records]) == [sequence]
        journal.sync()
        if sequence == 3:
            journal.start_segment(0)
    journal.start_segment(through)
    journal.close()


def read(backend: Backend, identity: tuple[str, str] | None = IDENTITY) -> JournalContents:
    return read_journal(backend, identity)


def found(contents: JournalContents) -> dict[int, list[bytes]]:
    """Records by sequence; they ascend."""
    sequences = [entry.sequence for entry in contents.entries]
    assert sequences == sorted(set(sequences))
    return {entry.sequence: entry.records for entry in contents.entries}


def damaged(contents: JournalContents) -> set[int]:
    """The sequences that are reported damaged; the reports ascend."""
    ranges = [(damage.first, damage.last) for damage in contents.damage]
    assert all(first <= last for first, last in ranges)
    assert all(before[1] < after[0] for before, after in pairwise(ranges))
    return set(chain.from_iterable(range(first, last + 1) for first, last in ranges))


def places(data: bytes, number: int) -> dict[int, range]:
    """Where the frames of a segment are."""
    parts = scan(data, HEADER_BLOCK, segment_salt(STORE, EPOCH, number)).parts
    return {part.sequence: range(part.offset, part.end) for part in parts if isinstance(part, Frame)}


def is_part(records: list[bytes], whole: list[bytes]) -> bool:
    """Whether `records` is `whole` with some left out."""
    rest = iter(whole)
    return all(record in rest for record in records)


def judge(contents: JournalContents, written: Mapping[int, list[bytes]], hit: set[int]) -> None:
    """Nothing is made up, what was not hit is there, and what is not there is reported."""
    records = found(contents)
    for sequence, whole in written.items():
        if sequence not in hit:
            assert records.get(sequence) == whole
        elif records.get(sequence) != whole:
            assert sequence in damaged(contents)
            assert is_part(records.get(sequence, []), whole)
    assert records.keys() <= written.keys()


# The header


def raw_header(fields: object, magic: bytes = b"SMJ1") -> bytes:
    text = fields if isinstance(fields, bytes) else orjson.dumps(fields)
    return (struct.pack("<4sII", magic, len(text), zlib.crc32(text)) + text).ljust(HEADER_BLOCK, b"\0")


def test_a_header_is_one_block_and_reads_back() -> None:
    block = HEADER.encode()
    assert len(block) == HEADER_BLOCK
    assert SegmentHeader.decode(block, 1) == HEADER
    assert SegmentHeader.decode(block + b"frames", 1) == HEADER
    assert SegmentHeader.decode(block, 2) is None


def test_unknown_keys_of_a_header_are_ignored() -> None:
    block = raw_header({"later": [1, {"x": None}], **asdict(HEADER), "": 0})
    assert SegmentHeader.decode(block, 1) == HEADER


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        {**asdict(HEADER), "number": "1"},
        {**asdict(HEADER), "number": True},
        {**asdict(HEADER), "epoch": None},
        {**asdict(HEADER), "first_sequence": 1.5},
        {**asdict(HEADER), "facts": []},
        {name: value for name, value in asdict(HEADER).items() if name != "last_sequence"},
    ],
)
def test_a_header_that_no_writer_made_is_none(fields: object) -> None:
    assert SegmentHeader.decode(raw_header(fields), 1) is None


def test_a_header_torn_or_changed_anywhere_is_none() -> None:
    block = HEADER.encode()
    meant = len(block.rstrip(b"\0"))
    for at in range(meant):
        for mask in (1, 0x80):
            changed = bytearray(block)
            changed[at] ^= mask
            assert SegmentHeader.decode(bytes(changed), 1) is None
        assert SegmentHeader.decode(block[:at].ljust(HEADER_BLOCK, b"\0"), 1) is None
        assert SegmentHeader.decode(block[:at], 1) is None


def test_facts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="4096"):
        SegmentHeader(1, STORE, EPOCH, 1, 0, 0, {"embedder": "x" * 4000}).encode()


# Whole journals


@pytest.mark.parametrize("identity", [IDENTITY, None])
def test_what_was_written_is_read(backend: MemoryBackend, identity: tuple[str, str] | None) -> None:
    write_three(backend)
    contents = read(backend, identity)
    assert found(contents) == WRITTEN
    assert [entry.number for entry in contents.entries] == [1, 1, 1, 2, 2]
    assert [entry.wall_micros for entry in contents.entries] == sorted({e.wall_micros for e in contents.entries})
    assert [header.number for header in contents.headers] == [1, 2, 3]
    assert [header.first_sequence for header in contents.headers] == [1, 4, 6]
    assert [header.last_sequence for header in contents.headers] == [0, 3, 5]
    assert contents.newest is not None
    assert contents.newest.facts == FACTS
    assert contents.segments == {1: 3, 2: 5, 3: 5}
    assert (contents.last_sequence, contents.highest_sequence, contents.highest_number) == (5, 5, 3)
    assert not (contents.torn + contents.damage + contents.foreign + contents.headless + contents.unreadable)


@pytest.mark.parametrize("identity", [IDENTITY, None])
def test_an_empty_journal_holds_nothing(backend: MemoryBackend, identity: tuple[str, str] | None) -> None:
    assert read(backend, identity) == JournalContents()
    assert read(MemoryBackend(), identity) == JournalContents()


def test_what_is_no_segment_is_not_read(backend: MemoryBackend) -> None:
    write_three(backend)
    for path in (JOURNAL_RESERVE, scratch_path(JOURNAL, "next"), f"{JOURNAL}/00001.wal", f"{JOURNAL}/x.wal"):
        overwrite(backend, path, content(backend, B))
    backend.make_folder(segment_path(9))
    contents = read(backend)
    assert found(contents) == WRITTEN
    assert contents.highest_number == 9, "its name is taken all the same"


def test_checkpointed_frames_are_not_replayed(backend: MemoryBackend) -> None:
    write_three(backend, through=4)
    contents = read(backend)
    assert found(contents) == {5: WRITTEN[5]}
    assert contents.checkpointed_through == 4


def test_a_disk_that_cannot_be_read_is_no_empty_journal() -> None:
    for verb in ("scan", "read"):
        disk = FaultyDisk()
        FaultyBackend(disk).make_folder(JOURNAL)
        write_three(FaultyBackend(disk))
        disk.plan(Fault(1, errno.EIO, verbs=frozenset((verb,))))
        with pytest.raises(DiskError):
            read(FaultyBackend(disk))


# Changed bytes


@pytest.mark.parametrize("identity", [IDENTITY, None])
@pytest.mark.parametrize("path", [A, B, C])
def test_each_byte_that_changes_costs_its_frame_alone(
    backend: MemoryBackend, path: str, identity: tuple[str, str] | None
) -> None:
    write_three(backend)
    data = content(backend, path)
    header_end = len(data[:HEADER_BLOCK].rstrip(b"\0"))
    where = places(data, int(path[-5]))
    end = max((place.stop for place in where.values()), default=HEADER_BLOCK)
    for at in chain(range(header_end), range(header_end, HEADER_BLOCK, 97), range(HEADER_BLOCK, end + 9)):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        overwrite(backend, path, bytes(changed))
        contents = read(backend, identity)
        judge(contents, WRITTEN, {sequence for sequence, place in where.items() if at in place})
        assert contents.last_sequence == contents.highest_sequence == 5
        assert (path in contents.headless + contents.unreadable) == (at < header_end)
        reported = contents.damage or contents.torn or contents.headless or contents.unreadable
        assert reported or data[at] == 0, "only zeros between and behind the parts may change unseen"


def test_a_lost_header_tells_no_checkpoint_and_everything_there_is_replayed(backend: MemoryBackend) -> None:
    write_three(backend, through=4)
    overwrite(backend, C, bytes(HEADER_BLOCK))
    contents = read(backend)
    assert found(contents) == WRITTEN
    assert contents.unreadable == [C]
    # Were the covered segment dropped before, nothing would prove any more that it was covered.
    backend.unlink(A)
    contents = read(backend)
    assert found(contents) == {4: WRITTEN[4], 5: WRITTEN[5]}
    assert damaged(contents) == {1, 2, 3}


def test_where_a_header_is_lost_its_first_frame_tells_what_came_before(backend: MemoryBackend) -> None:
    write_three(backend)
    data = content(backend, A)
    overwrite(backend, A, data[: places(data, 1)[3].start].ljust(len(data), b"\0"))
    overwrite(backend, B, bytes(HEADER_BLOCK) + content(backend, B)[HEADER_BLOCK:])
    contents = read(backend)
    judge(contents, WRITTEN, {3})
    assert contents.headless == [B]
    assert [(damage.path, damage.first, damage.last) for damage in contents.damage] == [(A, 3, 3)]


def test_stretches_of_zeros_cost_the_frames_they_hit(backend: MemoryBackend) -> None:
    write_three(backend)
    for path in (A, B):
        data = content(backend, path)
        where = places(data, int(path[-5]))
        end = max(place.stop for place in where.values())
        for start in range(HEADER_BLOCK, end, 8):
            for stop in chain(range(start + 8, end, 40), [end]):
                overwrite(backend, path, data[:start] + bytes(stop - start) + data[stop:])
                hit = {sequence for sequence, place in where.items() if place.start < stop and start < place.stop}
                judge(read(backend), WRITTEN, hit)
        overwrite(backend, path, data)


def test_each_length_that_a_segment_is_cut_to_costs_what_is_cut_off(backend: MemoryBackend) -> None:
    write_three(backend)
    for path in (A, B, C):
        data = content(backend, path)
        where = places(data, int(path[-5]))
        end = max((place.stop for place in where.values()), default=HEADER_BLOCK)
        for size in chain(range(0, HEADER_BLOCK, 128), range(HEADER_BLOCK, end)):
            overwrite(backend, path, data[:size])
            judge(read(backend), WRITTEN, {sequence for sequence, place in where.items() if size < place.stop})
            if size < HEADER_BLOCK:
                assert read(backend).unreadable == [path]
        overwrite(backend, path, data)


# Changed files


@pytest.mark.parametrize(("path", "hit"), [(A, {1, 2, 3}), (B, {4, 5}), (C, set())])
@pytest.mark.parametrize("how", ["removed", "zeros", "empty", "noise", "another"])
def test_a_segment_that_is_gone_costs_its_frames(backend: MemoryBackend, path: str, hit: set[int], how: str) -> None:
    write_three(backend)
    data = content(backend, path)
    other = content(backend, B if path == A else A)
    if how == "removed":
        backend.unlink(path)
    else:
        kinds = {"zeros": bytes(len(data)), "empty": b"", "noise": b"\xa5SMF1SMJ1" * 900, "another": other}
        overwrite(backend, path, kinds[how])
    contents = read(backend)
    judge(contents, WRITTEN, hit)
    assert damaged(contents) == hit
    assert contents.unreadable == ([] if how == "removed" else [path])
    assert contents.highest_number == (2 if (path, how) == (C, "removed") else 3)


def test_segments_that_changed_places_are_not_read_as_each_other(backend: MemoryBackend) -> None:
    write_three(backend)
    first, second = content(backend, A), content(backend, B)
    overwrite(backend, A, second)
    overwrite(backend, B, first)
    contents = read(backend)
    assert contents.entries == []
    assert contents.unreadable == [A, B]
    assert damaged(contents) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("path", [A, B, C])
def test_a_copy_under_another_number_is_not_read(backend: MemoryBackend, path: str) -> None:
    write_three(backend)
    overwrite(backend, segment_path(7), content(backend, path))
    contents = read(backend)
    assert found(contents) == WRITTEN
    assert contents.unreadable == [segment_path(7)]
    assert contents.highest_number == 7


def test_a_segment_of_another_life_is_set_apart_and_its_numbers_are_noted(backend: MemoryBackend) -> None:
    write_three(backend)
    salt = segment_salt(STORE, "2" * 32, 4)
    header = SegmentHeader(4, STORE, "2" * 32, 40, 39, 39, FACTS)
    frame = encode_frame(salt, 41, 0, 39, pack_records(salt, 41, [b"foreign"]))
    overwrite(backend, segment_path(4), header.encode() + frame + bytes(100))
    contents = read(backend)
    assert found(contents) == WRITTEN
    assert contents.foreign == [segment_path(4)]
    assert (contents.last_sequence, contents.highest_sequence, contents.highest_number) == (5, 41, 4)
    # Without a superblock the newest header says whose life it is.
    contents = read(backend, None)
    assert found(contents) == {41: [b"foreign"]}
    assert contents.foreign == [A, B, C]


# Saving records of damaged frames


def damage_bytes(backend: Backend, path: str, *hits: int) -> None:
    data = bytearray(content(backend, path))
    for at in hits:
        data[at] ^= 0x41
    overwrite(backend, path, bytes(data))


def test_intact_records_of_a_damaged_frame_are_applied_and_the_others_named(backend: MemoryBackend) -> None:
    write_three(backend)
    start = places(content(backend, A), 1)[2].start
    second = start + FRAME_HEADER + RECORD_HEADER + len(WRITTEN[2][0])
    damage_bytes(backend, A, second + RECORD_HEADER + 20)
    contents = read(backend)
    assert found(contents) == {**WRITTEN, 2: [WRITTEN[2][0], WRITTEN[2][2]]}
    (damage,) = contents.damage
    assert (damage.path, damage.first, damage.last) == (A, 2, 2)
    (remains,) = damage.remains
    assert remains[:20] == WRITTEN[2][1][:20]
    assert len(remains) == len(WRITTEN[2][1])


def test_frames_whose_headers_are_gone_keep_their_records_and_numbers(backend: MemoryBackend) -> None:
    write_three(backend)
    where = places(content(backend, A), 1)
    damage_bytes(backend, A, *(place.start + 20 for place in where.values()))
    contents = read(backend)
    assert found(contents) == WRITTEN
    (damage,) = contents.damage
    assert (damage.first, damage.last) == (1, 3)
    damage_bytes(backend, A, where[1].start + 20)
    assert found(read(backend)) == WRITTEN
    assert [(d.first, d.last) for d in read(backend).damage] == [(2, 3)]
    damage_bytes(backend, A, where[3].start + 20)
    assert [(d.first, d.last, d.remains) for d in read(backend).damage] == [(2, 2, [])]


def test_damage_that_a_checkpoint_covers_is_none(backend: MemoryBackend) -> None:
    write_three(backend, through=3)
    damage_bytes(backend, A, HEADER_BLOCK + 20, HEADER_BLOCK + 120)
    contents = read(backend)
    assert found(contents) == {4: WRITTEN[4], 5: WRITTEN[5]}
    assert contents.damage == []


def test_what_only_its_own_group_follows_is_a_torn_tail(backend: MemoryBackend) -> None:
    journal = journal_on(backend)
    journal.start_segment(0)
    journal.append([[b"one"]])
    journal.sync()
    journal.append([[b"two"], [b"three"], [b"four"]])
    journal.sync()
    journal.close()
    data = content(backend, A)
    where = places(data, 1)
    damage_bytes(backend, A, where[3].start + FRAME_HEADER + 1)
    contents = read(backend)
    assert found(contents) == {1: [b"one"], 2: [b"two"]}
    (torn,) = contents.torn
    assert (torn.path, torn.offset) == (A, where[3].start)
    assert torn.data == content(backend, A)[where[3].start : where[4].stop]
    assert contents.damage == []
    assert (contents.last_sequence, contents.highest_sequence) == (2, 4)
    # What an intact header behind it claims is no tail.
    damage_bytes(backend, A, where[3].start + FRAME_HEADER + 1, where[1].start + 1)
    contents = read(backend)
    assert found(contents) == {1: [b"one"], 2: [b"two"], 3: [b"three"], 4: [b"four"]}
    assert [(damage.first, damage.last) for damage in contents.damage] == [(1, 1)]


def test_two_damaged_frames_claim_by_their_headers(backend: MemoryBackend) -> None:
    journal = journal_on(backend)
    journal.start_segment(0)
    for body in (b"one", b"two", b"three"):
        journal.append([[body]])
        journal.sync()
    where = places(content(backend, A), 1)
    # The payload of 3 is hit; its header still says that 2 was durable.
    damage_bytes(backend, A, where[2].start + 9, where[3].start + FRAME_HEADER + RECORD_HEADER)
    contents = read(backend)
    assert found(contents) == {1: [b"one"], 2: [b"two"]}
    assert damaged(contents) == {2}
    assert [torn.offset for torn in contents.torn] == [where[3].start]


# Frames in a wrong place


def twenty(backend: Backend) -> dict[int, list[bytes]]:
    """Twenty frames of one size, each synced, and a header behind them."""
    journal = journal_on(backend, segment_bytes=16_384)
    journal.start_segment(0)
    written = {n: [b"%02d" % n * 60] for n in range(1, 21)}
    for records in written.values():
        journal.append([records])
        journal.sync()
    journal.start_segment(0)
    journal.close()
    return written


@pytest.mark.parametrize(("source", "target"), [(9, 6), (6, 9), (1, 20), (20, 1), (5, 6), (6, 5)])
def test_a_frame_copied_over_another_costs_that_one_alone(backend: MemoryBackend, source: int, target: int) -> None:
    written = twenty(backend)
    data = bytearray(content(backend, A))
    where = places(bytes(data), 1)
    data[where[target].start : where[target].stop] = data[where[source].start : where[source].stop]
    overwrite(backend, A, bytes(data))
    contents = read(backend)
    lost = {source, target} - found(contents).keys()
    assert len(lost) == 1, "which of two neighbours is the copy cannot be told"
    assert lost == {target} or abs(source - target) == 1
    judge(contents, written, lost)


@pytest.mark.parametrize(("source", "target"), [(0, 512), (512, 1536), (2048, 512), (1024, 3072)])
def test_sectors_written_in_a_wrong_place_cost_what_they_hit(backend: MemoryBackend, source: int, target: int) -> None:
    written = twenty(backend)
    data = bytearray(content(backend, A))
    where = places(bytes(data), 1)
    source, target = HEADER_BLOCK + source, HEADER_BLOCK + target
    data[target : target + 512] = data[source : source + 512]
    overwrite(backend, A, bytes(data))
    hit = {n for n, place in where.items() if place.start < target + 512 and target < place.stop}
    judge(read(backend), written, hit)


def test_frames_within_a_record_are_content_even_where_it_is_damaged(backend: MemoryBackend) -> None:
    journal = journal_on(backend)
    journal.start_segment(0)
    for body in (b"one", b"two"):
        journal.append([[body]])
        journal.sync()
    copy = content(backend, A)[HEADER_BLOCK : HEADER_BLOCK + 3 * frame_size(RECORD_HEADER + 3)]
    holder = [bytes(4) + copy + copy]
    for records in (holder, [b"four"]):
        journal.append([records])
        journal.sync()
    journal.start_segment(0)
    journal.close()
    where = places(content(backend, A), 1)
    written = {1: [b"one"], 2: [b"two"], 3: holder, 4: [b"four"]}
    for at, lost in ((9, set()), (FRAME_HEADER + RECORD_HEADER, {3})):
        damage_bytes(backend, A, where[3].start + at)
        contents = read(backend)
        judge(contents, written, {3})
        assert written.keys() - found(contents).keys() == lost
        assert damaged(contents) == {3}
        damage_bytes(backend, A, where[3].start + at)


# Lives before


def two_lives(backend: Backend) -> dict[int, list[bytes]]:
    """A life that ends with 4 torn and 5 and 6 intact behind it, and a life that goes on with 7 and 8."""
    journal = journal_on(backend)
    journal.start_segment(0)
    written = {n: [b"of the first life: %d" % n] for n in (1, 2, 3)}
    journal.append(list(written.values()))
    journal.sync()
    journal.append([[b"given up: %d" % n] for n in (4, 5, 6)])
    journal.close()
    damage_bytes(backend, A, places(content(backend, A), 1)[4].start + FRAME_HEADER + RECORD_HEADER)
    contents = read(backend)
    assert found(contents) == written
    assert (contents.last_sequence, contents.highest_sequence, len(contents.torn)) == (3, 6, 1)
    journal = journal_on(backend, contents)
    more = {n: [b"of the second life: %d" % n] for n in (7, 8)}
    for sequence, records in more.items():
        assert journal.append([records]) == [sequence]
        journal.sync()
    journal.close()
    return {**written, **more}


def test_frames_of_a_life_before_never_count(backend: MemoryBackend) -> None:
    written = two_lives(backend)
    contents = read(backend)
    assert found(contents) == written
    assert not (contents.torn + contents.damage)
    assert contents.segments == {1: 3, 2: 8}


@pytest.mark.parametrize("identity", [IDENTITY, None])
def test_they_do_not_count_where_the_header_after_them_is_lost(
    backend: MemoryBackend, identity: tuple[str, str] | None
) -> None:
    written = two_lives(backend)
    damage_bytes(backend, B, 20)
    contents = read(backend, identity)
    assert found(contents) == written
    assert contents.headless == [B]
    assert not (contents.torn + contents.damage)
    damage_bytes(backend, B, HEADER_BLOCK + FRAME_HEADER + RECORD_HEADER)
    contents = read(backend, identity)
    assert found(contents) == {n: records for n, records in written.items() if n != 7}
    assert damaged(contents) == {7}


def test_a_third_life_after_the_second_was_lost_uses_no_number_twice(backend: MemoryBackend) -> None:
    two_lives(backend)
    overwrite(backend, B, content(backend, B)[:HEADER_BLOCK])
    contents = read(backend)
    assert sorted(found(contents)) == [1, 2, 3]
    assert contents.last_sequence == 3
    assert contents.highest_sequence == 6
    assert contents.highest_number == 2


# Beside a writer


class Beside(MemoryBackend):
    """Lets the writer act before or after the first read of a segment, or shows it as it was while it was written."""

    path = ""
    stale = b""

    def meanwhile(self) -> None:
        pass

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes | None:
        if path != self.path:
            return super().read(path, offset, length)
        self.path = ""
        before = super().read(path, offset, length)
        self.meanwhile()
        return self.stale or (super().read(path, offset, length) if before else None)


def test_what_is_dropped_during_the_read_is_not_missed() -> None:
    backend = Beside()
    backend.make_folder(JOURNAL)
    write_three(backend)
    last = SegmentHeader(4, STORE, EPOCH, 6, 5, 4, FACTS).encode()

    def checkpoint() -> None:
        overwrite(backend, segment_path(4), last)
        backend.unlink(A)

    backend.meanwhile = checkpoint  # type: ignore[method-assign]
    backend.path = A
    contents = read(backend)
    assert found(contents) == {5: WRITTEN[5]}
    assert (contents.damage, contents.checkpointed_through, contents.highest_number) == ([], 4, 4)


def test_a_frame_overtaken_by_the_read_is_not_taken_for_damage() -> None:
    backend = Beside()
    backend.make_folder(JOURNAL)
    write_three(backend)
    data = content(backend, A)
    place = places(data, 1)[2]
    backend.path, backend.stale = A, data[: place.start] + bytes(len(place)) + data[place.stop :]
    contents = read(backend)
    assert found(contents) == WRITTEN
    assert contents.damage == []


# Time


@pytest.mark.parametrize("magic", [b"SMF1", b"SMR1", b"SMF1SMR1", b"SMR1\x20\0\0\0SMJ1"])
def test_a_segment_full_of_magic_is_read_in_one_go(backend: MemoryBackend, magic: bytes) -> None:
    size = 2 * 1024 * 1024
    overwrite(backend, A, HEADER.encode() + (magic * (size // len(magic) + 1))[:size])
    last = SegmentHeader(2, STORE, EPOCH, 1001, 1000, 6, FACTS)
    overwrite(backend, B, last.encode())
    contents = read(backend)
    assert contents.entries == []
    assert damaged(contents) == set(range(7, 1001))


def test_a_segment_with_thousands_of_damaged_frames_is_read_in_one_go(backend: MemoryBackend) -> None:
    journal = journal_on(backend, segment_bytes=1024 * 1024)
    journal.start_segment(0)
    journal.append([[b"%d" % n] for n in range(1, 10_001)])
    journal.start_segment(0)
    journal.close()
    where = places(content(backend, A), 1)
    hit = {n for n in where if n % 2}
    damage_bytes(backend, A, *(where[n].start + (9 if n % 4 == 1 else FRAME_HEADER + RECORD_HEADER) for n in hit))
    contents = read(backend)
    judge(contents, {n: [b"%d" % n] for n in range(1, 10_001)}, hit)
    assert damaged(contents) == hit
