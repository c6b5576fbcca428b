"""The disk that fails as told: which call fails, how, for how long, and what that leaves."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator

import pytest

from synthians_memory.errors import DiskError, DiskFullError, InvalidValueError, PermissionDeniedError
from synthians_memory.storage.backend import Backend
from synthians_memory.testing.backend_suite import BackendSuite
from synthians_memory.testing.faults import MUTATING, READING, VERBS_OF_ERRNO, WRITING, Fault, FaultyDisk, PowerCut
from synthians_memory.testing.faulty_backend import FaultyBackend


class TestBackendWithoutFaults(BackendSuite):
    @pytest.fixture
    def backend(self) -> Iterator[FaultyBackend]:
        backend = FaultyBackend(FaultyDisk())
        yield backend
        backend.close()

    def reopen(self, backend: Backend) -> Backend:
        assert isinstance(backend, FaultyBackend)
        return FaultyBackend(backend.disk)


class TestBackendOnACopiedDisk(TestBackendWithoutFaults):
    @pytest.fixture
    def backend(self) -> Iterator[FaultyBackend]:
        disk = FaultyDisk(capacity_bytes=1 << 30, syncs_filesystem=False)
        backend = FaultyBackend(disk.copy().crash("sampled", seed=1).copy())
        yield backend
        backend.close()


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def backend(disk: FaultyDisk) -> FaultyBackend:
    return FaultyBackend(disk)


def names(backend: FaultyBackend) -> set[str]:
    return {name for name, _ in backend.scan("")}


def calls_of(backend: FaultyBackend) -> dict[str, Callable[[], object]]:
    """One call for each verb; all succeed on a disk without faults, in this order."""
    opened = backend.create("opened")
    backend.create("source").close()
    backend.make_folder("folder")
    return {
        "create": lambda: backend.create("a"),
        "open_existing": lambda: backend.open_existing("opened"),
        "write": lambda: opened.write(b"data"),
        "write_at": lambda: opened.write_at(0, b"data"),
        "sync": opened.sync,
        "replace": lambda: backend.replace("source", "target"),
        "unlink": lambda: backend.unlink("target"),
        "make_folder": lambda: backend.make_folder("b"),
        "remove_folder": lambda: backend.remove_folder("folder"),
        "sync_folder": lambda: backend.sync_folder(""),
        "sync_filesystem": backend.sync_filesystem,
        "free_bytes": backend.free_bytes,
        "read": lambda: backend.read("opened"),
        "stat": lambda: backend.stat("opened"),
        "scan": lambda: backend.scan(""),
        "lock": lambda: backend.lock("", exclusive=True),
    }


# Which call fails


def test_every_verb_is_counted_and_can_fail(disk: FaultyDisk, backend: FaultyBackend) -> None:
    calls = calls_of(backend)
    assert calls.keys() == MUTATING | READING
    before = disk.calls
    for verb, call in calls.items():
        disk.plan(Fault(1, errno.EIO, verbs=frozenset((verb,))))
        with pytest.raises(DiskError) as caught:
            call()
        assert caught.value.errno == errno.EIO
        assert isinstance(caught.value.__cause__, OSError)
        call()
    assert disk.calls == before + 2 * len(MUTATING)
    assert [verb for verb, _ in disk.failed] == list(calls)
    assert all(disk.counts[verb] >= 2 for verb in calls)


def test_a_call_that_fails_changes_nothing(disk: FaultyDisk, backend: FaultyBackend) -> None:
    calls = calls_of(backend)
    before = sorted(backend.scan(""))
    for verb in MUTATING:
        disk.plan(Fault(1, errno.EROFS, verbs=frozenset((verb,))))
        with pytest.raises(PermissionDeniedError):
            calls[verb]()
        assert sorted(backend.scan("")) == before


def test_calls_are_counted_from_the_plan_on_among_its_verbs(disk: FaultyDisk, backend: FaultyBackend) -> None:
    file = backend.create("a")
    file.write(b"1")
    disk.plan(Fault(2, errno.EIO, verbs=frozenset(("write",))))
    file.write(b"2")
    file.sync()
    with pytest.raises(DiskError):
        file.write(b"3")
    file.write(b"4")
    assert backend.read("a") == b"124"


def test_without_verbs_every_mutating_call_counts_and_no_other(disk: FaultyDisk, backend: FaultyBackend) -> None:
    disk.plan(Fault(2, errno.EIO))
    file = backend.create("a")
    backend.read("a")
    with pytest.raises(DiskError):
        file.write(b"1")


def test_no_space_once_and_for_ever(disk: FaultyDisk, backend: FaultyBackend) -> None:
    file = backend.create("a")
    disk.plan(Fault(2, errno.ENOSPC))
    file.write(b"1")
    with pytest.raises(DiskFullError):
        file.write(b"2")
    file.write(b"3")
    assert backend.read("a") == b"13"
    disk.plan(Fault(2, errno.ENOSPC, forever=True, verbs=VERBS_OF_ERRNO[errno.ENOSPC]))
    file.write(b"4")
    for call in (lambda: file.write(b"5"), file.sync, lambda: backend.create("b"), lambda: file.write(b"6")):
        with pytest.raises(DiskFullError):
            call()
    assert backend.read("a") == b"134"
    assert backend.unlink("a")
    disk.clear_plan()
    backend.create("b").write(b"7")
    assert backend.read("b") == b"7"


def test_a_short_write_gets_half_way(disk: FaultyDisk, backend: FaultyBackend) -> None:
    file = backend.create("a")
    disk.plan(Fault(1, short=True), Fault(2, errno.EIO, short=True))
    with pytest.raises(DiskFullError):
        file.write(b"12345678")
    with pytest.raises(DiskError) as caught:
        file.write_at(1, b"abcd")
    assert caught.value.errno == errno.EIO
    file.write(b"+")
    assert backend.read("a") == b"1ab4+"


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, DiskFullError), (errno.EACCES, PermissionDeniedError), (errno.EMFILE, DiskError)],
)
def test_errors_are_of_the_tree(disk: FaultyDisk, backend: FaultyBackend, number: int, kind: type[DiskError]) -> None:
    disk.plan(Fault(1, number))
    with pytest.raises(kind) as caught:
        backend.create("a")
    assert (caught.value.errno, caught.value.path) == (number, "a")
    assert caught.value.hint


def test_a_fault_that_cannot_happen_is_refused() -> None:
    for impossible in (
        lambda: Fault(0, errno.EIO),
        lambda: Fault(1),
        lambda: Fault(1, errno.EIO, verbs=frozenset(("fly",))),
    ):
        with pytest.raises(InvalidValueError):
            impossible()
    assert Fault(1, short=True).matching == WRITING


def test_the_trace_names_the_latest_calls(disk: FaultyDisk, backend: FaultyBackend) -> None:
    file = backend.create("a")
    for _ in range(20_000):
        file.write(b"")
    backend.unlink("a")
    assert disk.trace[-1] == ("unlink", "a")
    assert len(disk.trace) == 10_000
    assert disk.calls == 20_002


# Space


def test_a_full_disk_takes_what_fits_and_unlink_frees_it() -> None:
    disk = FaultyDisk(capacity_bytes=10)
    backend = FaultyBackend(disk)
    file = backend.create("a")
    file.write(b"123456")
    assert backend.free_bytes() == 4
    with pytest.raises(DiskFullError):
        file.write(b"789012")
    assert backend.read("a") == b"1234567890"
    file.write_at(0, b"abc")
    with pytest.raises(DiskFullError):
        backend.create("b").write(b"x")
    backend.unlink("a")
    assert backend.free_bytes() == 0
    file.close()
    assert backend.free_bytes() == 10
    assert FaultyBackend(disk.crash("keep_all")).free_bytes() == 10


def test_a_write_that_found_no_room_goes_on_where_it_ended() -> None:
    backend = FaultyBackend(FaultyDisk(capacity_bytes=4))
    backend.create("b").write(b"x")
    file = backend.create("a")
    with pytest.raises(DiskFullError):
        file.write(b"1234")
    backend.disk.capacity_bytes = None
    file.write(b"+")
    assert backend.read("a") == b"123+"


def test_a_hole_takes_space_too() -> None:
    backend = FaultyBackend(FaultyDisk(capacity_bytes=10))
    backend.make_folder("d")
    file = backend.create("d/a")
    with pytest.raises(DiskFullError):
        file.write_at(20, b"x")
    with pytest.raises(DiskFullError):
        file.write_at(8, b"xyz")
    assert backend.read("d/a") == bytes(8) + b"xy"


# Power


def test_without_power_every_call_raises_until_the_next_life(disk: FaultyDisk, backend: FaultyBackend) -> None:
    calls = calls_of(backend)
    disk.plan_power_cut(1)
    with pytest.raises(PowerCut):
        backend.create("a")
    for call in calls.values():
        with pytest.raises(PowerCut):
            call()
    with pytest.raises(PowerCut):
        FaultyBackend(disk).read("opened")
    assert FaultyBackend(disk.crash("keep_all")).read("opened") == b""


def test_no_handler_of_errors_catches_a_power_cut() -> None:
    assert not issubclass(PowerCut, Exception)


def cut(call: Callable[[FaultyBackend], object], verb: str, seed: int) -> FaultyDisk:
    """The next life, nothing lost, after a cut at the first call of `verb`."""
    disk = FaultyDisk()
    disk.plan_power_cut(1, seed=seed, verbs=frozenset((verb,)))
    with pytest.raises(PowerCut):
        call(FaultyBackend(disk))
    return disk


def test_a_call_that_is_cut_happens_not_at_all_partly_or_wholly() -> None:
    written = {
        FaultyBackend(cut(lambda b: b.create("a").write(b"12"), "write", seed).crash("keep_all")).read("a")
        for seed in range(50)
    }
    created = {
        FaultyBackend(cut(lambda b: b.create("a"), "create", seed).crash("keep_all")).read("a") for seed in range(50)
    }
    assert written == {b"", b"1", b"12"}
    assert created == {None, b""}


def test_a_sync_that_is_cut_may_have_reached_the_disk() -> None:
    def write_and_sync(backend: FaultyBackend) -> None:
        file = backend.create("a")
        backend.sync_folder("")
        file.write(b"1")
        file.write(b"2")
        file.sync()

    left = {FaultyBackend(cut(write_and_sync, "sync", seed).crash("lose_all")).read("a") for seed in range(50)}
    assert left == {b"", b"1", b"12"}


def test_a_sync_of_everything_that_is_cut_may_have_reached_a_part() -> None:
    def fill_and_sync(backend: FaultyBackend) -> None:
        for name in "ab":
            file = backend.create(name)
            file.write(b"x")
            file.close()
        backend.sync_folder("")
        backend.sync_filesystem()

    lives = (cut(fill_and_sync, "sync_filesystem", seed).crash("lose_all") for seed in range(50))
    left = {(life.read("a"), life.read("b")) for life in map(FaultyBackend, lives)}
    assert left == {(b"", b""), (b"x", b""), (b"x", b"x")}


def test_the_same_plan_cuts_the_same_way() -> None:
    states = [[cut(lambda b: b.create("a").write(bytes(99)), "write", seed) for seed in range(20)] for _ in range(2)]
    contents = [[FaultyBackend(disk.crash("keep_all")).read("a") for disk in disks] for disks in states]
    assert contents[0] == contents[1]
    assert len(set(contents[0])) > 3


def test_one_seed_cuts_different_calls_in_different_ways(disk: FaultyDisk) -> None:
    outcomes = set()
    for at in range(2, 32):
        life = disk.copy()
        life.plan_power_cut(at, seed=0)
        file = FaultyBackend(life).create("a")
        for _ in range(at - 2):
            file.write(b"12")
        with pytest.raises(PowerCut):
            file.write(b"12")
        content = FaultyBackend(life.crash("keep_all")).read("a")
        assert content is not None
        outcomes.add(len(content) - 2 * (at - 2))
    assert outcomes == {0, 1, 2}


def test_a_copy_has_no_plan_and_no_locks(disk: FaultyDisk, backend: FaultyBackend) -> None:
    assert backend.lock("", exclusive=True) is not None
    disk.plan(Fault(1, errno.EIO))
    disk.plan_power_cut(1)
    twin = FaultyBackend(disk.copy())
    twin.create("a").write(b"x")
    assert twin.lock("", exclusive=True) is not None
    assert backend.lock("", exclusive=True) is None


def test_closing_a_back_end_leaves_the_others_on_its_disk(disk: FaultyDisk, backend: FaultyBackend) -> None:
    other = FaultyBackend(disk)
    file = other.create("a")
    assert other.lock("", exclusive=False) is not None
    assert backend.lock("", exclusive=False) is not None
    backend.close()
    file.write(b"x")
    assert other.lock("", exclusive=True) is None
    assert other.read("a") == b"x"


def test_threads_share_one_disk(disk: FaultyDisk, backend: FaultyBackend) -> None:
    def work(number: int) -> None:
        for turn in range(50):
            file = backend.create(f"{number}-{turn}")
            file.write(b"data")
            file.sync()
            file.close()
            backend.replace(f"{number}-{turn}", f"{number}")
            backend.sync_folder("")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert disk.calls == 4 * 50 * 5
    survivor = FaultyBackend(disk.crash("lose_all"))
    assert {name: survivor.read(name) for name in names(survivor)} == {str(number): b"data" for number in range(4)}
