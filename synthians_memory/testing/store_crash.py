"""Scenarios of a store swept over every call at which the disk, or the power, can fail.

It knows no promise: `store_verifier` does; and it works on the faulty disk only, not on a real one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from synthians_memory.config import StoreConfig
from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.storage.backend import Backend
from synthians_memory.testing.faults import MUTATING, SYNCING, Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import POWER_CUTS, Policy
from synthians_memory.testing.store_history import StoreHistory, require
from synthians_memory.testing.store_scenarios import StoreScenario
from synthians_memory.testing.store_verifier import StoreVerifier
from synthians_memory.testing.sweep import ERRNOS, for_each_crash, for_each_fault

__all__ = ["StoreSweep", "store_verifier"]

_SEEDS: Final = (0, 1, 2)


def store_verifier(config: StoreConfig, policy: Policy = "lose_all") -> StoreVerifier:
    """The verifier for stores on a faulty disk.

    Args:
        config: what they are opened with.
        policy: what happens between two lives.
    """
    return StoreVerifier(config, lambda backend: FaultyBackend(_disk_of(backend).crash(policy)), _again)


def _disk_of(backend: Backend) -> FaultyDisk:
    require(isinstance(backend, FaultyBackend), "the sweep works on faulty disks only")
    return backend.disk  # type: ignore[attr-defined, no-any-return]


def _again(backend: Backend) -> Backend:
    return FaultyBackend(_disk_of(backend))


class StoreSweep:
    """One scenario, with the disk that it starts from; used by one thread."""

    def __init__(
        self, scenario: StoreScenario, *, syncs_filesystem: bool = True, room_bytes: int | None = None
    ) -> None:
        """Args:
        scenario: what happens.
        syncs_filesystem: whether the disk can sync all files at once.
        room_bytes: space that is left on the disk for the steps, which go on where it is used up; None for plenty.
        """
        self._scenario = scenario
        self._verifier = store_verifier(scenario.config)
        self._past = StoreHistory()
        self._tight = room_bytes is not None
        disk = FaultyDisk(syncs_filesystem=syncs_filesystem)
        with scenario.thresholds():
            scenario.prepare(FaultyBackend(disk), self._past)
        # What was not synced is in the cache still: the process died, the power is on.
        self._disk = disk.crash("killed")
        if room_bytes is not None:
            self._disk.capacity_bytes = self._disk.volume.used_bytes() + room_bytes
        self._history = self._past
        self._sync_failed = False

    def crashes(
        self, *, step: int = 1, seeds: Sequence[int] = _SEEDS, policies: Sequence[Policy] = ("killed", *POWER_CUTS)
    ) -> int:
        """Cut the power at every `step`-th call; as `sweep.for_each_crash`.

        Returns:
            How many states were verified.
        """
        with self._scenario.thresholds():
            return for_each_crash(
                self._run, self._verify_crash, disk=self._disk, seeds=seeds, policies=policies, step=step
            )

    def crashes_of_recovery(
        self,
        *,
        step: int = 1,
        inner_step: int = 1,
        seeds: Sequence[int] = (0,),
        policies: Sequence[Policy] = ("killed", "sampled"),
        inner_policies: Sequence[Policy] = ("killed", "lose_all", "sampled"),
    ) -> int:
        """Cut the power at every `step`-th call, and again at every `inner_step`-th of the recovery from that.

        Returns:
            How many states were verified.
        """
        verified = 0

        def crash_again(backend: FaultyBackend, number: int, policy: Policy, seed: int) -> None:
            nonlocal verified
            recovery = StoreSweep(replace(self._scenario, steps=(), before=()))
            recovery._disk, recovery._past = backend.disk, self._history.copy()
            verified += recovery.crashes(step=inner_step, seeds=(seed,), policies=inner_policies)

        with self._scenario.thresholds():
            for_each_crash(self._run, crash_again, disk=self._disk, seeds=seeds, policies=policies, step=step)
        return verified

    def faults(
        self,
        *,
        step: int = 1,
        errnos: Sequence[int] = ERRNOS,
        policies: Sequence[Policy] = ("killed", "lose_all"),
        verbs: frozenset[str] = MUTATING,
        mended: bool = False,
    ) -> int:
        """Let every `step`-th call fail in every way; as `sweep.for_each_fault`.

        Args:
            step: as there.
            errnos: as there.
            policies: as there.
            verbs: as there.
            mended: whether the disk is in order again after the last step, and a checkpoint follows.

        Returns:
            How many states were verified.
        """
        with self._scenario.thresholds():
            return for_each_fault(
                lambda backend: self._run_on(backend, reads_fail=not verbs <= MUTATING, mended=mended),
                self._verify_fault,
                disk=self._disk,
                errnos=errnos,
                policies=policies,
                step=step,
                verbs=verbs,
            )

    def _run(self, backend: FaultyBackend) -> None:
        self._history = self._past.copy()
        if self._tight:
            self._scenario.run_on(backend, self._history)
        else:
            self._scenario.run(backend, self._history)

    def _verify_crash(self, backend: FaultyBackend, number: int, policy: Policy, seed: int) -> None:
        odd, other_half = (number + seed) % 2 == 1, (number + seed) // 2 % 2 == 1
        backend.disk.capacity_bytes = None  # whoever opens it again has made room
        self._verifier.verify(
            backend, self._history.copy(), settles=policy != "killed", busy=odd, clock_goes_back=other_half
        )

    def _run_on(self, backend: FaultyBackend, *, reads_fail: bool, mended: bool) -> None:
        self._history = self._past.copy()
        try:
            driven = self._scenario.run_on(backend, self._history, reads_fail=reads_fail)
            if mended:
                backend.disk.clear_plan()
                backend.disk.capacity_bytes = None
                driven.require_alive()
        finally:
            self._sync_failed = any(verb in SYNCING for verb, _ in backend.disk.failed)
            retried = backend.disk.retried_syncs
            require(not retried, f"{retried} were synced again after a failed sync")

    def _verify_fault(
        self, backend: FaultyBackend, fault: Fault, error: SynthiansMemoryError | None, policy: Policy
    ) -> None:
        backend.disk.capacity_bytes = None
        killed = policy == "killed"
        # What a failed sync lost is in the cache still, where a new process cannot tell it from the rest.
        verifier = store_verifier(self._scenario.config, policy) if killed and self._sync_failed else self._verifier
        verifier.verify(backend, self._history.copy(), settles=not killed, busy=fault.at % 2 == 1)
