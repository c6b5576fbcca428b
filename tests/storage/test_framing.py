"""Frames prove themselves: what is damaged is found, what is not is read, whatever the bytes are."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from synthians_memory.storage.framing import (
    FRAME_HEADER,
    RECORD_MAGIC,
    BadRange,
    Frame,
    broken_bodies,
    encode_frame,
    frame_size,
    pack_records,
    packed_size,
    salt_of,
    salvage_records,
    scan,
    unpack_records,
)

SALT = salt_of(b"store", b"epoch", b"1")
OTHER = salt_of(b"store", b"epoch", b"2")
RECORD_HEADER = packed_size([0])

payloads = st.lists(st.binary(max_size=100), max_size=6)


def frame(sequence: int, *bodies: bytes, salt: int = SALT, synced: int = 0) -> bytes:
    return encode_frame(salt, sequence, 1_000 + sequence, synced, pack_records(salt, sequence, bodies))


def frames_of(data: bytes, salt: int = SALT, start: int = 0) -> list[tuple[int, list[bytes]]]:
    parts = scan(data, start, salt).parts
    return [(part.sequence, list(unpack_records(part.payload))) for part in parts if isinstance(part, Frame)]


def bad_ranges(data: bytes) -> list[BadRange]:
    return [part for part in scan(data, 0, SALT).parts if isinstance(part, BadRange)]


THREE = [(5, [b"first", b"of two"]), (6, [b"x" * 50]), (7, [b""])]
DATA = b"".join(frame(sequence, *bodies, synced=sequence - 1) for sequence, bodies in THREE)
STARTS = [0, 80, 80 + frame_size(RECORD_HEADER + 50), len(DATA)]


# What is written is read


@given(st.lists(payloads, max_size=5), st.integers(0, 3), st.integers(0, 40))
def test_what_was_encoded_is_scanned(groups: list[list[bytes]], leading: int, trailing: int) -> None:
    start = 8 * leading
    data = b"\xff" * start + b"".join(frame(n, *bodies) for n, bodies in enumerate(groups, 1)) + bytes(trailing)
    found = scan(data, start, SALT)
    assert frames_of(data, start=start) == list(enumerate(groups, 1))
    assert len(found.parts) == len(groups)
    assert found.end == len(data) - trailing


@given(payloads, st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1))
def test_a_frame_keeps_its_numbers(bodies: list[bytes], sequence: int, wall: int, synced: int) -> None:
    payload = pack_records(SALT, sequence, bodies)
    data = encode_frame(SALT, sequence, wall, synced, payload)
    assert len(payload) == packed_size([len(body) for body in bodies])
    assert len(data) == frame_size(len(payload))
    assert len(data) % 8 == 0
    assert scan(data, 0, SALT).parts == [Frame(0, len(data), sequence, wall, synced, payload)]


def test_nothing_and_zeros_hold_no_frame() -> None:
    for data in (b"", bytes(7), bytes(5000)):
        assert scan(data, 0, SALT) == ([], 0)
        assert scan(data, 4096, SALT) == ([], 4096)


def test_frames_begin_at_multiples_of_eight_bytes() -> None:
    assert frames_of(b"\1" * 8 + DATA) == THREE
    assert not any(frames_of(b"\1" * offset + DATA) for offset in range(1, 8))


def test_a_frame_of_another_life_never_verifies() -> None:
    assert frames_of(DATA, OTHER) == []
    (bad,) = scan(DATA, 0, OTHER).parts
    assert bad == BadRange(0, len(DATA.rstrip(b"\0")), None, b"")
    mixed = frame(5, b"own") + frame(6, b"foreign", salt=OTHER) + frame(7, b"own too")
    assert [sequence for sequence, _ in frames_of(mixed)] == [5, 7]


def test_salts_differ_by_each_part() -> None:
    parts = [(b"a", b"b", b"1"), (b"a", b"b", b"2"), (b"a", b"c", b"1"), (b"ab", b"", b"1"), (b"", b"ab", b"1")]
    assert len({salt_of(*part) for part in parts}) == len(parts)


# What is damaged


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_a_byte_that_changed_costs_its_frame_alone(mask: int) -> None:
    for at in range(len(DATA)):
        data = bytearray(DATA)
        data[at] ^= mask
        hit = next(index for index in range(3) if STARTS[index] <= at < STARTS[index + 1])
        intact = [one for index, one in enumerate(THREE) if index != hit]
        found = frames_of(bytes(data))
        if found == THREE:
            assert DATA[at] == 0, "only a byte of the padding may change unseen"
            continue
        assert found == intact
        assert [(bad.offset, bad.end) for bad in bad_ranges(bytes(data))] == [(STARTS[hit], STARTS[hit + 1])] or (
            hit == 2 and bad_ranges(bytes(data))[0].offset == STARTS[2]
        )


def test_bytes_cut_off_cost_the_last_frames_alone() -> None:
    ends = [STARTS[n] + FRAME_HEADER + packed_size([len(body) for body in THREE[n][1]]) for n in range(3)]
    for size in range(len(DATA)):
        whole = sum(end <= size for end in ends)
        assert frames_of(DATA[:size]) == THREE[:whole]
        assert len(bad_ranges(DATA[:size])) == (whole < 3 and STARTS[whole] < size)


def test_bytes_zeroed_cost_the_frames_they_hit() -> None:
    for start in range(0, len(DATA), 4):
        for stop in range(start + 4, len(DATA) + 1, 12):
            data = DATA[:start] + bytes(stop - start) + DATA[stop:]
            hit = {index for index in range(3) if STARTS[index] < stop and start < STARTS[index + 1]}
            found = frames_of(data)
            assert set(map(str, found)) <= set(map(str, THREE))
            assert [one for index, one in enumerate(THREE) if index not in hit] == [
                one for one in found if one[0] - 5 not in hit
            ]


def test_an_intact_header_names_a_frame_whose_payload_is_damaged() -> None:
    data = bytearray(DATA)
    data[STARTS[1] + FRAME_HEADER + RECORD_HEADER] ^= 1
    (bad,) = bad_ranges(bytes(data))
    payload = bytes(data[STARTS[1] + FRAME_HEADER : STARTS[1] + FRAME_HEADER + RECORD_HEADER + 50])
    assert bad == BadRange(STARTS[1], STARTS[2], 6, payload, 5)


def test_a_torn_frame_hides_no_frame_that_stands_in_its_place() -> None:
    torn = frame(9, b"y" * 200)[: FRAME_HEADER + 16]
    data = torn + DATA
    assert frames_of(data) == THREE
    (bad,) = bad_ranges(data)
    assert (bad.offset, bad.end, bad.sequence, bad.payload) == (0, len(torn), 9, torn[FRAME_HEADER:])


@given(st.data())
def test_any_damage_at_all_gives_back_frames_that_were_written(data: st.DataObject) -> None:
    groups = data.draw(st.lists(payloads, min_size=1, max_size=4))
    written = list(enumerate(groups, 1))
    stream = bytearray(b"".join(frame(number, *bodies) for number, bodies in written))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(stream)))
        piece = data.draw(st.binary(min_size=1, max_size=64))
        stream[start : start + data.draw(st.integers(0, 64))] = piece
    parts = scan(bytes(stream), 0, SALT).parts
    assert all(one in written for one in frames_of(bytes(stream)))
    assert all(before.end <= after.offset for before, after in pairwise(parts))
    assert all(part.offset < part.end <= len(stream) for part in parts)
    for part in parts:
        if isinstance(part, BadRange):
            kept = salvage_records(SALT, part.sequence or 1, part.payload).intact
            assert all(body in groups[(part.sequence or 1) - 1] for body in kept)


# Records of a damaged frame


BODIES = [b"one", b"", b"three" * 10, b"four"]
PAYLOAD = pack_records(SALT, 8, BODIES)


def body_starts() -> list[int]:
    starts, offset = [], 0
    for body in BODIES:
        starts.append(offset)
        offset += RECORD_HEADER + len(body)
    return [*starts, offset]


def test_each_record_is_saved_by_its_own_checksum() -> None:
    starts = body_starts()
    for at in range(len(PAYLOAD)):
        damaged = bytearray(PAYLOAD)
        damaged[at] ^= 0x10
        hit = max(index for index in range(4) if starts[index] <= at)
        salvage = salvage_records(SALT, 8, bytes(damaged))
        assert salvage.intact == BODIES[:hit] + BODIES[hit + 1 :]
        assert salvage.broken == [bytes(damaged[starts[hit] : starts[hit + 1]])]


def test_records_of_another_frame_are_not_saved() -> None:
    for salvage in (salvage_records(SALT, 9, PAYLOAD), salvage_records(OTHER, 8, PAYLOAD)):
        assert salvage.intact == []
        assert salvage.broken == [PAYLOAD]


@given(st.binary(max_size=300), st.booleans())
@example(RECORD_MAGIC * 40, True)
@example((RECORD_MAGIC + b"\x02\0\0\0" + bytes(4)) * 20, True)
def test_salvage_leaves_no_byte_out(payload: bytes, between: bool) -> None:
    whole = pack_records(SALT, 8, [b"kept"])
    salvage = salvage_records(SALT, 8, payload + whole if between else payload)
    assert len(b"".join(salvage.broken)) + sum(RECORD_HEADER + len(b) for b in salvage.intact) == len(payload) + (
        len(whole) if between else 0
    )
    assert all(body == b"kept" for body in salvage.intact)


def test_what_is_left_of_broken_records_names_each_of_them() -> None:
    damaged = bytearray(pack_records(SALT, 8, [b"id-1 aaaa", b"id-2 bbbb", b"id-3 cccc"]))
    damaged[RECORD_HEADER + 8] ^= 1
    damaged[2 * RECORD_HEADER + 9 + 8] ^= 1
    (stretch,) = salvage_records(SALT, 8, bytes(damaged)).broken
    assert [body[:4] for body in broken_bodies(stretch)] == [b"id-1", b"id-2"]
    damaged[4] ^= 3  # its length leads nowhere any more
    (stretch,) = salvage_records(SALT, 8, bytes(damaged)).broken
    assert [body[:4] for body in broken_bodies(stretch)] == [b"id-1", b"id-2"]
    damaged[0] ^= 1
    (stretch,) = salvage_records(SALT, 8, bytes(damaged)).broken
    assert [body[:4] for body in broken_bodies(stretch)] == [b"id-1", b"id-2"]


def test_zeros_and_nothing_name_nothing() -> None:
    assert broken_bodies(b"") == broken_bodies(bytes(500)) == broken_bodies(RECORD_MAGIC) == []


# Hostile content


HOSTILE = [
    b"SMF1",
    b"SMR1" * 20,
    b"SMF1SMR1SMJ1" * 9,
    DATA,
    frame(6, b"of another segment", salt=OTHER),
    pack_records(OTHER, 6, [b"of another segment"]),
    b"\0" * 64 + b"SMF1" + b"\xff" * 64,
]


@pytest.mark.parametrize("body", HOSTILE)
def test_content_that_looks_like_frames_is_content(body: bytes) -> None:
    bodies = [body, b"plain", body + b"tail"]
    data = frame(20, *bodies) + frame(21, b"next")
    assert frames_of(data) == [(20, bodies), (21, [b"next"])]
    for at in range(FRAME_HEADER + RECORD_HEADER, FRAME_HEADER + RECORD_HEADER + len(body)):
        damaged = bytearray(data)
        damaged[at] ^= 4
        (bad, following) = (scan(bytes(damaged), 0, SALT).parts[i] for i in (0, -1))
        assert isinstance(bad, BadRange)
        assert isinstance(following, Frame)
        assert following.sequence == 21
        if body is not DATA:
            # A copy of this very file inside a record is the one thing that only its numbers betray.
            assert salvage_records(SALT, 20, bad.payload).intact == bodies[1:]
            assert frames_of(bytes(damaged)) == [(21, [b"next"])]


@pytest.mark.parametrize("offset", [0, 1, 4])
@pytest.mark.parametrize("magic", [b"SMF1", b"SMR1", b"SMF1SMR1", b"SMR1\x04\0\0\0\0\0\0\0", b"SMR1\0\0\x10\0abcd"])
def test_megabytes_of_magic_take_time_in_proportion(magic: bytes, offset: int) -> None:
    size = 1024 * 1024
    noise = (b"\1" * offset + magic * (size // len(magic)))[:size].ljust(size, b"\1")
    data = frame(1, b"before") + noise + frame(2, b"behind")
    assert frames_of(data) == [(1, [b"before"]), (2, [b"behind"])]
    salvage = salvage_records(SALT, 3, noise)
    assert salvage.intact == []
    assert b"".join(salvage.broken) == noise
    assert b"".join(broken_bodies(noise)) != noise


def test_a_segment_full_of_frame_magic_is_scanned_in_one_go() -> None:
    noise = b"SMF1" * (2 * 1024 * 1024)
    parts = scan(noise, 4096, SALT).parts
    assert [(part.offset, part.end, part.sequence) for part in parts] == [(4096, len(noise), None)]


def test_damage_all_over_a_large_stretch_is_read_past() -> None:
    rng = random.Random(1)
    written = [(n, [rng.randbytes(rng.randrange(300))]) for n in range(1, 3000)]
    data = bytearray(b"".join(frame(n, *bodies) for n, bodies in written))
    for at in range(0, len(data), 1500):
        data[at] ^= 0x55
    found = frames_of(bytes(data))
    assert 2000 < len(found) < 3000
    assert all(one in written[one[0] - 1 : one[0]] for one in found)
