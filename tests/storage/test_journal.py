"""The journal's writer: groups, segments, what it does on a full disk, and what it does no more once it failed."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from journal_lives import FACTS, IDENTITY, SMALL, Life, Promises, content, journal_on, overwrite, segment_paths

from synthians_memory.errors import DiskError, DiskFullError, InvalidValueError, JournalFailedError
from synthians_memory.layout import JOURNAL, JOURNAL_RESERVE, is_scratch, segment_path
from synthians_memory.storage.backend import WritableFile
from synthians_memory.storage.segment import HEADER_BLOCK, read_journal
from synthians_memory.testing.backend_content_suite import names
from synthians_memory.testing.faults import SYNCING, Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend

RESERVE = 64 * 1024
ROOM = SMALL - HEADER_BLOCK


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def backend(disk: FaultyDisk) -> FaultyBackend:
    return FaultyBackend(disk)


@pytest.fixture
def life(backend: FaultyBackend) -> Life:
    return Life(backend, Promises())


def check(life: Life) -> None:
    """What was promised is there now, and would be if the power failed now."""
    assert isinstance(life.backend, FaultyBackend)
    disk = life.backend.disk
    life.promises.check(read_journal(FaultyBackend(disk.copy()), IDENTITY))
    life.promises.check(read_journal(FaultyBackend(disk.copy().crash("lose_all")), IDENTITY))
    assert not disk.retried_syncs


def numbers(backend: FaultyBackend) -> dict[int, list[int]]:
    """The sequences of the entries of each segment."""
    found: dict[int, list[int]] = {}
    for entry in read_journal(backend, IDENTITY).entries:
        found.setdefault(entry.number, []).append(entry.sequence)
    return found


# Groups


def test_a_group_is_one_write_and_one_sync(life: Life, disk: FaultyDisk) -> None:
    writes, syncs, calls = disk.counts["write_at"], disk.counts["sync"], disk.calls
    life.append([10], [20, 30], [400])
    life.sync()
    assert disk.counts["write_at"] == writes + 1
    assert disk.counts["sync"] == syncs + 1
    assert disk.calls == calls + 2
    check(life)


def test_sequences_grow_by_one_over_groups_segments_and_lives(backend: FaultyBackend) -> None:
    promises = Promises()
    for _ in range(3):
        life = Life(backend, promises, checkpoint=False)
        life.save([5], [5])
        life.rotate()
        life.save([5])
        life.journal.close()
    assert [batch.sequence for batch in promises.kept] == list(range(1, 10))
    assert numbers(backend) == {1: [1, 2], 2: [3], 3: [4, 5], 4: [6], 5: [7, 8], 6: [9]}


def test_nothing_appended_is_nothing_written(life: Life, disk: FaultyDisk) -> None:
    calls = disk.calls
    assert life.journal.append([]) == []
    life.sync()
    life.sync()
    assert disk.calls == calls


def test_a_batch_of_no_records_is_a_frame_all_the_same(life: Life) -> None:
    life.save([], [3], [])
    (one, _, three) = read_journal(life.backend, IDENTITY).entries
    assert (one.records, three.records) == ([], [])
    check(life)


def test_what_is_appended_counts_from_the_next_sync_on(life: Life) -> None:
    life.save([5])
    life.append([6])
    assert (life.journal.last_sequence, life.journal.synced_through) == (2, 1)
    check(life)
    life.sync()
    assert life.journal.synced_through == 2
    check(life)


# Segments


def test_a_segment_has_its_size_before_the_first_frame(life: Life, disk: FaultyDisk) -> None:
    for size in (10, 1000, 1500):
        life.save([size])
        (stat,) = [stat for name, stat in life.backend.scan(JOURNAL) if name.endswith("1.wal")]
        assert stat.size == SMALL
    assert len(segment_paths(life.backend)) == 1


def test_a_group_goes_on_in_the_next_segment(life: Life, backend: FaultyBackend) -> None:
    life.save([1500])
    life.save([1000], [1000], [1000], [3000], [10])
    assert numbers(backend) == {1: [1, 2, 3], 2: [4], 3: [5, 6]}
    headers = read_journal(backend, IDENTITY).headers
    assert [(h.first_sequence, h.last_sequence, h.checkpointed_through) for h in headers] == [
        (1, 0, 0),
        (4, 3, 0),
        (5, 4, 0),
    ]
    assert all(header.facts == FACTS for header in headers)
    check(life)


@pytest.mark.parametrize("size", [ROOM - 52, ROOM - 51, ROOM, 5 * SMALL, 300_000])
def test_a_frame_may_be_larger_than_a_segment(life: Life, size: int) -> None:
    life.save([4], [size - 4], [4])
    check(life)
    sizes = [stat.size for _, stat in life.backend.scan(JOURNAL)]
    assert sum(sizes) >= size
    assert len(read_journal(life.backend, IDENTITY).entries) == 3


def test_segments_grow_up_to_the_size_asked_for(backend: FaultyBackend) -> None:
    life = Life(backend, Promises(), segment_bytes=3_000_000)
    for _ in range(80):
        life.append([100_000])
    life.sync()
    sizes = [len(content(backend, path)) for path in segment_paths(backend)]
    assert sizes == [262_144, 1_048_576, 3_000_000, 3_000_000, 3_000_000][: len(sizes)]
    assert len(sizes) > 3
    check(life)


def test_a_segment_of_an_earlier_process_is_never_written_to(backend: FaultyBackend) -> None:
    promises = Promises()
    Life(backend, promises).save([10])
    before = content(backend, segment_path(1))
    life = Life(backend, promises, checkpoint=False)
    life.save([10], [2000], [3000])
    assert content(backend, segment_path(1)) == before
    check(life)


def test_a_spare_is_ready_when_a_segment_is_full(life: Life, backend: FaultyBackend, disk: FaultyDisk) -> None:
    assert life.journal.spare_wanted
    life.journal.prepare_spare()
    assert not life.journal.spare_wanted
    life.save([2500])
    assert life.journal.spare_wanted
    life.journal.prepare_spare()
    calls = disk.calls
    life.journal.prepare_spare()
    assert disk.calls == calls
    writes = disk.counts["write"]
    life.save([2500])
    assert disk.counts["write"] == writes
    assert numbers(backend) == {1: [1], 2: [2]}
    check(life)


class Meanwhile(FaultyBackend):
    """Lets a second thread run before one of the calls that make a segment of a scratch file."""

    call = ""
    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def create(self, path: str) -> WritableFile:
        self._come_to("create")
        return super().create(path)

    def open_existing(self, path: str) -> WritableFile:
        self._come_to("open_existing")
        return super().open_existing(path)

    def replace(self, source: str, target: str) -> None:
        self._come_to("replace")
        super().replace(source, target)

    def sync_folder(self, path: str) -> None:
        self._come_to("sync_folder")
        super().sync_folder(path)

    def _come_to(self, call: str) -> None:
        if call == self.call:
            self.call = ""
            self.meanwhile()
            self.call = call


CALLS = ["create", "open_existing", "replace", "sync_folder"]


@pytest.mark.parametrize("call", CALLS)
def test_a_spare_made_meanwhile_never_takes_the_place_of_the_segment_in_use(disk: FaultyDisk, call: str) -> None:
    backend = Meanwhile(disk)
    life = Life(backend, Promises())
    backend.meanwhile = life.journal.prepare_spare
    for size in (2500, 2600, 100, 3900, 2000, 9000, 1):
        life.journal.prepare_spare()
        backend.call = call
        life.save([size], [size])
        backend.call = ""
        check(life)
    assert len(segment_paths(backend)) > 5


@pytest.mark.parametrize("call", CALLS)
def test_a_reserve_made_meanwhile_never_takes_the_place_of_the_segment_in_use(disk: FaultyDisk, call: str) -> None:
    backend = Meanwhile(disk)
    life = Life(backend, Promises())
    life.journal.prepare_spare()
    life.save([3000])
    disk.capacity_bytes = disk.volume.used_bytes()

    def with_room_again() -> None:
        disk.capacity_bytes = None
        life.journal.prepare_spare()

    backend.call, backend.meanwhile = call, with_room_again
    assert life.append([3000], deletes_only=True) == 1
    life.sync()
    check(life)
    life.save([100])
    check(life)


# Dropping


def test_segments_are_dropped_oldest_first_and_only_where_covered(backend: FaultyBackend, disk: FaultyDisk) -> None:
    life = Life(backend, Promises())
    for _ in range(3):
        life.save([10], [10])
        life.rotate()
    assert life.journal.drop() == 0
    assert life.journal.segment_count == 4
    life.promises.checkpoints.add(5)
    life.journal.start_segment(5)
    life.promises.owed_checkpoint = 5
    start = disk.calls
    assert life.journal.drop() == 2
    assert list(disk.trace)[start:] == [
        ("unlink", segment_path(1)),
        ("unlink", segment_path(2)),
        ("sync_folder", JOURNAL),
    ]
    assert [path[-5] for path in segment_paths(backend)] == ["3", "4", "5"]
    assert [entry.sequence for entry in read_journal(backend, IDENTITY).entries] == [6]
    assert life.journal.drop() == 0
    life.checkpoint()
    assert life.journal.drop() == 3
    assert [path[-5] for path in segment_paths(backend)] == ["6"]
    check(life)


def test_what_was_found_at_open_is_dropped_too(backend: FaultyBackend) -> None:
    promises = Promises()
    for _ in range(3):
        Life(backend, promises, checkpoint=False).save([10])
    life = Life(backend, promises)
    assert [path[-5] for path in segment_paths(backend)] == ["4"]
    check(life)


def test_a_drop_that_fails_goes_on_where_it_stopped(life: Life, backend: FaultyBackend, disk: FaultyDisk) -> None:
    for _ in range(3):
        life.save([10])
        life.rotate()
    life.checkpoint()
    disk.plan(Fault(2, errno.EIO, verbs=frozenset(("unlink",))))
    with pytest.raises(DiskError):
        life.journal.drop()
    check(life)
    assert [path[-5] for path in segment_paths(backend)] == ["2", "3", "4", "5"]
    assert life.journal.drop() == 3
    check(life)
    life.save([10])
    check(life)


def test_a_header_is_what_a_clean_close_leaves(life: Life, backend: FaultyBackend) -> None:
    life.save([100], [3000])
    life.journal.prepare_spare()
    life.checkpoint()
    life.leave()
    life.journal.drop()
    life.journal.discard_scratch()
    life.journal.close()
    life.journal.close()
    (path,) = segment_paths(backend)
    assert len(content(backend, path)) == HEADER_BLOCK
    assert names(backend, JOURNAL) == {path.rpartition("/")[2], JOURNAL_RESERVE.rpartition("/")[2]}
    again = Life(backend, life.promises)
    again.save([10])
    check(again)


def test_bytes_count_from_the_last_checkpoint_on(life: Life) -> None:
    assert life.journal.bytes_since_checkpoint == 0
    life.save([100])
    life.rotate()
    life.save([100])
    assert 200 < life.journal.bytes_since_checkpoint < 400
    life.checkpoint()
    assert life.journal.bytes_since_checkpoint == 0


def test_a_new_store_begins_with_a_header_alone(backend: FaultyBackend) -> None:
    backend.make_folder(JOURNAL)
    journal = journal_on(backend)
    journal.start_empty()
    journal.close()
    assert len(content(backend, segment_path(1))) == HEADER_BLOCK
    assert read_journal(backend, None).newest is not None


# A full disk


@pytest.fixture
def full(life: Life, disk: FaultyDisk) -> Life:
    """A life on a disk with no byte left, which has its reserve and some room in its segment."""
    life.journal.prepare_spare()
    life.save([3000])
    overwrite(life.backend, "memories", bytes(500_000))
    disk.capacity_bytes = disk.volume.used_bytes()
    return life


def test_a_full_disk_refuses_what_needs_a_segment_and_freezes_nothing(full: Life, backend: FaultyBackend) -> None:
    for _ in range(3):
        with pytest.raises(DiskFullError):
            full.append([3000])
        assert full.journal.failure is None
    full.save([100])
    check(full)
    with pytest.raises(DiskFullError):
        full.checkpoint()
    full.save([100])
    check(full)
    assert not any(is_scratch(name) for name in names(backend, JOURNAL)), "what was half made takes no room"


def test_deletes_go_on_in_the_reserve_alone(full: Life, backend: FaultyBackend) -> None:
    with pytest.raises(DiskFullError):
        full.append([3000])
    for _ in range(15):
        assert full.append([3000], deletes_only=True) == 1
        full.sync()
        check(full)
        with pytest.raises(DiskFullError):
            full.append([1])
    assert JOURNAL_RESERVE.rpartition("/")[2] not in names(backend, JOURNAL)
    for _ in range(6):
        full.attempt("append", [3000], deletes_only=True)
    with pytest.raises(DiskFullError):
        full.append([3000], deletes_only=True)
    assert full.journal.failure is None
    full.sync()
    check(full)


def test_everything_goes_on_once_there_is_room(full: Life, backend: FaultyBackend) -> None:
    with pytest.raises(DiskFullError):
        full.append([3000])
    full.append([3000], deletes_only=True)
    full.sync()
    with pytest.raises(DiskFullError):
        full.journal.prepare_spare()
    backend.unlink("memories")
    full.save([3000], [20], [6000])
    full.journal.prepare_spare()
    stat = backend.stat(JOURNAL_RESERVE)
    assert stat is not None
    assert stat.size == RESERVE
    full.checkpoint()
    full.journal.drop()
    full.save([10])
    check(full)


def test_a_header_finds_room_where_a_segment_does_not(full: Life, disk: FaultyDisk) -> None:
    disk.capacity_bytes = disk.volume.used_bytes() + HEADER_BLOCK
    full.checkpoint()
    assert full.journal.drop() == 1
    check(full)
    full.save([3000], [10])
    check(full)


def test_the_last_room_is_used_for_what_fits(full: Life, disk: FaultyDisk) -> None:
    disk.capacity_bytes = disk.volume.used_bytes() + HEADER_BLOCK + 3100
    full.save([3000])
    with pytest.raises(DiskFullError):
        full.append([3000])
    assert full.journal.failure is None
    check(full)


def test_the_first_of_a_group_are_written_where_the_rest_finds_no_room(full: Life) -> None:
    assert full.append([200], [300], [3000], [10]) == 2
    assert full.journal.failure is None
    full.sync()
    check(full)
    assert full.append([10], [10]) == 2
    full.sync()
    check(full)


def test_a_frame_too_large_for_the_reserve_is_refused(full: Life) -> None:
    with pytest.raises(DiskFullError):
        full.append([RESERVE], deletes_only=True)
    assert full.append([RESERVE - HEADER_BLOCK - 100], deletes_only=True) == 1
    full.sync()
    check(full)


def test_a_store_opened_on_a_full_disk_can_delete(full: Life, backend: FaultyBackend) -> None:
    full.journal.close()
    contents = read_journal(backend, IDENTITY)
    journal = journal_on(backend, contents)
    with pytest.raises(DiskFullError):
        journal.append([[b"saved"]])
    assert journal.append([[b"deleted"]], deletes_only=True) == [contents.highest_sequence + 1]
    journal.sync()
    after = read_journal(backend, IDENTITY)
    assert [entry.records for entry in after.entries] == [
        *(entry.records for entry in contents.entries),
        [b"deleted"],
    ]


@pytest.mark.parametrize("verb", ["create", "write", "sync", "unlink", "open_existing"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EMFILE])
def test_a_segment_that_cannot_be_made_freezes_nothing(life: Life, disk: FaultyDisk, verb: str, number: int) -> None:
    life.save([3000])
    disk.plan(Fault(1, number, verbs=frozenset((verb,)), forever=True))
    with pytest.raises(DiskError):
        life.append([3000])
    assert disk.failed
    disk.clear_plan()
    assert life.journal.failure is None
    check(life)
    life.save([3000])
    check(life)


def test_facts_too_long_for_a_header_refuse_the_segment_alone(life: Life) -> None:
    life.journal.facts["embedder"] = "x" * 5000
    with pytest.raises(InvalidValueError):
        life.rotate()
    assert life.journal.failure is None
    life.save([10])
    check(life)


# A failed journal


def assert_frozen(life: Life, error: DiskError, number: int) -> None:
    """Whatever was acknowledged is there, nothing more is taken, and the disk is not touched any more."""
    assert isinstance(error, JournalFailedError)
    assert error.errno == number
    assert isinstance(life.backend, FaultyBackend)
    disk, journal = life.backend.disk, life.journal
    disk.clear_plan()
    assert journal.failure is not None
    calls = disk.calls
    steps: list[Callable[[], object]] = [
        lambda: life.append([1]),
        lambda: life.append([1], deletes_only=True),
        life.sync,
        life.rotate,
        life.leave,
        journal.start_empty,
    ]
    for step in steps:
        with pytest.raises(JournalFailedError, match="journal") as caught:
            step()
        assert caught.value.errno == number
        assert caught.value.path == journal.failure.path
    journal.prepare_spare()
    assert not journal.spare_wanted
    assert disk.calls == calls
    check(life)


def failing(life: Life, fault: Fault, step: Callable[[], object]) -> DiskError:
    assert isinstance(life.backend, FaultyBackend)
    life.backend.disk.plan(fault)
    with pytest.raises(DiskError) as caught:
        step()
    return caught.value


@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_failed_sync_freezes(life: Life, number: int, forever: bool) -> None:
    life.save([10])
    life.append([2000], [5])
    error = failing(life, Fault(1, number, verbs=SYNCING, forever=forever), life.sync)
    assert_frozen(life, error, number)


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
def test_a_failed_write_freezes_and_half_of_a_frame_is_none(life: Life, number: int, short: bool) -> None:
    life.save([10])
    fault = Fault(1, number, verbs=frozenset(("write_at",)), short=short)
    error = failing(life, fault, lambda: life.append([1200], [600]))
    assert_frozen(life, error, number)
    contents = read_journal(life.backend, IDENTITY)
    assert len(contents.entries) == 1
    assert bool(contents.torn) == short
    again = Life(life.backend, life.promises)
    again.save([10])
    check(again)


@pytest.mark.parametrize("verb", ["replace", "sync_folder"])
def test_a_new_segment_that_cannot_be_named_freezes(life: Life, verb: str) -> None:
    life.save([3000])
    fault = Fault(1, errno.EIO, verbs=frozenset((verb,)))
    error = failing(life, fault, lambda: life.append([3000]))
    assert_frozen(life, error, errno.EIO)


@pytest.mark.parametrize("step", [Life.rotate, Life.checkpoint, Life.leave])
def test_a_segment_that_cannot_be_synced_gets_no_successor(life: Life, step: Callable[[Life], object]) -> None:
    life.append([10])
    error = failing(life, Fault(1, errno.EIO, verbs=frozenset(("sync",))), lambda: step(life))
    assert_frozen(life, error, errno.EIO)
    assert len(segment_paths(life.backend)) == 1


def test_an_error_in_the_middle_of_a_group_leaves_its_first_batches(life: Life, disk: FaultyDisk) -> None:
    life.save([3500])
    disk.plan(Fault(2, errno.EIO, verbs=frozenset(("write_at",))))
    assert life.append([100], [3000], [100]) == 1
    assert life.journal.failure is None, "the header of the next segment was refused, nothing else"
    life.sync()
    life.save([3000])
    check(life)


def test_nothing_is_appended_without_the_folder(backend: FaultyBackend) -> None:
    journal = journal_on(backend)
    with pytest.raises(DiskError):
        journal.append([[b"x"]])
    backend.make_folder(JOURNAL)
    assert journal.append([[b"x"]]) == [1]
