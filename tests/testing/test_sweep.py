"""The sweeps: each point is visited, and the ways in which stores lose data are caught."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from synthians_memory.errors import DiskError, SynthiansMemoryError
from synthians_memory.storage.backend import WritableFile
from synthians_memory.testing.faults import Fault, FaultyDisk, PowerCut
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import POWER_CUTS, Policy
from synthians_memory.testing.sweep import ERRNOS, count_calls, for_each_crash, for_each_fault

OLD, NEW = b"old content", b"new content"


class Save:
    """Replaces the file "a" by one protocol or another; remembers whether it was acknowledged."""

    def __init__(self, *steps: str) -> None:
        self.steps = steps
        self.acknowledged = False

    def __call__(self, backend: FaultyBackend) -> None:
        self.acknowledged = False
        backend.unlink("scratch")
        file = backend.create("scratch")
        file.write(NEW)
        for step in self.steps:
            self.take(step, backend, file)
        self.acknowledged = True

    def take(self, step: str, backend: FaultyBackend, file: WritableFile) -> None:
        if step == "sync":
            file.sync()
        elif step == "sync until it succeeds":
            try:
                file.sync()
            except DiskError:
                file.sync()
        elif step == "rename":
            backend.replace("scratch", "a")
        else:
            backend.sync_folder("")

    def verify(self, backend: FaultyBackend, *_: object) -> None:
        content = backend.read("a")
        assert content in (OLD, NEW), f"torn: {content!r}"
        assert content == NEW or not self.acknowledged, "acknowledged and lost"


FULL = ("sync", "rename", "sync folder")


@pytest.fixture
def disk() -> FaultyDisk:
    disk = FaultyDisk()
    backend = FaultyBackend(disk)
    file = backend.create("a")
    file.write(OLD)
    file.sync()
    backend.sync_folder("")
    return disk


def test_the_full_protocol_survives_every_crash_and_fault(disk: FaultyDisk) -> None:
    save = Save(*FULL)
    assert count_calls(save, disk=disk) == 6
    assert for_each_crash(save, save.verify, disk=disk, seeds=range(20)) == 7 * 20 * 5
    assert for_each_fault(save, save.verify, disk=disk, policies=("killed", *POWER_CUTS)) > 100


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        (("rename",), "torn"),
        (("rename", "sync folder"), "torn"),
        (("rename", "sync", "sync folder"), "torn"),
        (("sync", "rename"), "acknowledged and lost"),
        (("sync", "sync folder", "rename"), "acknowledged and lost"),
    ],
)
def test_a_protocol_that_leaves_something_out_is_caught(
    disk: FaultyDisk, steps: tuple[str, ...], complaint: str
) -> None:
    save = Save(*steps)
    with pytest.raises(AssertionError, match=complaint) as caught:
        for_each_crash(save, save.verify, disk=disk)
    (note,) = caught.value.__notes__
    assert note.startswith("power cut ")
    assert "policy " in note
    assert "seed " in note


def test_a_sync_that_is_tried_again_is_caught(disk: FaultyDisk) -> None:
    save = Save("sync until it succeeds", "rename", "sync folder")
    assert for_each_crash(save, save.verify, disk=disk) > 0
    with pytest.raises(AssertionError, match="torn") as caught:
        for_each_fault(save, save.verify, disk=disk, errnos=[errno.EIO], forever=[False])
    assert any("sync scratch" in note and "'lose_all'" in note for note in caught.value.__notes__)


def test_each_call_is_cut_once_per_seed_and_one_cut_comes_after_the_last(disk: FaultyDisk) -> None:
    seen: list[tuple[int, Policy, int]] = []

    def verify(_: FaultyBackend, number: int, policy: Policy, seed: int) -> None:
        seen.append((number, policy, seed))

    verified = for_each_crash(Save(*FULL), verify, disk=disk, seeds=(5, 6), policies=("killed", "sampled"))
    assert verified == len(seen)
    assert seen == [(n, p, s) for n in range(1, 8) for s in (5, 6) for p in ("killed", "sampled")]
    seen.clear()
    for_each_crash(Save(*FULL), verify, disk=disk, seeds=[0], policies=["lose_all"], step=4)
    assert [number for number, _, _ in seen] == [1, 5, 7]
    seen.clear()
    syncs = frozenset(("sync", "sync_folder"))
    for_each_crash(Save(*FULL), verify, disk=disk, seeds=[0], policies=["lose_all"], verbs=syncs)
    assert [number for number, _, _ in seen] == [4, 6, 7]


def test_the_disk_that_is_prepared_stays_as_it_is(disk: FaultyDisk) -> None:
    before = disk.calls
    save = Save(*FULL)
    for_each_crash(save, save.verify, disk=disk)
    for_each_fault(save, save.verify, disk=disk)
    assert FaultyBackend(disk).read("a") == OLD
    assert disk.calls == before


def test_each_call_fails_in_each_way_that_fits_it(disk: FaultyDisk) -> None:
    seen: set[tuple[str, int, bool, bool]] = set()

    def verify(_: FaultyBackend, fault: Fault, error: SynthiansMemoryError | None, __: Policy) -> None:
        assert isinstance(error, DiskError)
        assert error.errno == fault.errno
        seen.add((str(error).split()[1], fault.number, fault.forever, fault.short))

    for_each_fault(Save(*FULL), verify, disk=disk)
    assert {number for _, number, _, _ in seen} == set(ERRNOS)
    assert {verb for verb, number, _, short in seen if number == errno.EIO and not short} == {
        "unlink",
        "create",
        "write",
        "sync",
        "replace",
    }
    assert {verb for verb, number, _, _ in seen if number == errno.EMFILE} == {"unlink", "create", "replace"}
    assert {verb for verb, _, _, short in seen if short} == {"write"}
    assert {forever for _, _, forever, _ in seen} == {False, True}


def test_reads_fail_where_asked(disk: FaultyDisk) -> None:
    errors: list[SynthiansMemoryError | None] = []

    def verify(backend: FaultyBackend, _: Fault, error: SynthiansMemoryError | None, __: Policy) -> None:
        assert backend.read("a") == OLD
        errors.append(error)

    reads = frozenset(("read",))
    for_each_fault(lambda backend: backend.read("a"), verify, disk=disk, verbs=reads, policies=["killed"])
    assert [error.errno for error in errors if isinstance(error, DiskError)] == [
        *[errno.EIO] * 2,
        *[errno.EMFILE] * 2,
        *[errno.EACCES] * 2,
    ]


def test_what_a_scenario_raises_with_the_power_on_is_passed_on() -> None:
    runs: list[int] = []

    def breaks_later(backend: FaultyBackend) -> None:
        runs.append(1)
        if len(runs) == 2:
            raise ZeroDivisionError
        backend.create("a")

    with pytest.raises(ZeroDivisionError) as caught:
        for_each_crash(breaks_later, lambda *_: None)
    assert "seed 0" in caught.value.__notes__[0]


@pytest.mark.parametrize("wrap", [SynthiansMemoryError, lambda text: BaseExceptionGroup(text, [PowerCut()])])
def test_what_a_scenario_raises_without_power_is_ignored(wrap: Callable[[str], BaseException]) -> None:
    def reports_otherwise(backend: FaultyBackend) -> None:
        try:
            backend.create("a")
        except PowerCut as error:
            raise wrap("the writer is gone") from error

    assert for_each_crash(reports_otherwise, lambda *_: None, seeds=[0], policies=["lose_all"]) == 2


def test_two_crashes_in_a_row_are_swept_from_the_state_after_the_first(disk: FaultyDisk) -> None:
    save = Save(*FULL)
    states = 0

    def crash_again(backend: FaultyBackend, *_: object) -> None:
        nonlocal states
        states += for_each_crash(save, save.verify, disk=backend.disk, seeds=[0], policies=["sampled"])

    for_each_crash(save, crash_again, disk=disk, seeds=[0], policies=["killed", "sampled"])
    assert states == 14 * 7
