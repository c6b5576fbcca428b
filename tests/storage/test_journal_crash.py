"""The journal on a disk that fails at every call: what was acknowledged is replayed, whole, in order, once."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_lives import IDENTITY, Life, Promises

from synthians_memory.errors import DiskError, SynthiansMemoryError
from synthians_memory.storage.segment import read_journal
from synthians_memory.testing.faults import SYNCING, WRITING, Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import POWER_CUTS, Policy
from synthians_memory.testing.sweep import count_calls, for_each_crash, for_each_fault

Step = Callable[[Life], object]


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


def test_lives_that_end_in_crashes_without_end() -> None:
    for seed in range(40):
        disk, promises = FaultyDisk(), Promises()
        for life in range(8):
            script = Script(*(BUSY if life % 2 else QUIET), past=promises, checkpoint=bool(life % 3))
            at = 1 + (seed * 7 + life * 13) % count_calls(script, disk=disk)
            for_each_crash(script, script.verify, disk=disk, seeds=[seed], policies=["sampled"], step=10_000)
            disk, promises = _cut_at(script, disk, at, seed)


def _cut_at(script: Script, disk: FaultyDisk, at: int, seed: int) -> tuple[FaultyDisk, Promises]:
    life = disk.copy()
    life.plan_power_cut(at, seed=seed)
    with pytest.raises(BaseException, match="at call"):
        script(FaultyBackend(life))
    following = life.crash("sampled", seed=seed)
    script.verify(FaultyBackend(following))
    return following, script.promises
