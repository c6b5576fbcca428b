"""A disk that fails as told: any call, once or for ever, and the power at any call.

It does not know what the calls do: that is up to the volume and to the back end on it.
"""

from __future__ import annotations

import errno
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import NoReturn, TypeVar

from synthians_memory.errors import InvalidValueError, disk_error
from synthians_memory.storage.backend import HeldLock
from synthians_memory.testing.power_cut import Policy, next_life
from synthians_memory.testing.volume import Volume, refusal

__all__ = [
    "MUTATING",
    "READING",
    "SYNCING",
    "VERBS_OF_ERRNO",
    "WRITING",
    "Fault",
    "FaultyDisk",
    "PowerCut",
]

_T = TypeVar("_T")

WRITING = frozenset(("write", "write_at"))
SYNCING = frozenset(("sync", "sync_filesystem", "sync_folder"))
_NAMING = frozenset(("create", "make_folder", "open_existing", "remove_folder", "replace", "unlink"))
MUTATING = WRITING | SYNCING | _NAMING
READING = frozenset(("free_bytes", "lock", "read", "scan", "stat"))

# What a healthy kernel can answer with that error. Removing needs no space, and what is open needs no right.
VERBS_OF_ERRNO: Mapping[int, frozenset[str]] = {
    errno.EACCES: _NAMING | {"lock", "read", "scan"},
    errno.EIO: MUTATING | READING,
    errno.EMFILE: _NAMING | {"lock", "read", "scan"},
    errno.ENOSPC: WRITING | SYNCING | {"create", "make_folder", "replace"},
    errno.EROFS: MUTATING,
}

_TRACED_CALLS = 10_000
_ENDLESS = 1 << 50


class PowerCut(BaseException):
    """The power is off, and the process with it; no handler of errors has a say in that."""


@dataclass(frozen=True)
class Fault:
    """One way for the disk to fail.

    A write that fails writes nothing, or its first half where `short`. A sync that fails loses what
    it should have made durable: reads go on to see it, and no later sync saves it unless it is
    written again. Any other call that fails changes nothing.

    Attributes:
        at: which call fails, counted from 1 at `FaultyDisk.plan`, among those of `verbs`.
        errno: how it fails; None with `short` means ENOSPC.
        forever: all later calls of `verbs` fail as well.
        verbs: of MUTATING and READING; None means all of MUTATING, with `short` all of WRITING.
        short: the call is a write and gets half-way.

    Raises:
        InvalidValueError: a fault that cannot happen.
    """

    at: int
    errno: int | None = None
    forever: bool = False
    verbs: frozenset[str] | None = None
    short: bool = False

    def __post_init__(self) -> None:
        if self.at < 1 or (self.errno is None and not self.short) or not self.matching <= MUTATING | READING:
            raise InvalidValueError(f"{self} cannot happen", hint="Give at >= 1, an errno or short, known verbs.")

    @property
    def matching(self) -> frozenset[str]:
        """The verbs it counts and lets fail."""
        return self.verbs if self.verbs is not None else WRITING if self.short else MUTATING

    @property
    def number(self) -> int:
        """The errno it fails with."""
        return self.errno if self.errno is not None else errno.ENOSPC


class _Countdown:
    """Tells when the call has come for which something is planned."""

    def __init__(self, at: int, verbs: frozenset[str], *, forever: bool = False) -> None:
        self._at = at
        self._verbs = verbs
        self._forever = forever
        self._seen = 0

    def due(self, verb: str) -> bool:
        if verb not in self._verbs:
            return False
        self._seen += 1
        return self._seen == self._at or (self._forever and self._seen > self._at)


class FaultyDisk:
    """One life of a disk: from a start to the death of process or power. Thread-safe.

    The same calls from one thread with the same plan and seeds leave the same bytes.

    Args:
        volume: what is on it; an empty one by default.
        capacity_bytes: size of all files together; a write beyond it is cut short and raises ENOSPC.
        syncs_filesystem: False lets `sync_filesystem` return False, having done nothing.

    Attributes:
        volume: what is on it.
        calls: how many calls of MUTATING were made.
        counts: how many calls were made, by verb.
        trace: (verb, path) of the latest calls of MUTATING, the newest last.
        failed: (verb, path) of the latest calls that a planned fault let fail.
        retried_syncs: paths that were synced again after a failed sync without what it lost having
            been written again; of a folder: without any change in between. `sync_filesystem` is not
            looked at: it also meets files that were given up.
        power_is_off: since a planned power cut, or since `crash`; every call raises PowerCut then,
            except for closing a file, a lock or a back end, which does nothing any more.
    """

    def __init__(
        self, volume: Volume | None = None, *, capacity_bytes: int | None = None, syncs_filesystem: bool = True
    ) -> None:
        self.volume = Volume() if volume is None else volume
        self.capacity_bytes = capacity_bytes
        self.syncs_filesystem = syncs_filesystem
        self.calls = 0
        self.counts: Counter[str] = Counter()
        self.trace: deque[tuple[str, str]] = deque(maxlen=_TRACED_CALLS)
        self.failed: deque[tuple[str, str]] = deque(maxlen=_TRACED_CALLS)
        self.retried_syncs: list[str] = []
        self.power_is_off = False
        self._mutex = threading.RLock()
        self._faults: list[tuple[_Countdown, Fault]] = []
        self._power_cut: _Countdown | None = None
        self._power_cut_seed = 0
        self._locks: list[_FaultyLock] = []

    def copy(self) -> FaultyDisk:
        """A disk of its own with the same cache and the same unsynced changes; no handle, lock or plan. Cheap."""
        with self._mutex:
            return self._next_life(self.volume.copy())

    def crash(self, policy: Policy = "sampled", *, seed: int = 0) -> FaultyDisk:
        """End this life and return the next, as `next_life` has it; may be called again for another state."""
        with self._mutex:
            self.power_is_off = True
            return self._next_life(next_life(self.volume, policy, seed))

    def _next_life(self, volume: Volume) -> FaultyDisk:
        return FaultyDisk(volume, capacity_bytes=self.capacity_bytes, syncs_filesystem=self.syncs_filesystem)

    def plan(self, *faults: Fault) -> None:
        """Let calls from now on fail; adds to what is planned. Of several that are due the first planned fails."""
        with self._mutex:
            self._faults += ((_Countdown(fault.at, fault.matching, forever=fault.forever), fault) for fault in faults)

    def plan_power_cut(self, at: int, *, seed: int = 0, verbs: frozenset[str] = MUTATING) -> None:
        """Cut the power at a call from now on: it takes effect not at all, partly or wholly, and raises PowerCut.

        Args:
            at: which call, counted from 1 among those of `verbs`; replaces an earlier plan.
            seed: for how much of it takes effect.
            verbs: of MUTATING.
        """
        with self._mutex:
            self._power_cut = _Countdown(at, verbs)
            self._power_cut_seed = seed

    def clear_plan(self) -> None:
        """Plan nothing any more; what was lost stays lost."""
        with self._mutex:
            self._faults = []
            self._power_cut = None

    # For FaultyBackend and its handles

    def perform(
        self, verb: str, path: str, effect: Callable[[float], _T], lose: Callable[[], None] | None = None
    ) -> _T:
        """Make one call of MUTATING, unless a fault or a power cut is due.

        Args:
            verb: of MUTATING.
            path: for the trace and for errors.
            effect: what it does; gets the share of it that happens, 1.0 for all. Raises plain OSError.
            lose: what happens instead if it is a sync that fails.
        """
        with self._mutex:
            self._require_power()
            self.calls += 1
            self.counts[verb] += 1
            self.trace.append((verb, path))
            if self._power_cut is not None and self._power_cut.due(verb):
                self._cut_power(verb, path, effect)
            fault = self._due_fault(verb)
            if fault is not None:
                self._fail(fault, verb, path, effect, lose)
            return _attempt(verb, path, lambda: effect(1.0))

    def look(self, verb: str, path: str, effect: Callable[[], _T]) -> _T:
        """Make one call of READING, unless a fault is due."""
        with self._mutex:
            self._require_power()
            self.counts[verb] += 1
            fault = self._due_fault(verb)
            if fault is not None:
                self._fail(fault, verb, path, lambda _: None, None)
            return _attempt(verb, path, effect)

    def opened(self, inode: int) -> int:
        """Count one more handle on `inode`, and return its size."""
        with self._mutex:
            self.volume.opened[inode] += 1
            return self.volume.stat(inode).size

    def closed(self, inode: int) -> None:
        """Count one handle less."""
        with self._mutex:
            self.volume.opened[inode] -= 1

    def free_bytes(self) -> int:
        """Space left."""
        if self.capacity_bytes is None:
            return _ENDLESS
        return max(self.capacity_bytes - self.volume.used_bytes(), 0)

    def take_lock(self, inode: int, *, exclusive: bool) -> HeldLock | None:
        """A lock on a folder; None where another is in the way."""
        if any(lock.inode == inode and (exclusive or lock.exclusive) for lock in self._locks):
            return None
        lock = _FaultyLock(self, inode, exclusive=exclusive)
        self._locks.append(lock)
        return lock

    def release_lock(self, lock: HeldLock) -> None:
        """Give it up; idempotent."""
        with self._mutex:
            self._locks = [held for held in self._locks if held is not lock]

    def _require_power(self) -> None:
        if self.power_is_off:
            raise PowerCut("the power is off; go on with what crash() returns")

    def _cut_power(self, verb: str, path: str, effect: Callable[[float], object]) -> NoReturn:
        rng = Random(f"{self._power_cut_seed} {self.calls}")  # noqa: S311 - repeatable, not secret
        share = rng.choice((0.0, rng.random(), 1.0)) if verb in WRITING | SYNCING else rng.choice((0.0, 1.0))
        if share:
            with suppress(OSError):
                effect(share)
        self.power_is_off = True
        raise PowerCut(f"at call {self.calls}, {verb} {path}, of which a share of {share:.2f} happened")

    def _due_fault(self, verb: str) -> Fault | None:
        due = [fault for countdown, fault in self._faults if countdown.due(verb)]
        return due[0] if due else None

    def _fail(
        self, fault: Fault, verb: str, path: str, effect: Callable[[float], object], lose: Callable[[], None] | None
    ) -> NoReturn:
        self.failed.append((verb, path))
        if lose is not None:
            with suppress(OSError):
                lose()
        elif fault.short and verb in WRITING:
            with suppress(OSError):
                effect(0.5)
        cause = refusal(fault.number)
        raise disk_error(cause, verb.replace("_", " "), path) from cause


def _attempt(verb: str, path: str, effect: Callable[[], _T]) -> _T:
    try:
        return effect()
    except OSError as error:
        raise disk_error(error, verb.replace("_", " "), path) from error


class _FaultyLock:
    """A lock of one life of the disk."""

    def __init__(self, disk: FaultyDisk, inode: int, *, exclusive: bool) -> None:
        self.inode = inode
        self.exclusive = exclusive
        self._disk = disk

    def release(self) -> None:
        self._disk.release_lock(self)
