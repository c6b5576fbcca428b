"""The journal on a disk that fails at every call: what was acknowledged is replayed, whole, in order, once."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_lives import IDENTITY, Life, Promises

from synthians_memory.errors import DiskError, JournalFailedError, SynthiansMemoryError
from synthians_memory.layout import JOURNAL
from synthians_memory.storage.segment import read_journal
from synthians_memory.testing.faults import MUTATING, SYNCING, WRITING, Fault, FaultyDisk, PowerCut
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import POWER_CUTS, Policy
from synthians_memory.testing.sweep import count_calls, for_each_crash, for_each_fault

Step = Callable[[Life], object]


def new_disk() -> FaultyDisk:
    """A disk with an empty store, durably."""
    disk = FaultyDisk()
    backend = FaultyBackend(disk)
    backend.make_folder(JOURNAL)
    backend.sync_folder("")
    return disk


class Script:
    """A life of fixed steps on a journal that may have a past; forgets the run before."""

    def __init__(self, *steps: Step, past: Promises | None = None, checkpoint: bool = True) -> None:
        self.steps = steps
        self.past = past or Promises()
        self.checkpoint = checkpoint
        self.promises = Promises()

    def __call__(self, backend: FaultyBackend) -> None:
        self.promises = self.past.copy()
        life = Life(backend, self.promises, checkpoint=self.checkpoint)
        for step in self.steps:
            step(life)
        assert not backend.disk.retried_syncs

    def verify(self, backend: FaultyBackend, *_: object) -> None:
        self.promises.copy().check(read_journal(backend, IDENTITY))


def append(*sizes: Sequence[int]) -> Step:
    return lambda life: life.append(*sizes)


def save(*sizes: Sequence[int]) -> Step:
    return lambda life: life.save(*sizes)


def sync(life: Life) -> None:
    life.sync()


def rotate(life: Life) -> None:
    life.rotate()


def checkpoint(life: Life) -> None:
    life.checkpoint()


def drop(life: Life) -> None:
    life.journal.drop()


def prepare_spare(life: Life) -> None:
    life.journal.prepare_spare()


def leave(life: Life) -> None:
    life.leave()


# Each of the two fills some segments of 8 KiB; a frame of 1,500 bytes or more spans sectors, so that it can be torn.
BUSY = (
    save([40, 40]),
    append([700], [900, 10], [20]),
    append([1500]),
    sync,
    append([1700], [300], [1900], [5]),
    prepare_spare,
    sync,
    save([600], [1500], [3000, 3000, 3000]),
    append([200]),
    checkpoint,
    drop,
    save([2500]),
    append([2500], [100]),
)
QUIET = (append([50], [2100]), sync, append([1400]), rotate, append([1200], [20]))


def test_whatever_was_acknowledged_is_replayed_after_a_crash_at_any_call() -> None:
    script = Script(*BUSY)
    assert count_calls(script) > 50
    assert for_each_crash(script, script.verify, seeds=range(6), policies=("killed", *POWER_CUTS)) > 2000


@pytest.mark.parametrize("torn", ["write_at", "sync"])
def test_torn_writes_and_half_synced_groups_are_cut(torn: str) -> None:
    script = Script(*BUSY)
    verbs = frozenset((torn,))
    assert for_each_crash(script, script.verify, seeds=range(60), policies=["sampled"], verbs=verbs) > 500


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("first", [BUSY, QUIET])
def test_two_crashes_in_a_row_bring_no_older_life_back(first: tuple[Step, ...], again: bool) -> None:
    one = Script(*first)
    states = 0

    def crash_again(backend: FaultyBackend, number: int, _: Policy, seed: int) -> None:
        nonlocal states
        two = Script(*QUIET, past=one.promises, checkpoint=again)
        states += for_each_crash(
            two, two.verify, disk=backend.disk, seeds=[seed], policies=["sampled", "lose_all"], step=3 + number % 3
        )

    for_each_crash(one, crash_again, seeds=(0, 1), policies=["killed", "sampled"])
    assert states > 500


def test_lives_that_all_end_in_crashes() -> None:
    for seed in range(40):
        disk, promises = FaultyDisk(), Promises()
        for life in range(8):
            script = Script(*(BUSY if life % 2 else QUIET), past=promises, checkpoint=bool(life % 3))
            at = 1 + (seed * 7 + life * 13) % count_calls(script, disk=disk)
            disk.plan_power_cut(at, seed=seed)
            with pytest.raises(PowerCut):
                script(FaultyBackend(disk))
            disk, promises = disk.crash("sampled", seed=seed), script.promises
            script.verify(FaultyBackend(disk))


class Persistent(Script):
    """Goes on after an error, as the engine does: a journal that failed refuses everything from then on."""

    def __call__(self, backend: FaultyBackend) -> None:
        self.promises = self.past.copy()
        life = Life(backend, self.promises)
        for step in self.steps:
            frozen = life.journal.failure is not None
            try:
                step(life)
            except JournalFailedError:
                assert life.journal.failure is not None
            except DiskError:
                assert not frozen or step is drop
            else:
                assert not frozen or step in {drop, prepare_spare}
        assert not backend.disk.retried_syncs

    def verify(self, backend: FaultyBackend, *_: object) -> None:
        promises = self.promises.copy()
        promises.check(read_journal(backend, IDENTITY))
        life = Life(backend, promises)
        life.save([10], [1000])
        promises.check(read_journal(backend, IDENTITY))
        promises.check(read_journal(FaultyBackend(backend.disk.crash("lose_all")), IDENTITY))
        assert not backend.disk.retried_syncs


def test_any_call_that_fails_loses_nothing_acknowledged_and_stores_nothing_refused() -> None:
    script = Persistent(*BUSY, checkpoint, save([100]))
    assert for_each_fault(script, script.verify, disk=new_disk(), policies=("killed", "lose_all", "sampled")) > 1000


def test_a_failed_sync_is_never_repeated_and_freezes() -> None:
    script = Persistent(*BUSY)
    failures: list[bool] = []

    def verify(backend: FaultyBackend, fault: Fault, error: SynthiansMemoryError | None, policy: Policy) -> None:
        script.verify(backend)
        failures.append(error is None)

    states = for_each_fault(
        script, verify, disk=new_disk(), errnos=[errno.EIO], short=False, verbs=SYNCING, policies=POWER_CUTS
    )
    assert states > 100
    assert any(failures)


@pytest.mark.parametrize("forever", [False, True])
def test_a_crash_after_a_fault_at_each_pair_of_calls(forever: bool) -> None:
    for at in range(3, 60, 4):
        script = Persistent(*BUSY, past=Promises())
        for kind in (Fault(at, errno.EIO, forever=forever), Fault(at, short=True, forever=forever)):
            for seed in range(3):
                disk = new_disk()
                disk.plan(kind)
                disk.plan_power_cut(at + 5 + 11 * seed, seed=seed)
                with suppress(PowerCut, DiskError):
                    script(FaultyBackend(disk))
                for policy in POWER_CUTS:
                    script.verify(FaultyBackend(disk.crash(policy, seed=seed)))


# Any order of steps, faults and crashes

SIZES = st.lists(st.sampled_from([0, 7, 300, 900, 1600, 5000]), min_size=1, max_size=3)
APPEND = st.tuples(st.just("append"), st.lists(SIZES, min_size=1, max_size=4))
PLAIN = st.tuples(
    st.sampled_from(["sync", "sync", "sync", "rotate", "checkpoint", "drop", "prepare_spare", "leave"]), st.none()
)
FAULT = st.tuples(
    st.just("fault"),
    st.builds(
        Fault,
        st.integers(1, 12),
        st.sampled_from([errno.EIO, errno.ENOSPC]),
        forever=st.booleans(),
        verbs=st.sampled_from([WRITING, SYNCING, MUTATING]),
        short=st.booleans(),
    ),
)
END = st.tuples(st.just("end"), st.tuples(st.sampled_from(("killed", *POWER_CUTS)), st.integers(0, 999)))
CUT = st.tuples(st.just("cut"), st.tuples(st.integers(1, 12), st.integers(0, 999)))


class AnyOrder:
    """Runs drawn steps, life after life, and checks every promise after each life."""

    def __init__(self, *, checkpoint: bool) -> None:
        self.checkpoint = checkpoint
        self.promises = Promises()
        self.disk = new_disk()
        self.life: Life | None = None

    def step(self, name: str, what: Any) -> None:
        if name == "fault":
            self.disk.plan(what)
        elif name == "cut":
            self.disk.plan_power_cut(what[0], seed=what[1])
        elif name == "end":
            self.end(*what)
        else:
            self.act(name, what or ())

    def act(self, name: str, sizes: Sequence[Sequence[int]]) -> None:
        try:
            if self.life is None:
                self.life = Life(FaultyBackend(self.disk), self.promises, checkpoint=self.checkpoint)
            self.life.attempt(name, *sizes)
        except DiskError:
            # It could not even be opened.
            self.end("killed", 0)
        except PowerCut:
            self.end("sampled", len(self.promises.kept))

    def end(self, policy: Policy, seed: int) -> None:
        assert self.checkpoint is False or not self.disk.retried_syncs
        self.disk, self.life = self.disk.crash(policy, seed=seed), None
        self.promises.check(read_journal(FaultyBackend(self.disk), IDENTITY))


@settings(max_examples=250)
@given(st.lists(st.one_of(APPEND, PLAIN, CUT, END), min_size=5, max_size=60), st.booleans())
def test_whatever_happens_until_the_power_fails_nothing_acknowledged_is_lost(
    steps: list[tuple[str, Any]], checkpoint: bool
) -> None:
    history = AnyOrder(checkpoint=checkpoint)
    for name, what in steps:
        history.step(name, what)
    history.end("sampled", len(steps))


@settings(max_examples=250)
@given(st.lists(st.one_of(APPEND, PLAIN, FAULT, CUT, END), min_size=5, max_size=60))
def test_whatever_fails_until_the_power_fails_nothing_acknowledged_is_lost(steps: list[tuple[str, Any]]) -> None:
    history = AnyOrder(checkpoint=True)
    for name, what in steps:
        history.step(name, what)
    history.end("sampled", len(steps))
