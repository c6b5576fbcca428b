"""What the journal alone had is lost with it: by name where the bytes still tell it, and never without a word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import pytest
from rot_kinds import flipped, is_segment
from rot_oracle import MODES, Rot, deviating, look_at, verify
from rot_samples import CONFIG, LATER, SAMPLES, FileImage, Sample, disk_of

from synthians_memory.engine.records import Key, decode_record
from synthians_memory.engine.store import Store
from synthians_memory.layout import JOURNAL, segment_path
from synthians_memory.reports import Finding
from synthians_memory.storage.segment import HEADER_BLOCK, read_journal
from synthians_memory.testing.clock import ManualClock

CLOSED, KILLED, CUT, YOUNG = SAMPLES
EVERY = 101
LEFT_ALONE, READER = MODES[4:]


class Place(NamedTuple):
    """Where the data of one change lie in the journal."""

    key: Key
    path: str
    start: int
    stop: int


def changes(sample: Sample) -> Iterator[Place]:
    """Those that later frames or headers claim: what nothing claims may be a torn tail."""
    disk = disk_of(sample.image)
    entries = read_journal(disk, None).entries
    for entry in entries[:-1]:
        for record in map(decode_record, entry.records):
            path = segment_path(entry.number)
            data = record.data if record.data is not None else record.entity_id.encode()
            start = sample.image[path].data.index(data, HEADER_BLOCK)
            yield Place(record.key, path, start, start + len(data))


def reported(sample: Sample, rot: Rot, *, read_only: bool) -> list[Finding]:
    """What is said of the journal when the rotten store is opened, and by a full check."""
    config = replace(CONFIG, auto_repair=False)
    disk = disk_of(rot.of(sample.image), rot.folders)
    store = Store.open(disk, config, ManualClock(LATER), read_only=read_only)
    found = [*store.state.notes, *store.check("full")]
    store.release()
    return [finding for finding in found if finding.path.startswith(JOURNAL)]


PLACES = [
    (sample, place) for sample in (KILLED, CUT, YOUNG) for place in changes(sample) if place.stop - place.start > 9
]


@pytest.mark.parametrize("read_only", [False, True], ids=["writer", "reader"])
@pytest.mark.parametrize(("sample", "place"), PLACES, ids=[f"{s.name}-{p.key[1]}-{p.start}" for s, p in PLACES])
def test_a_flipped_bit_in_what_a_change_says_names_the_entity_and_hits_no_other(
    sample: Sample, place: Place, read_only: bool
) -> None:
    for offset in range(place.start, place.stop, EVERY):
        rot = flipped(sample, place.path, offset, 1 << offset % 8)
        (finding,) = reported(sample, rot, read_only=read_only)
        assert (finding.code, finding.path) == ("journal_damaged", place.path)
        assert (finding.kind, finding.entity_id) == place.key
        assert finding.severity == "damage"
        disk = disk_of(rot.of(sample.image))
        look = look_at(disk, READER if read_only else LEFT_ALONE, sample)
        assert deviating(sample, look) in ([], [place.key])


def test_there_are_such_changes() -> None:
    assert {place.key for _, place in PLACES} == {
        *(("memory", name) for name in ("m0", "m1", "m2", "m6", "m7")),
        ("assembly", "a1"),
    }


def segments(sample: Sample) -> list[str]:
    return [path for path in sample.paths if is_segment(path)]


def all_gone(sample: Sample) -> Rot:
    return Rot("the journal is empty", dict.fromkeys(segments(sample)))


def all_zero(sample: Sample) -> Rot:
    zeros = {path: FileImage(bytes(len(sample.image[path].data)), 0) for path in segments(sample)}
    return Rot("all segments are zeros", zeros)


def all_headers_flipped(sample: Sample) -> Rot:
    changed: dict[str, FileImage | None] = {}
    for path in segments(sample):
        changed.update(flipped(sample, path, 20, 0x10).changes)
    return Rot("all headers are damaged", changed)


def all_headers_and_frames_flipped(sample: Sample) -> Rot:
    changed: dict[str, FileImage | None] = {}
    for path in segments(sample):
        data = bytearray(b"".join(b"%c" % (byte ^ 0x11) if byte else b"\0" for byte in sample.image[path].data))
        changed[path] = FileImage(bytes(data), sample.image[path].mtime_ns)
    return Rot("nothing in any segment is intact", changed)


def all_folders(sample: Sample) -> Rot:
    return Rot("all segments are folders", {}, tuple(segments(sample)))


LOSSES = [all_gone, all_zero, all_headers_flipped, all_headers_and_frames_flipped, all_folders]


@pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])
@pytest.mark.parametrize("loss", LOSSES, ids=[loss.__name__ for loss in LOSSES])
@pytest.mark.parametrize("sample", [CLOSED, KILLED, CUT], ids=lambda sample: sample.name)
def test_a_journal_that_is_lost_whole_is_reported_and_costs_only_what_it_alone_had(
    sample: Sample, loss: object, mode: object
) -> None:
    rot = loss(sample)  # type: ignore[operator]
    disk = disk_of(rot.of(sample.image), rot.folders)
    verify(sample, rot, mode, disk.reopen)  # type: ignore[arg-type]


@pytest.mark.parametrize("read_only", [False, True], ids=["writer", "reader"])
@pytest.mark.parametrize("loss", LOSSES, ids=[loss.__name__ for loss in LOSSES])
@pytest.mark.parametrize("sample", [CLOSED, KILLED, CUT], ids=lambda sample: sample.name)
def test_a_lost_journal_is_damage_whether_it_had_anything_or_not(sample: Sample, loss: object, read_only: bool) -> None:
    """Nothing tells what it had: not even after a clean stop is that no news."""
    rot = loss(sample)  # type: ignore[operator]
    assert "journal_damaged" in {finding.code for finding in reported(sample, rot, read_only=read_only)}
    assert not reported(sample, Rot("nothing happened", {}), read_only=read_only)
