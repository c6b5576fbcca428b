"""Runs a scenario once for each call at which the disk, or the power, can fail, and has what is left verified.

It does not know what a right state is: that is up to the caller's `verify`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.testing.faults import MUTATING, VERBS_OF_ERRNO, WRITING, Fault, FaultyDisk, PowerCut
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import POWER_CUTS, Policy

__all__ = ["ERRNOS", "Scenario", "VerifyCrash", "VerifyFault", "count_calls", "for_each_crash", "for_each_fault"]

ERRNOS = (errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EACCES, errno.EROFS)

# Makes the same calls each time it runs, and forgets the run before: a list of what was acknowledged, for
# example, is emptied first.
Scenario: TypeAlias = Callable[[FaultyBackend], object]
# Gets the next life, the number of the call that was cut (one more than there are: after the scenario), policy, seed.
VerifyCrash: TypeAlias = Callable[[FaultyBackend, int, Policy, int], object]
# Gets the next life, the fault, the library error that the scenario raised (None: it got through), the policy.
VerifyFault: TypeAlias = Callable[[FaultyBackend, Fault, SynthiansMemoryError | None, Policy], object]


def count_calls(scenario: Scenario, *, disk: FaultyDisk | None = None, verbs: frozenset[str] = MUTATING) -> int:
    """How many calls of `verbs` the scenario makes on a copy of `disk` (default: an empty one)."""
    counts = _dry_run(scenario, disk).counts
    return sum(counts[verb] for verb in verbs)


def for_each_crash(
    scenario: Scenario,
    verify: VerifyCrash,
    *,
    disk: FaultyDisk | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    policies: Sequence[Policy] = POWER_CUTS,
    step: int = 1,
    verbs: frozenset[str] = MUTATING,
) -> int:
    """Cut the power at each call, and after the last one, and verify what each policy leaves.

    The scenario runs once per call and seed; what it raises once the power is off is ignored.
    Whatever it raises before, and whatever `verify` raises, is passed on with a note that names the
    call, policy and seed.

    Args:
        scenario: what is interrupted.
        verify: asserts what must hold afterwards.
        disk: what it starts from; a copy of it each time. Default: an empty disk.
        seeds: for how much of the call happens, and for the policy "sampled".
        policies: what happens to what was not synced.
        step: cut at every `step`-th call only, and after the last.
        verbs: of MUTATING; cut at these only.

    Returns:
        How many states were verified.
    """
    total = count_calls(scenario, disk=disk, verbs=verbs)
    verified = 0
    for at in [*range(1, total + 1, step), total + 1]:
        for seed in seeds:
            life = _copy(disk)
            life.plan_power_cut(at, seed=seed, verbs=verbs)
            _run_until_cut(scenario, life, seed)
            number = life.calls if life.power_is_off else life.calls + 1
            for policy in policies:
                with _named(f"{_where(life, number)}, policy {policy!r}, seed {seed}"):
                    verify(FaultyBackend(life.crash(policy, seed=seed)), number, policy, seed)
                verified += 1
    return verified


def for_each_fault(
    scenario: Scenario,
    verify: VerifyFault,
    *,
    disk: FaultyDisk | None = None,
    errnos: Sequence[int] = ERRNOS,
    forever: Sequence[bool] = (False, True),
    short: bool = True,
    policies: Sequence[Policy] = ("killed", "lose_all"),
    seed: int = 0,
    step: int = 1,
    verbs: frozenset[str] = MUTATING,
) -> int:
    """Let each call fail in each way that a healthy kernel knows for it, and verify what is left.

    The scenario may raise errors of this library. Anything else it raises, and whatever `verify`
    raises, is passed on with a note that names the call, fault and policy.

    Args:
        scenario: what meets the fault.
        verify: asserts what must hold afterwards, on a disk that fails no more.
        disk: what it starts from; a copy of it each time. Default: an empty disk.
        errnos: of VERBS_OF_ERRNO.
        forever: whether the call fails once, or all that follow as well.
        short: writes also get half-way, with ENOSPC.
        policies: what happens after the scenario to what was not synced.
        seed: for the policy "sampled".
        step: every `step`-th call only.
        verbs: of MUTATING and READING; only these fail.

    Returns:
        How many states were verified.
    """
    verified = 0
    for fault in _faults(_dry_run(scenario, disk), errnos, forever, short, verbs, step):
        life = _copy(disk)
        life.plan(fault)
        error = _run_with_fault(scenario, life, fault)
        for policy in policies:
            with _named(f"{fault}, {_first_failed(life)}, policy {policy!r}, seed {seed}"):
                verify(FaultyBackend(life.crash(policy, seed=seed)), fault, error, policy)
            verified += 1
    return verified


def _faults(
    dry: FaultyDisk,
    errnos: Sequence[int],
    forever: Sequence[bool],
    short: bool,
    verbs: frozenset[str],
    step: int,
) -> Iterator[Fault]:
    kinds = [(number, VERBS_OF_ERRNO[number] & verbs, False) for number in errnos]
    if short:
        kinds.append((errno.ENOSPC, WRITING & verbs, True))
    for number, failing, is_short in kinds:
        for at in range(1, sum(dry.counts[verb] for verb in failing) + 1, step):
            for lasting in forever:
                yield Fault(at, number, forever=lasting, verbs=failing, short=is_short)


def _copy(disk: FaultyDisk | None) -> FaultyDisk:
    return FaultyDisk() if disk is None else disk.copy()


def _dry_run(scenario: Scenario, disk: FaultyDisk | None) -> FaultyDisk:
    life = _copy(disk)
    scenario(FaultyBackend(life))
    return life


def _run_until_cut(scenario: Scenario, life: FaultyDisk, seed: int) -> None:
    try:
        scenario(FaultyBackend(life))
    except (Exception, PowerCut, BaseExceptionGroup) as error:
        # A process without power does nothing any more, so that what it raises then says nothing.
        if not life.power_is_off:
            error.add_note(
                f"no power was cut yet: call {life.calls} of a scenario that got through before, seed {seed}"
            )
            raise


def _run_with_fault(scenario: Scenario, life: FaultyDisk, fault: Fault) -> SynthiansMemoryError | None:
    with _named(f"{fault}, in the scenario"):
        try:
            scenario(FaultyBackend(life))
        except SynthiansMemoryError as error:
            return error
    return None


@contextmanager
def _named(place: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        error.add_note(place)
        raise


def _where(life: FaultyDisk, number: int) -> str:
    if number > life.calls:
        return f"power cut after the last call, {life.calls}"
    verb, path = life.trace[-1]
    return f"power cut at call {number}, {verb} {path}"


def _first_failed(life: FaultyDisk) -> str:
    return f"at {' '.join(life.failed[0])}" if life.failed else "which no call met"
